"""A streaming detector of telemetry faults on NAB: chosen, scored by NAB's rules, and exported for the gateway.

Three figures, never one for another: the detector chosen on the corpus, as NAB's rule of the threshold has it; the
same chosen on other files than those it is scored on; that one with a threshold from those files too. Each is given
for the plain detector and for what ships: a model behind the gateway's own pipeline. A detector that sees a window of
512 readings and keeps nothing stands beside them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import numpy as np

from gateway.detection.spec import ModelSpec, OutputKind, OutputSpec, Selector, SmokeTest
from gateway.training.card import Card, Figure, Training, write
from gateway.training.data import Singles, digest, find
from gateway.training.export import compare, litert, smoke_test, to_tflite
from gateway.training.libraries import tensorflow
from gateway.training.nab_data import read_corpus
from gateway.training.nab_network import READING, answers, inputs_of, network, rows
from gateway.training.nab_records import CANDIDATES, Part, Rule, choose, novelty, scores
from gateway.training.nab_scoring import PROFILES, STANDARD, Series, score_corpus

MODEL_ID: Final = "nab"
VERSION: Final = 2
FOLDS: Final = 5
WINDOW: Final = 512
ALLOWED: Final = 0.5
"""What the model answers where a part leaves its range by its allowance: the threshold that comes with the rule."""

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


def rules_of_folds(corpus: Sequence[Series], found: Found) -> list[Rule]:
    """Choose a rule for each fold, on the files of the other folds."""
    fold = folds(corpus)
    return [
        choose([series for series in corpus if fold[series.name] != number], found, STANDARD)
        for number in range(FOLDS)
    ]


def held_out(corpus: Sequence[Series], found: Found, rules: Sequence[Rule]) -> dict[str, Sequence[float]]:
    """Score each file by the rule that was chosen on the files of the other folds."""
    fold = folds(corpus)
    return {series.name: scores(found[series.name], rules[fold[series.name]]) for series in corpus}


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


class Chosen(NamedTuple):
    """What was chosen on the whole corpus, and for each fold on the others; and how the plain detector does by it."""

    rule: Rule
    rules: list[Rule]
    figures: dict[str, Any]


def evaluate(corpus: Sequence[Series], reach: int | None) -> Chosen:
    """Choose and score with and without the files at hand."""
    found = {series.name: novelty(series.values, CANDIDATES, reach) for series in corpus}
    rule, rules = choose(corpus, found, STANDARD), rules_of_folds(corpus, found)
    held = held_out(corpus, found, rules)
    figures: dict[str, Any] = {
        "rule": told(rule),
        "chosen on the corpus": profiles(corpus, by_rule(corpus, found, rule)),
        "chosen on other files, NAB's threshold": profiles(corpus, held),
        "chosen on other files, threshold too": profiles(corpus, held, 1.0),
    }
    if reach is None:
        figures["baselines"] = baselines(corpus, found)
    return Chosen(rule, rules, figures)


def spec_of(rule: Rule, threshold: float, smoke: SmokeTest) -> ModelSpec:
    """Return the spec: a record column a part of the rule."""
    outputs = OutputSpec(OutputKind.PROBABILITY, threshold, ())
    return ModelSpec(inputs_of(rule), outputs, smoke, Selector(readings=(READING,)))


def export(parts: int) -> bytes:
    """Return the model for rules of so many parts: all of them share it."""
    return to_tflite(tensorflow().function(network()), (parts,))


def shipped(corpus: Sequence[Series], chosen: Chosen) -> dict[str, Answers]:
    """Score all files by models behind the gateway's pipeline: of the whole corpus' rule, and of the folds' rules."""
    models = {len(rule): export(len(rule)) for rule in (chosen.rule, *chosen.rules)}
    fold = folds(corpus)

    def run(series: Series, rule: Rule) -> list[float]:
        found: list[float] = answers(models[len(rule)], inputs_of(rule), series.values).tolist()
        return found

    return {
        "corpus": {series.name: run(series, chosen.rule) for series in corpus},
        "others": {series.name: run(series, chosen.rules[fold[series.name]]) for series in corpus},
    }


