"""The stages, each a task; batches go through them in order, several in flight.

Overload is felt backwards: a slow disk fills the short queues between the stages, then the intake, and then the
transports stop acknowledging. Nothing in here drops a message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import structlog

from gateway.config.model import Config
from gateway.crypto.frames import Claim
from gateway.crypto.pool import CryptoPool
from gateway.detection.port import Scorer
from gateway.ingest.admission import Admission
from gateway.ingest.clerk import Clerk, Duty
from gateway.ingest.counters import Counters
from gateway.ingest.draft import Draft, NoteWriter
from gateway.ingest.intake import IntakeQueue
from gateway.ingest.ledger import Ledger, verified
from gateway.ingest.ticket import Identity, Ticket
from gateway.journal import Group, JournalFault, JournalFull, Known
from gateway.message import Pushback, PushbackReason, RawMessage, Rejected, RejectReason
from gateway.receipt import ReceiptWriter
from gateway.registry.port import Registry

log = structlog.get_logger("ingest")

_IN_FLIGHT = 2
_RETRY_AFTER_S = 5
_COMMIT_RETRY_S = 1.0
_BATCH_BYTES = 1 << 20


class Store(Protocol):
    """What ingest asks of the journal."""

    async def commit(self, group: Group) -> None:
        """Store all of it, or raise ``JournalFull`` or ``JournalFault`` and store nothing."""
        ...

    async def lookup(self, identities: Sequence[Identity]) -> Mapping[Identity, Known]:
        """What is held of identities."""
        ...

    async def replay_states(self, device_ids: Sequence[str]) -> Mapping[str, bytes]:
        """What is held of devices' replay windows."""
        ...


class Clock(NamedTuple):
    """Monotonic seconds, milliseconds since 1970, and whether those are believed."""

    monotonic_s: Callable[[], float]
    wall_ms: Callable[[], int]
    wall_trusted: Callable[[], bool] = lambda: True


@dataclass(slots=True)
class _Batch:
    """Admitted tickets, and what is being asked about them meanwhile."""

    tickets: list[Ticket]
    held: asyncio.Task[list[bool]]
    asked: list[str]
    states: asyncio.Task[Mapping[str, bytes]]


class _Ping(NamedTuple):
    """A question that goes through the stages like a batch."""

    answered: asyncio.Future[None]


