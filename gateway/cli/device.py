"""``device``: who may speak. Read from the registry file, or, where a chain is configured, changed by transaction."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.chain_link import Payment, Target, address_option, on_chain, paying
from gateway.cli.device_send import applicants_in, change_status, estimate, send
from gateway.cli.options import config_at, config_option, journal_in, registry_at, registry_option
from gateway.cli.output import CliError, emit, facts, json_option, plain, table
from gateway.message import Alg
from gateway.ops.exitcodes import ExitCode
from gateway.registry.port import Device, Status

if TYPE_CHECKING:
    from gateway.journal.identities import IdentityRow

_STATUSES = {1: Status.ACTIVE, 2: Status.SUSPENDED, 3: Status.REVOKED}
_ALGS = {1: Alg.ED25519, 2: Alg.ES256}
_DEVICE = 1


@click.group()
def device() -> None:
    """Who may speak: list the registry, register devices on chain, suspend and revoke them."""


@device.command("show")
@click.argument("device_id", metavar="ID")
@config_option
@registry_option
@json_option
def show(device_id: str, config_path: Path, registry_path: Path | None) -> None:
    """Show one device. Exit code 1 when it is not registered."""
    where, devices = _registered(config_path, registry_path)
    found = next((each for each in devices if each["id"] == device_id), None)
    if found is None:
        raise CliError(ExitCode.NEGATIVE, f"no device {device_id} in {where}")
    emit(found, lambda: facts(found.items()))


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
    """List devices, in the order of their registration.

    Where a chain is configured, they are those that the gateway knows as final (its journal has them).
    """
    where, devices = _registered(config_path, registry_path)
    matching = 0
    shown: list[dict[str, Any]] = []
    for each in devices:
        if (status is None or each["status"] == status) and (fleet is None or each["fleet"] == fleet):
            matching += 1
            if len(shown) < limit:
                shown.append(each)

    def human() -> None:
        columns = ("id", "fleet", "alg", "status")
        table(columns, ([each[column] for column in columns] for each in shown))
        click.echo(f"{len(shown)} of {matching} shown, from {plain(where)}")

    emit({"matching": matching, "source": where, "devices": shown}, human)


@device.command("register")
@click.argument("device_id", metavar="ID")
@click.option("--fleet", required=True, help="The fleet that it belongs to, for life.")
@click.option("--alg", type=click.Choice([alg.value for alg in Alg]), default=Alg.ED25519.value, show_default=True)
@click.option("--public-key", metavar="BASE64", required=True, help="32 bytes of Ed25519, or 65 bytes of P-256.")
@on_chain
@paying
@json_option
def register(  # noqa: PLR0913 -- one argument an option
    device_id: str, *, fleet: str, alg: str, public_key: str, target: Target, payment: Payment
) -> None:
    """Register one device on chain. One that is registered with the same facts is left alone."""
    from gateway.cli.device_file import one_applicant  # noqa: PLC0415 -- needs the extra chain
    from gateway.registry.line import LineRefused  # noqa: PLC0415 -- beside its only use

    try:
        applicant = one_applicant(device_id, fleet, alg, public_key)
    except LineRefused as refusal:
        raise CliError(ExitCode.USAGE, f"{refusal.problem}; {refusal.hint}") from None
    send([applicant], 1, target, payment)


@device.command("import")
@click.option(
    "--csv", "csv_path", type=click.Path(path_type=Path), help="A list: id,fleet,alg,public_key and a header."
)
@click.option("--jsonl", "jsonl_path", type=click.Path(path_type=Path), help="A list in the registry file's format.")
@click.option("--batch", type=click.IntRange(1, 256), default=100, show_default=True, help="Devices a transaction.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and what it would cost.")
@address_option("--from", "With --dry-run: whose account it would be, in the place of --key-file.", "sender")
@on_chain
@paying
@json_option
def import_devices(  # noqa: PLR0913 -- one argument an option
    *,
    csv_path: Path | None,
    jsonl_path: Path | None,
    batch: int,
    dry_run: bool,
    sender: str,
    target: Target,
    payment: Payment,
) -> None:
    """Register a list of devices on chain, in batches.

    The whole list is checked and compared with the chain before the first transaction. An import that was interrupted
    goes on where it was when the same command is run again.
    """
    applicants = applicants_in(csv_path, jsonl_path)
    if dry_run:
        estimate(applicants, batch, target, payment, sender)
    else:
        send(applicants, batch, target, payment)


@device.command("suspend")
@click.argument("ids", metavar="ID…", nargs=-1, required=True)
@on_chain
@paying
@json_option
def suspend(ids: tuple[str, ...], target: Target, payment: Payment) -> None:
    """Let devices be heard no more, until they are reinstated. Gateways act on it before it is final."""
    change_status("suspend", "DEVICE", ids, target=target, payment=payment)


@device.command("reinstate")
@click.argument("ids", metavar="ID…", nargs=-1, required=True)
@on_chain
@paying
@json_option
def reinstate(ids: tuple[str, ...], target: Target, payment: Payment) -> None:
    """Let suspended devices be heard again, once it is final."""
    change_status("reinstate", "DEVICE", ids, target=target, payment=payment)


@device.command("revoke")
@click.argument("ids", metavar="ID…", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@on_chain
@paying
@json_option
def revoke(ids: tuple[str, ...], target: Target, payment: Payment, *, yes: bool) -> None:
    """Let devices be heard never again; their ids stay used. Gateways act on it before it is final."""
    change_status("revoke", "DEVICE", ids, target=target, payment=payment, yes=yes)


# --- what is registered ---


def _registered(config_path: Path, registry_path: Path | None) -> tuple[str, Iterator[dict[str, Any]]]:
    """Where the devices are from, in words, and each of them."""
    if registry_path is None:
        config = config_at(config_path)
        if config.chain.rpc:
            return _from_journal(config.gateway.data_dir)
        registry_path = config.registry.file
    return "the registry file", map(_as_dict, registry_at(registry_path).devices())


def _from_journal(data_dir: Path) -> tuple[str, Iterator[dict[str, Any]]]:
    with journal_in(data_dir) as reader:
        cursor = reader.identity_cursor()
        rows = [row for row in reader.identities() if row.kind == _DEVICE]
    if cursor is None:
        raise CliError(
            ExitCode.NEGATIVE,
            "the gateway has not read the chain's registry yet: start it, or look at securenet chain status",
        )
    return f"the chain's registry as of final block {cursor.block}", map(_row_as_dict, rows)


def _row_as_dict(row: IdentityRow) -> dict[str, Any]:
    alg, status = _ALGS.get(row.alg), _STATUSES.get(row.status)
    return {
        "id": row.id,
        "fleet": row.fleet,
        "alg": str(row.alg) if alg is None else alg.value,
        "public_key": b64encode(row.key).decode(),
        "status": str(row.status) if status is None else status.value,
    }


def _as_dict(found: Device) -> dict[str, Any]:
    return {
        "id": found.id,
        "fleet": found.fleet,
        "alg": found.key.alg.value,
        "public_key": b64encode(found.key.data).decode(),
        "status": found.status.value,
    }
