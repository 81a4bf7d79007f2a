"""How many bytes of log may be written: a bucket that refills, with a share that only errors may use.

Pure: time is an argument. Whatever happens, no 3,600 seconds have more than ``bytes_per_hour``: half of it lies in
the bucket, half comes in over an hour, and a little is set apart for telling that something was withheld.

    within --an event does not fit--> over --the bucket is half full again--> within
"""

from __future__ import annotations

from typing import Final, NamedTuple

HOUR_S: Final = 3600.0
NOTICES_BYTES: Final = 4096
_ERRORS_SHARE: Final = 0.25
_BACK_SHARE: Final = 0.5


class Notice(NamedTuple):
    """Something to tell: whether the budget is spent, and what was withheld since the last notice."""

    is_over: bool
    withheld: int
    withheld_bytes: int
    errors: int


class ByteBudget:
    """Decides which events there is room for. ``withheld`` counts those that were not written, for ever."""

    def __init__(self, bytes_per_hour: int, now_s: float) -> None:
        self.withheld = 0
        self._is_over = False
        self._told_s = now_s
        self._untold = [0, 0, 0]
        self._seen_s = now_s
        self._level = 0.0
        self._capacity = 0.0
        self.change(bytes_per_hour)
        self._level = self._capacity

    def change(self, bytes_per_hour: int) -> None:
        """Another budget from now on; what was spent stays spent."""
        spent = self._capacity - self._level
        self._capacity = (bytes_per_hour - NOTICES_BYTES) / 2
        self._level = max(0.0, self._capacity - spent)

    def spend(self, size: int, now_s: float, *, is_error: bool, events: int = 1) -> bool:
        """Whether ``size`` bytes that speak of so many events may be written; False counts them as withheld.

        Ask ``notice`` next, in either case.
        """
        self._refill(now_s)
        floor = 0.0 if is_error else self._capacity * _ERRORS_SHARE
        if self._level - size >= floor:
            self._level -= size
            return True
        self.withheld += events
        self._untold[0] += events
        self._untold[1] += size
        self._untold[2] += events if is_error else 0
        return False

    def notice(self, now_s: float, *, at_the_end: bool = False) -> Notice | None:
        """What is to be told now: at once when the budget is spent, once an hour while it is, and when it is back."""
        self._refill(now_s)
        is_back = self._is_over and self._level >= self._capacity * _BACK_SHARE
        begins = not self._is_over and self._untold[0] > 0
        again = self._is_over and self._untold[0] > 0 and (at_the_end or now_s - self._told_s >= HOUR_S)
        if not (is_back or begins or again):
            return None
        self._is_over = not is_back
        self._told_s = now_s
        notice = Notice(self._is_over, *self._untold)
        self._untold = [0, 0, 0]
        return notice

    def due_s(self, now_s: float) -> float | None:
        """In how many seconds ``notice`` may have something to tell by itself; None while the budget is not spent."""
        if not self._is_over:
            return None
        self._refill(now_s)
        missing = max(0.0, self._capacity * _BACK_SHARE - self._level)
        back_s = missing / self._capacity * HOUR_S
        return max(0.0, min(back_s, self._told_s + HOUR_S - now_s)) if self._untold[0] else back_s

    def _refill(self, now_s: float) -> None:
        passed_s = max(0.0, now_s - self._seen_s)
        self._seen_s = max(self._seen_s, now_s)
        self._level = min(self._capacity, self._level + passed_s * self._capacity / HOUR_S)
