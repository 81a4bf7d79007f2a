"""The MQTT transport: a persistent session at the fleet's broker, acknowledged by hand (FORMATS.md §4).

A PUBACK leaves only from ``reply``, which ingest calls after the commit. Until then the broker keeps the message, and
its receive maximum bounds how many are with us: that is the back-pressure. Each connection has a client object of its
own, so an acknowledgement can never reach another connection than the one its message came by: after a reconnect
the broker sends again what was not acknowledged, and ingest answers it as the duplicate that it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import structlog
from mqttium import FlowControlError, MQTTError, MQTTProtocolVersion, QoS
from mqttium.api import AsyncClient, PublishMessage
from mqttium.packets.subscription import SubscribeOptions
from mqttium.types import Message, Properties

from gateway.config.model import MqttConfig
from gateway.message import Accepted, Duplicate, Outcome, Pushback, RawMessage, Refused
from gateway.transport.media_type import declared_encoding
from gateway.transport.port import Intake, LinkState, LinkStatus
from gateway.transport.subscriptions import HeldFilters
from gateway.transport.topics import parse_up, receipt_topic, response_topic, status_topic, up_filter

log = structlog.get_logger("mqtt")

_HEADROOM_BYTES = 64 * 1024
_CONNECT_TIMEOUT_S = 15.0
_FAREWELL_S = 3.0
_OFFER_AGAIN_S = 0.05
_PACKET_IDS = 65535
_BACKLOG_BYTES = 32 << 20
_KEEP_SENT = SubscribeOptions(qos=QoS.AT_LEAST_ONCE, retain_handling=1)
_COUNTERS = (
    *("connects", "connect_failures", "received", "acknowledged", "unacknowledged", "receipts", "receipts_dropped"),
    *("response_topics_ignored", "foreign_topics"),
)


class _Answer(NamedTuple):
    """What is owed to the broker for one message: its PUBACK, and perhaps a receipt."""

    message: Message
    receipt: bytes | None
    topic: str
    correlation: bytes | None


class MqttTransport:
    """Implements ``Transport`` on mqttium (docs/adr/0040).

    ``password`` is the broker account's, ``tls_key_file`` the resolved path of the client's private key. ``wall_ms``
    gives milliseconds since 1970. Receipts beyond what the client library holds are dropped and counted: a device
    that misses one sends again and gets the same; acknowledgements are never dropped.
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
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._fleet = fleet
        self._client_id = config.client_id or f"securenet-{gateway_id}"
        self._max_packet_bytes = max_message_bytes + _HEADROOM_BYTES
        self._password = password
        self._tls_key_file = tls_key_file
        self._held_filters = held_filters
        self._wall_ms = wall_ms
        self._monotonic_s = monotonic_s
        self._wanted = up_filter(fleet, config.share_group)
        self._status_topic = status_topic(fleet, gateway_id)
        self._taking = True
        self._closing = asyncio.Event()
        self._closed = asyncio.Event()
        self._running = False
        self._answers: deque[_Answer] = deque()
        self._answer_due = asyncio.Event()
        self._counters = dict.fromkeys(_COUNTERS, 0)
        self._status = LinkStatus(LinkState.STOPPED, monotonic_s(), "not started")

    async def run(self, intake: Intake) -> None:
        """Keep a connection until ``close``; every failure of broker or network is waited out."""
        wait_s = self._config.reconnect_min_s
        self._running = True
        self._closed.clear()
        try:
            while not self._closing.is_set():
                self._set_status(LinkState.CONNECTING, "connecting")
                connected_s = self._monotonic_s()
                try:
                    await self._one_connection(intake)
                except (MQTTError, OSError, TimeoutError) as fault:
                    self._went_down(fault)
                if self._monotonic_s() - connected_s > self._config.reconnect_max_s:
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

    async def close(self) -> None:
        """Send what is owed, publish ``offline``, disconnect."""
        self._taking = False
        self._closing.set()
        self._answer_due.set()
        if self._running:
            await self._closed.wait()

    def status(self) -> LinkStatus:
        """Where the link stands; ``UP`` means connected and subscribed."""
        return self._status

    def counters(self) -> dict[str, int]:
        """Monotonic counts since the start."""
        return dict(self._counters)

    async def _one_connection(self, intake: Intake) -> None:
        """Connect, subscribe, serve until the connection ends or ``close`` is called."""
        client = self._new_client()
        self._answers = deque()
        config = self._config
        try:
            try:
                connack = await client.connect(config.host, config.port, ssl=self._tls(), timeout=_CONNECT_TIMEOUT_S)
                _tolerate_overrun(client)
                await self._subscribe(client, session_present=connack.session_present)
                await client.publish(self._status_topic, b"online", qos=1, retain=True)
            except (MQTTError, OSError):
                self._counters["connect_failures"] += 1
                raise
            self._counters["connects"] += 1
            self._set_status(LinkState.UP, f"subscribed to {self._wanted}")
            log.info("mqtt.up", broker=f"{config.host}:{config.port}", session_present=connack.session_present)
            await self._serve(client, intake)
        finally:
            with contextlib.suppress(MQTTError, OSError, TimeoutError):
                async with asyncio.timeout(_FAREWELL_S):
                    await client.disconnect()

    async def _serve(self, client: AsyncClient, intake: Intake) -> None:
        """Read and answer until one of the two ends; the answerer ends first when we close."""
        reader = asyncio.create_task(self._read(client, intake), name="mqtt-read")
        answerer = asyncio.create_task(self._answer(client), name="mqtt-answer")
        try:
            done, _ = await asyncio.wait({reader, answerer}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if not self._closing.is_set():
                raise ConnectionError("the broker closed the connection")
            with contextlib.suppress(MQTTError, OSError, TimeoutError):
                async with asyncio.timeout(_FAREWELL_S):
                    farewell = await client.publish(self._status_topic, b"offline", qos=1, retain=True)
                    await farewell.wait()
        finally:
            for task in (reader, answerer):
                task.cancel()
            await asyncio.gather(reader, answerer, return_exceptions=True)

    async def _read(self, client: AsyncClient, intake: Intake) -> None:
        answers = self._answers
        async for message in client.messages():
            self._counters["received"] += 1
            raw = self._raw(message, answers)
            if raw is None:
                answers.append(_Answer(message, None, "", None))
                self._answer_due.set()
                continue
            while not (self._taking and intake.offer(raw)):
                if not self._taking:
                    return await self._closing_wait()
                await asyncio.sleep(_OFFER_AGAIN_S)
        return None

    async def _closing_wait(self) -> None:
        """Intake is over: read nothing more, and let the answers finish."""
        await asyncio.Event().wait()

    def _raw(self, message: Message, answers: deque[_Answer]) -> RawMessage | None:
        """Make a ``RawMessage`` of a PUBLISH; None for a topic that was not subscribed to."""
        up = parse_up(message.topic)
        if up is None:
            self._counters["foreign_topics"] += 1
            return None
        properties = message.properties
        content_type, asked, correlation = (
            (None, None, None)
            if properties is None
            else (
                properties.get("content_type"),
                properties.get("response_topic"),
                properties.get("correlation_data"),
            )
        )
        topic = response_topic(asked, receipt_topic(*up))
        if topic is None:
            self._counters["response_topics_ignored"] += 1
            topic = receipt_topic(*up)

        def reply(outcome: Outcome) -> None:
            if isinstance(outcome, Pushback):
                self._counters["unacknowledged"] += 1
                return
            answers.append(_Answer(message, _receipt_of(outcome), topic, correlation))
            self._answer_due.set()

        return RawMessage(
            message.payload,
            "mqtt",
            up.device,
            self._wall_ms(),
            reply,
            up.fleet,
            up.device,
            declared_encoding(content_type),
        )

    async def _answer(self, client: AsyncClient) -> None:
        """Send PUBACKs and receipts in the order of the replies; returns when closing and nothing is owed."""
        answers, counters = self._answers, self._counters
        while True:
            while answers:
                message, receipt, topic, correlation = answers.popleft()
                await client.ack(message)
                counters["acknowledged"] += 1
                if receipt is not None:
                    self._publish(client, topic, receipt, correlation)
            if self._closing.is_set():
                return
            self._answer_due.clear()
            await self._answer_due.wait()

    def _publish(self, client: AsyncClient, topic: str, receipt: bytes, correlation: bytes | None) -> None:
        properties = None if correlation is None else Properties({"correlation_data": correlation})
        try:
            client.publish_nowait(topic, receipt, qos=1, properties=properties)
        except FlowControlError:
            self._counters["receipts_dropped"] += 1
        else:
            self._counters["receipts"] += 1

    async def _subscribe(self, client: AsyncClient, *, session_present: bool) -> None:
        """Compare what the session holds with what is wanted, and make them equal.

        The broker cannot be asked what a session holds. So the wanted filter is subscribed to each time (the same
        subscription again changes nothing), and filters that an earlier configuration left behind are given up.
        """
        left_behind = self._held_filters.read() - {self._wanted} if session_present else set()
        await client.subscribe([(self._wanted, _KEEP_SENT)])
        if left_behind:
            await client.unsubscribe(sorted(left_behind))
            log.info("mqtt.filters_given_up", count=len(left_behind))
        self._held_filters.write({self._wanted})

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
            max_iterator_messages=_PACKET_IDS,
            max_iterator_bytes=_BACKLOG_BYTES,
            manual_ack=True,
            reconnect=None,
        )

    def _tls(self) -> ssl.SSLContext | None:
        config = self._config
        if not config.tls:
            return None
        context = ssl.create_default_context(cafile=config.ca_file or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if config.cert_file:
            context.load_cert_chain(config.cert_file, self._tls_key_file or None)
        return context

    def _went_down(self, fault: Exception) -> None:
        """Say once that the link is down; while it stays down the detail is kept current."""
        was_up = self._status.state is LinkState.UP
        first = self._counters["connect_failures"] <= 1
        self._set_status(LinkState.DOWN, f"{type(fault).__name__}: {fault}")
        if was_up or first:
            log.warning("mqtt.down", detail=str(fault))

    def _set_status(self, state: LinkState, detail: str) -> None:
        self._status = LinkStatus(state, self._monotonic_s(), detail)


def _receipt_of(outcome: Accepted | Duplicate | Refused) -> bytes | None:
    return outcome.receipt


def _tolerate_overrun(client: AsyncClient) -> None:
    """Let a broker send more than the receive maximum that it was told.

    mosquitto 2.0 forgets the receive maximum when it resumes a session (docs/adr/0041); a client that disconnects for
    it, as mqttium does and MQTT 5 §4.9 allows, would never get through its backlog. The bound is then the iterator's
    bytes: when they are full the socket is not read. There is no public setting for it; a test fails if this one moves.
    """
    client._engine.inbound._receive_maximum = _PACKET_IDS + 1  # noqa: SLF001 -- see above
