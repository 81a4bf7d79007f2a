"""``device``: what the registry file says."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import click

from gateway.cli.options import config_at, config_option, registry_at, registry_option
from gateway.cli.output import CliError, emit, facts, json_option, table
from gateway.ops.exitcodes import ExitCode
from gateway.registry.port import Device, RegistrySnapshot, Status


@click.group()
def device() -> None:
    """Look into the registry file, without a running gateway."""


@device.command("show")
@click.argument("device_id", metavar="ID")
@config_option
@registry_option
@json_option
def show(device_id: str, config_path: Path, registry_path: Path | None) -> None:
    """Show one device. Exit code 1 when it is not registered."""
    found = _snapshot(config_path, registry_path).device(device_id)
    if found is None:
        raise CliError(ExitCode.NEGATIVE, f"no device {device_id} in the registry file")
    emit(_as_dict(found), lambda: facts(_as_dict(found).items()))


@device.command("list")
@click.option("--status", type=click.Choice([status.value for status in Status]), help="Only these.")
@click.option("--fleet", help="Only of this fleet.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many.")
@config_option
@registry_option
@json_option
def list_devices(
    status: str | None, fleet: str | None, limit: int, config_path: Path, registry_path: Path | None
) -> None:
    """List devices, in the order of the file."""
    snapshot = _snapshot(config_path, registry_path)
    matching = [
        each
        for each in snapshot.devices()
        if (status is None or each.status == status) and (fleet is None or each.fleet == fleet)
    ]
    shown = matching[:limit]

    def human() -> None:
        table(("id", "fleet", "alg", "status"), ((each.id, each.fleet, each.key.alg, each.status) for each in shown))
        click.echo(f"{len(shown)} of {len(matching)} shown")

    emit({"matching": len(matching), "devices": [_as_dict(each) for each in shown]}, human)


def _snapshot(config_path: Path, registry_path: Path | None) -> RegistrySnapshot:
    return registry_at(registry_path if registry_path is not None else config_at(config_path).registry.file)


def _as_dict(found: Device) -> dict[str, Any]:
    return {
        "id": found.id,
        "fleet": found.fleet,
        "alg": found.key.alg.value,
        "public_key": b64encode(found.key.data).decode(),
        "status": found.status.value,
    }
