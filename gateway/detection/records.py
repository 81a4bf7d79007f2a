"""By how much a reading leaves the range that its device ever sent: a running range, in constant memory (pure).

What is looked at is the reading's mean over the last few, less the mean over some more, or how much it moves
(``spec.Record``). Its range is that of all its values before this one; the answer is the excess over it as a share of
the range, below zero inside it. A record widens the range: what comes again is no record again.

Nothing survives a restart, or being forgotten: the device begins anew.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from gateway.detection.spec import Column, ColumnKind, Record

FLOOR: Final = 0.01
"""The least range of a column, as a share of the range of the readings themselves."""
EXCESS_MAX: Final = 50.0
READING_MAX: Final = 3e38
"""Beyond, a reading counts as this: sums of some hundreds stay finite."""
REACH_MAX: Final = 512
AFTER_MAX: Final = 65_536

_OVERHEAD_BYTES: Final = 600
"""Beside the numbers: the id, the objects' heads, the place in the table."""


def least_span(low: float) -> float:
    """The range that stands for that of readings which never varied."""
    return 1e-5 * max(abs(low), 1e-3)


class _Range:
    """The least and the greatest of all values so far."""

    __slots__ = ("high", "low")

    def __init__(self, first: float) -> None:
        self.low = self.high = first

    def widen(self, value: float) -> None:
        if value > self.high:
            self.high = value
        elif value < self.low:
            self.low = value


class _Watched:
    """One reading of one device: its last values, its range, and that of each column that looks at it."""

    __slots__ = ("_keep", "_last", "_own", "_ranges", "_records", "_seen")

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records
        self._keep = max(record.reach for record in records)
        self._last = array("d")
        self._own: _Range | None = None
        self._ranges: list[_Range | None] = [None] * len(records)
        self._seen = 0

    def take(self, reading: float) -> list[float | None]:
        """Take the reading of the message at hand; an answer a record, None while too few have come for it."""
        reading = min(max(reading, -READING_MAX), READING_MAX)
        last, own = self._last, self._own
        last.append(reading)
        # Trimmed seldom, not each time: twice as many are kept at most.
        if len(last) > 2 * self._keep:
            del last[: -self._keep]
        least = FLOOR * (1.0 if own is None else max(own.high - own.low, least_span(own.low)))
        if own is None:
            self._own = _Range(reading)
        else:
            own.widen(reading)
        answers = [self._excess(place, record, least) for place, record in enumerate(self._records)]
        self._seen = min(self._seen + 1, AFTER_MAX)
        return answers

    def _excess(self, place: int, record: Record, least: float) -> float | None:
        last = self._last
        if len(last) < record.reach:
            return None
        value = _quantity(record, last)
        known = self._ranges[place]
        if known is None:
            self._ranges[place] = _Range(value)
            return None
        low, high = known.low, known.high
        known.widen(value)
        if self._seen < record.after:
            return None
        return min(max(value - high, low - value) / max(high - low, least), EXCESS_MAX)


def _quantity(record: Record, last: array[float]) -> float:
    if record.steps:
        steps = last[-record.short - 1 :]
        return sum(abs(one - before) for before, one in pairwise(steps)) / record.short
    if record.short == 1 and not record.long:
        return last[-1]
    short = sum(last[-record.short :]) / record.short
    return short - sum(last[-record.long :]) / record.long if record.long else short


class RecordTable:
    """The devices that sent last, bounded in bytes; beyond, the one that was silent longest is forgotten.

    Args:
        columns: of the pipeline; those of the kind ``RECORD`` are watched.
        budget_bytes: what the table may take.
    """

    def __init__(self, columns: Sequence[Column], budget_bytes: int) -> None:
        wanted = [
            (column.name, column.record)
            for column in columns
            if column.kind is ColumnKind.RECORD and column.record is not None
        ]
        self._by_name = {name: [record for other, record in wanted if other == name] for name, _ in wanted}
        self._names = [name for name, _ in wanted]
        keep = sum(16 * max(record.reach for record in records) for records in self._by_name.values())
        self.device_bytes = keep + 150 * len(wanted) + _OVERHEAD_BYTES * len(self._by_name)
        self._bound = max(1, budget_bytes // self.device_bytes)
        self._devices: dict[str, dict[str, _Watched]] = {}
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._devices)

    def push(self, device_id: str, scalars: Mapping[str, float]) -> tuple[float | None, ...]:
        """Take the readings of a message; an answer for each watched column, in their order.

        A reading that did not come leaves its columns as they were, and their answers are None.
        """
        devices = self._devices
        device = devices.pop(device_id, None)
        if device is None:
            device = {}
            if len(devices) >= self._bound:
                del devices[next(iter(devices))]
                self.forgotten += 1
        devices[device_id] = device
        found: dict[str, list[float | None]] = {}
        for name, records in self._by_name.items():
            reading = scalars.get(name)
            if reading is None:
                found[name] = [None] * len(records)
                continue
            watched = device.get(name)
            if watched is None:
                watched = device[name] = _Watched(records)
            found[name] = watched.take(reading)
        taken = {name: iter(answers) for name, answers in found.items()}
        return tuple(next(taken[name]) for name in self._names)
