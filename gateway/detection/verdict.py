"""What a model's answer means: a verdict, by the output that its manifest declares (pure)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import mul, sub
from typing import Final, NamedTuple

from gateway.detection.features import SpecFault
from gateway.detection.port import UnscoredReason
from gateway.detection.spec import OutputKind, OutputSpec
from gateway.envelope.readings import NotScorable
from gateway.message import Verdict

LABEL_BYTES_MAX: Final = 256
"""What a log entry takes (docs/spec/log.md)."""


class Judged(NamedTuple):
    """A verdict and its score; ``label`` is the class's place among the labels, None for the other verdicts."""

    verdict: Verdict
    score: float
    label: int | None


def check_outputs(outputs: OutputSpec) -> None:
    """Refuse an output that could not be judged.

    Raises:
        SpecFault: which rule it breaks.
    """
    if outputs.kind is OutputKind.CLASSES:
        labels = outputs.labels
        if not labels or len(set(labels)) != len(labels):
            raise SpecFault("there is at least one label, and none twice")
        if any(not 0 < len(label.encode()) <= LABEL_BYTES_MAX for label in labels):
            raise SpecFault(f"a label has 1 to {LABEL_BYTES_MAX} bytes")
    elif outputs.threshold is None or not math.isfinite(outputs.threshold):
        raise SpecFault("there is a threshold, and it is finite")


def answer_size(outputs: OutputSpec, input_size: int) -> int:
    """How many numbers the model has to answer to one input."""
    if outputs.kind is OutputKind.CLASSES:
        return len(outputs.labels)
    return 1 if outputs.kind is OutputKind.PROBABILITY else input_size


def judge(outputs: OutputSpec, answer: Sequence[float], inputs: Sequence[float]) -> Judged | NotScorable:
    """Turn an answer into a verdict.

    Args:
        outputs: what the answer means; ``check_outputs`` has passed it.
        answer: as many numbers as ``answer_size`` says.
        inputs: what the model was given.
    """
    if not math.isfinite(sum(answer)):
        return NotScorable(UnscoredReason.ANSWER_NOT_FINITE)
    if outputs.kind is OutputKind.CLASSES:
        greatest = max(answer)
        # The first of equals, so that every gateway names the same one.
        return Judged(Verdict.CLASSIFIED, greatest, answer.index(greatest))
    if outputs.kind is OutputKind.PROBABILITY:
        score = answer[0]
    else:
        differences = list(map(sub, answer, inputs))
        score = sum(map(mul, differences, differences)) / len(differences)
    threshold = outputs.threshold
    if threshold is None:
        raise RuntimeError("an output without a threshold was not checked")
    return Judged(Verdict.ANOMALOUS if score >= threshold else Verdict.NORMAL, score, None)
