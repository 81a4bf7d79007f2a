"""The MQTT transport: a persistent session at the fleet's broker, acknowledged by hand (FORMATS.md §4).

A PUBACK leaves only after ``reply``, which ingest calls after the commit. Until then the broker keeps the message,
and its receive maximum bounds how many are with us: that is the back-pressure. This file keeps a connection up, for
ever; ``mqtt_link`` is what happens on one.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from mqttium import FlowControlError, MQTTError, MQTTProtocolVersion, QoS
from mqttium.api import AsyncClient, PublishMessage
from mqttium.errors import MQTTTimeoutError
from mqttium.packets.subscription import SubscribeOptions
from mqttium.types import Properties

from gateway.config.model import MqttConfig
from gateway.transport.mqtt_link import COUNTERS, MqttLink, end_tasks
from gateway.transport.mqtt_receipts import OwedReceipts
from gateway.transport.mqtt_tls import BrokerTls, Look, TlsPaths, TlsRefused, probe
from gateway.transport.mqtt_words import QosRefused, describe
from gateway.transport.port import Intake, LinkState, LinkStatus
from gateway.transport.subscriptions import HeldFilters
from gateway.transport.topics import status_topic, up_filter

log = structlog.get_logger("mqtt")

_HEADROOM_BYTES = 64 * 1024
_CONNECT_TIMEOUT_S = 15.0
_SUBACK_TIMEOUT_S = 15.0
_FAREWELL_S = 3.0
_CONNECTING_S = 1.0
_CHANGE_S = 20.0
_PACKET_IDS = 65535
_BACKLOG_BYTES = 32 << 20
_BACKLOG_MESSAGES = 8192
FIXED_KEYS = frozenset({"enabled", "client_id", "share_group"})
"""Keys of ``[mqtt]`` that name the session at the broker: with another one, messages would stay behind in the old."""

_KEEP_SENT = SubscribeOptions(qos=QoS.AT_LEAST_ONCE, retain_handling=1)


class MqttTransport:
    """Implements ``Transport`` on mqttium (docs/adr/0040).

    ``password`` is the broker account's, ``tls_key_file`` the resolved path of the client's private key. ``wall_ms``
    gives milliseconds since 1970. ``mqtt.up`` and ``mqtt.down`` are logged at each change, not at each attempt.
    ``on_up`` is called at each ``mqtt.up``.
    ``on_gap`` is told, before the messages of a new connection come in, for how many seconds nothing could; None for
    the first connection of the process.
    """

    name = "mqtt"

    def __init__(  # noqa: PLR0913 -- the composition root hands over everything by name
        self,
        config: MqttConfig,
        *,
        fleet: str,
        gateway_id: str,
        max_message_bytes: int,
        password: bytes | None,
        tls_key_file: str,
        held_filters: HeldFilters,
        on_gap: Callable[[float | None], None] = lambda _: None,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._fleet = fleet
        self._client_id = config.client_id or f"securenet-{gateway_id}"
        self._max_packet_bytes = max_message_bytes + _HEADROOM_BYTES
        self._password = password
        self.broker_certificate: bytes | None = None
        self.on_up: Callable[[], None] = lambda: None
        self._tls_files = self._files_of(config, tls_key_file)
        self._held_filters = held_filters
        self._on_gap = on_gap
        self._lost_s: float | None = None
        self._wall_ms = wall_ms
        self._monotonic_s = monotonic_s
        self._wanted = up_filter(fleet, config.share_group)
        self._status_topic = status_topic(fleet, gateway_id)
        self._receipts = OwedReceipts()
        self._taking = True
        self._closing = asyncio.Event()
        self._closed = asyncio.Event()
        self._running = False
        self._renewing = False
        self._moved = asyncio.Event()
        self._changing = asyncio.Lock()
        self._link: MqttLink | None = None
        self._told_down = False
        self._counters = dict.fromkeys(("connects", "connect_failures", *COUNTERS), 0)
        self._status = LinkStatus(LinkState.STOPPED, monotonic_s(), "not started")

    async def run(self, intake: Intake) -> None:
        """Keep a connection until ``close``; every failure of broker or network is waited out."""
        wait_s = self._config.reconnect_min_s
        self._running = True
        self._closed.clear()
        self._set_status(LinkState.CONNECTING, "connecting")
        try:
            while not self._closing.is_set():
                started_s = self._monotonic_s()
                try:
                    await self._one_connection(intake)
                except (MQTTError, OSError) as fault:
                    self._went_down(fault)
                if self._renewing:
                    self._renewing, wait_s = False, self._config.reconnect_min_s
                    continue
                if self._monotonic_s() - started_s > self._config.reconnect_max_s:
                    wait_s = self._config.reconnect_min_s
                # Full jitter: a fleet of gateways does not come back in step.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), random.uniform(0, wait_s))  # noqa: S311 -- no secret
                wait_s = min(wait_s * 2, self._config.reconnect_max_s)
        finally:
            self._running = False
            self._set_status(LinkState.STOPPED, "closed")
            self._closed.set()

    def stop_intake(self) -> None:
        """Hand over nothing more; what the broker still sends stays unacknowledged, and so with the broker."""
        self._taking = False
        if self._link is not None:
            self._link.stop_intake()

    async def close(self) -> None:
        """Send what is owed, publish ``offline``, disconnect."""
        self._taking = False
        self._closing.set()
        if self._link is not None:
            self._link.leave()
        if self._running:
            await self._closed.wait()

    async def change(self, config: MqttConfig, *, password: bytes | None, tls_key_file: str) -> None:
        """Take other settings into use by a gentle reconnect; what does not work is not kept. Not ``FIXED_KEYS``.

        Raises:
            TlsRefused: the old settings are in force, as they were.
        """
        async with self._changing:
            before = (self._config, self._password, self._tls_files)
            files = self._files_of(config, tls_key_file)
            was_up = self._status.state is LinkState.UP
            try:
                context = await asyncio.to_thread(files.context) if config.tls else None
            except (OSError, ssl.SSLError) as error:
                raise TlsRefused(describe(error)) from None
            if was_up:
                await probe(config.host, config.port, context)
            self._config, self._password, self._tls_files = config, password, files
            if not await self._reconnected() and was_up:
                why = self._status.detail
                self._config, self._password, self._tls_files = before
                await self._reconnected()
                raise TlsRefused(f"the link did not come up with it: {why}")

    async def renew(self) -> Look:
        """Look at the TLS files; when they changed and the broker takes them, reconnect with them.

        Returns:
            What was found. ``BROKEN``: the link stays as it is, and ``tls_fault`` says why.
        """
        async with self._changing:
            files, config = self._tls_files, self._config
            if not config.tls:
                return Look.SAME
            found = await asyncio.to_thread(files.look)
            if found is not Look.CHANGED:
                return found
            if self._status.state is LinkState.UP:
                trial = BrokerTls(files.paths)
                try:
                    await probe(config.host, config.port, await asyncio.to_thread(trial.context))
                except (TlsRefused, OSError) as error:
                    files.fault = str(error) if isinstance(error, TlsRefused) else describe(error)
                    return Look.BROKEN
            await self._reconnected()
            log.info("mqtt.tls_renewed", broker=f"{config.host}:{config.port}")
            return Look.CHANGED

    @property
    def tls_fault(self) -> str:
        """What is wrong with the TLS files as they are now; empty for nothing."""
        return self._tls_files.fault

    def status(self) -> LinkStatus:
        """Where the link stands; ``UP`` means connected and subscribed."""
        return self._status

    def counters(self) -> dict[str, int]:
        """Monotonic counts since the start."""
        return dict(self._counters)

    async def _one_connection(self, intake: Intake) -> None:
        """Connect, then serve until the connection ends or ``close`` is called."""
        client = self._new_client()
        try:
            session_present = await self._unless_closing(self._connect(client))
            if session_present is None:
                return
            self._link = MqttLink(
                client,
                intake,
                receipts=self._receipts,
                counters=self._counters,
                hold=lambda: self._hold(client),
                hold_every_s=self._config.keepalive_s / 2,
                wall_ms=self._wall_ms,
            )
            if not self._taking:
                self._link.stop_intake()
            if self._closing.is_set():
                return
            await self._link.serve(lambda link: self._settle(client, link, session_present=session_present))
            if self._renewing and not self._closing.is_set():
                return
            with contextlib.suppress(MQTTError, OSError, TimeoutError):
                async with asyncio.timeout(_FAREWELL_S):
                    farewell = await client.publish(self._status_topic, b"offline", qos=1, retain=True)
                    await farewell.wait()
        finally:
            if self._link is not None:
                self._lost_s = self._monotonic_s()
            self._link = None
            with contextlib.suppress(MQTTError, OSError, TimeoutError):
                async with asyncio.timeout(_FAREWELL_S):
                    await client.disconnect()

    async def _connect(self, client: AsyncClient) -> bool:
        """Open the connection; says whether the broker still had our session."""
        config = self._config
        try:
            tls = await asyncio.to_thread(self._tls_files.context) if config.tls else None
            connack = await client.connect(config.host, config.port, ssl=tls, timeout=_CONNECT_TIMEOUT_S)
        except (MQTTError, OSError):
            self._counters["connect_failures"] += 1
            raise
        _tolerate_overrun(client)
        self._counters["connects"] += 1
        self._on_gap(None if self._lost_s is None else self._monotonic_s() - self._lost_s)
        return connack.session_present

    async def _unless_closing(self, step: Coroutine[Any, Any, bool]) -> bool | None:
        """The result of ``step``; None when ``close`` was called meanwhile.

        What connects is given a moment then: asyncio of Python 3.11 forgets to close a socket whose connecting is
        cancelled while addresses still race (RFC 8305).
        """
        task = asyncio.create_task(step, name="mqtt-connect")
        closing = asyncio.create_task(self._closing.wait(), name="mqtt-closing")
        try:
            await asyncio.wait({task, closing}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return await task
            await asyncio.wait({task}, timeout=_CONNECTING_S)
            return None
        finally:
            await end_tasks((task, closing))

    async def _settle(self, client: AsyncClient, link: MqttLink, *, session_present: bool) -> None:
        """Subscribe, say so, and tell the fleet that we are online."""
        await self._subscribe(client, link, session_present=session_present)
        self._set_status(LinkState.UP, f"subscribed to {self._wanted}")
        self._told_down = False
        log.info("mqtt.up", broker=f"{self._config.host}:{self._config.port}", session_present=session_present)
        self.on_up()
        online = await client.publish(self._status_topic, b"online", qos=1, retain=True)
        try:
            await online.wait()
        except MQTTError as fault:
            if client.is_connected:
                log.warning("mqtt.status_refused", detail=describe(fault))

    async def _subscribe(self, client: AsyncClient, link: MqttLink, *, session_present: bool) -> None:
        """Compare what the session holds with what is wanted, and make them equal.

        The broker cannot be asked what a session holds. So the wanted filter is subscribed to each time (the same
        subscription again changes nothing), and filters that an earlier configuration left behind are given up.
        """
        held = self._held_filters.read() if session_present else set()
        left_behind = sorted(held - {self._wanted})
        self._held_filters.write({self._wanted, *left_behind})
        while True:
            try:
                result = await client.subscribe([(self._wanted, _KEEP_SENT)], timeout=_SUBACK_TIMEOUT_S)
                break
            except MQTTTimeoutError:
                if not link.held_up:  # else the SUBACK lies behind messages that we cannot take at the moment
                    raise
        if QoS.AT_LEAST_ONCE not in result.reason_codes:
            raise QosRefused
        if left_behind:
            await client.unsubscribe(left_behind, timeout=_SUBACK_TIMEOUT_S)
            self._held_filters.write({self._wanted})
            log.info("mqtt.filters_given_up", count=len(left_behind))

    def _hold(self, client: AsyncClient) -> None:
        """Say to the broker that we are alive while nothing can be read, and notice when the connection is not."""
        with contextlib.suppress(FlowControlError):
            client.publish_nowait(self._status_topic, b"online", qos=0, retain=True)

    def _new_client(self) -> AsyncClient:
        config = self._config
        return AsyncClient(
            self._client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            clean_start=False,
            keepalive=config.keepalive_s,
            ping_timeout=config.keepalive_s / 2,
            username=config.username or None,
            password=self._password,
            connect_properties=Properties({"session_expiry_interval": config.session_expiry_s}),
            will=PublishMessage(self._status_topic, b"offline", qos=1, retain=True),
            maximum_packet_size=self._max_packet_bytes,
            max_inbound_inflight=config.receive_maximum,
            max_iterator_messages=max(_BACKLOG_MESSAGES, config.receive_maximum),
            max_iterator_bytes=_BACKLOG_BYTES,
            manual_ack=True,
            reconnect=None,
        )

    def _files_of(self, config: MqttConfig, tls_key_file: str) -> BrokerTls:
        return BrokerTls(TlsPaths(config.ca_file, config.cert_file, tls_key_file), self._saw_broker)

    def _saw_broker(self, certificate: bytes) -> None:
        self.broker_certificate = certificate

    async def _reconnected(self) -> bool:
        """Let the next connection take over; True once it is up, False when it fails or takes too long."""
        if self._link is None or self._closing.is_set():
            return True  # the next attempt is one with the new settings
        self._set_status(LinkState.CONNECTING, "reconnecting with other settings")
        self._renewing = True
        self._link.retire()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CHANGE_S):
                while self._status.state is LinkState.CONNECTING:
                    self._moved.clear()
                    await self._moved.wait()
        return self._status.state is LinkState.UP

    def _went_down(self, fault: Exception) -> None:
        """Say once that the link is down; while it stays down the detail is kept current."""
        detail = describe(fault)
        self._set_status(LinkState.DOWN, detail)
        if not self._told_down:
            self._told_down = True
            log.warning("mqtt.down", broker=f"{self._config.host}:{self._config.port}", detail=detail)

    def _set_status(self, state: LinkState, detail: str) -> None:
        since_s = self._status.since_s if state is self._status.state else self._monotonic_s()
        self._status = LinkStatus(state, since_s, detail)
        self._moved.set()


def _tolerate_overrun(client: AsyncClient) -> None:
    """Let a broker send more than the receive maximum that it was told.

    mosquitto 2.0.11 forgets the receive maximum when it resumes a session (docs/adr/0041); a client that disconnects
    for it, as mqttium does and MQTT 5 §4.9 allows, would never get through its backlog. The bound is then the
    iterator's: when it is full the socket is not read. There is no public setting for it; a test fails if this moves.
    """
    client._engine.inbound._receive_maximum = _PACKET_IDS + 1  # noqa: SLF001 -- see above
