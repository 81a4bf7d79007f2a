"""What goes into the journal and comes out of it, and the ways in which it can say no.

A ``Group`` is one transaction: everything in it becomes durable together, or nothing does. The rows are named tuples,
the cheapest objects to make in Python; nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

TILE_HASHES = 256
"""Hashes in a full tile (c2sp.org/tlog-tiles), and entries in the blocks that are dropped together."""


class JournalError(Exception):
    """The journal did not do what was asked; nothing of a refused group is stored."""


class JournalFull(JournalError):
    """The byte budget is used up and nothing may be dropped. Clears by itself when there is room again: push back."""


class JournalFault(JournalError):
    """The disk said no (full, I/O error, read-only). The same group may be committed again later: push back."""


class JournalDamaged(JournalError):
    """The database is not a sound database any more. Close the journal and open it again: it is set aside then."""


class LogDamaged(JournalError):
    """The log cannot be continued without breaking promises (ADR 0072): nothing is appended until a human decides."""


class IdentityTaken(JournalError):
    """A (device, session, seq) of the group is in the journal already: the replay check was passed by.

    Its windows are older than the log, or a fault of ours. The next start asks the journal about every message.
    """


class JournalTooNew(JournalError):
    """A newer version of the gateway wrote this journal; the message names it."""


class JournalBusy(JournalError):
    """Another process holds this journal."""


class MessageRow(NamedTuple):
    """What an accepted message leaves beside its log entry: the bytes as they came, and how its receipt ended."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody misses
    device_id: str
    session: bytes
    seq: int
    envelope: bytes
    receipt_signature: bytes


class EntryRow(NamedTuple):
    """One entry of the log, of any kind; ``index`` is its position."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody misses
    entry: bytes


class QuarantineRow(NamedTuple):
    """A refused message. ``reason`` is a RejectReason, ``detail`` our own words, ``payload`` the bytes that came."""

    received_ms: int
    reason: str
    transport: str
    peer: str
    device_id: str | None
    detail: str
    payload: bytes


class QuarantineEntry(NamedTuple):
    """A quarantine row as it is stored; ``id`` is stable and rises."""

    id: int
    row: QuarantineRow


class TileRow(NamedTuple):
    """A full tile: 256 hashes of 32 bytes."""

    level: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody misses
    data: bytes


class CheckpointRow(NamedTuple):
    """A signed checkpoint: tree size, root, the signed note as text, and when (ms since 1970)."""

    size: int
    root: bytes
    text: str
    time_ms: int


class Group(NamedTuple):
    """One transaction. ``replay`` maps device ids to replay state; a later pair of the same device wins.

    ``log_key`` is the key that signs from here on, in the group whose entry tells of the change.
    """

    entries: Sequence[EntryRow] = ()
    messages: Sequence[MessageRow] = ()
    replay: Sequence[tuple[str, bytes]] = ()
    quarantine: Sequence[QuarantineRow] = ()
    tiles: Sequence[TileRow] = ()
    checkpoint: CheckpointRow | None = None
    log_key: bytes | None = None


Identity = tuple[str, bytes, int]
"""(device_id, session, seq): what a message is known by (FORMATS.md §2)."""


class Known(NamedTuple):
    """What the journal holds of an identity."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody misses
    entry: bytes
    receipt_signature: bytes


class Gap(NamedTuple):
    """Entries ``start`` to ``end`` (exclusive) are gone, their hashes are kept. ``reason``: policy or damage."""

    start: int
    end: int
    reason: str


class LeftOut(NamedTuple):
    """Rows of a table beside the log that did not come over from a damaged database.

    So many (``rows``) were read and could not be understood, or were found missing. ``broken_off``: the table could
    not be read to its end, and nobody knows how many more there were.
    """

    table: str
    rows: int
    broken_off: bool


class Usage(NamedTuple):
    """Bytes on disk: the database file, the part of it that is free, its write-ahead log, and all other files."""

    file_bytes: int
    free_bytes: int
    wal_bytes: int
    other_bytes: int

    @property
    def disk_bytes(self) -> int:
        """All that the data directory takes."""
        return self.file_bytes + self.wal_bytes + self.other_bytes


class Stats(NamedTuple):
    """What the CLI shows of a journal: sizes in bytes, counts in rows."""

    usage: Usage
    log_size: int
    first_index: int
    messages: int
    devices: int
    quarantined: int
    quarantine_bytes: int
    tiles: int
    checkpoints: int
    final_size: int
    gaps: tuple[Gap, ...]


class MaintenanceReport(NamedTuple):
    """What one round of maintenance did and found. ``retry_soon``: there is more to drop, do not wait a second."""

    dropped_entries: int
    first_index: int
    returned_pages: int
    usage: Usage
    full: bool
    retry_soon: bool
