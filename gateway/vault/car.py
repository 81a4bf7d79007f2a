"""CAR files, version 1: blocks one behind the other (ipld.io/specs/transport/car/carv1; pure).

``CarReader`` takes bytes as they come and gives each block once its hash holds; what it keeps is never more than one
section. Blocks of another kind (other codecs or hashes) are counted and left out. Version 2, which wraps a version 1
with an index, is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from gateway.vault import varint
from gateway.vault.cid import (
    BLOCK_BYTES,
    FOREIGN_DIGEST_MAX,
    Block,
    Cid,
    CidError,
    CidUnfinished,
    WrongBlock,
    read_cid,
    verify_block,
)

MEDIA_TYPE: Final = "application/vnd.ipld.car"
HEADER_MAX: Final = 4096
ROOTS_MAX: Final = 16
CID_MAX: Final = 4 * varint.MAX_BYTES + FOREIGN_DIGEST_MAX
SECTION_MAX: Final = CID_MAX + BLOCK_BYTES
HEAD_MAX: Final = varint.MAX_BYTES + CID_MAX
"""The length of a section and its CID take no more than this."""

# The header is dag-cbor, {"roots": [CID…], "version": 1}, keys in that order: few enough spellings to write them out.
_ROOTS: Final = b"\xa2\x65roots"
_VERSION: Final = b"\x67version\x01"
_V2: Final = b"\xa1\x67version\x02"
_ARRAY: Final = 0x80
_TAG_42: Final = b"\xd8\x2a"
_SHORT, _LONG = 0x40, 0x58
_FIRST_LONG: Final = 24


class CarRefusal(StrEnum):
    """What is wrong with a CAR file."""

    HEADER = "header-malformed"
    VERSION = "another-version"
    SECTION = "section-malformed"
    TOO_LARGE = "too-large"
    TOO_MANY = "too-many-blocks"
    TRUNCATED = "truncated"
    WRONG_BLOCK = "wrong-block"


class CarRefused(ValueError):
    """The file is refused from here on; blocks that came before hold."""

    def __init__(self, reason: CarRefusal, words: str) -> None:
        super().__init__(f"{words} ({reason})")
        self.reason = reason


class CarLimits(NamedTuple):
    """How much of a CAR file is read. ``sections`` counts foreign ones too."""

    total_bytes: int
    sections: int = 1 << 16


class SectionHead(NamedTuple):
    """Where the data of a section begin, behind the offset that was asked for, and how many there are."""

    cid: Cid | None
    data_at: int
    data_bytes: int


class CarReader:
    """One CAR file, fed as it comes. ``roots`` is there once the header has come; foreign ones are left out."""

    def __init__(self, limits: CarLimits) -> None:
        self._limits = limits
        self._rest = bytearray()
        self._left = limits.total_bytes
        self.roots: tuple[Cid, ...] | None = None
        self.sections = 0
        self.foreign = 0

    def feed(self, data: bytes) -> Iterator[Block]:
        """Take the next bytes; use up what it gives before the next call.

        Raises:
            CarRefused: the file does not hold, or is larger than it may be.
        """
        self._left -= len(data)
        if self._left < 0:
            raise CarRefused(CarRefusal.TOO_LARGE, f"it has more than {self._limits.total_bytes} bytes")
        self._rest += data
        at = 0
        if self.roots is None:
            header = read_header(self._rest)
            if header is None:
                return
            at, self.roots = header
        try:
            while (head := section_head(self._rest, at)) is not None:
                end = head.data_at + head.data_bytes
                if end > len(self._rest):
                    break
                found = bytes(self._rest[head.data_at : end])
                at = end
                yield from self._section(head.cid, found)
        finally:
            del self._rest[:at]

    def finish(self) -> None:
        """Say that no bytes follow.

        Raises:
            CarRefused: the file ends within its header or a section.
        """
        if self.roots is None or self._rest:
            raise CarRefused(CarRefusal.TRUNCATED, "it ends within a section")

    def _section(self, cid: Cid | None, data: bytes) -> Iterator[Block]:
        self.sections += 1
        if self.sections > self._limits.sections:
            raise CarRefused(CarRefusal.TOO_MANY, f"it has more than {self._limits.sections} blocks")
        if cid is None:
            self.foreign += 1
            return
        try:
            yield verify_block(cid, data)
        except WrongBlock as error:
            raise CarRefused(CarRefusal.WRONG_BLOCK, f"under {cid}: {error}") from None


def read_header(data: bytes | bytearray) -> tuple[int, tuple[Cid, ...]] | None:
    """Read the header at the beginning: where it ends, and the roots that are not foreign; None: more is needed.

    Raises:
        CarRefused: no CAR file of version 1 begins so.
    """
    length = _length(data, 0, HEADER_MAX, CarRefusal.HEADER)
    if length is None:
        return None
    size, at = length
    if len(data) < at + size:
        return None
    return at + size, _roots(bytes(data[at : at + size]))


def section_head(data: bytes | bytearray, offset: int) -> SectionHead | None:
    """Read where a section begins; None: more bytes are needed. Its data need not be there yet.

    Raises:
        CarRefused: no section begins there.
    """
    length = _length(data, offset, SECTION_MAX, CarRefusal.SECTION)
    if length is None:
        return None
    size, at = length
    try:
        cid, data_at = read_cid(data[at : at + min(size, CID_MAX)])
    except CidUnfinished:
        if len(data) - at < min(size, CID_MAX):
            return None
        raise CarRefused(CarRefusal.SECTION, "a section that ends within its CID") from None
    except CidError as error:
        raise CarRefused(CarRefusal.SECTION, f"a section without a CID: {error}") from None
    if size - data_at > BLOCK_BYTES:
        raise CarRefused(CarRefusal.TOO_LARGE, f"a block of more than {BLOCK_BYTES} bytes")
    return SectionHead(cid, at + data_at, size - data_at)


def header(roots: Sequence[Cid]) -> bytes:
    """Write the header of a CAR file."""
    if len(roots) > ROOTS_MAX:
        raise ValueError(f"at most {ROOTS_MAX} roots are written")
    out = _ROOTS + bytes((_ARRAY | len(roots),))
    for cid in roots:
        name = b"\x00" + cid.binary
        out += _TAG_42 + bytes((_LONG, len(name))) + name
    out += _VERSION
    return varint.write(len(out)) + out


def section(block: Block) -> bytes:
    """Write a block into a CAR file."""
    return varint.write(len(block.cid.binary) + len(block.data)) + block.cid.binary + block.data


def _length(data: bytes | bytearray, at: int, most: int, reason: CarRefusal) -> tuple[int, int] | None:
    try:
        size, end = varint.read(data, at)
    except varint.VarintUnfinished:
        return None
    except varint.VarintError as error:
        raise CarRefused(reason, f"a length: {error}") from None
    if size > most:
        raise CarRefused(CarRefusal.TOO_LARGE, f"a length of {size}, where {most} is the most")
    if size == 0:
        raise CarRefused(reason, "a length of nothing")
    return size, end


def _roots(message: bytes) -> tuple[Cid, ...]:
    if message == _V2:
        raise CarRefused(CarRefusal.VERSION, "a CAR file of version 2: give the version 1 inside (car extract-v1)")
    count = message[len(_ROOTS)] - _ARRAY if message.startswith(_ROOTS) and len(message) > len(_ROOTS) else -1
    if not 0 <= count <= ROOTS_MAX:
        raise CarRefused(CarRefusal.HEADER, f"no header of a CAR file with at most {ROOTS_MAX} roots")
    at = len(_ROOTS) + 1
    found: list[Cid] = []
    for _ in range(count):
        name, at = _root(message, at)
        try:
            cid, end = read_cid(name)
        except CidError as error:
            raise CarRefused(CarRefusal.HEADER, f"a root: {error}") from None
        if end != len(name):
            raise CarRefused(CarRefusal.HEADER, "a root with bytes behind its CID")
        if cid is not None:
            found.append(cid)
    if message[at:] != _VERSION:
        raise CarRefused(CarRefusal.HEADER, "no header of a CAR file of version 1")
    return tuple(found)


def _root(message: bytes, at: int) -> tuple[bytes, int]:
    """The binary CID of a root: tag 42, a byte string, a zero in front."""
    head = message[at : at + 4]
    if head[:2] != _TAG_42 or len(head) < 4:  # noqa: PLR2004 -- the tag and the two bytes of a length
        raise CarRefused(CarRefusal.HEADER, "a root that is no CID")
    if head[2] == _LONG and head[3] >= _FIRST_LONG:
        at, size = at + 4, head[3]
    elif _SHORT < head[2] < _SHORT + _FIRST_LONG:
        at, size = at + 3, head[2] - _SHORT
    else:
        raise CarRefused(CarRefusal.HEADER, "a root that is no CID")
    name = message[at : at + size]
    if len(name) != size or name[:1] != b"\x00":
        raise CarRefused(CarRefusal.HEADER, "a root that is no CID")
    return name[1:], at + size
