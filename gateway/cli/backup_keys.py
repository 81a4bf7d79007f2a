"""The keys in a backup: sealed apart from everything else, under a passphrase that lies elsewhere.

    passphrase --scrypt--> key --AES-256-GCM--> the files, as JSON; bound to the backup's id

Without the passphrase nothing of a key can be read; with a wrong one, or in another backup, nothing opens.
"""

from __future__ import annotations

import hashlib
import json
import os
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.cli.output import CliError
from gateway.crypto.keystore import COST, KDF_MEMORY_MAX, SCRYPT_WORK_MAX, ScryptCost
from gateway.ops.exitcodes import ExitCode
from gateway.ops.secrets import MAX_SECRET_BYTES

FORMAT: Final = "securenet.backup-keys/1"
SEALED_BYTES_MAX: Final = 4 << 20
PASSPHRASE_BYTES_MIN: Final = 12
_KEYS_MAX: Final = 64
_KEY_BYTES: Final = 32
_SALT_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_MEMBERS: Final = {"format", "n", "r", "p", "salt", "nonce", "sealed"}
_DAMAGED: Final = "take another backup"


def seal_keys(
    keys: Mapping[str, bytes],
    passphrase: bytes,
    backup_id: str,
    *,
    cost: ScryptCost = COST,
    random: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """Seal key files by the references that the configuration has for them. Takes the memory and time of scrypt.

    Raises:
        CliError: the passphrase is shorter than ``PASSPHRASE_BYTES_MIN``.
    """
    if len(passphrase) < PASSPHRASE_BYTES_MIN:
        raise CliError(
            ExitCode.SECRET,
            f"the passphrase has less than {PASSPHRASE_BYTES_MIN} characters; who finds the backup can try for years",
        )
    salt, nonce = random(_SALT_BYTES), random(_NONCE_BYTES)
    plain = json.dumps({ref: b64encode(data).decode() for ref, data in keys.items()}).encode()
    sealed = AESGCM(_derive(passphrase, cost, salt)).encrypt(nonce, plain, _context(backup_id, cost))
    members = {"format": FORMAT, **cost._asdict(), "salt": salt.hex(), "nonce": nonce.hex(), "sealed": sealed.hex()}
    return (json.dumps(members) + "\n").encode()


def open_keys(data: bytes, passphrase: bytes, backup_id: str) -> dict[str, bytes]:
    """Open what ``seal_keys`` sealed.

    Raises:
        CliError: it is damaged, of another backup, or the passphrase is another one.
    """
    cost, salt, nonce, sealed = _parse(data)
    try:
        plain = AESGCM(_derive(passphrase, cost, salt)).decrypt(nonce, sealed, _context(backup_id, cost))
    except InvalidTag:
        raise CliError(
            ExitCode.SECRET,
            "the keys are not opened by this passphrase (or were changed): check that it is this backup's",
        ) from None
    found: dict[str, str] = json.loads(plain)
    keys = {ref: b64decode(text) for ref, text in found.items()}
    if len(keys) > _KEYS_MAX or any(len(key) > MAX_SECRET_BYTES for key in keys.values()):
        raise CliError(ExitCode.NO_INPUT, "the backup has more keys than a gateway can have")
    return keys


def _derive(passphrase: bytes, cost: ScryptCost, salt: bytes) -> bytes:
    n, r, p = cost
    try:
        return hashlib.scrypt(passphrase, salt=salt, n=n, r=r, p=p, maxmem=2 * KDF_MEMORY_MAX, dklen=_KEY_BYTES)
    except (MemoryError, ValueError):  # OpenSSL tells an exhausted memory as a ValueError
        raise CliError(
            ExitCode.UNAVAILABLE, f"opening the keys takes {128 * n * r >> 20} MiB of memory; free some"
        ) from None


def _context(backup_id: str, cost: ScryptCost) -> bytes:
    return f"{FORMAT}\0{backup_id}\0{cost.n}\0{cost.r}\0{cost.p}".encode()


def _parse(data: bytes) -> tuple[ScryptCost, bytes, bytes, bytes]:
    try:
        members: Any = json.loads(data)
        if not isinstance(members, dict) or set(members) != _MEMBERS or members["format"] != FORMAT:
            raise ValueError  # noqa: TRY301 -- told as all that is wrong here
        cost = ScryptCost(*(int(members[name]) for name in ("n", "r", "p")))
        salt, nonce, sealed = (bytes.fromhex(members[name]) for name in ("salt", "nonce", "sealed"))
    except (ValueError, TypeError, RecursionError):
        raise CliError(ExitCode.NO_INPUT, f"the keys in the backup cannot be read; {_DAMAGED}") from None
    memory, work = 128 * cost.r * (cost.n + cost.p + 2), 128 * cost.n * cost.r * cost.p
    sound = cost.n > 1 and cost.r > 0 and cost.p > 0 and not cost.n & (cost.n - 1)
    if not sound or memory > KDF_MEMORY_MAX or work > SCRYPT_WORK_MAX or len(nonce) != _NONCE_BYTES:
        raise CliError(ExitCode.NO_INPUT, f"the keys in the backup ask for too much of scrypt; {_DAMAGED}")
    return cost, salt, nonce, sealed
