"""Anchoring: asks the chain, writes the outbox, sends transactions; what to do is decided by the pure rooms.

One look does, in this order: see what became of every transaction that is not final; send again what waits; when
nothing waits, check the past, seal, sign, and send. Whatever is interrupted where, the next look goes on from the
outbox: a transaction is in the journal before it is on any wire, and is never made twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, NamedTuple

import structlog

from gateway.anchor import batch, fees, past
from gateway.anchor.adoption import find_anchor
from gateway.anchor.book import Book, Outbox, Step, stepped
from gateway.anchor.holds import LOUD, Hold, HoldReason
from gateway.anchor.lifecycle import WAITING, Event, State
from gateway.anchor.nonces import in_flight, replacement_due
from gateway.anchor.past import Head, Verdict
from gateway.anchor.report import AnchorStatus, words
from gateway.anchor.sighting import Change, Sighting
from gateway.anchor.transaction import Offer, Signer, Target, signed_fields
from gateway.chain.contracts import anchor_call, latest
from gateway.chain.port import CallReverted, SendKind, View
from gateway.chain.refusals import explain
from gateway.config.model import AnchorConfig
from gateway.journal import AnchorRow, JournalFault
from gateway.tlog.tiles import MissingTileError

log = structlog.get_logger("anchor")

_BALANCE_EVERY_MS: Final = 60_000
_HELD_BY: Final = {"NotActiveMiner": HoldReason.MINER_NOT_ACTIVE, "LogFrozen": HoldReason.LOG_FROZEN}
_REFUSED_BY: Final = {
    SendKind.UNDERPRICED: HoldReason.UNDERPRICED,
    SendKind.OUT_OF_FUNDS: HoldReason.OUT_OF_FUNDS,
    SendKind.REFUSED: HoldReason.REFUSED,
}
_JUDGED: Final = {
    Verdict.FROZEN: HoldReason.LOG_FROZEN,
    Verdict.MISMATCH: HoldReason.HISTORY_MISMATCH,
    Verdict.LATER: HoldReason.ENDPOINT_BEHIND,
}


class Means(NamedTuple):
    """What anchoring works with.

    ``open_log`` opens the journal to read; it is used in threads. ``logs_blocks`` is how many blocks are asked for
    events at once, when an anchor is looked for that the outbox does not know.
    """

    outbox: Outbox
    open_log: Callable[[], AbstractContextManager[past.OwnLog]]
    signer: Signer
    wall_ms: Callable[[], int]
    logs_blocks: int = 5000


class _Held(Exception):
    """Nothing more can be done in this look; without a reason: for this look only, and not worth a word."""

    def __init__(self, reason: HoldReason | None, detail: str = "") -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Anchoring:
    """Brings the log's checkpoints to the chain; a ``gateway.chain.port.Looker``."""

    def __init__(self, config: AnchorConfig, target: Target, means: Means) -> None:
        self._config = config
        self._target = target
        self._means = means
        self._account = means.signer.address
        self._book = Book(means.outbox, target)
        self._behind_since: dict[int, int] = {}
        self._offered_at: dict[int, int] = {}
        self._hold: Hold | None = None
        self._refusal: _Held | None = None
        self._adopted: Head | None = None
        self._asked = False
        self._next_at_ms: int | None = None
        self._balance_wei: int | None = None
        self._balance_ms = 0
        self._nonce: int | None = None

    # --- for the others ---

    def wake(self) -> None:
        """Seal at the next look, whatever the interval says; who wants it now wakes the chain watch as well."""
        self._asked = True

    def unavailable(self, detail: str) -> None:
        """No view could be opened: whoever runs the looks says so."""
        self._settle_hold(_Held(HoldReason.CHAIN_UNAVAILABLE, detail), self._means.wall_ms())

    def status(self) -> AnchorStatus:
        """How anchoring is, and what happens next."""
        book = self._book
        final_size = book.final.size if book.final else 0
        unanchored = max(0, self._means.outbox.size() - self._covered_size())
        newest = next((row for row in reversed(book.rows) if row.state != State.REPLACED), None)
        until_ms = self._next_at_ms
        next_in_s = None if until_ms is None else max(0, until_ms - self._means.wall_ms()) // 1000
        figures = book.figures()
        in_blocks = (State.MINED, State.REVERTED, State.FINAL, State.FAILED)
        return AnchorStatus(
            state=words(newest, final_size=final_size, unanchored=unanchored, hold=self._hold, next_in_s=next_in_s),
            final_size=final_size,
            final_ms=book.final.changed_ms if book.final else None,
            sealed_size=max([final_size, *(row.size for row in book.rows)]),
            unanchored=unanchored,
            hold=self._hold,
            account=f"0x{self._account.hex()}",
            balance_wei=self._balance_wei,
            nonce=self._nonce,
            transactions=sum(figures.counts.get(state, 0) for state in in_blocks),
            gas_used_total=figures.gas_used,
            counts=figures.counts,
            next_at_ms=until_ms,
        )

    # --- one look ---

    async def look(self, view: View) -> None:
        """Do what there is to do now.

        Raises:
            ChainError: as from the view. What was begun is gone on with at the next look.
            JournalDamaged: the database is not sound.
        """
        now_ms = self._means.wall_ms()
        self._refusal = None
        held: _Held | None = None
        try:
            await self._book.load(now_ms)
            await self._look(view, now_ms)
        except _Held as reason:
            held = reason
        except JournalFault as fault:
            held = _Held(HoldReason.JOURNAL_FAULT, str(fault))
        self._settle_hold(held or self._refusal, now_ms)

    async def _look(self, view: View, now_ms: int) -> None:
        sighting = Sighting(view, self._target, self._behind_since, round(self._config.replace_after_s * 1000))
        for attempts in await sighting.worth_asking(self._book.nonces(), now_ms):
            await self._settle(await sighting.change(attempts), now_ms)
        await self._forget_moot(now_ms)
        if now_ms - self._balance_ms >= _BALANCE_EVERY_MS or self._hold is not None:
            self._balance_wei, self._balance_ms = await view.balance(self._account), now_ms
        waiting = [attempts for attempts in self._book.nonces() if in_flight(attempts)]
        open_ids = {row.id for row in self._book.rows}
        self._offered_at = {row_id: at for row_id, at in self._offered_at.items() if row_id in open_ids}
        for attempts in waiting:
            await self._send_again(view, attempts[-1], now_ms)
        own = [attempts for attempts in waiting if attempts[0].account == self._account]
        self._next_at_ms = None
        if own:
            self._nonce = await sighting.nonce(self._account)
            await self._replace_when_due(view, own[0][-1], now_ms)
        else:
            await self._seal_when_due(view, sighting, now_ms)

    async def _settle(self, change: Change, now_ms: int) -> None:
        """Write what became of one nonce."""
        if not change:
            return
        for row, steps in change:
            if stepped(row, steps, now_ms).state == State.FINAL:
                await self._means.outbox.set_final_size(row.size)  # true already: if the row is not written, again
        await self._book.steps(change, now_ms)

    async def _forget_moot(self, now_ms: int) -> None:
        """Give up what an account that was ours once has not got into a block, when later entries are final."""
        final = self._book.final
        moot: Change = [
            (row, [Step(Event.SUPERSEDE)])
            for row in self._book.rows
            if final is not None
            and State(row.state) in WAITING
            and row.account != self._account
            and row.size <= final.size
        ]
        if moot:
            await self._book.steps(moot, now_ms)

    # --- what waits for a block ---

    async def _send_again(self, view: View, row: AnchorRow, now_ms: int) -> None:
        """Send what no endpoint took yet, lost its block, or was forgotten: the same bytes."""
        if row.state == State.BROADCAST and row.tx_hash is not None and await view.knows(row.tx_hash):
            self._offered_at.setdefault(row.id, view.head.number)
            return
        await self._send(view, row, now_ms)

    async def _send(self, view: View, row: AnchorRow, now_ms: int) -> None:
        if row.raw is None:
            return
        result = await view.send(row.raw)
        if result.kind in {SendKind.ACCEPTED, SendKind.ALREADY_KNOWN}:
            self._offered_at.setdefault(row.id, view.head.number)
            if row.state != State.BROADCAST:
                await self._book.step(row, [Step(Event.BROADCAST)], now_ms)
        elif result.kind in _REFUSED_BY and row.account == self._account:
            self._refusal = _Held(_REFUSED_BY[result.kind], result.detail)
            if result.kind is not SendKind.OUT_OF_FUNDS:
                self._offered_at[row.id] = -1  # no block will have it: another bid need not wait for one
        # "nonce too low" has no row of its own: the next look finds by its hash what became of it

    async def _replace_when_due(self, view: View, row: AnchorRow, now_ms: int) -> None:
        """Bid more for the lowest nonce that waits, when a block could have had it for long enough."""
        after_s = self._config.replace_after_s
        self._next_at_ms = row.changed_ms + round(after_s * 1000)
        if row.nonce is None or self._nonce is None or row.max_fee_wei is None:
            return
        if row.nonce > self._nonce:
            raise _Held(HoldReason.NONCE_GAP, f"nonce {row.nonce} waits for the account's nonce {self._nonce}")
        passed_over = view.head.number > self._offered_at.get(row.id, view.head.number)
        if row.nonce < self._nonce or not replacement_due(now_ms, row.changed_ms, after_s, passed_over=passed_over):
            return
        before = fees.Bid(row.max_fee_wei, row.priority_fee_wei)
        bid = _within_cap(fees.replacement(self._config, before, await view.fees()))
        head = Head(row.size, row.root)
        if all((other.nonce or 0) <= row.nonce for other in self._book.rows if other.account == self._account):
            newer = await self._checkpoint(view, now_ms)
            head = newer if newer is not None and newer.size > row.size else head
            await self._would_be_taken(view, head)
        await self._afford(view, bid)
        offer = Offer(head, row.nonce, self._config.gas_limit, bid)
        replacement = self._row(State.SIGNED, head, now_ms)._replace(
            **signed_fields(self._target, self._means.signer, offer)
        )
        await self._book.born(replacement, "anchor.signed", instead_of=row, now_ms=now_ms)
        await self._send(view, replacement, now_ms)

    # --- what is sealed anew ---

    async def _seal_when_due(self, view: View, sighting: Sighting, now_ms: int) -> None:
        """Seal when it is time; sign and send what is sealed."""
        sealed = self._book.sealed()
        due = batch.decide(self._config, self._standing(), now_ms)
        if isinstance(due, batch.Wait) and sealed is None:
            self._next_at_ms = due.until_ms
            self._asked = self._asked and due.until_ms is not None
            return
        head = await self._checkpoint(view, now_ms)
        if head is None:
            if sealed is not None:
                await self._book.step(sealed, [Step(Event.ABANDON, {"detail": "it is on the chain"})], now_ms)
            return
        if sealed is None:
            sealed = await self._book.born(self._row(State.SEALED, head, now_ms), "anchor.sealed", now_ms=now_ms)
        self._asked = False
        bid = _within_cap(fees.first_bid(self._config, await view.fees()))
        await self._afford(view, bid)
        await self._would_be_taken(view, head)
        self._nonce = nonce = await sighting.nonce(self._account)
        ours = [*self._book.rows, *([self._book.final] if self._book.final else [])]
        taken = [row.nonce for row in ours if row.account == self._account and row.nonce is not None]
        if taken and nonce <= max(taken):
            raise _Held(HoldReason.ENDPOINT_BEHIND, f"it says nonce {nonce}, and nonce {max(taken)} is in a block")
        offer = Offer(head, nonce, self._config.gas_limit, bid)
        fields = signed_fields(self._target, self._means.signer, offer)
        signed = await self._book.step(sealed, [Step(Event.SIGN, fields)], now_ms)
        await self._send(view, signed, now_ms)

    def _covered_size(self) -> int:
        return max(self._book.covered_size(), self._adopted.size if self._adopted else 0)

    def _standing(self) -> batch.Standing:
        book = self._book
        return batch.Standing(
            newest_size=self._means.outbox.size(),
            covered_size=self._covered_size(),
            last_sealed_ms=book.last_sealed_ms,
            owed=book.newest_state in {State.DISPLACED, State.ABANDONED},
            asked=self._asked,
        )

    async def _checkpoint(self, view: View, now_ms: int) -> Head | None:
        """The checkpoint that may be anchored now; None when the chain has the newest."""
        found = await latest(view, self._target.contract, self._target.log_id)
        anchored = past.Anchored(Head(found.size, found.root), found.frozen)
        try:
            own = await asyncio.to_thread(self._examine, anchored.head)
        except MissingTileError as missing:
            raise _Held(HoldReason.HISTORY_UNREADABLE, str(missing)) from None
        judgement = past.judge(anchored, own, self._belief(view))
        if judgement.verdict in _JUDGED:
            raise _Held(_JUDGED[judgement.verdict] if judgement.detail else None, judgement.detail)
        if judgement.verdict is Verdict.ADOPT:
            await self._adopt(view, anchored.head, now_ms)
        checkpoint = own.checkpoint
        return checkpoint if checkpoint is not None and checkpoint.size > anchored.head.size else None

    def _examine(self, head: Head) -> past.Examination:
        with self._means.open_log() as own:
            return past.examine(own, head)

    def _belief(self, view: View) -> past.Belief:
        row = self._book.believed()
        believed = None if row is None else Head(row.size, row.root)
        if self._adopted is not None and (believed is None or believed.size <= self._adopted.size):
            believed = self._adopted
        behind = row is not None and (row.state != State.FINAL or (row.block_number or 0) > view.head.number)
        return past.Belief(believed, self._book.on_their_way(), behind)

    async def _adopt(self, view: View, head: Head, now_ms: int) -> None:
        """The chain has an anchor that the outbox does not know: keep it, with its transaction where found."""
        found = await find_anchor(view, self._target, head, self._means.logs_blocks)
        log.warning("anchor.adopted", size=head.size, found=found is not None)
        if found is None:
            self._adopted = head  # it is older than any reorg: remembering it will do
        else:
            record, event = found
            row = self._row(State.MINED, head, now_ms)._replace(
                account=event.miner,
                tx_hash=record.tx_hash,
                block_number=record.block_number,
                block_hash=record.block_hash,
                detail="found on the chain",
            )
            await self._book.born(row, "anchor.found", now_ms=now_ms)

    async def _afford(self, view: View, bid: fees.Bid) -> None:
        """See that the account can pay for a transaction with all of its gas: pools ask for that."""
        cost = self._config.gas_limit * bid.max_fee
        balance = self._balance_wei = await view.balance(self._account)
        self._balance_ms = self._means.wall_ms()
        if cost > balance:
            short = f"0x{self._account.hex()} has {balance} wei, {cost - balance} more are needed"
            raise _Held(HoldReason.OUT_OF_FUNDS, short)

    async def _would_be_taken(self, view: View, head: Head) -> None:
        """See that the contract would take it now.

        The estimate is not the transaction's gas: a node may make it on top of an attempt that waits, where the
        same anchor is a no-op and takes half. The limit costs nothing when it is not used.
        """
        call = anchor_call(self._target.log_id, head.size, head.root)
        try:
            estimate = await view.estimate_gas(self._account, self._target.contract, call)
        except CallReverted as reverted:
            refusal = explain(reverted.data)
            raise _Held(_HELD_BY.get(refusal.name, HoldReason.REFUSED), refusal.problem) from None
        if estimate > (limit := self._config.gas_limit):
            raise _Held(HoldReason.REFUSED, f"it takes {estimate} gas, anchor.gas_limit allows {limit}")

    def _row(self, state: State, head: Head, now_ms: int) -> AnchorRow:
        chain_id, contract, _ = self._target
        return AnchorRow(
            id=self._book.next_id(),
            chain_id=chain_id,
            contract=contract,
            size=head.size,
            root=head.root,
            state=state.value,
            is_open=True,
            sealed_ms=now_ms,
            changed_ms=now_ms,
        )

    def _settle_hold(self, held: _Held | None, now_ms: int) -> None:
        """Tell when a hold begins and when it ends, and nothing between."""
        before = self._hold
        if held is None or held.reason is None:
            if before is not None:
                log.info("anchor.resumed", reason=before.reason, after_s=(now_ms - before.since_ms) // 1000)
            self._hold = None
        elif before is not None and before.reason is held.reason:
            self._hold = before._replace(detail=held.detail)
        else:
            self._hold = Hold(held.reason, held.detail, now_ms)
            level = log.error if held.reason in LOUD else log.warning
            level("anchor.held", reason=held.reason, detail=held.detail)


def _within_cap(bid: fees.Bid | fees.Capped) -> fees.Bid:
    if isinstance(bid, fees.Capped):
        asked, cap = bid.asked / fees.GWEI, bid.cap / fees.GWEI
        raise _Held(
            HoldReason.FEE_CAPPED, f"the chain asks {asked:g} gwei for a unit of gas, anchor.max_fee_gwei is {cap:g}"
        )
    return bid
