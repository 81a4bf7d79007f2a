"""Are these public keys points that may be registered? The same question as ``crypto.keys``, asked for thousands.

One by one a key costs 13 µs (Ed25519) or 7 µs (P-256), in bulk 7 µs or 1 µs: half a second of a start, or more, with
100,000 devices. Adding two Ed25519 points makes libsodium decompress both and test that both are on the curve;
the rest is two comparisons: a canonical ``y`` is below p, and the eight points of small order have five canonical
``y`` between them. An uncompressed P-256 point is on the curve when it satisfies the equation; the group has no
cofactor.

These functions answer yes or no, and the tests hold them to the answers of ``crypto.keys.parse_public_key``; who
wants the reason asks there.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import starmap
from typing import Final

from nacl.bindings import crypto_core_ed25519_add
from nacl.exceptions import RuntimeError as SodiumRefusal

_P: Final = 2**255 - 19
_SIGN_BIT: Final = 1 << 255

# The y of the eight points whose order divides 8: the neutral one, its opposite, two of order 4, four of order 8.
_ORDER_8_Y: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER_YS: Final = frozenset({0, 1, _P - 1, _ORDER_8_Y, _P - _ORDER_8_Y})

# RFC 8032 §5.1.4: the base point; adding it to an odd key out makes a pair.
_BASE: Final = (4 * pow(5, -1, _P) % _P).to_bytes(32, "little")

# FIPS 186-5 / SEC 2: y² = x³ - 3x + b over the prime field of P-256.
_P256: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1
_P256_B: Final = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_SEC1_BYTES: Final = 65
_SEC1_UNCOMPRESSED: Final = 4
_ED25519_BYTES: Final = 32


def are_ed25519_points(keys: Sequence[bytes]) -> bool:
    """Whether every one of ``keys`` is the canonical encoding of a point on Ed25519 that is not of small order."""
    for key in keys:
        if len(key) != _ED25519_BYTES:
            return False
        y = int.from_bytes(key, "little") & ~_SIGN_BIT
        if y >= _P or y in _SMALL_ORDER_YS:
            return False
    even = list(keys) if len(keys) % 2 == 0 else [*keys, _BASE]
    try:
        for _sum in starmap(crypto_core_ed25519_add, zip(even[::2], even[1::2], strict=True)):
            pass
    except SodiumRefusal:
        return False
    return True


def is_p256_point(key: bytes) -> bool:
    """Whether ``key`` is an uncompressed SEC 1 point (65 bytes) on P-256."""
    if len(key) != _SEC1_BYTES or key[0] != _SEC1_UNCOMPRESSED:
        return False
    x = int.from_bytes(key[1:33], "big")
    y = int.from_bytes(key[33:], "big")
    return x < _P256 and y < _P256 and (y * y - (x * x - 3) * x - _P256_B) % _P256 == 0
