"""CoAP messages as bytes (RFC 7252 §3), with the options a posting device needs, without any I/O."""

import struct
from dataclasses import dataclass
from typing import Final

CON: Final = 0
NON: Final = 1
ACK: Final = 2
RST: Final = 3

GET: Final = 0x01
POST: Final = 0x02

URI_PATH: Final = 11
CONTENT_FORMAT: Final = 12
MAX_AGE: Final = 14
BLOCK2: Final = 23
BLOCK1: Final = 27
ECHO: Final = 252
_MARKER: Final = 0xFF
_VERSION: Final = 1


class CoapPacketError(ValueError):
    """The bytes are no CoAP message."""


@dataclass(frozen=True, slots=True)
class CoapMessage:
    """One CoAP message.

    Attributes:
        kind: CON, NON, ACK or RST.
        code: class and detail in one byte; 0 is empty.
        message_id: sixteen bits.
        token: up to eight bytes.
        options: number and value, in ascending order of number.
        payload: what follows the marker.
    """

    kind: int
    code: int
    message_id: int
    token: bytes = b""
    options: tuple[tuple[int, bytes], ...] = ()
    payload: bytes = b""

    def option(self, number: int) -> bytes | None:
        """The first value of an option, or None."""
        return next((value for each, value in self.options if each == number), None)

    def uint(self, number: int) -> int | None:
        """The first value of an option as an unsigned integer (§3.2), or None."""
        value = self.option(number)
        return None if value is None else int.from_bytes(value, "big")


def uint(value: int) -> bytes:
    """An unsigned integer without leading zeros (§3.2)."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def block(number: int, *, more: bool, size_exponent: int) -> bytes:
    """A Block1 or Block2 option value (RFC 7959 §2.2)."""
    return uint(number << 4 | (8 if more else 0) | size_exponent)


def code_text(code: int) -> str:
    """A code as people write it: `4.29`."""
    return f"{code >> 5}.{code & 0x1F:02d}"


def code_of(text: str) -> int:
    """The reverse of `code_text`."""
    high, low = text.split(".")
    return int(high) << 5 | int(low)


def _extended(value: int) -> tuple[int, bytes]:
    if value < 13:  # noqa: PLR2004 - RFC 7252 §3.1
        return value, b""
    if value < 269:  # noqa: PLR2004 - RFC 7252 §3.1
        return 13, bytes((value - 13,))
    return 14, struct.pack(">H", value - 269)


def encode(message: CoapMessage) -> bytes:
    """Write a message."""
    result = bytearray(
        struct.pack(">BBH", _VERSION << 6 | message.kind << 4 | len(message.token), message.code, message.message_id)
    )
    result += message.token
    previous = 0
    for number, value in sorted(message.options, key=lambda option: option[0]):
        delta, delta_more = _extended(number - previous)
        length, length_more = _extended(len(value))
        result.append(delta << 4 | length)
        result += delta_more + length_more + value
        previous = number
    if message.payload:
        result.append(_MARKER)
        result += message.payload
    return bytes(result)


def _read_extended(data: bytes, at: int, nibble: int) -> tuple[int, int]:
    if nibble < 13:  # noqa: PLR2004 - RFC 7252 §3.1
        return nibble, at
    if nibble == 13:  # noqa: PLR2004 - RFC 7252 §3.1
        return data[at] + 13, at + 1
    if nibble == 14:  # noqa: PLR2004 - RFC 7252 §3.1
        return int.from_bytes(data[at : at + 2], "big") + 269, at + 2
    raise CoapPacketError("an option uses the reserved length")


def decode(data: bytes) -> CoapMessage:
    """Read a message.

    Raises:
        CoapPacketError: the bytes are none.
    """
    if len(data) < 4 or data[0] >> 6 != _VERSION:  # noqa: PLR2004 - the fixed header
        raise CoapPacketError("no CoAP header")
    token_length = data[0] & 0x0F
    at = 4 + token_length
    if token_length > 8 or at > len(data):  # noqa: PLR2004 - RFC 7252 §3
        raise CoapPacketError("the token is too long")
    options: list[tuple[int, bytes]] = []
    number = 0
    try:
        while at < len(data) and data[at] != _MARKER:
            head = data[at]
            delta, at = _read_extended(data, at + 1, head >> 4)
            length, at = _read_extended(data, at, head & 0x0F)
            if at + length > len(data):
                raise CoapPacketError("an option is cut off")
            number += delta
            options.append((number, data[at : at + length]))
            at += length
    except IndexError as fault:
        raise CoapPacketError("an option is cut off") from fault
    return CoapMessage(
        kind=data[0] >> 4 & 3,
        code=data[1],
        message_id=int.from_bytes(data[2:4], "big"),
        token=data[4 : 4 + token_length],
        options=tuple(options),
        payload=data[at + 1 :],
    )
