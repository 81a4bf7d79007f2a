"""Web3 Secret Storage, version 3: a private key under a passphrase, in JSON (pure; new ones are given randomness).

Only what every wallet writes is read: AES-128-CTR, scrypt or PBKDF2-HMAC-SHA256, keccak256 over half the derived key
and the ciphertext. What the file asks of this machine is bounded before it is begun: a keystore is a stranger's input
until its MAC holds. No refusal repeats what the file or the passphrase holds.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import uuid
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CTR

from gateway.crypto.anchoring_key import (
    ADDRESS_BYTES,
    PRIVATE_KEY_BYTES,
    ChainExtraMissing,
    address_of,
    is_private_key,
    keccak256,
)
from gateway.jsontext import require_shallow

KDF_MEMORY_MAX: Final = 300 << 20
"""The customary n=262144, r=8 takes 256 MiB; more would not leave a small gateway its own."""
SCRYPT_WORK_MAX: Final = 1 << 30
"""Bytes that scrypt fills and mixes, 128·n·r·p: some ten seconds on a Raspberry Pi."""
PBKDF2_ROUNDS_MAX: Final = 10_000_000

_VERSION: Final = 3
_CIPHER: Final = "aes-128-ctr"
_PRF: Final = "hmac-sha256"
_IV_BYTES: Final = 16
_MAC_BYTES: Final = 32
_DERIVED_BYTES: Final = 32
_DERIVED_BYTES_MAX: Final = 64
_SALT_BYTES: Final = 32
_SALT_BYTES_MAX: Final = 256
_DAMAGED: Final = "restore it from your copy, or make another: securenet key create anchoring"


class KeystoreRefused(Exception):
    """A keystore cannot be opened: ``problem`` says why, ``hint`` what to do; what it holds is in neither."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(f"{problem}; {hint}")
        self.problem = problem
        self.hint = hint


class ScryptCost(NamedTuple):
    """What opening costs: 128·n·r bytes of memory, p times."""

    n: int
    r: int
    p: int


COST: Final = ScryptCost(1 << 15, 8, 3)
"""32 MiB: see docs/adr/0105."""


class _Scrypt(NamedTuple):
    salt: bytes
    cost: ScryptCost
    dklen: int

    def derive(self, passphrase: bytes) -> bytes:
        n, r, p = self.cost
        try:
            if n >= 1 << 16 * r:  # above RFC 7914's bound OpenSSL refuses, and old wallets wrote it all the same
                return _scrypt_beyond_rfc(passphrase, self)
            return hashlib.scrypt(
                passphrase, salt=self.salt, n=n, r=r, p=p, maxmem=2 * KDF_MEMORY_MAX, dklen=self.dklen
            )
        except (MemoryError, ValueError):  # OpenSSL tells an exhausted memory as a ValueError
            raise KeystoreRefused(
                f"takes {_memory(self.cost) >> 20} MiB to open, which this machine has not free",
                "free memory, or write the keystore anew with lower scrypt parameters",
            ) from None


class _Pbkdf2(NamedTuple):
    salt: bytes
    rounds: int
    dklen: int

    def derive(self, passphrase: bytes) -> bytes:
        return hashlib.pbkdf2_hmac("sha256", passphrase, self.salt, self.rounds, self.dklen)


class _Sealed(NamedTuple):
    kdf: _Scrypt | _Pbkdf2
    iv: bytes
    ciphertext: bytes
    mac: bytes
    address: bytes | None


