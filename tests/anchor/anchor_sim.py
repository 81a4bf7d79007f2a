"""A small chain in memory that behaves like one: a pool, blocks, reorgs, receipts, one contract, one account.

It stands for the port ``View`` where thousands of short lives are tried; anvil has the last word elsewhere.
"""

import json
from hashlib import sha256
from typing import NamedTuple

from eth_abi.abi import decode, encode

from gateway.chain.contracts import Latest, topic_of
from gateway.chain.port import (
    Block,
    CallReverted,
    EndpointFault,
    FeeQuote,
    LogRecord,
    SendKind,
    SendResult,
    TxReceipt,
)
from gateway.crypto.anchoring_key import keccak256
from gateway.tlog.merkle import EMPTY_ROOT
from gateway.tlog.tiles import TileWriter

CONTRACT = b"\xaa" * 20
LOG_ID = b"\x11" * 32
ACCOUNT = b"\xcc" * 20
FINALITY = 12
GAS = 45_000
ANCHORED = topic_of("Anchored(bytes32,uint64,bytes32,address)")
NOT_ACTIVE = topic_of("NotActiveMiner(bytes32,address)")[:4] + encode(("bytes32", "address"), (LOG_ID, ACCOUNT))


class Tx(NamedTuple):
    hash: bytes
    nonce: int
    max_fee: int
    tip: int
    head: tuple[int, bytes] | None
    """None: of another program."""


class SimBlock(NamedTuple):
    block: Block
    receipts: dict[bytes, TxReceipt]
    txs: tuple[Tx, ...]
    latest: Latest
    nonce: int


class Signer:
    """Signs by writing down; the same fields give the same bytes."""

    address = ACCOUNT

    def sign_transaction(self, fields):
        return json.dumps({k: v.hex() if isinstance(v, bytes) else v for k, v in fields.items()}).encode()


def parsed(raw):
    fields = json.loads(raw)
    _, size, root = decode(("bytes32", "uint64", "bytes32"), bytes.fromhex(fields["data"])[4:])
    tip = fields.get("maxPriorityFeePerGas", fields.get("gasPrice"))
    return Tx(keccak256(raw), fields["nonce"], fields.get("maxFeePerGas", tip), tip, (size, root))


class SimChain:
    """The canonical chain, the pool, and what is wrong with both."""

    def __init__(self):
        self.base_fee = 10**9
        self.active = True
        self.balance = 10**20
        self.pool = {}
        self.made = 0
        self.fail_in = None
        self.before_send = lambda raw: None
        genesis = Block(0, self._hash(), bytes(32), 0, self.base_fee)
        self.blocks = [SimBlock(genesis, {}, (), Latest(0, EMPTY_ROOT, frozen=False), 0)]

    def _hash(self):
        self.made += 1
        return sha256(b"%d" % self.made).digest()

    @property
    def tip(self):
        return self.blocks[-1]

    def final_number(self):
        return max(0, self.tip.block.number - FINALITY)

    def mine(self):
        """One block with all of the pool that pays."""
        number, block_hash = self.tip.block.number + 1, self._hash()
        latest, nonce = self.tip.latest, self.tip.nonce
        taken, receipts = [], {}
        while (tx := self.pool.get(nonce)) is not None and tx.max_fee >= self.base_fee:
            del self.pool[nonce]
            latest, succeeded, logs = self._run(latest, tx, number, block_hash)
            receipts[tx.hash] = TxReceipt(tx.hash, number, block_hash, succeeded, GAS, self.base_fee, tuple(logs))
            taken.append(tx)
            nonce += 1
        self.pool = {key: tx for key, tx in self.pool.items() if key >= nonce}
        block = Block(number, block_hash, self.tip.block.hash, number, self.base_fee)
        self.blocks.append(SimBlock(block, receipts, tuple(taken), latest, nonce))

    def _run(self, latest, tx, number, block_hash):
        if tx.head is None:
            return latest, True, []
        size, root = tx.head
        if not self.active or latest.frozen or size < latest.size:
            return latest, False, []
        if size == latest.size:
            assert root == latest.root, "an equivocation"
            return latest, True, []
        data = encode(("uint64", "bytes32"), (size, root))
        topics = (ANCHORED, LOG_ID, bytes(12) + ACCOUNT)
        log = LogRecord(CONTRACT, topics, data, number, block_hash, tx.hash, 0)
        return Latest(size, root, frozen=False), True, [log]

    def reorg(self, depth, *, forget):
        """Take blocks back, none that is final; put as many others in their place, with nothing in them."""
        depth = min(depth, self.tip.block.number - self.final_number())
        gone = self.blocks[len(self.blocks) - depth :]
        del self.blocks[len(self.blocks) - depth :]
        waiting = self.pool
        self.pool = {}
        for _ in gone:
            self.mine()
        self.pool = waiting
        if not forget:
            for tx in (tx for block in gone for tx in block.txs):
                self.pool.setdefault(tx.nonce, tx)

    def foreign(self):
        """Another program uses the account: its transaction outbids whatever waits."""
        waiting = self.pool.get(self.tip.nonce)
        fee = max(self.base_fee, waiting.max_fee if waiting else 0) * 2
        self.pool[self.tip.nonce] = Tx(self._hash(), self.tip.nonce, fee, fee, None)

    def events(self):
        """The sizes that are anchored, in the order of the chain."""
        return [
            decode(("uint64", "bytes32"), log.data)[0]
            for block in self.blocks
            for tx in block.txs
            for log in block.receipts[tx.hash].logs
        ]

    def view(self):
        return SimView(self)


