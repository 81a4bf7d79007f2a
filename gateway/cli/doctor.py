"""``doctor``: what ails this gateway, and the remedy of each fault."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from gateway.cli.options import config_option
from gateway.cli.output import CliError, emit, json_option, plain, table
from gateway.ops.exitcodes import ExitCode

if TYPE_CHECKING:
    from gateway.doctor.case import Account, Check
    from gateway.doctor.finding import Finding

_MAX_CREDENTIALS: Final = 2048
_NARROWEST: Final = 30
_WORD: Final = re.compile(r"(?:`[^`]*`|\S)+")
_SIGNS: Final = {"ok": "ok", "note": "note", "warning": "WARNING", "error": "ERROR"}


@click.command()
@config_option
@click.option("--only", multiple=True, metavar="NAME", help="Ask this alone; may be repeated. See --list.")
@click.option("--offline", is_flag=True, help="Ask nothing beyond this machine: no broker, no chain, no page on it.")
@click.option(
    "--device-credentials",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A device's broker account, to try the ACL with: name and password, a line each; mode 0600.",
)
@click.option("--unit", default="securenet-gateway.service", show_default=True, help="The systemd unit.")
@click.option("--list", "list_checks", is_flag=True, help="Say what can be asked, and ask nothing.")
@json_option
def doctor(  # noqa: PLR0913 -- one argument an option
    *,
    config_path: Path,
    only: tuple[str, ...],
    offline: bool,
    device_credentials: Path | None,
    unit: str,
    list_checks: bool,
) -> None:
    """Look for what is wrong with this gateway and what it depends on, and say what to do about each fault.

    Works beside a running gateway and without one. Exit code 0: nothing, or notes; 1: warnings; 71: errors.
    """
    from gateway.doctor.finding import EXIT, worst  # noqa: PLC0415 -- lazy: --help stays fast
    from gateway.doctor.runner import examine  # noqa: PLC0415 -- likewise
    from gateway.doctor.survey import borrow_credentials, survey  # noqa: PLC0415 -- likewise
    from gateway.doctor.table import CHECKS  # noqa: PLC0415 -- likewise

    if list_checks:
        rows = [(check.name, check.asks) for check in CHECKS]
        emit({"checks": [dict(zip(("name", "asks"), row, strict=True)) for row in rows]}, lambda: _list(rows))
        return
    checks = _chosen(only)
    device = _account(device_credentials) if device_credentials is not None else None
    borrow_credentials(unit)
    be_quiet()

    async def ask() -> list[Finding]:
        return await examine(await survey(config_path, offline=offline, unit=unit, device=device), checks)

    findings = asyncio.run(ask())
    severity = worst(findings)
    told = {"severity": severity.word, "findings": [each.plain() for each in findings]}
    emit(told, lambda: _show(findings))
    if EXIT[severity]:
        click.get_current_context().exit(int(EXIT[severity]))


def be_quiet() -> None:
    """What the rooms would log is in the findings already."""
    import logging  # noqa: PLC0415 -- lazy: --help stays fast

    import structlog  # noqa: PLC0415 -- likewise

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)


def _chosen(only: tuple[str, ...]) -> list[Check]:
    from gateway.doctor.table import BY_NAME, CHECKS  # noqa: PLC0415 -- lazy: --help stays fast

    unknown = [name for name in only if name not in BY_NAME]
    if unknown:
        raise CliError(ExitCode.USAGE, f"there is no check {', '.join(unknown)}; there are {', '.join(BY_NAME)}")
    return [check for check in CHECKS if not only or check.name in only]


def _account(path: Path) -> Account:
    """Two lines: name and password."""
    from gateway.doctor.case import Account  # noqa: PLC0415 -- lazy: --help stays fast
    from gateway.ops.secrets import SecretError, read_secret  # noqa: PLC0415 -- likewise

    try:
        lines = read_secret(str(path))[:_MAX_CREDENTIALS].splitlines()
    except SecretError as error:
        raise CliError(ExitCode.SECRET, str(error)) from None
    try:
        return Account(lines[0].decode("utf-8"), lines[1])
    except (IndexError, UnicodeDecodeError):
        raise CliError(ExitCode.SECRET, f"{path}: write the account's name and its password, a line each") from None


def _list(rows: list[tuple[str, str]]) -> None:
    table(("check", "what it asks"), rows)


def _show(findings: list[Finding]) -> None:
    """The findings for people: the fine ones first, a line each; the worst stands last, where the eye is."""
    width = max((len(each.check) for each in findings), default=0)
    room = max(_NARROWEST, shutil.get_terminal_size().columns - width - 11) if sys.stdout.isatty() else None
    for each in sorted(findings, key=lambda finding: finding.severity):
        sign = _SIGNS[each.severity.word]
        told = [*_lines(plain(each.what), room), *_lines(plain(each.remedy), room)]
        for number, line in enumerate(told):
            head = f"{sign:<8} {each.check:<{width}}" if number == 0 else " " * (9 + width)
            click.echo(f"{head}  {line}")
    counts = {
        word: sum(1 for each in findings if each.severity.word == word) for word in ("error", "warning", "note")
    }
    click.echo(", ".join(f"{count} {word}{'s' * (count != 1)}" for word, count in counts.items()))


def _lines(text: str, room: int | None) -> list[str]:
    """The lines of a text on a terminal. A command in backticks stays whole, so that it can be copied."""
    if room is None:
        return [text] if text else []
    lines: list[str] = []
    for word in _WORD.findall(text):
        if lines and len(lines[-1]) + 1 + len(word) <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