def lock(
    private: bytes, passphrase: bytes, cost: ScryptCost = COST, random: Callable[[int], bytes] = os.urandom
) -> bytes:
    """A keystore of a private key, as text to be stored.

    Raises:
        ValueError: ``private`` is no private key of secp256k1.
        ChainExtraMissing: the Ethereum libraries are not installed.
    """
    if not is_private_key(private):
        raise ValueError("not a private key of secp256k1")
    salt, iv = random(_SALT_BYTES), random(_IV_BYTES)
    derived = _Scrypt(salt, cost, _DERIVED_BYTES).derive(passphrase)
    ciphertext = _aes_ctr(derived, iv, private)
    members = {
        "version": _VERSION,
        "id": str(uuid.UUID(bytes=random(16), version=4)),
        "address": address_of(private).hex(),
        "crypto": {
            "cipher": _CIPHER,
            "cipherparams": {"iv": iv.hex()},
            "ciphertext": ciphertext.hex(),
            "kdf": "scrypt",
            "kdfparams": {"dklen": _DERIVED_BYTES, **cost._asdict(), "salt": salt.hex()},
            "mac": _mac(derived, ciphertext).hex(),
        },
    }
    return (json.dumps(members, indent=2) + "\n").encode("ascii")


def unlock(data: bytes, passphrase: bytes) -> bytes:
    """The private key in a keystore, 32 bytes. May take ``KDF_MEMORY_MAX`` and seconds: not for an event loop.

    Raises:
        KeystoreRefused: it is no keystore of version 3, asks for too much, or the passphrase does not open it.
        ChainExtraMissing: the Ethereum libraries are not installed.
    """
    sealed = _parse(data)
    derived = sealed.kdf.derive(passphrase)
    if not hmac.compare_digest(_mac(derived, sealed.ciphertext), sealed.mac):
        raise KeystoreRefused(
            "is not opened by its passphrase (MAC mismatch)",
            "check that the passphrase is this keystore's: the whole file, without the line break at its end",
        )
    private = _aes_ctr(derived, sealed.iv, sealed.ciphertext)
    if not is_private_key(private):
        raise KeystoreRefused("opens, but holds no private key of secp256k1", _DAMAGED)
    if sealed.address is not None and sealed.address != address_of(private):
        raise KeystoreRefused("states another address than its key has", _DAMAGED)
    return private


def stated_address(data: bytes) -> bytes | None:
    """The address that a keystore states, unproven: who can write the file can write any. None: it states none.

    Raises:
        KeystoreRefused: it is no keystore of version 3, or asks for too much.
    """
    return _parse(data).address


def _scrypt_beyond_rfc(passphrase: bytes, kdf: _Scrypt) -> bytes:
    try:
        from Crypto.Protocol.KDF import scrypt  # noqa: PLC0415 -- comes with the extra chain
    except ImportError:
        raise ChainExtraMissing from None
    n, r, p = kdf.cost
    derived = scrypt(passphrase.decode("latin-1"), kdf.salt.decode("latin-1"), kdf.dklen, n, r, p)  # bytes, as text
    return derived if isinstance(derived, bytes) else b"".join(derived)


def _aes_ctr(derived: bytes, iv: bytes, data: bytes) -> bytes:
    context = Cipher(AES128(derived[:16]), CTR(iv)).encryptor()
    return context.update(data) + context.finalize()


def _mac(derived: bytes, ciphertext: bytes) -> bytes:
    return keccak256(derived[16:32] + ciphertext)


def _memory(cost: ScryptCost) -> int:
    return 128 * cost.r * (cost.n + cost.p + 2)


def _parse(data: bytes) -> _Sealed:
    whole = _Members(_json(data), "")
    if whole.integer("version") != _VERSION:
        raise KeystoreRefused(
            "is a keystore, but not of version 3", "export the account as Web3 keystore V3 (UTC/JSON)"
        )
    crypto = whole.object("crypto")
    if crypto.text("cipher") != _CIPHER:
        raise KeystoreRefused(f"is not encrypted with {_CIPHER}", "export the account as Web3 keystore V3 (UTC/JSON)")
    return _Sealed(
        _kdf(crypto),
        crypto.object("cipherparams").hex("iv", _IV_BYTES, _IV_BYTES),
        crypto.hex("ciphertext", PRIVATE_KEY_BYTES, PRIVATE_KEY_BYTES),
        crypto.hex("mac", _MAC_BYTES, _MAC_BYTES),
        whole.hex("address", ADDRESS_BYTES, ADDRESS_BYTES) if whole.has("address") else None,
    )


