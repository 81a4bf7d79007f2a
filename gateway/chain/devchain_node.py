"""A node of the development chain: one chain, one pool, and the rules by which blocks come and become final.

All of it runs on the one thread that owns the chain. Time comes from the clock that the server hands in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from eth.abc import BlockHeaderAPI

from gateway.chain.devchain_evm import Evm, Mined
from gateway.chain.devchain_pool import Pool, PoolRefusal, Waiting
from gateway.chain.devchain_rpc import RpcError
from gateway.chain.devchain_values import BlockId, Tag

SNAPSHOTS_MAX: Final = 64


class LimitReached(Exception):
    """More than this node does or keeps; the message says how much that is."""


class Rules(NamedTuple):
    """What this chain does by itself: how far finality trails the head, and whether a transaction makes a block."""

    finality_blocks: int
    mine_at_once: bool


class Snapshot(NamedTuple):
    """A state to come back to."""

    number: int
    block_hash: bytes
    waiting: tuple[Waiting, ...]


class Node:
    """One chain and its pool."""

    def __init__(self, evm: Evm, pool: Pool, rules: Rules, now_s: Callable[[], int]) -> None:
        self.evm = evm
        self.pool = pool
        self._rules = rules
        self._now_s = now_s
        self._snapshots: dict[int, Snapshot] = {}
        self._snapshots_taken = 0

    def mine(self, *, even_empty: bool = True) -> bool:
        """Make a block of what waits; tells whether there was one to make."""
        header = self.evm.next_header
        chosen = self.pool.choose(self.nonce, header.base_fee_per_gas or 0, header.gas_limit)
        if not chosen and not even_empty:
            return False
        if self._rules.mine_at_once:
            chosen = chosen[:1]
        for entry in self.evm.mine(chosen, self._now_s()):
            self.pool.discard(entry)
        self.pool.forget_mined(self.nonce)
        return True

    def number(self, place: Tag | int) -> int:
        """The height that a number or a place means now."""
        head: int = self.evm.head.block.number
        lag = self._rules.finality_blocks
        match place:
            case Tag.LATEST | Tag.PENDING:
                return head
            case Tag.SAFE:
                return max(0, head - (lag + 1) // 2)
            case Tag.FINALIZED:
                return max(0, head - lag)
            case Tag.EARLIEST:
                return 0
            case _:
                return place

    def find(self, block: BlockId) -> Mined | None:
        """The mined block that is meant."""
        if isinstance(block, bytes):
            return self.evm.by_hash(block)
        return self.evm.by_number(self.number(block))

    def header(self, block: BlockId) -> BlockHeaderAPI:
        """The header after which a call is executed.

        Raises:
            RpcError: there is no such block.
        """
        if block is Tag.PENDING:
            return self.evm.next_header
        found = self.find(block)
        if found is None:
            raise RpcError("header not found")
        return found.header

    def nonce(self, sender: bytes) -> int:
        """The next nonce of an account, as of the newest block."""
        return self.evm.account(sender).nonce

    def send(self, raw: bytes) -> bytes:
        """Let a signed transaction wait, or mine it at once where that is the rule; returns its hash.

        Raises:
            TxRefused: it is none that this chain takes.
            PoolRefusal: it may not wait.
        """
        entry = self.evm.decode(raw)
        if self.evm.place(entry.hash) is not None:
            raise PoolRefusal("already known")
        self.pool.add(entry, self.evm.account(entry.sender))
        while self._rules.mine_at_once and self.mine(even_empty=False):
            pass
        return entry.hash

    def take_snapshot(self) -> int:
        """Remember the chain and the pool as they are."""
        if len(self._snapshots) >= SNAPSHOTS_MAX:
            raise LimitReached(f"at most {SNAPSHOTS_MAX} snapshots")
        block = self.evm.head.block
        self._snapshots_taken += 1
        self._snapshots[self._snapshots_taken] = Snapshot(block.number, block.hash, self.pool.all())
        return self._snapshots_taken

    def revert_to(self, wanted: int) -> bool:
        """Come back to a snapshot, which is spent by that, as are the later ones; False where there is none."""
        snapshot = self._snapshots.get(wanted)
        if snapshot is None:
            return False
        self._snapshots = {number: kept for number, kept in self._snapshots.items() if number < wanted}
        found = self.evm.by_hash(snapshot.block_hash)
        if found is None:
            return False
        self.evm.rewind(snapshot.number)
        self.pool.restore(snapshot.waiting)
        return True
