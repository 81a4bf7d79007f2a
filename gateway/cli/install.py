"""``install`` and ``uninstall``: the gateway as a service of this machine, or of an image of one."""

from __future__ import annotations

import os
import re
import sys
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Final

import click

from gateway.cli.install_apply import Done, Installer
from gateway.cli.install_steps import (
    CONFIG,
    GATEWAY_UNIT,
    PACKAGED_UNIT,
    UNITS,
    Sources,
    Step,
    Wanted,
    hidden,
    install_steps,
    uninstall_steps,
)
from gateway.cli.output import CliError, emit, json_option, plain
from gateway.config.example import example_toml
from gateway.config.model import FLEET, ID
from gateway.ops.exitcodes import ExitCode

_LIVE: Final = Path("/")

_root_option = click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=_LIVE,
    help="An image's root directory, in the place of this machine's.",
)
_dry_run_option = click.option("--dry-run", is_flag=True, help="Say every step, and do none.")


@click.command()
@click.option("--id", "gateway_id", help="This gateway's id; with --fleet, configuration and log key are made.")
@click.option("--fleet", help="The fleet that it serves.")
@click.option("--program", type=click.Path(path_type=Path), help="The securenet that the units start.")
@_root_option
@_dry_run_option
@json_option
def install(gateway_id: str | None, fleet: str | None, program: Path | None, root: Path, *, dry_run: bool) -> None:
    """Make the gateway a service: user, directories, units, and what is missing of configuration and keys.

    May be called again; what is there stays. From the Debian package, the units are there already.
    """
    if (gateway_id is None) != (fleet is None):
        raise CliError(ExitCode.USAGE, "--id and --fleet go together")
    for name, value, pattern in (("--id", gateway_id, ID), ("--fleet", fleet, FLEET)):
        if value is not None and not re.fullmatch(pattern, value):
            raise CliError(ExitCode.USAGE, f"{name} is 1 or more of A-Z a-z 0-9 . _ : -, and not too long")
    _need_root(root, dry_run=dry_run)
    packaged = (root / PACKAGED_UNIT.relative_to("/")).is_file()
    starts = PurePosixPath(program or Path(sys.executable).parent / "securenet")
    problem = None if packaged else hidden(starts)
    if problem is not None:
        raise CliError(ExitCode.USAGE, problem)
    steps = install_steps(Wanted(starts, packaged, fleet, gateway_id), _sources())
    done = _do(steps, root, dry_run=dry_run)
    named = gateway_id is not None or (root / CONFIG.relative_to("/")).is_file()
    _answer(done, _next_steps(named=named), dry_run=dry_run)


@click.command()
@click.option("--purge", is_flag=True, help="Remove configuration, keys, and the log with every message, too.")
@_root_option
@_dry_run_option
@json_option
def uninstall(root: Path, *, purge: bool, dry_run: bool) -> None:
    """Stop the service and remove what install wrote. Configuration, keys and the log stay, unless purged."""
    _need_root(root, dry_run=dry_run)
    if (root / PACKAGED_UNIT.relative_to("/")).is_file():
        raise CliError(
            ExitCode.USAGE, "the Debian package owns the units; run: apt remove securenet-gateway, or purge"
        )
    kept = [] if purge else ["Configuration, keys and log are still there; uninstall --purge removes them."]
    _answer(_do(uninstall_steps(purge=purge), root, dry_run=dry_run), kept, dry_run=dry_run)


def _need_root(root: Path, *, dry_run: bool) -> None:
    if root == _LIVE and not dry_run and os.geteuid() != 0:
        raise CliError(
            ExitCode.UNAVAILABLE, "only root may do this; run it with sudo, or with --dry-run to see what it would do"
        )


def _sources() -> Sources:
    units = files("gateway.ops.systemd") / "units"
    return Sources(
        units={name: (units / name).read_text("utf-8") for name in UNITS},
        sysusers=(units / "securenet.sysusers").read_text("utf-8"),
        tmpfiles=(units / "securenet.tmpfiles").read_text("utf-8"),
        example=example_toml(),
    )


def _do(steps: list[Step], root: Path, *, dry_run: bool) -> list[Done]:
    installer = Installer(root, dry_run=dry_run)
    return [installer.do(step) for step in steps]


def _next_steps(*, named: bool) -> list[str]:
    return [
        *([] if named else ["Say who the gateway is: securenet install --id ID --fleet FLEET"]),
        f"Set the broker, and what else differs from the defaults: {CONFIG}",
        "Let the devices in: their lines in /etc/securenet/registry.jsonl, or by the chain's registry",
        "Check it: securenet check-config --syntax-only",
        f"Start it: systemctl start --no-block {GATEWAY_UNIT}",
        "See how it is: securenet status; journalctl -u securenet-gateway",
    ]


def _answer(done: list[Done], following: list[str], *, dry_run: bool) -> None:
    def human() -> None:
        for each in done:
            click.echo(f"{'would' if dry_run else 'done ' if each.changed else 'there'}  {plain(each.words)}")
        if following:
            click.echo("\nWhat to do next:" if len(following) > 1 else "")
        for number, step in enumerate(following, 1):
            click.echo(f"{number}. {step}" if len(following) > 1 else step)

    emit({"dry_run": dry_run, "steps": [each._asdict() for each in done], "next": following}, human)
