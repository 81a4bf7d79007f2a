"""A gateway without transports: real journal, real signature worker, real devices of firmware_sim."""

import asyncio
import contextlib
import time
from dataclasses import replace

from nacl.bindings import crypto_sign_seed_keypair

from firmware_sim import envelope as device_side
from firmware_sim.keys import new_key
from gateway.checks.miner import verify_miner
from gateway.config.model import Config, GatewayConfig
from gateway.crypto.keys import PublicKey
from gateway.crypto.pool import CryptoPool
from gateway.detection.port import NoModel
from gateway.ingest.admission import Admission, bench
from gateway.ingest.clerk import Clerk, LogKeys
from gateway.ingest.intake import IntakeQueue
from gateway.ingest.ledger import Ledger
from gateway.ingest.pipeline import Clock, Ingest
from gateway.ingest.windows import WindowCache
from gateway.journal import open_journal, open_reader
from gateway.message import Alg, RawMessage
from gateway.receipt import ReceiptWriter
from gateway.registry.port import Device, Miner, SnapshotBuilder, Status
from gateway.tlog.checkpoint import note
from gateway.tlog.tiles import TileWriter

FLEET = "plant-7"
SEED = bytes(range(32))
LOG_KEY = crypto_sign_seed_keypair(SEED)[0]


class Sender:
    """A device that signs, and remembers nothing that a test did not ask for."""

    def __init__(self, name, alg="Ed25519", encoding="cose"):
        self.name = name
        self.encoding = encoding
        self.key = new_key(alg, b"seed", name)
        self.session = name.encode().ljust(8, b"-")[:8]

    def facts(self, seq, **changes):
        facts = device_side.Facts(self.name, FLEET, 110, time.time(), self.session, seq)
        return replace(facts, **changes)

    def message(self, seq, payload=b'[{"n":"t","v":21}]', **changes):
        return device_side.seal(self.encoding, self.key, self.facts(seq, **changes), payload).data


class World:
    """Everything ``app`` would put together, with the answers in a list."""

    def __init__(self, directory, devices, *, store=None, **limits):
        config = Config(gateway=GatewayConfig(id="gw-1", fleet=FLEET, data_dir=directory))
        limits = {"device_burst": 1000, "mqtt_peer_burst": 1000, **limits}
        self.config = replace(
            config,
            limits=replace(config.limits, **limits),
            log=replace(config.log, checkpoint_interval_s=3600),
        )
        self.directory = directory
        self.statuses = {device.name: Status.ACTIVE for device in devices}
        self.devices = {device.name: device for device in devices}
        self.miner_status = Status.ACTIVE
        self.seed = SEED
        self.store_wrapper = store or (lambda journal: journal)

    @property
    def snapshot(self):
        builder = SnapshotBuilder()
        for name, device in self.devices.items():
            key = PublicKey(Alg(device.key.alg), device.key.public_key)
            builder.add(Device(name, FLEET, key, self.statuses[name]))
        key = PublicKey(Alg.ED25519, crypto_sign_seed_keypair(self.seed)[0])
        builder.add(Miner("gw-1", FLEET, key, self.miner_status, self.config.origin))
        return builder.build(0)

    @contextlib.asynccontextmanager
    async def running(self):
        config = self.config
        opened = open_journal(self.directory, config.journal, origin=config.origin)
        self.journal = opened.journal
        crypto = CryptoPool(self.seed)
        public_key = crypto_sign_seed_keypair(self.seed)[0]
        measured = bench(config)
        receipts = ReceiptWriter(config.origin)
        tree = TileWriter.restore(self.journal, self.journal.size())
        self.ledger = Ledger(measured, WindowCache(4), tree, receipts)
        with open_reader(self.directory) as reader:
            keys = LogKeys(reader.log_key(), public_key)
        clerk = Clerk(
            config.log, self.ledger, origin=config.origin, keys=keys, wall_ms=lambda: time.time_ns() // 1_000_000
        )
        self.intake = IntakeQueue(4096)
        self.ingest = Ingest(
            config,
            intake=self.intake,
            admission=Admission(measured, config.limits.message_bytes),
            ledger=self.ledger,
            registry=self,
            crypto=crypto,
            store=self.store_wrapper(self.journal),
            scorer=NoModel(),
            receipts=receipts,
            note=lambda body, signature: note(body, config.origin, signature, public_key).decode(),
            clerk=clerk,
            gate=lambda: verify_miner(
                self.snapshot.miner("gw-1"), fleet=FLEET, origin=config.origin, log_key=public_key
            ),
            clock=Clock(time.monotonic, lambda: time.time_ns() // 1_000_000),
        )
        worker = asyncio.create_task(crypto.run())
        running = asyncio.create_task(self.ingest.run())
        try:
            yield self
            self.intake.close()
            await running
        finally:
            for task in (running, worker):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            await self.journal.close()

    def offer(self, payload, transport="mqtt", peer="peer", **routing):
        """Hand bytes over; returns the future of the outcome."""
        answer = asyncio.get_running_loop().create_future()
        raw = RawMessage(payload, transport, peer, time.time_ns() // 1_000_000, answer.set_result, **routing)
        assert self.intake.offer(raw)
        return answer

    async def send(self, payload, **routing):
        """Hand bytes over and wait for the outcome."""
        return await asyncio.wait_for(self.offer(payload, **routing), 10)
