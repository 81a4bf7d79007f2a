"""The one that writes: groups, and the small steps of maintenance that change the database.

A ``Writer`` lives on one thread. What it promises is in ``commit``; everything else is bookkeeping around it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gateway.config.model import JournalConfig
from gateway.journal import intake, outbox
from gateway.journal.budget import PAGE_BYTES, Room, growth_bytes
from gateway.journal.doubt import doubt_windows
from gateway.journal.leaves import LeavesFile, LeavesState
from gateway.journal.rows import (
    Gap,
    Group,
    IdentityTaken,
    JournalDamaged,
    JournalFault,
    JournalFull,
    LogDamaged,
    QuarantineRow,
    TileRow,
    Usage,
)
from gateway.journal.schema import DATABASE, fact, journal_error, set_fact
from gateway.tlog.merkle import HASH_BYTES, leaf_hash

_QUARANTINE_OVERHEAD_BYTES = 128
_BEHIND_BYTES = 1 << 20


def other_bytes(directory: Path) -> int:
    """Return the size of all files below ``directory`` but the database and its write-ahead log."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            if name in {DATABASE, DATABASE + "-wal"} and Path(folder) == directory:
                continue
            try:
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 -- a Path a file is waste here
            except FileNotFoundError:
                continue
    return total


def measure(connection: sqlite3.Connection, directory: Path) -> Usage:
    """Measure the data directory.

    Raises:
        sqlite3.Error: The database does not answer.
    """
    pages = int(connection.execute("PRAGMA page_count").fetchone()[0])
    free = int(connection.execute("PRAGMA freelist_count").fetchone()[0])
    try:
        wal_bytes = (directory / (DATABASE + "-wal")).stat().st_size
    except FileNotFoundError:
        wal_bytes = 0
    return Usage(pages * PAGE_BYTES, free * PAGE_BYTES, wal_bytes, other_bytes(directory))


def log_size(connection: sqlite3.Connection) -> int:
    """Return how many entries the log has, those that are gone included."""
    newest = connection.execute("SELECT max(idx) FROM log").fetchone()[0]
    gap_end = connection.execute("SELECT max(end) FROM gaps").fetchone()[0]
    return max(0 if newest is None else newest + 1, gap_end or 0)


