"""CoAP on the wire (RFC 7252 §3): datagrams to messages and back, strictly and without copying more than once.

Only the server's part is here. ``decode`` knows nothing of what options mean; ``read_options`` turns them into the
few facts a request can ask for, and says whether an option stands there that must not be ignored (§5.4.1).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

from gateway.transport.coap_codes import Response

VERSION = 1
HEADER_BYTES = 4
LONGEST_TOKEN = 8
PAYLOAD_MARKER = 0xFF
EMPTY = 0

POST = 2
GET = 1
LAST_METHOD = 7  # iPATCH, RFC 8132

IF_MATCH = 1
URI_HOST = 3
URI_PORT = 7
OSCORE = 9
URI_PATH = 11
CONTENT_FORMAT = 12
MAX_AGE = 14
URI_QUERY = 15
ACCEPT = 17
BLOCK2 = 23
BLOCK1 = 27
PROXY_URI = 35
PROXY_SCHEME = 39
SIZE1 = 60
ECHO = 252
NO_RESPONSE = 258
REQUEST_TAG = 292

_ONE_BYTE = 13
_TWO_BYTES = 14
_RESERVED = 15
_TWO_BYTES_FROM = 269
_LONGEST_OPTION = 255
_MOST_OPTIONS = 64
"""Twice what any request here can mean. A datagram of nothing but empty options would take 50 ms to read."""


class MessageType(IntEnum):
    """The two type bits (RFC 7252 §3)."""

    CON = 0
    NON = 1
    ACK = 2
    RST = 3


CON, NON, ACK, RST = MessageType.CON, MessageType.NON, MessageType.ACK, MessageType.RST


class FormatError(ValueError):
    """A peer sent bytes that are no CoAP message. ``reset`` is the datagram to answer with, None to stay silent."""

    def __init__(self, reset: bytes | None = None) -> None:
        super().__init__("not a CoAP message")
        self.reset = reset


class Datagram(NamedTuple):
    """One CoAP message. ``options`` are (number, value) in the order of the wire, numbers rising."""

    mtype: int
    code: int
    mid: int
    token: bytes
    options: list[tuple[int, bytes]]
    payload: bytes

    @property
    def is_request(self) -> bool:
        """Codes 0.01 to 0.31."""
        return 0 < self.code < 32  # noqa: PLR2004 -- the class is the three high bits


class Block(NamedTuple):
    """A block option (RFC 7959 §2.2): this is block ``num`` of ``size`` bytes each, and whether ``more`` follow."""

    num: int
    more: bool
    szx: int

    @property
    def size(self) -> int:
        """Bytes of a block: 16 to 1,024."""
        return 16 << self.szx

    @property
    def value(self) -> int:
        """The option's integer."""
        return self.num << 4 | self.more << 3 | self.szx


class Ask(NamedTuple):
    """What a request asks for. ``bad_option``: a critical option that this server does not know or cannot read."""

    method: int
    path: tuple[bytes, ...] = ()
    content_format: int | None = None
    accept: int | None = None
    block1: Block | None = None
    block2: Block | None = None
    size1: int | None = None
    echo: bytes | None = None
    request_tag: bytes | None = None
    no_response: int = 0
    query: tuple[bytes, ...] = ()
    bad_option: bool = False
    proxied: bool = False
    protected: bool = False


def decode(data: bytes) -> Datagram:
    """Read one datagram.

    Raises:
        FormatError: It is no CoAP message (RFC 7252 §3, §4.2: a confirmable one is answered by a reset).
    """
    if len(data) < HEADER_BYTES or data[0] >> 6 != VERSION:
        raise FormatError
    first = data[0]
    mtype = first >> 4 & 3
    code = data[1]
    mid = data[2] << 8 | data[3]
    token_end = HEADER_BYTES + (first & 15)
    if token_end > HEADER_BYTES + LONGEST_TOKEN or token_end > len(data):
        raise FormatError(_reset(mtype, mid))
    if code == EMPTY and len(data) != HEADER_BYTES:
        raise FormatError(_reset(mtype, mid))
    parsed = _read_body(data, token_end)
    if parsed is None:
        raise FormatError(_reset(mtype, mid))
    options, payload = parsed
    return Datagram(mtype, code, mid, data[HEADER_BYTES:token_end], options, payload)


def _read_body(data: bytes, at: int) -> tuple[list[tuple[int, bytes]], bytes] | None:
    """Options and payload from ``at`` on; None when the bytes do not hold (RFC 7252 §3.1), or hold too many."""
    options: list[tuple[int, bytes]] = []
    number = 0
    end = len(data)
    while at < end:
        head = data[at]
        at += 1
        if head == PAYLOAD_MARKER:
            return (options, data[at:]) if at < end else None
        delta, length = head >> 4, head & 15
        if delta >= _ONE_BYTE:
            if delta == _RESERVED or at + delta - 12 > end:
                return None
            delta, at = _extended(data, at, delta)
        if length >= _ONE_BYTE:
            if length == _RESERVED or at + length - 12 > end:
                return None
            length, at = _extended(data, at, length)
        number += delta
        if at + length > end or len(options) == _MOST_OPTIONS:
            return None
        options.append((number, data[at : at + length]))
        at += length
    return options, b""


