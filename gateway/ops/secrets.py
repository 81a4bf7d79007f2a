"""Keys and passwords: read from a file, or from a systemd credential, and never from anywhere else.

A reference is a path, or ``credential:NAME`` for ``$CREDENTIALS_DIRECTORY/NAME`` (systemd.exec(5), Credentials). A
file that others may read is refused with the command that closes it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from gateway.crypto.anchoring_key import AnchoringKey, ChainExtraMissing
from gateway.crypto.keys import KeyRefused
from gateway.crypto.keystore import KeystoreRefused, unlock
from gateway.vault.hpke_key import HpkeKey, parse_hpke_pem

CREDENTIAL: Final = "credential:"
STORE: Final = Path("/etc/credstore")
"""The unit's credentials, as ``securenet.NAME`` (docs/adr/0169): root's own commands read them there."""

MAX_SECRET_BYTES: Final = 65536
_CREDENTIALS_DIRECTORY: Final = "CREDENTIALS_DIRECTORY"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class SecretError(Exception):
    """A secret cannot be had. ``ref`` names it, ``hint`` says what to do; what it holds is in neither."""

    def __init__(self, ref: str, problem: str, hint: str) -> None:
        super().__init__(f"{ref}: {problem}; {hint}")
        self.ref = ref
        self.problem = problem
        self.hint = hint


def secret_path(ref: str) -> Path:
    """Where the secret ``ref`` lies.

    Raises:
        SecretError: a credential, and systemd passed none, or its name is no file name.
    """
    if not ref.startswith(CREDENTIAL):
        return Path(ref)
    name = ref.removeprefix(CREDENTIAL)
    if not name or "/" in name or name in {".", ".."} or "\0" in name:
        raise SecretError(ref, "is no credential name", "write credential:NAME, as in LoadCredential=NAME:…")
    directory = os.environ.get(_CREDENTIALS_DIRECTORY)
    if not directory:
        stored = STORE / f"securenet.{name}"
        if os.geteuid() == 0 and stored.is_file():
            return stored
        raise SecretError(
            ref,
            "systemd passed no credentials",
            f"add LoadCredential={name}:/path/to/file to the unit (as root: write {stored}), or name the file itself",
        )
    return Path(directory) / name


def read_secret(ref: str) -> bytes:
    """Read a whole secret, at most 64 KiB.

    Raises:
        SecretError: it is missing, empty, too large, no regular file, or open to others.
    """
    path = secret_path(ref)
    try:
        # O_NONBLOCK: a FIFO in the place of a file does not hang the start
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise SecretError(ref, "is no regular file", "name the file that holds the secret")
            _refuse_open_to_others(ref, path, status)
            data = file.read(MAX_SECRET_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no path"
        raise SecretError(ref, f"cannot be read: {reason}", "check the path and its owner") from None
    if len(data) > MAX_SECRET_BYTES:
        raise SecretError(ref, f"is larger than {MAX_SECRET_BYTES} bytes", "is this the right file?")
    if not data:
        raise SecretError(ref, "is empty", "is this the right file?")
    return data


def read_optional_secret(ref: str) -> bytes | None:
    """Read a secret whose reference may be empty; None then. For passwords, a line break at the end is dropped.

    Raises:
        SecretError: as ``read_secret``.
    """
    if not ref:
        return None
    return read_secret(ref).removesuffix(b"\n").removesuffix(b"\r")


def load_log_key(ref: str) -> bytes:
    """Read the gateway's log key.

    Returns:
        The 32-byte seed of the Ed25519 key (RFC 8032 §5.1.5).

    Raises:
        SecretError: as ``read_secret``, or it is no Ed25519 key in PKCS#8 PEM.
    """
    hint = "securenet key create log writes one"
    key = _pem_key(ref, hint)
    if not isinstance(key, Ed25519PrivateKey):
        raise SecretError(ref, "is a private key, but no Ed25519 key", hint)
    return key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())


def load_hpke_key(ref: str) -> HpkeKey:
    """Read the key that models are wrapped for (FORMATS.md §7), X25519 or hybrid; its repr does not show it.

    Raises:
        SecretError: as ``read_secret``, or it is no such key (``gateway.vault.hpke_key``).
    """
    data = read_secret(ref)
    try:
        return parse_hpke_pem(data)
    except KeyRefused as refused:
        raise SecretError(ref, refused.reason, "securenet key create hpke writes one, without a passphrase") from None


def load_passphrase(ref: str) -> bytes:
    """Read a passphrase: the whole file, but for the line break at its end.

    Raises:
        SecretError: as ``read_secret``, or it is empty.
    """
    passphrase = read_optional_secret(ref)
    if not passphrase:
        raise SecretError(ref or "the passphrase", "is empty", "name a file that holds the keystore's passphrase")
    return passphrase


def load_anchoring_key(keystore_ref: str, passphrase_ref: str) -> AnchoringKey:
    """Open the anchoring account's keystore. Takes memory and up to seconds: not for an event loop.

    Args:
        keystore_ref: the Web3 keystore V3.
        passphrase_ref: its passphrase, as ``load_passphrase`` reads it.

    Raises:
        SecretError: as ``read_secret``, for either; the keystore is refused (``gateway.crypto.keystore``); or the
            Ethereum libraries are not installed.
    """
    data = read_secret(keystore_ref)
    passphrase = load_passphrase(passphrase_ref)
    try:
        return AnchoringKey(unlock(data, passphrase))
    except (KeystoreRefused, ChainExtraMissing) as error:
        raise SecretError(keystore_ref, error.problem, error.hint) from None


def _pem_key(ref: str, hint: str) -> PrivateKeyTypes:
    pem = read_secret(ref)
    try:
        return load_pem_private_key(pem, password=None)
    except TypeError:
        raise SecretError(
            ref, "is protected by a passphrase", "store it without one: the gateway starts alone"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise SecretError(ref, "is no private key in PKCS#8 PEM", hint) from None


def _refuse_open_to_others(ref: str, path: Path, status: os.stat_result) -> None:
    if ref.startswith(CREDENTIAL) and os.environ.get(_CREDENTIALS_DIRECTORY):
        return  # systemd made the directory for this unit alone, and gives root-owned files an ACL for its user
    if status.st_mode & _OTHERS:
        mode = stat.filemode(status.st_mode)
        raise SecretError(ref, f"may be read by others ({mode})", f"run: chmod 600 {path}")
