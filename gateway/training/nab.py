"""A streaming detector of telemetry faults on NAB: chosen, scored by NAB's rules, and exported for the gateway.

Three figures, never one for another: the detector that keeps the range of everything seen (chosen on the corpus, as
NAB's rule of the threshold has it), the same chosen on other files than those it is scored on, and the model that
ships, which sees a window of 512 readings and keeps nothing.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import numpy as np

from gateway.detection.spec import Column, InputSpec, ModelSpec, OutputKind, OutputSpec, Selector, SmokeTest
from gateway.training.card import Card, Figure, Training, write
from gateway.training.data import digest, find
from gateway.training.export import compare, litert, smoke_test, to_tflite
from gateway.training.libraries import tensorflow
from gateway.training.nab_data import read_corpus
from gateway.training.nab_network import WINDOW, answers, network, windows
from gateway.training.nab_records import CANDIDATES, Part, Rule, choose, novelty, scores
from gateway.training.nab_scoring import PROFILES, STANDARD, Series, score_corpus

MODEL_ID: Final = "nab"
READING: Final = "value"
FOLDS: Final = 5
LEVEL: Final = 3e38

Answers = Mapping[str, Sequence[float]]
Found = Mapping[str, Mapping[Part, Sequence[float]]]


class Outcome(NamedTuple):
    """What ships, and its figures."""

    model: bytes
    spec: ModelSpec
    card: Card


def folds(corpus: Sequence[Series]) -> dict[str, int]:
    """Put each file into one of five folds, each group of files spread over all of them, by their names."""
    ordered = sorted(series.name for series in corpus)
    return {name: place % FOLDS for place, name in enumerate(ordered)}


def profiles(corpus: Sequence[Series], answered: Answers, threshold: float | None = None) -> dict[str, float]:
    """Score answers under the three profiles; without a threshold by NAB's rule."""
    return {item.name: score_corpus(corpus, answered, item, threshold).score for item in PROFILES}


def by_rule(corpus: Sequence[Series], found: Found, rule: Rule) -> dict[str, Sequence[float]]:
    """Apply one rule to all files."""
    return {series.name: scores(found[series.name], rule) for series in corpus}


def held_out(corpus: Sequence[Series], found: Found) -> dict[str, Sequence[float]]:
    """Score each file by the rule that was chosen on the files of the other folds."""
    fold = folds(corpus)
    answered: dict[str, Sequence[float]] = {}
    for number in range(FOLDS):
        others = [series for series in corpus if fold[series.name] != number]
        rule = choose(others, found, STANDARD)
        own = [series for series in corpus if fold[series.name] == number]
        answered.update(by_rule(own, found, rule))
    return answered


def baselines(corpus: Sequence[Series], found: Found) -> dict[str, dict[str, float]]:
    """Score silence, chance and one rule: a reading that leaves the range of all before it."""
    generator = random.Random(1)  # noqa: S311 -- chance as a baseline, not as a secret
    silent = {series.name: [0.0] * len(series.values) for series in corpus}
    chance = {series.name: [generator.random() for _ in series.values] for series in corpus}
    record = {series.name: [max(0.0, value) for value in found[series.name][Part(1)]] for series in corpus}
    return {
        "null": profiles(corpus, silent, 0.5),
        "random": profiles(corpus, chance),
        "one rule: a record": profiles(corpus, record),
    }


def told(rule: Rule) -> list[dict[str, float]]:
    """Return a rule as plain values."""
    return [{**part._asdict(), "allowance": allowance} for part, allowance in rule.items()]


def evaluate(corpus: Sequence[Series], reach: int | None) -> dict[str, Any]:
    """Choose and score with and without the files at hand."""
    found = {series.name: novelty(series.values, CANDIDATES, reach) for series in corpus}
    rule = choose(corpus, found, STANDARD)
    held = held_out(corpus, found)
    result: dict[str, Any] = {
        "rule": told(rule),
        "chosen on the corpus": profiles(corpus, by_rule(corpus, found, rule)),
        "chosen on other files, NAB's threshold": profiles(corpus, held),
        "chosen on other files, threshold too": profiles(corpus, held, 1.0),
    }
    if reach is None:
        result["baselines"] = baselines(corpus, found)
    return result


