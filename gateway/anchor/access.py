"""Reports of what was done with a model, on their way into the chain's access log.

They go out by the anchoring account, so they share its nonces with the anchors: one transaction of the account waits
for a block at a time, and an anchor that is due goes first. A report that cannot be sent just now is owed; nothing
that stands in its way holds up an anchor.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

import structlog

from gateway.anchor import fees
from gateway.anchor.book import AccessOutbox, Step, stepped
from gateway.anchor.holds import Held, HoldReason
from gateway.anchor.lifecycle import ENDS, Event, State
from gateway.anchor.nonces import in_flight, replacement_due
from gateway.anchor.outcome import report_outcome
from gateway.anchor.precheck import within_cap
from gateway.anchor.sighting import Sighting
from gateway.anchor.transaction import Call, Signer, report_call, signed_call
from gateway.chain.port import CallReverted, SendKind, View
from gateway.chain.refusals import explain
from gateway.config.model import AnchorConfig
from gateway.journal import AccessRow

log = structlog.get_logger("anchor")

_TAKEN: Final = frozenset({SendKind.ACCEPTED, SendKind.ALREADY_KNOWN})
_FOR_EVER: Final = frozenset({"UnknownVersion", "InvalidOutcome", "InvalidModelId"})
"""What the contract would refuse for ever; any other refusal, and one without words, may pass and is waited for."""
_REVERTS_MAX: Final = 3
"""So many transactions may carry a report into a block and revert there; each is paid for."""


class AccessStatus(NamedTuple):
    """How the reports are: how many wait for a block, what holds them, and what they came to since the start.

    ``final``: in a block that is final. ``refused``: given up.
    """

    waiting: int
    final: int
    refused: int
    hold: str


class AccessReports:
    """The access outbox and the transactions of it. ``Anchoring`` calls it in its looks.

    Args:
        config: fees and times, those of the anchors.
        chain_id: the pinned chain.
        contract: ModelRegistry.
        outbox: the journal.
        signer: the anchoring account.
        afford: sees that the account can pay a bid, or raises ``Held``.
    """

    def __init__(  # noqa: PLR0913 -- one argument for each thing it works with
        self,
        config: AnchorConfig,
        chain_id: int,
        contract: bytes,
        *,
        outbox: AccessOutbox,
        signer: Signer,
        afford: Callable[[View, fees.Bid], Awaitable[None]],
    ) -> None:
        self._config = config
        self._chain_id = chain_id
        self._contract = contract
        self._outbox = outbox
        self._signer = signer
        self._afford = afford
        self._rows: list[AccessRow] = []
        self._behind_since: dict[int, int] = {}
        self._offered_at: dict[int, int] = {}
        self._final = 0
        self._refused = 0
        self._hold = ""

    def status(self) -> AccessStatus:
        """How the reports are."""
        return AccessStatus(len(self._waiting()), self._final, self._refused, self._hold)

    def has(self, nonce: int) -> bool:
        """Whether a report waits for a block with this nonce of the account."""
        return any(row.nonce == nonce for attempts in self._waiting() for row in attempts)

    @property
    def waits(self) -> bool:
        """Whether a report of the account waits for a block: until then nothing else is signed."""
        return bool(self._waiting())

    def used(self, nonce: int) -> bool:
        """Whether a report of ours is in a block with this nonce or a higher one."""
        return any(
            row.nonce is not None and row.nonce >= nonce
            for attempts in self._by_nonce()
            if not in_flight(attempts)
            for row in attempts
        )

    # --- one look, in the order of the calls ---

    async def settle(self, view: View, now_ms: int) -> None:
        """Write what became of the reports that are not final.

        Raises:
            ChainError, JournalError: as from the view and the outbox.
        """
        self._rows = await self._outbox.open_accesses()
        foreign = [row for row in self._rows if (row.chain_id, row.contract) != (self._chain_id, self._contract)]
        await self._write(foreign, [Step(Event.ABANDON, {"detail": "the configuration names another"})], now_ms)
        patience_ms = round(self._config.replace_after_s * 1000)
        sighting = Sighting[AccessRow](view, report_outcome, self._behind_since, patience_ms)
        for attempts in await sighting.worth_asking(self._by_nonce(), now_ms):
            changed = [(stepped(row, steps, now_ms), steps) for row, steps in await sighting.change(attempts)]
            if changed:
                await self._outbox.record_accesses([row for row, _ in changed])
                for row, steps in changed:
                    self._take(row)
                    _tell(row, steps)
        orphans = [
            row
            for attempts in self._by_nonce()
            if in_flight(attempts)
            and attempts[0].account != self._signer.address
            and not 0 <= now_ms - attempts[-1].changed_ms < patience_ms
            for row in attempts
        ]
        await self._write(orphans, [Step(Event.ABANDON, {"detail": "its account is not ours any more"})], now_ms)
        open_ids = {row.id for row in self._rows}
        self._offered_at = {row_id: at for row_id, at in self._offered_at.items() if row_id in open_ids}

    async def send_again(self, view: View, now_ms: int) -> None:
        """Send what waits and no endpoint has: the same bytes.

        Raises:
            ChainError, JournalError: as from the view and the outbox.
        """
        for attempts in self._waiting():
            row = attempts[-1]
            if row.state == State.BROADCAST and row.tx_hash is not None and await view.knows(row.tx_hash):
                self._offered_at.setdefault(row.id, view.head.number)
            else:
                await self._send(view, row, now_ms)

    async def replace_when_due(self, view: View, nonce: int, now_ms: int) -> None:
        """Bid more for the report that waits, when blocks leave it out for long enough.

        When they do because a lower nonce is free, it is given up and owed again, and the account goes on from there.

        Raises:
            ChainError, JournalError: as from the view and the outbox.
        """
        attempts = self._waiting()[0]
        row = attempts[-1]
        passed_over = view.head.number > self._offered_at.get(row.id, view.head.number)
        if row.nonce is None or row.nonce < nonce or row.max_fee_wei is None:
            return
        if not replacement_due(now_ms, row.changed_ms, self._config.replace_after_s, passed_over=passed_over):
            return
        if row.nonce > nonce:
            why = f"it waited for nonce {nonce} of the account, which nobody used"
            await self._write(attempts, [Step(Event.ABANDON, {"detail": why})], now_ms)
            log.warning("access.ended", state=State.ABANDONED, model=row.model_id, version=row.version, detail=why)
            return
        before = fees.Bid(row.max_fee_wei, row.priority_fee_wei)
        try:
            bid = within_cap(fees.replacement(self._config, before, await view.fees()))
            await self._afford(view, bid)
        except Held as held:
            self._settle_hold(held)
            return
        await self._sign(view, row._replace(id=await self._next_id()), nonce, bid, now_ms, instead_of=row)

    async def send_next(self, view: View, nonce: int, now_ms: int) -> None:
        """Sign and send the oldest report that is owed; the account has nothing else on its way.

        Raises:
            ChainError, JournalError: as from the view and the outbox.
        """
        owed = await self._outbox.owed_reports(1)
        if not owed:
            self._settle_hold(None)
            return
        report_id, report, reverted = owed[0]
        row = AccessRow(
            id=await self._next_id(),
            report_id=report_id,
            chain_id=self._chain_id,
            contract=self._contract,
            model_id=report.model_id,
            version=report.version,
            result=report.result,
            reason=report.reason,
            state=State.SIGNED.value,
            is_open=True,
            changed_ms=now_ms,
        )
        if reverted >= _REVERTS_MAX:
            await self._give_up(row, f"{reverted} transactions of it reverted in their blocks")
            return
        try:
            if not await self._would_be_taken(view, row):
                return
            bid = within_cap(fees.first_bid(self._config, await view.fees()))
            await self._afford(view, bid)
        except Held as held:
            self._settle_hold(held)
            return
        self._settle_hold(None)
        await self._sign(view, row, nonce, bid, now_ms)

    # --- its parts ---

    async def _would_be_taken(self, view: View, row: AccessRow) -> bool:
        """Ask the contract; what it would never take is given up."""
        try:
            call = report_call(row)
        except ValueError as malformed:  # a row that was salvaged, or is from another version
            await self._give_up(row, str(malformed))
            return False
        try:
            estimate = await view.estimate_gas(self._signer.address, self._contract, call)
        except CallReverted as reverted:
            refusal = explain(reverted.data)
            if refusal.name in _FOR_EVER:
                await self._give_up(row, refusal.problem)
                return False
            inactive = refusal.name == "NotAnActiveMiner"
            raise Held(HoldReason.MINER_NOT_ACTIVE if inactive else HoldReason.REFUSED, refusal.problem) from None
        if estimate > (limit := self._config.gas_limit):
            raise Held(HoldReason.REFUSED, f"it takes {estimate} gas, anchor.gas_limit allows {limit}")
        return True

    async def _give_up(self, row: AccessRow, why: str) -> None:
        """Close a report by a row without a transaction: it is not owed any more, and those behind it can go."""
        await self._outbox.record_accesses([row._replace(state=State.FAILED.value, is_open=False, detail=why)])
        self._refused += 1
        log.error("access.refused", model=row.model_id, version=row.version, detail=why)

    async def _next_id(self) -> int:
        newest = await self._outbox.newest_accesses(1)
        return newest[0].id + 1 if newest else 1

    async def _sign(  # noqa: PLR0913 -- a report, its place in the account's order, its bid, and what it replaces
        self,
        view: View,
        unsigned: AccessRow,
        nonce: int,
        bid: fees.Bid,
        now_ms: int,
        *,
        instead_of: AccessRow | None = None,
    ) -> None:
        call = Call(self._chain_id, self._contract, report_call(unsigned))
        fields = signed_call(call, self._signer, nonce, self._config.gas_limit, bid)
        row = unsigned._replace(state=State.SIGNED.value, changed_ms=now_ms, **fields)
        replaced = [] if instead_of is None else [stepped(instead_of, [Step(Event.REPLACE)], now_ms)]
        await self._outbox.record_accesses([*replaced, row])
        for written in (*replaced, row):
            self._take(written)
        await self._send(view, row, now_ms)

    async def _send(self, view: View, row: AccessRow, now_ms: int) -> None:
        if row.raw is None:
            return
        result = await view.send(row.raw)
        if result.kind in _TAKEN:
            self._offered_at.setdefault(row.id, view.head.number)
            if row.state != State.BROADCAST:
                await self._write([row], [Step(Event.BROADCAST)], now_ms)
        elif result.kind is not SendKind.NONCE_TOO_LOW:  # what became of that one the next look finds
            self._settle_hold(Held(HoldReason.REFUSED, result.detail))
            if result.kind is not SendKind.OUT_OF_FUNDS:
                self._offered_at[row.id] = -1  # no block will have it: another bid need not wait for one

    async def _write(self, rows: Sequence[AccessRow], steps: Sequence[Step], now_ms: int) -> None:
        after = [stepped(row, steps, now_ms) for row in rows]
        if after:
            await self._outbox.record_accesses(after)
        for row in after:
            self._take(row)

    def _take(self, row: AccessRow) -> None:
        self._rows = [each for each in self._rows if each.id != row.id]
        if row.is_open:
            self._rows = sorted([*self._rows, row], key=lambda each: each.id)
        self._final += row.state == State.FINAL

    def _by_nonce(self) -> list[list[AccessRow]]:
        groups: dict[tuple[bytes, int], list[AccessRow]] = {}
        for row in self._rows:
            groups.setdefault((row.account or b"", row.nonce or 0), []).append(row)
        return [groups[key] for key in sorted(groups)]

    def _waiting(self) -> list[list[AccessRow]]:
        return [rows for rows in self._by_nonce() if in_flight(rows) and rows[0].account == self._signer.address]

    def _settle_hold(self, held: Held | None) -> None:
        """Tell when a hold begins and when it ends, and nothing between."""
        hold = "" if held is None else f"{held.reason or HoldReason.ENDPOINT_BEHIND}: {held.detail}"
        if bool(hold) != bool(self._hold):
            if hold:
                log.warning("access.held", reason=None if held is None else held.reason, detail=hold)
            else:
                log.info("access.resumed")
        self._hold = hold


def _tell(row: AccessRow, steps: Sequence[Step]) -> None:
    """Say that a report came to its end, or fell out of its block."""
    facts = {"model": row.model_id, "version": row.version, "nonce": row.nonce}
    if State(row.state) in ENDS:
        level = log.info if row.state == State.FINAL else log.warning
        level("access.ended", state=row.state, block=row.block_number, detail=row.detail or None, **facts)
    elif any(step.event is Event.REORG for step in steps):
        log.warning("access.reorged", **facts)
