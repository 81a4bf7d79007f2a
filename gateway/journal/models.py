"""Which models this gateway ran: the memory that no restart and no endpoint can take back.

For each model the highest version that ever ran, and the versions that count: the last good one, the one before it,
and those that failed at work. What the states mean is the business of ``gateway.vault.receiver_rules``. Beside them
stand the reports of what was done with each version, which the chain's access log is to have.
"""

from __future__ import annotations

import sqlite3
from enum import StrEnum
from typing import NamedTuple

TABLES = (
    "CREATE TABLE models (model_id TEXT PRIMARY KEY, highest INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TABLE model_versions (
        model_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        manifest_sha256 BLOB NOT NULL,
        state TEXT NOT NULL,
        envelope BLOB,
        PRIMARY KEY (model_id, version)
    )""",
    """CREATE TABLE model_reports (
        id INTEGER PRIMARY KEY,
        time_ms INTEGER NOT NULL,
        model_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        result INTEGER NOT NULL,
        reason TEXT NOT NULL
    )""",
)
REPORTS_KEPT = 1024


class RanState(StrEnum):
    """What became of a version that ran."""

    GOOD = "good"
    """The last good one."""
    BEFORE = "before"
    """The good one before that: what is returned to."""
    ASIDE = "aside"
    """It failed at work, and is not run again."""


class RanVersion(NamedTuple):
    """A version that ran here. ``manifest_sha256`` is that of its manifest's envelope."""

    version: int
    manifest_sha256: bytes
    state: RanState


class ModelRow(NamedTuple):
    """What this gateway ran of a model."""

    model_id: str
    highest: int
    versions: tuple[RanVersion, ...]


class ModelEnvelope(NamedTuple):
    """The signed manifest of a version that is in the row."""

    version: int
    envelope: bytes


class ReportRow(NamedTuple):
    """What was done with a version, in the numbers of the contract: 1 loaded, 2 refused, 3 returned to it."""

    time_ms: int
    model_id: str
    version: int
    result: int
    reason: str


def store(connection: sqlite3.Connection, row: ModelRow, envelope: ModelEnvelope | None) -> None:
    """Put this row in the place of the model's, within the running transaction.

    Envelopes that are here stay, as long as their version is in the row with the same digest.
    """
    connection.execute(
        "INSERT INTO models VALUES (?, ?) ON CONFLICT (model_id) DO UPDATE SET highest = excluded.highest",
        (row.model_id, row.highest),
    )
    held = connection.execute(
        "SELECT version, manifest_sha256, envelope FROM model_versions WHERE model_id = ?", (row.model_id,)
    ).fetchall()
    envelopes = {(version, digest): data for version, digest, data in held}
    connection.execute("DELETE FROM model_versions WHERE model_id = ?", (row.model_id,))
    for version, digest, state in row.versions:
        data = envelopes.get((version, digest))
        if envelope is not None and envelope.version == version:
            data = envelope.envelope
        kept = None if state is RanState.ASIDE else data
        connection.execute(
            "INSERT INTO model_versions VALUES (?, ?, ?, ?, ?)", (row.model_id, version, digest, state.value, kept)
        )


def add_report(connection: sqlite3.Connection, report: ReportRow) -> None:
    """Add a report, and let go of the oldest above ``REPORTS_KEPT``, within the running transaction.

    A salvage may have kept transactions of reports that it lost: their numbers are not used again.
    """
    connection.execute(
        "INSERT INTO model_reports (id, time_ms, model_id, version, result, reason) SELECT 1 + max("
        "ifnull((SELECT max(id) FROM model_reports), 0), ifnull((SELECT max(report_id) FROM accesses), 0)"
        "), ?, ?, ?, ?, ?",
        report,
    )
    connection.execute(
        "DELETE FROM model_reports WHERE id <= (SELECT max(id) FROM model_reports) - ?", (REPORTS_KEPT,)
    )


def rows(connection: sqlite3.Connection) -> list[ModelRow]:
    """What was ever run, by model id."""
    versions: dict[str, list[RanVersion]] = {}
    for model_id, version, digest, state in connection.execute(
        "SELECT model_id, version, manifest_sha256, state FROM model_versions ORDER BY model_id, version DESC"
    ):
        versions.setdefault(model_id, []).append(RanVersion(version, digest, RanState(state)))
    found = connection.execute("SELECT model_id, highest FROM models ORDER BY model_id").fetchall()
    return [ModelRow(model_id, highest, tuple(versions.get(model_id, ()))) for model_id, highest in found]


def envelope_of(connection: sqlite3.Connection, model_id: str, version: int) -> bytes | None:
    """The signed manifest of a version that ran, None when it is not kept."""
    found = connection.execute(
        "SELECT envelope FROM model_versions WHERE model_id = ? AND version = ?", (model_id, version)
    ).fetchone()
    return None if found is None else found[0]


def reports(connection: sqlite3.Connection, limit: int) -> list[ReportRow]:
    """The newest reports, the newest first."""
    found = connection.execute(
        "SELECT time_ms, model_id, version, result, reason FROM model_reports ORDER BY id DESC LIMIT ?", (limit,)
    ).fetchall()
    return [ReportRow._make(row) for row in found]
