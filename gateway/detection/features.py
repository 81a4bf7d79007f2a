"""From what a device sent to what a model wants: one rule a number, as the manifest says (pure, rows A7 and S4).

A pipeline is data. It is checked once, when it is made; after that nothing a device sends makes it raise: the answer
is a row of float32, or ``NotScorable`` with the reason.
"""

from __future__ import annotations

import math
from array import array
from typing import Any, Final, NamedTuple

from gateway.detection.port import UnscoredReason
from gateway.detection.records import AFTER_MAX, REACH_MAX
from gateway.detection.spec import Column, ColumnKind, InputSpec, Record, TensorInput
from gateway.detection.traffic import READERS, DeviceTraffic, Reader, Statistic
from gateway.envelope.readings import NotScorable, Readings

WIDTH_MAX: Final = 65_536
"""Numbers in one input, window and all."""
FLOAT_BYTES: Final = 4

_SEPARATORS: Final = frozenset(":/._-")


class SpecFault(ValueError):
    """The spec cannot be applied; the message says which rule it breaks."""


class Row(NamedTuple):
    """One input row, and how good the data behind it was.

    ``quality`` is the share of columns that came times the share of numbers that needed no clipping.
    """

    values: array[float]
    quality: float


def own_names(found: Readings, device_id: str) -> Readings:
    """Take the device's id off the front of its readings' names, where it stands as SenML's base name mostly does.

    One of ``: / . _ -`` behind it goes with it. Otherwise no model could mean the same reading of two devices. Where
    two names became one, all stay as they are.
    """
    for part in found:
        for name in part:
            if name.startswith(device_id):
                return _renamed(found, device_id)
    return found


def _renamed(found: Readings, device_id: str) -> Readings:
    parts: list[dict[str, Any]] = [{_own_name(name, device_id): part[name] for name in part} for part in found]
    scalars, tensors, texts = parts
    if len({*scalars, *tensors, *texts}) < sum(map(len, found)):
        return found
    return Readings(scalars, tensors, texts)


def _own_name(name: str, device_id: str) -> str:
    if not name.startswith(device_id):
        return name
    start = len(device_id)
    return name[start + (name[start : start + 1] in _SEPARATORS) :] or name


Kept = tuple[float | None, ...]
"""What a device's record columns say of the message at hand, in their order."""


class _Number(NamedTuple):
    """A column of one number, ready to be applied; ``at`` is its place among the records."""

    name: str
    at: int | None
    taken: Reader | None
    missing: float | None
    low: float
    high: float
    log1p: bool
    mean: float
    scale: float

    @property
    def of_message(self) -> bool:
        """Whether the number stands in the message itself."""
        return self.at is None and self.taken is None

    def kept(self, traffic: DeviceTraffic | None, records: Kept | None) -> float | None:
        """The number of a statistic or a record."""
        if self.at is not None:
            return None if records is None else records[self.at]
        return None if traffic is None or self.taken is None else self.taken(traffic)


class _Words(NamedTuple):
    """A category, ready to be applied."""

    name: str
    missing: bool
    places: dict[str | None, int]

    def row(self, word: str | None) -> list[float]:
        """1 at the place of the word, 0 elsewhere; all zeros for a word that is not in the vocabulary."""
        row = [0.0] * len(self.places)
        place = self.places.get(word)
        if place is not None:
            row[place] = 1.0
        return row


class Pipeline:
    """Applies one ``InputSpec``.

    Raises:
        SpecFault: when it is made from a spec that cannot be applied.
    """

    def __init__(self, inputs: InputSpec) -> None:
        _check(inputs)
        self.inputs = inputs
        recording = [column for column in inputs.columns if column.kind is ColumnKind.RECORD]
        self._steps = [_step(column, recording) for column in inputs.columns]
        self._kept = [step for step in self._steps if isinstance(step, _Number) and not step.of_message]
        self.width = sum(column.width for column in inputs.columns) if inputs.tensor is None else inputs.tensor.length
        self.window = inputs.window
        self.statistics = any(column.kind is ColumnKind.STATISTIC for column in inputs.columns)
        self.records = bool(recording)
        kinds = (ColumnKind.READING, ColumnKind.CATEGORY, ColumnKind.RECORD)
        told = [column for column in inputs.columns if column.kind in kinds]
        tensor = () if inputs.tensor is None else (inputs.tensor.name,)
        self.names = frozenset((*(column.name for column in told), *tensor))
        """The readings that it looks for."""
        self.needed = frozenset((*(column.name for column in told if column.missing is None), *tensor))
        """Those among them that it cannot do without."""

    def kept(self, traffic: DeviceTraffic | None, records: Kept | None) -> list[float | None]:
        """The numbers of the statistics and records, in the order of their columns; None for each that is missing."""
        return [step.kept(traffic, records) for step in self._kept]

    def row(
        self, readings: Readings, traffic: DeviceTraffic | None = None, records: Kept | None = None
    ) -> Row | NotScorable:
        """Make the row of a message.

        Args:
            readings: under their own names.
            traffic: already counts the message; None where no statistics are kept.
            records: what ``RecordTable.push`` said of the message; None where no records are kept.
        """
        if self.inputs.tensor is not None:
            return _tensor_row(self.inputs.tensor, readings)
        scalars, texts = readings.scalars, readings.texts
        row: list[float] = []
        absent = clipped = 0
        for step in self._steps:
            if isinstance(step, _Words):
                word = texts.get(step.name)
                if word is None and not step.missing:
                    return _MISSING
                absent += word is None
                row += step.row(word)
                continue
            name, _, _, missing, low, high, log1p, mean, scale = step
            number = scalars.get(name) if step.of_message else step.kept(traffic, records)
            if number is None:
                if missing is None:
                    return _TOO_FEW if step.at is not None and name in scalars else _MISSING
                absent += 1
                number = missing
            if number < low:
                number, clipped = low, clipped + 1
            elif number > high:
                number, clipped = high, clipped + 1
            if log1p and number >= 0:
                number = math.log1p(number)
            row.append((number - mean) / scale)
        count = len(self._steps)
        return _finished(row, (1 - absent / count) * (1 - clipped / count))


