"""Packet captures of MQTT, as far as an evaluation needs them: pcap and pcapng, IPv4, TCP, MQTT 3.1 to 5 framing.

A reader of its own, small and bounded, because a capture of attacks is a hostile file: every length is checked
against what is there, a connection buffers one packet at most, and what cannot be read is left out or counted as
malformed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

MQTT_PORT: Final = 1883
MAX_PACKET: Final = 1 << 20
MAX_STREAMS: Final = 100_000

_MAX_BLOCK: Final = 1 << 20
_FRAME_OF_BLOCK: Final = 12
_ETHERNET, _COOKED = 1, 113
_IPV4, _TCP = 0x0800, 6
_SECTION, _INTERFACE, _ENHANCED = 0x0A0D0D0A, 1, 6
_FIN_OR_RST, _SYN = 0x05, 0x02
_SEQUENCES: Final = 1 << 32
_HALF: Final = 1 << 31

_CONNACK, _PUBLISH = 2, 3
_FLAGS: Final = {6: 2, 8: 2, 10: 2}
"""The fixed flags of PUBREL, SUBSCRIBE and UNSUBSCRIBE; PUBLISH has its own, all others have none."""


class CaptureRefused(ValueError):
    """The file is no capture of a kind that is read here."""


class Frame(NamedTuple):
    """One captured frame: when, on which kind of link, its bytes."""

    time_ms: int
    link: int
    content: bytes


class Segment(NamedTuple):
    """One TCP segment that goes to or comes from a broker."""

    time_ms: int
    client: str
    port: int
    from_client: bool
    sequence: int
    flags: int
    content: bytes


class Packet(NamedTuple):
    """One MQTT packet; ``kind`` is its type, 0 when it is malformed. ``refused``: a CONNACK that says no."""

    time_ms: int
    client: str
    port: int
    from_client: bool
    kind: int
    size: int
    refused: bool


def frames(capture: bytes) -> Iterator[Frame]:
    """Read the frames of a pcap or pcapng file, up to where it is cut off.

    Raises:
        CaptureRefused: it is neither.
    """
    head = capture[:4]
    if head in {b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4"}:
        return _pcap(capture, "<" if head == b"\xd4\xc3\xb2\xa1" else ">")
    if head == struct.pack("<I", _SECTION) and capture[8:12] == b"\x4d\x3c\x2b\x1a":
        return _pcapng(capture)
    raise CaptureRefused("neither a pcap nor a little-endian pcapng file")


def _pcap(capture: bytes, order: str) -> Iterator[Frame]:
    header, at = struct.Struct(order + "IIII"), 24
    if len(capture) < at:
        raise CaptureRefused("a pcap file that ends within its header")
    (link,) = struct.unpack_from(order + "I", capture, 20)
    while at + header.size <= len(capture):
        seconds, micros, held, _ = header.unpack_from(capture, at)
        at += header.size
        if held > _MAX_BLOCK or at + held > len(capture):
            return
        yield Frame(seconds * 1000 + micros // 1000, link, capture[at : at + held])
        at += held


def _pcapng(capture: bytes) -> Iterator[Frame]:
    at = 0
    interfaces: list[tuple[int, int]] = []
    while at + _FRAME_OF_BLOCK <= len(capture):
        kind, length = struct.unpack_from("<II", capture, at)
        if not _FRAME_OF_BLOCK <= length <= _MAX_BLOCK or length % 4 or at + length > len(capture):
            return
        body = capture[at + 8 : at + length - 4]
        at += length
        if kind == _SECTION:
            interfaces.clear()
        elif kind == _INTERFACE and len(body) >= 8:  # noqa: PLR2004 -- link, reserved, snap length
            interfaces.append((struct.unpack_from("<H", body)[0], _ticks(body[8:])))
        elif kind == _ENHANCED and len(body) >= 20:  # noqa: PLR2004 -- interface, time (two words), two lengths
            number, high, low, held, _ = struct.unpack_from("<5I", body)
            if number < len(interfaces) and held <= len(body) - 20:
                link, ticks = interfaces[number]
                yield Frame((high << 32 | low) * 1000 // ticks, link, body[20 : 20 + held])


def _ticks(options: bytes) -> int:
    """The clock ticks a second that an interface's options name; a million when they name none."""
    at = 0
    while at + 4 <= len(options):
        code, length = struct.unpack_from("<HH", options, at)
        if code == 9 and length == 1 and at + 4 < len(options):  # noqa: PLR2004 -- if_tsresol
            value = options[at + 4]
            return int(2 ** (value & 0x7F)) if value & 0x80 else int(10 ** min(value, 18))
        at += 4 + length + -length % 4
    return 1_000_000


