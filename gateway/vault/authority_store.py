"""The authority's keys at rest: one file, sealed under a root key, replaced in one step (docs/adr/0134).

How the file is sealed, ``authority_seal`` says. A rotation is a new file with everything sealed anew; a process that
dies leaves the one or the other, never a mixture. A data key is opened when it is asked for and not before.

Not handled here: who may have a key (``authority``), and that an old file was put back (the audit tells).
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, NoReturn, Self

from gateway.vault.authority_disk import StoreRefused, hold, read_whole, replace_whole, sweep
from gateway.vault.authority_seal import (
    FILE_BYTES_MAX,
    KEYS_MAX,
    KeyRow,
    RootKey,
    State,
    Unlock,
    decode,
    encode,
    mac_of,
    new_root,
    not_opened,
    root_of,
    row_context,
    seal,
    secret_context,
    unseal,
    wipe,
)
from gateway.vault.authority_words import AuthorityRefused, Refusal
from gateway.vault.cipher import KEY_BYTES

FILE: Final = "store.json"


class Store:
    """The open store; the directory is locked until ``close``. Made by ``create`` and ``open_store``."""

    def __init__(self, directory: Path, held: int, root: bytearray, state: State) -> None:
        self._path = directory / FILE
        self._held = held
        self._root = root
        self._state = state
        self._by_id = {(row.model_id, row.version): row for row in state.rows}
        self._newest = _newest(state.rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({str(self._path)!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a store is neither copied nor pickled")

    def close(self) -> None:
        """Overwrite the root key and let the directory go."""
        wipe(self._root)
        if self._held >= 0:
            os.close(self._held)
            self._held = -1

    @property
    def generation(self) -> int:
        """How many root keys there were, this one included."""
        return self._state.generation

    @property
    def by_passphrase(self) -> bool:
        """Whether the root key lies in the store."""
        return self._state.root is not None

    @property
    def rows(self) -> tuple[KeyRow, ...]:
        """All keys, sealed, in the order in which they were made."""
        return self._state.rows

    def issue(self, model_id: str, version: int, publisher: str, now_ms: int) -> tuple[bytes, bool]:
        """The data key of a version, and whether it was made now; a new one is on disk when this returns.

        Raises:
            AuthorityRefused: ``of-another-publisher``, ``version-not-rising``, ``store-full``.
            OSError: it cannot be stored; there is no key then.
        """
        row = self._by_id.get((model_id, version))
        if row is not None:
            return self._open_row(row, publisher), False
        newest = self._newest.get(model_id, 0)
        if version <= newest:
            raise AuthorityRefused(
                Refusal.VERSION_NOT_RISING, f"version {newest} of this model has a key; a new one is above it"
            )
        if len(self._state.rows) >= KEYS_MAX:
            raise AuthorityRefused(Refusal.STORE_FULL, f"a store holds {KEYS_MAX} keys; begin another")
        key = bytearray(os.urandom(KEY_BYTES))
        row = KeyRow(model_id, version, publisher, now_ms, b"")
        row = row._replace(sealed=seal(self._root, bytes(key), row_context(row)))
        self._write(self._root, self._state._replace(rows=(*self._state.rows, row)))
        self._by_id[model_id, version] = row
        self._newest[model_id] = version
        return bytes(key), True

    def key(self, model_id: str, version: int, publisher: str) -> bytes:
        """A data key that was issued to this publisher.

        Raises:
            AuthorityRefused: ``no-key``, ``of-another-publisher``.
        """
        row = self._by_id.get((model_id, version))
        if row is None:
            raise AuthorityRefused(Refusal.NO_KEY, "this version has no key; ask for its data key first")
        return self._open_row(row, publisher)

    def secret(self, name: str) -> bytes | None:
        """One of the authority's own secrets, None when it has none of this name."""
        sealed = self._state.secrets.get(name)
        return None if sealed is None else unseal(self._root, sealed, secret_context(name), "a secret")

    def rotate(self, to: Unlock, random: Callable[[int], bytes] = os.urandom) -> None:
        """Seal everything anew under another root key, in one step: a store that dies in it is the old or the new.

        Args:
            to: a passphrase, for a new root key that lies in the store; or a new root key that lies elsewhere.
            random: makes salt, nonces and the root key.

        Raises:
            OSError: it cannot be written.
        """
        if isinstance(to, RootKey) and hmac.compare_digest(to.key, self._root):
            raise StoreRefused("the new root key is the old one", "make another: head -c 32 /dev/urandom")
        root, sealed_root = new_root(to, random)
        old = self._state
        secrets = {
            name: seal(root, unseal(self._root, sealed, secret_context(name), "a secret"), secret_context(name))
            for name, sealed in old.secrets.items()
        }
        rows = tuple(row._replace(sealed=seal(root, self._opened(row), row_context(row))) for row in old.rows)
        self._write(root, State(old.generation + 1, sealed_root, secrets, rows))
        wipe(self._root)
        self._root = root
        self._by_id = {(row.model_id, row.version): row for row in rows}

    def begin(self) -> None:
        """Write the first file; for ``create``."""
        self._write(self._root, self._state)

    def _open_row(self, row: KeyRow, publisher: str) -> bytes:
        if row.publisher != publisher:
            raise AuthorityRefused(
                Refusal.OF_ANOTHER_PUBLISHER, "the key of this version is another publisher's; take a higher version"
            )
        return self._opened(row)

    def _opened(self, row: KeyRow) -> bytes:
        return unseal(self._root, row.sealed, row_context(row), f"the key of {row.model_id} {row.version}")

    def _write(self, root: bytearray, state: State) -> None:
        replace_whole(self._held, self._path, encode(root, state))
        self._state = state


