"""CIDs: the names of blocks, by which whoever gives a block need not be trusted (pure).

One kind is spoken here: version 1, sha2-256, codec raw or dag-pb. A ``Block`` is bytes that were hashed and have the
name that they came under; what reads blocks takes nothing else. The binary form of version 0, which older writers put
into links and CAR files, is read as the version 1 that names the same block. Everything else is *foreign*: it has a
length, and nothing more is said about it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from enum import IntEnum
from typing import Final, NamedTuple

from gateway.vault import varint

DIGEST_BYTES: Final = 32
BLOCK_BYTES: Final = 2 * 2**20
"""The largest block that IPFS nodes exchange."""
TEXT_MAX: Final = 64
"""No text of such a CID is longer: 59 characters in base32, at most 50 in base58btc."""
FOREIGN_DIGEST_MAX: Final = 128

_SHA2_256: Final = 0x12
_HEAD_V0: Final = bytes((_SHA2_256, DIGEST_BYTES))
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_AT: Final = {character: value for value, character in enumerate(_BASE58)}
_V0_CHARACTERS: Final = 46


class CidError(ValueError):
    """A text or bytes that are no CID of the kind that is spoken here; the message is in our own words."""


class CidUnfinished(CidError):
    """The bytes end within a CID: more of them may make it one."""


class WrongBlock(ValueError):
    """Bytes that do not have the name they were given under."""


class Codec(IntEnum):
    """What a block holds."""

    RAW = 0x55
    DAG_PB = 0x70


class Cid(NamedTuple):
    """The name of a block."""

    codec: Codec
    digest: bytes

    def __str__(self) -> str:
        return "b" + base64.b32encode(self.binary).decode().rstrip("=").lower()

    @property
    def binary(self) -> bytes:
        """The 36 bytes that links and CAR files hold."""
        return bytes((1, self.codec, _SHA2_256, DIGEST_BYTES)) + self.digest


class Block(NamedTuple):
    """Bytes and the name that they have: made by ``verify_block`` or ``block_of``, never by hand."""

    cid: Cid
    data: bytes


def block_of(codec: Codec, data: bytes) -> Block:
    """Name bytes of our own."""
    return Block(Cid(codec, hashlib.sha256(data).digest()), data)


def verify_block(cid: Cid, data: bytes) -> Block:
    """Hold a stranger's bytes against the name that was asked for.

    Raises:
        WrongBlock: they are other bytes, or more of them than a block has.
    """
    if len(data) > BLOCK_BYTES:
        raise WrongBlock(f"it has more than the {BLOCK_BYTES} bytes of a block")
    if not hmac.compare_digest(hashlib.sha256(data).digest(), cid.digest):
        raise WrongBlock(f"its {len(data)} bytes are not the block that was asked for")
    return Block(cid, data)


def parse_cid(text: str) -> Cid:
    """Read the text of a CID: ``b…`` (base32, what ``str`` writes) or ``z…`` (base58btc).

    Raises:
        CidError: it is none, or one of another kind.
    """
    if len(text) > TEXT_MAX:
        raise CidError(f"a CID has at most {TEXT_MAX} characters")
    if len(text) == _V0_CHARACTERS and text.startswith("Qm"):
        raise CidError("a CID of version 0: ask for version 1 (ipfs cid base32)")
    if text.startswith("b"):
        binary = _from_base32(text[1:])
    elif text.startswith("z"):
        binary = _from_base58(text[1:])
    else:
        raise CidError("a CID is written b… (base32) or z… (base58btc)")
    cid, end = read_cid(binary)
    if cid is None:
        raise CidError("a CID of another kind: only version 1 with sha2-256 over raw or dag-pb is read")
    if end != len(binary) or binary[0] != 1:
        raise CidError("more than a CID, or one of another version")
    return cid


def read_cid(data: bytes | bytearray | memoryview, offset: int = 0) -> tuple[Cid | None, int]:
    """Read the CID that begins at ``offset``; None when it is foreign. With it, the offset behind it.

    Raises:
        CidUnfinished: the data end within it.
        CidError: no CID begins there.
    """
    head = bytes(data[offset : offset + 2])
    if head == _HEAD_V0[:1]:
        raise CidUnfinished("the bytes end within a CID")
    if head == _HEAD_V0:
        codec, code, length, at = int(Codec.DAG_PB), _SHA2_256, DIGEST_BYTES, offset + 2
    else:
        codec, code, length, at = _head(data, offset)
    end = at + length
    if end > len(data):
        raise CidUnfinished("the bytes end within a CID")
    if code != _SHA2_256 or codec not in (Codec.RAW, Codec.DAG_PB):
        return None, end
    if length != DIGEST_BYTES:
        raise CidError(f"a sha2-256 of {length} bytes")
    return Cid(Codec(codec), bytes(data[at:end])), end


def _head(data: bytes | bytearray | memoryview, offset: int) -> tuple[int, int, int, int]:
    """Codec, hash function and length of the digest of a CID of version 1, and where the digest begins."""
    try:
        version, at = varint.read(data, offset)
        if version != 1:
            raise CidError("a CID of another version")
        codec, at = varint.read(data, at)
        code, at = varint.read(data, at)
        length, at = varint.read(data, at)
    except varint.VarintUnfinished:
        raise CidUnfinished("the bytes end within a CID") from None
    except varint.VarintError as error:
        raise CidError(f"no CID: {error}") from None
    if length > FOREIGN_DIGEST_MAX:
        raise CidError(f"a digest of more than {FOREIGN_DIGEST_MAX} bytes")
    return codec, code, length, at


def _from_base32(text: str) -> bytes:
    try:
        binary = base64.b32decode((text + "=" * (-len(text) % 8)).upper())
    except (binascii.Error, ValueError):
        raise CidError("no base32") from None
    if base64.b32encode(binary).decode().rstrip("=").lower() != text:
        raise CidError("base32 in another spelling than the one of lower case, without padding")
    return binary


def _from_base58(text: str) -> bytes:
    number = 0
    for character in text:
        value = _BASE58_AT.get(character)
        if value is None:
            raise CidError("no base58btc")
        number = number * 58 + value
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
