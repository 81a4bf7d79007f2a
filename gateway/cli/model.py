"""``model``: publish models, say which gateways may open them, and see what they did with them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click

from gateway.cli.chain_link import Payment, Target, address_option, ether, on_chain, paying
from gateway.cli.device_send import confirm
from gateway.cli.options import config_option
from gateway.cli.output import CliError, emit, facts, json_option, plain, table, wants_json
from gateway.config.ids import is_id
from gateway.ops.exitcodes import ExitCode

_FILE: Final = click.Path(dir_okay=False, path_type=Path)
_FOLDER: Final = click.Path(file_okay=False, path_type=Path)
_VERSION: Final = click.IntRange(1, 2**63 - 1)


@click.group()
def model() -> None:
    """Models: publish them, grant them to gateways, revoke them, and see who loaded what."""


def _at_models(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which chain and which ModelRegistry."""
    registry = address_option("--model-registry", "ModelRegistry, in the place of the configuration's.")
    return on_chain(registry(command))


@model.command("sign")
@click.argument("card", type=_FILE)
@click.option(
    "--signing-key", required=True, metavar="PEM", help="The trainer's: Ed25519, PKCS#8, or credential:NAME."
)
@json_option
def sign(card: Path, signing_key: str) -> None:
    """Sign a training record (NAME.card.json): its model is what came out of the training that it tells of.

    Writes CARD.sig beside it; the publisher checks it with your public key, which is printed.
    """
    from gateway.cli import model_publish as work  # noqa: PLC0415 -- lazy: --help stays fast

    path, key = work.sign_card(card, signing_key)
    emit(
        {"signature": str(path), "public_key": key},
        lambda: click.echo(f"Wrote {plain(path)}. Publishers need: --trainer-key {key}"),
    )


