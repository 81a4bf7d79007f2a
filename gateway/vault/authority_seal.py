"""The authority's store as bytes: how it is sealed, and the file's one spelling (pure but for randomness).

    passphrase --scrypt--> root key --AES-256-GCM--> each secret and data key, alone
                               `----HMAC-SHA256----> the whole file

The root key lies in the same file, sealed under the passphrase, or is given from outside and lies nowhere here.
Secrets that Python lets us overwrite are overwritten: ``wipe``.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from gateway.crypto.keystore import COST, KDF_MEMORY_MAX, SCRYPT_WORK_MAX, ScryptCost
from gateway.vault.authority_disk import StoreRefused
from gateway.vault.authority_words import (
    VERSION_MAX,
    AuthorityRefused,
    hexadecimal,
    is_model,
    read_members,
    to_bytes,
)
from gateway.vault.cipher import KEY_BYTES, TAG_BYTES

FORMAT: Final = "securenet.authority-store/1"
ROOT_KEY_BYTES: Final = 32
KEYS_MAX: Final = 10_000
FILE_BYTES_MAX: Final = 8 * 1024 * 1024
SECRET_BYTES_MAX: Final = 4096

_SALT_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_MAC_BYTES: Final = 32
_COST_MAX: Final = 1 << 30
_PUBLISHER_MAX: Final = 64
_MEMBERS: Final = ("format", "generation", "root", "secrets", "keys", "mac")
_PASSPHRASE: Final = ("kind", "n", "r", "p", "salt", "sealed")
_RESTORE: Final = "restore it from your copy"


class Passphrase:
    """What opens the root key that lies in the store. ``cost`` is for what is sealed anew."""

    def __init__(self, words: bytes, cost: ScryptCost = COST) -> None:
        self.words = words
        self.cost = cost

    def __repr__(self) -> str:
        return "Passphrase(…)"


class RootKey:
    """A root key that lies elsewhere, as a systemd credential."""

    def __init__(self, key: bytes) -> None:
        if len(key) != ROOT_KEY_BYTES:
            raise StoreRefused(
                f"the root key has not {ROOT_KEY_BYTES} bytes", "it is 32 random bytes, or 64 hexadecimal digits"
            )
        self.key = key

    def __repr__(self) -> str:
        return "RootKey(…)"


Unlock = Passphrase | RootKey


def root_key_of(data: bytes) -> RootKey:
    """A root key as it stands in a file: 32 bytes, or as many as hexadecimal digits and a line break.

    Raises:
        StoreRefused: it is neither.
    """
    if len(data) == ROOT_KEY_BYTES:
        return RootKey(data)
    try:
        return RootKey(bytes.fromhex(data.decode("ascii").strip()))
    except ValueError:
        return RootKey(b"")


class KeyRow(NamedTuple):
    """A data key, sealed, and whose it is."""

    model_id: str
    version: int
    publisher: str
    created_ms: int
    sealed: bytes

    def __repr__(self) -> str:
        return f"KeyRow({self.model_id!r}, {self.version}, {self.publisher!r})"


class State(NamedTuple):
    """The file, but for its MAC. ``root`` is None where the root key lies elsewhere."""

    generation: int
    root: SealedRoot | None
    secrets: dict[str, bytes]
    rows: tuple[KeyRow, ...]


class SealedRoot(NamedTuple):
    """The root key under a passphrase, and what scrypt was told."""

    cost: ScryptCost
    salt: bytes
    sealed: bytes


# --- the root key ---


def new_root(unlock: Unlock, random: Callable[[int], bytes]) -> tuple[bytearray, SealedRoot | None]:
    """A root key to seal with, and how it lies in the file: made here, or the one that is given."""
    if isinstance(unlock, RootKey):
        return bytearray(unlock.key), None
    root, salt = bytearray(random(ROOT_KEY_BYTES)), random(_SALT_BYTES)
    outer = _derive(unlock.words, unlock.cost, salt)
    sealed = seal(outer, bytes(root), _root_context(unlock.cost, salt))
    wipe(outer)
    return root, SealedRoot(unlock.cost, salt, sealed)


def root_of(state: State, unlock: Unlock) -> bytearray:
    """The root key of a file. May take the memory and seconds of scrypt.

    Raises:
        StoreRefused: it is not opened by this.
    """
    if isinstance(unlock, RootKey):
        if state.root is not None:
            raise StoreRefused("the store is opened by a passphrase, not by a root key", "give --passphrase-file")
        return bytearray(unlock.key)
    if state.root is None:
        raise StoreRefused("the store's root key lies elsewhere", "give --root-key")
    cost, salt, sealed = state.root
    outer = _derive(unlock.words, cost, salt)
    try:
        aead = AESGCM(_subkey(outer, b"seal"))
        return bytearray(aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _root_context(cost, salt)))
    except InvalidTag:
        raise StoreRefused(*not_opened(state)) from None
    finally:
        wipe(outer)


def not_opened(state: State) -> tuple[str, str]:
    """What is wrong when a key does not fit, and what to do."""
    if state.root is None:
        return "the store is not opened by this root key", (
            f"its root key is number {state.generation}; if this is it, the file is damaged: {_RESTORE}"
        )
    return "the store is not opened by this passphrase", f"if it is the right one, the file is damaged: {_RESTORE}"


def _derive(words: bytes, cost: ScryptCost, salt: bytes) -> bytearray:
    try:
        return bytearray(
            hashlib.scrypt(words, salt=salt, **cost._asdict(), maxmem=2 * KDF_MEMORY_MAX, dklen=KEY_BYTES)
        )
    except (MemoryError, ValueError):
        raise StoreRefused("scrypt has not the memory that it takes", "free memory") from None


# --- sealing ---


def _subkey(root: bytearray, what: bytes) -> bytes:
    return HKDFExpand(SHA256(), KEY_BYTES, b"securenet.authority/1\x00" + what).derive(root)


def seal(root: bytearray, secret: bytes, context: bytes) -> bytes:
    """A secret under a root key, bound to what it is."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(_subkey(root, b"seal")).encrypt(nonce, secret, context)


