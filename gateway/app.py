"""The composition root: the only file that knows every class.

Start: registry, keys, journal, tree; then one task group that owns every task. Stop: take nothing more in, decide
and commit what was taken, answer it, seal the log with a checkpoint, take leave of the peers, close. In between,
a transport that fails is restarted by its supervisor; a fault in ingest or journal ends the process, and the next one
starts from what is on the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from nacl.bindings import crypto_sign_seed_keypair

from gateway.checks.miner import verify_miner
from gateway.config.model import Config
from gateway.crypto.anchoring_key import AnchoringKey, ChainExtraMissing
from gateway.crypto.pool import CryptoPool, CryptoWorkerLost
from gateway.custody.file import FileCustody
from gateway.custody.port import Custody
from gateway.detection.port import NoModel
from gateway.ingest.admission import Admission, bench
from gateway.ingest.clerk import Clerk, LogKeys
from gateway.ingest.counters import Counters
from gateway.ingest.intake import IntakeQueue
from gateway.ingest.ledger import Ledger
from gateway.ingest.pipeline import Clock, Ingest
from gateway.ingest.windows import WindowCache
from gateway.journal import (
    Journal,
    JournalDamaged,
    JournalFault,
    Opened,
    Reader,
    open_journal,
    open_reader,
)
from gateway.message import PushbackReason
from gateway.ops.control import CONTROL_SOCKET, ControlServer
from gateway.ops.exitcodes import ExitCode
from gateway.ops.interpreter import settle_interpreter
from gateway.ops.secrets import load_anchoring_key, load_hpke_key, load_log_key, read_optional_secret, secret_path
from gateway.ops.status import status_report
from gateway.ops.supervisor import TaskState, supervise
from gateway.ops.upkeep import JournalCare, Publication
from gateway.receipt import ReceiptWriter
from gateway.registry.file import FileRegistry
from gateway.registry.port import RegistrySnapshot
from gateway.tlog.checkpoint import note
from gateway.tlog.entry import parse_entry
from gateway.tlog.tiles import TileWriter
from gateway.transport.coap import CoapTransport
from gateway.transport.mqtt import MqttTransport
from gateway.transport.port import Transport
from gateway.transport.subscriptions import HeldFilters
from gateway.vault.hpke_key import HpkeKey

if TYPE_CHECKING:
    from gateway.delivery import ModelDelivery

log = structlog.get_logger("gateway")


class Past(NamedTuple):
    """What the journal says of the process before: when the log last grew, and the key that signed it."""

    last_entry_ms: int | None
    log_key: bytes | None


class Parts(NamedTuple):
    """What is opened before the gateway is put together: the only things that can fail at the start."""

    registry: FileRegistry | None
    anchoring_key: AnchoringKey | None
    hpke_key: HpkeKey | None
    opened: Opened
    past: Past
    log_key_seed: bytes
    mqtt_password: bytes | None
    mqtt_key_file: str
    oscore: bytes | None


def wall_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def open_parts(config: Config) -> Parts:
    """Read registry and secrets, open the journal.

    Raises:
        RegistryError, SecretError, JournalError, ChainExtraMissing: each says what to do next.
    """
    registry = None if config.chain.rpc else FileRegistry(config.registry.file)
    if registry is not None:
        registry.load()
    anchoring_key = _anchoring_key(config) if config.chain.rpc else None
    hpke_key = load_hpke_key(config.gateway.hpke_key_file) if config.models.enabled else None
    seed = load_log_key(config.gateway.log_key_file)
    password = read_optional_secret(config.mqtt.password_file)
    key_file = str(secret_path(config.mqtt.key_file)) if config.mqtt.key_file else ""
    oscore = read_optional_secret(config.coap.oscore_file)
    opened = open_journal(config.gateway.data_dir, config.journal, origin=config.origin)
    past = _past(config.gateway.data_dir)
    return Parts(registry, anchoring_key, hpke_key, opened, past, seed, password, key_file, oscore)


def _anchoring_key(config: Config) -> AnchoringKey | None:
    return (
        load_anchoring_key(config.anchor.key_file, config.anchor.passphrase_file) if config.anchor.enabled else None
    )


def _past(data_dir: Path) -> Past:
    """Ask the journal: since its last entry nothing was taken in."""
    with open_reader(data_dir) as reader:
        size = reader.size()
        rows = list(reader.entries(max(0, size - 1), size))
        return Past(parse_entry(rows[0].entry).time_ms if rows else None, reader.log_key())


class Gateway:
    """The whole gateway, put together from its parts. ``run`` is its life."""

    def __init__(self, config: Config, parts: Parts) -> None:
        self.config = config
        self.started_ms = wall_ms()
        self._journal: Journal = parts.opened.journal
        self._log_damaged = parts.opened.log_damaged
        self._public_key = crypto_sign_seed_keypair(parts.log_key_seed)[0]
        self._crypto = CryptoPool(parts.log_key_seed)
        self._clock = Clock(time.monotonic, wall_ms)
        self._stopping = asyncio.Event()
        self._reload_wanted = asyncio.Event()

        receipts = ReceiptWriter(config.origin)
        self._bench = measured = bench(config)
        self._last_entry_ms = parts.past.last_entry_ms
        tree = TileWriter.restore(self._journal, self._journal.size())
        windows = WindowCache(config.ingest.replay_cache_devices)
        self._ledger = Ledger(measured, windows, tree, receipts)
        keys = LogKeys(parts.past.log_key, self._public_key)
        self._clerk = Clerk(config.log, self._ledger, origin=config.origin, keys=keys, wall_ms=wall_ms)
        self._intake = IntakeQueue(config.ingest.queue_messages, config.ingest.queue_bytes)
        delivery = self._make_delivery(parts)
        self._custody = self._make_custody(parts, delivery)
        self._ingest = Ingest(
            config,
            intake=self._intake,
            admission=Admission(measured, config.limits.message_bytes),
            ledger=self._ledger,
            registry=self._custody.registry,
            crypto=self._crypto,
            store=self._journal,
            scorer=NoModel() if delivery is None else delivery.scorer,
            receipts=receipts,
            note=lambda body, signature: note(body, config.origin, signature, self._public_key).decode(),
            clerk=self._clerk,
            gate=self._gate,
            clock=self._clock,
        )
        self._care = JournalCare(self._journal, self._ingest.touched, wall_ms)
        self._publication = Publication(config.log.publish_dir, self._ingest.sealed, self.open_log)
        self._transports = self._make_transports(parts)
        self._tasks = {transport.name: TaskState() for transport in self._transports}
        self._custody_task = TaskState()

    def _make_delivery(self, parts: Parts) -> ModelDelivery | None:
        """The models, where the configuration names one."""
        if parts.hpke_key is None:
            return None
        from gateway.delivery import ModelDelivery  # noqa: PLC0415 -- the Ethereum libraries, and HTTP

        return ModelDelivery(self.config, parts.hpke_key.private, self._journal, self._clerk, self._clock)

    def _make_custody(self, parts: Parts, delivery: ModelDelivery | None) -> Custody:
        """By file, or by chain where one is configured."""
        if parts.registry is not None:
            return FileCustody(parts.registry, self._intake.wake)
        try:
            from gateway.custody.chain import ChainCustody  # noqa: PLC0415 -- the Ethereum libraries: a second, 37 MB
        except ModuleNotFoundError:
            raise ChainExtraMissing from None
        return ChainCustody(
            self.config,
            parts.anchoring_key,
            self._journal,
            self._clock,
            on_look=self._intake.wake,
            delivery=delivery,
        )

    def _make_transports(self, parts: Parts) -> Sequence[Transport]:
        config = self.config
        transports: list[Transport] = []
        if config.mqtt.enabled:
            transports.append(
                MqttTransport(
                    config.mqtt,
                    fleet=config.gateway.fleet,
                    gateway_id=config.gateway.id,
                    max_message_bytes=config.limits.message_bytes,
                    password=parts.mqtt_password,
                    tls_key_file=parts.mqtt_key_file,
                    held_filters=HeldFilters(config.gateway.data_dir / "mqtt-filters.json"),
                    on_gap=self._mqtt_gap,
                )
            )
        if config.coap.enabled:
            transports.append(CoapTransport(config.coap, config.limits, oscore=parts.oscore))
        return transports

    async def run(self) -> ExitCode:
        """Live until a signal or a fault ends it."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload_wanted.set)
        control = ControlServer(
            self.config.gateway.data_dir / CONTROL_SOCKET, {"status": self._status, "anchor-now": self._anchor_now}
        )
        exit_code = ExitCode.OK
        try:
            async with control, asyncio.TaskGroup() as tasks:
                crypto = tasks.create_task(self._crypto.run(), name="crypto")
                ingest = tasks.create_task(self._ingest.run(), name="ingest")
                care = tasks.create_task(self._care.run(), name="journal")
                reloads = tasks.create_task(self._reload_when_asked(), name="reload")
                custody = tasks.create_task(
                    supervise("custody", self._custody.run, self._custody_task, time.monotonic), name="custody"
                )
                publisher = tasks.create_task(self._publication.run(), name="publish")
                running = [
                    tasks.create_task(
                        supervise(
                            transport.name,
                            partial(transport.run, self._intake),
                            self._tasks[transport.name],
                            time.monotonic,
                        ),
                        name=transport.name,
                    )
                    for transport in self._transports
                ]
                log.info("gateway.started", origin=self.config.origin, log_size=self._ledger.size)
                await self._stopping.wait()
                await self._stop(ingest)
                for task in (crypto, care, reloads, custody, publisher, *running):
                    task.cancel()
        except* (JournalDamaged, JournalFault, CryptoWorkerLost) as faults:
            for fault in faults.exceptions:
                log.error("gateway.fault", detail=str(fault))
            exit_code = ExitCode.UNAVAILABLE
        finally:
            await self._custody.close()
            with contextlib.suppress(JournalFault, JournalDamaged):
                await self._journal.close()
        log.info("gateway.stopped", log_size=self._ledger.size)
        return exit_code

    async def _stop(self, ingest: asyncio.Task[None]) -> None:
        """Keep the promises made: stop intake, drain, commit, acknowledge, seal, take leave; within the deadline."""
        log.info("gateway.stopping", waiting=self._intake.depth())
        for transport in self._transports:
            transport.stop_intake()
        self._intake.close()
        try:
            async with asyncio.timeout(self.config.ingest.shutdown_s):
                await asyncio.shield(ingest)
                for transport in self._transports:
                    await transport.close()
        except TimeoutError:
            log.warning("gateway.stop_late", detail="what was not acknowledged stays with its sender")
            ingest.cancel()

    def _mqtt_gap(self, gap_s: float | None) -> None:
        """The fleet could not be heard over MQTT for a while: its backlog is not a flood."""
        if gap_s is None and self._last_entry_ms is not None:
            gap_s = (wall_ms() - self._last_entry_ms) / 1000
        if gap_s is not None and gap_s > 0:
            self._bench.credit_outage("mqtt", gap_s, time.monotonic())

    def _gate(self) -> PushbackReason | None:
        """Step 1 of Algorithm 1, and what else makes the whole gateway hold back."""
        if self._log_damaged:
            return PushbackReason.PUSHBACK
        if self._custody.is_stale():
            return PushbackReason.REGISTRY_STALE
        snapshot, config = self._custody.registry.snapshot, self.config
        return verify_miner(
            snapshot.miner(config.gateway.id),
            fleet=config.gateway.fleet,
            origin=config.origin,
            log_key=self._public_key,
            account=self._custody.account,
        )

    async def _reload_when_asked(self) -> None:
        """SIGHUP: read the registry anew, or look at the chain at once."""
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted.clear()
            await self._custody.reload()

    async def _anchor_now(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer to ``securenet anchor now``."""
        return self._custody.anchor_now()

    @property
    def counters(self) -> Counters:
        """What was counted since the start of the process."""
        return self._ingest.counters

    @property
    def registry(self) -> RegistrySnapshot:
        """Who is registered, as of now."""
        return self._custody.registry.snapshot

    def open_log(self) -> AbstractContextManager[Reader]:
        """A read-only connection to the journal, for one thread."""
        return open_reader(self.config.gateway.data_dir)

    async def _status(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer to ``securenet status``."""
        return self.status()

    def status(self) -> dict[str, Any]:
        """The state of every room."""
        return status_report(
            self.config,
            started_ms=self.started_ms,
            now_ms=wall_ms(),
            pushback=self._ingest.pushback(),
            ingest=self._ingest,
            intake=self._intake,
            log_size=self._ledger.size,
            crypto_restarts=self._crypto.restarts,
            registry=self.registry,
            custody=self._custody.status(),
            warnings=self._custody.warnings(),
            transports=self._transports,
            tasks=self._tasks,
            maintenance=self._care.report,
        )


async def run(config: Config) -> ExitCode:
    """Open the parts, put the gateway together and let it live.

    Raises:
        RegistryError, SecretError, JournalError, ChainExtraMissing, ChainMisconfigured: the gateway cannot start, and
            each says what to do next.
    """
    parts = await asyncio.to_thread(open_parts, config)
    _tell_how_the_journal_opened(parts.opened)
    gateway = Gateway(config, parts)
    settle_interpreter()
    return await gateway.run()


def _tell_how_the_journal_opened(opened: Opened) -> None:
    """Write what was wrong with the store to the log, and what became of it."""
    if opened.set_aside is not None:
        log.error("journal.set_aside", where=str(opened.set_aside), reason=opened.reason)
    for gap in opened.lost:
        log.error("journal.entries_lost", start=gap.start, end=gap.end, reason=gap.reason)
    if opened.doubtful_from is not None:
        log.error("journal.doubtful", start=opened.doubtful_from)
    if opened.log_damaged:
        log.error("journal.log_damaged", detail="the log takes no entries; see docs/operations")
    if opened.migrated_from is not None:
        log.info("journal.migrated", schema=opened.migrated_from)
