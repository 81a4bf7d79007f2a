"""A little chain with a registry on it: blocks, finality, reorganisations, endpoints that lag, refuse or fail.

``LittleChain`` keeps the contract's rules and writes its events as the contract does, so that whoever follows it
decodes real records. ``Store`` keeps what the follower writes, as the journal would.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from eth_abi.abi import encode
from nacl.signing import SigningKey

from gateway.chain.contracts import VERSIONS, ChainStatus, Kind, id_hash, log_id, topic_of
from gateway.chain.port import Block, EndpointFault, LogRecord, TooManyLogs
from gateway.chain.registry import ChainRegistry
from gateway.config.model import ChainConfig
from gateway.crypto.keys import PublicKey
from gateway.journal.rows import JournalFault
from gateway.message import Alg
from gateway.registry.port import Device, Miner, Status

REGISTRY, ANCHOR_LOG = b"\x11" * 20, b"\x22" * 20
CHAIN_ID = 31337
FLEET = "plant"
KEYS = [bytes(SigningKey(bytes([number]) * 32).verify_key) for number in range(1, 17)]
HPKE_KEY = bytes(31) + b"\x09"
REGISTRY_ABI = {
    "device": ("DeviceRegistered(bytes32,string,string,uint8,bytes)", ("string", "string", "uint8", "bytes")),
    "miner": (
        "MinerRegistered(bytes32,bytes32,address,string,string,bytes32,bytes)",
        ("string", "string", "bytes32", "bytes"),
    ),
    "renewed": (
        "MinerRenewed(bytes32,bytes32,address,string,string,bytes32,bytes)",
        ("string", "string", "bytes32", "bytes"),
    ),
    "status": ("StatusChanged(bytes32,string,uint8,uint8)", ("string", "uint8", "uint8")),
}
STATUSES = {
    ChainStatus.ACTIVE: Status.ACTIVE,
    ChainStatus.SUSPENDED: Status.SUSPENDED,
    ChainStatus.REVOKED: Status.REVOKED,
}
MOVES = {
    "suspend": {ChainStatus.ACTIVE: ChainStatus.SUSPENDED},
    "reinstate": {ChainStatus.SUSPENDED: ChainStatus.ACTIVE},
    "revoke": {ChainStatus.ACTIVE: ChainStatus.REVOKED, ChainStatus.SUSPENDED: ChainStatus.REVOKED},
}


class Happening(NamedTuple):
    """An event, before it is encoded: which, about whom, and its other values in the order of the ABI."""

    what: str
    id: str
    values: tuple
    topics: tuple = ()

    def record(self, block: Block, index: int) -> LogRecord:
        signature, types = REGISTRY_ABI[self.what]
        topics = (topic_of(signature), id_hash(self.id), *self.topics)
        data = encode(types, (self.id, *self.values))
        return LogRecord(REGISTRY, topics, data, block.number, block.hash, sha256(block.hash).digest(), index)


def device_registered(name, key=KEYS[0], alg=1, fleet=FLEET):
    return Happening("device", name, (fleet, alg, key))


def miner_registered(name, key=KEYS[0], account=b"\x01" * 20, *, fleet=FLEET, hpke_key=HPKE_KEY, renewed=False):
    topics = (log_id(f"securenet/{fleet}/{name}"), bytes(12) + account)
    return Happening("renewed" if renewed else "miner", name, (fleet, key, hpke_key), topics)


def status_changed(name, status, kind=Kind.DEVICE):
    return Happening("status", name, (int(kind), int(status)))


def replay(happenings) -> dict[str, Device | Miner]:
    """What a contract knows after these events: the naive model."""
    known = {}
    for what, name, values, topics in happenings:
        if what == "device":
            fleet, alg, key = values
            known[name] = Device(name, fleet, PublicKey(list(Alg)[alg - 1], key), Status.ACTIVE)
        elif what == "status":
            known[name] = known[name]._replace(status=STATUSES[values[1]])
        else:
            fleet, key, hpke_key = values
            status = known[name].status if what == "renewed" else Status.ACTIVE
            public, origin = PublicKey(Alg.ED25519, key), f"securenet/{fleet}/{name}"
            known[name] = Miner(name, fleet, public, status, origin, topics[1][12:], hpke_key)
    return known


class LittleChain:
    """Blocks with events. The genesis block is final; ``final`` moves by ``finalise`` alone.

    Another chain may begin with the first ``keep`` blocks of this one.
    """

    _salts = itertools.count()

    def __init__(self, like: LittleChain | None = None, keep: int = 0):
        self.blocks: list[Block] = [] if like is None else like.blocks[:keep]
        self.events: list[list[Happening]] = [] if like is None else like.events[:keep]
        self.final = 0
        if not self.blocks:
            self.mine()

    def mine(self, *happenings: Happening) -> Block:
        number = len(self.blocks)
        salt = next(self._salts)
        parent = self.blocks[-1].hash if self.blocks else bytes(32)
        block = Block(number, sha256(b"%d %d" % (number, salt)).digest(), parent, 1_700_000_000 + salt, 7)
        self.blocks.append(block)
        self.events.append(list(happenings))
        return block

    def unmine(self) -> None:
        del self.blocks[-1], self.events[-1]

    def mine_empty(self, count: int) -> None:
        for _ in range(count):
            self.mine()

    def finalise(self, blocks: int | None = None) -> None:
        """So many more blocks become final; all of them."""
        head = len(self.blocks) - 1
        self.final = head if blocks is None else min(head, self.final + blocks)

    def reorg(self, depth: int) -> None:
        """Take the newest ``depth`` blocks away, but none that is final."""
        keep = max(self.final + 1, len(self.blocks) - depth)
        del self.blocks[keep:], self.events[keep:]

    def happened(self, start: int, end: int) -> list[Happening]:
        return [each for events in self.events[start : end + 1] for each in events]

    def known(self) -> dict[str, Device | Miner]:
        """What the contract knows in the newest block."""
        return replay(self.happened(0, len(self.blocks)))

    def known_at(self, block: int) -> dict[str, Device | Miner]:
        return replay(self.happened(0, block))

    def do(self, verb: str, name: str, number: int = 0) -> list[Happening]:
        """The events that a call makes now; none where the contract would refuse it, or nothing changes."""
        known = self.known().get(name)
        if verb in {"device", "miner"}:
            if known is not None:
                return []
            key, account = KEYS[number % len(KEYS)], bytes([number % 250 + 1]) * 20
            return [device_registered(name, key) if verb == "device" else miner_registered(name, key, account)]
        if known is None:
            return []
        if verb == "renew":
            if not isinstance(known, Miner) or known.status is Status.REVOKED:
                return []
            return [miner_registered(name, KEYS[number % len(KEYS)], bytes([number % 250 + 1]) * 20, renewed=True)]
        status = next(theirs for theirs, ours in STATUSES.items() if ours is known.status)
        to = MOVES[verb].get(status)
        return (
            [] if to is None else [status_changed(name, to, Kind.MINER if isinstance(known, Miner) else Kind.DEVICE)]
        )

    def view(self, **more) -> LittleView:
        return LittleView(self, **more)


@dataclass
class LittleView:
    """One endpoint's word: ``lag`` blocks behind, ``most_blocks`` at once, hangs up after ``fail_at`` requests."""

    chain: LittleChain
    lag: int = 0
    final_lag: int = 0
    most_blocks: int = 10**9
    fail_at: int | None = None
    endpoint: str = "http://little"
    has_code: bool = True
    asked: list[tuple] = field(default_factory=list)

    @property
    def head(self):
        return self.chain.blocks[max(0, len(self.chain.blocks) - 1 - self.lag)]

    @property
    def final(self):
        return self.chain.blocks[min(self.head.number, max(0, self.chain.final - self.final_lag))]

    def _count(self, *what):
        self.asked.append(what)
        if self.fail_at is not None and len(self.asked) > self.fail_at:
            raise EndpointFault("it hung up")

    async def block(self, number):
        self._count("block", number)
        return self.chain.blocks[number] if number <= self.head.number else None

    async def logs(self, wanted, start, end):
        self._count("logs", start, end)
        assert 0 <= start <= end <= self.head.number
        if end - start + 1 > self.most_blocks:
            raise TooManyLogs("too many")
        found = []
        for block, events in zip(self.chain.blocks[start : end + 1], self.chain.events[start : end + 1], strict=True):
            for index, happening in enumerate(events):
                record = happening.record(block, index)
                if record.address in wanted.addresses and record.topics[0] in wanted.topics[0]:
                    found.append(record)
        return found

    async def code(self, address):
        self._count("code")
        return b"\xfe" if self.has_code else b""

    async def call(self, to, data, block=None):
        self._count("call")
        if data[:4] == topic_of("VERSION()")[:4]:
            return encode(("string",), (VERSIONS[0 if to == REGISTRY else 1],))
        if data[:4] == topic_of("MAX_BATCH()")[:4]:
            return encode(("uint256",), (256,))
        return encode(("address",), (REGISTRY,))


