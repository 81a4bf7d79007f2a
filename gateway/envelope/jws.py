"""JWS in flattened JSON (RFC 7515 §7.2.2) with the seven facts in its protected header, and nothing else.

JSON is scanned by the standard library's C scanner, which is stricter than its reputation once three doors are shut:
numbers arrive here as the text they were, ``NaN`` and its like raise, and members that stand twice are counted before
a dict can hide one. What is left of its leniency is checked on the result: a lone surrogate is no member and no fact.
"""

from __future__ import annotations

import binascii
from hashlib import sha256
from json import JSONDecoder
from typing import Final, NoReturn

from gateway.envelope import facts
from gateway.envelope.facts import Malformed
from gateway.jsontext import is_shallow
from gateway.message import Alg, Encoding, Envelope

_MEMBERS: Final = frozenset({"protected", "payload", "signature"})
_HEADERS: Final = frozenset({"alg", "kid", "cty", "aud", "iat", "sid", "seq"})
# RFC 8037 §3.1 and RFC 9864 §2 for Ed25519, RFC 7518 §3.4.
_ALGS: Final = {"EdDSA": Alg.ED25519, "Ed25519": Alg.ED25519, "ES256": Alg.ES256}
_SEQ_DIGITS: Final = 19

# The standard alphabet's own signs are mapped to one that is in neither alphabet.
_FROM_URL: Final = bytes.maketrans(b"-_+/=", b"+/???")
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_PADDING: Final = (b"", b"===", b"==", b"=")


class _Number(str):
    """A JSON number as it was written: ``1``, ``1.0`` and ``-0`` are told apart."""

    __slots__ = ()


def _unique(members: list[tuple[str, object]]) -> dict[str, object]:
    """Make an object of its members, unescaped already."""
    unique = dict(members)
    if len(unique) != len(members):
        raise Malformed("a member stands twice")
    return unique


def _no_constant(_name: str) -> NoReturn:
    """Refuse NaN, Infinity and -Infinity, which the scanner knows and JSON does not."""
    raise Malformed("not JSON")


_SCAN: Final = JSONDecoder(
    object_pairs_hook=_unique, parse_int=_Number, parse_float=_Number, parse_constant=_no_constant
).raw_decode


def _object(data: bytes, names: frozenset[str]) -> dict[str, object]:
    """Read a JSON object of exactly the members ``names``, from its first byte to its last."""
    if data[:1] != b"{":
        raise Malformed("not a JSON object from the first byte")
    try:
        text = data.decode()
        if not is_shallow(text):
            raise Malformed("nested too deep")
        members, end = _SCAN(text)
    except ValueError:
        raise Malformed("not JSON in UTF-8") from None
    if end != len(text):
        raise Malformed("bytes after the object")
    if members.keys() != names:
        raise Malformed("a member is unknown or missing")
    return members  # type: ignore[no-any-return]  # the scanner is untyped; the first byte made it a dict


def _text(value: object) -> str:
    """Ask for a JSON string."""
    if type(value) is not str:
        raise Malformed("not a string where one belongs")
    return value


def _octets(value: object) -> bytes:
    """Ask for a JSON string that may stand for an id; one that is not Unicode stands for none."""
    return _text(value).encode(errors="replace")


def base64url(value: object) -> tuple[bytes, bytes]:
    """Decode strict base64url without padding (RFC 4648 §5 and §3.5): the text as bytes, and what it stands for.

    The decoder skips foreign characters and ignores trailing bits; encoding its result again shows both.
    """
    try:
        text = _text(value).encode("ascii")
        decoded = binascii.a2b_base64(text.translate(_FROM_URL) + _PADDING[len(text) & 3])
    except ValueError:
        raise Malformed("not base64url") from None
    again = binascii.b2a_base64(decoded, newline=False).rstrip(b"=").translate(_TO_URL)
    if again != text:
        raise Malformed("not base64url, or not its only form")
    return text, decoded


def jws_signing_input(protected: bytes, payload: bytes) -> bytes:
    """Join the JWS Signing Input (RFC 7515 §5.1) of what stands in the two members."""
    return protected + b"." + payload


def decode_jws(data: bytes) -> Envelope:
    """Read a JWS in flattened JSON.

    Raises:
        Malformed: it breaks a MUST of FORMATS.md §2.
    """
    members = _object(data, _MEMBERS)
    protected, header_json = base64url(members["protected"])
    payload_text, payload = base64url(members["payload"])
    _, signature = base64url(members["signature"])
    header = _object(header_json, _HEADERS)
    device_id = facts.device_id(_octets(header["kid"]))
    fleet = facts.fleet_id(_octets(header["aud"]))
    content_format = facts.CONTENT_FORMATS.get(_text(header["cty"]))
    if content_format is None:
        raise Malformed("the content type is none of the five")
    _, session = base64url(header["sid"])
    if len(session) != facts.SESSION_BYTES:
        raise Malformed("sid is not 8 bytes")
    signing_input = jws_signing_input(protected, payload_text)
    return Envelope(
        Encoding.JWS,
        device_id,
        fleet,
        _read_alg(header["alg"]),
        content_format,
        _read_issued_at(header["iat"]),
        session,
        _read_seq(header["seq"]),
        payload,
        signing_input,
        signature,
        sha256(signing_input).digest(),
    )


def _read_alg(value: object) -> Alg | None:
    """Read the algorithm: None for a text that no registered key can have."""
    name = _text(value)
    alg = _ALGS.get(name)
    if alg is None:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise Malformed("alg is not Unicode") from None
    return alg


def _read_issued_at(value: object) -> float:
    """Read a time, any JSON number, as the float64 nearest to it."""
    if type(value) is not _Number:
        raise Malformed("iat is not a number")
    return facts.issued_at(float(value))


def _read_seq(value: object) -> int:
    """Read a sequence number, written in digits only; its length is looked at before its value."""
    if type(value) is not _Number or not (value.isascii() and value.isdigit()) or len(value) > _SEQ_DIGITS:
        raise Malformed("seq is not a number of digits below 2^63")
    return facts.sequence(int(value))
