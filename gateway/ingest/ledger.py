"""What has to happen in order: replay windows, log indexes, the Merkle tree.

The ledger decides each batch after its signatures and before its commit, so it is always ahead of the journal by the
groups in flight. That is safe because groups are committed in order, and a group that cannot be committed is tried
until it can: nothing that was decided is ever taken back, and nothing is answered before it is on the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from gateway.checks.chain import DECISION, Bench, Candidate
from gateway.checks.duplicate import Standing
from gateway.ingest.draft import Draft
from gateway.ingest.ticket import Identity, Record, Ticket
from gateway.ingest.windows import WindowCache
from gateway.journal import EntryRow, Known, TileRow
from gateway.message import RejectReason, Score, VerifiedMessage
from gateway.receipt import ReceiptWriter, receipt_payload
from gateway.tlog.entry import ClockEntry, MessageEntry, encode_entry, message_entry, parse_entry
from gateway.tlog.merkle import leaf_hash
from gateway.tlog.tiles import TileWriter

_WITHOUT_RECEIPT = frozenset({RejectReason.DUPLICATE, RejectReason.RATE_LIMITED})
"""A duplicate is answered with its first receipt; a flood is not worth a signature a message."""


def identity_of(candidate: Candidate) -> Identity:
    """The identity of FORMATS.md §2, MUST 7."""
    envelope = candidate.envelope
    return (envelope.device_id, envelope.session, envelope.seq)


class ClockWord(NamedTuple):
    """What the clock's watch says before a batch is decided.

    ``news`` belong into the log before anything that is decided from now on. ``set_ms`` is what the clock said when
    it was last set, 0 when it was not: a time of receipt from before it was read off another clock.
    """

    trusted: bool = True
    now_ms: int = 0
    set_ms: int = 0
    news: Sequence[ClockEntry] = ()


_BELIEVED = ClockWord()


class Ledger:
    """The sequential state of one log. ``ask_clock`` is called before each batch, and must cost next to nothing."""

    def __init__(
        self,
        bench: Bench,
        windows: WindowCache,
        tree: TileWriter,
        receipts: ReceiptWriter,
        ask_clock: Callable[[], ClockWord] = lambda: _BELIEVED,
    ) -> None:
        self._bench = bench
        self._ask_clock = ask_clock
        self._news: list[bytes] = []
        self._tree = tree
        self._receipts = receipts
        self._in_flight: dict[Identity, Record] = {}
        self.windows = windows
        self.group = 0

    @property
    def size(self) -> int:
        """Entries decided so far."""
        return self._tree.size

    def root(self) -> bytes:
        """Root hash over the entries decided so far."""
        return self._tree.root()

    def suspects(self, tickets: Sequence[Ticket]) -> list[Identity]:
        """The identities that the windows cannot call fresh and no group in flight holds: the journal must say.

        Nothing is fresh for certain once the device's window has evicted a session: who signs in that one again could
        put a number into the journal twice, which it never takes. A record that is in flight now is noted in its
        ticket: its group may be committed while the journal is asked.
        """
        identities = []
        for ticket in tickets:
            candidate = ticket.candidate
            if candidate is None or not candidate.held:
                continue
            identity = identity_of(candidate)
            window = self.windows.use(candidate.envelope.device_id, self.group)
            if not window.has_forgotten and self._standing(candidate) is Standing.FRESH:
                continue
            ticket.record = self._in_flight.get(identity)
            if ticket.record is None:
                identities.append(identity)
        return identities

    def decide(self, tickets: Sequence[Ticket], known: Mapping[Identity, Known], now_s: float) -> list[Ticket]:
        """Steps 4 and 5 for a batch, in its order; returns the accepted tickets, whose identities are now taken.

        Args:
            tickets: a batch whose candidates know whether their signatures held.
            known: what the journal holds of the batch's ``suspects``.
            now_s: monotonic seconds, for the devices' budgets.
        """
        self.group += 1
        self._bench.now_s = now_s
        clock = self.heed_clock()
        if clock.set_ms:
            _restamp(tickets, clock)
        accepted = []
        for ticket in tickets:
            candidate = ticket.candidate
            if ticket.rejected is not None or candidate is None:
                continue
            identity = identity_of(candidate)
            record = ticket.record or self._in_flight.get(identity)
            if candidate.held:
                candidate.standing = self._standing(candidate)
                if record is None and (held := known.get(identity)) is not None:
                    record = self._recorded(held)
            candidate.known_digest = None if record is None else record.digest
            ticket.rejected = DECISION.first_failure(candidate, self._bench)
            if ticket.rejected is None:
                envelope = candidate.envelope
                window = self.windows.use(envelope.device_id, self.group)
                window.accept(envelope.session, envelope.seq, envelope.issued_at)
                ticket.record = self._in_flight[identity] = Record(envelope.digest)
                accepted.append(ticket)
            else:
                ticket.record = record
        return accepted

    def heed_clock(self) -> ClockWord:
        """Ask how the clock is. What it says holds from the next decision on, and is told before it in the log."""
        clock = self._ask_clock()
        self._bench.clock_trusted = clock.trusted
        self._news += [encode_entry(entry) for entry in clock.news]
        return clock

    def append_news(self, draft: Draft) -> bool:
        """Append what the clock's watch said and the log does not hold yet; False when there is nothing."""
        news, self._news = self._news, []
        for entry in news:
            self._append(draft, entry)
        return bool(news)

    def append(self, draft: Draft, ticket: Ticket, score: Score) -> None:
        """Give an accepted message its entry, its place in the log and its receipt."""
        candidate, record = ticket.candidate, ticket.record
        if candidate is None or record is None:
            raise RuntimeError("only a decided message is appended")
        envelope = candidate.envelope
        entry = message_entry(
            MessageEntry(
                candidate.raw.received_ms,
                envelope.digest,
                envelope.device_id,
                envelope.session,
                envelope.seq,
                *score,
            )
        )
        record.index, hashed = self.append_entry(draft, entry)
        payload = receipt_payload(envelope.digest, record.index, candidate.raw.received_ms, None, hashed)
        draft.sign(ticket, payload, self._receipts.signing_input(payload))
        draft.message(ticket, identity_of(candidate))

    def append_entry(self, draft: Draft, entry: bytes) -> tuple[int, bytes]:
        """Append an entry of any kind, behind the news of the clock; returns its index and leaf hash."""
        if self._news:
            self.append_news(draft)
        return self._append(draft, entry)

    def _append(self, draft: Draft, entry: bytes) -> tuple[int, bytes]:
        index, hashed = self._tree.size, leaf_hash(entry)
        draft.entries.append(EntryRow(index, entry))
        draft.tiles += [TileRow(tile.level, tile.index, tile.data) for tile in self._tree.append(hashed)]
        return index, hashed

    def finish(self, draft: Draft) -> None:
        """Add what the batch leaves behind beside its entries: replay states, and receipts of signed refusals."""
        devices = dict.fromkeys(device_id for device_id, _, _ in draft.identities)
        draft.replay = [(device_id, self.windows.use(device_id, self.group).to_bytes()) for device_id in devices]
        for ticket in draft.tickets:
            rejected, candidate = ticket.rejected, ticket.candidate
            if rejected is None or candidate is None or not candidate.held or rejected.reason in _WITHOUT_RECEIPT:
                continue
            payload = receipt_payload(
                candidate.envelope.digest, None, candidate.raw.received_ms, rejected.reason, None
            )
            draft.sign(ticket, payload, self._receipts.signing_input(payload))

    def committed(self, draft: Draft) -> None:
        """The draft is on the disk: from now on the journal answers for its identities."""
        for identity in draft.identities:
            self._in_flight.pop(identity, None)
        self.windows.forget(self.group)

    def _standing(self, candidate: Candidate) -> Standing:
        envelope = candidate.envelope
        window = self.windows.use(envelope.device_id, self.group)
        return window.standing(envelope.session, envelope.seq, envelope.issued_at)

    def _recorded(self, known: Known) -> Record:
        """Rebuild the first receipt from what the journal keeps of it: the entry and the signature."""
        entry = parse_entry(known.entry)
        if not isinstance(entry, MessageEntry):
            raise TypeError("the journal names an entry for an identity that is no message")
        payload = receipt_payload(entry.digest, known.index, entry.time_ms, None, leaf_hash(known.entry))
        return Record(entry.digest, known.index, self._receipts.assemble(payload, known.receipt_signature))


def _restamp(tickets: Sequence[Ticket], clock: ClockWord) -> None:
    """Give messages whose time of receipt was read off the clock before it was set the time of now."""
    for ticket in tickets:
        if not clock.set_ms <= ticket.raw.received_ms <= clock.now_ms:
            ticket.raw = ticket.raw._replace(received_ms=clock.now_ms)
            if ticket.candidate is not None:
                ticket.candidate.raw = ticket.raw


def verified(ticket: Ticket) -> VerifiedMessage:
    """What detection is given of an accepted ticket."""
    if ticket.candidate is None:
        raise RuntimeError("only a decided message is scored")
    return VerifiedMessage(ticket.raw, ticket.candidate.envelope)
