"""A decided batch on its way to the disk: one transaction as soon as its receipts are signed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from gateway.ingest.ticket import Identity, Ticket
from gateway.journal import CheckpointRow, EntryRow, Group, MessageRow, QuarantineRow, TileRow
from gateway.message import RejectReason
from gateway.receipt import ReceiptWriter

NoteWriter = Callable[[bytes, bytes], str]


class _Checkpoint(NamedTuple):
    size: int
    root: bytes
    body: bytes
    time_ms: int


class Draft:
    """Collects the rows of a group. ``unsigned`` holds what the log key has to sign for it, in order."""

    def __init__(self, tickets: Sequence[Ticket] = ()) -> None:
        self.tickets = tickets
        self.entries: list[EntryRow] = []
        self.tiles: list[TileRow] = []
        self.replay: list[tuple[str, bytes]] = []
        self.identities: list[Identity] = []
        self.unsigned: list[bytes] = []
        self._receipts: list[tuple[Ticket, bytes]] = []
        self._accepted: list[Ticket] = []
        self._checkpoint: _Checkpoint | None = None
        self.log_key: bytes | None = None

    @classmethod
    def of_checkpoint(cls, size: int, root: bytes, body: bytes, time_ms: int) -> Draft:
        """A group that holds nothing but a checkpoint over everything before it."""
        draft = cls()
        draft._checkpoint = _Checkpoint(size, root, body, time_ms)
        draft.unsigned.append(body)
        return draft

    def message(self, ticket: Ticket, identity: Identity) -> None:
        """Store the ticket's envelope under its identity."""
        self._accepted.append(ticket)
        self.identities.append(identity)

    def sign(self, ticket: Ticket, payload: bytes, signing_input: bytes) -> None:
        """Ask for a receipt for the ticket."""
        self._receipts.append((ticket, payload))
        self.unsigned.append(signing_input)

    def group(self, signatures: Sequence[bytes], receipts: ReceiptWriter, note: NoteWriter) -> Group:
        """Hand out the receipts and return the transaction.

        Args:
            signatures: one for each of ``unsigned``, in order.
            receipts: assembles a receipt from payload and signature.
            note: assembles a checkpoint from body and signature.
        """
        if self._checkpoint is not None:
            size, root, body, time_ms = self._checkpoint
            text = note(body, signatures[0])
            return Group([], [], [], [], [], CheckpointRow(size, root, text, time_ms))
        signed: dict[Ticket, bytes] = {}
        for (ticket, payload), signature in zip(self._receipts, signatures, strict=True):
            receipt = receipts.assemble(payload, signature)
            if ticket.rejected is None and ticket.record is not None:
                ticket.record.receipt = receipt
                signed[ticket] = signature
            else:
                ticket.receipt = receipt
        messages = [
            MessageRow(ticket.record.index, *identity, ticket.raw.payload, signed[ticket])
            for ticket, identity in zip(self._accepted, self.identities, strict=True)
            if ticket.record is not None
        ]
        quarantine = [_quarantined(ticket) for ticket in self.tickets if _is_evidence(ticket)]
        return Group(self.entries, messages, self.replay, quarantine, self.tiles, None, self.log_key)


def _is_evidence(ticket: Ticket) -> bool:
    """Whether the bytes go to the quarantine: every refusal but a duplicate, whose bytes the journal holds."""
    return ticket.rejected is not None and ticket.rejected.reason is not RejectReason.DUPLICATE


def _quarantined(ticket: Ticket) -> QuarantineRow:
    raw, rejected, candidate = ticket.raw, ticket.rejected, ticket.candidate
    if rejected is None:
        raise RuntimeError("only a refused message is quarantined")
    detail = rejected.detail
    if rejected.reason is RejectReason.SEQUENCE_REUSED and ticket.record is not None:
        detail = f"{detail} The first message is log entry {ticket.record.index}."
    device_id = None if candidate is None else candidate.envelope.device_id
    return QuarantineRow(raw.received_ms, rejected.reason, raw.transport, raw.peer, device_id, detail, raw.payload)
