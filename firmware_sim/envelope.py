"""What a device signs: one set of facts, in one of two envelopes, COSE_Sign1 (RFC 9052) or flattened JWS (RFC 7515).

The bytes are made once. Whatever resends them, through any transport, sends these bytes.

Example:
    >>> from firmware_sim.keys import new_key
    >>> facts = Facts("home-1", "villa", 112, 1_760_000_000.0, bytes(8), 1)
    >>> seal("cose", new_key("Ed25519", b"seed", "home-1"), facts, b"").data[:1].hex()
    'd2'
"""

import base64
import hashlib
import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import cbor2

from firmware_sim.keys import Algorithm, DeviceKey, Encoding

COSE_ALGORITHM: Final[dict[Algorithm, int]] = {"Ed25519": -8, "ES256": -7}
COSE_ALGORITHM_FULLY_SPECIFIED: Final[dict[Algorithm, int]] = {"Ed25519": -19, "ES256": -9}
JWS_ALGORITHM: Final[dict[Algorithm, str]] = {"Ed25519": "EdDSA", "ES256": "ES256"}
CONTENT_TYPES: Final = {
    110: "application/senml+json",
    112: "application/senml+cbor",
    50: "application/json",
    60: "application/cbor",
    42: "application/octet-stream",
}
MEDIA_TYPE: Final[dict[Encoding, str]] = {
    "cose": 'application/cose; cose-type="cose-sign1"',
    "jws": "application/jose+json",
}
CONTENT_FORMAT: Final[dict[Encoding, int]] = {"cose": 18, "jws": 50}
_ONE_BYTE: Final = 24
_SIGNATURE_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Facts:
    """The signed facts beside the payload.

    Attributes:
        device_id: who speaks.
        fleet: for whom.
        content_type: CoAP content-format number of the payload.
        issued_at: seconds since 1970.
        session: 8 bytes, random per boot.
        seq: strictly rising within the session, below 2^63.
    """

    device_id: str
    fleet: str
    content_type: int
    issued_at: float
    session: bytes
    seq: int


@dataclass(frozen=True, slots=True)
class Sealed:
    """A signed message.

    Attributes:
        data: the envelope, as it goes on the wire.
        digest: SHA-256 of the signing input, the message's name for ever.
    """

    data: bytes
    digest: bytes


def seal(encoding: Encoding, key: DeviceKey, facts: Facts, payload: bytes) -> Sealed:
    """Sign the facts and the payload, in the envelope asked for."""
    if encoding == "cose":
        return seal_cose(key, cose_protected(key.alg, facts), payload)
    return seal_jws(key, jws_protected(key.alg, facts), payload)


def cbor_head(major: int, value: int) -> bytes:
    """The shortest head of a CBOR item (RFC 8949 §3)."""
    if value < _ONE_BYTE:
        return bytes((major << 5 | value,))
    for size, (extra, form) in enumerate(((24, ">B"), (25, ">H"), (26, ">I"), (27, ">Q"))):
        if value < 1 << (8 << size):
            return bytes((major << 5 | extra,)) + struct.pack(form, value)
    raise ValueError("a CBOR head holds 64 bits")


def cbor_bytes(value: bytes) -> bytes:
    """A CBOR byte string."""
    return cbor_head(2, len(value)) + value


def cbor_text(value: str) -> bytes:
    """A CBOR text string."""
    encoded = value.encode()
    return cbor_head(3, len(encoded)) + encoded


def cbor_number(value: float) -> bytes:
    """A CBOR integer or float64."""
    if isinstance(value, int):
        return cbor_head(0, value) if value >= 0 else cbor_head(1, -1 - value)
    return b"\xfb" + struct.pack(">d", value)