def make(folder: Path, corpus: Sequence[Series], chosen: Chosen) -> Outcome:
    """Export the rule, compare it with the framework on every row of the corpus, score it as a gateway runs it.

    Raises:
        ExportRefused: LiteRT answers otherwise than TensorFlow.
    """
    inputs, model = inputs_of(chosen.rule), export(len(chosen.rule))
    worst = max(_difference(model, rows(inputs, series.values)[1]) for series in corpus)
    answered = shipped(corpus, chosen)
    best = score_corpus(corpus, answered["corpus"], STANDARD)
    figures = {
        **profiles(corpus, answered["corpus"]),
        "threshold": best.tally.threshold,
        "false_alarms": best.tally.fp / (best.tally.fp + best.tally.tn),
        "greatest_difference_to_the_framework": worst,
    }
    others = [profiles(corpus, answered["others"]), profiles(corpus, answered["others"], ALLOWED)]
    smoke = smoke_test(model, np.array(smoke_row(len(chosen.rule)), dtype=np.float32))
    return Outcome(model, spec_of(chosen.rule, best.tally.threshold, smoke), card_of(folder, corpus, figures, others))


def smoke_row(parts: int) -> list[float]:
    """Return a row that was made up: the last part leaves its range, the others do not."""
    return [-0.25] * (parts - 1) + [1.5]


def _difference(model: bytes, made: Singles) -> float:
    return compare(litert(model, made), np.asarray(network()(made))) if len(made) else 0.0


def card_of(
    folder: Path, corpus: Sequence[Series], figures: Mapping[str, float], others: Sequence[Mapping[str, float]]
) -> Card:
    """Return the card."""
    names = [find(folder / "data", series.name) for series in corpus]
    return Card(
        model_id=MODEL_ID,
        version=VERSION,
        title="Telemetry records",
        use="Says when the reading `value` of a device, or how it moves, leaves the range of all its readings "
        "before. The sensor's scale plays no part. The ranges are kept by the gateway, for each device.",
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
                "chosen on these very files. False alarms: the share of scored rows outside the windows. By the "
                "gateway's pipeline and LiteRT; what a gateway does not score is silence.",
                figures,
            ),
            Figure("NAB, files it was not chosen on", "Five folds of files, NAB's rule of the threshold.", others[0]),
            Figure(
                "NAB, files it was not chosen on, threshold from other files too",
                "Five folds of files, the threshold of one allowance that the rule was chosen with.",
                others[1],
            ),
        ],
        limits=(
            (
                "The figures for files it was not chosen on are for the same procedure with rules chosen on other "
                "files. Only with NAB's own rule of the threshold do they meet the mark of 58."
            ),
            "A device is not scored before it has sent 100 readings.",
            "A record widens the range: what comes again is no alarm, and a fault that grows slowly is one seldom.",
            "The ranges do not outlive the scoring process: after a restart each device begins anew.",
            "Readings at even intervals; it sees no time.",
        ),
    )


@click.command("nab")
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Where model, spec and card go.")
def command(data: Path, out: Path | None) -> None:
    """Choose the streaming detector, score it by NAB's rules, export what a gateway can run. Prints JSON."""
    corpus = read_corpus(data)
    chosen = evaluate(corpus, None)
    told_of = {"everything seen": chosen.figures, f"window of {WINDOW}": evaluate(corpus, WINDOW).figures}
    click.echo(json.dumps(told_of, indent=1))
    if out is not None:
        outcome = make(data, corpus, chosen)
        write(out, outcome.card, outcome.model, outcome.spec)
        click.echo(json.dumps({item.on: dict(item.values) for item in outcome.card.figures}, indent=1))
