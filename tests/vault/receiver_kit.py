"""A world for the receiver: a chain of events that grows block by block, sources, a journal, models in force.

The bundles are real, and so are their signatures, wraps and ciphertexts. The chain is a table of events, encoded as
the contract encodes them; the models in force are a list that refuses what it is told to.
"""

import contextlib
from typing import NamedTuple

from eth_abi.abi import encode
from vault_kit import DATA_KEY, PLAIN, PRIVATE_KEYS, PUBLISHER, RECIPIENTS, manifest_of, secret, signed

from gateway.chain.contracts import MAX_BATCH, id_hash, topic_of
from gateway.chain.models import MODEL_REGISTRY_VERSION
from gateway.chain.port import Block, LogRecord
from gateway.config.model import JournalConfig, ModelsConfig
from gateway.journal import open_journal
from gateway.vault.cid import Codec, block_of
from gateway.vault.ipfs import FetchTimes, Sources
from gateway.vault.receiver import Contract, ModelReceiver
from gateway.vault.receiver_open import Means
from gateway.vault.source import SourceFailure, SourceFault
from gateway.vault.wrap import wrap_for

MODEL, GATEWAY = "pump-vibration", PLAIN
ADDRESS, REGISTRY, OWNER = b"\x33" * 20, b"\x11" * 20, b"\x77" * 20
NOW_MS = 1_740_000_000_000
LATER_S = NOW_MS // 1000 + 1_000_000
ORIGIN = "securenet/plant/gw-1"
CREATED_MS, EXPIRES_MS = NOW_MS - 1000, NOW_MS + 2_000_000_000


class Clocks:
    """Time that moves when it is told to."""

    def __init__(self):
        self.now_s = 0.0

    @property
    def monotonic_s(self):
        return lambda: self.now_s

    @property
    def wall_ms(self):
        return lambda: NOW_MS + round(self.now_s * 1000)


def word(account):
    return bytes(12) + account


class FakeChain:
    """ModelRegistry's events, block by block; all blocks are final. It is a view of itself."""

    endpoint = "fake"

    def __init__(self, clocks):
        self.records = []
        self.clocks = clocks
        self.number = 1
        self.stands_since_s = None
        self.is_short_of = None

    @property
    def final(self):
        at_s = self.clocks.wall_ms() // 1000 if self.stands_since_s is None else self.stands_since_s
        return Block(self.number, bytes(32), bytes(32), at_s, 1)

    head = final

    async def code(self, address):
        return b"code" if address == ADDRESS else b""

    async def call(self, to, data, block=None):
        answers = {
            "VERSION()": (("string",), MODEL_REGISTRY_VERSION),
            "MAX_BATCH()": (("uint256",), MAX_BATCH),
            "REGISTRY()": (("address",), f"0x{REGISTRY.hex()}"),
        }
        for name, (types, value) in answers.items():
            if data == topic_of(name)[:4]:
                return encode(types, (value,))
        raise AssertionError("nothing else is asked")

    async def logs(self, wanted, start, end):
        return [
            record
            for record in self.records
            if start <= record.block_number <= end
            and record is not self.is_short_of
            and record.topics[0] in wanted.topics[0]
            and record.topics[1] in wanted.topics[1]
        ]

    def emit(self, signature, topics, types, values):
        self.number += 1
        topics = (topic_of(signature), *topics)
        self.records.append(
            LogRecord(ADDRESS, topics, encode(types, values), self.number, bytes(32), bytes(32), len(self.records))
        )

    def own(self, model=MODEL):
        self.emit("OwnerChanged(bytes32,address,string)", (id_hash(model), word(OWNER)), ("string",), (model,))

    def publish(self, version, cid, digest, *, until_s=LATER_S, key=PUBLISHER, model=MODEL):
        self.emit(
            "Published(bytes32,address,string,uint64,string,bytes32,uint64,uint8,bytes)",
            (id_hash(model), word(OWNER)),
            ("string", "uint64", "string", "bytes32", "uint64", "uint8", "bytes"),
            (model, version, cid, digest, until_s, 1, key.data),
        )

    def revoke(self, version, model=MODEL):
        topics = (id_hash(model),)
        self.emit("VersionRevoked(bytes32,string,uint64)", topics, ("string", "uint64"), (model, version))

    def floor(self, version, model=MODEL):
        self.emit("FloorRaised(bytes32,string,uint64)", (id_hash(model),), ("string", "uint64"), (model, version))

    def grant(self, gateway=GATEWAY, model=MODEL, *, granted=True):
        name = "Granted" if granted else "Ungranted"
        topics = (id_hash(model), id_hash(gateway))
        self.emit(f"{name}(bytes32,bytes32,string,string)", topics, ("string", "string"), (model, gateway))


