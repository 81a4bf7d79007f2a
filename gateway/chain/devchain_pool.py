"""The transactions that wait for a block (pure): which may wait, which replace another, which come next.

Refusals are in geth's words: clients tell them apart by nothing else. One transaction waits per sender and nonce; a
gap in the nonces waits for what fills it. Nothing here executes anything: balances and nonces are arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

POOL_MAX: Final = 1024
POOL_MAX_PER_SENDER: Final = 128
REPLACEMENT_PERCENT: Final = 110


class PoolRefusal(Exception):
    """A transaction may not wait; the message is geth's."""


class Waiting(NamedTuple):
    """A transaction as far as the pool cares; ``payload`` is what the chain executes."""

    hash: bytes
    sender: bytes
    nonce: int
    gas: int
    value: int
    max_fee: int
    tip: int
    payload: Any

    @property
    def cost(self) -> int:
        """The most that it can take from its sender."""
        return self.gas * self.max_fee + self.value


class Account(NamedTuple):
    """A sender as the newest block has it."""

    nonce: int
    balance: int


class Pool:
    """What waits, by sender and nonce, and by hash."""

    def __init__(self, limit: int = POOL_MAX, limit_per_sender: int = POOL_MAX_PER_SENDER) -> None:
        self._limit = limit
        self._limit_per_sender = limit_per_sender
        self._senders: dict[bytes, dict[int, Waiting]] = {}
        self._by_hash: dict[bytes, Waiting] = {}

    def __len__(self) -> int:
        return len(self._by_hash)

    def get(self, tx_hash: bytes) -> Waiting | None:
        """The waiting transaction of this hash."""
        return self._by_hash.get(tx_hash)

    def all(self) -> tuple[Waiting, ...]:
        """Everything that waits, in the order of arrival; what a snapshot keeps."""
        return tuple(self._by_hash.values())

    def restore(self, waiting: Iterable[Waiting]) -> None:
        """Become what ``all`` once returned."""
        self._senders.clear()
        self._by_hash.clear()
        for entry in waiting:
            self._put(entry)

    def add(self, entry: Waiting, account: Account) -> None:
        """Let a transaction wait, instead of the one with its nonce if it bids a tenth more.

        Raises:
            PoolRefusal: it may not; the pool is as it was.
        """
        if entry.hash in self._by_hash:
            raise PoolRefusal("already known")
        if entry.nonce < account.nonce:
            raise PoolRefusal(f"nonce too low: next nonce {account.nonce}, tx nonce {entry.nonce}")
        own = self._senders.get(entry.sender, {})
        former = own.get(entry.nonce)
        queued = sum(other.cost for other in own.values() if other is not former)
        if queued + entry.cost > account.balance:
            detail = f"queued cost {queued}, tx cost {entry.cost}" if queued else f"tx cost {entry.cost}"
            raise PoolRefusal(
                f"insufficient funds for gas * price + value: balance {account.balance}, {detail}, "
                f"overshot {queued + entry.cost - account.balance}"
            )
        if former is None:
            if len(own) >= self._limit_per_sender:
                raise PoolRefusal("account limit exceeded")
            if len(self) >= self._limit:
                raise PoolRefusal("txpool is full")
        elif not _outbids(entry, former):
            raise PoolRefusal("replacement transaction underpriced")
        else:
            self._drop(former)
        self._put(entry)

    def next_nonce(self, sender: bytes, nonce: int) -> int:
        """The nonce after all that can follow ``nonce`` without a gap."""
        own = self._senders.get(sender, {})
        while nonce in own:
            nonce += 1
        return nonce

    def choose(self, nonce_of: Callable[[bytes], int], base_fee: int, gas_limit: int) -> list[Waiting]:
        """The transactions of the next block: the best tip first, each sender's in the order of its nonces."""
        heads = {sender: own.get(nonce_of(sender)) for sender, own in self._senders.items()}
        ready = {sender: head for sender, head in heads.items() if head is not None and head.max_fee >= base_fee}
        chosen: list[Waiting] = []
        left = gas_limit
        while ready:
            best = max(ready.values(), key=lambda head: min(head.tip, head.max_fee - base_fee))
            del ready[best.sender]
            if best.gas > left:
                continue
            left -= best.gas
            chosen.append(best)
            following = self._senders[best.sender].get(best.nonce + 1)
            if following is not None and following.max_fee >= base_fee:
                ready[best.sender] = following
        return chosen

    def discard(self, entry: Waiting) -> None:
        """Forget one transaction; harmless when it is gone."""
        if self._by_hash.get(entry.hash) is entry:
            self._drop(entry)

    def forget_mined(self, nonce_of: Callable[[bytes], int]) -> None:
        """Forget what can never be executed any more: nonces below the account's."""
        for sender in tuple(self._senders):
            nonce = nonce_of(sender)
            for entry in [entry for entry in self._senders[sender].values() if entry.nonce < nonce]:
                self._drop(entry)

    def _put(self, entry: Waiting) -> None:
        self._senders.setdefault(entry.sender, {})[entry.nonce] = entry
        self._by_hash[entry.hash] = entry

    def _drop(self, entry: Waiting) -> None:
        del self._by_hash[entry.hash]
        own = self._senders[entry.sender]
        del own[entry.nonce]
        if not own:
            del self._senders[entry.sender]


def _outbids(entry: Waiting, former: Waiting) -> bool:
    """Whether both fees are more, and by a tenth at least."""
    pairs = ((entry.max_fee, former.max_fee), (entry.tip, former.tip))
    return all(new > old and new * 100 >= old * REPLACEMENT_PERCENT for new, old in pairs)
