"""``chain``: the contracts, the endpoints, the money."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import click

from gateway.cli.chain_link import (
    ETHER,
    Payment,
    Target,
    address_option,
    address_text,
    ask,
    chain_errors,
    ether,
    on_chain,
    paying,
)
from gateway.cli.options import config_option
from gateway.cli.output import CliError, emit, facts, json_option, plain, wants_json
from gateway.ops.exitcodes import ExitCode


@click.group()
def chain() -> None:
    """Deploy the contracts, see how the chain is and how long the money lasts; run a chain for development."""


@chain.command("deploy")
@click.option("--rpc", multiple=True, required=True, metavar="URL", help="The endpoint; more than one may be named.")
@click.option("--chain-id", type=click.IntRange(1, 2**53 - 1), help="Refuse any other chain.")
@address_option("--admin", "Who gives and takes the roles.  [default: the account that deploys]")
@address_option("--registrar", "Who registers, reinstates, revokes, and grants models.  [default: likewise]")
@address_option("--suspender", "Who suspends.  [default: likewise]")
@address_option("--registry-address", "Deploy the other contracts, for this registry.")
@address_option("--anchor-log-address", "With --registry-address: deploy ModelRegistry alone.")
@click.option("--deploy-block", type=click.IntRange(0), default=0, help="With --registry-address: its block.")
@click.option("--dry-run", is_flag=True, help="Say what it would cost.")
@address_option("--from", "With --dry-run: whose account it would be, in the place of --key-file.", "sender")
@paying
@json_option
def deploy(  # noqa: PLR0913 -- one argument an option
    *,
    rpc: tuple[str, ...],
    chain_id: int | None,
    admin: str,
    registrar: str,
    suspender: str,
    registry_address: str,
    anchor_log_address: str,
    deploy_block: int,
    dry_run: bool,
    sender: str,
    payment: Payment,
) -> None:
    """Deploy the contracts, verify them, and print the section [chain] of the configuration."""
    if anchor_log_address and not registry_address:
        raise CliError(ExitCode.USAGE, "--anchor-log-address goes with --registry-address")
    with chain_errors():
        from gateway.chain.contracts import address_of  # noqa: PLC0415 -- needs the extra chain
        from gateway.cli import chain_deploy as work  # noqa: PLC0415 -- likewise

        config = Target(Path(), rpc, chain_id).chain(needs_contracts=False)
        terms = payment.terms(config)
        key = None if dry_run and sender else payment.key()
        account = address_of(sender) if key is None else key.address
        roles = work.Roles(*(address_of(text) if text else account for text in (admin, registrar, suspender)))
        if dry_run or key is None:
            cost = ask(config, lambda client: work.estimated(client, account, roles, terms))
            emit(cost | {"dry_run": True}, lambda: click.echo(work.estimate_words(cost)))
            return
        signer = key
        log = address_of(anchor_log_address) if anchor_log_address else None
        standing = work.Standing(address_of(registry_address), deploy_block, log) if registry_address else None
        done = ask(config, lambda client: work.deploy(client, signer, roles, terms, standing))
        section = work.section(config, done)

    def human() -> None:
        click.echo(
            f"Deployed and verified on chain {done.chain_id}: {done.gas_used} gas, {ether(done.cost_wei)}.", err=True
        )
        click.echo("Put this into the configuration of every gateway:", err=True)
        click.echo(section, nl=False)

    named = dict(zip(("admin", "registrar", "suspender"), map(address_text, roles), strict=True))
    emit(done.facts() | {"roles": named, "toml": section}, human)


@chain.command("status")
@on_chain
@json_option
def status(target: Target) -> None:
    """See how the endpoints are, and what the chain knows of this gateway. Exit code 1 when something is wrong.

    Works without a running gateway. With --rpc it looks at endpoints and contracts alone.
    """
    from gateway.cli import chain_report as work  # noqa: PLC0415 -- needs the extra chain

    config = target.chain()
    found = asyncio.run(work.status(config, None if target.rpc else target.config()))

    def human() -> None:
        facts(work.status_lines(found.facts))
        for problem in found.problems:
            click.echo(f"! {plain(problem)}")

    emit(found.facts, human)
    if found.problems:
        answered = any("head" in each for each in found.facts["endpoints"])
        click.get_current_context().exit(int(ExitCode.NEGATIVE if answered else ExitCode.CHAIN))


@chain.command("fund-check")
@config_option
@click.option("--days", type=click.FloatRange(0), default=30.0, show_default=True, help="How long it has to last.")
@address_option("--account", "In the place of the anchoring account of the configuration.")
@json_option
def fund_check(config_path: Path, days: float, account: str) -> None:
    """Say how long the anchoring account's money lasts. Exit code 1 when it is less than --days."""
    with chain_errors():
        from gateway.chain.contracts import address_of  # noqa: PLC0415 -- needs the extra chain
        from gateway.cli import chain_report as work  # noqa: PLC0415 -- likewise

        target = Target(config_path)
        gateway, named = target.config(), address_of(account) if account else None
        found = ask(target.chain(), lambda client: work.funds(client, gateway, named))
    if found is None:
        raise CliError(
            ExitCode.NEGATIVE,
            "which account? anchor.key_file cannot be read, and the miner is not registered; give --account",
        )
    enough = found.lasts(days)

    def human() -> None:
        click.echo(found.words())
        click.echo("Enough." if enough else f"NOT enough for {days:g} days: send it more.")

    emit(found.facts() | {"enough": enough}, human)
    if not enough:
        click.get_current_context().exit(int(ExitCode.NEGATIVE))


