"""How many bytes the journal may take, and when it starts and stops saying no.

Pure arithmetic on measured sizes. Three marks below the budget, highest first:

* ``full_at``: a group that would pass it is refused. What is left above belongs to the write-ahead log and to
  maintenance, which needs room to make room.
* ``resume_at``: once full, groups are refused until the use is below this mark, so that the gateway does not flap.
* ``drop_at``: above it, maintenance drops what the policy allows to go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gateway.journal.rows import Group, Usage

PAGE_BYTES = 4096
_ROW_BYTES = 320  # b-tree cells, their index entries at half-full pages, the leaf hash and its tile
_REPLAY_BYTES = 96
_SHORT_BYTES = 512


class Marks(NamedTuple):
    """The marks in bytes of use, how many free pages are kept, and how long the write-ahead log may grow."""

    full_at: int
    resume_at: int
    drop_at: int
    slack_pages: int
    wal_pages: int


def marks_of(budget_bytes: int) -> Marks:
    """Return the marks of a budget: at most 64 MiB, and at most an eighth, is held back."""
    reserve = min(64 << 20, budget_bytes // 8)
    full_at = budget_bytes - reserve
    return Marks(
        full_at=full_at,
        resume_at=full_at - budget_bytes // 64,
        drop_at=full_at - budget_bytes // 8,
        slack_pages=budget_bytes // 128 // PAGE_BYTES,
        wal_pages=reserve // 4 // PAGE_BYTES,
    )


def _stored(lengths: Iterable[int]) -> int:
    """Bytes that rows with values of these lengths take at most: few to a page, or a chain of overflow pages."""
    total = 0
    for length in lengths:
        if length < _SHORT_BYTES:
            total += length
        elif length < PAGE_BYTES - 2 * _ROW_BYTES:
            total += length + PAGE_BYTES // 2
        else:
            total += _SHORT_BYTES + PAGE_BYTES * ((length + _ROW_BYTES) // (PAGE_BYTES - 4) + 1)
    return total


def growth_bytes(group: Group) -> int:
    """Return an upper estimate of what committing ``group`` adds to the disk use."""
    total = _ROW_BYTES * len(group.entries) + sum([len(entry) for _, entry in group.entries])
    total += _stored([len(row.envelope) for row in group.messages])
    total += sum([len(state) + _REPLAY_BYTES for _, state in group.replay])
    total += _stored([len(row.payload) for row in group.quarantine]) + _ROW_BYTES * len(group.quarantine)
    total += sum([len(tile.data) + PAGE_BYTES // 2 for tile in group.tiles])
    return total + PAGE_BYTES


class Room:
    """Whether a group may come in. Holds the last measurement and what was promised since.

    The caller measures (``measured``) at start, in maintenance, and once more before a refusal is believed.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.marks = marks_of(budget_bytes)
        self._measured_bytes = 0
        self._since_bytes = 0
        self._refused_bytes = 0
        self._refused_at_most = budget_bytes // 16
        self.full = False

    def measured(self, usage: Usage) -> None:
        """Take a fresh measurement; leaves the full state when what was refused fits below ``resume_at``."""
        wal_floor = min(usage.wal_bytes, self.marks.wal_pages * PAGE_BYTES)  # the reserve pays for this much
        self._measured_bytes = usage.disk_bytes - usage.free_bytes - wal_floor
        self._since_bytes = 0
        if self.full and self._measured_bytes + self._refused_bytes <= self.marks.resume_at:
            self.full = False

    @property
    def used_bytes(self) -> int:
        """Bytes in use: what was measured, less free pages, plus what was taken in since."""
        return self._measured_bytes + self._since_bytes

    def admits(self, growth: int) -> bool:
        """Return whether ``growth`` more bytes may come in now. Changes nothing."""
        return not self.full and self.used_bytes + growth <= self.marks.full_at

    def take(self, growth: int) -> None:
        """Count ``growth`` bytes as used; until the next measurement this is an estimate from above."""
        self._since_bytes += growth

    def refuse(self, growth: int) -> None:
        """Enter the full state, until there is room for as much. A giant does not keep the others out."""
        self.full = True
        self._refused_bytes = min(growth, self._refused_at_most)
