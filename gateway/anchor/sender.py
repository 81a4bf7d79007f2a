"""Anchoring: asks the chain, writes the outbox, sends transactions; what to do is decided by the pure rooms.

One look does, in this order: see what became of every transaction that is not final; send again what waits; when
nothing waits, check the past, seal, sign, and send. Whatever is interrupted where, the next look goes on from the
outbox: a transaction is in the journal before it is on any wire, and is never made twice.
"""

from __future__ import annotations

from typing import Final

import structlog

from gateway.anchor import batch, fees
from gateway.anchor.access import AccessReports
from gateway.anchor.book import Book, Step, stepped
from gateway.anchor.holds import LOUD, Held, Hold, HoldReason
from gateway.anchor.lifecycle import WAITING, Event, State
from gateway.anchor.nonces import in_flight, replacement_due
from gateway.anchor.outcome import AnchorOutcome
from gateway.anchor.past import Head
from gateway.anchor.precheck import Means, Precheck, within_cap
from gateway.anchor.report import AnchorStatus, words
from gateway.anchor.sighting import Sighting
from gateway.anchor.transaction import Offer, Target, signed_fields
from gateway.chain.port import SendKind, View
from gateway.config.model import AnchorConfig
from gateway.journal import AnchorRow, JournalFault

__all__ = ["Anchoring", "Means"]

log = structlog.get_logger("anchor")

_BALANCE_EVERY_MS: Final = 60_000
_COMPARE_EVERY_MS: Final = 600_000
_REFUSED_BY: Final = {
    SendKind.UNDERPRICED: HoldReason.UNDERPRICED,
    SendKind.OUT_OF_FUNDS: HoldReason.OUT_OF_FUNDS,
    SendKind.REFUSED: HoldReason.REFUSED,
}


