"""Repeated log events folded into a count. Pure: time is an argument.

The first few of a kind pass; the rest of the window is counted; the first one after it carries the count. The table
is bounded: what a flood of kinds pushes out is still counted, under no name.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

WINDOW_S: Final = 10.0
BURST: Final = 10
MAX_KINDS: Final = 256


@dataclass(slots=True)
class _Window:
    began_s: float
    passed: int = 0
    folded: int = 0


class EventFolder:
    """Decides which of many like events are written. ``kind`` is whatever makes two events alike."""

    def __init__(self, *, window_s: float = WINDOW_S, burst: int = BURST, max_kinds: int = MAX_KINDS) -> None:
        self._window_s = window_s
        self._burst = burst
        self._max_kinds = max_kinds
        self._windows: OrderedDict[str, _Window] = OrderedDict()
        self.forgotten = 0

    def admit(self, kind: str, now_s: float) -> int | None:
        """Whether to write this event: None to fold it, else how many like it were folded since the last written.

        Args:
            kind: what makes events alike.
            now_s: monotonic seconds.
        """
        window = self._windows.get(kind)
        if window is None or now_s - window.began_s >= self._window_s:
            folded = 0 if window is None else window.folded
            self._windows[kind] = _Window(now_s, passed=1)
            self._windows.move_to_end(kind)
            if len(self._windows) > self._max_kinds:
                self.forgotten += self._windows.popitem(last=False)[1].folded
            return folded
        if window.passed < self._burst:
            window.passed += 1
            return 0
        window.folded += 1
        return None

    def flush(self, now_s: float, *, everything: bool = False) -> list[tuple[str, int]]:
        """Take what was folded in windows that are over (``everything``: in all): (kind, count), none of them 0."""
        flushed: list[tuple[str, int]] = []
        for kind, window in list(self._windows.items()):
            if everything or now_s - window.began_s >= self._window_s:
                if window.folded:
                    flushed.append((kind, window.folded))
                del self._windows[kind]
        return flushed

    def due_s(self, now_s: float) -> float | None:
        """In how many seconds ``flush`` has something to take; None while nothing is folded."""
        ends = [window.began_s + self._window_s for window in self._windows.values() if window.folded]
        if self.forgotten:
            ends.append(now_s + self._window_s)
        return max(0.0, min(ends) - now_s) if ends else None

    def take_forgotten(self) -> int:
        """How many folded events were pushed out of the table since the last call."""
        forgotten, self.forgotten = self.forgotten, 0
        return forgotten
