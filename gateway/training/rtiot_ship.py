"""RT-IoT2022's models for a gateway: the network that did best, and a detector that knows normal flows alone.

Both are fitted on all rows; the figures on their cards are those of the folds, where every row was held out from what
answered it. LiteRT is compared with the framework on every row.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from gateway.detection.spec import Column, InputSpec, ModelSpec, OutputKind, OutputSpec, Selector
from gateway.training import neural
from gateway.training.card import Card, Figure, Training, write
from gateway.training.data import Ints, Singles, digest, find, stratified
from gateway.training.detectors import Squashed
from gateway.training.export import compare, litert, rows_of, smoke_test, to_tflite
from gateway.training.metrics import threshold_at
from gateway.training.rtiot import FILE, Flows, columns_of, firsts, read
from gateway.training.rtiot_evaluate import DETECTORS, RATE, train

NETWORK: Final = "rt-iot2022-classes"
NORMAL_ONLY: Final = "rt-iot2022-normal"
NORMAL_DETECTOR: Final = "prototypes, 64"
"""The family and size that NSL-KDD's protocol chose, not what did best here."""
PROTOCOL: Final = "Five folds drawn by distinct feature vector, pooled; the shipped model is fitted on all rows."
LIMITS: Final = (
    "One small network of a few devices, recorded once: another site's normal traffic will differ.",
    "A gateway has to be given the flow's features as readings; nothing here computes them from packets.",
    "Most rows of the floods are copies of a few feature vectors: figures by distinct vector are the sober ones.",
)
_CLASSES: Final = ("accuracy", "macro_f1", "balanced_accuracy", "sensitivity", "specificity", "kappa")
_DETECTION: Final = ("recall", "false_alarms")


def _training(folder: Path) -> Training:
    return Training(
        "RT-IoT2022",
        "UCI Machine Learning Repository",
        "CC BY 4.0, as a copy of the set states",
        "B. S. Sharmila, R. Nagapadma: RT-IoT2022, UCI Machine Learning Repository, 2023",
        digest([find(folder, FILE)]),
    )


def best_network(results: Mapping[str, Any]) -> str:
    """The network with the higher macro F1 over distinct vectors, folds drawn by vector."""
    rivals = [run for run in results["networks"] if run["folds_by"] == "vector" and run["rows"] == "distinct"]
    return str(max(rivals, key=lambda run: run["classes"]["macro_f1"])["network"])


def _selector(columns: tuple[Column, ...]) -> Selector:
    return Selector(readings=tuple(column.name for column in columns[:4]))


def _network(folder: Path, flows: Flows, results: Mapping[str, Any], out: Path, seed: int) -> str:
    kind = best_network(results)
    model, chosen = train(kind, flows, np.arange(len(flows), dtype=np.int64), seed)
    columns, inputs = chosen.columns, chosen.inputs_of(flows)
    exported = to_tflite(neural.frozen(model, inputs.shape[1]), (inputs.shape[1],))
    expected = neural.answers(model, inputs)
    worst = compare(litert(exported, inputs), expected)
    row = int(np.flatnonzero(flows.attack)[0])
    spec = ModelSpec(
        InputSpec(columns, None, 1, (inputs.shape[1],)),
        OutputSpec(OutputKind.CLASSES, None, flows.kinds),
        smoke_test(exported, inputs[row]),
        _selector(columns),
    )
    figures = [
        Figure(
            f"{'every row' if run['rows'] == 'all' else 'the first row of each distinct vector'}",
            PROTOCOL,
            {name: run["classes"][name] for name in _CLASSES}
            | {f"attack_{name}": run["detection"][name] for name in _DETECTION},
        )
        for run in results["networks"]
        if run["network"] == kind and run["folds_by"] == "vector"
    ]
    card = Card(
        NETWORK,
        1,
        f"Twelve kinds of IoT flows ({kind.upper()})",
        "One flow in, a number for each of nine attacks and three kinds of normal traffic out: the greatest is it.",
        _training(folder),
        seed,
        f"securenet-train rt-iot2022 DATA --results docs/evaluation --out models --seed {seed}",
        figures,
        LIMITS,
    )
    write(out, card, exported, spec)
    return (
        f"{NETWORK} ({kind}): {len(exported):,} bytes; LiteRT differs by at most {worst:.1e} on {len(inputs):,} rows"
    )


def _normal_only(folder: Path, flows: Flows, results: Mapping[str, Any], out: Path, seed: int) -> str:
    distinct = flows.take(firsts(flows))
    normal: Ints = np.flatnonzero(~distinct.attack)
    part = stratified(distinct.kind[normal], 0.2, seed)
    known, held = distinct.take(normal[part.train]), distinct.take(normal[part.held])
    columns = columns_of(known)
    detector = DETECTORS[NORMAL_DETECTOR](rows_of(columns, known.features))
    whole = Squashed(detector, threshold_at(detector.scores(rows_of(columns, held.features)), RATE))
    inputs: Singles = rows_of(columns, flows.features)
    exported = to_tflite(whole.tensors, (inputs.shape[1],))
    expected = whole.scores(inputs)
    worst = compare(litert(exported, inputs).reshape(-1), expected)
    row = int(np.argmin(np.abs(expected - 0.75)))
    spec = ModelSpec(
        InputSpec(columns, None, 1, (inputs.shape[1],)),
        OutputSpec(OutputKind.PROBABILITY, 0.5, ()),
        smoke_test(exported, inputs[row]),
        _selector(columns),
    )
    run = next(one for one in results["novelty"] if one["detector"] == NORMAL_DETECTOR)
    figures = [
        Figure(
            "distinct vectors",
            "Trained on normal flows alone, five folds; threshold at 1 % of other held-out normal flows; means.",
            {"auc": run["auc"], "recall_at_1_%_false_alarms": run["found"]}
            | {name: run["at_threshold"][name] for name in ("accuracy", "recall", "false_alarms", "macro_f1")},
        )
    ]
    card = Card(
        NORMAL_ONLY,
        1,
        "IoT flows that are not normal",
        "One flow in, one number out: at or above 0.5 it is unlike the normal flows of training. No attack was seen.",
        _training(folder),
        seed,
        f"securenet-train rt-iot2022 DATA --results docs/evaluation --out models --seed {seed}",
        figures,
        LIMITS,
    )
    write(out, card, exported, spec)
    return f"{NORMAL_ONLY}: {len(exported):,} bytes; LiteRT differs by at most {worst:.1e} on {len(inputs):,} rows"


def ship(folder: Path, results: Mapping[str, Any], out: Path, seed: int) -> str:
    """Fit, export, compare and write what there are results of; say how large it is and how near LiteRT comes."""
    flows = read(folder)
    makers = {"novelty": _normal_only, "networks": _network}
    return "\n".join(make(folder, flows, results, out, seed) for key, make in makers.items() if key in results)
