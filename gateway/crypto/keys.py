"""Public keys: which points may be registered, and which signatures they verify (FORMATS.md §1).

Ed25519 is libsodium's strict, cofactorless verification: S < L, A and R canonical, neither of small order. ES256 is
ECDSA on P-256 with SHA-256, the signature as 64 bytes ``r || s`` (RFC 7518 §3.4), either ``s`` accepted.

Not handled here: whether a key belongs to anyone (the registry), and secret keys.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from nacl.bindings import crypto_core_ed25519_add, crypto_sign_open
from nacl.exceptions import BadSignatureError
from nacl.exceptions import RuntimeError as SodiumRefusal

from gateway.message import Alg

ED25519_KEY_BYTES: Final = 32
P256_KEY_BYTES: Final = 65
SIGNATURE_BYTES: Final = 64

_SEC1_UNCOMPRESSED: Final = 0x04
_P: Final = 2**255 - 19
_SIGN_BIT: Final = 1 << 255
# The y of the eight points whose order divides 8: the neutral one, its opposite, two of order 4, four of order 8.
_ORDER_8_Y: Final = int.from_bytes(
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"
)
_SMALL_ORDER_YS: Final = frozenset({0, 1, _P - 1, _ORDER_8_Y, _P - _ORDER_8_Y})
# SEC 2 §2.4.2: the order of P-256's base point.
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_ECDSA: Final = ec.ECDSA(SHA256())
_LOADED_KEYS: Final = 4096


class PublicKey(NamedTuple):
    """A key that ``parse_public_key`` let through: 32 bytes for Ed25519, 65 bytes of SEC 1 for ES256."""

    alg: Alg
    data: bytes


class KeyRefused(ValueError):
    """The bytes are not a public key that may be registered; ``reason`` says why, in our own words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def parse_public_key(alg: Alg, data: bytes) -> PublicKey:
    """Check that ``data`` is a point that may be registered.

    Args:
        alg: what the key is for; nothing else will be verified with it.
        data: 32 bytes (RFC 8032 §5.1.2), or 65 bytes of uncompressed SEC 1 §2.3.3.

    Raises:
        KeyRefused: wrong length or form, off the curve, non-canonical, or of small order.
    """
    if alg is Alg.ED25519:
        _refuse_ed25519(data)
    else:
        _refuse_p256(data)
    return PublicKey(alg, data)


def _refuse_ed25519(data: bytes) -> None:
    """Raise KeyRefused unless ``data`` is the canonical encoding of a point that is not of small order."""
    if len(data) != ED25519_KEY_BYTES:
        raise KeyRefused("an Ed25519 key has 32 bytes")
    y = int.from_bytes(data, "little") & ~_SIGN_BIT
    if y >= _P:
        raise KeyRefused("non-canonical")
    if y in _SMALL_ORDER_YS:
        raise KeyRefused("of small order")
    try:
        # Adding decompresses both points, which fails off the curve: a third of the price of libsodium's own test,
        # which would also refuse what FORMATS.md does not (a point of mixed order).
        crypto_core_ed25519_add(data, data)
    except SodiumRefusal:
        raise KeyRefused("off the curve") from None


def _refuse_p256(data: bytes) -> None:
    """Raise KeyRefused unless ``data`` is an uncompressed point on P-256; the group has no small orders."""
    if len(data) != P256_KEY_BYTES or data[0] != _SEC1_UNCOMPRESSED:
        raise KeyRefused("a P-256 key is 65 bytes of SEC 1, uncompressed")
    try:
        _load_p256(data)
    except ValueError:
        raise KeyRefused("off the curve or non-canonical") from None


@lru_cache(maxsize=_LOADED_KEYS)
def _load_p256(data: bytes) -> ec.EllipticCurvePublicKey:
    """Load a point; kept, because loading costs as much as a verification."""
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), data)


def verify(key: PublicKey, signing_input: bytes, signature: bytes) -> bool:
    """Whether ``signature`` over ``signing_input`` was made with ``key``; never raises for what a peer sent."""
    if len(signature) != SIGNATURE_BYTES:
        return False
    if key.alg is Alg.ED25519:
        try:
            crypto_sign_open(signature + signing_input, key.data)
        except BadSignatureError:
            return False
        return True
    r = int.from_bytes(signature[:32], "big")
    s = int.from_bytes(signature[32:], "big")
    if not (0 < r < _P256_ORDER and 0 < s < _P256_ORDER):
        return False
    try:
        _load_p256(key.data).verify(encode_dss_signature(r, s), signing_input, _ECDSA)
    except InvalidSignature:
        return False
    return True
