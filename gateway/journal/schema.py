"""The tables, how they came to be so, and how a connection to them is opened.

Migrations only go forward: ``MIGRATIONS[n]`` takes a database from version n to n + 1 (``PRAGMA user_version``), each
in its own transaction. A database of a later version is refused with the name of the version that wrote it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway import __version__
from gateway.journal import accesses, identities, models, outbox
from gateway.journal.budget import PAGE_BYTES
from gateway.journal.rows import JournalDamaged, JournalError, JournalFault, JournalTooNew

DATABASE = "journal.db"
REPLACEMENT = "journal.new"
LEAVES = "journal.leaves"
LOCK = "journal.lock"

_BUSY_S = 5.0
_CACHE_KIB = 8 << 10
"""More is not quicker, with 100,000 devices and 400,000 messages: what is not in it is in the system's cache."""

_V1 = (
    # Every log entry. A message's own columns stand in the same row: one insert, and one place to look.
    """CREATE TABLE log (
        idx INTEGER PRIMARY KEY,
        entry BLOB NOT NULL,
        device_id TEXT,
        session BLOB,
        seq INTEGER,
        receipt_signature BLOB,
        envelope BLOB
    )""",
    "CREATE UNIQUE INDEX log_identity ON log (device_id, session, seq) WHERE device_id IS NOT NULL",
    # The rowid keeps the state out of the index: an update of the state rewrites one row and nothing else.
    "CREATE TABLE replay (id INTEGER PRIMARY KEY, device_id TEXT NOT NULL UNIQUE, state BLOB NOT NULL)",
    # The id is where the row ends in the stream of all quarantined bytes ever: the newest id less the oldest is what
    # is held, so the budget needs neither a sum nor a counter.
    """CREATE TABLE quarantine (
        id INTEGER PRIMARY KEY,
        received_ms INTEGER NOT NULL,
        reason TEXT NOT NULL,
        transport TEXT NOT NULL,
        peer TEXT NOT NULL,
        device_id TEXT,
        detail TEXT NOT NULL,
        payload BLOB NOT NULL
    )""",
    "CREATE TABLE tiles (key INTEGER PRIMARY KEY, data BLOB NOT NULL)",  # key = level << 56 | index
    """CREATE TABLE checkpoints (
        size INTEGER PRIMARY KEY,
        root BLOB NOT NULL,
        text TEXT NOT NULL,
        time_ms INTEGER NOT NULL
    )""",
    # Which entries are gone, and why: "policy" or "damage". Their hashes are kept.
    "CREATE TABLE gaps (start INTEGER PRIMARY KEY, end INTEGER NOT NULL, reason TEXT NOT NULL)",
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
)


def _to_v1(connection: sqlite3.Connection) -> None:
    for statement in _V1:
        connection.execute(statement)


def _to_v2(connection: sqlite3.Connection) -> None:
    for statement in (*outbox.TABLES, *identities.TABLES):
        connection.execute(statement)


def _to_v3(connection: sqlite3.Connection) -> None:
    for statement in models.TABLES:
        connection.execute(statement)


def _to_v4(connection: sqlite3.Connection) -> None:
    for statement in accesses.TABLES:
        connection.execute(statement)


Migration = Callable[[sqlite3.Connection], None]
MIGRATIONS: tuple[Migration, ...] = (_to_v1, _to_v2, _to_v3, _to_v4)


def tile_key(level: int, index: int) -> int:
    """Return the row of a tile. Levels are below 8 and indexes below 2^56, so it fits a signed 64-bit integer."""
    return level << 56 | index


def journal_error(error: sqlite3.Error) -> JournalError | None:
    """Return what an SQLite error means to the house; None when it is a fault of our own program."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    if primary in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}:
        return JournalDamaged(f"the database is damaged ({name})")
    if primary in {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
    }:
        return JournalFault(f"the disk did not take it ({name})")
    return None


def connect_writer(path: Path, wal_pages: int) -> sqlite3.Connection:
    """Open (or create, mode 0600) the database for the one writer.

    Raises:
        sqlite3.Error: It cannot be opened or is no database.
        OSError: The file cannot be created.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # SQLite would ask the umask
    connection = sqlite3.connect(
        path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    pragmas = (
        f"page_size = {PAGE_BYTES}",
        "auto_vacuum = INCREMENTAL",  # these two only count before the first table
        "journal_mode = WAL",
        "synchronous = FULL",
        "temp_store = MEMORY",
        f"cache_size = -{_CACHE_KIB}",
        f"wal_autocheckpoint = {wal_pages}",
        f"journal_size_limit = {wal_pages * PAGE_BYTES}",
        "trusted_schema = OFF",
    )
    return _with_pragmas(connection, pragmas)


def connect_reader(path: Path) -> sqlite3.Connection:
    """Open an existing database to read, beside the writer.

    Raises:
        sqlite3.Error: It cannot be opened.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=_BUSY_S,
        isolation_level=None,
        check_same_thread=False,
    )
    return _with_pragmas(connection, ("query_only = ON",))


def connect_care(path: Path) -> sqlite3.Connection:
    """Open an existing database for the thread that folds the write-ahead log back; it changes no row.

    Raises:
        sqlite3.Error: It cannot be opened.
    """
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    return _with_pragmas(connection, ("synchronous = FULL", "wal_autocheckpoint = 0", "query_only = ON"))


def _with_pragmas(connection: sqlite3.Connection, pragmas: Sequence[str]) -> sqlite3.Connection:
    """Set them all, or close the connection and let the error through."""
    try:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def schema_version(connection: sqlite3.Connection) -> int:
    """Return the version of the tables; 0 is an empty database."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def check_version(connection: sqlite3.Connection, newest: int = len(MIGRATIONS)) -> int:
    """Return the version of the tables.

    Raises:
        JournalTooNew: It is above ``newest``.
    """
    version = schema_version(connection)
    if version > newest:
        row = connection.execute("SELECT value FROM facts WHERE name = 'written_by'").fetchone()
        writer = "a newer version" if row is None else f"version {row[0]}"
        raise JournalTooNew(
            f"this journal was written by {writer} of SecureNet Gateway (schema {version}, this is {__version__} "
            f"with schema {newest}): install {writer} or newer"
        )
    return version


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration] = MIGRATIONS) -> int:
    """Bring the tables to the newest version; return the version they had.

    Raises:
        JournalTooNew: They are newer than this program.
        sqlite3.Error: A step failed; the database is as the step before left it.
    """
    before = check_version(connection, len(migrations))
    for version in range(before, len(migrations)):
        connection.execute("BEGIN IMMEDIATE")
        try:
            migrations[version](connection)
            connection.execute(f"PRAGMA user_version = {version + 1}")
            set_fact(connection, "written_by", __version__)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    return before


def fact(connection: sqlite3.Connection, name: str) -> str | int | None:
    """Return a fact of the store (``origin``, ``final_size``, ``written_by``, ``log_damaged``), None when unknown."""
    row = connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return None if row is None else row[0]


def set_fact(connection: sqlite3.Connection, name: str, value: str | int) -> None:
    """Write a fact within the running transaction, or in one of its own."""
    connection.execute(
        "INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )
