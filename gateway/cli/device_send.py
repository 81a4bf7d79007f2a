"""What the commands of ``device`` and ``miner`` send, and how they tell it: before, while, and after."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.chain.port import Chain, ChainError
from gateway.cli.chain_link import Payment, Target, ask, ether
from gateway.cli.output import CliError, emit, plain, wants_json
from gateway.config.ids import is_id
from gateway.ops.exitcodes import ExitCode

if TYPE_CHECKING:
    from gateway.chain.rollcall import Applicant
    from gateway.cli.device_file import Listed
    from gateway.cli.device_roll import Conflicts, Progress

_SHOWN_FAULTS = 50


def applicants_in(csv_path: Path | None, jsonl_path: Path | None) -> list[Applicant]:
    """Read the list of an import, or end with every line that does not hold."""
    from gateway.cli.device_file import read_csv, read_file, read_jsonl  # noqa: PLC0415 -- needs the extra chain

    path, read = (csv_path, read_csv) if jsonl_path is None else (jsonl_path, read_jsonl)
    if path is None or (csv_path is not None and jsonl_path is not None):
        raise CliError(ExitCode.USAGE, "name the list with --csv or with --jsonl")
    try:
        listed = read(read_file(path))
    except OSError as error:
        raise CliError(ExitCode.NO_INPUT, f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise CliError(ExitCode.NO_INPUT, f"{path} {error}") from None
    if listed.faults:
        raise _faulty(path, listed)
    if not listed.applicants:
        raise CliError(ExitCode.NO_INPUT, f"{path} lists no device")
    if listed.miners and not wants_json():
        click.echo(
            f"{listed.miners} miners in the list are passed over: securenet miner register is for them", err=True
        )
    return listed.applicants


def _faulty(path: Path, listed: Listed) -> CliError:
    faults = listed.faults
    lines = [f"  line {fault.line}: {fault.problem}; {fault.hint}" for fault in faults[:_SHOWN_FAULTS]]
    more = [f"  and {len(faults) - _SHOWN_FAULTS} more"] if len(faults) > _SHOWN_FAULTS else []
    text = "\n".join([f"{path}: {len(faults)} lines do not hold; nothing was sent", *lines, *more])
    return CliError(ExitCode.NO_INPUT, text, (fault._asdict() for fault in faults))


def _conflicting(error: Conflicts) -> CliError:
    found = error.plan.conflicts
    lines = [f"  {_line(each.line)}{each.id} {each.problem}" for each in found[:_SHOWN_FAULTS]]
    more = [f"  and {len(found) - _SHOWN_FAULTS} more"] if len(found) > _SHOWN_FAULTS else []
    hint = "An id keeps its facts for life: leave these out, or give the devices other ids."
    return CliError(
        ExitCode.NEGATIVE, "\n".join([str(error), *lines, *more, hint]), (each._asdict() for each in found)
    )


def _line(number: int) -> str:
    return f"line {number}: " if number else ""


def estimate(applicants: list[Applicant], batch: int, target: Target, payment: Payment, sender: str) -> None:
    """Say what registering a list would cost; send nothing."""
    from gateway.chain.contracts import address_of  # noqa: PLC0415 -- needs the extra chain
    from gateway.cli.device_roll import Conflicts, estimate_words, estimated, planned  # noqa: PLC0415 -- likewise

    config = target.chain()
    account = address_of(sender) if sender else payment.key().address

    async def work(chain: Chain) -> dict[str, Any]:
        plan = await planned(chain, config, applicants, batch)
        return await estimated(chain, config, account, plan, payment.terms(config))

    try:
        found = ask(config, work)
    except Conflicts as error:
        raise _conflicting(error) from None
    emit(found | {"dry_run": True}, lambda: click.echo(estimate_words(found)))


def send(applicants: list[Applicant], batch: int, target: Target, payment: Payment) -> None:
    """Register a list, and say how far it came, whatever ends it."""
    from gateway.cli.device_roll import Conflicts, Desk, Progress, planned  # noqa: PLC0415 -- needs the extra chain
    from gateway.cli.device_roll import register as send_plan  # noqa: PLC0415 -- likewise

    config, key = target.chain(), payment.key()
    progress = Progress()
    silent: list[str] = []

    async def work(chain: Chain) -> None:
        plan = await planned(chain, config, applicants, batch)
        silent.extend(plan.silent)
        with _bar(plan.devices) as told:
            await send_plan(Desk(chain, config, key, payment.terms(config)), plan, progress, told)

    try:
        ask(config, work)
    except Conflicts as error:
        raise _conflicting(error) from None
    except KeyboardInterrupt:
        raise CliError(ExitCode.INTERRUPTED, f"interrupted. {_how_far(progress)}", [progress.facts()]) from None
    except ChainError:
        if progress.transactions:
            click.echo(_how_far(progress), err=True)
        raise
    emit(progress.facts() | {"not_active": silent}, lambda: _told(progress, silent))


def _told(progress: Progress, silent: list[str]) -> None:
    blocks = [each["block"] for each in progress.transactions]
    where = f" in {len(blocks)} transactions, blocks {blocks[0]} to {blocks[-1]}" if blocks else ""
    click.echo(f"{progress.registered} devices registered{where}; {progress.already} were registered already.")
    if blocks:
        click.echo(
            f"{progress.gas_used} gas, {ether(progress.cost_wei)}. Gateways take them when the blocks are final."
        )
    if silent:
        click.echo(f"{len(silent)} of those are not active: {plain(', '.join(silent[:10]))}")


def _how_far(progress: Progress) -> str:
    hash_text = f" The transaction 0x{progress.on_its_way.hex()} is on its way and may be mined." * bool(
        progress.on_its_way
    )
    return (
        f"{progress.registered} of {progress.total} devices were registered.{hash_text} Run the same command again "
        "to go on: what is registered is found and skipped."
    )


@contextmanager
def _bar(length: int) -> Iterator[Callable[[int, int], None]]:
    """A progress bar for people who watch; silent otherwise."""
    if not length or wants_json() or not sys.stderr.isatty():
        yield lambda _done, _all: None
        return
    with click.progressbar(length=length, label="registering", file=sys.stderr) as bar:
        yield lambda done, _all: bar.update(done - bar.pos)


def change_status(  # noqa: PLR0913 -- one argument a part
    verb: str, kind: str, ids: Iterable[str], *, target: Target, payment: Payment, yes: bool = False
) -> None:
    """Suspend, reinstate or revoke devices or miners, and say what was done."""
    from gateway.chain.contracts import Kind  # noqa: PLC0415 -- needs the extra chain
    from gateway.cli.device_roll import Desk  # noqa: PLC0415 -- likewise
    from gateway.cli.device_roll import change_status as change  # noqa: PLC0415 -- likewise

    names = list(dict.fromkeys(ids))
    for name in names:
        if not is_id(name):
            raise CliError(ExitCode.USAGE, f"{name[:80]!r} is no id: 1-64 characters of A-Z a-z 0-9 . _ : -")
    if verb == "revoke" and not yes:
        confirm(f"Revoking is for ever: {', '.join(names[:5])}{' …' * (len(names) > 5)}. Go on?")  # noqa: PLR2004 -- the first few
    config, key = target.chain(), payment.key()
    done = ask(config, lambda chain: change(Desk(chain, config, key, payment.terms(config)), verb, Kind[kind], names))
    changed = [name for each in done for name in each["ids"]]

    def human() -> None:
        words = {"suspend": "suspended", "reinstate": "reinstated", "revoke": "revoked"}[verb]
        for each in done:
            click.echo(f"{plain(', '.join(each['ids']))}: {words} in block {each['block']}, {each['gas_used']} gas")
        if len(changed) < len(names):
            click.echo(f"{len(names) - len(changed)} of {len(names)} were {words} already; nothing was sent for them")

    emit(
        {"changed": changed, "unchanged": [name for name in names if name not in changed], "transactions": done},
        human,
    )


def confirm(question: str) -> None:
    """Ask before what cannot be undone, or end."""
    if wants_json() or not sys.stdin.isatty():
        raise CliError(ExitCode.USAGE, f"{question} There is nobody to ask: give --yes")
    if not click.confirm(plain(question)):
        raise CliError(ExitCode.NEGATIVE, "nothing was sent")
