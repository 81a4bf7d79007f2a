"""One MQTT connection of one or several devices: it keeps itself up, and resends what nobody acknowledged.

The owner hands over publications and is called back for every PUBACK and every delivery. Nothing is waited for here:
the broker's receive maximum decides how many publications are on the wire, the rest waits in line.
"""

import asyncio
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Generic, TypeVar

from firmware_sim import mqtt_packets as wire

RETRY_MIN_S: Final = 0.2
RETRY_MAX_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 5.0
FILTERS_A_PACKET: Final = 100
NO_SUBSCRIBERS: Final = 0x10
FAILURE: Final = 0x80
TOO_LARGE: Final = 0x95
_QUICK_ACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)  # Linux

Token = TypeVar("Token")


@dataclass(slots=True)
class Publication(Generic[Token]):
    """One message to publish.

    Attributes:
        topic: where.
        payload: the envelope's bytes.
        token: the owner's own mark, handed back with the PUBACK.
        content_type: MQTT 5 Content Type, or None.
        response_topic: MQTT 5 Response Topic, or None.
        correlation: MQTT 5 Correlation Data, or None.
    """

    topic: str
    payload: bytes
    token: Token
    content_type: str | None = None
    response_topic: str | None = None
    correlation: bytes | None = None
    packet_id: int = 0


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is and how to reach it."""

    host: str
    port: int
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"


class LinkRefusedError(ConnectionError):
    """The broker answered CONNECT or SUBSCRIBE with a refusal."""


class MqttLink(asyncio.Protocol, Generic[Token]):
    """A connection that comes back by itself.

    Attributes:
        connected: set while the broker has accepted us and the subscriptions hold.
        attempts: how many connections were made so far.
        refusal: the broker's last refusal, in words, or None.
    """

    def __init__(
        self,
        address: BrokerAddress,
        options: wire.ConnectOptions,
        filters: list[str],
        on_puback: Callable[[Token, int], None],
        on_delivery: Callable[[wire.Delivery], None],
    ) -> None:
        self._address = address
        self._options = options
        self._filters = filters
        self._on_puback = on_puback
        self._on_delivery = on_delivery
        self.connected = asyncio.Event()
        self.attempts = 0
        self.refusal: str | None = None
        self._transport: asyncio.Transport | None = None
        self._reader = wire.PacketReader()
        self._waiting: deque[Publication[Token]] = deque()
        self._in_flight: dict[int, Publication[Token]] = {}
        self._next_id = 0
        self._window = 1
        self._maximum_packet: int | None = None
        self._connack: asyncio.Future[wire.Connack] | None = None
        self._suback: asyncio.Future[bytes] | None = None
        self._lost = asyncio.Event()
        self._heard_s = 0.0
        self._subscribed = False
        self._stopping = False

    @property
    def backlog(self) -> int:
        """Publications without a PUBACK."""
        return len(self._waiting) + len(self._in_flight)

    def publish(self, publication: Publication[Token]) -> None:
        """Put a publication in line; it leaves when the broker's window has room."""
        self._waiting.append(publication)
        self._pump()

    async def run(self) -> None:
        """Keep the connection up until `stop`. Run it as a task; it ends only by `stop` or cancellation."""
        delay_s = RETRY_MIN_S
        try:
            while not self._stopping:
                try:
                    await self._connect()
                    delay_s = RETRY_MIN_S
                    await self._stay()
                except (OSError, TimeoutError, wire.MqttPacketError) as fault:
                    self.refusal = f"{self._address}: {str(fault) or type(fault).__name__}"
                self.connected.clear()
                self._drop()
                if not self._stopping:
                    await asyncio.sleep(delay_s)
                    delay_s = min(RETRY_MAX_S, delay_s * 2)
        finally:
            self._drop()

    def stop(self) -> None:
        """Say goodbye and end `run`."""
        self._stopping = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(wire.disconnect())
            self._transport.close()
        self._lost.set()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        self._lost.clear()
        self._reader = wire.PacketReader()
        self._connack = loop.create_future()
        first = self.attempts == 0
        self.attempts += 1
        address = self._address
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await loop.create_connection(lambda: self, address.host, address.port, ssl=address.tls)
            self._write(wire.connect(replace(self._options, clean=first)))
            connack = await self._connack
        if connack.code:
            raise LinkRefusedError(f"the broker refused {self._options.client_id!r} with code {connack.code:#04x}")
        self._window = min(connack.receive_maximum, 1_000)
        self._maximum_packet = connack.maximum_packet
        if not (connack.session_present and self._subscribed):
            self._subscribed = False
            await self._subscribe()
            self._subscribed = True
        self.refusal = None
        self.connected.set()
        for publication in self._in_flight.values():
            self._send(publication, dup=connack.session_present)
        self._pump()

    async def _subscribe(self) -> None:
        for start in range(0, len(self._filters), FILTERS_A_PACKET):
            self._suback = asyncio.get_running_loop().create_future()
            part = self._filters[start : start + FILTERS_A_PACKET]
            self._write(wire.subscribe(part, self._new_id(), self._options.version))
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                codes = await self._suback
            if any(code >= FAILURE for code in codes):
                raise LinkRefusedError(f"the broker refused a subscription of {self._options.client_id!r}")

    async def _stay(self) -> None:
        keep_alive_s = self._options.keep_alive_s
        while not self._lost.is_set():
            try:
                async with asyncio.timeout(keep_alive_s / 2):
                    await self._lost.wait()
            except TimeoutError:
                if time.monotonic() - self._heard_s > keep_alive_s * 1.5:
                    raise LinkRefusedError("the broker has fallen silent") from None
                self._write(wire.pingreq())

    def _acknowledge_at_once(self) -> None:
        """Undo TCP's delayed acknowledgement, which the kernel resumes by itself (tcp(7), TCP_QUICKACK).

        A broker that leaves Nagle's algorithm on holds a receipt back until the PUBACK before it is acknowledged,
        which would take 40 ms.
        """
        raw = None if self._transport is None else self._transport.get_extra_info("socket")
        if raw is not None and _QUICK_ACK is not None:
            raw.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)

    def _drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _new_id(self) -> int:
        while True:
            self._next_id = self._next_id % 65_535 + 1
            if self._next_id not in self._in_flight:
                return self._next_id

    def _pump(self) -> None:
        while self._waiting and self.connected.is_set() and len(self._in_flight) < self._window:
            publication = self._waiting.popleft()
            if self._maximum_packet is not None and len(publication.payload) + 512 > self._maximum_packet:
                # The broker would end the connection over it (MQTT 5.0 §3.2.2.3.6).
                self._on_puback(publication.token, TOO_LARGE)
                continue
            publication.packet_id = self._new_id()
            self._in_flight[publication.packet_id] = publication
            self._send(publication, dup=False)

    def _send(self, publication: Publication[Token], *, dup: bool) -> None:
        properties = None
        if self._options.version == wire.V5:
            properties = wire.publish_properties(
                publication.content_type, publication.response_topic, publication.correlation
            )
        self._write(
            wire.publish(
                publication.topic, publication.payload, publication.packet_id, properties=properties, dup=dup
            )
        )

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport of the new connection."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
        self._heard_s = time.monotonic()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever waits for this connection."""
        self.connected.clear()
        self._lost.set()
        for future in (self._connack, self._suback):
            if future is not None and not future.done():
                future.set_exception(LinkRefusedError(f"the connection was lost: {exc or 'closed by the broker'}"))
                future.exception()

    def data_received(self, data: bytes) -> None:
        """Cut the bytes into packets and act on each."""
        self._heard_s = time.monotonic()
        self._acknowledge_at_once()
        try:
            for kind, flags, body in self._reader.feed(data):
                self._on_packet(kind, flags, body)
        except (wire.MqttPacketError, IndexError) as fault:
            self.refusal = f"{self._address}: {fault}"
            self._drop()

    def _on_packet(self, kind: int, flags: int, body: bytes) -> None:
        if kind == wire.PUBACK:
            packet_id, code = wire.read_puback(body)
            publication = self._in_flight.pop(packet_id, None)
            if publication is not None:
                self._on_puback(publication.token, code)
            self._pump()
        elif kind == wire.PUBLISH:
            delivery = wire.read_publish(flags, body, self._options.version)
            if delivery.qos:
                self._write(wire.puback(delivery.packet_id))
            self._on_delivery(delivery)
        elif kind == wire.CONNACK and self._connack is not None and not self._connack.done():
            self._connack.set_result(wire.read_connack(body, self._options.version))
        elif kind == wire.SUBACK and self._suback is not None and not self._suback.done():
            self._suback.set_result(wire.read_suback(body, self._options.version)[1])
        elif kind == wire.DISCONNECT:
            code = body[0] if body else 0
            self.refusal = f"{self._address}: the broker ended the connection with code {code:#04x}"
