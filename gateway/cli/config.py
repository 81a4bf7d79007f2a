"""``check-config``, ``show-config``, ``example-config``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.cli.options import config_at, config_option
from gateway.cli.output import CliError, emit, json_option
from gateway.config.example import effective_toml, effective_values, example_toml
from gateway.config.fault import Fault
from gateway.config.lines import key_lines, line_of
from gateway.config.model import Config
from gateway.crypto.anchoring_key import ChainExtraMissing
from gateway.ops.exitcodes import ExitCode
from gateway.ops.secrets import CREDENTIAL, SecretError, load_anchoring_key, load_hpke_key, load_log_key, read_secret
from gateway.registry.file import RegistryError, load_registry
from gateway.registry.port import Status


@click.command("check-config")
@config_option
@click.option("--syntax-only", is_flag=True, help="Do not look at the files that the configuration names.")
@json_option
def check_config(config_path: Path, *, syntax_only: bool) -> None:
    """Check the configuration, and that the registry, keys and certificates that it names can be used."""
    config = config_at(config_path)
    faults = [] if syntax_only else _with_lines(config_path, [*_file_faults(config)])
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise CliError(
            ExitCode.CONFIG,
            f"{config_path} is sound, but what it names is not:\n{lines}",
            [fault._asdict() for fault in faults],
        )
    emit({"ok": True, "config": str(config_path)}, lambda: click.echo(f"{config_path} holds."))


@click.command("show-config")
@config_option
@json_option
def show_config(config_path: Path) -> None:
    """Print every value in force. Secrets are never among them: the configuration only names their files."""
    config = config_at(config_path)
    emit(effective_values(config), lambda: click.echo(effective_toml(config), nl=False))


@click.command("example-config")
@json_option
def example_config() -> None:
    """Print a configuration with every key, its default, unit and reason."""
    text = example_toml()
    emit({"toml": text}, lambda: click.echo(text, nl=False))


def _with_lines(path: Path, faults: list[Fault]) -> list[Fault]:
    lines = key_lines(path.read_text(encoding="utf-8"))
    found = [fault._replace(line=line_of(lines, tuple(fault.key.split(".")))) for fault in faults]
    return sorted(found, key=lambda fault: fault.line)


def _file_faults(config: Config) -> Iterator[Fault]:
    """What is wrong with the files. A systemd credential is looked at only where systemd passed some."""
    log_key: bytes | None = None
    log_key_fault: Fault | None = None
    if not _elsewhere(config.gateway.log_key_file):
        try:
            seed = load_log_key(config.gateway.log_key_file)
            log_key = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        except SecretError as error:
            log_key_fault = Fault(0, "gateway.log_key_file", f"{error.ref} {error.problem}", error.hint)
    yield from _chain_faults(config) if config.chain.rpc else _registry_faults(config, log_key)
    if log_key_fault is not None:
        yield log_key_fault
    if config.gateway.hpke_key_file and not _elsewhere(config.gateway.hpke_key_file):
        try:
            load_hpke_key(config.gateway.hpke_key_file)
        except SecretError as error:
            yield Fault(0, "gateway.hpke_key_file", f"{error.ref} {error.problem}", error.hint)
    secrets = {"coap.oscore_file": config.coap.oscore_file} if config.coap.enabled else {}
    secrets |= {
        f"chain.rpc[{number}]": ref for number, ref in enumerate(config.chain.rpc) if ref.startswith(CREDENTIAL)
    }
    if config.mqtt.enabled:
        secrets |= {"mqtt.password_file": config.mqtt.password_file, "mqtt.key_file": config.mqtt.key_file}
        for key, name in (("mqtt.ca_file", config.mqtt.ca_file), ("mqtt.cert_file", config.mqtt.cert_file)):
            if name and not os.access(name, os.R_OK):
                yield Fault(0, key, f"{name} cannot be read", "check the path and its owner")
    for key, ref in secrets.items():
        if ref and not _elsewhere(ref):
            try:
                read_secret(ref)
            except SecretError as error:
                yield Fault(0, key, f"{error.ref} {error.problem}", error.hint)


def _chain_faults(config: Config) -> Iterator[Fault]:
    """What is wrong with the files that a chain needs; whether it answers is asked by ``chain status``."""
    if config.anchor.enabled and not _elsewhere(config.anchor.key_file):
        try:
            load_anchoring_key(config.anchor.key_file, config.anchor.passphrase_file)
        except SecretError as error:
            which = "passphrase_file" if error.ref == config.anchor.passphrase_file else "key_file"
            yield Fault(0, f"anchor.{which}", f"{error.ref} {error.problem}", error.hint)
        except ChainExtraMissing as error:
            yield Fault(0, "chain.rpc", error.problem, error.hint)


def _registry_faults(config: Config, log_key: bytes | None) -> Iterator[Fault]:
    """What is wrong with the registry file, and with this gateway's line in it; ``log_key`` is None when unknown."""
    try:
        snapshot = load_registry(config.registry.file)
    except RegistryError as error:
        where = f"{error.path}:{error.line}" if error.line else str(error.path)
        yield Fault(0, "registry.file", f"{where} {error.problem}", error.hint)
        return
    miner = snapshot.miner(config.gateway.id)
    hint = "securenet key show --config prints the line; without it every message is pushed back"
    if miner is None:
        yield Fault(0, "registry.file", f"{config.registry.file} has no miner {config.gateway.id}", hint)
    elif (miner.fleet, miner.log) != (config.gateway.fleet, config.origin):
        yield Fault(0, "registry.file", f"the miner {config.gateway.id} is bound to another fleet or log", hint)
    elif log_key is not None and miner.key.data != log_key:
        problem = (
            f"{config.registry.file} has another key for the miner {config.gateway.id} than gateway.log_key_file"
        )
        yield Fault(0, "registry.file", problem, hint)
    elif miner.status is not Status.ACTIVE:
        problem = f"{config.registry.file} has the miner {config.gateway.id} as {miner.status.value}"
        yield Fault(0, "registry.file", problem, "nothing is accepted before it is active again; ask the registrar")


def _elsewhere(ref: str) -> bool:
    return ref.startswith(CREDENTIAL) and "CREDENTIALS_DIRECTORY" not in os.environ
