"""A gateway's HPKE key as a file: PKCS#8 PEM for X25519, and a PEM of its own for the hybrid with ML-KEM-768 (pure).

There is no registered PKCS#8 form of MLKEM768-X25519 yet, so its file holds the seed of 32 bytes that
draft-ietf-hpke-pq makes the key of, under a label that no other program takes for something else.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from typing import Final, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from gateway.crypto.keys import KeyRefused
from gateway.vault.wrap import (
    HYBRID_SEED_BYTES,
    Kem,
    PrivateKey,
    Recipient,
    hybrid_private_key,
    hybrid_recipient,
    parse_recipient,
)

_LABEL: Final = b"SECURENET MLKEM768-X25519 SEED"
_HYBRID: Final = re.compile(
    rb"\s*-----BEGIN " + _LABEL + rb"-----\r?\n([A-Za-z0-9+/=]{1,100})\r?\n-----END " + _LABEL + rb"-----\s*"
)


class HpkeKey(NamedTuple):
    """What a gateway unwraps with, and the public half that its miner's record names."""

    private: PrivateKey
    recipient: Recipient

    @property
    def public(self) -> bytes:
        """32 bytes of X25519, or 1,216 of the hybrid."""
        return self.recipient.data

    @property
    def is_hybrid(self) -> bool:
        """Whether it withstands a quantum computer as well (row A12)."""
        return self.recipient.kem is Kem.MLKEM768_X25519


def x25519_pem(private: X25519PrivateKey) -> bytes:
    """The file of an X25519 key."""
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def hybrid_pem(seed: bytes) -> bytes:
    """The file of the hybrid key of a seed of 32 bytes."""
    if len(seed) != HYBRID_SEED_BYTES:
        raise ValueError(f"a hybrid key's seed has {HYBRID_SEED_BYTES} bytes")
    return b"-----BEGIN " + _LABEL + b"-----\n" + b64encode(seed) + b"\n-----END " + _LABEL + b"-----\n"


def hybrid_key(seed: bytes) -> HpkeKey:
    """The hybrid key of a seed of 32 bytes."""
    return HpkeKey(hybrid_private_key(seed), hybrid_recipient(seed))


def parse_hpke_pem(data: bytes) -> HpkeKey:
    """Read a key from its file.

    Raises:
        KeyRefused: it is neither, has a passphrase, or is a key of another kind.
    """
    hybrid = _HYBRID.fullmatch(data)
    if hybrid is not None:
        try:
            seed = b64decode(hybrid[1], validate=True)
        except binascii.Error:
            raise KeyRefused("its base64 is broken") from None
        if len(seed) != HYBRID_SEED_BYTES:
            raise KeyRefused(f"a hybrid key's seed has {HYBRID_SEED_BYTES} bytes")
        return hybrid_key(seed)
    try:
        private = load_pem_private_key(data, password=None)
    except TypeError:
        raise KeyRefused("is protected by a passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyRefused("is neither a private key in PKCS#8 PEM nor a hybrid seed") from None
    if not isinstance(private, X25519PrivateKey):
        raise KeyRefused("is a private key, but no X25519 key")
    return HpkeKey(private, parse_recipient(private.public_key().public_bytes_raw()))