class Ingest:
    """Joins the rooms. ``run`` ends after ``stop`` when everything taken in is committed and answered."""

    def __init__(  # noqa: PLR0913 -- the one place where the rooms meet
        self,
        config: Config,
        *,
        intake: IntakeQueue,
        admission: Admission,
        ledger: Ledger,
        registry: Registry,
        crypto: CryptoPool,
        store: Store,
        scorer: Scorer,
        receipts: ReceiptWriter,
        note: NoteWriter,
        clerk: Clerk,
        gate: Callable[[], PushbackReason | None],
        clock: Clock,
    ) -> None:
        self._config = config
        self._intake = intake
        self._admission = admission
        self._ledger = ledger
        self._registry = registry
        self._crypto = crypto
        self._store = store
        self._scorer = scorer
        self._receipts = receipts
        self._note = note
        self._clerk = clerk
        self._gate = gate
        self._clock = clock
        self._decide_queue: asyncio.Queue[_Batch | Duty | _Ping | None] = asyncio.Queue(_IN_FLIGHT)
        self._commit_queue: asyncio.Queue[tuple[Draft, asyncio.Task[list[bytes]]] | _Ping | None] = asyncio.Queue(
            _IN_FLIGHT
        )
        # A group has to fit into the journal's budget many times over, or it would never be committed.
        self._batch_bytes = min(_BATCH_BYTES, config.journal.budget_bytes // 64)
        self.journal_fault: str | None = None
        self._told_of: PushbackReason | None = None
        self.touched = asyncio.Event()
        self.sealed = asyncio.Event()
        self.counters = Counters()

    async def run(self) -> None:
        """Run the stages until the intake is closed and empty; an exception in one ends all."""
        async with asyncio.TaskGroup() as stages:
            for duty in self._clerk.opening():
                await self._decide_queue.put(duty)
            duties = stages.create_task(self._clerk.run(self._decide_queue.put), name="clerk")
            stages.create_task(self._decide_stage(stages), name="decide")
            stages.create_task(self._commit_stage(), name="commit")
            await self._admit_stage(stages)
            duties.cancel()
            for duty in self._clerk.closing():
                await self._decide_queue.put(duty)
            await self._decide_queue.put(None)

    async def ping(self) -> None:
        """Return when a question has gone through all the stages, or when it is known that the disk holds them up."""
        through = asyncio.create_task(self._go_through())
        try:
            while not through.done() and self.journal_fault is None:
                await asyncio.wait({through}, timeout=_COMMIT_RETRY_S)
        finally:
            through.cancel()

    async def _go_through(self) -> None:
        answered = asyncio.get_running_loop().create_future()
        await self._decide_queue.put(_Ping(answered))
        await answered

    def pushback(self) -> PushbackReason | None:
        """Why nothing is taken at the moment, or None."""
        return PushbackReason.PUSHBACK if self.journal_fault else self._gate()

    def waiting(self) -> dict[str, int]:
        """Batches that wait for a stage; at most two for each."""
        return {"decide": self._decide_queue.qsize(), "commit": self._commit_queue.qsize()}

    async def _admit_stage(self, tasks: asyncio.TaskGroup) -> None:
        """Take batches from the intake, ask steps 0 to 3, and have the signatures verified meanwhile."""
        limit = self._config.ingest.batch_messages
        linger_s = self._config.ingest.linger_ms / 1000
        while True:
            reason = self.pushback()
            self._tell_of(reason)
            if reason is not None:
                await self._push_back(tasks, reason)
                if self._intake.closed:
                    return
                await self._intake.wait()
                continue
            depth = self._intake.depth()
            if depth == 0:
                if self._intake.closed:
                    return
                await self._intake.wait()
                continue
            if depth < limit and linger_s and not self._intake.closed:
                await asyncio.sleep(linger_s)
            raws = self._intake.take(limit, max_bytes=self._batch_bytes)
            tickets, claims = self._admission.admit(raws, self._registry.snapshot, self._clock.monotonic_s())
            await self._submit(tasks, tickets, claims)

    def _tell_of(self, reason: PushbackReason | None) -> None:
        """Write to the log that the gateway takes nothing, or takes messages again: once each."""
        if reason is self._told_of:
            return
        if reason is not None:
            log.warning("gateway.holds_back", reason=reason.value)
        else:
            log.info("gateway.takes_in", after=None if self._told_of is None else self._told_of.value)
        self._told_of = reason

    async def _submit(self, tasks: asyncio.TaskGroup, tickets: list[Ticket], claims: list[Claim]) -> None:
        """Send admitted tickets on; signatures and replay states are fetched while the batch waits its turn."""
        for ticket in tickets:
            self.counters.received[ticket.raw.transport] += 1
        passed = [ticket.candidate for ticket in tickets if ticket.rejected is None and ticket.candidate]
        ledger = self._ledger
        asked = ledger.windows.absent((candidate.envelope.device_id for candidate in passed), ledger.group)
        held = tasks.create_task(self._verify(claims))
        states = tasks.create_task(self._replay_states(asked))
        await self._decide_queue.put(_Batch(tickets, held, asked, states))

    async def _verify(self, claims: list[Claim]) -> list[bool]:
        asked_s = self._clock.monotonic_s()
        held = await self._crypto.verify(claims)
        if claims:
            self.counters.verify.add((self._clock.monotonic_s() - asked_s) * 1000)
        return held

    async def _push_back(self, tasks: asyncio.TaskGroup, reason: PushbackReason) -> None:
        """Tell those who want an answer now to come again; what can wait, waits.

        What fails step 0 is refused even now, unless it is the journal that cannot take the refusal.
        """
        waiting = self._intake.depth(patient=False)
        while waiting > 0:
            limit = min(waiting, self._config.ingest.batch_messages)
            raws = self._intake.take(limit, patient=False, max_bytes=self._batch_bytes)
            waiting -= len(raws)
            refused = [ticket for raw in raws if (ticket := self._turned_away(raw, reason)) is not None]
            if refused:
                await self._submit(tasks, refused, [])

    def _turned_away(self, raw: RawMessage, reason: PushbackReason) -> Ticket | None:
        """Push one message back, or return the ticket of its refusal."""
        if reason is not PushbackReason.PUSHBACK:
            ticket = self._admission.route(raw)
            if ticket.rejected is not None:
                return ticket
        self.counters.received[raw.transport] += 1
        self.counters.pushed_back += 1
        raw.reply(Pushback(reason, _RETRY_AFTER_S))
        return None

    async def _replay_states(self, asked: list[str]) -> Mapping[str, bytes]:
        return await self._store.replay_states(asked) if asked else {}

    async def _decide_stage(self, tasks: asyncio.TaskGroup) -> None:
        """Steps 4 and 5, scores and log entries, strictly in order."""
        while (work := await self._decide_queue.get()) is not None:
            if isinstance(work, _Ping):
                await self._commit_queue.put(work)
                continue
            draft = await self._decide(work) if isinstance(work, _Batch) else self._clerk.draft(work)
            if draft is not None:
                await self._commit_queue.put((draft, tasks.create_task(self._crypto.sign(draft.unsigned))))
        await self._commit_queue.put(None)

    async def _decide(self, batch: _Batch) -> Draft:
        ledger, tickets = self._ledger, batch.tickets
        held = iter(await batch.held)
        for ticket in tickets:
            if ticket.rejected is None and ticket.candidate is not None:
                ticket.candidate.held = next(held)
        ledger.windows.install(batch.asked, await batch.states, ledger.group)
        suspects = ledger.suspects(tickets)
        known = await self._store.lookup(suspects) if suspects else {}
        accepted = ledger.decide(tickets, known, self._clock.monotonic_s())
        draft = Draft(tickets)
        scores = await self._scorer.score([verified(ticket) for ticket in accepted])
        self.counters.verdicts.update([score.verdict for score in scores])
        for ticket, score in zip(accepted, scores, strict=True):
            ledger.append(draft, ticket, score)
        ledger.finish(draft)
        self._count(tickets, len(accepted))
        return draft

    def _count(self, tickets: Sequence[Ticket], accepted: int) -> None:
        self.counters.accepted += accepted
        if accepted:
            self._clerk.grown()
        for ticket in tickets:
            if ticket.rejected is None:
                continue
            reason = ticket.rejected.reason
            self.counters.rejected[reason] += 1
            candidate = ticket.candidate
            device_id = None if candidate is None else candidate.envelope.device_id
            # Only what the device's own key signed may make it look bad, and a repetition is no misdeed.
            if candidate is not None and candidate.held and reason is not RejectReason.DUPLICATE:
                self._scorer.refused(candidate.envelope.device_id)
            if reason is RejectReason.RATE_LIMITED and ticket.retry_after_s is None and candidate is not None:
                ticket.retry_after_s = self._admission.retry_after_s(candidate)
            if self._clerk.refused(reason, device_id):
                self._tell(ticket, ticket.rejected)

    @staticmethod
    def _tell(ticket: Ticket, rejected: Rejected) -> None:
        """Write a refusal to the log; the clerk picks the few that are told."""
        raw, candidate = ticket.raw, ticket.candidate
        facts: dict[str, object] = {"reason": rejected.reason, "transport": raw.transport, "peer": raw.peer}
        if candidate is not None:
            envelope = candidate.envelope
            facts |= {"device": envelope.device_id, "session": envelope.session.hex(), "seq": envelope.seq}
        if rejected.reason is RejectReason.SEQUENCE_REUSED:
            log.warning("device.sequence_reused", detail=rejected.detail, **facts)
        else:
            log.info("message.rejected", detail=rejected.detail, **facts)

    async def _commit_stage(self) -> None:
        """One group after the other to the disk; the answers of a group leave behind it."""
        while (work := await self._commit_queue.get()) is not None:
            if isinstance(work, _Ping):
                if not work.answered.done():
                    work.answered.set_result(None)
                continue
            draft, signatures = work
            group = draft.group(await signatures, self._receipts, self._note)
            await self._commit(group)
            self.counters.groups += 1
            if group.checkpoint is not None:
                self.sealed.set()
            self._ledger.committed(draft)
            wall_ms = self._clock.wall_ms()
            for ticket in draft.tickets:
                ticket.raw.reply(ticket.outcome())
                self.counters.latency.add(wall_ms - ticket.raw.received_ms)
            self.counters.answered += len(draft.tickets)

    async def _commit(self, group: Group) -> None:
        """Commit, however long it takes: a decision cannot be taken back, only kept waiting."""
        while True:
            asked_s = self._clock.monotonic_s()
            try:
                await self._store.commit(group)
            except (JournalFull, JournalFault) as fault:
                self.counters.commit_faults += 1
                if self.journal_fault is None:
                    log.error("journal.blocked", detail=str(fault))
                self.journal_fault = str(fault)
                self.touched.set()
                self._intake.wake()
                await asyncio.sleep(_COMMIT_RETRY_S)
            else:
                self.counters.commit.add((self._clock.monotonic_s() - asked_s) * 1000)
                self.counters.quarantined += len(group.quarantine)
                self.touched.set()
                if self.journal_fault is not None:
                    log.info("journal.recovered")
                    self.journal_fault = None
                    self._intake.wake()
                return
