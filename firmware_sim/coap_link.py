"""A device's CoAP endpoint: confirmable requests, blockwise bodies, and the Echo challenge answered (RFC 9175).

Each link is one UDP socket, and so one peer in the gateway's eyes. Against a gateway on the loopback interface a link
can have a source address of its own, as every device in the field has.
"""

import asyncio
import ipaddress
import os
import secrets
import socket
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import urlsplit

from firmware_sim import coap_packets as wire

DEFAULT_PORT: Final = 5683
# RFC 7252 §4.8: the first timeout is between these two, and doubles four times.
ACK_TIMEOUT_S: Final = 2.0
ACK_RANDOM: Final = 1.5
MAX_RETRANSMIT: Final = 4
ANSWER_TIMEOUT_S: Final = 30.0
BLOCK_BYTES: Final = 1_024
BLOCK_EXPONENT: Final = 6
UP_PATH: Final = ("v1", "up")
_CONTINUE: Final = wire.code_of("2.31")
_UNAUTHORIZED: Final = wire.code_of("4.01")


class CoapAddressError(ValueError):
    """The address of the gateway is no `coap://host[:port]`."""


@dataclass(frozen=True, slots=True)
class CoapAddress:
    """Where the gateway listens."""

    host: str
    port: int

    @property
    def is_loopback_v4(self) -> bool:
        """Whether source addresses can be chosen freely in 127.0.0.0/8."""
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            return self.host == "localhost"
        return address.version == 4 and address.is_loopback  # noqa: PLR2004 - IPv4


def parse_address(text: str) -> CoapAddress:
    """Read `coap://host[:port]`, or `host[:port]`.

    Raises:
        CoapAddressError: it is neither.
    """
    try:
        parts = urlsplit(text if "://" in text else f"coap://{text}")
        port = parts.port or DEFAULT_PORT
    except ValueError as fault:
        raise CoapAddressError(f"{text!r}: {fault}") from fault
    if parts.scheme != "coap" or not parts.hostname or parts.path not in {"", "/", "/v1/up"}:
        raise CoapAddressError(f"{text!r} is no coap://host[:port]")
    return CoapAddress("127.0.0.1" if parts.hostname == "localhost" else parts.hostname, port)


@dataclass(frozen=True, slots=True)
class CoapReply:
    """What the gateway answered.

    Attributes:
        code: class and detail in one byte.
        payload: receipt, diagnostic text, or nothing.
        content_format: of the payload, or None.
        max_age_s: the Max-Age option, or None when absent.
    """

    code: int
    payload: bytes
    content_format: int | None
    max_age_s: int | None

    @property
    def code_text(self) -> str:
        """The code as people write it."""
        return wire.code_text(self.code)


