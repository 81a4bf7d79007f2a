"""``miner``: this gateway in the registry on chain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gateway.cli.chain_link import (
    Payment,
    Target,
    address_option,
    address_text,
    ask,
    contracts_of,
    ether,
    on_chain,
    paying,
)
from gateway.cli.device_send import change_status
from gateway.cli.output import CliError, emit, facts, json_option, plain
from gateway.config.ids import is_id
from gateway.ops.exitcodes import ExitCode

_KEYS = "  [default: of the gateway's configuration and keys]"


@click.group()
def miner() -> None:
    """The gateway itself in the registry on chain: register it, renew its keys, suspend and revoke it."""


def _described(command: Any) -> Any:  # noqa: ANN401 -- a click command's function, as it comes
    """Add the options that say what a miner is registered with."""
    for option in (
        click.argument("name", metavar="[ID]", default=""),
        click.option("--fleet", default="", help=f"Its fleet, for life.{_KEYS}"),
        click.option("--log-key", default="", metavar="KEY", help=f"Verifier key, 0x… or base64.{_KEYS}"),
        click.option("--hpke-key", default="", metavar="KEY", help=f"X25519 or hybrid, 0x… or base64.{_KEYS}"),
        address_option("--account", f"The account that anchors.{_KEYS}"),
    ):
        command = option(command)
    return command


@miner.command("register")
@_described
@on_chain
@paying
@json_option
def register(  # noqa: PLR0913 -- one argument an option
    *, name: str, fleet: str, log_key: str, hpke_key: str, account: str, target: Target, payment: Payment
) -> None:
    """Register a gateway, this one by default, and open its log for anchors."""
    from gateway.chain.contracts import address_of  # noqa: PLC0415 -- needs the extra chain
    from gateway.cli import chain_miner as work  # noqa: PLC0415 -- likewise

    wishes = work.Wishes(name, fleet, log_key, hpke_key, address_of(account) if account else b"")
    _send(work.choose(target, wishes, rotating=False), work.register, target, payment)


@miner.command("renew")
@_described
@on_chain
@paying
@json_option
def renew(  # noqa: PLR0913 -- one argument an option
    *, name: str, fleet: str, log_key: str, hpke_key: str, account: str, target: Target, payment: Payment
) -> None:
    """Replace a gateway's keys and account after securenet key rotate; a FILE.next goes before its FILE.

    From the moment that it is final until the gateway uses the new keys, the gateway accepts nothing, and loses
    nothing: finish the rotation and restart it.
    """
    from gateway.chain.contracts import address_of  # noqa: PLC0415 -- needs the extra chain
    from gateway.cli import chain_miner as work  # noqa: PLC0415 -- likewise

    wishes = work.Wishes(name, fleet, log_key, hpke_key, address_of(account) if account else b"")
    _send(work.choose(target, wishes, rotating=True), work.renew, target, payment)


@miner.command("suspend")
@click.argument("name", metavar="[ID]", default="")
@on_chain
@paying
@json_option
def suspend(name: str, target: Target, payment: Payment) -> None:
    """Let a gateway accept and anchor nothing, until it is reinstated."""
    change_status("suspend", "MINER", [_name(name, target)], target=target, payment=payment)


@miner.command("reinstate")
@click.argument("name", metavar="[ID]", default="")
@on_chain
@paying
@json_option
def reinstate(name: str, target: Target, payment: Payment) -> None:
    """Let a suspended gateway work again, once it is final."""
    change_status("reinstate", "MINER", [_name(name, target)], target=target, payment=payment)


@miner.command("revoke")
@click.argument("name", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@on_chain
@paying
@json_option
def revoke(name: str, target: Target, payment: Payment, *, yes: bool) -> None:
    """Let a gateway accept and anchor never again; its id, its log and its account stay used."""
    change_status("revoke", "MINER", [_name(name, target)], target=target, payment=payment, yes=yes)


@miner.command("show")
@click.argument("name", metavar="[ID]", default="")
@on_chain
@json_option
def show(name: str, target: Target) -> None:
    """Show what the chain knows of a gateway, this one by default. Exit code 1 when it is not registered."""
    from gateway.cli import chain_report as work  # noqa: PLC0415 -- needs the extra chain

    config, name = target.chain(), _name(name, target)

    async def look(chain: Any) -> dict[str, Any] | None:  # noqa: ANN401 -- a Chain
        async with chain.view() as view:
            known = await work.registration(view, config, name)
            if known is None or not known.account:
                return None
            log = await work.log_facts(view, contracts_of(config), f"securenet/{known.fleet}/{name}")
            return {"id": name} | work.miner_facts(known) | {f"log_{key}": value for key, value in log.items()}

    found = ask(config, look)
    if found is None:
        raise CliError(ExitCode.NEGATIVE, f"no miner {name} is registered on this chain")
    emit(found, lambda: facts(found.items()))


def _name(name: str, target: Target) -> str:
    found = name or target.config().gateway.id
    if not is_id(found):
        raise CliError(ExitCode.USAGE, "that is no id: 1-64 characters of A-Z a-z 0-9 . _ : -")
    return found


def _send(chosen: Any, work: Any, target: Target, payment: Payment) -> None:  # noqa: ANN401 -- of a module that needs the extra chain
    from gateway.cli.device_roll import Desk  # noqa: PLC0415 -- needs the extra chain

    config, key = target.chain(), payment.key()
    done = ask(config, lambda chain: work(Desk(chain, config, key, payment.terms(config)), chosen))
    registered = chosen.facts
    known = {
        "id": registered.id,
        "fleet": registered.fleet,
        "origin": chosen.origin,
        "log_key": f"0x{registered.log_key.hex()}",
        "hpke_key": f"0x{registered.hpke_key.hex()}",
        "account": address_text(registered.account),
    }

    def human() -> None:
        facts(known.items())
        for path in chosen.rotated:
            click.echo(
                f"The key in {plain(Path(path))} is of a rotation: finish it (securenet key rotate … --finish)."
            )
        for each in done["transactions"]:
            click.echo(f"{each['what']} in block {each['block']}, {each['gas_used']} gas, {ether(each['cost_wei'])}")
        if not done["transactions"]:
            click.echo("It is so already; nothing was sent.")

    emit(known | done, human)
