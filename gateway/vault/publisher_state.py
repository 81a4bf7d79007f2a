"""How far a publication came: a file beside the model, written whole after each step (docs/adr/0152).

Nothing in it is secret: the salt of a ciphertext is its first bytes, a manifest is public. It goes with one model,
one manifest and one key: for anything else it is refused, never overwritten.
"""

from __future__ import annotations

import fcntl
import json
import os
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from contextlib import suppress
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from gateway.jsontext import DeepJsonError, require_shallow
from gateway.vault.cid import CidError, parse_cid
from gateway.vault.cipher import SALT_BYTES
from gateway.vault.manifest import MANIFEST_BYTES_MAX, Ciphertext
from gateway.vault.publisher_words import PublishRefusal, PublishRefused

SUFFIX: Final = ".publication"
STATE_BYTES_MAX: Final = 2 * MANIFEST_BYTES_MAX

_FORMAT: Final = "securenet.publication/1"
_DEPTH_MAX: Final = 4
_DIGEST_BYTES: Final = 32


class State(NamedTuple):
    """One publication. ``about`` is a digest of what it is of; members that are None are steps to come.

    ``salt``, ``created_ms`` and ``expires_ms`` are chosen once, so that whoever begins again makes the same bytes.
    """

    about: bytes
    salt: bytes
    created_ms: int
    expires_ms: int
    ciphertext: Ciphertext | None = None
    envelope: bytes | None = None
    manifest_cid: str | None = None
    tx_hash: bytes | None = None


class StateFile:
    """The file of a publication.

    Args:
        path: where; its folder has to be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self, about: bytes) -> State | None:
        """How far it came; None: it was not begun.

        Raises:
            PublishRefused: ``state-file``: it cannot be read, or is of another publication.
        """
        try:
            with self.path.open("rb") as file:
                data = file.read(STATE_BYTES_MAX + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._refused(f"cannot be read: {error.strerror}", "see to its owner and mode") from None
        try:
            state = _parse(data)
        except (ValueError, KeyError, TypeError, DeepJsonError, RecursionError):
            raise self._refused("is no state of a publication", _REMOVE) from None
        if state.about != about:
            raise self._refused(
                "is of another publication: another model, card, spec, key, or time to live",
                f"name another with --state, or, if that one is done with: {_REMOVE}",
            )
        return state

    def save(self, state: State) -> None:
        """Write it, whole or not at all, also where another run writes its own at the same time.

        Raises:
            PublishRefused: ``state-file``: it cannot be written.
        """
        beside = self.path.with_name(self.path.name + ".unfinished")
        try:
            with _alone(beside) as file:
                file.truncate()
                file.write(_encode(state))
                file.flush()
                os.fsync(file.fileno())
                beside.replace(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise self._refused(
                f"cannot be written: {error.strerror}", "make room, or name another: --state"
            ) from None

    def _refused(self, problem: str, hint: str) -> PublishRefused:
        return PublishRefused(PublishRefusal.STATE_FILE, f"the state file {self.path} {problem}", hint)


def _alone(path: Path) -> BinaryIO:
    """Open a file to be written by nobody else until it is closed; whoever waits for it begins another one."""
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                    return file
        except BaseException:
            file.close()
            raise
        file.close()


_REMOVE: Final = "remove it, and the publication begins anew"


def about_of(*facts: bytes | str | int) -> bytes:
    """A digest of what a publication is of."""
    whole = sha256()
    for fact in facts:
        data = fact if isinstance(fact, bytes) else str(fact).encode()
        whole.update(len(data).to_bytes(8, "big") + data)
    return whole.digest()


def _encode(state: State) -> bytes:
    ciphertext = state.ciphertext
    members = {
        "format": _FORMAT,
        "about": state.about.hex(),
        "salt": state.salt.hex(),
        "created_ms": state.created_ms,
        "expires_ms": state.expires_ms,
        "ciphertext": None if ciphertext is None else [ciphertext.cid, ciphertext.size, ciphertext.sha256.hex()],
        "manifest": None if state.envelope is None else b64encode(state.envelope).decode(),
        "manifest_cid": state.manifest_cid,
        "transaction": None if state.tx_hash is None else state.tx_hash.hex(),
    }
    return json.dumps(members, indent=1).encode() + b"\n"


def _parse(data: bytes) -> State:
    if len(data) > STATE_BYTES_MAX:
        raise ValueError
    value = json.loads(require_shallow(data.decode("utf-8"), _DEPTH_MAX))
    if value["format"] != _FORMAT:
        raise ValueError
    ciphertext, manifest, tx_hash = value["ciphertext"], value["manifest"], value["transaction"]
    state = State(
        _octets(value["about"], _DIGEST_BYTES),
        _octets(value["salt"], SALT_BYTES),
        _time(value["created_ms"]),
        _time(value["expires_ms"]),
        None if ciphertext is None else _ciphertext(*ciphertext),
        None if manifest is None else _envelope(manifest),
        None if value["manifest_cid"] is None else _cid(value["manifest_cid"]),
        None if tx_hash is None else _octets(tx_hash, _DIGEST_BYTES),
    )
    steps = [state.ciphertext, state.envelope, state.manifest_cid, state.tx_hash]
    if any(each is None and after is not None for each, after in pairwise(steps)):
        raise ValueError
    return state


def _ciphertext(cid: object, size: object, digest: object) -> Ciphertext:
    return Ciphertext(_cid(cid), _time(size), _octets(digest, _DIGEST_BYTES))


def _cid(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    try:
        return str(parse_cid(value))
    except CidError:
        raise ValueError from None


def _envelope(value: object) -> bytes:
    if not isinstance(value, str):
        raise TypeError
    try:
        return b64decode(value, validate=True)
    except Base64Error:
        raise ValueError from None


def _octets(value: object, size: int) -> bytes:
    if not isinstance(value, str) or len(value) != 2 * size:
        raise ValueError
    return bytes.fromhex(value)


def _time(value: object) -> int:
    if type(value) is not int or not 0 < value < 1 << 63:
        raise ValueError
    return value
