"""``quarantine``: the refused messages that are kept as evidence."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway.cli.options import config_option, data_dir_of, data_dir_option, journal_in, write_new
from gateway.cli.output import CliError, emit, facts, json_option, table
from gateway.journal import QuarantineEntry, Reader
from gateway.message import RejectReason
from gateway.ops.exitcodes import ExitCode

_PAGE = 512


@click.group()
def quarantine() -> None:
    """Look at the messages that were refused, beside a running gateway or without one."""


@quarantine.command("list")
@click.option("--reason", type=click.Choice([reason.value for reason in RejectReason]), help="Only these.")
@click.option("--device", help="Only messages that name this device.")
@click.option("--after", type=click.IntRange(0, 2**63 - 1), default=0, help="Only ids above this.")
@click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many, oldest first."
)
@config_option
@data_dir_option
@json_option
def list_refused(  # noqa: PLR0913 -- click passes one argument for each option
    *, reason: str | None, device: str | None, after: int, limit: int, config_path: Path, data_dir: Path | None
) -> None:
    """List refused messages, the oldest first, and how many there are of each reason."""
    shown: list[QuarantineEntry] = []
    with journal_in(data_dir_of(config_path, data_dir)) as reader:
        counts = reader.quarantine_counts()
        for entry in _entries(reader, after):
            if (reason is None or entry.row.reason == reason) and (device is None or entry.row.device_id == device):
                shown.append(entry)
                if len(shown) == limit:
                    break

    def human() -> None:
        rows = (
            (entry.id, _when(entry), entry.row.reason, entry.row.device_id or "", entry.row.peer, entry.row.detail)
            for entry in shown
        )
        table(("id", "received", "reason", "device", "peer", "detail"), rows)
        click.echo(f"held: {', '.join(f'{count} {name}' for name, count in counts.items()) or 'nothing'}")

    emit({"counts": counts, "messages": [_as_dict(entry) for entry in shown]}, human)


@quarantine.command("show")
@click.argument("number", metavar="ID", type=click.IntRange(0, 2**63 - 1))
@config_option
@data_dir_option
@json_option
def show(number: int, config_path: Path, data_dir: Path | None) -> None:
    """Show one refused message, its bytes in hexadecimal."""
    entry = _one(number, config_path, data_dir)
    known = _as_dict(entry) | {"payload": entry.row.payload.hex()}
    emit(known, lambda: facts([("received", _when(entry)), *known.items()]))


@quarantine.command("export")
@click.argument("number", metavar="ID", type=click.IntRange(0, 2**63 - 1))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The file to write; must not be there.")
@config_option
@data_dir_option
@json_option
def export(number: int, out: Path, config_path: Path, data_dir: Path | None) -> None:
    """Write the bytes of one refused message to a file, as they came."""
    entry = _one(number, config_path, data_dir)
    write_new(out, entry.row.payload, mode=0o600)
    known = _as_dict(entry) | {"file": str(out)}
    emit(known, lambda: click.echo(f"{len(entry.row.payload)} bytes written to {out}"))


def _one(number: int, config_path: Path, data_dir: Path | None) -> QuarantineEntry:
    with journal_in(data_dir_of(config_path, data_dir)) as reader:
        entry = reader.quarantined(number)
    if entry is None:
        raise CliError(ExitCode.NEGATIVE, f"the quarantine has no message {number} (any more)")
    return entry


def _entries(reader: Reader, after: int) -> Iterator[QuarantineEntry]:
    while page := reader.quarantine(after, _PAGE):
        yield from page
        after = page[-1].id


def _when(entry: QuarantineEntry) -> str:
    return f"{datetime.fromtimestamp(entry.row.received_ms / 1000, UTC):%Y-%m-%d %H:%M:%SZ}"


def _as_dict(entry: QuarantineEntry) -> dict[str, Any]:
    row = entry.row
    return {
        "id": entry.id,
        "received_ms": row.received_ms,
        "reason": row.reason,
        "transport": row.transport,
        "peer": row.peer,
        "device": row.device_id,
        "detail": row.detail,
        "bytes": len(row.payload),
    }
