"""The one UDP socket of the CoAP transport, shared with aiocoap.

Plain requests are read, judged and answered by our own message layer: aiocoap remembers every message for 247 s
without a bound (about 3 KB each) and spends 0.4 ms on one; the figures are in docs/adr/0050. Responses to what we
observe, and messages under OSCORE or EDHOC, are aiocoap's: they pass ``first_look`` by and take its usual way.

This is the only file that reaches into aiocoap's inside. What it relies on is tested, and the lock file pins it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import aiocoap  # type: ignore[import-untyped] # aiocoap ships no types
import structlog
from aiocoap.messagemanager import MessageManager  # type: ignore[import-untyped] # likewise
from aiocoap.tokenmanager import TokenManager  # type: ignore[import-untyped] # likewise
from aiocoap.transports.udp6 import MessageInterfaceUDP6  # type: ignore[import-untyped] # likewise

log = structlog.get_logger("coap")

LIBRARY_LOGGER = "coap-server"
LIBRARY_LOGGERS = (LIBRARY_LOGGER, "coap", "aiocoap")
LARGEST_DATAGRAM = 65_536
ANCILLARY_BYTES = 256
DATAGRAMS_A_TURN = 64
RECEIVE_BUFFER_BYTES = 4 << 20
MOST_LIBRARY_MESSAGES = 4_096
REPORT_INTERVAL_S = 60.0

Address = tuple[str, int, int, int]
FirstLook = Callable[[bytes, Address, bytes | None], bool]


class LibraryLog(logging.Handler):
    """aiocoap's own log, made fit for ours: its text quotes the network, so only place and number are told.

    At most one line a minute, however much a peer sends.
    """

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        super().__init__(logging.WARNING)
        self._monotonic_s = monotonic_s
        self._next_s = 0.0
        self._since = 0
        self.warnings = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count ``record``, and say so now and then."""
        self.warnings += 1
        self._since += 1
        now_s = self._monotonic_s()
        if now_s < self._next_s:
            return
        self._next_s = now_s + REPORT_INTERVAL_S
        log.warning("coap.library_complained", times=self._since, last_at=f"{record.module}:{record.lineno}")
        self._since = 0

    def attach(self) -> None:
        """Take the place of whatever handles aiocoap's loggers."""
        for name in LIBRARY_LOGGERS:
            logger = logging.getLogger(name)
            logger.propagate = False
            logger.setLevel(logging.WARNING)
            logger.addHandler(self)

    def detach(self) -> None:
        """Give the loggers back."""
        for name in LIBRARY_LOGGERS:
            logger = logging.getLogger(name)
            logger.removeHandler(self)
            logger.propagate = True


class _BoundedMessageManager(MessageManager):  # type: ignore[misc] # untyped base
    """aiocoap's message layer with an end to its memory of messages.

    Only OSCORE and EDHOC requests come here, and OSCORE has a replay window of its own.
    """

    def __init__(self, token_manager: TokenManager) -> None:
        super().__init__(token_manager)
        self._known: OrderedDict[tuple[Any, int], Any] = OrderedDict()

    def _deduplicate_message(self, message: Any) -> bool:  # noqa: ANN401 -- aiocoap's Message, untyped
        key = (message.remote, message.mid)
        if key not in self._known:
            self._known[key] = None
            if len(self._known) > MOST_LIBRARY_MESSAGES:
                self._known.popitem(last=False)
            return False
        answer = self._known[key]
        if answer is not None and message.mtype is aiocoap.CON:
            self._send_initially(answer)
        return True

    def _store_response_for_duplicates(self, message: Any) -> None:  # noqa: ANN401 -- aiocoap's Message, untyped
        key = (message.remote, message.mid)
        if key in self._known:
            self._known[key] = message


class _Interface(MessageInterfaceUDP6):  # type: ignore[misc] # untyped base
    """aiocoap's UDP endpoint behind our first look. Peers' bytes can trip its assertions: counted, not fatal."""

    first_look: FirstLook
    faults = 0

    def datagram_msg_received(self, data: bytes, ancdata: list[Any], flags: int, address: Address) -> None:
        pktinfo = None
        for level, kind, value in ancdata:
            if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
                pktinfo = value
        if self.first_look(data, address, pktinfo):
            return
        try:
            super().datagram_msg_received(data, ancdata, flags, address)
        except (ValueError, AssertionError, LookupError):
            self.faults += 1