def _extended(data: bytes, at: int, nibble: int) -> tuple[int, int]:
    if nibble == _ONE_BYTE:
        return data[at] + _ONE_BYTE, at + 1
    return (data[at] << 8 | data[at + 1]) + _TWO_BYTES_FROM, at + 2


def _reset(mtype: int, mid: int) -> bytes | None:
    return empty(RST, mid) if mtype == CON else None


def empty(mtype: MessageType, mid: int) -> bytes:
    """An empty acknowledgement or reset for message ``mid``."""
    return bytes((VERSION << 6 | mtype << 4, EMPTY, mid >> 8, mid & 255))


def encode(datagram: Datagram) -> bytes:
    """Write one datagram; its options must rise by number, their values are at most 65,804 bytes."""
    mtype, code, mid, token, options, payload = datagram
    out = bytearray((VERSION << 6 | mtype << 4 | len(token), code, mid >> 8, mid & 255))
    out += token
    previous = 0
    for number, value in options:
        delta, delta_more = _split(number - previous)
        length, length_more = _split(len(value))
        out.append(delta << 4 | length)
        out += delta_more
        out += length_more
        out += value
        previous = number
    if payload:
        out.append(PAYLOAD_MARKER)
        out += payload
    return bytes(out)


def _split(value: int) -> tuple[int, bytes]:
    if value < _ONE_BYTE:
        return value, b""
    if value < _TWO_BYTES_FROM:
        return _ONE_BYTE, bytes((value - _ONE_BYTE,))
    return _TWO_BYTES, (value - _TWO_BYTES_FROM).to_bytes(2, "big")


def uint(value: int) -> bytes:
    """An integer option's value: big-endian, no leading zero bytes (RFC 7252 §3.2)."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def encode_response(mtype: int, mid: int, token: bytes, response: Response) -> bytes:
    """Write ``response`` as the datagram that answers ``token``."""
    return encode(Datagram(mtype, response.code, mid, token, response_options(response), response.payload))


def response_options(response: Response) -> list[tuple[int, bytes]]:
    """The options of ``response``, rising by number."""
    options: list[tuple[int, bytes]] = []
    if response.content_format is not None:
        options.append((CONTENT_FORMAT, uint(response.content_format)))
    if response.max_age_s is not None:
        options.append((MAX_AGE, uint(response.max_age_s)))
    if response.block2 is not None:
        options.append((BLOCK2, uint(response.block2)))
    if response.block1 is not None:
        options.append((BLOCK1, uint(response.block1)))
    if response.size1 is not None:
        options.append((SIZE1, uint(response.size1)))
    if response.echo is not None:
        options.append((ECHO, response.echo))
    return options


# Options a request may carry once: number → (field of Ask, shortest, longest value);
# RFC 7252 §5.10, 7959, 9175, 7967.
_SINGLE: dict[int, tuple[str, int, int]] = {
    URI_HOST: ("", 1, 255),
    URI_PORT: ("", 0, 2),
    ACCEPT: ("accept", 0, 2),
    BLOCK2: ("block2", 0, 3),
    BLOCK1: ("block1", 0, 3),
    SIZE1: ("size1", 0, 4),
    ECHO: ("echo", 1, 40),
    NO_RESPONSE: ("no_response", 0, 1),
    REQUEST_TAG: ("request_tag", 0, 8),
}
_OPAQUE = frozenset({ECHO, REQUEST_TAG})
_BLOCKS = frozenset({BLOCK1, BLOCK2})


def read_options(method: int, options: list[tuple[int, bytes]]) -> Ask:
    """Turn a request's options into what it asks for.

    An elective option that is unknown, repeated or of a length it cannot have is ignored, a critical one makes
    ``bad_option`` (RFC 7252 §5.4). A Content-Format longer than two bytes names no format we have: 65,536 here.
    """
    path: list[bytes] = []
    query: list[bytes] = []
    facts: dict[str, Any] = {}
    seen: set[int] = set()
    content_format: int | None = None
    bad = proxied = protected = False
    for number, value in options:
        if number == URI_PATH:
            path.append(value)
            bad = bad or len(value) > _LONGEST_OPTION
        elif number == CONTENT_FORMAT:
            if content_format is None:
                content_format = int.from_bytes(value, "big") if len(value) <= 2 else 1 << 16  # noqa: PLR2004 -- 0-2
        elif number in _SINGLE:
            field, shortest, longest = _SINGLE[number]
            if number in seen or not shortest <= len(value) <= longest:
                bad = bad or number & 1 == 1
            else:
                facts[field] = _value(number, value)
            seen.add(number)
        elif number == URI_QUERY:
            query.append(value)
            bad = bad or len(value) > _LONGEST_OPTION
        elif number == OSCORE:
            protected = True
        elif number in (PROXY_URI, PROXY_SCHEME):
            proxied = True
        elif number & 1:
            bad = True
    facts.pop("", None)
    return Ask(
        method,
        tuple(path),
        content_format,
        query=tuple(query),
        bad_option=bad,
        proxied=proxied,
        protected=protected,
        **facts,
    )


def _value(number: int, value: bytes) -> int | bytes | Block:
    if number in _OPAQUE:
        return value
    integer = int.from_bytes(value, "big")
    if number in _BLOCKS:
        return Block(integer >> 4, bool(integer & 8), integer & 7)
    return integer
