"""``support-bundle``: what somebody far away needs to see, in one file, and nothing that is secret."""

from __future__ import annotations

import asyncio
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.doctor import be_quiet
from gateway.cli.key_files import write_secret
from gateway.cli.options import config_option
from gateway.cli.output import CliError, emit, json_option
from gateway.ops.events import parse_moment
from gateway.ops.exitcodes import ExitCode

if TYPE_CHECKING:
    from gateway.doctor.case import Case
    from gateway.doctor.collect import Wanted


@click.command("support-bundle")
@config_option
@click.option("--out", type=click.Path(path_type=Path), help="The file.  [default: securenet-support-<time>.tar.gz]")
@click.option("--since", default="24h", show_default=True, help="Events from then on: 10m, 2h, 3d ago, or ISO 8601.")
@click.option("--file", "log_file", type=click.Path(path_type=Path), help="Events from this file, not the journal.")
@click.option(
    "--with-device-ids", is_flag=True, help="Leave device ids as they are; without it each has another name."
)
@click.option("--offline", is_flag=True, help="Let the doctor ask nothing beyond this machine.")
@click.option("--unit", default="securenet-gateway.service", show_default=True, help="The systemd unit.")
@json_option
def support_bundle(  # noqa: PLR0913 -- one argument an option
    *,
    config_path: Path,
    out: Path | None,
    since: str,
    log_file: Path | None,
    with_device_ids: bool,
    offline: bool,
    unit: str,
) -> None:
    """Write one archive for whoever helps: doctor, status, configuration, events, metrics, versions.

    Works beside a running gateway and without one. It holds no key, no password, no message and no device's name;
    MANIFEST.json in it says what is there.
    """
    from gateway.doctor.bundle import pack  # noqa: PLC0415 -- lazy: --help stays fast
    from gateway.doctor.collect import Wanted, collect  # noqa: PLC0415 -- likewise
    from gateway.doctor.runner import examine  # noqa: PLC0415 -- likewise
    from gateway.doctor.survey import borrow_credentials, survey  # noqa: PLC0415 -- likewise
    from gateway.doctor.table import CHECKS  # noqa: PLC0415 -- likewise

    now = datetime.now(UTC)
    since_ms = parse_moment(since, now)
    if since_ms is None:
        raise CliError(ExitCode.USAGE, f"{since!r} is neither 10m, 2h, 3d nor 2026-01-31T12:00")
    name = f"securenet-support-{now:%Y%m%dT%H%M%SZ}"
    path = Path(f"{name}.tar.gz") if out is None else out
    if os.path.lexists(path):
        raise CliError(ExitCode.CANNOT_CREATE, f"{path} stands already; name another file with --out")
    borrow_credentials(unit)
    be_quiet()
    wanted = Wanted(since_ms, log_file, with_device_ids)

    async def gather() -> bytes:
        case = await survey(config_path, offline=offline, unit=unit)
        pieces = await collect(case, await examine(case, CHECKS), wanted, secrets.token_bytes(32))
        return pack(pieces, name, _facts(case, wanted, now), int(now.timestamp()))

    data = asyncio.run(gather())
    write_secret(path, data)
    told = {"file": str(path), "bytes": len(data), "device_ids": with_device_ids}
    emit(told, lambda: click.echo(f"{path}, {len(data) >> 10} KiB. Look into it before you send it: tar -tzf {path}"))


def _facts(case: Case, wanted: Wanted, now: datetime) -> dict[str, Any]:
    """What the manifest says besides its files."""
    from gateway import __version__  # noqa: PLC0415 -- lazy: --help stays fast

    return {
        "what": "support bundle of a SecureNet gateway",
        "gateway": None if case.config is None else case.config.gateway.id,
        "version": __version__,
        "made": now.isoformat(timespec="seconds"),
        "device_ids": "as they are" if wanted.tell_devices else "replaced, by other names in each bundle",
        "never_in_it": "keys, passwords, messages, what is in quarantine",
    }