class Store:
    """Rows and cursor as the journal keeps them; ``full`` and nothing is taken."""

    def __init__(self):
        self.rows = {}
        self.cursor = None
        self.full = False
        self.writes = 0

    async def apply_identities(self, rows, cursor):
        self._write()
        self.rows.update({row.id: row for row in rows})
        self.cursor = cursor

    async def forget_identities(self):
        self._write()
        self.rows.clear()
        self.cursor = None

    def _write(self):
        if self.full:
            raise JournalFault("the disk is full")
        self.writes += 1

    def identities(self):
        return iter(self.rows.values())

    def identity_cursor(self):
        return self.cursor


class World:
    """A follower, its store and its clocks; ``restart`` makes another one of the same store."""

    def __init__(self, chain=None, *, max_age_s=100.0, **config):
        self.chain = chain or LittleChain()
        self.store = Store()
        self.max_age_s = max_age_s
        self.monotonic_s = 1000.0
        self.wall_ms = 1_700_000_000_000
        self.changes = 0
        self.config = ChainConfig(
            **{
                "rpc": ("http://little",),
                "chain_id": CHAIN_ID,
                "registry": f"0x{REGISTRY.hex()}",
                "anchor_log": f"0x{ANCHOR_LOG.hex()}",
                **config,
            }
        )
        self.registry = self._new()

    def _new(self):
        return ChainRegistry(
            self.config,
            max_age_s=self.max_age_s,
            store=self.store,
            monotonic_s=lambda: self.monotonic_s,
            wall_ms=lambda: self.wall_ms,
            on_change=self._changed,
        )

    def _changed(self):
        self.changes += 1

    def wait(self, seconds):
        self.monotonic_s += seconds
        self.wall_ms += int(seconds * 1000)

    async def restart(self, *, away_s=0.0, wall_s=None):
        """End and start again, ``away_s`` later; ``wall_s`` is what the wall clock makes of it."""
        self.monotonic_s = 5.0
        self.wall_ms += int(1000 * (away_s if wall_s is None else wall_s))
        self.registry = self._new()
        await self.registry.restore(self.store)
        return self.registry

    async def look(self, **more):
        view = self.chain.view(**more)
        await self.registry.look(view)
        return view

    def contents(self):
        return contents(self.registry.snapshot)


def contents(snapshot) -> dict[str, Device | Miner]:
    return {each.id: each for each in (*snapshot.devices(), *snapshot.miners())}
