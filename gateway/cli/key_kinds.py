"""The gateway's keys by kind: where each lies, how one is made, and what the world may know of it."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from secrets import token_bytes, token_hex
from typing import Any, Final, NamedTuple

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.cli.key_files import is_there
from gateway.cli.output import CliError, plain
from gateway.config.model import Config
from gateway.crypto.anchoring_key import ChainExtraMissing, address_of, checksum_address, new_private_key
from gateway.crypto.keystore import KeystoreRefused, lock, stated_address
from gateway.ops.exitcodes import ExitCode
from gateway.ops.secrets import (
    CREDENTIAL,
    SecretError,
    load_anchoring_key,
    load_hpke_key,
    load_log_key,
    load_passphrase,
    read_secret,
)
from gateway.tlog.checkpoint import VerifierKey
from gateway.vault.hpke_key import HpkeKey, hybrid_pem, parse_hpke_pem, x25519_pem
from gateway.vault.wrap import HYBRID_SEED_BYTES

HYBRID: Final = "MLKEM768-X25519"
_PASSPHRASE_BYTES: Final = 32

Facts = dict[str, Any]


class Kind(StrEnum):
    """What a key is for."""

    LOG = "log"
    """Signs receipts and checkpoints."""
    ANCHORING = "anchoring"
    """Pays for and signs anchors."""
    HPKE = "hpke"
    """Models are wrapped for it."""


class Place(NamedTuple):
    """Where a key is to be found; ``passphrase_ref`` is for the anchoring key alone."""

    kind: Kind
    ref: str
    passphrase_ref: str = ""


class Made(NamedTuple):
    """A new key that is not stored yet. ``passphrase`` is None when it was there."""

    place: Place
    data: bytes
    passphrase: bytes | None
    facts: Facts

    def __repr__(self) -> str:
        return f"Made({self.place!r})"


def place_of(config: Config, kind: Kind, file: Path | None = None, passphrase_file: Path | None = None) -> Place:
    """Where a key lies: as given, or as the configuration says (which may be nowhere: an empty ref)."""
    refs = {
        Kind.LOG: config.gateway.log_key_file,
        Kind.ANCHORING: config.anchor.key_file,
        Kind.HPKE: config.gateway.hpke_key_file,
    }
    ref = refs[kind] if file is None else str(file)
    if kind is not Kind.ANCHORING:
        return Place(kind, ref)
    return Place(kind, ref, config.anchor.passphrase_file if passphrase_file is None else str(passphrase_file))


def named_places(config: Config, passphrase_file: Path | None = None) -> list[Place]:
    """The keys that the configuration names.

    The anchoring key's reference has a default, so it counts when a chain is configured, or when it is a path.
    """
    places = [place_of(config, kind, passphrase_file=passphrase_file) for kind in Kind]
    anchors = config.anchor.enabled and bool(config.chain.rpc)
    return [
        place
        for place in places
        if place.ref and (place.kind is not Kind.ANCHORING or anchors or not place.ref.startswith(CREDENTIAL))
    ]


def path_of(place: Place, option: str) -> Path:
    """The path of a key that is to be written, or end with ``USAGE``: a credential is systemd's to write."""
    if not place.ref:
        raise CliError(
            ExitCode.USAGE, f"the configuration names no {place.kind} key: name it there, or a file with {option}"
        )
    if place.ref.startswith(CREDENTIAL):
        raise CliError(
            ExitCode.USAGE,
            f"the {place.kind} key is {place.ref}: name the file behind that credential with {option}",
        )
    return Path(place.ref)


def make(config: Config, place: Place, *, new_passphrase: bool, hybrid: bool = False) -> Made:
    """Make a key, in memory.

    Args:
        config: names the log that the key is for.
        place: where it is to lie.
        new_passphrase: whether the anchoring key's passphrase is made too, where its file is not there.
        hybrid: whether an HPKE key is MLKEM768-X25519 instead of X25519.

    Raises:
        SecretError: the passphrase cannot be read, or the Ethereum libraries are missing.
    """
    if place.kind is Kind.LOG:
        private = Ed25519PrivateKey.generate()
        return Made(place, _pem(private), None, log_facts(config, private.public_key().public_bytes_raw()))
    if place.kind is Kind.HPKE:
        data = hybrid_pem(token_bytes(HYBRID_SEED_BYTES)) if hybrid else x25519_pem(X25519PrivateKey.generate())
        return Made(place, data, None, _hpke_facts(parse_hpke_pem(data)))
    passphrase, made = _passphrase(place, new=new_passphrase)
    try:
        secret = new_private_key()
        data = lock(secret, passphrase)
        facts = _address_facts(address_of(secret), opened=True)
    except ChainExtraMissing as error:
        raise SecretError(f"the {place.kind} key", error.problem, error.hint) from None
    return Made(place, data, passphrase + b"\n" if made else None, facts)


