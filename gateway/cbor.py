"""CBOR for what the gateway itself writes and reads: small, bounded, deterministic (RFC 8949).

``encode`` writes the one deterministic form (§4.2.1; a float is always float64 and finite), so that two gateways give
the same log entry the same bytes. ``decode`` reads exactly that form back; asked to, it reads every well-formed
encoding of the same values, as a device may write a payload: other lengths, indefinite lengths, short floats, any
order of a map. In neither form does it take duplicate keys, trailing bytes, tags, ``undefined`` or other simple
values, and keys are integers, text or byte strings only, so that no two keys that differ in CBOR (1, 1.0 and true)
ever become one in Python.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Final

Value = None | bool | int | float | bytes | str | Sequence["Value"] | Mapping["int | str | bytes", "Value"]
Key = int | str | bytes

MAX_DEPTH: Final = 64
"""What ``encode`` nests at most, and the most that ``decode`` can be asked for: far below Python's own limit."""

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG = range(7)
_INDEFINITE: Final = 31
_BREAK: Final = 0xFF
_FLOAT64: Final = 0xFB
_SIMPLE: Final[dict[int, bool | None]] = {0xF4: False, 0xF5: True, 0xF6: None}
_FLOATS: Final = {0xF9: struct.Struct(">e"), 0xFA: struct.Struct(">f"), _FLOAT64: struct.Struct(">d")}
_PACK_FLOAT64: Final = struct.Struct(">Bd").pack
# The first argument value that needs the length: an argument below it has a shorter form.
_LEAST: Final = {1: 24, 2: 1 << 8, 4: 1 << 16, 8: 1 << 32}


class CborError(ValueError):
    """The bytes, or the value, are not what this module takes; the message is in our own words."""


def encode(value: object) -> bytes:
    """Write ``value`` as deterministic CBOR.

    Args:
        value: None, bool, int (-2^64 to 2^64 - 1), finite float, bytes, str, and lists, tuples and dicts of these;
            keys are int, str or bytes.

    Raises:
        CborError: the value has no deterministic form here, or nests deeper than ``MAX_DEPTH``.
    """
    out = bytearray()
    _write(value, out, MAX_DEPTH)
    return bytes(out)


def head(major: int, argument: int) -> bytes:
    """Write the initial byte and argument of an item in the shortest form (RFC 8949 §3).

    Raises:
        CborError: the argument needs more than 64 bits.
    """
    if argument < 24:  # noqa: PLR2004 -- RFC 8949 §3: up to 23 stands in the initial byte
        return bytes((major << 5 | argument,))
    for code, size in enumerate(_LEAST, 24):
        if argument < 1 << (8 * size):
            return bytes((major << 5 | code,)) + argument.to_bytes(size, "big")
    raise CborError("an integer of more than 64 bits")


def _write(value: object, out: bytearray, depth: int) -> None:
    """Append one item; ``depth`` is how many containers may still be opened."""
    match value:
        case None:
            out.append(0xF6)
        case bool():
            out.append(0xF5 if value else 0xF4)
        case int():
            out += head(_UNSIGNED, value) if value >= 0 else head(_NEGATIVE, -1 - value)
        case float():
            if not math.isfinite(value):
                raise CborError("a float that is not finite")
            out += _PACK_FLOAT64(_FLOAT64, value)
        case bytes():
            out += head(_BYTES, len(value))
            out += value
        case str():
            out += _text(value)
        case list() | tuple() | dict():
            if depth == 0:
                raise CborError("nested too deep")
            _write_container(value, out, depth - 1)
        case _:
            raise CborError("a type that CBOR is not written from here")


def _text(value: str) -> bytes:
    """Encode a text string."""
    try:
        text = value.encode()
    except UnicodeEncodeError:
        raise CborError("a text that is not Unicode") from None
    return head(_TEXT, len(text)) + text


def _write_container(
    value: list[object] | tuple[object, ...] | dict[object, object], out: bytearray, depth: int
) -> None:
    """Append an array, or a map with its keys in the bytewise order of their encodings (§4.2.1)."""
    if not isinstance(value, dict):
        out += head(_ARRAY, len(value))
        for item in value:
            _write(item, out, depth)
        return
    out += head(_MAP, len(value))
    entries: list[tuple[bytes, object]] = []
    for key, item in value.items():
        if isinstance(key, bool) or not isinstance(key, int | str | bytes):
            raise CborError("a key that is neither integer, text nor byte string")
        encoded = bytearray()
        _write(key, encoded, 0)
        entries.append((bytes(encoded), item))
    entries.sort(key=lambda entry: entry[0])
    for encoded_key, item in entries:
        out += encoded_key
        _write(item, out, depth)


def decode(data: bytes, *, max_depth: int, deterministic: bool = True) -> Value:
    """Read the one item that ``data`` is.

    Args:
        data: all of it is the item; nothing may follow.
        max_depth: arrays and maps may nest this deep, the outermost counting 1; at most ``MAX_DEPTH``.
        deterministic: take only what ``encode`` writes. Otherwise any well-formed encoding of the same types, where
            a float may also be NaN or infinite.

    Raises:
        CborError: the bytes are anything else.
    """
    if not 0 <= max_depth <= MAX_DEPTH:
        raise ValueError(f"max_depth is 0 to {MAX_DEPTH}")
    reader = _Reader(data, strict=deterministic)
    try:
        value = reader.item(max_depth)
    except (IndexError, struct.error):
        raise CborError("the bytes end within an item") from None
    if reader.offset != len(data):
        raise CborError("bytes after the item")
    return value


