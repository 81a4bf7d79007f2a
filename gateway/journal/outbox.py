"""The anchor outbox: every transaction that carries a checkpoint to the chain, from its sealing to its end.

A row is durable before what it says is done (a signed transaction before it is broadcast), so that whatever crashes
where, the next process goes on with the very same bytes. What the states mean is the business of
``gateway.anchor.lifecycle``; here a row is either open or at its end.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final, NamedTuple

TABLES = (
    """CREATE TABLE anchors (
        id INTEGER PRIMARY KEY,
        chain_id INTEGER NOT NULL,
        contract BLOB NOT NULL,
        size INTEGER NOT NULL,
        root BLOB NOT NULL,
        state TEXT NOT NULL,
        is_open INTEGER NOT NULL,
        sealed_ms INTEGER NOT NULL,
        changed_ms INTEGER NOT NULL,
        account BLOB,
        nonce INTEGER,
        max_fee_wei INTEGER,
        priority_fee_wei INTEGER,
        raw BLOB,
        tx_hash BLOB,
        block_number INTEGER,
        block_hash BLOB,
        gas_used INTEGER,
        price_wei INTEGER,
        detail TEXT NOT NULL
    )""",
    "CREATE INDEX anchors_open ON anchors (id) WHERE is_open",
    "CREATE INDEX anchors_by_size ON anchors (size)",
)
SEALED: Final = "sealed"
ON_THEIR_WAY: Final = frozenset({"signed", "broadcast", "replaced", "mined", "reverted", "displaced", "reorged"})
ENDS: Final = frozenset({"final", "failed", "superseded", "abandoned"})
"""The words that a salvage carries over. A sealed row is open and has no transaction yet."""


class AnchorRow(NamedTuple):
    """One attempt to anchor a checkpoint: facts of the checkpoint, then of its transaction, then of its block.

    ``id`` rises with each sealing. ``priority_fee_wei`` is None for a legacy transaction, whose gas price is
    ``max_fee_wei``. ``raw`` is kept while the row is open. ``detail`` is our own words for the technician.
    """

    id: int
    chain_id: int
    contract: bytes
    size: int
    root: bytes
    state: str
    is_open: bool
    sealed_ms: int
    changed_ms: int
    account: bytes | None = None
    nonce: int | None = None
    max_fee_wei: int | None = None
    priority_fee_wei: int | None = None
    raw: bytes | None = None
    tx_hash: bytes | None = None
    block_number: int | None = None
    block_hash: bytes | None = None
    gas_used: int | None = None
    price_wei: int | None = None
    detail: str = ""


_COLUMNS = ", ".join(AnchorRow._fields)
PLACES = ", ".join("?" * len(AnchorRow._fields))


def store(connection: sqlite3.Connection, rows: Sequence[AnchorRow]) -> None:
    """Insert or replace rows, within the running transaction."""
    connection.executemany(f"INSERT OR REPLACE INTO anchors ({_COLUMNS}) VALUES ({PLACES})", rows)  # noqa: S608 -- our own names


def open_rows(connection: sqlite3.Connection) -> list[AnchorRow]:
    """The rows that have not come to their end, the oldest first."""
    return _rows(connection, "WHERE is_open ORDER BY id", ())


def newest(connection: sqlite3.Connection, limit: int = 1) -> list[AnchorRow]:
    """The newest rows, whatever became of them, the newest first."""
    return _rows(connection, "ORDER BY id DESC LIMIT ?", (limit,))


def newest_in(connection: sqlite3.Connection, state: str) -> AnchorRow | None:
    """The row of the largest size in a state."""
    rows = _rows(connection, "WHERE state = ? ORDER BY size DESC, id DESC LIMIT 1", (state,))
    return rows[0] if rows else None


def covering(connection: sqlite3.Connection, index: int, state: str) -> AnchorRow | None:
    """The row of the smallest size above ``index`` in a state."""
    rows = _rows(connection, "WHERE size > ? AND state = ? ORDER BY size, id LIMIT 1", (index, state))
    return rows[0] if rows else None


def counts(connection: sqlite3.Connection) -> dict[str, int]:
    """How many rows are in each state."""
    return dict(connection.execute("SELECT state, count(*) FROM anchors GROUP BY state ORDER BY state").fetchall())


def thin(connection: sqlite3.Connection, keep_newest: int, per_ms: int) -> None:
    """Of the rows at their end, keep the newest so many, and of the older ones the last of every ``per_ms``."""
    connection.execute(
        "DELETE FROM anchors WHERE NOT is_open"
        " AND id <= (SELECT max(id) FROM anchors) - ?1"
        " AND id NOT IN (SELECT max(id) FROM anchors WHERE NOT is_open GROUP BY state, sealed_ms / ?2)",
        (keep_newest, per_ms),
    )


def _rows(connection: sqlite3.Connection, clause: str, values: tuple[object, ...]) -> list[AnchorRow]:
    found = connection.execute(f"SELECT {_COLUMNS} FROM anchors {clause}", values).fetchall()  # noqa: S608 -- likewise
    return [row._replace(is_open=bool(row.is_open)) for row in map(AnchorRow._make, found)]
