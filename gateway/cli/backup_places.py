"""Where ``backup`` finds keys, passwords and certificates, and where ``restore`` puts them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from gateway.config.model import Config
from gateway.ops.secrets import CREDENTIAL, read_secret


class Places(NamedTuple):
    """What the command line says: the configuration, the passphrase of the keys' part, where credentials lie."""

    config: Path
    passphrase_file: Path | None
    credentials: Path


def key_refs(config: Config) -> list[str]:
    """The references of every key, password and certificate that the configuration uses."""
    gateway, anchor, mqtt, coap, http = config.gateway, config.anchor, config.mqtt, config.coap, config.http
    refs = [gateway.log_key_file, gateway.hpke_key_file]
    if config.chain.rpc:
        refs += [ref for ref in config.chain.rpc if ref.startswith(CREDENTIAL)]
        refs += [anchor.key_file, anchor.passphrase_file] if anchor.enabled else []
    refs += [mqtt.password_file, mqtt.key_file, mqtt.cert_file, mqtt.ca_file] if mqtt.enabled else []
    refs += [coap.oscore_file] if coap.enabled else []
    refs += [http.token_file] if http.enabled else []
    return list(dict.fromkeys(ref for ref in refs if ref))


def read_keys(config: Config, credentials: Path) -> dict[str, bytes]:
    """Read them all.

    Raises:
        SecretError: one cannot be read.
        OSError: a certificate cannot be read.
    """
    certificates = {config.mqtt.cert_file, config.mqtt.ca_file}
    return {
        ref: Path(ref).read_bytes() if ref in certificates else read_secret(str(path_of(ref, credentials)))
        for ref in key_refs(config)
    }


def path_of(ref: str, credentials: Path) -> Path:
    """Where a key lies for whoever is not the service itself."""
    return credentials / f"securenet.{ref.removeprefix(CREDENTIAL)}" if ref.startswith(CREDENTIAL) else Path(ref)
