"""The data key on its way to a gateway: HPKE (RFC 9180), base mode, one wrapped key a recipient.

The suite is X25519 / HKDF-SHA256 / AES-256-GCM, or the hybrid MLKEM768-X25519 in X25519's place for those who fear
that what is kept today is opened in twenty years. Which of them a recipient has, its key's length says: 32 or 1,216.
The ``info`` binds a wrap to model, version, ciphertext and gateway: it opens nowhere else.

Not handled here: who is granted a model (the chain), and whose the recipient's key is (the registry).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from hashlib import shake_256
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from gateway.crypto.keys import KeyRefused
from gateway.vault.cipher import KEY_BYTES, TAG_BYTES
from gateway.vault.refusal import ModelRefusal, ModelRefused

X25519_KEY_BYTES: Final = 32
HYBRID_KEY_BYTES: Final = 1216
"""ML-KEM-768's encapsulation key (1,184 bytes), then X25519's."""
HYBRID_SEED_BYTES: Final = 32
WRAPPED_BYTES: Final = KEY_BYTES + TAG_BYTES

_INFO: Final = b"securenet.model-key/1\x00"
_DIGEST_BYTES: Final = 32
_MLKEM_KEY_BYTES: Final = 1184
_MLKEM_SEED_BYTES: Final = 64
_P: Final = 2**255 - 19
# Any scalar of X25519 is a multiple of the cofactor: it takes a point of small order to zero, whichever scalar it is.
_ANY_SCALAR: Final = bytes(32)

PrivateKey = X25519PrivateKey | MLKEM768X25519PrivateKey


class Kem(IntEnum):
    """How the shared secret is agreed on, by the number of the IANA registry "HPKE KEM Identifiers"."""

    X25519 = 0x0020
    MLKEM768_X25519 = 0x647A

    @property
    def enc_bytes(self) -> int:
        """How long an encapsulated key is."""
        return 32 if self is Kem.X25519 else 1120


class Wrapped(NamedTuple):
    """A data key for one gateway: the encapsulated key, and 48 bytes that hold the data key."""

    kem: Kem
    enc: bytes
    ciphertext: bytes


class Recipient(NamedTuple):
    """A public key that ``parse_recipient`` let through."""

    kem: Kem
    data: bytes


def parse_recipient(data: bytes) -> Recipient:
    """Check that ``data`` is a key that may be wrapped for, as a miner registers it.

    Raises:
        KeyRefused: of neither length, not canonical, of small order, or no encapsulation key of ML-KEM.
    """
    if len(data) not in (X25519_KEY_BYTES, HYBRID_KEY_BYTES):
        raise KeyRefused("an HPKE key has 32 bytes, or 1,216 if it is hybrid")
    point = data[-X25519_KEY_BYTES:]
    if int.from_bytes(point, "little") >= _P:
        raise KeyRefused("non-canonical")
    try:
        X25519PrivateKey.from_private_bytes(_ANY_SCALAR).exchange(X25519PublicKey.from_public_bytes(point))
    except ValueError:
        raise KeyRefused("of small order") from None
    if len(data) == X25519_KEY_BYTES:
        return Recipient(Kem.X25519, data)
    try:
        MLKEM768PublicKey.from_public_bytes(data[:_MLKEM_KEY_BYTES])
    except ValueError:
        raise KeyRefused("no encapsulation key of ML-KEM-768") from None
    return Recipient(Kem.MLKEM768_X25519, data)


def hybrid_private_key(seed: bytes) -> MLKEM768X25519PrivateKey:
    """Return the hybrid key of a seed of 32 bytes: SHAKE256 of it is ML-KEM's seed (64) and X25519's scalar (32)."""
    if len(seed) != HYBRID_SEED_BYTES:
        raise ValueError(f"a hybrid key's seed has {HYBRID_SEED_BYTES} bytes")
    expanded = shake_256(seed).digest(_MLKEM_SEED_BYTES + X25519_KEY_BYTES)
    return MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(expanded[:_MLKEM_SEED_BYTES]),
        X25519PrivateKey.from_private_bytes(expanded[_MLKEM_SEED_BYTES:]),
    )


def hybrid_recipient(seed: bytes) -> Recipient:
    """Return the public key of ``hybrid_private_key(seed)``."""
    expanded = shake_256(seed).digest(_MLKEM_SEED_BYTES + X25519_KEY_BYTES)
    encapsulation = MLKEM768PrivateKey.from_seed_bytes(expanded[:_MLKEM_SEED_BYTES]).public_key()
    point = X25519PrivateKey.from_private_bytes(expanded[_MLKEM_SEED_BYTES:]).public_key()
    return parse_recipient(encapsulation.public_bytes_raw() + point.public_bytes_raw())


def wrap_info(model_id: str, version: int, ciphertext_sha256: bytes, gateway_id: str) -> bytes:
    """Return what a wrapped key is bound to: FORMATS.md §7."""
    if len(ciphertext_sha256) != _DIGEST_BYTES:
        raise ValueError("a SHA-256 has 32 bytes")
    model = model_id.encode() + b"\x00" + version.to_bytes(8, "big")
    return _INFO + model + ciphertext_sha256 + gateway_id.encode()


def wrap(data_key: bytes, recipient: Recipient, info: bytes) -> Wrapped:
    """Wrap a data key for a recipient; no two wraps are alike."""
    if len(data_key) != KEY_BYTES:
        raise ValueError(f"a data key has {KEY_BYTES} bytes")
    sealed = suite(recipient.kem).encrypt(data_key, public_key(recipient), info=info)
    at = recipient.kem.enc_bytes
    return Wrapped(recipient.kem, sealed[:at], sealed[at:])


def wrap_for(
    recipients: Mapping[str, Recipient], data_key: bytes, model_id: str, version: int, ciphertext_sha256: bytes
) -> dict[str, Wrapped]:
    """Wrap a data key once for each gateway, by its id."""
    return {
        gateway_id: wrap(data_key, recipient, wrap_info(model_id, version, ciphertext_sha256, gateway_id))
        for gateway_id, recipient in recipients.items()
    }


def unwrap(wrapped: Wrapped, private_key: PrivateKey, info: bytes) -> bytes:
    """Return the data key.

    Raises:
        ModelRefused: ``wrap-failed``: for another key or kind of key, for another info, of small order, or altered.
    """
    kind = Kem.X25519 if isinstance(private_key, X25519PrivateKey) else Kem.MLKEM768_X25519
    if wrapped.kem is not kind:
        raise ModelRefused(ModelRefusal.WRAP_FAILED, "it is wrapped for another kind of key")
    if len(wrapped.enc) != kind.enc_bytes or len(wrapped.ciphertext) != WRAPPED_BYTES:
        raise ModelRefused(ModelRefusal.WRAP_FAILED, "it has not the length of a wrapped key")
    try:
        return suite(kind).decrypt(wrapped.enc + wrapped.ciphertext, private_key, info=info)
    except (InvalidTag, ValueError):
        raise ModelRefused(ModelRefusal.WRAP_FAILED, "it does not open with this gateway's key") from None


def suite(kem: Kem) -> Suite:
    """The suite of RFC 9180 that goes with a KEM."""
    return Suite(KEM.X25519 if kem is Kem.X25519 else KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def public_key(recipient: Recipient) -> X25519PublicKey | MLKEM768X25519PublicKey:
    """A recipient's key, to encrypt to."""
    point = X25519PublicKey.from_public_bytes(recipient.data[-X25519_KEY_BYTES:])
    if recipient.kem is Kem.X25519:
        return point
    return MLKEM768X25519PublicKey(MLKEM768PublicKey.from_public_bytes(recipient.data[:_MLKEM_KEY_BYTES]), point)
