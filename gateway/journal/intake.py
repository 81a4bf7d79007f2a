"""A transaction as one statement: rows of many kinds into one view, and triggers that sort them.

A thread beside a busy event loop waits for the interpreter lock after every SQLite step; at the default switch
interval that is up to five milliseconds each time (ADR 0070 has the figures). ``INSERT INTO intake VALUES (…), (…)``
is one step, one transaction and one fsync for a whole group. The view and its triggers are temporary: they belong to
the writer's connection, and are no part of the schema.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import Sequence
from functools import cache

from gateway.journal.rows import CheckpointRow, EntryRow, Gap, MessageRow, QuarantineRow, TileRow
from gateway.journal.schema import tile_key

LOG, REPLAY, QUARANTINE, TRIM, TILE, CHECKPOINT, DROP, GAP, LOG_KEY = range(9)

_COLUMNS = 9
_ACTIONS = {
    LOG: "INSERT INTO log VALUES (new.n, new.a, new.b, new.c, new.d, new.e, new.f)",
    REPLAY: "INSERT INTO replay (device_id, state) VALUES (new.a, new.b)"
    " ON CONFLICT (device_id) DO UPDATE SET state = excluded.state",
    QUARANTINE: "INSERT INTO quarantine VALUES (new.n, new.a, new.b, new.c, new.d, new.e, new.f, new.g)",
    TRIM: "DELETE FROM quarantine WHERE id <= new.n",
    TILE: "INSERT OR IGNORE INTO tiles VALUES (new.n, new.a)",
    CHECKPOINT: "INSERT OR REPLACE INTO checkpoints VALUES (new.n, new.a, new.b, new.c)",
    DROP: "DELETE FROM log WHERE idx >= new.n AND idx < new.a",
    GAP: "INSERT INTO gaps VALUES (new.n, new.a, new.b) ON CONFLICT (start)"
    " DO UPDATE SET end = max(end, excluded.end), reason = excluded.reason",
    LOG_KEY: "INSERT INTO facts VALUES ('log_key', hex(new.a))"
    " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
}
# How many rows a statement takes; a group is filled up with empty rows to the next of these, so that a handful of
# prepared statements serves groups of every size. 528: 256 messages, their devices' replay states, some others.
_SIZES = (4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 528, 768, 1056, 1600, 2400, 3600)

Value = int | str | bytes | None
Flat = list[Value]
"""Rows of nine values each, one after another: the parameters of a statement."""


def create(connection: sqlite3.Connection) -> None:
    """Make the view and its triggers on the writer's connection."""
    connection.execute(f"CREATE TEMP VIEW intake (kind, n, a, b, c, d, e, f, g) AS SELECT {'NULL, ' * 8} NULL")
    for kind, action in _ACTIONS.items():
        when = f"INSTEAD OF INSERT ON intake WHEN new.kind = {kind}"
        connection.execute(f"CREATE TEMP TRIGGER intake_{kind} {when} BEGIN {action}; END")


@cache
def _statement(rows: int) -> str:
    row = "(" + ", ".join("?" * _COLUMNS) + ")"
    return "INSERT INTO intake VALUES " + ", ".join([row] * rows)  # noqa: S608 -- nothing but question marks


def execute(connection: sqlite3.Connection, flat: Flat) -> None:
    """Store all rows, or none.

    Raises:
        sqlite3.Error: Nothing was stored.
    """
    limit = _SIZES[-1] * _COLUMNS
    if len(flat) <= limit:
        _execute_one(connection, flat)
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for start in range(0, len(flat), limit):
            _execute_one(connection, flat[start : start + limit])
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # some errors have rolled it back already
            connection.execute("ROLLBACK")
        raise


def _execute_one(connection: sqlite3.Connection, flat: Flat) -> None:
    count = len(flat) // _COLUMNS
    size = _SIZES[bisect_left(_SIZES, count)]
    connection.execute(_statement(size), flat + [None] * ((size - count) * _COLUMNS))


def log_rows(entries: Sequence[EntryRow], messages: Sequence[MessageRow], first: int) -> Flat:
    """Return the rows of the log, each message beside its entry.

    Raises:
        ValueError: The entries do not continue the log at ``first``, or a message has no entry: a fault of ours.
    """
    flat: Flat = []
    expected = first
    pending = iter(messages)
    message = next(pending, None)
    for index, entry in entries:
        if index != expected:
            raise ValueError(f"entry {index} does not continue the log, which is at {expected}")
        expected += 1
        if message is None or message[0] != index:
            flat += (LOG, index, entry, None, None, None, None, None, None)
            continue
        _, device_id, session, seq, envelope, signature = message
        flat += (LOG, index, entry, device_id, session, seq, signature, envelope, None)
        message = next(pending, None)
    if message is not None:
        raise ValueError(f"message {message[0]} has no entry in its group, or stands out of order")
    return flat


def replay_rows(states: Sequence[tuple[str, bytes]]) -> Flat:
    """Return the rows that write replay states."""
    flat: Flat = []
    for device_id, state in states:
        flat += (REPLAY, None, device_id, state, None, None, None, None, None)
    return flat


def quarantine_rows(rows: Sequence[tuple[int, QuarantineRow]]) -> Flat:
    """Return the rows of refused messages under their ids."""
    flat: Flat = []
    for number, row in rows:
        flat += (QUARANTINE, number, *row)
    return flat


def trim_row(newest_to_go: int) -> Flat:
    """Return the row that removes quarantined messages up to an id."""
    return [TRIM, newest_to_go, *[None] * 7]


def tile_rows(tiles: Sequence[TileRow]) -> Flat:
    """Return the rows of full tiles; a tile that is there already stays as it is."""
    flat: Flat = []
    for level, index, data in tiles:
        flat += (TILE, tile_key(level, index), data, *[None] * 6)
    return flat


def checkpoint_row(checkpoint: CheckpointRow) -> Flat:
    """Return the row of a checkpoint; a later one of the same size replaces the earlier."""
    return [CHECKPOINT, *checkpoint, *[None] * 4]


def log_key_row(public_key: bytes) -> Flat:
    """Return the row that says which key signs from now on."""
    return [LOG_KEY, None, public_key, *[None] * 6]


def drop_rows(start: int, end: int, gap: Gap) -> Flat:
    """Return the rows that remove the entries ``start`` to ``end`` (exclusive) and write down why."""
    return [DROP, start, end, *[None] * 6, GAP, *gap, *[None] * 5]
