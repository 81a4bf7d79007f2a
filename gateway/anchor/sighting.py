"""What one endpoint says about every transaction that is not final, in one view: the questions, not the decisions.

The questions are the same for every transaction of the account; what it was for, and whether it did it, an
``Outcome`` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from gateway.anchor.book import Step, place_of
from gateway.anchor.lifecycle import Event
from gateway.anchor.nonces import Fate, Included, Place, Sight, fate, moves
from gateway.chain.port import TxReceipt, View
from gateway.journal import AccessRow, AnchorRow

_NEWER_BLOCKS: Final = 16

Row = TypeVar("Row", AnchorRow, AccessRow)
_Asked_contra = TypeVar("_Asked_contra", AnchorRow, AccessRow, contravariant=True)


class Outcome(Protocol[_Asked_contra]):
    """What a transaction that is in a block came to."""

    async def __call__(self, view: View, row: _Asked_contra, receipt: TxReceipt) -> tuple[bool, str]:
        """Whether it did what it was for; if not, why."""
        ...


class _Found(NamedTuple):
    """An attempt that has a receipt, and whether it did what it was for; if not, why."""

    row_id: int
    receipt: TxReceipt
    did: bool
    detail: str


class Sighting(Generic[Row]):
    """One look's questions. ``behind_since`` is kept from look to look by the caller.

    Args:
        view: whose word it is.
        outcome: judges what is in a block.
        behind_since: since when (ms) an attempt's block is above the endpoint's head.
        patience_ms: so long such an endpoint is thought to lag; after that the block is thought to be gone.
    """

    def __init__(self, view: View, outcome: Outcome[Row], behind_since: dict[int, int], patience_ms: int) -> None:
        self._view = view
        self._outcome: Outcome[Row] = outcome
        self._behind_since = behind_since
        self._patience_ms = patience_ms
        self._nonces: dict[bytes, int] = {}

    async def nonce(self, account: bytes) -> int:
        """The account's next nonce; asked once a look."""
        if account not in self._nonces:
            self._nonces[account] = await self._view.nonce(account)
        return self._nonces[account]

    async def worth_asking(self, nonces: Sequence[list[Row]], now_ms: int) -> list[list[Row]]:
        """Leave out what cannot have changed.

        Blocks are chained by their hashes: while the highest block that has one of ours is canonical, so are
        those below it. Only what is final by now, or waits, has to be looked at closely.
        """
        deciding = {id(attempts): max(filter(None, map(place_of, attempts)), default=None) for attempts in nonces}
        top = max(filter(None, deciding.values()), default=None)
        steady = False
        if top is not None:
            block = await self._view.block(top.number)
            steady = block is not None and block.hash == top.hash
        if steady:
            self._behind_since.clear()
        wanted = []
        for attempts in nonces:
            place = deciding[id(attempts)]
            if place is not None and not steady and self._lags(attempts[0].id, place, now_ms):
                continue
            if place is None or not steady or place.number <= self._view.final.number:
                wanted.append(attempts)
        return wanted

    async def change(self, attempts: list[Row]) -> list[tuple[Row, list[Step]]]:
        """What became of one nonce: the steps of its attempts, those alone that have any."""
        nonce = attempts[0].nonce
        used = nonce is None or await self.nonce(attempts[0].account or b"") > nonce
        found = await self._included(attempts) if used else None
        if nonce is None and found is None:  # if it comes back, it is found again
            gone = "the anchor that was found on the chain is not there any more"
            return [(row, [Step(Event.ABANDON, {"detail": gone})]) for row in attempts]
        known = used and found is None and await self._known(attempts)
        included = None
        if found is not None:
            place = Place(found.receipt.block_number, found.receipt.block_hash)
            if place.number <= self._view.final.number and not await self._is_canonical(place):
                return []  # the endpoint contradicts itself: ask again
            included = Included(found.row_id, place, found.did)
        sight = Sight(used, included, known, Place(0, b""), self._view.final.number)
        if fate(sight) is Fate.DISPLACED:
            stands = [place for place in map(place_of, attempts) if place is not None]
            sight = sight._replace(
                head=await self._newest_place(),
                displaced_stands=bool(stands) and all([await self._is_canonical(place) for place in stands]),
            )
        steps: dict[int, list[Step]] = {}
        for move in moves(attempts, sight):
            steps.setdefault(move.id, []).append(Step(move.event, _fields(move.event, found, sight)))
        return [(row, steps[row.id]) for row in attempts if row.id in steps]

    async def _included(self, attempts: list[Row]) -> _Found | None:
        for row in reversed(attempts):
            receipt = None if row.tx_hash is None else await self._view.receipt(row.tx_hash)
            if receipt is not None:
                return _Found(row.id, receipt, *await self._outcome(self._view, row, receipt))
        return None

    async def _known(self, attempts: list[Row]) -> bool:
        for row in reversed(attempts):
            if row.tx_hash is not None and await self._view.knows(row.tx_hash):
                return True
        return False

    async def _is_canonical(self, place: Place) -> bool:
        block = await self._view.block(place.number)
        return block is not None and block.hash == place.hash

    async def _newest_place(self) -> Place:
        """The newest block, asked after the nonce: whoever used that nonce is in it or below it."""
        head = self._view.head
        for number in range(head.number + 1, head.number + _NEWER_BLOCKS):
            block = await self._view.block(number)
            if block is None:
                break
            head = block
        return Place(head.number, head.hash)

    def _lags(self, row_id: int, place: Place, now_ms: int) -> bool:
        """Whether the endpoint just has not got to that block yet."""
        if place.number <= self._view.head.number:
            self._behind_since.pop(row_id, None)
            return False
        waited_ms = now_ms - self._behind_since.setdefault(row_id, now_ms)
        return 0 <= waited_ms < self._patience_ms


def _fields(event: Event, found: _Found | None, sight: Sight) -> dict[str, Any]:
    if event is Event.DISPLACE:
        return {"block_number": sight.head.number, "block_hash": sight.head.hash}
    if found is None or event not in {Event.MINE, Event.REVERT}:
        return {}
    receipt = found.receipt
    return {
        "block_number": receipt.block_number,
        "block_hash": receipt.block_hash,
        "gas_used": receipt.gas_used,
        "price_wei": receipt.price_wei,
        "detail": found.detail,
    }
