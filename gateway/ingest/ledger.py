"""What has to happen in order: replay windows, log indexes, the Merkle tree.

The ledger decides each batch after its signatures and before its commit, so it is always ahead of the journal by the
groups in flight. That is safe because groups are committed in order, and a group that cannot be committed is tried
until it can: nothing that was decided is ever taken back, and nothing is answered before it is on the disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.checks.chain import DECISION, Bench, Candidate
from gateway.checks.duplicate import Standing
from gateway.detection.port import Scorer
from gateway.ingest.counters import Refusals
from gateway.ingest.ticket import Identity, Record, Ticket
from gateway.ingest.windows import WindowCache
from gateway.journal import EntryRow, Group, Known, MessageRow, QuarantineRow, TileRow
from gateway.message import RejectReason, Rejected, Score, VerifiedMessage
from gateway.receipt import ReceiptWriter
from gateway.tlog.entry import MessageEntry, message_entry, parse_entry, rejections_entry
from gateway.tlog.merkle import leaf_hash
from gateway.tlog.tiles import TileWriter


def identity_of(candidate: Candidate) -> Identity:
    """The identity of FORMATS.md §2, MUST 7."""
    envelope = candidate.envelope
    return (envelope.device_id, envelope.session, envelope.seq)


class Draft:
    """A decided batch: what will be one transaction as soon as its receipts are signed."""

    def __init__(self, tickets: Sequence[Ticket]) -> None:
        self.tickets = tickets
        self.unsigned: list[bytes] = []
        self._receipts: list[tuple[Ticket, bytes]] = []
        self._entries: list[EntryRow] = []
        self._tiles: list[TileRow] = []
        self._accepted: list[Ticket] = []
        self._replay: dict[str, bytes] = {}
        self.identities: list[Identity] = []

    def receipt_for(self, ticket: Ticket, payload: bytes, signing_input: bytes) -> None:
        """Ask for a signed receipt."""
        self._receipts.append((ticket, payload))
        self.unsigned.append(signing_input)
