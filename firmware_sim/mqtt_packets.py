"""MQTT 5 and 3.1.1 packets as bytes: just what a publishing device needs, without any I/O.

Sources: OASIS MQTT 5.0 §2 and §3, MQTT 3.1.1 §3.
"""

import struct
from dataclasses import dataclass, field
from typing import Final

CONNECT: Final = 1
CONNACK: Final = 2
PUBLISH: Final = 3
PUBACK: Final = 4
SUBSCRIBE: Final = 8
SUBACK: Final = 9
PINGREQ: Final = 12
PINGRESP: Final = 13
DISCONNECT: Final = 14

V5: Final = 5
V311: Final = 4

_CONTENT_TYPE: Final = 0x03
_RESPONSE_TOPIC: Final = 0x08
_CORRELATION: Final = 0x09
_SESSION_EXPIRY: Final = 0x11
_RECEIVE_MAXIMUM: Final = 0x21
_MAXIMUM_PACKET: Final = 0x27
# The wire type of every property identifier (MQTT 5.0 §2.2.2.2).
_PROPERTY_TYPES: Final = {
    **dict.fromkeys((0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A), "byte"),
    **dict.fromkeys((0x13, 0x21, 0x22, 0x23), "short"),
    **dict.fromkeys((0x02, 0x11, 0x18, 0x27), "long"),
    **dict.fromkeys((0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1A, 0x1C, 0x1F), "text"),
    0x0B: "varint",
    0x26: "pair",
}
_SIZES: Final = {"byte": 1, "short": 2, "long": 4}
_VARINT_BYTES: Final = 4


class MqttPacketError(ValueError):
    """The broker sent something that is no MQTT packet."""


