"""COSE_Sign1 (RFC 9052 §4.2) with the seven facts in its protected header, and nothing else.

The shape is so narrow (an array of four, a map of four, a map of three, everything else a scalar) that it is read
item by item, in one pass and without recursion: whatever nests where a scalar belongs is refused at its first byte,
long before nesting could cost anything. A map has exactly as many entries as there are labels, each known and all
present: so none stands twice.

Heads may be longer than needed inside the protected header, where the text of FORMATS.md leaves them free; in the
outer array they may not, so that the signing input is a copy of two slices. Every length is definite.
"""

from __future__ import annotations

from hashlib import sha256
from struct import Struct
from struct import error as StructError  # noqa: N812 -- the standard library's name says nothing
from typing import Final, NamedTuple

from gateway.envelope import facts
from gateway.envelope.facts import Malformed
from gateway.message import Alg, Encoding, Envelope

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP = range(6)
# RFC 9052 §3.1 and RFC 9597 §2: header parameters; RFC 8392 §4: CWT claims.
_HEADER_ALG, _HEADER_CONTENT_TYPE, _HEADER_KID, _HEADER_CLAIMS = 1, 3, 4, 15
_CLAIM_AUD, _CLAIM_IAT, _CLAIM_CTI = 3, 6, 7
_HEADERS: Final = 4
_CLAIMS: Final = 3

# RFC 9053 §2 and RFC 9864 §2: each algorithm by its older and its fully specified number.
_ALGS: Final = {-8: Alg.ED25519, -19: Alg.ED25519, -7: Alg.ES256, -9: Alg.ES256}
_CONTENT_FORMATS: Final = frozenset(facts.CONTENT_FORMATS.values())
_CTI_BYTES: Final = 16

_TAG_AND_ARRAY: Final = b"\xd2\x84"
_EMPTY_MAP: Final = 0xA0
# The head of the Sig_structure: an array of four that begins with "Signature1"; then an empty external_aad.
_SIGNATURE1: Final = b"\x84\x6aSignature1"
_NO_EXTERNAL_AAD: Final = b"\x40"

_FLOATS: Final = {0xF9: Struct(">e"), 0xFA: Struct(">f"), 0xFB: Struct(">d")}
# The size of an argument that follows the initial byte, and the least value that needs it.
_ARGUMENTS: Final = {24: (1, 24), 25: (2, 1 << 8), 26: (4, 1 << 16), 27: (8, 1 << 32)}


class _Claims(NamedTuple):
    fleet: str
    issued_at: float
    session: bytes
    seq: int


class _Headers(NamedTuple):
    alg: Alg | None
    content_format: int
    device_id: str
    claims: _Claims


def decode_cose(data: bytes) -> Envelope:
    """Read a tagged COSE_Sign1.

    Raises:
        Malformed: it breaks a MUST of FORMATS.md §2.
    """
    try:
        return _decode(data)
    except (IndexError, StructError):
        raise Malformed("the bytes end within an item") from None


def _decode(data: bytes) -> Envelope:
    """Read the outer array; running off the end shows as IndexError or struct.error."""
    if data[:2] != _TAG_AND_ARRAY:
        raise Malformed("not tag 18 on an array of four")
    protected_at, protected_end = _outer_bytes(data, 2)
    if data[protected_end] != _EMPTY_MAP:
        raise Malformed("the unprotected header is not the empty map")
    payload_head = protected_end + 1
    payload_at, payload_end = _outer_bytes(data, payload_head)
    signature_at, signature_end = _outer_bytes(data, payload_end)
    if signature_end != len(data):
        raise Malformed("bytes after the envelope")
    alg, content_format, device_id, claims = _read_headers(data[protected_at:protected_end])
    signing_input = sig_structure(data[2:protected_end], data[payload_head:payload_end])
    return Envelope(
        Encoding.COSE,
        device_id,
        claims[0],
        alg,
        content_format,
        claims[1],
        claims[2],
        claims[3],
        data[payload_at:payload_end],
        signing_input,
        data[signature_at:],
        sha256(signing_input).digest(),
    )


def sig_structure(protected: bytes, payload: bytes) -> bytes:
    """Join the ``Sig_structure`` of a COSE_Sign1 (RFC 9052 §4.4), context "Signature1", external_aad empty.

    Args:
        protected: the protected header's item as it stands in the outer array, a byte string with its head.
        payload: likewise.
    """
    return b"".join((_SIGNATURE1, protected, _NO_EXTERNAL_AAD, payload))


def _outer_bytes(data: bytes, at: int) -> tuple[int, int]:
    """Find the content of a byte string whose head is in the shortest form: where it begins, and where it ends."""
    major, length, start = _head(data, at)
    if major != _BYTES:
        raise Malformed("not a byte string where the outer array has one")
    code = data[at] & 31
    if code in _ARGUMENTS and length < _ARGUMENTS[code][1]:
        raise Malformed("not the shortest form in the outer array")
    end = start + length
    if end > len(data):
        raise Malformed("the bytes end within an item")
    return start, end


