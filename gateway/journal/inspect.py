"""Whether a database that lies there can be worked with: looked at when the journal is opened, in bounded time."""

from __future__ import annotations

import sqlite3
import time
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from gateway.journal.leaves import LeavesFile, LeavesState
from gateway.journal.rows import JournalDamaged, JournalFault
from gateway.journal.salvage import open_old
from gateway.journal.schema import check_version, connect_writer, fact, journal_error
from gateway.journal.writer import log_size
from gateway.tlog.merkle import HASH_BYTES, leaf_hash

_CHECK_CLEAN_S = 0.5
_CHECK_UNCLEAN_S = 2.0
_TAIL_CLEAN = 256
_TAIL_UNCLEAN = 1 << 16
_STEPS_PER_LOOK = 20_000
_PAGE = 1024


class Condition(StrEnum):
    """What the database is. The last four words name the directory that it is set aside in."""

    ABSENT = "absent"
    SOUND = "sound"
    OTHER_LOG = "other-log"
    UNREADABLE = "unreadable"
    CORRUPT = "corrupt"
    SUSPECT = "suspect"


class Finding(NamedTuple):
    """The condition; the open connection when it is SOUND; otherwise ``old`` to read from, if that can be done."""

    condition: Condition
    connection: sqlite3.Connection | None = None
    old: sqlite3.Connection | None = None


def inspect(database: Path, leaves: LeavesFile, origin: str, wal_pages: int) -> Finding:
    """Look at the database: head, version, tables, origin, a timed integrity check, the last entries' hashes.

    Raises:
        JournalTooNew: A newer version wrote it.
        JournalFault: The disk does not work.
    """
    if not database.is_file() or database.stat().st_size == 0:
        return Finding(Condition.ABSENT)
    if leaves.head is not None and leaves.head.state is LeavesState.SUSPECT:
        return Finding(Condition.SUSPECT, old=open_old(database))
    try:
        connection = connect_writer(database, wal_pages)
    except sqlite3.Error as error:
        if isinstance(journal_error(error), JournalFault):
            raise JournalFault("the journal cannot be opened") from error
        return Finding(Condition.UNREADABLE, old=open_old(database))
    condition = Condition.UNREADABLE
    try:
        condition = _look(connection, leaves, origin)
    except sqlite3.Error as error:
        meaning = journal_error(error)
        if isinstance(meaning, JournalFault):
            connection.close()
            raise meaning from error
        condition = Condition.CORRUPT if isinstance(meaning, JournalDamaged) else Condition.UNREADABLE
    except BaseException:
        connection.close()
        raise
    if condition is Condition.SOUND:
        return Finding(condition, connection)
    old = open_old(database)  # before the other one is closed: the last to leave would fold the evidence together
    connection.close()
    return Finding(condition, old=old)


def _look(connection: sqlite3.Connection, leaves: LeavesFile, origin: str) -> Condition:
    clean = leaves.head is not None and leaves.head.state is LeavesState.CLOSED
    if check_version(connection) == 0:  # made and never used, or an application's own: told by its tables
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        return Condition.SOUND if tables == 0 and leaves.size == 0 else Condition.UNREADABLE
    if fact(connection, "origin") not in {origin, None}:
        return Condition.OTHER_LOG
    if not _quick_check(connection, _CHECK_CLEAN_S if clean else _CHECK_UNCLEAN_S):
        return Condition.CORRUPT
    if clean:
        end = min(log_size(connection), leaves.size)
        if disagreeing(connection, leaves, max(0, end - _TAIL_CLEAN), end):
            return Condition.CORRUPT  # the file was synced when the journal was closed: it is the one to believe
    return Condition.SOUND


def _quick_check(connection: sqlite3.Connection, seconds: float) -> bool:
    """Return False when damage is found within the time; a check that does not finish has found none."""
    until = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS_PER_LOOK)
    try:
        return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return True
        raise
    finally:
        connection.set_progress_handler(None, 0)


def disagreeing(connection: sqlite3.Connection, leaves: LeavesFile, start: int, end: int) -> list[tuple[int, bytes]]:
    """Return (index, hash of the entry) wherever entry and leaves file do not agree within the range."""
    found = []
    for low in range(start, end, _PAGE):
        high = min(end, low + _PAGE)
        hashes = leaves.read(low, high)
        for index, entry in connection.execute(
            "SELECT idx, entry FROM log WHERE idx >= ? AND idx < ? ORDER BY idx", (low, high)
        ):
            leaf = leaf_hash(entry)
            at = (index - low) * HASH_BYTES
            if hashes[at : at + HASH_BYTES] != leaf:
                found.append((index, leaf))
    return found


def unsynced_range(leaves: LeavesFile, end: int) -> tuple[int, int]:
    """Return the hashes that may not have outlived a power cut: those after the last checkpoint, within reason."""
    note = None if leaves.head is None else leaves.head.checkpoint
    return max(end - _TAIL_UNCLEAN, 0 if note is None else min(note.size, end)), end
