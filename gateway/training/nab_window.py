"""The detector of records that keeps nothing: a window of 512 readings in, one answer out (ADR 0147).

It needs no state beside the window, so that a gateway that knows no record columns can run it as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from gateway.detection.spec import Column, InputSpec, ModelSpec, OutputKind, OutputSpec, Selector, SmokeTest
from gateway.training.card import Card, Figure, Training
from gateway.training.data import digest, find
from gateway.training.export import compare, litert, smoke_test, to_tflite
from gateway.training.libraries import tensorflow
from gateway.training.nab_choice import Chosen, Outcome, profiles
from gateway.training.nab_network import WINDOW, answers, network, windows
from gateway.training.nab_ranges import READING
from gateway.training.nab_scoring import STANDARD, Series, score_corpus

MODEL_ID: Final = "nab"
LEVEL: Final = 3e38


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


def make_windowed(folder: Path, corpus: Sequence[Series], chosen: Chosen) -> Outcome:
    """Export the rule of the window, compare it with the framework on every window of the corpus, score it.

    Raises:
        ExportRefused: LiteRT answers otherwise than TensorFlow.
    """
    function = network(chosen.rule)
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
    others = chosen.figures["chosen on other files, NAB's threshold"]
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
