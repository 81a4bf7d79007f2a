"""What a model wants and what its answer means: the part of a manifest that detection reads.

A feature pipeline is data, never code: names, order, one rule for each number. Everything here is a value; the bundle
carries it as CBOR (docs/spec/model-bundle.md), detection applies it (``gateway.detection``), training writes it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class ColumnKind(StrEnum):
    """Where a number comes from."""

    READING = "reading"
    """A scalar reading of the message, by its name."""
    CATEGORY = "category"
    """A text reading: one number for each word of the vocabulary, 1 for the one that came, 0 for the others."""
    STATISTIC = "statistic"
    """A traffic statistic of the device (row S4), by its name: see ``gateway.detection.traffic``."""
    RECORD = "record"
    """By how much a scalar reading, or how it moves, leaves its range so far: see ``gateway.detection.records``."""


class Record(NamedTuple):
    """What of a reading is compared with the range of all its values before.

    The mean of the last ``short`` readings less that of the last ``long`` (0: less nothing); with ``steps`` the mean
    size of the last ``short`` steps instead, and ``long`` is 0. Nothing is said before ``after`` readings have come.
    """

    short: int
    long: int
    steps: bool
    after: int

    @property
    def reach(self) -> int:
        """How many readings it looks at."""
        return self.short + 1 if self.steps else max(self.short, self.long)


class Column(NamedTuple):
    """One column of the input row, or as many as a category has words.

    A number is replaced by ``missing`` when it did not come (None: the message is not scored), clipped to ``low`` and
    ``high``, then, when ``log1p`` says so, replaced by log(1 + x) for x ≥ 0, then (x - ``mean``) / ``scale``. A word
    that is not in the vocabulary is all zeros. ``record`` is that of the kind ``RECORD``, None of the others.
    """

    name: str
    kind: ColumnKind = ColumnKind.READING
    missing: float | None = None
    low: float = -3.4e38
    high: float = 3.4e38
    log1p: bool = False
    mean: float = 0.0
    scale: float = 1.0
    vocabulary: tuple[str, ...] = ()
    record: Record | None = None

    @property
    def width(self) -> int:
        """How many numbers it gives."""
        return len(self.vocabulary) if self.kind is ColumnKind.CATEGORY else 1


class TensorInput(NamedTuple):
    """A whole tensor reading as input, an image for instance: its name, how many numbers, and the same arithmetic."""

    name: str
    length: int
    low: float
    high: float
    mean: float = 0.0
    scale: float = 1.0


class InputSpec(NamedTuple):
    """The input of the model's one signature: columns, or one tensor, never both.

    ``window`` rows of the same device, the oldest first, make one input when it is above 1; a device that has sent
    fewer is not scored yet. ``shape`` is the model's input shape without the batch: its product is
    ``window`` times the row's width, or the tensor's length.
    """

    columns: tuple[Column, ...]
    tensor: TensorInput | None
    window: int
    shape: tuple[int, ...]


class OutputKind(StrEnum):
    """What the model's one output is."""

    PROBABILITY = "probability"
    """One number: anomalous when it is at or above the threshold."""
    RECONSTRUCTION = "reconstruction"
    """The input again: the mean squared difference is the score, anomalous at or above the threshold."""
    CLASSES = "classes"
    """A number for each label: the greatest names the class."""


class OutputSpec(NamedTuple):
    """What the answer means. ``labels`` are those of ``CLASSES``, ``threshold`` is that of the others."""

    kind: OutputKind
    threshold: float | None
    labels: tuple[str, ...]


class SmokeTest(NamedTuple):
    """One input row (after the pipeline), what the model must answer, and how near."""

    inputs: tuple[float, ...]
    expected: tuple[float, ...]
    tolerance: float


class Selector(NamedTuple):
    """For which messages the model is meant: adaptive selection weighs it (row A6).

    ``domains`` are beginnings of device ids (empty: any), ``content_formats`` those of the payload (empty: any),
    ``readings`` those that must be there. A domain is no more than that: a registry entry names none.
    """

    domains: tuple[str, ...] = ()
    content_formats: tuple[int, ...] = ()
    readings: tuple[str, ...] = ()


class ModelSpec(NamedTuple):
    """Everything detection needs beside the model itself."""

    inputs: InputSpec
    outputs: OutputSpec
    smoke: SmokeTest
    selector: Selector = Selector()