def _kdf(crypto: _Members) -> _Scrypt | _Pbkdf2:
    name = crypto.text("kdf")
    params = crypto.object("kdfparams")
    salt = params.hex("salt", 1, _SALT_BYTES_MAX)
    dklen = params.integer("dklen", _DERIVED_BYTES, _DERIVED_BYTES_MAX)
    if name == "scrypt":
        cost = ScryptCost(params.integer("n", 2), params.integer("r", 1), params.integer("p", 1))
        _bound(cost)
        return _Scrypt(salt, cost, dklen)
    if name == "pbkdf2":
        if params.text("prf") != _PRF:
            raise KeystoreRefused(f"has a prf other than {_PRF}", "export it anew with scrypt")
        rounds = params.integer("c", 1)
        if rounds > PBKDF2_ROUNDS_MAX:
            raise KeystoreRefused(
                f"asks for more than {PBKDF2_ROUNDS_MAX} rounds of PBKDF2", "export it anew with lower parameters"
            )
        return _Pbkdf2(salt, rounds, dklen)
    raise KeystoreRefused(
        "has a kdf other than scrypt and pbkdf2", "export the account as Web3 keystore V3 (UTC/JSON)"
    )


def _bound(cost: ScryptCost) -> None:
    if cost.n & (cost.n - 1):
        raise KeystoreRefused("has a scrypt n that is no power of two", _DAMAGED)
    if _memory(cost) > KDF_MEMORY_MAX:
        raise KeystoreRefused(
            f"asks scrypt for more than {KDF_MEMORY_MAX >> 20} MiB of memory", "export it anew with lower parameters"
        )
    if 128 * cost.n * cost.r * cost.p > SCRYPT_WORK_MAX:
        raise KeystoreRefused("asks scrypt for too many rounds", "export it anew with lower parameters")


def _json(data: bytes) -> dict[str, Any]:
    hint = "is this the right file? securenet key create anchoring writes one"
    try:
        whole = json.loads(require_shallow(data.decode("utf-8")), object_pairs_hook=_once)
    except ValueError:
        raise KeystoreRefused("is no JSON keystore", hint) from None
    if not isinstance(whole, dict):
        raise KeystoreRefused("is JSON, but no keystore", hint)
    return whole


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = {name.lower(): value for name, value in pairs}  # some wallets write "Crypto"
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


class _Members(NamedTuple):
    """A JSON object and where it stands; each member is asked for by its kind."""

    members: dict[str, Any]
    where: str

    def has(self, name: str) -> bool:
        return name in self.members

    def object(self, name: str) -> _Members:
        return _Members(self._get(name, dict, "an object"), f"{self.where}{name}.")

    def text(self, name: str) -> str:
        found: str = self._get(name, str, "text")
        return found

    def integer(self, name: str, low: int = 0, high: int | None = None) -> int:
        found: int = self._get(name, int, "an integer")
        if found < low or (high is not None and found > high):
            raise KeystoreRefused(f"has a {self.where}{name} out of bounds", _DAMAGED)
        return found

    def hex(self, name: str, low: int, high: int) -> bytes:
        digits = self.text(name).removeprefix("0x")
        try:
            found = bytes.fromhex(digits)
        except ValueError:
            found = b""
        if not low <= len(found) <= high or len(digits) != 2 * len(found):
            wanted = f"{low}" if low == high else f"{low} to {high}"
            raise KeystoreRefused(f"has no {wanted} bytes of hex in {self.where}{name}", _DAMAGED)
        return found

    def _get(self, name: str, kind: type, words: str) -> Any:  # noqa: ANN401 -- of ``kind``
        found = self.members.get(name)
        if type(found) is not kind:
            raise KeystoreRefused(f"has no {self.where}{name} that is {words}", _DAMAGED)
        return found
