"""What the chain's registry held, as far as it was final: devices and miners, and the block up to which that is so.

Only what is final is here. What a newer block says about somebody's suspension is held in memory by the follower
(``gateway.chain.registry``) and asked for again after a restart.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

TABLES = (
    """CREATE TABLE identities (
        id TEXT PRIMARY KEY,
        kind INTEGER NOT NULL,
        fleet TEXT NOT NULL,
        alg INTEGER NOT NULL,
        key BLOB NOT NULL,
        status INTEGER NOT NULL,
        account BLOB,
        hpke_key BLOB
    )""",
    """CREATE TABLE identity_cursor (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        source TEXT NOT NULL,
        block INTEGER NOT NULL,
        block_hash BLOB NOT NULL,
        as_of_ms INTEGER NOT NULL
    )""",
)
_PAGE_ROWS = 2048


class IdentityRow(NamedTuple):
    """A device (kind 1) or a miner (kind 2), in the numbers of the contract (docs/spec/contracts.md).

    ``account`` (20 bytes) and ``hpke_key`` are those of a miner, None for a device.
    """

    id: str
    kind: int
    fleet: str
    alg: int
    key: bytes
    status: int
    account: bytes | None = None
    hpke_key: bytes | None = None


class IdentityCursor(NamedTuple):
    """Up to where the registry was followed: which contract on which chain, and the last block that is included.

    ``as_of_ms`` is when that state was last confirmed by the chain, in milliseconds since 1970.
    """

    source: str
    block: int
    block_hash: bytes
    as_of_ms: int


def apply(connection: sqlite3.Connection, rows: Sequence[IdentityRow], cursor: IdentityCursor) -> None:
    """Insert or replace rows and move the cursor, within the running transaction."""
    connection.executemany(
        "INSERT INTO identities VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET kind = excluded.kind,"
        " fleet = excluded.fleet, alg = excluded.alg, key = excluded.key, status = excluded.status,"
        " account = excluded.account, hpke_key = excluded.hpke_key",
        rows,
    )
    connection.execute("INSERT OR REPLACE INTO identity_cursor VALUES (1, ?, ?, ?, ?)", cursor)


def forget(connection: sqlite3.Connection) -> None:
    """Begin anew, within the running transaction: another contract is followed, or final blocks were rewritten."""
    connection.execute("DELETE FROM identities")
    connection.execute("DELETE FROM identity_cursor")


def cursor(connection: sqlite3.Connection) -> IdentityCursor | None:
    """Up to where the registry was followed, None when it never was."""
    row = connection.execute("SELECT source, block, block_hash, as_of_ms FROM identity_cursor").fetchone()
    return None if row is None else IdentityCursor._make(row)


def rows(connection: sqlite3.Connection) -> Iterator[IdentityRow]:
    """Every identity, in the order of first registration; in short transactions of their own."""
    after = 0
    while True:
        found = connection.execute(
            "SELECT rowid, id, kind, fleet, alg, key, status, account, hpke_key FROM identities"
            " WHERE rowid > ? ORDER BY rowid LIMIT ?",
            (after, _PAGE_ROWS),
        ).fetchall()
        for row in found:
            yield IdentityRow._make(row[1:])
        if len(found) < _PAGE_ROWS:
            return
        after = found[-1][0]