class Writer:
    """The writing side of an open journal. All methods belong to one thread; ``size`` may be read from any."""

    def __init__(
        self, connection: sqlite3.Connection, leaves: LeavesFile, directory: Path, config: JournalConfig
    ) -> None:
        self._connection = connection
        self._leaves = leaves
        self._directory = directory
        self._quarantine_budget = min(config.quarantine_bytes, config.budget_bytes // 4)
        self._quarantine_end = 0
        self._behind = b""
        self.room = Room(config.budget_bytes)
        self.size = 0
        self.log_damaged = False

    def start(self) -> None:
        """Read where the journal stands.

        Raises:
            sqlite3.Error: The database does not answer.
        """
        intake.create(self._connection)
        self.size = log_size(self._connection)
        self.log_damaged = fact(self._connection, "log_damaged") is not None
        self._quarantine_end = self._connection.execute("SELECT max(id) FROM quarantine").fetchone()[0] or 0
        self.room.measured(measure(self._connection, self._directory))

    def commit(self, group: Group) -> None:
        """Store the whole group; durable when it returns, and nothing of it is stored when it raises.

        Raises:
            ValueError: The entries do not continue the log, or a message has no entry.
            IdentityTaken: An identity is in the journal already, so a window is older than the log. All of them are
                doubted by now: the next start asks the journal, where it would have ended the same way again.
            JournalFull: The budget is used up.
            JournalFault: The disk did not take it; try the same group again later.
            JournalDamaged: The database is not sound; open the journal anew.
            LogDamaged: The log takes no entries any more.
        """
        if self.log_damaged and group.entries:
            raise LogDamaged("the log cannot be continued; see ADR 0072 for the ways out")
        flat = intake.log_rows(group.entries, group.messages, self.size)
        flat += intake.replay_rows(group.replay)
        flat += intake.tile_rows(group.tiles)
        quarantine_end = self._add_quarantine(flat, group.quarantine)
        if group.checkpoint is not None:
            flat += intake.checkpoint_row(group.checkpoint)
        if group.log_key is not None:
            flat += intake.log_key_row(group.log_key)
        if not flat:
            return
        growth = growth_bytes(group)
        self._make_sure_of_room(growth)
        hashes = b"".join([leaf_hash(entry) for _, entry in group.entries])
        with self._faults():
            if len(self._behind) > _BEHIND_BYTES:
                self._append(b"")
            self._leaves.reserve((len(self._behind) + len(hashes)) // HASH_BYTES)
        try:
            with self._faults():
                intake.execute(self._connection, flat)
        except IdentityTaken:
            self.transact(doubt_windows)
            raise
        self.size += len(group.entries)
        self._quarantine_end = quarantine_end
        self.room.take(growth)
        self._spine(hashes, group)

    def _spine(self, hashes: bytes, group: Group) -> None:
        """Append to the leaves file. The group is durable already: a failure here is made good later."""
        try:
            self._append(hashes)
            if group.checkpoint is not None and self._leaves.head is not None:
                self._leaves.record(LeavesState.OPEN, group.checkpoint)
        except OSError:
            return  # the hashes are kept in self._behind, and the next checkpoint comes soon

    def _append(self, hashes: bytes) -> None:
        self._behind += hashes
        if self._behind:
            self._leaves.write_at(self._leaves.size, self._behind)
            self._behind = b""

    def _add_quarantine(self, flat: intake.Flat, rows: Sequence[QuarantineRow]) -> int:
        """Add the rows of refused messages and of those that have to make place; return the newest id."""
        if not rows:
            return self._quarantine_end
        end = self._quarantine_end
        most = self._quarantine_budget // 4
        numbered = []
        for given in rows:
            row = given
            if len(row.payload) > most:
                detail = f"{row.detail} (the first {most} of {len(row.payload)} bytes are kept)".lstrip()
                row = row._replace(payload=row.payload[:most], detail=detail)
            end += len(row.payload) + len(row.detail) + len(row.peer) + _QUARANTINE_OVERHEAD_BYTES
            numbered.append((end, row))
        flat += intake.quarantine_rows(numbered)
        flat += intake.trim_row(end - self._quarantine_budget)
        return end

    def _make_sure_of_room(self, growth: int) -> None:
        room = self.room
        if room.admits(growth):
            return
        with self._faults():
            room.measured(measure(self._connection, self._directory))
        if not room.admits(growth):
            room.refuse(growth)
            raise JournalFull(f"the journal's budget is used up ({room.used_bytes} bytes in use)")

    def drop(self, start: int, end: int, tiles: list[TileRow], gap: Gap) -> None:
        """Remove the entries ``start`` to ``end`` (exclusive), keep their hashes as ``tiles``, note the ``gap``.

        Raises:
            JournalFault: The disk did not take it; nothing was removed.
            JournalDamaged: The database is not sound.
        """
        with self._faults():
            intake.execute(self._connection, intake.tile_rows(tiles) + intake.drop_rows(start, end, gap))

    def thin_checkpoints(self, keep_above: int, per_ms: int) -> None:
        """Of the checkpoints below the size ``keep_above``, keep the newest of every ``per_ms``."""
        with self._faults():
            self._connection.execute(
                "DELETE FROM checkpoints WHERE size < ?1 AND size NOT IN"
                " (SELECT max(size) FROM checkpoints WHERE size < ?1 GROUP BY time_ms / ?2)",
                (keep_above, per_ms),
            )

    def thin_anchors(self, keep_newest: int, per_ms: int) -> None:
        """Of the anchors at their end, keep the newest so many, and of those before one for every ``per_ms``."""
        with self._faults():
            outbox.thin(self._connection, keep_newest, per_ms)

    def vacuum(self, pages: int) -> None:
        """Give up to ``pages`` free pages back to the filesystem."""
        with self._faults():
            # executescript steps to the end without the interpreter lock; execute would stop after each page
            self._connection.executescript(f"PRAGMA incremental_vacuum({pages})")

    def transact(self, change: Callable[[sqlite3.Connection], object]) -> None:
        """Make a small change in a transaction of its own; durable when it returns.

        It does not ask for room: an anchor is what makes room.

        Raises:
            JournalFault: The disk did not take it; nothing of it is stored.
            JournalDamaged: The database is not sound.
        """
        with self._faults():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                change(self._connection)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def set_final_size(self, size: int) -> None:
        """Note that the first ``size`` entries are final on chain; never lowers what was noted."""
        with self._faults():
            known = fact(self._connection, "final_size")
            if not isinstance(known, int) or size > known:
                set_fact(self._connection, "final_size", size)

    def suspect(self) -> None:
        """Write down that the database was caught lying, so that the next opening sets it aside."""
        if self._leaves.head is None:
            return
        try:
            self._leaves.record(LeavesState.SUSPECT)
        except OSError:
            return  # the next opening has to find out by itself

    def close(self) -> None:
        """Leave everything in the database file, and the leaves file marked as closed.

        Raises:
            JournalFault: The disk did not take it; nothing is lost, the next opening just looks more closely.
        """
        try:
            with self._faults():
                self._append(b"")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                self._connection.close()
                if self._leaves.head is not None and self._leaves.head.state is LeavesState.OPEN:
                    self._leaves.record(LeavesState.CLOSED)
        finally:
            self._connection.close()
            self._leaves.close()

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Translate what the disk and SQLite say."""
        try:
            yield
        except sqlite3.IntegrityError as error:
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_CONSTRAINT_UNIQUE:
                raise IdentityTaken("an identity of the group is in the journal already") from error
            raise
        except sqlite3.Error as error:
            meaning = journal_error(error)
            if meaning is None:
                raise
            if isinstance(meaning, JournalDamaged):
                self.suspect()
            raise meaning from error
        except OSError as error:
            raise JournalFault(f"the disk did not take it ({error.strerror or error})") from error
