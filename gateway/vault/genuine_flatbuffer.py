"""A reader of FlatBuffers that is given a stranger's bytes: every step is checked, and there are only so many (pure).

The interpreter believes the offsets in a model and follows them; here each one is looked at before. What is read is
a ``Table`` at a time, by the number of its field; a field that is not there gives its default.
"""

from __future__ import annotations

import struct
from typing import Final

STEPS_MAX: Final = 2_000_000
"""Tables, vectors and their items that are looked at: many may point to one, so a file's size bounds nothing."""
FIELDS_MAX: Final = 64

_U8: Final = struct.Struct("<B")
_U16: Final = struct.Struct("<H")
_I32: Final = struct.Struct("<i")
_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")
_WORD: Final = 4


class FlatbufferFault(ValueError):
    """The bytes are not what a FlatBuffer may be; the words are ours."""


class Flat:
    """The bytes of a FlatBuffer. ``steps`` may be lowered for tests."""

    __slots__ = ("_data", "_steps", "size")

    def __init__(self, data: bytes | memoryview, steps: int = STEPS_MAX) -> None:
        self._data = memoryview(data)
        self.size = len(self._data)
        self._steps = steps

    def root(self, identifier: bytes) -> Table:
        """The table that the file is about; ``identifier`` is the four bytes that say of which kind it is."""
        if bytes(self._data[4:8]) != identifier:
            raise FlatbufferFault(f"bytes 4 to 7 are not {identifier.decode()}")
        return Table(self, self.follow(0))

    def read(self, kind: struct.Struct, at: int) -> int:
        """An integer at a place."""
        if at < 0 or at + kind.size > self.size:
            raise FlatbufferFault("an offset leads out of the file")
        value: int = kind.unpack_from(self._data, at)[0]
        return value

    def follow(self, at: int) -> int:
        """Where the offset at a place leads; always further on, so nothing goes in circles."""
        offset = self.read(_U32, at)
        if not offset:
            raise FlatbufferFault("an offset leads nowhere")
        return at + offset

    def step(self, count: int = 1) -> None:
        """Count what is looked at."""
        self._steps -= count
        if self._steps < 0:
            raise FlatbufferFault("it has more parts than a model has")

    def vector(self, at: int, width: int) -> tuple[int, int]:
        """Where a vector's items begin, and how many there are; all of them lie in the file."""
        self.step()
        count = self.read(_U32, at)
        if at + _WORD + count * width > self.size:
            raise FlatbufferFault("a vector is longer than the file")
        return at + _WORD, count

    def slice(self, at: int, count: int) -> bytes:
        """Bytes that ``vector`` let through."""
        return bytes(self._data[at : at + count])

    def integers(self, at: int, count: int) -> tuple[int, ...]:
        """Items of 32 bits, signed, that ``vector`` let through."""
        self.step(count)
        return struct.unpack_from(f"<{count}i", self._data, at)


class Table:
    """One table: fields by their number in the schema."""

    __slots__ = ("_at", "_entries", "_flat", "_size", "_virtual")

    def __init__(self, flat: Flat, at: int) -> None:
        flat.step()
        virtual = at - flat.read(_I32, at)
        length, size = flat.read(_U16, virtual), flat.read(_U16, virtual + 2)
        if length < _WORD or length % 2 or virtual + length > flat.size:
            raise FlatbufferFault("a table's list of fields does not hold")
        if size < _WORD or at + size > flat.size:
            raise FlatbufferFault("a table leads out of the file")
        self._flat, self._at, self._size, self._virtual = flat, at, size, virtual
        self._entries = (length - _WORD) // 2

    def has(self, number: int) -> bool:
        """Whether a field is there."""
        return bool(self._entry(number))

    def u8(self, number: int, default: int = 0) -> int:
        """A byte, a truth, or the kind of a union."""
        return self._scalar(_U8, number, default)

    def i32(self, number: int, default: int = 0) -> int:
        """A signed integer."""
        return self._scalar(_I32, number, default)

    def u32(self, number: int, default: int = 0) -> int:
        """An unsigned integer."""
        return self._scalar(_U32, number, default)

    def u64(self, number: int) -> int:
        """A long unsigned integer."""
        return self._scalar(_U64, number, 0)

    def integers(self, number: int, most: int) -> tuple[int, ...]:
        """A vector of signed integers."""
        if not self.has(number):
            return ()
        at, count = self._vector(number, _WORD, most)
        return self._flat.integers(at, count)

    def tables(self, number: int, most: int) -> list[Table]:
        """A vector of tables."""
        if not self.has(number):
            return []
        at, count = self._vector(number, _WORD, most)
        return [Table(self._flat, self._flat.follow(at + _WORD * each)) for each in range(count)]

    def table(self, number: int) -> Table | None:
        """A table of its own."""
        return Table(self._flat, self._follow(number)) if self.has(number) else None

    def vector_bytes(self, number: int, width: int = 1) -> int:
        """How many bytes a vector of plain numbers has; they are all there."""
        if not self.has(number):
            return 0
        return self._flat.vector(self._follow(number), width)[1] * width

    def text(self, number: int, most: int) -> str:
        """A text; what is not UTF-8 is replaced."""
        if not self.has(number):
            return ""
        at, count = self._vector(number, 1, most)
        return self._flat.slice(at, count).decode("utf-8", "replace")

    def look_through(self) -> None:
        """See that every field begins within the table: for tables whose fields nobody here reads."""
        if self._entries > FIELDS_MAX:
            raise FlatbufferFault("a table has more fields than any")
        for number in range(self._entries):
            if self._entry(number) >= self._size:
                raise FlatbufferFault("a field leads out of its table")

    def _entry(self, number: int) -> int:
        if number >= self._entries:
            return 0
        return self._flat.read(_U16, self._virtual + _WORD + 2 * number)

    def _scalar(self, kind: struct.Struct, number: int, default: int) -> int:
        entry = self._entry(number)
        return self._flat.read(kind, self._place(entry, kind.size)) if entry else default

    def _follow(self, number: int) -> int:
        return self._flat.follow(self._place(self._entry(number), _WORD))

    def _place(self, entry: int, width: int) -> int:
        if entry < _WORD or entry + width > self._size:
            raise FlatbufferFault("a field leads out of its table")
        return self._at + entry

    def _vector(self, number: int, width: int, most: int) -> tuple[int, int]:
        at, count = self._flat.vector(self._follow(number), width)
        if count > most:
            raise FlatbufferFault(f"a vector has more than {most} items")
        return at, count
