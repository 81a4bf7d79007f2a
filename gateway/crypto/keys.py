"""Public keys: which points may be registered, and which signatures they verify (FORMATS.md §1).

Ed25519 is libsodium's strict, cofactorless verification: S < L, A and R canonical, neither of small order. ES256 is
ECDSA on P-256 with SHA-256, the signature as 64 bytes ``r || s`` (RFC 7518 §3.4), either ``s`` accepted.

Not handled here: whether a key belongs to anyone (the registry), and secret keys.
"""

from __future__ import annotations

from typing import Final, NamedTuple

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
    from gateway.crypto import p256  # noqa: PLC0415 -- 8 MB, and only where such a key is registered

    try:
        p256.load(data)
    except ValueError:
        raise KeyRefused("off the curve or non-canonical") from None


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
    from gateway.crypto import p256  # noqa: PLC0415 -- as above

    return p256.verify(key.data, signing_input, signature)
