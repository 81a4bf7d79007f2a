"""How a journal is opened, whatever state it is in.

It never refuses to start for damage: a database that is not sound is set aside, a new one takes its place, and what
can be believed is carried over. It never issues an index twice under one origin either: when the leaf hashes are gone
too, the new journal says that its log is damaged, and takes no entries. ADR 0072 has the table of cases.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from gateway.config.model import JournalConfig
from gateway.journal.budget import Marks, marks_of
from gateway.journal.doubt import doubt_windows
from gateway.journal.inspect import Condition, Finding, disagreeing, inspect, unsynced_range
from gateway.journal.journal import Journal
from gateway.journal.leaves import LeavesFile, LeavesState
from gateway.journal.reader import Reader
from gateway.journal.rows import TILE_HASHES, Gap, JournalBusy, JournalFault, LeftOut, LogDamaged
from gateway.journal.salvage import (
    carry_log,
    carry_models,
    carry_replay,
    carry_rest,
    complete_leaves,
    rebuild_tiles,
)
from gateway.journal.schema import (
    DATABASE,
    LEAVES,
    LOCK,
    REPLACEMENT,
    connect_care,
    connect_reader,
    connect_writer,
    fact,
    journal_error,
    migrate,
    set_fact,
    tile_key,
)
from gateway.journal.writer import Writer, log_size, other_bytes
from gateway.tlog.merkle import leaf_hash

ASIDE = "set-aside-"
_ASIDES_KEPT = 2


class Opened(NamedTuple):
    """An open journal, and what had to be done to open it.

    ``set_aside`` is the directory that holds the store from before, ``reason`` why it is there. ``migrated_from`` is
    the schema version that was brought up. ``lost`` are entries whose bytes are gone (their hashes are kept).
    ``doubtful_from``: the power may have taken leaf hashes from this index on, with the database damaged as well;
    receipts for indexes at or above the log's size, if any left the house, will not hold. ``log_damaged``: the log
    takes no entries; ``Journal.commit`` raises ``LogDamaged`` until the operator decides.
    """

    journal: Journal
    set_aside: Path | None = None
    reason: str | None = None
    migrated_from: int | None = None
    lost: tuple[Gap, ...] = ()
    doubtful_from: int | None = None
    log_damaged: bool = False


class _Outcome(NamedTuple):
    """A connection to a sound database, and the report so far."""

    connection: sqlite3.Connection
    set_aside: Path | None = None
    reason: str | None = None
    migrated_from: int | None = None
    lost: tuple[Gap, ...] = ()
    doubtful_from: int | None = None
    left_out: tuple[LeftOut, ...] = ()


def open_journal(directory: Path, config: JournalConfig, *, origin: str) -> Opened:
    """Open or create the journal of the log ``origin`` in ``directory``.

    Raises:
        JournalBusy: Another process has it open.
        JournalTooNew: A newer version of the gateway wrote it.
        JournalFault: The disk does not work: full, read-only, an I/O error.
    """
    with ExitStack() as stack:
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)
            lock = _lock(directory / LOCK)
            stack.callback(os.close, lock)
            opened = _open(directory, config, origin, lock, stack)
        except OSError as error:
            raise JournalFault(f"the journal cannot be opened: {error.strerror or error}") from error
        except sqlite3.Error as error:
            raise journal_error(error) or JournalFault("the journal cannot be opened") from error
        stack.pop_all()  # the journal owns all of it from here
    return opened


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise JournalBusy("another process has this journal open") from error
    return descriptor


def _open(directory: Path, config: JournalConfig, origin: str, lock: int, stack: ExitStack) -> Opened:
    """Do it; ``stack`` gets what has to be released when it fails."""
    marks = marks_of(config.budget_bytes)
    database = directory / DATABASE
    _finish_replacement(directory)
    leaves = LeavesFile.open(directory / LEAVES)
    stack.callback(lambda: leaves.close())  # noqa: PLW0108 -- whichever it is by then
    finding = inspect(database, leaves, origin, marks.wal_pages)
    if finding.connection is not None:
        stack.callback(finding.connection.close)
        outcome = _reconcile(finding.connection, leaves, origin)
    else:
        leaves, outcome = _start_anew(directory, leaves, finding, origin, marks)
        stack.callback(outcome.connection.close)
    writer = Writer(outcome.connection, leaves, directory, config)
    writer.start()
    leaves.record(LeavesState.OPEN)
    _sync_directory(directory)
    reader = stack.enter_context(
        Reader(connect_reader(database), LeavesFile.open_read_only(directory / LEAVES), directory)
    )
    care = stack.enter_context(
        Reader(connect_care(database), LeavesFile.open_read_only(directory / LEAVES), directory)
    )
    return Opened(
        Journal(writer, reader, care, config, lock, left_out=outcome.left_out),
        set_aside=outcome.set_aside,
        reason=outcome.reason,
        migrated_from=outcome.migrated_from,
        lost=outcome.lost,
        doubtful_from=outcome.doubtful_from,
        log_damaged=writer.log_damaged,
    )


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- a sound database ---


def _reconcile(connection: sqlite3.Connection, leaves: LeavesFile, origin: str) -> _Outcome:
    """Migrate, and bring database and leaves file to the same length."""
    before = migrate(connection)
    if fact(connection, "origin") is None:
        set_fact(connection, "origin", origin)
    migrated = before if before and before < _version(connection) else None
    if leaves.head is None or leaves.head.origin != origin:
        leaves.start(origin)
    lost: tuple[Gap, ...] = ()
    size = log_size(connection)
    try:
        if leaves.size > size:
            lost = _roll_forward(connection, leaves, size)
        else:
            if leaves.head is not None and leaves.head.state is not LeavesState.CLOSED:
                for index, leaf in disagreeing(connection, leaves, *unsynced_range(leaves, leaves.size)):
                    leaves.write_at(index, leaf)
            _catch_up(connection, leaves, size)
    except LogDamaged:
        set_fact(connection, "log_damaged", 1)
    return _Outcome(
        connection,
        migrated_from=migrated,
        lost=lost,
        reason="rolled-back" if lost else None,
    )


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _roll_forward(connection: sqlite3.Connection, leaves: LeavesFile, size: int) -> tuple[Gap, ...]:
    """The database lost its newest entries (an old backup, a write-ahead log that is gone): keep their places."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        rebuild_tiles(connection, leaves, leaves.size)
        gap = Gap(size, leaves.size, "damage")
        connection.execute("INSERT OR REPLACE INTO gaps VALUES (?, ?, ?)", gap)
        doubt_windows(connection)  # a write-ahead log that is gone may have been folded back in part
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return (gap,)


