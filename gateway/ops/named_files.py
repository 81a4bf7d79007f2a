"""Whether the files that a configuration names can be used: every fault at once, and nothing of what they hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from gateway.config.fault import Fault
from gateway.config.model import Config
from gateway.ops.secrets import CREDENTIAL, SecretError, load_hpke_key, load_log_key, read_secret
from gateway.registry.file import RegistryError, load_registry


def named_file_faults(config: Config) -> list[Fault]:
    """Read what the configuration names, as a start would. Blocks; for a thread."""
    return [*_registry(config), *_secrets(config), *_certificates(config)]


def _registry(config: Config) -> Iterator[Fault]:
    if config.chain.rpc:
        return
    try:
        load_registry(config.registry.file)
    except RegistryError as error:
        yield Fault(0, "registry.file", str(error).splitlines()[0], "securenet device list says what holds")


def _secrets(config: Config) -> Iterator[Fault]:
    gateway, mqtt, anchor = config.gateway, config.mqtt, config.anchor
    wanted: list[tuple[str, str, Callable[[str], Any]]] = [
        ("gateway.log_key_file", gateway.log_key_file, load_log_key),
        ("gateway.hpke_key_file", gateway.hpke_key_file, load_hpke_key),
        ("http.token_file", config.http.token_file if config.http.enabled else "", read_secret),
        ("coap.oscore_file", config.coap.oscore_file if config.coap.enabled else "", read_secret),
    ]
    if mqtt.enabled:
        wanted += [
            ("mqtt.password_file", mqtt.password_file, read_secret),
            ("mqtt.key_file", mqtt.key_file, read_secret),
        ]
    if config.chain.rpc and anchor.enabled:  # opening the keystore takes a second: its file alone is looked at
        wanted += [
            ("anchor.key_file", anchor.key_file, read_secret),
            ("anchor.passphrase_file", anchor.passphrase_file, read_secret),
        ]
    endpoints = [(f"chain.rpc[{number}]", ref) for number, ref in enumerate(config.chain.rpc)]
    wanted += [(key, ref, read_secret) for key, ref in endpoints if ref.startswith(CREDENTIAL)]
    for key, ref, load in wanted:
        if ref:
            try:
                load(ref)
            except SecretError as error:
                yield Fault(0, key, f"{error.ref} {error.problem}", error.hint)


def _certificates(config: Config) -> Iterator[Fault]:
    mqtt = config.mqtt
    if mqtt.enabled:
        for key, name in (("mqtt.ca_file", mqtt.ca_file), ("mqtt.cert_file", mqtt.cert_file)):
            if name and not os.access(name, os.R_OK):
                yield Fault(0, key, f"{name} cannot be read", "check the path and its owner")