def create(directory: Path, unlock: Unlock, secrets: dict[str, bytes], finish: Callable[[Store], None]) -> Store:
    """Make a store. ``finish`` is called before the store's file is there: what it does belongs to the making.

    Raises:
        StoreRefused: there is a store already, or the directory is open to others.
        OSError: it cannot be written.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    held = hold(directory)
    if os.path.lexists(directory / FILE):
        os.close(held)
        raise StoreRefused(f"{directory} holds a store already", "nothing was changed")
    root, sealed_root = new_root(unlock, os.urandom)
    sealed = {name: seal(root, secret, secret_context(name)) for name, secret in secrets.items()}
    store = Store(directory, held, root, State(1, sealed_root, sealed, ()))
    try:
        sweep(directory)
        finish(store)
        store.begin()
    except BaseException:
        store.close()
        raise
    return store


def open_store(directory: Path, unlock: Unlock) -> Store:
    """Open a store and lock it. Takes the time and memory of scrypt: not for an event loop.

    Raises:
        StoreRefused: there is none, it is in use, is not opened by this, or is damaged.
    """
    held = hold(directory)
    try:
        sweep(directory)
        state, mac = _read(directory)
        root = root_of(state, unlock)
        _require_mac(root, state, mac)
    except BaseException:
        os.close(held)
        raise
    return Store(directory, held, root, state)


def _read(directory: Path) -> tuple[State, bytes]:
    data = read_whole(directory / FILE, FILE_BYTES_MAX)
    if data is None:
        raise StoreRefused(f"there is no store in {directory}", "make one: securenet authority init")
    return decode(data)


def _require_mac(root: bytearray, state: State, mac: bytes) -> None:
    if not hmac.compare_digest(mac_of(root, state), mac):
        wipe(root)
        raise StoreRefused(*not_opened(state))


def _newest(rows: tuple[KeyRow, ...]) -> dict[str, int]:
    newest: dict[str, int] = {}
    for row in rows:
        newest[row.model_id] = max(row.version, newest.get(row.model_id, 0))
    return newest