def public_facts(config: Config, place: Place) -> Facts:
    """What the world may know of a stored key.

    Raises:
        SecretError: it cannot be read.
    """
    if place.kind is Kind.LOG:
        private = Ed25519PrivateKey.from_private_bytes(load_log_key(place.ref))
        return log_facts(config, private.public_key().public_bytes_raw())
    if place.kind is Kind.HPKE:
        return _hpke_facts(load_hpke_key(place.ref))
    data = read_secret(place.ref)
    try:
        load_passphrase(place.passphrase_ref)
    except SecretError:
        return _stated_facts(place, data)  # the passphrase may be there for the gateway alone
    return _address_facts(load_anchoring_key(place.ref, place.passphrase_ref).address, opened=True)


def log_facts(config: Config, public: bytes) -> Facts:
    """The log key's public half, in all its spellings."""
    line = {
        "kind": "miner",
        "id": config.gateway.id,
        "fleet": config.gateway.fleet,
        "alg": "Ed25519",
        "public_key": b64encode(public).decode(),
        "status": "active",
        "log": config.origin,
    }
    verifier = VerifierKey(config.origin, public).text
    return {
        "origin": config.origin,
        "verifier_key": verifier,
        "registry_line": line,
        "public_key": f"0x{public.hex()}",
    }


def tell(kind: Kind, facts: Mapping[str, Any]) -> None:
    """Write a key's public half for people."""
    _TELL[kind](facts)


def _tell_log(facts: Mapping[str, Any]) -> None:
    click.echo(f"Verifier key, for whoever checks proofs:\n{facts['verifier_key']}\n")
    click.echo(f"The miner's line for the registry file:\n{json.dumps(facts['registry_line'])}\n")
    click.echo(f"Log key, for the registry on a chain:\n{facts['public_key']}")


def _tell_anchoring(facts: Mapping[str, Any]) -> None:
    doubt = "" if facts["opened"] else " (so the keystore states; its passphrase cannot be read here to prove it)"
    click.echo(f"Anchoring account{doubt}:\n{facts['address']}")


def _tell_hpke(facts: Mapping[str, Any]) -> None:
    click.echo(f"HPKE public key ({facts['kem']}), for the registry on a chain:\n{facts['public_key']}")


_TELL: Final[Mapping[Kind, Callable[[Mapping[str, Any]], None]]] = {
    Kind.LOG: _tell_log,
    Kind.ANCHORING: _tell_anchoring,
    Kind.HPKE: _tell_hpke,
}


def shown_path(path: Path | str) -> str:
    """A path fit for a terminal."""
    return plain(path)


def _pem(private: Ed25519PrivateKey) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _passphrase(place: Place, *, new: bool) -> tuple[bytes, bool]:
    ref = place.passphrase_ref
    if not ref:
        raise SecretError(
            "the anchoring key's passphrase",
            "is named nowhere",
            "set anchor.passphrase_file, or give --passphrase-file",
        )
    if new and not ref.startswith(CREDENTIAL) and not is_there(Path(ref)):
        return token_hex(_PASSPHRASE_BYTES).encode("ascii"), True
    try:
        return load_passphrase(ref), False
    except SecretError as error:
        if not ref.startswith(CREDENTIAL):
            raise
        raise SecretError(ref, error.problem, "name the file behind it with --passphrase-file") from None


def _address_facts(address: bytes, *, opened: bool) -> Facts:
    return {"address": checksum_address(address), "opened": opened}


def _stated_facts(place: Place, data: bytes) -> Facts:
    try:
        address = stated_address(data)
        if address is not None:
            return _address_facts(address, opened=False)
    except (KeystoreRefused, ChainExtraMissing) as error:
        raise SecretError(place.ref, error.problem, error.hint) from None
    raise SecretError(place.ref, "states no address, and its passphrase cannot be read", "give --passphrase-file")


def _hpke_facts(key: HpkeKey) -> Facts:
    return {"public_key": f"0x{key.public.hex()}", "kem": HYBRID if key.is_hybrid else "X25519"}
