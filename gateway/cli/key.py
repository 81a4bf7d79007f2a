"""``key``: the log key, and the lines that make it known."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gateway.cli.options import config_at, config_option, write_new
from gateway.cli.output import CliError, emit, json_option
from gateway.ops.exitcodes import ExitCode
from gateway.ops.secrets import CREDENTIAL, SecretError, load_log_key
from gateway.tlog.checkpoint import VerifierKey


@click.group()
def key() -> None:
    """Make the key that signs receipts and checkpoints; print its public half."""


@key.command("create")
@config_option
@click.option(
    "--out", type=click.Path(path_type=Path), help="Where to write it, if not where the configuration says."
)
@json_option
def create(config_path: Path, out: Path | None) -> None:
    """Make a log key: PKCS#8 PEM, readable by its owner alone. An existing file is never overwritten."""
    config = config_at(config_path)
    if out is None:
        if config.gateway.log_key_file.startswith(CREDENTIAL):
            raise CliError(
                ExitCode.USAGE,
                f"the key is {config.gateway.log_key_file}: name the file behind that credential with --out",
            )
        out = Path(config.gateway.log_key_file)
    private = Ed25519PrivateKey.generate()
    write_new(out, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    _tell(config.origin, config.gateway.fleet, config.gateway.id, public, {"file": str(out)})


@key.command("show")
@config_option
@click.option("--file", "file", type=click.Path(path_type=Path), help="The key, if not where the configuration says.")
@json_option
def show(config_path: Path, file: Path | None) -> None:
    """Print the public half of the log key: as verifier key, and as the miner's line for the registry."""
    config = config_at(config_path)
    try:
        seed = load_log_key(config.gateway.log_key_file if file is None else str(file))
    except SecretError as error:
        raise CliError(ExitCode.SECRET, str(error)) from None
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    _tell(config.origin, config.gateway.fleet, config.gateway.id, public, {})


def _tell(origin: str, fleet: str, gateway_id: str, public: bytes, more: dict[str, Any]) -> None:
    verifier = VerifierKey(origin, public).text
    line = {
        "kind": "miner",
        "id": gateway_id,
        "fleet": fleet,
        "alg": "Ed25519",
        "public_key": b64encode(public).decode(),
        "status": "active",
        "log": origin,
    }

    def human() -> None:
        if more:
            click.echo(f"Written to {more['file']}. Keep a copy where the gateway is not.\n")
        click.echo(f"Verifier key, for whoever checks proofs:\n{verifier}\n")
        click.echo(f"The miner's line for the registry file:\n{json.dumps(line)}")

    emit({**more, "origin": origin, "verifier_key": verifier, "registry_line": line}, human)