class CoapEndpoint:
    """An open socket with its aiocoap context. Made by ``open_endpoint``."""

    def __init__(self, sock: socket.socket, context: aiocoap.Context, interface: _Interface) -> None:
        self._socket = sock
        self._interface = interface
        self.context = context
        self.send_errors = 0

    @property
    def faults(self) -> int:
        """Datagrams that tripped an assertion of aiocoap's."""
        return int(self._interface.faults)

    @property
    def port(self) -> int:
        """The bound port."""
        return int(self._socket.getsockname()[1])

    def send(self, address: Address, pktinfo: bytes | None, data: bytes) -> None:
        """Send from the address that was asked; what the kernel does not take is lost, as any datagram may be."""
        ancillary = [] if pktinfo is None else [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, pktinfo)]
        try:
            self._socket.sendmsg((data,), ancillary, 0, address)
        except OSError:
            self.send_errors += 1

    def _drain(self) -> None:
        """Read what is there, up to a turn's worth; errors queued by ICMP are left to aiocoap."""
        interface = self._interface
        for turn in range(DATAGRAMS_A_TURN):
            try:
                data, ancillary, flags, address = self._socket.recvmsg(LARGEST_DATAGRAM, ANCILLARY_BYTES)
            except OSError as error:
                if turn == 0 or not isinstance(error, BlockingIOError):
                    interface.transport._read_ready()  # noqa: SLF001 -- the reader that this one stands in for
                return
            interface.datagram_msg_received(data, ancillary, flags, address)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read with our own reader: several datagrams a turn, of any size UDP can have (aiocoap cuts at 4,096)."""
        loop.add_reader(self._socket.fileno(), self._drain)

    async def close(self) -> None:
        """Take leave: aiocoap ends what it has open, then the socket is gone."""
        await self.context.shutdown()


async def open_endpoint(
    host: str, port: int, first_look: FirstLook, *, site: object, credentials: object
) -> CoapEndpoint:
    """Bind and start to read. ``site`` answers what ``first_look`` passes by, with aiocoap's ``credentials`` or None.

    Raises:
        OSError: The address cannot be bound, for instance because somebody else holds the port.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        host, port, family=socket.AF_INET6, type=socket.SOCK_DGRAM, flags=socket.AI_V4MAPPED | socket.AI_PASSIVE
    )
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        sock.bind(found[0][4])  # without SO_REUSEPORT: a second gateway must fail, not take half of the messages
        context = aiocoap.Context(
            loop=loop, serversite=site, loggername=LIBRARY_LOGGER, server_credentials=credentials
        )
        if credentials is not None:
            context.client_credentials = credentials
        tokens = TokenManager(context)
        messages = _BoundedMessageManager(tokens)
        logger = logging.getLogger(LIBRARY_LOGGER)
        interface = await _Interface._create_transport_endpoint(sock, messages, logger, loop)  # noqa: SLF001 -- see above
    except BaseException:
        sock.close()
        raise
    interface.first_look = first_look
    messages.message_interface = interface
    tokens.token_interface = messages
    context.request_interfaces.append(tokens)
    endpoint = CoapEndpoint(sock, context, interface)
    endpoint.start(loop)
    return endpoint


_PKTINFO = struct.Struct("16sI")  # struct in6_pktinfo, RFC 3542 §6
_V4_MAPPED = b"\0" * 10 + b"\xff\xff"
_V4_MULTICAST = range(224, 240)


def is_multicast(pktinfo: bytes | None) -> bool:
    """Whether a datagram was addressed to a group; requests to groups get no answer here (RFC 7252 §8)."""
    if pktinfo is None:
        return False
    address, _ = _PKTINFO.unpack_from(pktinfo)
    if address[0] == 0xFF:  # noqa: PLR2004 -- ff00::/8
        return True
    return bool(address.startswith(_V4_MAPPED) and address[12] in _V4_MULTICAST)


def peer_of(address: Address) -> str:
    """The source address as bucket A's key: IPv4 when it is a mapped one, with the zone when it is link-local."""
    host, _, _, scope = address
    if host.startswith("::ffff:") and "." in host:
        return host[7:]
    return f"{host}%{scope}" if scope else host