def spec_of(threshold: float, smoke: SmokeTest) -> ModelSpec:
    """Return the spec: 512 readings of ``value`` of one device, the oldest first."""
    return ModelSpec(
        InputSpec((Column(READING, low=-LEVEL, high=LEVEL),), None, WINDOW, (WINDOW,)),
        OutputSpec(OutputKind.PROBABILITY, threshold, ()),
        smoke,
        Selector(readings=(READING,)),
    )


def smoke_row() -> list[float]:
    """Return a window that was made up: a slow wave with a step at its end."""
    return [20.0 + 2.0 * float(np.sin(place / 17.0)) for place in range(WINDOW - 1)] + [26.0]


def make(folder: Path, corpus: Sequence[Series], windowed: Mapping[str, Any]) -> Outcome:
    """Export the rule of the window, compare it with the framework on every window of the corpus, score it.

    Raises:
        ExportRefused: LiteRT answers otherwise than TensorFlow.
    """
    rule = {
        Part(int(part["short"]), int(part["long"]), bool(part["steps"])): part["allowance"]
        for part in windowed["rule"]
    }
    function = network(rule)
    model = to_tflite(tensorflow().function(function), (WINDOW,))
    worst = max(_difference(model, function, series) for series in corpus)
    answered = {series.name: answers(model, np.array(series.values)).tolist() for series in corpus}
    best = score_corpus(corpus, answered, STANDARD)
    outside = best.tally.fp + best.tally.tn
    figures = {
        **profiles(corpus, answered),
        "threshold": best.tally.threshold,
        "false_alarms": best.tally.fp / outside,
        "greatest_difference_to_the_framework": worst,
    }
    others = windowed["chosen on other files, NAB's threshold"]
    spec = spec_of(best.tally.threshold, smoke_test(model, np.array(smoke_row(), dtype=np.float32)))
    return Outcome(model, spec, card_of(folder, corpus, figures, others))


def _difference(model: bytes, function: Any, series: Series) -> float:  # noqa: ANN401 -- a function of tensors
    if len(series.values) < WINDOW:
        return 0.0
    rows = windows(np.array(series.values, dtype=np.float32))
    worst = 0.0
    for start in range(0, len(rows), 4096):
        part = np.ascontiguousarray(rows[start : start + 4096])
        worst = max(worst, compare(litert(model, part), np.asarray(function(part))))
    return worst


def card_of(
    folder: Path, corpus: Sequence[Series], figures: Mapping[str, float], others: Mapping[str, float]
) -> Card:
    """Return the card."""
    names = [find(folder / "data", series.name) for series in corpus]
    return Card(
        model_id=MODEL_ID,
        version=1,
        title="Telemetry records",
        use="Says when the reading `value` of a device, or how it moves, leaves the range of the last 512 readings. "
        "The sensor's scale plays no part.",
        training=Training(
            data="Numenta Anomaly Benchmark v1.1, 58 files",
            source="github.com/numenta/NAB at ea702d75cc22",
            licence="MIT",
            cite="Ahmad, Lavin, Purdy, Agha: Unsupervised real-time anomaly detection for streaming data, 2017",
            digest=digest([*names, find(folder, "labels/combined_windows.json")]),
        ),
        seed=0,
        command="securenet-train nab FOLDER",
        figures=[
            Figure(
                "NAB, all 58 files",
                "NAB's scoring (0 silence, 100 perfection), its rule of the threshold; parts and allowances were "
                "chosen on these very files. False alarms: the share of scored rows outside the windows.",
                figures,
            ),
            Figure("NAB, files it was not chosen on", "Five folds of files, NAB's rule of the threshold.", others),
        ],
        limits=(
            "Below the mark of 58 that the same detector reaches when it remembers everything: a window forgets.",
            "A device is not scored before it has sent 512 readings.",
            "Readings at even intervals; it sees no time.",
        ),
    )


@click.command("nab")
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Where model, spec and card go.")
def command(data: Path, out: Path | None) -> None:
    """Choose the streaming detector, score it by NAB's rules, export what a gateway can run. Prints JSON."""
    corpus = read_corpus(data)
    windowed = evaluate(corpus, WINDOW)
    click.echo(json.dumps({"everything seen": evaluate(corpus, None), f"window of {WINDOW}": windowed}, indent=1))
    if out is not None:
        outcome = make(data, corpus, windowed)
        write(out, outcome.card, outcome.model, outcome.spec)
        click.echo(json.dumps({item.on: dict(item.values) for item in outcome.card.figures}, indent=1))
