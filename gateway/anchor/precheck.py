"""What is asked before anything is signed: may it be anchored, can it be paid, would the contract take it.

Whatever the answer is, it is a named hold, and is asked again with the next look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, NamedTuple

import structlog

from gateway.anchor import fees, past
from gateway.anchor.adoption import find_anchor
from gateway.anchor.book import AccessOutbox, Book, Outbox
from gateway.anchor.holds import Held, HoldReason
from gateway.anchor.lifecycle import State
from gateway.anchor.past import Head, Verdict
from gateway.anchor.transaction import Signer, Target
from gateway.chain.contracts import anchor_call, latest
from gateway.chain.port import CallReverted, View
from gateway.chain.refusals import explain
from gateway.config.model import AnchorConfig
from gateway.tlog.tiles import MissingTileError

log = structlog.get_logger("anchor")

_HELD_BY: Final = {"NotActiveMiner": HoldReason.MINER_NOT_ACTIVE, "LogFrozen": HoldReason.LOG_FROZEN}
_JUDGED: Final = {
    Verdict.FROZEN: HoldReason.LOG_FROZEN,
    Verdict.MISMATCH: HoldReason.HISTORY_MISMATCH,
    Verdict.LATER: HoldReason.ENDPOINT_BEHIND,
}


class Accesses(NamedTuple):
    """Where reports of what was done with models go: ModelRegistry, and the journal's outbox for them."""

    contract: bytes
    outbox: AccessOutbox


class Means(NamedTuple):
    """What anchoring works with.

    ``open_log`` opens the journal to read; it is used in threads. ``logs_blocks`` is how many blocks are asked for
    events at once, when an anchor is looked for that the outbox does not know. ``accesses``: None where no
    model runs.
    """

    outbox: Outbox
    open_log: Callable[[], AbstractContextManager[past.OwnLog]]
    signer: Signer
    wall_ms: Callable[[], int]
    logs_blocks: int = 5000
    accesses: Accesses | None = None


class Precheck:
    """Asks the chain and our own log. ``adopted`` is an anchor that the chain has and no row: it is very old."""

    def __init__(self, config: AnchorConfig, target: Target, means: Means, book: Book) -> None:
        self._config = config
        self._target = target
        self._means = means
        self._account = means.signer.address
        self._book = book
        self.adopted: Head | None = None
        self.balance_wei: int | None = None
        self.balance_ms = 0

    async def look_up_balance(self, view: View) -> int:
        """Ask what the account has, and remember it for the status."""
        self.balance_wei = await view.balance(self._account)
        self.balance_ms = self._means.wall_ms()
        return self.balance_wei

    async def checkpoint(self, view: View, now_ms: int) -> Head | None:
        """The checkpoint that may be anchored now; None when the chain has the newest."""
        found = await latest(view, self._target.contract, self._target.log_id)
        anchored = past.Anchored(Head(found.size, found.root), found.frozen)
        try:
            own = await asyncio.to_thread(self._examine, anchored.head)
        except MissingTileError as missing:
            raise Held(HoldReason.HISTORY_UNREADABLE, str(missing)) from None
        judgement = past.judge(anchored, own, self._belief(view))
        if judgement.verdict in _JUDGED:
            raise Held(_JUDGED[judgement.verdict] if judgement.detail else None, judgement.detail)
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
        if self.adopted is not None and (believed is None or believed.size <= self.adopted.size):
            believed = self.adopted
        behind = row is not None and (row.state != State.FINAL or (row.block_number or 0) > view.head.number)
        return past.Belief(believed, self._book.on_their_way(), behind)

    async def _adopt(self, view: View, head: Head, now_ms: int) -> None:
        """The chain has an anchor that the outbox does not know: keep it, with its transaction where found."""
        found = await find_anchor(view, self._target, head, self._means.logs_blocks)
        log.warning("anchor.adopted", size=head.size, found=found is not None)
        if found is None:
            self.adopted = head  # it is older than any reorg: remembering it will do
        else:
            record, event = found
            row = self._book.new_row(State.MINED, head, now_ms)._replace(
                account=event.miner,
                tx_hash=record.tx_hash,
                block_number=record.block_number,
                block_hash=record.block_hash,
                detail="found on the chain",
            )
            await self._book.born(row, "anchor.found", now_ms=now_ms)

    async def afford(self, view: View, bid: fees.Bid) -> None:
        """See that the account can pay for a transaction with all of its gas: pools ask for that."""
        cost = self._config.gas_limit * bid.max_fee
        balance = await self.look_up_balance(view)
        if cost > balance:
            short = f"0x{self._account.hex()} has {balance} wei, {cost - balance} more are needed"
            raise Held(HoldReason.OUT_OF_FUNDS, short)

    async def would_be_taken(self, view: View, head: Head) -> None:
        """See that the contract would take it now.

        The estimate is not the transaction's gas: a node may make it on top of an attempt that waits, where the
        same anchor is a no-op and takes half. The limit costs nothing when it is not used.
        """
        call = anchor_call(self._target.log_id, head.size, head.root)
        try:
            estimate = await view.estimate_gas(self._account, self._target.contract, call)
        except CallReverted as reverted:
            refusal = explain(reverted.data)
            raise Held(_HELD_BY.get(refusal.name, HoldReason.REFUSED), refusal.problem) from None
        if estimate > (limit := self._config.gas_limit):
            raise Held(HoldReason.REFUSED, f"it takes {estimate} gas, anchor.gas_limit allows {limit}")


def within_cap(bid: fees.Bid | fees.Capped) -> fees.Bid:
    """The bid, unless the chain asks for more than is allowed.

    Raises:
        Held: it does.
    """
    if isinstance(bid, fees.Capped):
        asked, cap = bid.asked / fees.GWEI, bid.cap / fees.GWEI
        raise Held(
            HoldReason.FEE_CAPPED, f"the chain asks {asked:g} gwei for a unit of gas, anchor.max_fee_gwei is {cap:g}"
        )
    return bid
