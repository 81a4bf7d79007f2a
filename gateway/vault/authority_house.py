"""The authority's directory: made, opened, rotated; each of them a line of the audit (I/O).

store.json        the keys, sealed                      authority_store
audit/            who was given what                    authority_audit
publishers.toml   who may ask                           authority_publishers
ca.crt            signs server.crt and publishers       authority_tls, if it was asked for
server.crt, .key  of the service                        likewise
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.vault.authority import AUDIT, CA, SIGNING
from gateway.vault.authority_audit import Audit, Event
from gateway.vault.authority_disk import StoreRefused, read_whole, replace_whole
from gateway.vault.authority_publishers import BYTES_MAX, load_publishers, parse_publishers, table_of
from gateway.vault.authority_publishers import FILE as PUBLISHERS
from gateway.vault.authority_seal import Unlock
from gateway.vault.authority_store import Store, create, open_store
from gateway.vault.authority_tls import Ca, make_ca, make_server, sign_publisher

CA_FILE: Final = "ca.crt"
SERVER_FILE: Final = "server.crt"
SERVER_KEY_FILE: Final = "server.key"
NO_PUBLISHERS: Final = b"# Who may publish which models: securenet authority publishers add\n"

_SECRET_BYTES: Final = 32
_PEM_MAX: Final = 64 * 1024


class House(NamedTuple):
    """An open authority: its store, and its audit, to be written to."""

    store: Store
    audit: Audit


def make_house(directory: Path, unlock: Unlock, tls_names: tuple[str, ...], now_ms: int) -> bytes:
    """Make an authority, with certificates if the service's names are given; its public key, which signs answers.

    Raises:
        StoreRefused: there is one already, or the directory is open to others.
        OSError: it cannot be written; what was written is made anew the next time.
    """
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    secrets = {SIGNING: os.urandom(_SECRET_BYTES), AUDIT: os.urandom(_SECRET_BYTES)}
    files = {}
    if tls_names:
        ca = make_ca(now)
        server = make_server(ca, tls_names, now)
        secrets[CA] = ca.key
        files = {CA_FILE: ca.certificate, SERVER_FILE: server.certificate, SERVER_KEY_FILE: server.key}

    def finish(store: Store) -> None:
        held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name, data in files.items():
                replace_whole(held, directory / name, data)
            if not (directory / PUBLISHERS).exists():
                replace_whole(held, directory / PUBLISHERS, NO_PUBLISHERS)
        finally:
            os.close(held)
        detail = {"root_key": "in-store" if store.by_passphrase else "elsewhere", "tls": list(tls_names)}
        Audit(directory, secrets[AUDIT]).begin(Event("init", detail=detail), now_ms)

    with create(directory, unlock, secrets, finish) as store:
        return public_key(store)


@contextmanager
def opened(directory: Path, unlock: Unlock, now_ms: int, why: str) -> Iterator[House]:
    """Open an authority to work with it; that is a line of the audit.

    Raises:
        StoreRefused: the store does not open, or the audit does not hold.
        OSError: the audit cannot be written.
    """
    with open_store(directory, unlock) as store:
        audit = Audit(directory, audit_key(store))
        audit.resume(now_ms)
        audit.append(Event("opened", detail={"for": why, "root_key": store.generation}), now_ms)
        yield House(store, audit)


def rotate(house: House, to: Unlock, now_ms: int) -> int:
    """Seal everything under a new root key; its number.

    The audit says that it begins and that it is done. A process that dies in between leaves the first line alone, and
    a store that is the old one or the new one: the next ``opened`` says which.

    Raises:
        StoreRefused: the root key is the old one.
        OSError: the store or the audit cannot be written.
    """
    house.audit.append(Event("rotate-begun", detail={"root_key": house.store.generation + 1}), now_ms)
    house.store.rotate(to)
    house.audit.append(Event("rotated", detail={"root_key": house.store.generation}), now_ms)
    return house.store.generation


def add_publisher(  # noqa: PLR0913 -- what is said of a publisher; by name
    directory: Path, house: House, *, name: str, certificate_sha256: bytes, models: tuple[str, ...], now_ms: int
) -> str:
    """Put a publisher on the list; its lines.

    Raises:
        StoreRefused: it is there already, no such publisher can be, or the list is not in order.
        OSError: it cannot be written.
    """
    path = directory / PUBLISHERS
    if name in load_publishers(path).by_name:
        raise StoreRefused(f"{name} is on the list already", f"edit {path}: another certificate, other models")
    table = table_of(name, certificate_sha256, models)
    data = path.read_bytes() + b"\n" + table.encode()
    if len(data) > BYTES_MAX:
        raise StoreRefused("the list is full", "take publishers off it")
    parse_publishers(data)
    detail = {"models": list(models)}
    house.audit.append(Event("publisher-added", name, certificate_sha256.hex(), detail=detail), now_ms)
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        replace_whole(held, path, data)
    finally:
        os.close(held)
    return table


def certificate_for(directory: Path, store: Store, name: str, request: bytes, now_ms: int) -> bytes:
    """A certificate in PEM for a publisher's signing request, by the authority's own certificate authority.

    Raises:
        StoreRefused: there is none, or the request is none.
    """
    key, certificate = store.secret(CA), read_whole(directory / CA_FILE, _PEM_MAX)
    if key is None or certificate is None:
        raise StoreRefused("this authority signs no certificates", "it was made without --tls; use your own PKI")
    return sign_publisher(Ca(certificate, key), name, request, datetime.fromtimestamp(now_ms / 1000, UTC))


def signing_key(store: Store) -> Ed25519PrivateKey:
    """The key that answers in files are signed with.

    Raises:
        StoreRefused: the store has none.
    """
    return Ed25519PrivateKey.from_private_bytes(_secret(store, SIGNING))


def public_key(store: Store) -> bytes:
    """Its public half: what a publisher beyond an air gap is told."""
    return signing_key(store).public_key().public_bytes_raw()


def audit_key(store: Store) -> bytes:
    """The key of the audit's head."""
    return _secret(store, AUDIT)


def _secret(store: Store, name: str) -> bytes:
    found = store.secret(name)
    if found is None:
        raise StoreRefused(f"the store has no {name} key", "restore it from your copy")
    return found