def _catch_up(connection: sqlite3.Connection, leaves: LeavesFile, size: int) -> None:
    """Append the hashes that the leaves file lacks: of entries, and of whole tiles whose entries were dropped.

    Raises:
        LogDamaged: A hash is in neither.
    """
    while leaves.size < size:
        start = leaves.size
        end = min(size, (start // TILE_HASHES + 1) * TILE_HASHES)
        row = connection.execute(
            "SELECT data FROM tiles WHERE key = ?", (tile_key(0, start // TILE_HASHES),)
        ).fetchone()
        if row is not None:
            hashes = row[0][(start % TILE_HASHES) * 32 :]
        else:
            rows = connection.execute("SELECT entry FROM log WHERE idx >= ? AND idx < ? ORDER BY idx", (start, end))
            found = [leaf_hash(entry) for (entry,) in rows]
            if len(found) != end - start:
                raise LogDamaged(f"leaf hashes from {start} on are nowhere")
            hashes = b"".join(found)
        leaves.reserve(end - start)
        leaves.write_at(start, hashes)


# --- a new database in the place of the one that was there ---


def _start_anew(
    directory: Path, leaves: LeavesFile, finding: Finding, origin: str, marks: Marks
) -> tuple[LeavesFile, _Outcome]:
    """Write a new database with all that can be believed of the old one, then let them change places.

    A crash on the way leaves either the old one in its place, and this begins again, or a finished new one beside
    an empty place, which ``_finish_replacement`` fills.
    """
    foreign = finding.condition is Condition.OTHER_LOG or (leaves.head is not None and leaves.head.origin != origin)
    nameless = leaves.head is None and leaves.size > 0
    fresh = finding.condition is Condition.ABSENT and leaves.size == 0 and not foreign
    unspined = leaves.head is None and not fresh
    condition = Condition.OTHER_LOG if foreign else finding.condition
    old = finding.old
    _remove_replacement(directory)
    connection = connect_writer(directory / REPLACEMENT, marks.wal_pages)
    lost: tuple[Gap, ...] = ()
    left: list[LeftOut] = []
    doubtful = None
    try:
        migrate(connection)
        connection.execute("BEGIN IMMEDIATE")
        set_fact(connection, "origin", origin)
        if old is not None:
            carry_replay(old, connection)
            left += carry_models(old, connection)
        if not foreign and (nameless or unspined):
            set_fact(connection, "log_damaged", 1)
        elif not foreign and not fresh:
            doubtful = _doubtful_from(leaves)
            lost, rest = _continue_log(directory, connection, old, leaves, marks)
            left += rest
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # a close that cannot do it says nothing
    finally:
        connection.close()
        if old is not None:
            old.close()
    aside = _set_aside(directory, condition.value, with_leaves=foreign or nameless)
    _finish_replacement(directory)
    if foreign or nameless or leaves.head is None:
        leaves.close()
        leaves = LeavesFile.open(directory / LEAVES)
        leaves.start(origin)
    connection = connect_writer(directory / DATABASE, marks.wal_pages)
    reason = None if fresh else condition.value
    outcome = _Outcome(connection, aside, reason, lost=lost, doubtful_from=doubtful, left_out=tuple(left))
    return leaves, outcome


def _remove_replacement(directory: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        (directory / (REPLACEMENT + suffix)).unlink(missing_ok=True)


def _finish_replacement(directory: Path) -> None:
    """Put a finished new database into the empty place. A write-ahead log that strayed there must not meet it.

    Beside one that is in its place it is what a repair left that was broken off, and it goes.
    """
    if (directory / DATABASE).exists():
        _remove_replacement(directory)
        return
    if not (directory / REPLACEMENT).exists():
        return
    for suffix in ("-wal", "-shm"):
        (directory / (DATABASE + suffix)).unlink(missing_ok=True)
    (directory / REPLACEMENT).rename(directory / DATABASE)
    _sync_directory(directory)


def _doubtful_from(leaves: LeavesFile) -> int | None:
    if leaves.head is None or leaves.head.state is LeavesState.CLOSED:
        return None
    return unsynced_range(leaves, leaves.size)[0]


def _continue_log(
    directory: Path, connection: sqlite3.Connection, old: sqlite3.Connection | None, leaves: LeavesFile, marks: Marks
) -> tuple[tuple[Gap, ...], list[LeftOut]]:
    """Carry the log over; when the leaf hashes do not hold, say so in the new database. Return what is lost."""
    if old is not None:
        complete_leaves(old, leaves)
    try:
        rebuild_tiles(connection, leaves, leaves.size)
    except LogDamaged:
        connection.execute("DELETE FROM tiles")
        set_fact(connection, "log_damaged", 1)
        return (), []
    left = [] if old is None else carry_rest(old, connection, leaves.size)
    note = None if leaves.head is None else leaves.head.checkpoint
    if note is not None and note.text:
        connection.execute("INSERT OR IGNORE INTO checkpoints VALUES (?, ?, ?, ?)", note)
    taken = sum(path.stat().st_size for path in directory.glob(DATABASE + "*")) + other_bytes(directory)
    lost = carry_log(old, connection, leaves, max(0, marks.drop_at - taken)).lost
    if windows := doubt_windows(connection):
        left.append(LeftOut("replay", windows, broken_off=False))
    return lost, left


def _set_aside(directory: Path, reason: str, *, with_leaves: bool) -> Path | None:
    """Move the store into a directory of its own, None when there is nothing; of earlier ones the newest stays.

    The leaves file goes first: beside a database that has changed places it would be begun anew.
    """
    names = [*([LEAVES] if with_leaves else []), DATABASE, DATABASE + "-wal", DATABASE + "-shm"]
    names = [name for name in names if (directory / name).exists()]
    if not names:
        return None
    earlier = sorted(path for path in directory.iterdir() if path.is_dir() and path.name.startswith(ASIDE))
    for path in earlier[: max(0, len(earlier) - _ASIDES_KEPT + 1)]:
        shutil.rmtree(path, ignore_errors=True)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    number = 1
    while (aside := directory / f"{ASIDE}{stamp}-{number:03d}-{reason}").exists():
        number += 1
    aside.mkdir(mode=0o700)
    for name in names:
        (directory / name).rename(aside / name)
    _sync_directory(aside)
    _sync_directory(directory)
    return aside