_MISSING: Final = NotScorable(UnscoredReason.MISSING_READING)
_TOO_FEW: Final = NotScorable(UnscoredReason.WINDOW_SHORT)
_WRONG_SHAPE: Final = NotScorable(UnscoredReason.WRONG_SHAPE)
_NOT_FINITE: Final = NotScorable(UnscoredReason.NOT_FINITE)


def _tensor_row(tensor: TensorInput, readings: Readings) -> Row | NotScorable:
    values = readings.tensors.get(tensor.name)
    if values is None:
        return _MISSING
    if len(values) != tensor.length:
        return _WRONG_SHAPE
    low, high, mean, scale = tensor.low, tensor.high, tensor.mean, tensor.scale
    clipped = 0
    if min(values) < low or max(values) > high:
        clipped = sum(not low <= number <= high for number in values)
        values = tuple(min(max(number, low), high) for number in values)
    return _finished([(number - mean) / scale for number in values], 1 - clipped / tensor.length)


def _finished(row: list[float], quality: float) -> Row | NotScorable:
    """Round to float32, which is where a number that is too great becomes an infinity."""
    values = array("f", row)
    # Finite float32 cannot add up to an infinity in float64: the sum is finite exactly when all are.
    return Row(values, quality) if math.isfinite(sum(values)) else _NOT_FINITE


def _step(column: Column, recording: list[Column]) -> _Number | _Words:
    if column.kind is ColumnKind.CATEGORY:
        places: dict[str | None, int] = {word: place for place, word in enumerate(column.vocabulary)}
        return _Words(column.name, column.missing is not None, places)
    at = next((place for place, other in enumerate(recording) if other is column), None)
    taken = READERS[Statistic(column.name)] if column.kind is ColumnKind.STATISTIC else None
    _, _, missing, low, high, log1p, mean, scale, _, _ = column
    return _Number(column.name, at, taken, missing, low, high, log1p, mean, scale)


def _check(inputs: InputSpec) -> None:
    """Refuse what could not be applied, before any message meets it."""
    if (inputs.tensor is None) != bool(inputs.columns):
        raise SpecFault("the input is columns, or one tensor, and not both")
    if inputs.window < 1 or (inputs.tensor is not None and inputs.window != 1):
        raise SpecFault("the window is at least 1, and 1 for a tensor")
    for column in inputs.columns:
        _check_column(column)
    if inputs.tensor is not None:
        if inputs.tensor.length < 1:
            raise SpecFault("the tensor has no numbers")
        _check_arithmetic(inputs.tensor)
    width = sum(column.width for column in inputs.columns) if inputs.tensor is None else inputs.tensor.length
    size = width * inputs.window
    if not 0 < size <= WIDTH_MAX:
        raise SpecFault(f"an input has 1 to {WIDTH_MAX} numbers")
    if min(inputs.shape, default=0) < 1 or math.prod(inputs.shape) != size:
        raise SpecFault("the shape does not hold the window times the width of a row")


def _check_column(column: Column) -> None:
    if (column.kind is ColumnKind.RECORD) != (column.record is not None):
        raise SpecFault("a record column says what it records, and no other does")
    if column.record is not None:
        check_record(column.record)
    if column.kind is ColumnKind.CATEGORY:
        if not column.vocabulary or len(set(column.vocabulary)) != len(column.vocabulary):
            raise SpecFault("a category has at least one word, and none twice")
        return
    if column.kind is ColumnKind.STATISTIC and column.name not in set(Statistic):
        raise SpecFault("a statistic that is not kept here")
    if column.missing is not None and not math.isfinite(column.missing):
        raise SpecFault("a replacement that is not finite")
    _check_arithmetic(column)


def check_record(record: Record) -> None:
    """Refuse a record that could not be kept.

    Raises:
        SpecFault: which rule it breaks.
    """
    short, long, steps, after = record
    if not (short >= 1 and record.reach <= REACH_MAX and (long == 0 or (short < long and not steps))):
        raise SpecFault(f"a record looks at 1 to {REACH_MAX} readings, the longer mean at more, and steps have none")
    if not record.reach < after <= AFTER_MAX:
        raise SpecFault(f"a record speaks after more readings than it looks at, and after {AFTER_MAX} at most")


def _check_arithmetic(part: Column | TensorInput) -> None:
    if not all(map(math.isfinite, (part.low, part.high, part.mean, part.scale))):
        raise SpecFault("a bound, mean or scale that is not finite")
    if part.low > part.high or part.scale == 0:
        raise SpecFault("a lower bound above the upper one, or a scale of 0")
