"""ES256: points on P-256, and the signatures that they verify. ``gateway.crypto.keys`` is what to call.

Apart from it because of what it brings: ``cryptography`` and OpenSSL are 8 MB of a signature worker that has none of
these keys to ask (docs/adr/0190).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

# SEC 2 §2.4.2: the order of P-256's base point.
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_ECDSA: Final = ec.ECDSA(SHA256())
_LOADED_KEYS: Final = 4096


@lru_cache(maxsize=_LOADED_KEYS)
def load(data: bytes) -> ec.EllipticCurvePublicKey:
    """Load a point; kept, because loading costs as much as a verification.

    Raises:
        ValueError: it is not on the curve, or not canonical.
    """
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), data)


def verify(key: bytes, signing_input: bytes, signature: bytes) -> bool:
    """Whether ``signature`` (``r || s``, 64 bytes) over ``signing_input`` was made with the point ``key``."""
    r = int.from_bytes(signature[:32], "big")
    s = int.from_bytes(signature[32:], "big")
    if not (0 < r < _ORDER and 0 < s < _ORDER):
        return False
    try:
        load(key).verify(encode_dss_signature(r, s), signing_input, _ECDSA)
    except InvalidSignature:
        return False
    return True
