"""The card of a model: what it is for, what it was trained on, what it scored and under which protocol, its limits.

``card.json`` is the training record: the digests in it are what a publisher checks before a model goes out.
``card.md`` says the same to people. No card without a licence of the data and a false-alarm rate.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, NamedTuple

from gateway.detection.spec import ModelSpec
from gateway.training.export import spec_json

LIBRARIES: Final = ("tensorflow", "tensorflow-cpu", "keras", "scikit-learn", "numpy", "ai-edge-litert")

FALSE_ALARMS: Final = frozenset({"false_alarms", "attack_false_alarms"})


class Training(NamedTuple):
    """On what: the set's name, where it is from, its licence, who to cite, and the digest of the files used."""

    data: str
    source: str
    licence: str
    cite: str
    digest: str


class Figure(NamedTuple):
    """One set of figures: on which rows, under which protocol, and what came out (shares from 0 to 1)."""

    on: str
    protocol: str
    values: Mapping[str, float]


class Card(NamedTuple):
    """Everything that goes with a model but the model. ``command`` makes it again, ``seed`` included."""

    model_id: str
    version: int
    title: str
    use: str
    training: Training
    seed: int
    command: str
    figures: Sequence[Figure]
    limits: Sequence[str]


class CardRefused(ValueError):
    """A card that leaves out what has to be said."""


def libraries() -> dict[str, str]:
    """The versions that a training run depends on."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def record(card: Card, model: bytes, spec: ModelSpec) -> str:
    """The training record as JSON: the card, the digests of the model and its spec, and the libraries.

    Raises:
        CardRefused: the licence, the protocol, every figure or every false-alarm rate is missing.
    """
    if not card.training.licence or not card.figures or not all(item.protocol for item in card.figures):
        raise CardRefused("a card names the licence of its data, and its figures with their protocol")
    if not any(FALSE_ALARMS & item.values.keys() for item in card.figures):
        raise CardRefused("a card says how often normal rows alarm: a figure named false_alarms")
    told = {
        "card": 1,
        "model_id": card.model_id,
        "version": card.version,
        "title": card.title,
        "use": card.use,
        "format": "tflite",
        "size": len(model),
        "sha256": hashlib.sha256(model).hexdigest(),
        "spec_sha256": hashlib.sha256(spec_json(spec).encode()).hexdigest(),
        "training": card.training._asdict(),
        "seed": card.seed,
        "command": card.command,
        "libraries": libraries(),
        "figures": [{"on": item.on, "protocol": item.protocol, **item.values} for item in card.figures],
        "limits": list(card.limits),
    }
    return json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def markdown(card: Card, model: bytes) -> str:
    """The card for people."""
    training = card.training
    lines = [
        f"# {card.title}",
        "",
        card.use,
        "",
        "| | |",
        "|---|---|",
        f"| model | `{card.model_id}` version {card.version}, TFLite, {len(model):,} bytes |",
        f"| SHA-256 | `{hashlib.sha256(model).hexdigest()}` |",
        f"| trained on | {training.data}, from {training.source} |",
        f"| licence of the data | {training.licence} |",
        f"| cite | {training.cite} |",
        f"| digest of the files | `{training.digest}` |",
        f"| made by | `{card.command}`, seed {card.seed} |",
        "",
        "## Figures",
        "",
    ]
    for item in card.figures:
        lines += [f"**{item.on}.** {item.protocol}", "", "| figure | value |", "|---|--:|"]
        lines += [f"| {name.replace('_', ' ')} | {value:.4f} |" for name, value in item.values.items()]
        lines.append("")
    lines += ["## Limits", "", *(f"* {limit}" for limit in card.limits), ""]
    return "\n".join(lines)


def write(folder: Path, card: Card, model: bytes, spec: ModelSpec) -> None:
    """Write ``NAME.tflite``, ``NAME.spec.json``, ``NAME.card.json`` and ``NAME.card.md``, NAME being the model id."""
    told = record(card, model, spec)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{card.model_id}.tflite").write_bytes(model)
    (folder / f"{card.model_id}.spec.json").write_text(spec_json(spec), encoding="utf-8")
    (folder / f"{card.model_id}.card.json").write_text(told, encoding="utf-8")
    (folder / f"{card.model_id}.card.md").write_text(markdown(card, model), encoding="utf-8")