@dataclass(frozen=True, slots=True)
class Connack:
    """The broker's answer to CONNECT."""

    session_present: bool
    code: int
    receive_maximum: int
    maximum_packet: int | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A PUBLISH that the broker delivered."""

    topic: str
    payload: bytes
    qos: int
    packet_id: int
    content_type: str | None = None
    response_topic: str | None = None
    correlation: bytes | None = None


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """What a device says of itself when it connects."""

    client_id: str
    clean: bool = True
    keep_alive_s: int = 30
    session_expiry_s: int = 300
    username: str | None = None
    password: bytes | None = field(default=None, repr=False)
    version: int = V5


def varint(value: int) -> bytes:
    """A variable byte integer (§1.5.5)."""
    result = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        result.append(low | (0x80 if value else 0))
        if not value:
            return bytes(result)


def _text(value: str | bytes) -> bytes:
    encoded = value.encode() if isinstance(value, str) else value
    return struct.pack(">H", len(encoded)) + encoded


def packet(first: int, body: bytes) -> bytes:
    """A fixed header before a body."""
    return bytes((first,)) + varint(len(body)) + body


def connect(options: ConnectOptions) -> bytes:
    """CONNECT (§3.1)."""
    flags = 0x02 if options.clean else 0x00
    payload = _text(options.client_id)
    if options.username is not None:
        flags |= 0x80
        payload += _text(options.username)
    if options.password is not None:
        flags |= 0x40
        payload += _text(options.password)
    head = _text("MQTT") + bytes((options.version, flags)) + struct.pack(">H", options.keep_alive_s)
    if options.version == V5:
        properties = bytes((_SESSION_EXPIRY,)) + struct.pack(">I", options.session_expiry_s)
        head += varint(len(properties)) + properties
    return packet(CONNECT << 4, head + payload)


def publish_properties(content_type: str | None, response_topic: str | None, correlation: bytes | None) -> bytes:
    """The property block of a PUBLISH, its length included (§3.3.2.3)."""
    properties = b""
    if content_type is not None:
        properties += bytes((_CONTENT_TYPE,)) + _text(content_type)
    if response_topic is not None:
        properties += bytes((_RESPONSE_TOPIC,)) + _text(response_topic)
    if correlation is not None:
        properties += bytes((_CORRELATION,)) + _text(correlation)
    return varint(len(properties)) + properties


def publish(topic: str, payload: bytes, packet_id: int, *, properties: bytes | None, dup: bool = False) -> bytes:
    """PUBLISH with QoS 1; `properties` is None for MQTT 3.1.1."""
    first = PUBLISH << 4 | 0x02 | (0x08 if dup else 0)
    return packet(first, _text(topic) + struct.pack(">H", packet_id) + (properties or b"") + payload)


def subscribe(filters: list[str], packet_id: int, version: int) -> bytes:
    """SUBSCRIBE to every filter with QoS 1."""
    head = struct.pack(">H", packet_id) + (b"\x00" if version == V5 else b"")
    return packet(SUBSCRIBE << 4 | 0x02, head + b"".join(_text(each) + b"\x01" for each in filters))


def puback(packet_id: int) -> bytes:
    """PUBACK with reason 0x00."""
    return packet(PUBACK << 4, struct.pack(">H", packet_id))


def pingreq() -> bytes:
    """PINGREQ."""
    return packet(PINGREQ << 4, b"")


def disconnect() -> bytes:
    """A normal DISCONNECT."""
    return packet(DISCONNECT << 4, b"")


def _read_varint(body: bytes, at: int) -> tuple[int, int]:
    value = 0
    for position in range(_VARINT_BYTES):
        if at + position >= len(body):
            raise MqttPacketError("a length is cut off")
        byte = body[at + position]
        value |= (byte & 0x7F) << (7 * position)
        if not byte & 0x80:
            return value, at + position + 1
    raise MqttPacketError("a length has more than four bytes")


def _read_text(body: bytes, at: int) -> tuple[bytes, int]:
    end = at + 2 + int.from_bytes(body[at : at + 2], "big")
    if end > len(body):
        raise MqttPacketError("a string is cut off")
    return body[at + 2 : end], end


def _properties(body: bytes, at: int) -> tuple[dict[int, bytes | int], int]:
    length, at = _read_varint(body, at)
    end = at + length
    found: dict[int, bytes | int] = {}
    while at < end:
        identifier, at = body[at], at + 1
        kind = _PROPERTY_TYPES.get(identifier)
        if kind is None:
            raise MqttPacketError(f"property {identifier} is unknown")
        if kind in _SIZES:
            found[identifier] = int.from_bytes(body[at : at + _SIZES[kind]], "big")
            at += _SIZES[kind]
        elif kind == "varint":
            found[identifier], at = _read_varint(body, at)
        else:
            found[identifier], at = _read_text(body, at)
            if kind == "pair":
                _, at = _read_text(body, at)
    return found, end


def read_connack(body: bytes, version: int) -> Connack:
    """CONNACK (§3.2)."""
    found = _properties(body, 2)[0] if version == V5 and len(body) > 2 else {}  # noqa: PLR2004 - flags and code
    maximum = found.get(_MAXIMUM_PACKET)
    receive = found.get(_RECEIVE_MAXIMUM, 65_535 if version == V5 else 20)
    return Connack(
        session_present=bool(body[0] & 1),
        code=body[1],
        receive_maximum=receive if isinstance(receive, int) else 1,
        maximum_packet=maximum if isinstance(maximum, int) else None,
    )


def read_puback(body: bytes) -> tuple[int, int]:
    """PUBACK (§3.4): the packet id and the reason code."""
    return int.from_bytes(body[:2], "big"), body[2] if len(body) > 2 else 0  # noqa: PLR2004 - the code is optional


def read_suback(body: bytes, version: int) -> tuple[int, bytes]:
    """SUBACK (§3.9): the packet id and one reason code a filter."""
    at = _properties(body, 2)[1] if version == V5 else 2
    return int.from_bytes(body[:2], "big"), body[at:]


def read_publish(flags: int, body: bytes, version: int) -> Delivery:
    """PUBLISH (§3.3) as the broker delivers it."""
    topic, at = _read_text(body, 0)
    qos = flags >> 1 & 3
    packet_id = 0
    if qos:
        packet_id, at = int.from_bytes(body[at : at + 2], "big"), at + 2
    found: dict[int, bytes | int] = {}
    if version == V5:
        found, at = _properties(body, at)
    content_type, response_topic = (found.get(each) for each in (_CONTENT_TYPE, _RESPONSE_TOPIC))
    correlation = found.get(_CORRELATION)
    return Delivery(
        topic=topic.decode("utf-8", "replace"),
        payload=body[at:],
        qos=qos,
        packet_id=packet_id,
        content_type=content_type.decode("utf-8", "replace") if isinstance(content_type, bytes) else None,
        response_topic=response_topic.decode("utf-8", "replace") if isinstance(response_topic, bytes) else None,
        correlation=correlation if isinstance(correlation, bytes) else None,
    )


class PacketReader:
    """Cuts a stream of bytes into packets."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """Take bytes, give the packets that are now whole: type, flags, body.

        Raises:
            MqttPacketError: a remaining length is no variable byte integer.
        """
        buffer = self._buffer
        buffer += data
        packets = []
        at = 0
        while (whole := _whole_packet(buffer, at)) is not None:
            start, end = whole
            packets.append((buffer[at] >> 4, buffer[at] & 0x0F, bytes(buffer[start:end])))
            at = end
        del buffer[:at]
        return packets


def _whole_packet(buffer: bytearray, at: int) -> tuple[int, int] | None:
    length = 0
    for position in range(_VARINT_BYTES):
        if at + 1 + position >= len(buffer):
            return None
        byte = buffer[at + 1 + position]
        length |= (byte & 0x7F) << (7 * position)
        if not byte & 0x80:
            start = at + 2 + position
            return (start, start + length) if start + length <= len(buffer) else None
    raise MqttPacketError("a remaining length has more than four bytes")