def segments(captured: Iterable[Frame]) -> Iterator[Segment]:
    """Pick the IPv4 TCP segments to and from the MQTT port; fragments and everything else are left out."""
    for frame in captured:
        packet = _ipv4(frame)
        if packet is None or len(packet) < 20:  # noqa: PLR2004 -- the least an IPv4 header has
            continue
        header, length = (packet[0] & 15) * 4, int.from_bytes(packet[2:4], "big")
        fragment = int.from_bytes(packet[6:8], "big") & 0x3FFF
        if packet[0] >> 4 != 4 or packet[9] != _TCP or fragment or header < 20:  # noqa: PLR2004 -- as RFC 791 has them
            continue
        tcp = packet[header : length or len(packet)]
        if len(tcp) < 20 or (offset := (tcp[12] >> 4) * 4) < 20:  # noqa: PLR2004 -- the least a TCP header has
            continue
        source, target, sequence = struct.unpack_from(">HHI", tcp)
        if MQTT_PORT not in (source, target):
            continue
        from_client = target == MQTT_PORT
        address = packet[12:16] if from_client else packet[16:20]
        client = ".".join(map(str, address))
        port = source if from_client else target
        yield Segment(frame.time_ms, client, port, from_client, sequence, tcp[13], tcp[offset:])


def _ipv4(frame: Frame) -> bytes | None:
    """The IPv4 packet that a frame carries."""
    head = {_ETHERNET: 14, _COOKED: 16}.get(frame.link)
    if head is None or frame.content[head - 2 : head] != _IPV4.to_bytes(2, "big"):
        return None
    return frame.content[head:]


class _Stream:
    """One direction of a connection: bytes in order, cut into packets. A gap in the capture begins it anew."""

    __slots__ = ("_held", "_next")

    def __init__(self) -> None:
        self._held = bytearray()
        self._next: int | None = None

    def take(self, segment: Segment) -> Iterator[tuple[int, int, bool]]:
        """Take a segment, give the packets that it completes: type, size, refused."""
        content, start = segment.content, segment.sequence
        if segment.flags & _SYN:
            start, self._next = (start + 1) % _SEQUENCES, None
            self._held.clear()
        if self._next is not None and (ahead := (start - self._next) % _SEQUENCES):
            if ahead >= _HALF:
                content = content[_SEQUENCES - ahead :]
                start = self._next
            else:
                self._held.clear()
        if not content:
            if self._next is None:
                self._next = start
            return
        self._next = (start + len(content)) % _SEQUENCES
        self._held += content
        while (cut := _cut(self._held)) is not None:
            kind, size = cut
            refused = kind == _CONNACK and size > 3 and self._held[3] != 0  # noqa: PLR2004 -- the return code's place
            yield kind, size, refused
            del self._held[:size]


def _cut(held: bytearray) -> tuple[int, int] | None:
    """Cut the first packet off: its type and size; type 0 takes all that is held; None while it is not complete."""
    if not held:
        return None
    kind, flags = held[0] >> 4, held[0] & 15
    wrong = flags >> 1 & 3 == 3 if kind == _PUBLISH else flags != _FLAGS.get(kind, 0)  # noqa: PLR2004 -- QoS 3
    if kind == 0 or wrong:
        return 0, len(held)
    length = 0
    for place in range(1, 5):
        if place >= len(held):
            return None
        length |= (held[place] & 0x7F) << 7 * (place - 1)
        if held[place] < 0x80:  # noqa: PLR2004 -- the last byte of the length
            size = 1 + place + length
            if size > MAX_PACKET or not _fits(kind, held[1 + place : size], length):
                return 0, len(held)
            return (kind, size) if len(held) >= size else None
    return 0, len(held)


def _fits(kind: int, body: bytearray, length: int) -> bool:
    """Whether a PUBLISH has room for the topic that it announces."""
    return kind != _PUBLISH or len(body) < 2 or 2 + int.from_bytes(body[:2], "big") <= length  # noqa: PLR2004 -- a length


def packets(flow: Iterable[Segment], on_end: Callable[[Segment], None] = lambda _: None) -> Iterator[Packet]:
    """Cut the MQTT packets of every connection, in the order of the capture; ``on_end`` is told of each FIN and RST.

    Raises:
        CaptureRefused: more connections are open at once than are kept.
    """
    streams: dict[tuple[str, int, bool], _Stream] = {}
    for segment in flow:
        key = (segment.client, segment.port, segment.from_client)
        stream = streams.get(key)
        if stream is None:
            if len(streams) >= MAX_STREAMS:
                raise CaptureRefused(f"more than {MAX_STREAMS} connections at once")
            stream = streams[key] = _Stream()
        for kind, size, refused in stream.take(segment):
            yield Packet(segment.time_ms, segment.client, segment.port, segment.from_client, kind, size, refused)
        if segment.flags & _FIN_OR_RST:
            streams.pop(key, None)
            on_end(segment)
