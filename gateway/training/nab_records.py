"""A detector of records: a reading is an event when something about it leaves the range that was seen before.

What is looked at are parts: the mean of the last readings, less the mean of some more of them, or how much they move.
Each part has an allowance: by how much of its range a record may exceed it. A record widens the range, so that what
comes again is no event again: the detector calms itself. With ``reach`` it remembers that many readings alone, as a
model in the gateway does; without, it keeps the range of everything seen, in constant memory.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from gateway.training.nab_scoring import Profile, Row, Series, worths

SETTLED: Final = 100
"""Readings before the first score, when everything seen counts."""
FLOOR: Final = 0.01
"""The least range of a part, as a share of the readings' own range."""
CAP: Final = 50.0
LEAST_GAIN: Final = 0.5
ROUNDS: Final = 3
ALLOWANCES: Final = (0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5)


class Part(NamedTuple):
    """The mean of the last ``short`` readings less that of the last ``long`` (0: less nothing).

    ``steps``: the mean of the last ``short`` steps' sizes instead; ``long`` is 0 then.
    """

    short: int
    long: int = 0
    steps: bool = False

    @property
    def warm(self) -> int:
        """How many readings come before its first value."""
        return self.short if self.steps else max(self.short, self.long) - 1


CANDIDATES: Final = (
    Part(1),
    Part(2),
    Part(4),
    Part(12),
    Part(1, 8),
    Part(1, 24),
    Part(1, 48),
    Part(4, 48),
    Part(12, 96),
    Part(1, steps=True),
    Part(3, steps=True),
    Part(24, steps=True),
)

Rule = Mapping[Part, float]


class Extreme:
    """The greatest of the last ``reach`` values, or of all: each value enters and leaves once."""

    __slots__ = ("_count", "_kept", "_reach")

    def __init__(self, reach: int | None) -> None:
        self._reach, self._count = reach, 0
        self._kept: deque[tuple[int, float]] = deque()

    def add(self, value: float) -> None:
        """Take the next value."""
        kept = self._kept
        if self._reach is None:
            if not kept or value > kept[0][1]:
                kept.clear()
                kept.append((0, value))
            return
        while kept and kept[-1][1] <= value:
            kept.pop()
        kept.append((self._count, value))
        self._count += 1
        if kept[0][0] < self._count - self._reach:
            kept.popleft()

    @property
    def value(self) -> float:
        """The greatest; minus infinity of nothing."""
        return self._kept[0][1] if self._kept else -math.inf


class Watch:
    """One part of one series: the last readings it needs, and the range of its values."""

    __slots__ = ("_high", "_last", "_low", "_part")

    def __init__(self, part: Part, reach: int | None) -> None:
        self._part = part
        left = None if reach is None else reach - 1 - part.warm
        self._high, self._low = Extreme(left), Extreme(left)
        self._last: deque[float] = deque(maxlen=part.warm + 1)

    def take(self, reading: float, scale: float) -> float:
        """Take a reading, say by how much of its range the part leaves it; minus 1 at most when it does not."""
        last, part = self._last, self._part
        last.append(reading)
        if len(last) <= part.warm:
            return -1.0
        value = _value(part, last)
        high, low = self._high.value, -self._low.value
        self._high.add(value)
        self._low.add(-value)
        if high == -math.inf:
            return -1.0
        return min(max(value - high, low - value) / max(high - low, FLOOR * scale), CAP)


def _value(part: Part, last: deque[float]) -> float:
    values = list(last)
    if part.steps:
        return sum(abs(values[place] - values[place - 1]) for place in range(1, len(values))) / part.short
    short = sum(values[-part.short :]) / part.short
    return short - sum(values[-part.long :]) / part.long if part.long else short


def novelty(values: Sequence[float], parts: Iterable[Part], reach: int | None = None) -> dict[Part, list[float]]:
    """Say for each part and reading how far it leaves what was seen; minus 1 where nothing is said yet."""
    first = SETTLED if reach is None else reach - 1
    left = None if reach is None else reach - 1
    high, low = Extreme(left), Extreme(left)
    watches = {part: Watch(part, reach) for part in parts}
    found: dict[Part, list[float]] = {part: [] for part in watches}
    for index, reading in enumerate(values):
        floor = -low.value
        span = max(high.value - floor, least_span(floor)) if index else 1.0
        high.add(reading)
        low.add(-reading)
        for part, watch in watches.items():
            out = watch.take(reading, span)
            found[part].append(out if index >= first else -1.0)
    return found


def least_span(low: float) -> float:
    """The range that stands for that of readings which never varied."""
    return 1e-5 * max(abs(low), 1e-3)


def scores(found: Mapping[Part, Sequence[float]], rule: Rule) -> list[float]:
    """Put the parts of a rule together: at 1 and above one of them has left its range by its allowance."""
    columns = [[value / allowance for value in found[part]] for part, allowance in rule.items()]
    return [max(0.0, *row) for row in zip(*columns, strict=True)]


class Judge:
    """What a set of detections of some files scores, from the detections alone: quick enough to choose with."""

    def __init__(self, corpus: Iterable[Series], profile: Profile) -> None:
        self._profile = profile
        self._rows: dict[str, list[Row | None]] = {series.name: worths(series, profile) for series in corpus}
        held = [row.window for rows in self._rows.values() for row in rows if row is not None and row.window]
        self.windows = len(set(held))

    def __call__(self, detections: Mapping[str, set[int]]) -> float:
        """Return the score, not normalised."""
        total = 0.0
        met: dict[tuple[str, int], float] = {}
        for name, rows in self._rows.items():
            for index in detections[name]:
                row = rows[index]
                if row is None:
                    continue
                if row.window is None:
                    total += row.worth
                else:
                    met[row.window] = max(met.get(row.window, -math.inf), row.worth)
        return total + sum(met.values()) - self._profile.fn_weight * (self.windows - len(met))


def choose(
    corpus: Sequence[Series], found: Mapping[str, Mapping[Part, Sequence[float]]], profile: Profile
) -> dict[Part, float]:
    """Choose parts and allowances one at a time, each the one that raises the score of these files most."""
    judge = Judge(corpus, profile)
    options: dict[tuple[Part, float], dict[str, set[int]]] = {}
    for part in next(iter(found.values())):
        for allowance in ALLOWANCES:
            options[part, allowance] = {
                series.name: {i for i, value in enumerate(found[series.name][part]) if value >= allowance}
                for series in corpus
            }
    rule: dict[Part, float] = {}
    taken: dict[str, set[int]] = {series.name: set() for series in corpus}
    best = judge(taken)
    gain = LEAST_GAIN * (profile.tp_weight + profile.fn_weight) * judge.windows / 100
    for _ in range(ROUNDS):
        trials = {key: judge({name: taken[name] | option[name] for name in taken}) for key, option in options.items()}
        key = max(trials, key=lambda name: trials[name])
        if trials[key] < best + gain:
            break
        best = trials[key]
        taken = {name: taken[name] | options[key][name] for name in taken}
        rule[key[0]] = min(key[1], rule.get(key[0], math.inf))
    return rule
