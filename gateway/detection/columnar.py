"""The rules of ``features`` and ``verdict`` for many messages at once, by NumPy (pure).

Between float64 arrays and Python's floats there is no difference in what is computed, operation by operation; tests
hold the two to each other, bit by bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from itertools import repeat
from typing import Any, NamedTuple, Self

from gateway.detection.features import FLOAT_BYTES, Pipeline
from gateway.detection.frames import Result, code_of
from gateway.detection.spec import Column, ColumnKind, OutputKind, OutputSpec
from gateway.message import Verdict


class Made(NamedTuple):
    """A row as float32 bytes, and its quality."""

    inputs: bytes
    quality: float


class Columnar:
    """A pipeline for payloads whose scalars come in one order, with the same texts always; ``of`` makes it."""

    def __init__(self, pipeline: Pipeline, places: Sequence[int | None], texts: Mapping[str, str]) -> None:
        np = self._numpy = import_module("numpy")
        columns = pipeline.inputs.columns
        numbers = [column for column in columns if column.kind is not ColumnKind.CATEGORY]
        words = [column for column in columns if column.kind is ColumnKind.CATEGORY]
        self._taken = [-1 if place is None else place for place in places]
        self._filled = [(at, column.missing) for at, column in enumerate(numbers) if self._taken[at] < 0]
        self._kept = [at for at, column in enumerate(numbers) if column.kind is not ColumnKind.READING]
        self._replaced = np.array(
            [math.nan if numbers[at].missing is None else numbers[at].missing for at in self._kept]
        )
        self._low = np.array([column.low for column in numbers])
        self._high = np.array([column.high for column in numbers])
        self._mean = np.array([column.mean for column in numbers])
        self._scale = np.array([column.scale for column in numbers])
        self._logged = [at for at, column in enumerate(numbers) if column.log1p]
        self._count = len(columns)
        self._absent = len(self._filled) + sum(word.name not in texts for word in words)
        self._width = pipeline.width
        self._constant = _constant(columns, texts)
        self._variable = [at for at, value in enumerate(self._constant) if value is None]

    @classmethod
    def of(cls, pipeline: Pipeline, names: Sequence[str], texts: Mapping[str, str]) -> Self | None:
        """Make one, or None where rows have to be made one by one."""
        columns = pipeline.inputs.columns
        if pipeline.inputs.tensor is not None or all(column.kind is ColumnKind.CATEGORY for column in columns):
            return None
        place_of = {name: place for place, name in enumerate(names)}
        places: list[int | None] = []
        kept = len(names)
        for column in columns:
            if column.kind is ColumnKind.CATEGORY:
                if column.name not in texts and column.missing is None:
                    return None
            elif column.kind is ColumnKind.READING:
                if column.name not in place_of and column.missing is None:
                    return None
                places.append(place_of.get(column.name))
            else:
                places.append(kept)
                kept += 1
        return cls(pipeline, places, texts)

    def rows(self, values: Sequence[Sequence[float | None]]) -> list[Made | None]:
        """Make the rows of messages.

        Args:
            values: of each its scalars in the order of the names, then what ``Pipeline.kept`` gives.

        Returns:
            None for those that have to be asked one by one: a number is missing, or not finite.
        """
        np = self._numpy
        with np.errstate(all="ignore"):
            # None becomes NaN; no other number here is one.
            numbers = np.array(values, np.float64)[:, self._taken]
            for at, missing in self._filled:
                numbers[:, at] = missing
            absent = self._absent
            if self._kept:
                missing_here = np.isnan(numbers[:, self._kept])
                absent = self._absent + missing_here.sum(axis=1)
                numbers[:, self._kept] = np.where(missing_here, self._replaced, numbers[:, self._kept])
            below, above = numbers < self._low, numbers > self._high
            clipped = (below | above).sum(axis=1)
            numbers = np.where(below, self._low, np.where(above, self._high, numbers))
            for at in self._logged:
                numbers[:, at] = [math.log1p(x) if x >= 0 else x for x in numbers[:, at].tolist()]
            made = ((numbers - self._mean) / self._scale).astype(np.float32)
        if len(self._variable) < self._width:
            whole = np.empty((len(made), self._width), np.float32)
            whole[:] = [0.0 if value is None else value for value in self._constant]
            whole[:, self._variable] = made
            made = whole
        quality: list[float] = ((1 - absent / self._count) * (1 - clipped / self._count)).tolist()
        step, octets = FLOAT_BYTES * self._width, made.tobytes()
        inputs = [octets[at : at + step] for at in range(0, len(octets), step)]
        finite = np.isfinite(made)
        if finite.all():
            return list(map(Made, inputs, quality))
        whole = finite.all(axis=1).tolist()
        return [Made(*one) if good else None for *one, good in zip(inputs, quality, whole, strict=True)]


def _constant(columns: Sequence[Column], texts: Mapping[str, str]) -> list[float | None]:
    """The row with what the texts give; None where a number goes."""
    row: list[float | None] = []
    for column in columns:
        if column.kind is ColumnKind.CATEGORY:
            word = texts.get(column.name)
            row += [1.0 if word == other else 0.0 for other in column.vocabulary]
        else:
            row.append(None)
    return row


def judge_all(outputs: OutputSpec, place: int, answers: Any, inputs: bytes) -> list[Result] | None:  # noqa: ANN401 -- an array of float32
    """Turn the answers of a model to a batch into results; None where ``verdict.judge`` has to be asked of each.

    Args:
        outputs: what the answers mean.
        place: the model's.
        answers: an array (batch, numbers).
        inputs: what the model was given, float32.
    """
    np = import_module("numpy")
    if not np.isfinite(answers).all():
        return None
    if outputs.kind is OutputKind.CLASSES:
        greatest = answers.argmax(axis=1)
        scores = answers[range(len(answers)), greatest].tolist()
        return list(map(Result, repeat(code_of(Verdict.CLASSIFIED)), repeat(place), greatest.tolist(), scores))
    if outputs.kind is OutputKind.PROBABILITY:
        scores = answers[:, 0].tolist()
    elif len(answers) == 1:
        return None
    else:
        given = np.frombuffer(inputs, np.float32).reshape(answers.shape)
        # One number after the other down the rows, as Python adds: NumPy adds along a row in another order.
        differences = np.ascontiguousarray((answers.astype(np.float64) - given).T)
        scores = ((differences * differences).sum(axis=0) / len(differences)).tolist()
    if not all(map(math.isfinite, scores)):
        return None
    anomalous, normal = code_of(Verdict.ANOMALOUS), code_of(Verdict.NORMAL)
    threshold = outputs.threshold
    if threshold is None:
        raise RuntimeError("an output without a threshold was not checked")
    return [Result(anomalous if score >= threshold else normal, place, 0, score) for score in scores]