class FakeSource:
    """Blocks by their digest; away, or lying, when it is told so."""

    label = "fake"

    def __init__(self):
        self.blocks = {}
        self.is_away = False
        self.asked = 0

    def add(self, data):
        block = block_of(Codec.RAW, data)
        self.blocks[block.cid.digest] = data
        return str(block.cid)

    async def get(self, cid):
        self.asked += 1
        if self.is_away:
            raise SourceFault(SourceFailure.UNREACHABLE, self.label, "it is away")
        if cid.digest not in self.blocks:
            raise SourceFault(SourceFailure.ABSENT, self.label, "it is not there")
        return self.blocks[cid.digest]

    def for_file(self, root):
        return self

    async def close(self):
        pass


class FakeSet:
    """Models in force; those whose version is in ``refuses`` fail their smoke test."""

    def __init__(self):
        self.models = ()
        self.refuses = {}

    async def swap(self, models):
        refusals = [self.refuses.get(model.version) for model in models]
        if not any(refusals):
            self.models = tuple(models)
        return refusals

    @property
    def versions(self):
        return [(model.model_id, model.version) for model in self.models]


class Bundle(NamedTuple):
    """What a publisher made: the manifest's CID and digest, both parts' bytes."""

    cid: str
    digest: bytes
    envelope: bytes
    ciphertext: bytes


def plain(version):
    return b"the plain model of version %d" % version


class World:
    """One gateway. ``restart`` is another process on the same disk."""

    def __init__(self, directory, **settings):
        self.directory = directory
        self.settings = {"enabled": (MODEL,), **settings}
        self.clocks = Clocks()
        self.chain = FakeChain(self.clocks)
        self.source = FakeSource()
        self.told = []
        self.start()

    def start(self):
        self.journal = open_journal(self.directory, JournalConfig(), origin=ORIGIN).journal
        self.running = FakeSet()
        times = FetchTimes(5.0, 5.0)
        sources = Sources([self.source], store=None, times=times, monotonic_s=self.clocks.monotonic_s)
        config = ModelsConfig(**self.settings)
        self.receiver = ModelReceiver(
            config,
            Contract(ADDRESS, REGISTRY, 0, 5000),
            Means(sources, PRIVATE_KEYS[GATEWAY], GATEWAY, config.max_bytes),
            running=self.running,
            store=self.journal,
            tell=lambda *entry: self.told.append(entry),
            clock=self.clocks,
        )

    async def restart(self):
        await self.journal.close()
        self.start()
        await self.receiver.restore()

    def bundle(self, version, *, alter=None, **changes):
        """Make a version and put both parts into the source; ``alter`` changes the envelope."""
        ciphertext = secret(plain(version), version=version)
        facts = {"version": version, "created_ms": CREATED_MS, "expires_ms": EXPIRES_MS, **changes}
        manifest = manifest_of(plain(version), ciphertext)
        wrapped = wrap_for(RECIPIENTS, DATA_KEY, MODEL, version, manifest.ciphertext.sha256)
        envelope, named = signed(manifest._replace(**{"wrapped": wrapped, **facts}))
        digest = named.manifest_sha256
        if alter is not None:
            envelope = alter(envelope)
        self.source.add(ciphertext)
        return Bundle(self.source.add(envelope), digest, envelope, ciphertext)

    def publish(self, version, bundle=None, **facts):
        bundle = bundle or self.bundle(version)
        self.chain.publish(version, bundle.cid, facts.pop("digest", bundle.digest), **facts)
        return bundle

    async def look(self):
        """The chain is looked at, and what follows is done."""
        await self.receiver.look(self.chain)
        await self.receiver.settle()

    def state(self):
        return self.receiver.status()["models"][MODEL]

    @property
    def events(self):
        """What the log says: version, event, reason."""
        return [(version, event, reason) for _, version, _, event, reason in self.told]


@contextlib.asynccontextmanager
async def world_of(directory, **settings):
    """A gateway that is granted a model in version 3, and runs it."""
    world = World(directory, **settings)
    world.chain.own()
    world.chain.grant()
    world.publish(3)
    await world.look()
    assert world.running.versions == [(MODEL, 3)]
    world.told.clear()
    try:
        yield world
    finally:
        await world.journal.close()