class SimView:
    """The port, on the chain in memory."""

    endpoint = "sim"

    def __init__(self, chain):
        self.chain = chain
        self.head = chain.tip.block
        self.final = chain.blocks[chain.final_number()].block

    def _asked(self):
        chain = self.chain
        if chain.fail_in is not None:
            chain.fail_in -= 1
            if chain.fail_in < 0:
                chain.fail_in = None
                raise EndpointFault("it hung")

    async def block(self, number):
        self._asked()
        return self.chain.blocks[number].block if number < len(self.chain.blocks) else None

    async def logs(self, wanted, start, end):
        self._asked()
        blocks = self.chain.blocks[start : end + 1]
        return [log for block in blocks for tx in block.txs for log in block.receipts[tx.hash].logs]

    async def call(self, to, data, block=None):
        self._asked()
        at = min(self.head.number if block is None else block, len(self.chain.blocks) - 1)
        return encode(("uint64", "bytes32", "bool"), tuple(self.chain.blocks[at].latest))

    async def nonce(self, account):
        self._asked()
        return self.chain.tip.nonce

    async def balance(self, account):
        self._asked()
        return self.chain.balance

    async def receipt(self, tx_hash):
        self._asked()
        return next((b.receipts[tx_hash] for b in self.chain.blocks if tx_hash in b.receipts), None)

    async def knows(self, tx_hash):
        self._asked()
        waiting = any(tx.hash == tx_hash for tx in self.chain.pool.values())
        return waiting or any(tx_hash in block.receipts for block in self.chain.blocks)

    async def send(self, raw):
        self._asked()
        chain, tx = self.chain, parsed(raw)
        chain.before_send(raw)
        if any(tx.hash in block.receipts for block in chain.blocks):
            return SendResult(SendKind.ALREADY_KNOWN)
        if tx.nonce < chain.tip.nonce:
            return SendResult(SendKind.NONCE_TOO_LOW)
        waiting = chain.pool.get(tx.nonce)
        if waiting is not None and waiting.hash == tx.hash:
            return SendResult(SendKind.ALREADY_KNOWN)
        if waiting is not None and (tx.max_fee * 10 < waiting.max_fee * 11 or tx.tip * 10 < waiting.tip * 11):
            return SendResult(SendKind.UNDERPRICED)
        chain.pool[tx.nonce] = tx
        self._asked()  # it was taken, and the answer is lost
        return SendResult(SendKind.ACCEPTED)

    async def fees(self):
        self._asked()
        return FeeQuote(self.chain.base_fee, 10**8, self.chain.base_fee + 10**8)

    async def estimate_gas(self, sender, to, data):
        self._asked()
        if not self.chain.active:
            raise CallReverted(NOT_ACTIVE)
        return GAS


class Checkpoint(NamedTuple):
    size: int
    root: bytes


class SimLog:
    """The journal's hashes, in memory."""

    def __init__(self):
        self.leaves = []
        self.tree = TileWriter()
        self.checkpoint = None
        self.tiles = {}

    def grow(self, count):
        leaves = [sha256(b"%d" % (len(self.leaves) + number)).digest() for number in range(count)]
        self.leaves += leaves
        for tile in self.tree.extend(leaves):
            self.tiles[tile.level, tile.index] = tile.data
        self.checkpoint = Checkpoint(len(self.leaves), self.tree.root())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def size(self):
        return len(self.leaves)

    def latest_checkpoint(self):
        return self.checkpoint

    def tile(self, level, index):
        return self.tiles.get((level, index))

    def leaf_hashes(self, start, end):
        return self.leaves[start:end]


class Crash(Exception):
    """The process is gone."""


class SimOutbox:
    """The outbox, in memory; a crash comes before or after a write."""

    def __init__(self, log):
        self.log = log
        self.rows = {}
        self.final = 0
        self.crash_in = None
        self.seen = lambda before, row: None

    def _point(self):
        if self.crash_in is not None:
            self.crash_in -= 1
            if self.crash_in < 0:
                self.crash_in = None
                raise Crash

    async def record_anchors(self, rows):
        self._point()
        for row in rows:
            self.seen(self.rows.get(row.id), row)
            self.rows[row.id] = row
        self._point()

    async def open_anchors(self):
        return sorted((row for row in self.rows.values() if row.is_open), key=lambda row: row.id)

    async def newest_anchors(self, limit=1):
        return sorted(self.rows.values(), key=lambda row: -row.id)[:limit]

    async def set_final_size(self, size):
        self._point()
        self.final = max(self.final, size)
        self._point()

    def size(self):
        return self.log.size()