def _of_the_publisher(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what publishing is told beside the model, gathered in a dictionary as ``wishes``."""
    options = (
        click.option("--spec", type=_FILE, help="The model's spec.  [default: NAME.spec.json]"),
        click.option("--card", type=_FILE, help="Its training record.  [default: NAME.card.json]"),
        click.option("--trainer-key", required=True, metavar="KEY", help="Who signed the record: 0x… or a PEM file."),
        click.option("--model-id", default="", help="As what; the record has to agree.  [default: what it says]"),
        click.option("--version", type=_VERSION, help="As which version; likewise."),
        click.option(
            "--signing-key", required=True, metavar="PEM", help="Yours: Ed25519, PKCS#8, or credential:NAME."
        ),
        click.option("--valid-days", type=click.FloatRange(0.001, 3650), default=90.0, show_default=True),
        click.option("--state", type=_FILE, help="How far it came.  [default: FILE.publication]"),
        click.option("--store", type=_FOLDER, help="Block store, in the place of the configuration's."),
        click.option(
            "--kubo", default="", metavar="URL", help="RPC of a Kubo node that gets the bundle too, pinned."
        ),
        click.option("--authority", default="", metavar="URL", help="The key authority: https://host:port."),
        click.option("--authority-cert", type=_FILE, help="Your certificate, PEM."),
        click.option("--authority-cert-key", type=_FILE, help="Its key, PEM."),
        click.option("--authority-ca", type=_FILE, help="Who signs the authority's certificate, PEM."),
        click.option("--authority-folder", type=_FOLDER, help="Ask by files in this folder, over an air gap."),
        click.option(
            "--authority-key", default="", metavar="KEY", help="By files: the authority's, 0x… or a PEM file."
        ),
    )

    @functools.wraps(command)
    def wrapper(**given: Any) -> Any:  # noqa: ANN401 -- click's values, each of its option's type
        names = (
            *("spec", "card", "trainer_key", "model_id", "version", "signing_key", "valid_days", "state", "store"),
            *("kubo", "authority", "authority_cert", "authority_cert_key", "authority_ca", "authority_folder"),
            "authority_key",
        )
        return command(wishes={name: given.pop(name) for name in names}, **given)

    described: Callable[..., Any] = wrapper
    for option in reversed(options):
        described = option(described)
    return described


@model.command("publish")
@click.argument("file", type=_FILE)
@_of_the_publisher
@click.option("--dry-run", is_flag=True, help="Check everything, say sizes and gas; nothing is made or sent.")
@_at_models
@paying
@json_option
def publish(  # noqa: PLR0913 -- one argument an option
    *, file: Path, wishes: dict[str, Any], dry_run: bool, model_registry: str, target: Target, payment: Payment
) -> None:
    """Publish a model: check that it is genuine, encrypt it, store it, sign its manifest, and say so on chain.

    Killed at any point, the same command goes on where it stood.
    """
    from gateway.cli import model_publish as work  # noqa: PLC0415 -- needs the extra chain

    told = work.publish(file, work.Wishes(**wishes), target, model_registry, payment, dry_run=dry_run)

    def human() -> None:
        facts((name, value) for name, value in told.items() if not isinstance(value, (dict, list)))
        if dry_run:
            click.echo("Everything holds so far; nothing was made or sent.")

    emit(told, human)


@model.command("export")
@click.argument("manifests", nargs=-1, required=True, metavar="CID…")
@click.option("--out", type=_FILE, required=True, help="The CAR file to write; replaced when it is there.")
@click.option("--store", type=_FOLDER, help="Block store, in the place of the configuration's.")
@config_option
@json_option
def export(manifests: tuple[str, ...], out: Path, store: Path | None, config_path: Path) -> None:
    """Write published models into a CAR file, for a site that no network reaches.

    CID… are those of manifests, as the chain has them (model show). The gateway there names the file as a source:
    [ipfs] sources = ["car:/path/FILE.car"].
    """
    from gateway.cli import model_export as work  # noqa: PLC0415 -- lazy: --help stays fast

    told = work.export_bundles(manifests, out, store, config_path)
    emit(told, lambda: facts(told.items()))


@model.command("publisher")
@click.argument("account", metavar="0x…")
@click.argument("key", metavar="KEY")
@_at_models
@paying
@json_option
def publisher(account: str, key: str, model_registry: str, target: Target, payment: Payment) -> None:
    """Let an account publish, with this signing key (Ed25519: 0x… or a PEM file). Needs the admin's account.

    A publisher that is registered again gets the new key, for what it publishes from then on.
    """
    from gateway.chain.contracts import address_of  # noqa: PLC0415 -- needs the extra chain
    from gateway.chain.models import register_publisher_call  # noqa: PLC0415 -- likewise
    from gateway.cli.model_publish import public_key  # noqa: PLC0415 -- likewise

    try:
        address = address_of(account)
    except ValueError:
        raise CliError(ExitCode.USAGE, "an account is 0x and 40 hexadecimal digits") from None
    call = register_publisher_call(address, public_key(key, "KEY"))
    _change([(call, f"registering the publisher {account}")], model_registry, target, payment)


@model.command("list")
@_at_models
@json_option
def list_models(model_registry: str, target: Target) -> None:
    """List every model on chain: its newest version, and who may open it."""
    from gateway.cli import model_chain as work  # noqa: PLC0415 -- needs the extra chain

    found = work.told(target, model_registry)
    rows = [
        (
            each["model_id"],
            each["newest"] or "-",
            each["floor"] or "-",
            work.condition(each),
            len(each["granted"]),
            each["owner"],
        )
        for each in found["models"]
    ]
    emit(found, lambda: table(("model", "newest", "floor", "is", "grants", "owner"), rows))


@model.command("show")
@click.argument("model_id")
@_at_models
@json_option
def show(model_id: str, model_registry: str, target: Target) -> None:
    """Show a model: its versions, its grants. Exit code 1 when the chain does not know it."""
    from gateway.cli import model_chain as work  # noqa: PLC0415 -- needs the extra chain

    found = work.told(target, model_registry, (_model_id(model_id),))
    if not found["models"]:
        raise CliError(ExitCode.NEGATIVE, f"no model {model_id} is on this chain")
    one = found["models"][0]

    def human() -> None:
        facts((name, one[name]) for name in ("model_id", "owner", "newest", "floor"))
        facts([("granted", ", ".join(one["granted"]) or "nobody")])
        columns = ("version", "valid_until", "is", "manifest_cid")
        table(columns, [(each["version"], each["valid_until"], each["is"], each["cid"]) for each in one["versions"]])

    emit(one | {"block": found["block"]}, human)


@model.command("revoke")
@click.argument("model_id")
@click.argument("version", type=_VERSION)
@click.option("--yes", is_flag=True, help="Do not ask.")
@_at_models
@paying
@json_option
def revoke(  # noqa: PLR0913 -- one argument an option
    *, model_id: str, version: int, yes: bool, model_registry: str, target: Target, payment: Payment
) -> None:
    """Revoke a version, for ever: gateways leave it for the last good one that is not revoked."""
    from gateway.chain.models import revoke_call  # noqa: PLC0415 -- needs the extra chain

    if not yes:
        confirm(f"Revoking is for ever: {_model_id(model_id)} version {version}. Go on?")
    call = revoke_call(_model_id(model_id), version)
    _change([(call, f"revoking {model_id} version {version}")], model_registry, target, payment)


@model.command("floor")
@click.argument("model_id")
@click.argument("version", type=_VERSION)
@_at_models
@paying
@json_option
def floor(model_id: str, version: int, model_registry: str, target: Target, payment: Payment) -> None:
    """Let no version below this one run any more; a floor never falls."""
    from gateway.chain.models import set_floor_call  # noqa: PLC0415 -- needs the extra chain

    call = set_floor_call(_model_id(model_id), version)
    _change([(call, f"raising the floor of {model_id} to {version}")], model_registry, target, payment)


@model.command("grant")
@click.argument("model_id")
@click.argument("gateways", nargs=-1, required=True, metavar="GATEWAY…")
@_at_models
@paying
@json_option
def grant(model_id: str, gateways: tuple[str, ...], model_registry: str, target: Target, payment: Payment) -> None:
    """Let gateways open a model, from the next version on that is published."""
    from gateway.chain.models import grant_call  # noqa: PLC0415 -- needs the extra chain

    _batches((grant_call, "granting"), (model_id, gateways), model_registry, target, payment)


@model.command("ungrant")
@click.argument("model_id")
@click.argument("gateways", nargs=-1, required=True, metavar="GATEWAY…")
@_at_models
@paying
@json_option
def ungrant(model_id: str, gateways: tuple[str, ...], model_registry: str, target: Target, payment: Payment) -> None:
    """Let gateways open a model no more, from the next version on that is published."""
    from gateway.chain.models import ungrant_call  # noqa: PLC0415 -- needs the extra chain

    _batches((ungrant_call, "taking back"), (model_id, gateways), model_registry, target, payment)


@model.command("accesses")
@click.argument("model_id", default="")
@click.option("--gateway", default="", metavar="ID", help="Of this gateway alone.")
@_at_models
@json_option
def accesses(model_id: str, gateway: str, model_registry: str, target: Target) -> None:
    """List what gateways report: loaded, refused and why, returned to the last good version."""
    from gateway.cli import model_chain as work  # noqa: PLC0415 -- needs the extra chain

    found = work.accesses(
        target, model_registry, _model_id(model_id) if model_id else None, _gateway_id(gateway) if gateway else None
    )
    columns = ("block", "gateway", "model_id", "version", "result", "reason")
    emit(found, lambda: table(columns, [[each[name] for name in columns] for each in found["accesses"]]))


def _model_id(text: str) -> str:
    if not is_id(text):
        raise CliError(ExitCode.USAGE, "that is no model id: 1-64 characters of A-Z a-z 0-9 . _ : -")
    return text


def _gateway_id(text: str) -> str:
    if not is_id(text):
        raise CliError(ExitCode.USAGE, f"{text[:80]!r} is no gateway id: 1-64 characters of A-Z a-z 0-9 . _ : -")
    return text


def _batches(
    what: tuple[Callable[[str, Sequence[str]], bytes], str],
    about: tuple[str, tuple[str, ...]],
    model_registry: str,
    target: Target,
    payment: Payment,
) -> None:
    from gateway.chain.contracts import MAX_BATCH  # noqa: PLC0415 -- needs the extra chain

    call, verb = what
    model_id, names = _model_id(about[0]), list(dict.fromkeys(map(_gateway_id, about[1])))
    parts = [names[at : at + MAX_BATCH] for at in range(0, len(names), MAX_BATCH)]
    calls = [(call(model_id, part), f"{verb} {model_id} ({len(part)} gateways)") for part in parts]
    _change(calls, model_registry, target, payment)


def _change(calls: list[tuple[bytes, str]], model_registry: str, target: Target, payment: Payment) -> None:
    """Send transactions to ModelRegistry, and say what they came to."""
    from gateway.cli import model_chain as work  # noqa: PLC0415 -- needs the extra chain

    done = work.change(calls, target, model_registry, payment)

    def human() -> None:
        for each in done:
            click.echo(
                f"{plain(each['what'])}: block {each['block']}, {each['gas_used']} gas, {ether(each['cost_wei'])}"
            )

    emit({"transactions": done}, human)
    if not wants_json() and payment.wait != "final":
        click.echo("Gateways act on it when its block is final.")
