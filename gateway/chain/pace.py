"""How often an endpoint may be asked, and how long one rests that failed (pure: time is an argument)."""

from __future__ import annotations

from typing import Final

BURST: Final = 4.0
"""A burst of so many seconds' worth of requests."""
FIRST_REST_S: Final = 1.0
LONGEST_REST_S: Final = 60.0
FORGIVEN_AFTER: Final = 8
MOST_YIELDS: Final = 8


class Pace:
    """A token bucket that lends: whoever comes too early is told how long to wait, and has its turn then."""

    def __init__(self, per_s: float, burst: float = BURST) -> None:
        self._apart_s = 1.0 / per_s
        self._ahead_s = max(0.0, max(1.0, burst * per_s) - 1.0) * self._apart_s
        self._due = float("-inf")

    def wait_s(self, now: float) -> float:
        """Take a turn; returns how long to wait before using it."""
        due = max(self._due, now)
        self._due = due + self._apart_s
        return max(0.0, due - self._ahead_s - now)


class Rest:
    """The back-off of one endpoint: 1 s, doubling to 60 s while it keeps failing.

    After a rest it also lets others go first for a number of views that doubles, if there are others that are well:
    an endpoint may answer for its head and fail at every other question, and the time between two looks may be
    longer than any rest. Failures are forgiven after ``FORGIVEN_AFTER`` views in a row that ended well.
    """

    def __init__(self) -> None:
        self._until = float("-inf")
        self._failures = 0
        self._well = 0
        self._yields = 0

    @property
    def yields(self) -> bool:
        """Whether it should be asked after the others."""
        return self._yields > 0

    def left_s(self, now: float) -> float:
        """How long it still rests; 0 when it may be asked."""
        return max(0.0, self._until - now)

    def failed(self, now: float, wished_s: float = 0.0) -> None:
        """Begin a rest, at least as long as the endpoint wished itself. Failures during a rest are one failure."""
        if now >= self._until:
            self._failures += 1
        self._well = 0
        doubled = 2 ** min(self._failures - 1, 10)
        self._yields = min(doubled, MOST_YIELDS)
        self._until = max(self._until, now + max(min(FIRST_REST_S * doubled, LONGEST_REST_S), wished_s))

    def passed_over(self) -> None:
        """Another endpoint was used."""
        self._yields = max(0, self._yields - 1)

    def served(self) -> None:
        """A view of it ended well."""
        self._well += 1
        if self._well >= FORGIVEN_AFTER:
            self._failures = 0
