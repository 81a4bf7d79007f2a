"""Opens what the configuration names: keys, keystore, certificates. Nothing secret leaves this file."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from gateway.config.model import Config
from gateway.crypto.anchoring_key import ChainExtraMissing
from gateway.doctor.case import Case
from gateway.doctor.finding import Finding
from gateway.doctor.keys import Certificate, KeyFact, MinerFact, Pair, judge_certificates, judge_keys
from gateway.doctor.runner import aside
from gateway.journal import JournalError, open_reader
from gateway.ops.secrets import (
    CREDENTIAL,
    SecretError,
    load_anchoring_key,
    load_hpke_key,
    load_log_key,
    read_secret,
    secret_path,
)
from gateway.registry.file import RegistryError, load_registry

MAX_CERTIFICATE: Final = 1 << 20
_MINER: Final = 2
_WRITE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


async def ask_keys(case: Case) -> list[Finding]:
    """Try each secret as the gateway would."""
    return await aside(_ask_keys, case)


def _ask_keys(case: Case) -> list[Finding]:
    config = case.sound
    facts = [_try(role, ref, load) for role, ref, load in _secrets(config)]
    return judge_keys(
        facts,
        _miner(config),
        config=str(case.config_path),
        open_to=sorted(set(_open_directories(config))),
        left_over=sorted(_left_over(config)),
    )


def _secrets(config: Config) -> Iterator[tuple[str, str, Callable[[str], object]]]:
    yield "log-key", config.gateway.log_key_file, load_log_key
    if config.gateway.hpke_key_file:
        yield "hpke-key", config.gateway.hpke_key_file, load_hpke_key
    if config.chain.rpc and config.anchor.enabled:
        passphrase = config.anchor.passphrase_file
        yield "anchoring-key", config.anchor.key_file, lambda ref: load_anchoring_key(ref, passphrase)
    for number, ref in enumerate(config.chain.rpc):
        if ref.startswith(CREDENTIAL):
            yield f"chain.rpc[{number}]", ref, read_secret
    if config.mqtt.enabled and config.mqtt.password_file:
        yield "mqtt.password_file", config.mqtt.password_file, read_secret
    if config.coap.enabled and config.coap.oscore_file:
        yield "coap.oscore_file", config.coap.oscore_file, read_secret
    if config.http.enabled and config.http.token_file:
        yield "http.token_file", config.http.token_file, read_secret


def _try(role: str, ref: str, load: Callable[[str], object]) -> KeyFact:
    if is_elsewhere(ref):
        return KeyFact(role, ref, elsewhere=True)
    try:
        load(ref)
    except SecretError as fault:
        return KeyFact(role, ref if ref.startswith(CREDENTIAL) else fault.ref or ref, str(fault))
    except ChainExtraMissing as fault:
        return KeyFact(role, ref, str(fault))
    return KeyFact(role, ref)


def is_elsewhere(ref: str) -> bool:
    """Whether a reference is a credential, and no credentials were passed to us."""
    return ref.startswith(CREDENTIAL) and "CREDENTIALS_DIRECTORY" not in os.environ


def _open_directories(config: Config) -> Iterator[str]:
    """Directories in which others might replace a key; a sticky one keeps them from it."""
    for _role, ref, _load in _secrets(config):
        if ref.startswith(CREDENTIAL):
            continue
        try:
            mode = Path(ref).parent.stat().st_mode
        except OSError:
            continue
        if mode & _WRITE_BY_OTHERS and not mode & stat.S_ISVTX:
            yield str(Path(ref).parent)


def _left_over(config: Config) -> Iterator[str]:
    for _role, ref, _load in _secrets(config):
        following = Path(f"{ref}.next")
        if not ref.startswith(CREDENTIAL) and following.exists():
            yield str(following)


def _miner(config: Config) -> MinerFact | None:
    """This gateway as its registry has it; None where that cannot be read, which another check tells."""
    ours = None
    try:
        if not is_elsewhere(config.gateway.log_key_file):
            seed = load_log_key(config.gateway.log_key_file)
            ours = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        if config.chain.rpc:
            return _chain_miner(config, ours)
        miner = load_registry(config.registry.file).miner(config.gateway.id)
    except (SecretError, RegistryError, JournalError, OSError):
        return None
    if miner is None:
        return MinerFact(None, ours, known=False)
    bound = (miner.fleet, miner.log) == (config.gateway.fleet, config.origin)
    return MinerFact(miner.key.data, ours, known=True, bound=bound)


def _chain_miner(config: Config, ours: bytes | None) -> MinerFact | None:
    with open_reader(config.gateway.data_dir) as reader:
        if reader.identity_cursor() is None:
            return None
        for row in reader.identities():
            if row.kind == _MINER and row.id == config.gateway.id:
                return MinerFact(row.key, ours, known=True, bound=row.fleet == config.gateway.fleet)
    return MinerFact(None, ours, known=False)


async def ask_certificates(case: Case) -> list[Finding]:
    """Read the certificates that the configuration names."""
    return await aside(_ask_certificates, case)


def _ask_certificates(case: Case) -> list[Finding]:
    mqtt = case.sound.mqtt
    facts: list[Certificate] = []
    if mqtt.enabled and mqtt.tls:
        for role, ref in (("CA certificate", mqtt.ca_file), ("client certificate", mqtt.cert_file)):
            if ref:
                facts += read_certificates(role, Path(ref))
    pair = _pair(mqtt.cert_file, mqtt.key_file) if mqtt.tls and mqtt.cert_file and mqtt.key_file else None
    return judge_certificates(facts, pair, case.now_ms)


def read_certificates(role: str, path: Path) -> list[Certificate]:
    """Every certificate of a PEM file."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CERTIFICATE)
        found = x509.load_pem_x509_certificates(data)
    except OSError as fault:
        return [Certificate(role, str(path), problem=f"cannot be read: {fault.strerror}")]
    except (ValueError, UnsupportedAlgorithm):
        return [Certificate(role, str(path), problem="holds no certificate in PEM")]
    return [
        Certificate(
            role,
            str(path),
            int(each.not_valid_before_utc.timestamp() * 1000),
            int(each.not_valid_after_utc.timestamp() * 1000),
            subject=each.subject.rfc4514_string(),
        )
        for each in found
    ]


def _pair(certificate_ref: str, key_ref: str) -> Pair | None:
    """Whether the first certificate of the file is for the private key."""
    if is_elsewhere(key_ref):
        return None
    try:
        key = load_pem_private_key(read_secret(key_ref), password=None)
        certificate = x509.load_pem_x509_certificate(Path(certificate_ref).read_bytes())
    except SecretError as fault:
        return Pair(certificate_ref, key_ref, None, str(fault))
    except OSError:
        return None  # told for the certificate
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return Pair(certificate_ref, key_ref, None, f"{key_ref} is no private key without a passphrase")
    ours, theirs = key.public_key(), certificate.public_key()
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Pair(certificate_ref, str(secret_path(key_ref)), ours.public_bytes(*form) == theirs.public_bytes(*form))