def unseal(root: bytearray, sealed: bytes, context: bytes, what: str) -> bytes:
    """What ``seal`` sealed.

    Raises:
        StoreRefused: it does not open; ``what`` names it.
    """
    try:
        return AESGCM(_subkey(root, b"seal")).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context)
    except InvalidTag:
        raise StoreRefused(f"{what} in the store does not open", _RESTORE) from None


def mac_of(root: bytearray, state: State) -> bytes:
    """The MAC of a whole file."""
    return hmac.digest(_subkey(root, b"file"), to_bytes(_members(state)), "sha256")


def row_context(row: KeyRow) -> bytes:
    """What the seal of a data key is bound to."""
    return to_bytes({"key": [row.model_id, row.version, row.publisher, row.created_ms]})


def secret_context(name: str) -> bytes:
    """What the seal of another secret is bound to."""
    return to_bytes({"secret": name})


def _root_context(cost: ScryptCost, salt: bytes) -> bytes:
    return to_bytes({"root": [*cost, salt.hex()]})


def wipe(secret: bytearray) -> None:
    """Overwrite a secret."""
    for at in range(len(secret)):
        secret[at] = 0


# --- the file ---


def _members(state: State) -> dict[str, object]:
    root: dict[str, object] = {"kind": "external"}
    if state.root is not None:
        cost, salt, sealed = state.root
        root = {"kind": "passphrase", **cost._asdict(), "salt": salt.hex(), "sealed": sealed.hex()}
    return {
        "format": FORMAT,
        "generation": state.generation,
        "root": root,
        "secrets": {name: sealed.hex() for name, sealed in sorted(state.secrets.items())},
        "keys": [[*row[:-1], row.sealed.hex()] for row in state.rows],
    }


def encode(root: bytearray, state: State) -> bytes:
    """The file of a state."""
    return to_bytes(_members(state) | {"mac": mac_of(root, state).hex()}) + b"\n"


def decode(data: bytes) -> tuple[State, bytes]:
    """Read a file as what it may be, and its MAC, which says whether it is what was written.

    Raises:
        StoreRefused: it may not be one.
    """
    try:
        kind, generation, root, secrets, keys, mac = read_members(data, "a store", _MEMBERS)
        _require(kind == FORMAT)
        state = State(_count(generation), _read_root(root), _read_secrets(secrets), _read_rows(keys))
        return state, hexadecimal(mac, "mac", _MAC_BYTES)
    except (AuthorityRefused, ValueError, TypeError):
        raise StoreRefused("the store's file is no store of this version, or damaged", _RESTORE) from None


def _read_root(value: object) -> SealedRoot | None:
    if value == {"kind": "external"}:
        return None
    if not isinstance(value, dict) or value.keys() != set(_PASSPHRASE):
        raise ValueError
    kind, n, r, p, salt, sealed = (value[name] for name in _PASSPHRASE)
    cost = ScryptCost(*(_count(each, _COST_MAX) for each in (n, r, p)))
    memory, work = 128 * cost.r * (cost.n + cost.p + 2), 128 * cost.n * cost.r * cost.p
    _require(kind == "passphrase" and cost.n > 1 and not cost.n & (cost.n - 1))
    _require(memory <= KDF_MEMORY_MAX and work <= SCRYPT_WORK_MAX)
    return SealedRoot(cost, hexadecimal(salt, "salt", _SALT_BYTES), _sealed(sealed, ROOT_KEY_BYTES))


def _read_secrets(value: object) -> dict[str, bytes]:
    if not isinstance(value, dict):
        raise TypeError
    return {name: _sealed(sealed, SECRET_BYTES_MAX) for name, sealed in value.items()}


def _read_rows(value: object) -> tuple[KeyRow, ...]:
    if not isinstance(value, list) or len(value) > KEYS_MAX:
        raise ValueError
    return tuple(_read_row(each) for each in value)


def _require(sound: bool) -> None:  # noqa: FBT001 -- a condition
    if not sound:
        raise ValueError


def _read_row(value: object) -> KeyRow:
    if not isinstance(value, list) or len(value) != len(KeyRow._fields):
        raise ValueError
    model_id, version, publisher, created_ms, sealed = value
    if not is_model(model_id) or not isinstance(publisher, str) or len(publisher) > _PUBLISHER_MAX:
        raise ValueError
    return KeyRow(model_id, _count(version), publisher, _count(created_ms, least=0), _sealed(sealed, KEY_BYTES))


def _sealed(value: object, most: int) -> bytes:
    least = _NONCE_BYTES + TAG_BYTES
    if not isinstance(value, str) or not 2 * least <= len(value) <= 2 * (most + least):
        raise ValueError
    return bytes.fromhex(value)


def _count(value: object, most: int = VERSION_MAX, least: int = 1) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError
    return value
