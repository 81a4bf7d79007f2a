"""The access outbox: every transaction that reports to the chain what was done with a model.

Like the anchors', a row is durable before what it says is done; the states are those of ``gateway.anchor.lifecycle``.
A report is owed while every transaction that carried it lost its nonce to another, or reverted in a block. A row that
is ``failed`` and has no transaction gives the report up.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.journal.models import ReportRow

TABLES: Final = (
    """CREATE TABLE accesses (
        id INTEGER PRIMARY KEY,
        report_id INTEGER NOT NULL,
        chain_id INTEGER NOT NULL,
        contract BLOB NOT NULL,
        model_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        result INTEGER NOT NULL,
        reason TEXT NOT NULL,
        state TEXT NOT NULL,
        is_open INTEGER NOT NULL,
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
    "CREATE INDEX accesses_open ON accesses (id) WHERE is_open",
    "CREATE INDEX accesses_by_report ON accesses (report_id)",
)
KEPT: Final = 1024


class AccessRow(NamedTuple):
    """One attempt to report: the report, then the facts of its transaction and of its block, as an ``AnchorRow``."""

    id: int
    report_id: int
    chain_id: int
    contract: bytes
    model_id: str
    version: int
    result: int
    reason: str
    state: str
    is_open: bool
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


class OwedReport(NamedTuple):
    """A report that no transaction carries, with its number in the journal.

    ``reverted``: so many of its transactions are in blocks that are final, and did nothing.
    """

    report_id: int
    report: ReportRow
    reverted: int


_COLUMNS = ", ".join(AccessRow._fields)
PLACES = ", ".join("?" * len(AccessRow._fields))


def store(connection: sqlite3.Connection, rows: Sequence[AccessRow]) -> None:
    """Insert or replace rows, within the running transaction; of those at their end the newest are kept."""
    connection.executemany(f"INSERT OR REPLACE INTO accesses ({_COLUMNS}) VALUES ({PLACES})", rows)  # noqa: S608 -- our own names
    # A report is let go of before its rows are: otherwise it would be owed again.
    connection.execute(
        "DELETE FROM accesses WHERE NOT is_open AND id <= (SELECT max(id) FROM accesses) - ?"
        " AND report_id NOT IN (SELECT id FROM model_reports)",
        (KEPT,),
    )


def open_rows(connection: sqlite3.Connection) -> list[AccessRow]:
    """The rows that have not come to their end, the oldest first."""
    return _rows(connection, "WHERE is_open ORDER BY id", ())


def newest(connection: sqlite3.Connection, limit: int = 1) -> list[AccessRow]:
    """The newest rows, whatever became of them, the newest first."""
    return _rows(connection, "ORDER BY id DESC LIMIT ?", (limit,))


def owed(connection: sqlite3.Connection, limit: int = 1) -> list[OwedReport]:
    """The oldest reports that no transaction carries, and that are not given up."""
    found = connection.execute(
        "SELECT id, (SELECT count(*) FROM accesses WHERE report_id = report.id AND state = 'failed'),"
        " time_ms, model_id, version, result, reason FROM model_reports AS report WHERE NOT EXISTS"
        " (SELECT 1 FROM accesses WHERE report_id = report.id AND state NOT IN ('abandoned', 'superseded')"
        " AND (state != 'failed' OR tx_hash IS NULL))"
        " ORDER BY id LIMIT ?",
        (limit,),
    ).fetchall()
    return [OwedReport(number, ReportRow._make(report), reverted) for number, reverted, *report in found]


def _rows(connection: sqlite3.Connection, clause: str, values: tuple[object, ...]) -> list[AccessRow]:
    found = connection.execute(f"SELECT {_COLUMNS} FROM accesses {clause}", values).fetchall()  # noqa: S608 -- likewise
    return [row._replace(is_open=bool(row.is_open)) for row in map(AccessRow._make, found)]