@chain.command("fund")
@click.option("--ether", "amount", required=True, metavar="AMOUNT", help="How much, in ether: 0.05.")
@address_option("--account", "In the place of the anchoring account of the configuration.")
@on_chain
@paying
@json_option
def fund(amount: str, account: str, target: Target, payment: Payment) -> None:
    """Send the operator's ether to the account that anchors."""
    from gateway.chain.contracts import address_of  # noqa: PLC0415 -- needs the extra chain
    from gateway.chain.operator import Operator, Tx  # noqa: PLC0415 -- likewise
    from gateway.cli import chain_report as work  # noqa: PLC0415 -- likewise

    config, key, wei = target.chain(needs_contracts=False), payment.key(), _wei(amount)
    to = address_of(account) if account else work.account_of(target.config())
    if to is None:
        raise CliError(ExitCode.USAGE, "which account? anchor.key_file cannot be read; give --account")
    tx = Tx(to, b"", f"sending {ether(wei)} to {address_text(to)}", wei)
    receipt = ask(config, lambda client: Operator(client, key, payment.terms(config)).send(tx))
    known = {"account": address_text(to), "wei": wei, "tx_hash": f"0x{receipt.tx_hash.hex()}"}
    emit(
        known | {"block": receipt.block_number},
        lambda: click.echo(f"{known['account']} got {ether(wei)} in block {receipt.block_number}"),
    )


def _wei(amount: str) -> int:
    """Ether as people write it, exactly."""
    try:
        wei = Decimal(amount) * ETHER
        if wei.is_finite() and 0 < wei < ETHER**2 and wei == int(wei):
            return int(wei)
    except InvalidOperation:
        pass
    raise CliError(ExitCode.USAGE, "--ether is an amount above zero, with 18 decimals at most: 0.05")


@chain.command("dev")
@click.option("--port", type=click.IntRange(0, 65535), default=8545, show_default=True, help="0: a free one.")
@click.option("--block-time", type=click.FloatRange(0, 3600), default=1.0, show_default=True, help="Seconds a block.")
@click.option("--accounts", type=click.IntRange(1, 100), default=10, show_default=True, help="Funded accounts.")
@json_option
def dev(port: int, block_time: float, accounts: int) -> None:
    """Run a chain for development on this machine, until Ctrl-C or SIGTERM. It keeps nothing, its keys are public."""
    with chain_errors():
        from gateway.chain import devchain  # noqa: PLC0415 -- needs the extra chain, and eth-tester

    options = devchain.DevChainOptions(port=port, block_time_s=block_time, accounts=accounts)

    def ready(running: devchain.DevChain) -> None:
        known: dict[str, Any] = {
            "url": running.url,
            "chain_id": running.chain_id,
            "accounts": [account._asdict() for account in running.accounts],
        }
        if wants_json():
            emit(known, lambda: None)
            return
        click.echo(
            f"{running.url}, chain id {running.chain_id}. For development: never send value to these accounts."
        )
        for account in running.accounts:
            click.echo(f"{account.address}  {account.private_key}")

    async def until_signal() -> None:
        serving = asyncio.create_task(devchain.serve(options, ready))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await serving

    try:
        asyncio.run(until_signal())
    except devchain.DevChainError as error:
        raise CliError(ExitCode.UNAVAILABLE, str(error)) from None
