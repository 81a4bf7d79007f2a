"""The composition root: the only file that knows every class.

Start: registry, keys, journal, tree; then one task group that owns every task. Stop: take nothing more in, decide
and commit what was taken, answer it, seal the log with a checkpoint, take leave of the peers, close. In between,
a transport that fails is restarted by its supervisor; a fault in ingest or journal ends the process, and the next one
starts from what is on the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from nacl.bindings import crypto_sign_seed_keypair

from gateway.checks.miner import verify_miner
from gateway.config.model import Config
from gateway.crypto.anchoring_key import ChainExtraMissing
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
    Reader,
    open_reader,
)
from gateway.message import PushbackReason
from gateway.operations import Operations, Rooms
from gateway.ops.clock import ClockWatch
from gateway.ops.control import CONTROL_SOCKET, ControlServer
from gateway.ops.exitcodes import ExitCode
from gateway.ops.interpreter import settle_interpreter
from gateway.ops.last_good import UNKNOWN, Source
from gateway.ops.logging import Logging
from gateway.ops.reload import Room
from gateway.ops.reload_rooms import chain_room, ipfs_room, quiet_rooms
from gateway.ops.status import status_report
from gateway.ops.supervisor import TaskState, causes, supervise
from gateway.ops.systemd.notify import Notify
from gateway.ops.systemd.probes import gateway_probes
from gateway.ops.upkeep import JournalCare, Publication
from gateway.parts import Parts, open_parts, tell_how_the_journal_opened
from gateway.receipt import ReceiptWriter
from gateway.registry.port import RegistrySnapshot
from gateway.tlog.checkpoint import note
from gateway.tlog.tiles import TileWriter
from gateway.transport.coap import CoapTransport
from gateway.transport.mqtt import MqttTransport
from gateway.transport.port import Transport
from gateway.transport.subscriptions import HeldFilters

if TYPE_CHECKING:
    from gateway.delivery import ModelDelivery

log = structlog.get_logger("gateway")

_OPENS_WITHIN_S = 900.0


def wall_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Gateway:
    """The whole gateway, put together from its parts. ``run`` is its life."""

    def __init__(self, config: Config, parts: Parts, source: Source = UNKNOWN, logs: Logging | None = None) -> None:
        self.config = config
        self._started_s = time.monotonic()
        self._journal: Journal = parts.opened.journal
        self._log_damaged = parts.opened.log_damaged
        self._public_key = crypto_sign_seed_keypair(parts.log_key_seed)[0]
        self._crypto = CryptoPool(parts.log_key_seed)
        self._stopping = asyncio.Event()
        self._all_committed = False

        receipts = ReceiptWriter(config.origin)
        self._bench = measured = bench(config)
        self._last_entry_ms = parts.past.last_entry_ms
        tree = TileWriter.restore(self._journal, self._journal.size())
        windows = WindowCache(config.ingest.replay_cache_devices)
        past_ms = parts.past.last_entry_ms or 0
        self._clock_watch = watch = ClockWatch(config.clock, past_ms, config.gateway.data_dir, wall_ms=wall_ms)
        self._clock = Clock(time.monotonic, wall_ms, lambda: watch.trusted)
        self._ledger = Ledger(measured, windows, tree, receipts, self._clock_watch.take)
        keys = LogKeys(parts.past.log_key, self._public_key)
        self._clerk = Clerk(config.log, self._ledger, origin=config.origin, keys=keys, wall_ms=wall_ms)
        self._clock_watch.on_news = self._clerk.clock_changed
        self._intake = IntakeQueue(config.ingest.queue_messages, config.ingest.queue_bytes)
        self._rooms: list[Room] = []
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
        self._care = JournalCare(self._journal, self._ingest.touched, self._clock_watch.past_ms)
        self._publication = Publication(config.log.publish_dir, self._ingest.sealed, self.open_log)
        self._transports = self._make_transports(parts)
        self._tasks = {transport.name: TaskState() for transport in self._transports}
        self._custody_task = TaskState()
        self._operations = self._make_operations(parts, delivery, source, logs)

    def _make_operations(
        self, parts: Parts, delivery: ModelDelivery | None, source: Source, logs: Logging | None
    ) -> Operations:
        scorer = None if delivery is None else delivery.scorer
        mqtt = next((each for each in self._transports if isinstance(each, MqttTransport)), None)
        coap = next((each for each in self._transports if isinstance(each, CoapTransport)), None)
        quiet = quiet_rooms(self._bench, self._clerk, self._clock_watch, logs, coap)
        probes = gateway_probes(
            self.config, crypto=self._crypto, journal=self._journal, ingest=self._ingest, scorer=scorer, coap=coap
        )
        rooms = Rooms(
            self._clock_watch, mqtt, [*self._rooms, *quiet], probes, self._custody.reload, self._asked_to_anchor
        )
        return Operations(self, rooms, source, logs=logs, token=parts.http_token)

    def in_force(self, config: Config) -> None:
        """A reload put another configuration into force."""
        self.config = config

    def _make_delivery(self, parts: Parts) -> ModelDelivery | None:
        """The models, where the configuration names one."""
        if parts.hpke_key is None:
            return None
        from gateway.delivery import ModelDelivery  # noqa: PLC0415 -- the Ethereum libraries, and HTTP

        delivery = ModelDelivery(self.config, parts.hpke_key.private, self._journal, self._clerk, self._clock)
        self._rooms.append(ipfs_room(delivery))
        return delivery

    def _make_custody(self, parts: Parts, delivery: ModelDelivery | None) -> Custody:
        """By file, or by chain where one is configured."""
        if parts.registry is not None:
            return FileCustody(parts.registry, self._intake.wake)
        try:
            from gateway.custody.chain import ChainCustody  # noqa: PLC0415 -- the Ethereum libraries: a second, 30 MB
        except ModuleNotFoundError:
            raise ChainExtraMissing from None
        custody = ChainCustody(
            self.config,
            parts.anchoring_key,
            self._journal,
            self._clock,
            on_look=self._intake.wake,
            delivery=delivery,
        )
        self._rooms.append(chain_room(custody))
        return custody

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
        loop.add_signal_handler(signal.SIGHUP, self._operations.wants_reload)
        control = ControlServer(
            self.config.gateway.data_dir / CONTROL_SOCKET,
            {"status": self._status, "anchor-now": self._anchor_now, "reload": self._operations.reload_now},
        )
        exit_code = ExitCode.OK
        try:
            async with control, asyncio.TaskGroup() as tasks:
                crypto = tasks.create_task(self._crypto.run(), name="crypto")
                ingest = tasks.create_task(self._ingest.run(), name="ingest")
                care = tasks.create_task(self._care.run(), name="journal")
                operations = tasks.create_task(self._operations.run(), name="operations")
                telling = tasks.create_task(self._operations.tell_systemd(), name="systemd")
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
                for task in (crypto, care, operations, telling, custody, publisher, *running):
                    task.cancel()
        except* (JournalDamaged, JournalFault, CryptoWorkerLost) as faults:
            for detail in dict.fromkeys(str(fault) for fault in causes(faults)):
                log.error("gateway.fault", detail=detail)
            exit_code = ExitCode.UNAVAILABLE
        finally:
            await self._custody.close()
            with contextlib.suppress(JournalFault, JournalDamaged):
                await self._journal.close()
            if self._all_committed:
                self._operations.close()
        log.info("gateway.stopped", log_size=self._ledger.size)
        return exit_code

    async def _stop(self, ingest: asyncio.Task[None]) -> None:
        """Keep the promises made: stop intake, drain, commit, acknowledge, seal, take leave; within the deadline."""
        log.info("gateway.stopping", waiting=self._intake.depth())
        self._operations.stopping()
        for transport in self._transports:
            transport.stop_intake()
        self._intake.close()
        try:
            async with asyncio.timeout(self.config.ingest.shutdown_s):
                await asyncio.shield(ingest)
                self._all_committed = True
                for transport in self._transports:
                    await transport.close()
        except TimeoutError:
            log.warning("gateway.stop_late", detail="what was not acknowledged stays with its sender")
            ingest.cancel()

    def _mqtt_gap(self, gap_s: float | None) -> None:
        """The fleet could not be heard over MQTT for a while: its backlog is not a flood."""
        if gap_s is None and self._last_entry_ms is not None and self._clock_watch.trusted:
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

    async def _anchor_now(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer to ``securenet anchor now``."""
        return self._custody.anchor_now()

    async def _asked_to_anchor(self) -> Mapping[str, Any]:
        """The page's action."""
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
        now_ms = wall_ms()
        return status_report(
            self.config,
            started_ms=now_ms - round((time.monotonic() - self._started_s) * 1000),
            now_ms=now_ms,
            pushback=self._ingest.pushback(),
            ingest=self._ingest,
            intake=self._intake,
            log_size=self._ledger.size,
            crypto_restarts=self._crypto.restarts,
            registry=self.registry,
            custody=self._custody.status(),
            warnings=[*self._operations.warnings(), *self._custody.warnings(), *self._publication.warnings()],
            transports=self._transports,
            tasks={**self._tasks, "custody": self._custody_task, **self._operations.tasks()},
            maintenance=self._care.report,
            more=self._operations.status(),
        )


async def run(config: Config, source: Source = UNKNOWN, logs: Logging | None = None) -> ExitCode:
    """Open the parts, put the gateway together and let it live.

    Raises:
        RegistryError, SecretError, JournalError, ChainExtraMissing, ChainMisconfigured: the gateway cannot start, and
            each says what to do next.
    """
    Notify.from_environment(os.environ).starting("opens its journal", _OPENS_WITHIN_S)
    parts = await asyncio.to_thread(open_parts, config)
    tell_how_the_journal_opened(parts.opened)
    gateway = Gateway(config, parts, source, logs)
    settle_interpreter()
    return await gateway.run()