def _head(data: bytes, at: int) -> tuple[int, int, int]:
    """Read an item's head, in any definite form: its major type, its argument, and where its content begins.

    Tags (major type 6) and simple values and floats (7) come back like the others; no caller asks for them.
    """
    initial = data[at]
    code = initial & 31
    if code < 24:  # noqa: PLR2004 -- RFC 8949 §3: up to 23 stands in the initial byte
        return initial >> 5, code, at + 1
    if code not in _ARGUMENTS:
        raise Malformed("an indefinite or reserved length")
    start = at + 1 + _ARGUMENTS[code][0]
    if start > len(data):
        raise Malformed("the bytes end within an item")
    return initial >> 5, int.from_bytes(data[at + 1 : start], "big"), start


def _map(data: bytes, at: int, entries: int) -> int:
    """Enter a map of exactly ``entries``; where its first key stands."""
    major, count, start = _head(data, at)
    if major != _MAP or count != entries:
        raise Malformed("not a map of the required headers or claims, no more and no fewer")
    return start


def _label(data: bytes, at: int) -> tuple[int, int]:
    """Read a map key, which is an unsigned integer for every header and claim there is."""
    major, label, start = _head(data, at)
    if major != _UNSIGNED:
        raise Malformed("an unknown header or claim")
    return label, start


def _bytes(data: bytes, at: int) -> tuple[bytes, int]:
    """Read a byte string within the protected header."""
    major, length, start = _head(data, at)
    end = start + length
    if major != _BYTES or end > len(data):
        raise Malformed("not a byte string where one belongs")
    return data[start:end], end


def _text(data: bytes, at: int) -> tuple[bytes, int]:
    """Read a text string within the protected header, as its bytes; the caller sees to UTF-8."""
    major, length, start = _head(data, at)
    end = start + length
    if major != _TEXT or end > len(data):
        raise Malformed("not a text string where one belongs")
    return data[start:end], end


def _read_headers(data: bytes) -> _Headers:
    """Read the protected header, all of ``data``."""
    alg: Alg | None = None
    alg_seen = False
    content_format: int | None = None
    device_id: str | None = None
    claims: _Claims | None = None
    at = _map(data, 0, _HEADERS)
    for _ in range(_HEADERS):
        label, at = _label(data, at)
        if label == _HEADER_ALG:
            alg, at = _read_alg(data, at)
            alg_seen = True
        elif label == _HEADER_CONTENT_TYPE:
            content_format, at = _read_content_format(data, at)
        elif label == _HEADER_KID:
            kid, at = _bytes(data, at)
            device_id = facts.device_id(kid)
        elif label == _HEADER_CLAIMS:
            claims, at = _read_claims(data, at)
        else:
            raise Malformed("an unknown header")
    if at != len(data):
        raise Malformed("bytes after the protected header")
    if not alg_seen or content_format is None or device_id is None or claims is None:
        raise Malformed("a header stands twice, another is missing")
    return _Headers(alg, content_format, device_id, claims)


def _read_alg(data: bytes, at: int) -> tuple[Alg | None, int]:
    """Read the algorithm: None for an integer or a text that no registered key can have."""
    major, argument, start = _head(data, at)
    if major == _NEGATIVE:
        return _ALGS.get(-1 - argument), start
    if major == _UNSIGNED:
        return None, start
    name, end = _text(data, at)
    try:
        name.decode()
    except UnicodeDecodeError:
        raise Malformed("alg is not UTF-8") from None
    return None, end


def _read_content_format(data: bytes, at: int) -> tuple[int, int]:
    """Read the content type, a CoAP content-format."""
    major, content_format, end = _head(data, at)
    if major != _UNSIGNED or content_format not in _CONTENT_FORMATS:
        raise Malformed("the content type is none of the five")
    return content_format, end


def _read_claims(data: bytes, at: int) -> tuple[_Claims, int]:
    """Read the CWT claims: fleet, time, session and sequence."""
    fleet: str | None = None
    issued_at: float | None = None
    cti = b""
    at = _map(data, at, _CLAIMS)
    for _ in range(_CLAIMS):
        label, at = _label(data, at)
        if label == _CLAIM_AUD:
            aud, at = _text(data, at)
            fleet = facts.fleet_id(aud)
        elif label == _CLAIM_IAT:
            issued_at, at = _read_issued_at(data, at)
        elif label == _CLAIM_CTI:
            cti, at = _bytes(data, at)
            if len(cti) != _CTI_BYTES:
                raise Malformed("cti is not 16 bytes")
        else:
            raise Malformed("an unknown claim")
    if fleet is None or issued_at is None or not cti:
        raise Malformed("a claim stands twice, another is missing")
    seq = facts.sequence(int.from_bytes(cti[facts.SESSION_BYTES :], "big"))
    return _Claims(fleet, issued_at, cti[: facts.SESSION_BYTES], seq), at


def _read_issued_at(data: bytes, at: int) -> tuple[float, int]:
    """Read a time: an unsigned integer or a float of any width, untagged."""
    form = _FLOATS.get(data[at])
    if form is not None:
        (seconds,) = form.unpack_from(data, at + 1)
        return facts.issued_at(seconds), at + 1 + form.size
    major, number, end = _head(data, at)
    if major != _UNSIGNED:
        raise Malformed("iat is neither an integer from 0 nor a float")
    return facts.issued_at(number), end
