"""Conformance cases for signatures: everything that is almost one (the formats page §1 and §3 step 4)."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from nacl import bindings as sodium

from firmware_sim.envelope import (
    Sealed,
    cbor_bytes,
    cose_envelope,
    cose_protected,
    jws_envelope,
    jws_protected,
    jws_signing_input,
    open_envelope,
    sig_structure,
)
from firmware_sim.keys import P256_ORDER, Algorithm, DeviceKey, Encoding, new_key
from firmware_sim.kit_model import ENCODINGS, PAYLOAD, Bench, Case, Make, Step
from firmware_sim.ledger import ACCEPTED

BAD: Final = "bad-signature"
# RFC 8032 §5.1: the order of the base point.
ED25519_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
# A point of order eight (Wycheproof and others print it), and the neutral element.
ORDER_EIGHT: Final = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
NEUTRAL: Final = (1).to_bytes(32, "little")
# The same neutral element with y written as p + 1.
NEUTRAL_NON_CANONICAL: Final = (2**255 - 19 + 1).to_bytes(32, "little")

Bend = Callable[[DeviceKey, bytes], bytes]


def _le(value: int) -> bytes:
    return value.to_bytes(32, "little")


def _scalar(key: DeviceKey) -> int:
    """The secret scalar of an Ed25519 key (RFC 8032 §5.1.5)."""
    digest = bytearray(hashlib.sha512(key.secret).digest()[:32])
    digest[0] &= 248
    digest[31] = digest[31] & 127 | 64
    return int.from_bytes(digest, "little")


def _challenge(nonce_point: bytes, key: DeviceKey, signing_input: bytes) -> int:
    return int.from_bytes(hashlib.sha512(nonce_point + key.public_key + signing_input).digest(), "little")


def _with_nonce_point(key: DeviceKey, signing_input: bytes, nonce: int, point: bytes) -> bytes:
    s = (nonce + _challenge(point, key, signing_input) * _scalar(key)) % ED25519_ORDER
    return point + _le(s)


def _torsion(key: DeviceKey, signing_input: bytes) -> bytes:
    """Holds when cofactors are cleared, fails without."""
    nonce = int.from_bytes(hashlib.sha256(signing_input).digest(), "little") % ED25519_ORDER
    point = sodium.crypto_core_ed25519_add(sodium.crypto_scalarmult_ed25519_base_noclamp(_le(nonce)), ORDER_EIGHT)
    return _with_nonce_point(key, signing_input, nonce, point)


def _s_plus_order(key: DeviceKey, signing_input: bytes) -> bytes:
    signature = key.sign(signing_input)
    return signature[:32] + _le(int.from_bytes(signature[32:], "little") + ED25519_ORDER)


def _flip(position: int, bit: int) -> Bend:
    def bend(key: DeviceKey, signing_input: bytes) -> bytes:
        signature = bytearray(key.sign(signing_input))
        signature[position] ^= bit
        return bytes(signature)

    return bend


def _fixed(value: bytes) -> Bend:
    return lambda _key, _signing_input: value


ANY: Final[tuple[tuple[str, Bend], ...]] = (
    *((f"of {size} bytes", _fixed(bytes(size))) for size in (0, 1, 32, 63, 65, 96, 128, 4_096)),
    ("of zeros", _fixed(bytes(64))),
    ("of ones", _fixed(b"\xff" * 64)),
    ("cut by one byte", lambda key, message: key.sign(message)[:-1]),
    ("with one byte more", lambda key, message: key.sign(message) + b"\x00"),
    ("twice", lambda key, message: key.sign(message) * 2),
    ("with its first bit flipped", _flip(0, 1)),
    ("with a middle bit flipped", _flip(33, 2)),
    ("with its last bit flipped", _flip(63, 128)),
    ("halves swapped", lambda key, message: key.sign(message)[32:] + key.sign(message)[:32]),
    ("by another key", lambda key, message: new_key(key.alg).sign(message)),
    ("over the message and a byte", lambda key, message: key.sign(message + b"\x00")),
    ("over the digest", lambda key, message: key.sign(hashlib.sha256(message).digest())),
    ("over the payload alone", lambda key, _: key.sign(PAYLOAD)),
    ("over nothing", lambda key, _: key.sign(b"")),
)
ED25519: Final[tuple[tuple[str, Bend], ...]] = (
    ("S plus the order", _s_plus_order),
    ("R with a part of order eight", _torsion),
    ("R neutral", lambda key, message: _with_nonce_point(key, message, 0, NEUTRAL)),
    ("R neutral, not canonical", lambda key, message: _with_nonce_point(key, message, 0, NEUTRAL_NON_CANONICAL)),
    ("R of order eight", lambda key, message: _with_nonce_point(key, message, 0, ORDER_EIGHT)),
    ("R neutral and S zero", _fixed(NEUTRAL + bytes(32))),
    ("by P-256", lambda _, message: new_key("ES256").sign(message)),
)


def _ecdsa(key: DeviceKey, message: bytes) -> tuple[int, int]:
    signature = key.sign(message)
    return int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")


def _pair(r: int, s: int) -> bytes:
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _in_der(key: DeviceKey, message: bytes) -> bytes:
    return encode_dss_signature(*_ecdsa(key, message))


def _by_sha384(key: DeviceKey, message: bytes) -> bytes:
    private = ec.derive_private_key(int.from_bytes(key.secret, "big"), ec.SECP256R1())
    der = private.sign(message, ec.ECDSA(hashes.SHA384()))
    # DER of two integers: each behind a tag and a length (X.690 §8.3).
    r_end = 4 + der[3]
    r, s = int.from_bytes(der[4:r_end], "big"), int.from_bytes(der[r_end + 2 :], "big")
    return _pair(r, s)


ES256: Final[tuple[tuple[str, Bend], ...]] = (
    ("r zero", lambda key, message: _pair(0, _ecdsa(key, message)[1])),
    ("s zero", lambda key, message: _pair(_ecdsa(key, message)[0], 0)),
    ("r is n", lambda key, message: _pair(P256_ORDER, _ecdsa(key, message)[1])),
    ("s is n", lambda key, message: _pair(_ecdsa(key, message)[0], P256_ORDER)),
    ("r above n", lambda key, message: _pair(2**256 - 1, _ecdsa(key, message)[1])),
    ("both one", _fixed(_pair(1, 1))),
    ("in DER", _in_der),
    ("over SHA-384", _by_sha384),
    ("by Ed25519", lambda _, message: new_key("Ed25519").sign(message)),
)


def _low_s(key: DeviceKey, message: bytes) -> bytes:
    r, s = _ecdsa(key, message)
    return _pair(r, min(s, P256_ORDER - s))


def _high_s(key: DeviceKey, message: bytes) -> bytes:
    r, s = _ecdsa(key, message)
    return _pair(r, max(s, P256_ORDER - s))


def other_s(signature: bytes) -> bytes:
    """The other signature that every ECDSA signature stands for."""
    s = int.from_bytes(signature[32:], "big")
    return signature[:32] + (P256_ORDER - s).to_bytes(32, "big")


def _case(encoding: Encoding, alg: Algorithm, bend: Bend, expected: str) -> Make:
    def make(bench: Bench) -> Iterable[Step]:
        speaker = bench.device(alg)
        facts = speaker.facts()
        if encoding == "cose":
            protected = cose_protected(alg, facts)
            signing_input = sig_structure(protected, PAYLOAD)
            data = cose_envelope(protected, PAYLOAD, bend(speaker.record.key, signing_input))
        else:
            protected = jws_protected(alg, facts)
            signing_input = jws_signing_input(protected, PAYLOAD)
            data = jws_envelope(protected, PAYLOAD, bend(speaker.record.key, signing_input))
        sealed = Sealed(data, hashlib.sha256(signing_input).digest())
        yield speaker.step(encoding, sealed, expected)

    return make


def signature_cases() -> Iterator[Case]:
    """Every case about signatures."""
    tables: dict[Algorithm, tuple[tuple[str, Bend], ...]] = {"Ed25519": ANY + ED25519, "ES256": ANY + ES256}
    for encoding in ENCODINGS:
        for alg, table in tables.items():
            for name, bend in table:
                yield Case(f"{encoding}/signature/{alg} {name}", "§1, §3 step 4", _case(encoding, alg, bend, BAD))
        for name, bend in (("low s", _low_s), ("high s", _high_s)):
            yield Case(f"{encoding}/signature/ES256 {name}", "§1", _case(encoding, "ES256", bend, ACCEPTED))
        yield Case(f"{encoding}/signature/by another registered device", "§3 step 4", _by_neighbour(encoding))
        yield Case(f"{encoding}/signature/session changed after signing", "§2", _session_changed(encoding))
    for name, covered in (
        ("another context", lambda p, d: b"\x84\x69Signature" + cbor_bytes(p) + b"\x40" + cbor_bytes(d)),
        ("external data", lambda p, d: b"\x84\x6aSignature1" + cbor_bytes(p) + b"\x41\x78" + cbor_bytes(d)),
        ("null external data", lambda p, d: b"\x84\x6aSignature1" + cbor_bytes(p) + b"\xf6" + cbor_bytes(d)),
        ("five parts", lambda p, d: b"\x85\x69Signature" + cbor_bytes(p) + b"\x40\x40" + cbor_bytes(d)),
    ):
        yield Case(f"cose/signature/over {name}", "§2", _covering(covered))


def _covering(covered: Callable[[bytes, bytes], bytes]) -> Make:
    def make(bench: Bench) -> Iterable[Step]:
        speaker = bench.device()
        protected = cose_protected("Ed25519", speaker.facts())
        signature = speaker.record.key.sign(covered(protected, PAYLOAD))
        yield speaker.raw("cose", cose_envelope(protected, PAYLOAD, signature), BAD)

    return make


def _by_neighbour(encoding: Encoding) -> Make:
    def make(bench: Bench) -> Iterable[Step]:
        speaker, neighbour = bench.device(), bench.device()
        sealed = neighbour.sealed(encoding, neighbour.facts(device_id=speaker.record.device_id))
        expected = BAD if neighbour.record is not speaker.record else ACCEPTED
        yield speaker.step(encoding, sealed, expected)

    return make


def _session_changed(encoding: Encoding) -> Make:
    def make(bench: Bench) -> Iterable[Step]:
        speaker = bench.device()
        facts = speaker.facts()
        changed = replace(facts, session=bytes((facts.session[0] ^ 1,)) + facts.session[1:])
        opened = open_envelope(speaker.sealed(encoding, facts).data)
        if encoding == "cose":
            data = cose_envelope(cose_protected("Ed25519", changed), PAYLOAD, opened.signature)
        else:
            data = jws_envelope(jws_protected("Ed25519", changed), PAYLOAD, opened.signature)
        yield speaker.raw(encoding, data, BAD)

    return make