class CoapLink(asyncio.DatagramProtocol):
    """One UDP endpoint that sends requests and matches their responses by token."""

    def __init__(self) -> None:
        self._transport: asyncio.DatagramTransport | None = None
        self._message_id = secrets.randbelow(65_536)
        self._answers: dict[bytes, asyncio.Future[wire.CoapMessage]] = {}
        self._acknowledged: dict[int, asyncio.Event] = {}
        self._blockwise = asyncio.Lock()
        self._echo: bytes | None = None

    @classmethod
    async def open(cls, address: CoapAddress, source: str | None = None) -> "CoapLink":
        """Open an endpoint towards the gateway.

        Args:
            address: the gateway.
            source: the local address to send from, or None for whatever the system picks.

        Raises:
            OSError: the address does not resolve or cannot be used.
        """
        link = cls()
        local = None if source is None else (source, 0)
        await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: link, local_addr=local, remote_addr=(address.host, address.port)
        )
        return link

    def close(self) -> None:
        """Close the socket and give up whatever is still open."""
        if self._transport is not None:
            self._transport.close()
        for answer in self._answers.values():
            answer.cancel()

    async def post(self, payload: bytes, content_format: int | None) -> CoapReply:
        """POST to /v1/up, blockwise when it must be, and answer one Echo challenge.

        Raises:
            TimeoutError: the gateway did not answer.
        """
        options: tuple[tuple[int, bytes], ...] = ()
        if content_format is not None:
            options = ((wire.CONTENT_FORMAT, wire.uint(content_format)),)
        return await self.request(wire.POST, UP_PATH, options, payload)

    async def request(
        self, code: int, path: tuple[str, ...], options: tuple[tuple[int, bytes], ...] = (), payload: bytes = b""
    ) -> CoapReply:
        """Send any request; see `post`."""
        for _ in range(3):
            sent = options + tuple((wire.URI_PATH, each.encode()) for each in path)
            if self._echo is not None:
                sent += ((wire.ECHO, self._echo),)
            if len(payload) <= BLOCK_BYTES:
                message = await self._exchange(code, sent, payload)
            else:
                message = await self._in_blocks(code, sent, payload)
            self._echo = message.option(wire.ECHO) or self._echo
            if message.code != _UNAUTHORIZED or message.option(wire.ECHO) is None:
                break
        return CoapReply(message.code, message.payload, message.uint(wire.CONTENT_FORMAT), message.uint(wire.MAX_AGE))

    async def _in_blocks(self, code: int, options: tuple[tuple[int, bytes], ...], payload: bytes) -> wire.CoapMessage:
        count = -(-len(payload) // BLOCK_BYTES)
        async with self._blockwise:
            for number in range(count):
                part = payload[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES]
                value = wire.block(number, more=number + 1 < count, size_exponent=BLOCK_EXPONENT)
                message = await self._exchange(code, (*options, (wire.BLOCK1, value)), part)
                if message.code != _CONTINUE:
                    break
        return message

    async def _exchange(self, code: int, options: tuple[tuple[int, bytes], ...], payload: bytes) -> wire.CoapMessage:
        token = os.urandom(6)
        self._message_id = (self._message_id + 1) % 65_536
        message_id = self._message_id
        datagram = wire.encode(wire.CoapMessage(wire.CON, code, message_id, token, options, payload))
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[wire.CoapMessage] = loop.create_future()
        acknowledged = asyncio.Event()
        self._answers[token] = answer
        self._acknowledged[message_id] = acknowledged
        timeout_s = ACK_TIMEOUT_S * (1 + (ACK_RANDOM - 1) * secrets.randbelow(1_000) / 1_000)
        try:
            for _ in range(MAX_RETRANSMIT + 1):
                self._send(datagram)
                done, _ = await asyncio.wait({answer}, timeout=timeout_s)
                if done or acknowledged.is_set():
                    break
                timeout_s *= 2
            async with asyncio.timeout(ANSWER_TIMEOUT_S if acknowledged.is_set() else 0.001):
                return await answer
        finally:
            self._answers.pop(token, None)
            self._acknowledged.pop(message_id, None)

    def _send(self, datagram: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(datagram)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the socket."""
        # Before Python 3.12 asyncio's datagram transports do not inherit from DatagramTransport.
        self._transport = cast("asyncio.DatagramTransport", transport)
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)

    def error_received(self, exc: Exception) -> None:
        """Ignore: nobody listens there at the moment, and the retransmission will find out."""

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:  # noqa: ARG002 - the socket is connected
        """Match a response with its request; acknowledge a separate one."""
        try:
            message = wire.decode(data)
        except wire.CoapPacketError:
            return
        if message.kind in {wire.ACK, wire.RST}:
            acknowledged = self._acknowledged.get(message.message_id)
            if acknowledged is not None:
                acknowledged.set()
        if message.kind == wire.CON:
            self._send(wire.encode(wire.CoapMessage(wire.ACK, 0, message.message_id)))
        answer = self._answers.get(message.token)
        if message.code and answer is not None and not answer.done():
            answer.set_result(message)


class SourceAddresses:
    """Hands out loopback source addresses, so that simulated peers are told apart as real ones are."""

    def __init__(self, address: CoapAddress, first: int = 2) -> None:
        self._usable = address.is_loopback_v4 and address.host.startswith("127.")
        self._next = first

    def take(self) -> str | None:
        """The next address, or None when the gateway is elsewhere and the system must choose."""
        if not self._usable:
            return None
        number = self._next
        self._next += 1
        return str(ipaddress.IPv4Address("127.0.0.0") + number)