class Anchoring:
    """Brings the log's checkpoints to the chain; a ``gateway.chain.port.Looker``."""

    def __init__(self, config: AnchorConfig, target: Target, means: Means) -> None:
        self._config = config
        self._target = target
        self._means = means
        self._account = means.signer.address
        self._book = Book(means.outbox, target)
        self._precheck = Precheck(config, target, means, self._book)
        self.accesses: AccessReports | None = None
        if means.accesses is not None:
            self.accesses = AccessReports(
                config,
                target.chain_id,
                means.accesses.contract,
                outbox=means.accesses.outbox,
                signer=means.signer,
                afford=self._precheck.afford,
            )
        self._behind_since: dict[int, int] = {}
        self._offered_at: dict[int, int] = {}
        self._hold: Hold | None = None
        self._refusal: Held | None = None
        self._compared_ms: int | None = None
        self._asked = False
        self._looked = False
        self._next_at_ms: int | None = None
        self._nonce: int | None = None

    # --- for the others ---

    def wake(self) -> None:
        """Seal at the next look, whatever the interval says; who wants it now wakes the chain watch as well."""
        self._asked = True

    def unavailable(self, detail: str) -> None:
        """The chain cannot be looked at: whoever runs the looks says so. It counts when our own look failed too."""
        if self._looked:
            self._looked = False
            return
        self._settle_hold(Held(HoldReason.CHAIN_UNAVAILABLE, detail), self._means.wall_ms())

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
            balance_wei=self._precheck.balance_wei,
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
        held: Held | None = None
        try:
            await self._book.load(now_ms)
            await self._look(view, now_ms)
        except Held as reason:
            held = reason
        except JournalFault as fault:
            held = Held(HoldReason.JOURNAL_FAULT, str(fault))
        self._settle_hold(held or self._refusal, now_ms)
        self._looked = True

    async def _look(self, view: View, now_ms: int) -> None:
        outcome, patience_ms = AnchorOutcome(self._target), round(self._config.replace_after_s * 1000)
        sighting = Sighting[AnchorRow](view, outcome, self._behind_since, patience_ms)
        for attempts in await sighting.worth_asking(self._book.nonces(), now_ms):
            await self._settle(await sighting.change(attempts), now_ms)
        if self.accesses is not None:
            await self.accesses.settle(view, now_ms)
        await self._forget_moot(sighting, now_ms)
        if not 0 <= now_ms - self._precheck.balance_ms < _BALANCE_EVERY_MS or self._hold is not None:
            await self._precheck.look_up_balance(view)
        waiting = [attempts for attempts in self._book.nonces() if in_flight(attempts)]
        open_ids = {row.id for row in self._book.rows}
        self._offered_at = {row_id: at for row_id, at in self._offered_at.items() if row_id in open_ids}
        for attempts in waiting:
            await self._send_again(view, attempts[-1], now_ms)
        if self.accesses is not None:
            await self.accesses.send_again(view, now_ms)
        own = [attempts for attempts in waiting if attempts[0].account == self._account]
        self._next_at_ms = None
        if own:
            self._nonce = await sighting.nonce(self._account)
            await self._replace_when_due(view, own[0][-1], self._nonce, now_ms)
        elif self.accesses is not None and self.accesses.waits:
            self._nonce = nonce = await sighting.nonce(self._account)
            if not self._is_behind(nonce):
                await self.accesses.replace_when_due(view, nonce, now_ms)
        else:
            await self._seal_when_due(view, sighting, now_ms)
            await self._report_when_free(view, sighting, now_ms)

    async def _report_when_free(self, view: View, sighting: Sighting[AnchorRow], now_ms: int) -> None:
        """Let a report of what was done with a model go, when no anchor needs the account's next nonce."""
        if self.accesses is None or any(in_flight(attempts) for attempts in self._book.nonces()):
            return
        nonce = await sighting.nonce(self._account)
        if not self._is_behind(nonce):
            await self.accesses.send_next(view, nonce, now_ms)

    async def _settle(self, change: list[tuple[AnchorRow, list[Step]]], now_ms: int) -> None:
        """Write what became of one nonce."""
        if not change:
            return
        for row, steps in change:
            if stepped(row, steps, now_ms).state == State.FINAL:
                await self._means.outbox.set_final_size(row.size)  # true already: if the row is not written, again
        await self._book.steps(change, now_ms)

    async def _forget_moot(self, sighting: Sighting[AnchorRow], now_ms: int) -> None:
        """Give up what no block will have, when its entries are final: for its account, or for free nonces."""
        final = self._book.final
        covered = [
            row
            for row in self._book.rows
            if final is not None and State(row.state) in WAITING and row.size <= final.size
        ]
        if not covered:
            return
        nonce = await sighting.nonce(self._account)
        moot = [
            (row, [Step(Event.SUPERSEDE)])
            for row in covered
            if row.account != self._account or (row.nonce is not None and row.nonce > nonce)
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
            self._refusal = Held(_REFUSED_BY[result.kind], result.detail)
            if result.kind is not SendKind.OUT_OF_FUNDS:
                self._offered_at[row.id] = -1  # no block will have it: another bid need not wait for one
        # "nonce too low" has no row of its own: the next look finds by its hash what became of it

    async def _replace_when_due(self, view: View, row: AnchorRow, nonce: int, now_ms: int) -> None:
        """Bid more for the lowest nonce that waits, when a block could have had it for long enough."""
        after_s = self._config.replace_after_s
        self._next_at_ms = row.changed_ms + round(after_s * 1000)
        passed_over = view.head.number > self._offered_at.get(row.id, view.head.number)
        due = replacement_due(now_ms, row.changed_ms, after_s, passed_over=passed_over)
        if row.nonce is None or row.max_fee_wei is None or row.nonce < nonce:
            return
        if row.nonce > nonce:
            await self._fill_gap(view, row, nonce, now_ms, due=due)
            return
        if not due:
            return
        before = fees.Bid(row.max_fee_wei, row.priority_fee_wei)
        bid = within_cap(fees.replacement(self._config, before, await view.fees()))
        head = Head(row.size, row.root)
        if all((other.nonce or 0) <= row.nonce for other in self._book.rows if other.account == self._account):
            newer = await self._precheck.checkpoint(view, now_ms)
            head = newer if newer is not None and newer.size > row.size else head
            await self._precheck.would_be_taken(view, head)
        await self._precheck.afford(view, bid)
        await self._sign_at(view, row, Offer(head, row.nonce, self._config.gas_limit, bid), now_ms)

    async def _fill_gap(self, view: View, row: AnchorRow, nonce: int, now_ms: int, *, due: bool) -> None:
        """A lower nonce is free again and nobody comes with it: use it, or what waits behind it waits for ever.

        With the same checkpoint: whichever of the two is mined second finds it there, and changes nothing. Once is
        enough: what waits behind further free nonces is given up when that checkpoint is final.
        """
        self._require_free(nonce)
        if self.accesses is not None and self.accesses.has(nonce):
            return  # a report that lost its block: it is on its way again
        believed = self._book.believed()
        if not due or (believed is not None and believed.size >= row.size):
            raise Held(HoldReason.NONCE_GAP, f"nonce {row.nonce} waits for nonce {nonce}, which is not ours")
        bid = within_cap(fees.first_bid(self._config, await view.fees()))
        await self._precheck.afford(view, bid)
        offer = Offer(Head(row.size, row.root), nonce, self._config.gas_limit, bid)
        await self._sign_at(view, None, offer, now_ms)

    async def _sign_at(self, view: View, instead_of: AnchorRow | None, offer: Offer, now_ms: int) -> None:
        row = self._book.new_row(State.SIGNED, offer.head, now_ms)
        row = row._replace(**signed_fields(self._target, self._means.signer, offer))
        await self._book.born(row, "anchor.signed", instead_of=instead_of, now_ms=now_ms)
        await self._send(view, row, now_ms)

    def _require_free(self, nonce: int) -> None:
        if self._is_behind(nonce):
            raise Held(HoldReason.ENDPOINT_BEHIND, f"it says nonce {nonce}, which is used")

    def _is_behind(self, nonce: int) -> bool:
        """Whether a nonce is used by what is in a block already, as far as the outbox knows."""
        if self.accesses is not None and self.accesses.used(nonce):
            return True
        final = self._book.final
        taken = [row for attempts in self._book.nonces() if not in_flight(attempts) for row in attempts]
        return any(
            row.account == self._account and row.nonce is not None and row.nonce >= nonce
            for row in (*taken, *([final] if final else []))
        )

    # --- what is sealed anew ---

    async def _seal_when_due(self, view: View, sighting: Sighting[AnchorRow], now_ms: int) -> None:
        """Seal when it is time; sign and send what is sealed."""
        sealed = self._book.sealed()
        due = batch.decide(self._config, self._standing(), now_ms)
        if isinstance(due, batch.Wait) and sealed is None:
            self._next_at_ms = due.until_ms
            self._asked = self._asked and due.until_ms is not None
            if (
                self._hold is None
                and self._compared_ms is not None
                and 0 <= now_ms - self._compared_ms < _COMPARE_EVERY_MS
            ):
                return
            await self._precheck.checkpoint(view, now_ms)  # nothing to anchor is no reason not to see a forgery
            self._compared_ms = now_ms
            return
        head = await self._precheck.checkpoint(view, now_ms)
        self._compared_ms = now_ms
        if head is None:
            if sealed is not None:
                await self._book.step(sealed, [Step(Event.ABANDON, {"detail": "it is on the chain"})], now_ms)
            return
        if sealed is None:
            sealed = await self._book.born(
                self._book.new_row(State.SEALED, head, now_ms), "anchor.sealed", now_ms=now_ms
            )
        self._asked = False
        bid = within_cap(fees.first_bid(self._config, await view.fees()))
        await self._precheck.afford(view, bid)
        await self._precheck.would_be_taken(view, head)
        self._nonce = nonce = await sighting.nonce(self._account)
        self._require_free(nonce)
        offer = Offer(head, nonce, self._config.gas_limit, bid)
        fields = signed_fields(self._target, self._means.signer, offer)
        signed = await self._book.step(sealed, [Step(Event.SIGN, fields)], now_ms)
        await self._send(view, signed, now_ms)

    def _covered_size(self) -> int:
        adopted = self._precheck.adopted
        return max(self._book.covered_size(), adopted.size if adopted else 0)

    def _standing(self) -> batch.Standing:
        book = self._book
        return batch.Standing(
            newest_size=self._means.outbox.size(),
            covered_size=self._covered_size(),
            last_sealed_ms=book.last_sealed_ms,
            owed=book.newest_state in {State.DISPLACED, State.ABANDONED},
            asked=self._asked,
        )

    def _settle_hold(self, held: Held | None, now_ms: int) -> None:
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