def cbor_map(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A CBOR map of pairs that are already encoded, in the order given, whatever they are."""
    pairs = tuple(pairs)
    return cbor_head(5, len(pairs)) + b"".join(key + value for key, value in pairs)


def cti(session: bytes, seq: int) -> bytes:
    """CWT claim 7: session and sequence as sixteen bytes."""
    return session + seq.to_bytes(8, "big")


def cose_protected(alg: Algorithm, facts: Facts) -> bytes:
    """The protected header map of a COSE_Sign1, encoded."""
    claims = cbor_map(
        (
            (b"\x03", cbor_text(facts.fleet)),
            (b"\x06", cbor_number(facts.issued_at)),
            (b"\x07", cbor_bytes(cti(facts.session, facts.seq))),
        )
    )
    return cbor_map(
        (
            (b"\x01", cbor_number(COSE_ALGORITHM[alg])),
            (b"\x03", cbor_number(facts.content_type)),
            (b"\x04", cbor_bytes(facts.device_id.encode())),
            (b"\x0f", claims),
        )
    )


def sig_structure(protected: bytes, payload: bytes) -> bytes:
    """The bytes that a COSE_Sign1 signature covers (RFC 9052 §4.4), with empty external data."""
    return b"\x84\x6aSignature1" + cbor_bytes(protected) + b"\x40" + cbor_bytes(payload)


def cose_envelope(protected: bytes, payload: bytes, signature: bytes) -> bytes:
    """Tag 18 around the array of four."""
    return b"\xd2\x84" + cbor_bytes(protected) + b"\xa0" + cbor_bytes(payload) + cbor_bytes(signature)


def seal_cose(key: DeviceKey, protected: bytes, payload: bytes) -> Sealed:
    """Sign a protected header, whatever it says, and a payload as COSE_Sign1."""
    signing_input = sig_structure(protected, payload)
    envelope = cose_envelope(protected, payload, key.sign(signing_input))
    return Sealed(envelope, hashlib.sha256(signing_input).digest())


def base64url(value: bytes) -> str:
    """Base64url without padding (RFC 4648 §5)."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """The reverse of `base64url`."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def jws_protected(alg: Algorithm, facts: Facts) -> bytes:
    """The protected header of a JWS: JSON in UTF-8."""
    return json.dumps(
        {
            "alg": JWS_ALGORITHM[alg],
            "kid": facts.device_id,
            "cty": CONTENT_TYPES[facts.content_type],
            "aud": facts.fleet,
            "iat": facts.issued_at,
            "sid": base64url(facts.session),
            "seq": facts.seq,
        },
        separators=(",", ":"),
    ).encode()


def jws_signing_input(protected: bytes, payload: bytes) -> bytes:
    """The bytes that a JWS signature covers (RFC 7515 §5.1)."""
    return f"{base64url(protected)}.{base64url(payload)}".encode()


def jws_envelope(protected: bytes, payload: bytes, signature: bytes) -> bytes:
    """The flattened JSON form."""
    return (
        f'{{"protected":"{base64url(protected)}","payload":"{base64url(payload)}",'
        f'"signature":"{base64url(signature)}"}}'
    ).encode()


def seal_jws(key: DeviceKey, protected: bytes, payload: bytes) -> Sealed:
    """Sign a protected header, whatever it says, and a payload as flattened JWS."""
    signing_input = jws_signing_input(protected, payload)
    envelope = jws_envelope(protected, payload, key.sign(signing_input))
    return Sealed(envelope, hashlib.sha256(signing_input).digest())


@dataclass(frozen=True, slots=True)
class Opened:
    """An envelope of our own taken apart again: for tests, fakes and the curious.

    Attributes:
        encoding: which envelope it was.
        alg: what the protected header names, as written.
        facts: the signed facts.
        payload: the payload's bytes.
        signature: the signature's bytes.
        signing_input: what the signature covers.
    """

    encoding: Encoding
    alg: int | str
    facts: Facts
    payload: bytes
    signature: bytes
    signing_input: bytes


def open_envelope(data: bytes) -> Opened:
    """Take a well-formed envelope apart. It trusts its input and checks no signature.

    Raises:
        KeyError, TypeError, ValueError: the bytes are no envelope.
    """
    return _open_cose(data) if data[:1] == b"\xd2" else _open_jws(data)


def _open_cose(data: bytes) -> Opened:
    protected, _, payload, signature = cbor2.loads(data).value
    header = cbor2.loads(protected)
    claims = header[15]
    facts = Facts(
        header[4].decode(), claims[3], header[3], claims[6], claims[7][:8], int.from_bytes(claims[7][8:], "big")
    )
    return Opened("cose", header[1], facts, payload, signature, sig_structure(protected, payload))


def _open_jws(data: bytes) -> Opened:
    members = json.loads(data)
    protected, payload = from_base64url(members["protected"]), from_base64url(members["payload"])
    header = json.loads(protected)
    content_type = next(number for number, name in CONTENT_TYPES.items() if name == header["cty"])
    session = from_base64url(header["sid"])
    facts = Facts(header["kid"], header["aud"], content_type, header["iat"], session, header["seq"])
    signing_input = f"{members['protected']}.{members['payload']}".encode()
    return Opened("jws", header["alg"], facts, payload, from_base64url(members["signature"]), signing_input)
