"""Unsigned varints as multiformats and protobuf write them: seven bits a byte, the lowest first (pure).

Only the shortest form of a number is read, so that no two spellings of one CID, block or CAR file exist here.
"""

from __future__ import annotations

from typing import Final

MAX_BYTES: Final = 9
"""What multiformats/unsigned-varint allows: 63 bits."""
_MORE: Final = 0x80
_BITS: Final = 7


class VarintError(ValueError):
    """The bytes are no varint in its shortest form."""


class VarintUnfinished(VarintError):
    """The bytes end within a varint: more of them may make it one."""


def write(number: int) -> bytes:
    """Write a number that is not negative, below 2^63."""
    if not 0 <= number < 1 << (_BITS * MAX_BYTES):
        raise VarintError("a number that no varint has room for")
    out = bytearray()
    while number >= _MORE:
        out.append(number & (_MORE - 1) | _MORE)
        number >>= _BITS
    out.append(number)
    return bytes(out)


def read(data: bytes | bytearray | memoryview, offset: int = 0) -> tuple[int, int]:
    """Read the number that begins at ``offset``; with it, the offset behind it.

    Raises:
        VarintUnfinished: the data end within it.
        VarintError: it is longer than it need be, or than ``MAX_BYTES``.
    """
    number = 0
    for index, byte in enumerate(data[offset : offset + MAX_BYTES]):
        number |= (byte & (_MORE - 1)) << (_BITS * index)
        if byte < _MORE:
            if byte == 0 and index:
                raise VarintError("a varint that is longer than it need be")
            return number, offset + index + 1
    if len(data) - offset < MAX_BYTES:
        raise VarintUnfinished("the bytes end within a varint")
    raise VarintError(f"a varint of more than {MAX_BYTES} bytes")
