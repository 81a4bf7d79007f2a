"""What the journal holds for the chain: anchors, reports, who is registered, which models ran."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.journal import accesses, identities, models, outbox
from gateway.journal.accesses import AccessRow, OwedReport
from gateway.journal.identities import IdentityCursor, IdentityRow
from gateway.journal.models import REPORTS_KEPT, ModelRow, ReportRow
from gateway.journal.outbox import AnchorRow
from gateway.journal.schema import journal_error


@contextmanager
def faults() -> Iterator[None]:
    """What SQLite raises within, as what it means to the house.

    Raises:
        JournalFault: the disk failed.
        JournalDamaged: the database is not sound.
    """
    try:
        yield
    except sqlite3.Error as error:
        meaning = journal_error(error)
        if meaning is None:
            raise
        raise meaning from error


class CustodyReader:
    """A part of ``gateway.journal.Reader``, with the same promises."""

    _connection: sqlite3.Connection

    def open_anchors(self) -> list[AnchorRow]:
        """Return the anchors that have not come to their end, the oldest first."""
        with faults():
            return outbox.open_rows(self._connection)

    def newest_anchors(self, limit: int = 1) -> list[AnchorRow]:
        """Return the newest anchors, whatever became of them, the newest first."""
        with faults():
            return outbox.newest(self._connection, limit)

    def newest_anchor_in(self, state: str) -> AnchorRow | None:
        """Return the anchor of the largest size in a state."""
        with faults():
            return outbox.newest_in(self._connection, state)

    def anchor_covering(self, index: int, state: str) -> AnchorRow | None:
        """Return the anchor of the smallest size above ``index`` in a state."""
        with faults():
            return outbox.covering(self._connection, index, state)

    def anchor_counts(self) -> dict[str, int]:
        """Return how many anchors are in each state."""
        with faults():
            return outbox.counts(self._connection)

    def open_accesses(self) -> list[AccessRow]:
        """Return the reports on their way to the chain that have not come to their end, the oldest first."""
        with faults():
            return accesses.open_rows(self._connection)

    def newest_accesses(self, limit: int = 1) -> list[AccessRow]:
        """Return the newest transactions with reports, the newest first."""
        with faults():
            return accesses.newest(self._connection, limit)

    def owed_reports(self, limit: int = 1) -> list[OwedReport]:
        """Return the oldest reports that no transaction carries."""
        with faults():
            return accesses.owed(self._connection, limit)

    def identities(self) -> Iterator[IdentityRow]:
        """Yield what the chain's registry held, in the order of first registration."""
        with faults():
            yield from identities.rows(self._connection)

    def identity_cursor(self) -> IdentityCursor | None:
        """Return up to where the chain's registry was followed."""
        with faults():
            return identities.cursor(self._connection)

    # --- models ---

    def models(self) -> list[ModelRow]:
        """Return what this gateway ever ran of each model."""
        with faults():
            return models.rows(self._connection)

    def model_envelope(self, model_id: str, version: int) -> bytes | None:
        """Return the signed manifest of a version that ran, None when it is not kept."""
        with faults():
            return models.envelope_of(self._connection, model_id, version)

    def model_reports(self, limit: int = REPORTS_KEPT) -> list[ReportRow]:
        """Return what was done with models, the newest first."""
        with faults():
            return models.reports(self._connection, limit)