class _Reader:
    """A cursor over the bytes; running off the end shows as IndexError or struct.error."""

    __slots__ = ("_data", "_strict", "offset")

    def __init__(self, data: bytes, *, strict: bool) -> None:
        self._data = data
        self._strict = strict
        self.offset = 0

    def item(self, depth: int) -> Value:
        """Read one item; ``depth`` is how many containers may still be opened."""
        initial = self._data[self.offset]
        self.offset += 1
        major, code = initial >> 5, initial & 31
        if initial >= 0xE0:  # noqa: PLR2004 -- major type 7
            return self._simple(initial)
        if major == _TAG:
            raise CborError("a tag")
        if code == _INDEFINITE:
            return self._indefinite(major, depth)
        argument = self._argument(code)
        if major == _UNSIGNED:
            return argument
        if major == _NEGATIVE:
            return -1 - argument
        if major == _BYTES:
            return self._take(argument)
        if major == _TEXT:
            return _unicode(self._take(argument))
        if depth == 0:
            raise CborError("nested too deep")
        if major == _ARRAY:
            # Not range() into a comprehension with a preset size: a claimed length costs nothing until it is there.
            return [self.item(depth - 1) for _ in range(argument)]
        return self._map(argument, depth - 1)

    def _argument(self, code: int) -> int:
        """Read the argument that ``code``, the low five bits of the initial byte, announces."""
        if code < 24:  # noqa: PLR2004 -- RFC 8949 §3
            return code
        if code > 27:  # noqa: PLR2004 -- 28 to 30 are reserved
            raise CborError("a reserved length")
        size = 1 << (code - 24)
        argument = int.from_bytes(self._take(size), "big")
        if self._strict and argument < _LEAST[size]:
            raise CborError("not the shortest form")
        return argument

    def _take(self, count: int) -> bytes:
        """Take ``count`` bytes."""
        end = self.offset + count
        if end > len(self._data):
            raise CborError("the bytes end within an item")
        taken = self._data[self.offset : end]
        self.offset = end
        return taken

    def _simple(self, initial: int) -> bool | float | None:
        """Read what major type 7 holds: a float, false, true or null."""
        if initial in _SIMPLE:
            return _SIMPLE[initial]
        form = _FLOATS.get(initial)
        if form is None:
            raise CborError("a simple value other than false, true and null")
        (number,) = form.unpack_from(self._data, self.offset)
        self.offset += form.size
        if self._strict and (initial != _FLOAT64 or not math.isfinite(number)):
            raise CborError("a float that is not float64 and finite")
        return float(number)

    def _map(self, count: int | None, depth: int) -> dict[Key, Value]:
        """Read ``count`` entries, or as many as come before the break when it is None."""
        entries: dict[Key, Value] = {}
        previous = b""
        while count is None or count > 0:
            if count is None and self._ended():
                break
            start = self.offset
            key = self.item(0)
            if isinstance(key, bool) or not isinstance(key, int | str | bytes):
                raise CborError("a key that is neither integer, text nor byte string")
            if key in entries:
                raise CborError("a duplicate key")
            encoded_key = self._data[start : self.offset]
            if self._strict and encoded_key <= previous:
                raise CborError("keys out of order")
            previous = encoded_key
            entries[key] = self.item(depth)
            count = None if count is None else count - 1
        return entries

    def _indefinite(self, major: int, depth: int) -> Value:
        """Read an item of indefinite length (§3.2)."""
        if self._strict:
            raise CborError("an indefinite length")
        if major in (_BYTES, _TEXT):
            return self._chunks(major)
        if major not in (_ARRAY, _MAP):
            raise CborError("an integer of indefinite length")
        if depth == 0:
            raise CborError("nested too deep")
        if major == _MAP:
            return self._map(None, depth - 1)
        items: list[Value] = []
        while not self._ended():
            items.append(self.item(depth - 1))
        return items

    def _chunks(self, major: int) -> str | bytes:
        """Join the chunks of a string: definite ones of the same type, text whole in each (§3.2.3)."""
        chunks: list[bytes] = []
        while not self._ended():
            initial = self._data[self.offset]
            if initial >> 5 != major or initial & 31 == _INDEFINITE:
                raise CborError("a chunk of another type")
            self.offset += 1
            chunk = self._take(self._argument(initial & 31))
            if major == _TEXT:
                _unicode(chunk)
            chunks.append(chunk)
        joined = b"".join(chunks)
        return _unicode(joined) if major == _TEXT else joined

    def _ended(self) -> bool:
        """Whether the break stands here; it is taken."""
        if self._data[self.offset] != _BREAK:
            return False
        self.offset += 1
        return True


def _unicode(text: bytes) -> str:
    """Decode a text string."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise CborError("a text that is not UTF-8") from None
