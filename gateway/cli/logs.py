"""``logs``: what the gateway said, from the journal or from a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from gateway.cli.output import CliError, emit, json_option, wants_json
from gateway.message import RejectReason
from gateway.ops.event_sources import (
    EventSourceFault,
    JournalQuery,
    bounded_lines,
    file_lines,
    follow_file,
    journal_lines,
)
from gateway.ops.events import LEVELS, Filters, LoggedEvent, Reading, parse_line, parse_moment, read_events
from gateway.ops.exitcodes import ExitCode
from gateway.ops.journald import message_of
from gateway.ops.sanitising import sanitise

_SHOWN_CHARACTERS: Final = 2000
_TRACEBACK_CHARACTERS: Final = 16384
_COLOURS: Final = {"debug": "bright_black", "warning": "yellow", "error": "red", "critical": "red"}


class Moment(click.ParamType[int]):
    """A moment: ISO 8601, or how long ago."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401 -- click's signature
        """Milliseconds since 1970."""
        moment = value if isinstance(value, int) else parse_moment(str(value), datetime.now(UTC))
        if moment is None:
            self.fail(f"{value!r} is neither 10m, 2h, 3d nor 2026-01-31T12:00", param, ctx)
        return moment


@click.command()
@click.option("--device", help="Only what concerns this device.")
@click.option(
    "--reason", help=f"Only this reason, of a refused message ({', '.join(RejectReason)}) or of something else."
)
@click.option("--event", "name", help="Only this event; may have * in it, for instance 'anchor.*'.")
@click.option("--level", type=click.Choice(LEVELS[:-1]), default="debug", help="Only this level and above.")
@click.option("--since", type=Moment(), help="From then on: 10m, 2h, 3d ago, or ISO 8601 (local time).")
@click.option("--until", type=Moment(), help="Up to then.")
@click.option(
    "--lines", "-n", type=click.IntRange(1, 100_000), default=100, show_default=True, help="The newest so many."
)
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path),
    help="JSON lines in the place of the journal, with rotated files beside it; -: standard input.",
)
@click.option("--unit", default="", help="The unit in the journal; without it, all that was said as securenet.")
@click.option("--namespace", default="", help="The journal's namespace, where the unit has LogNamespace=.")
@json_option
def logs(  # noqa: PLR0913 -- click passes one argument for each option
    *,
    device: str | None,
    reason: str | None,
    name: str | None,
    level: str,
    since: int | None,
    until: int | None,
    lines: int,
    follow: bool,
    path: Path | None,
    unit: str,
    namespace: str,
) -> None:
    """Show what the gateway said, the newest last. docs/operations/events.md says what each event means.

    With --json: one object, or one event a line when it follows.
    """
    filters = Filters(device=device, reason=reason, event=name, level=level, since_ms=since, until_ms=until)
    query = JournalQuery(unit=unit, namespace=namespace, since_ms=since, until_ms=until)
    try:
        with _source(path, query) as source:
            reading = read_events(source, filters, lines, newest_first=path is None)
        if not follow:
            emit(
                {"events": [event.as_dict() for event in reading.events], "bad_lines": reading.bad_lines},
                _of(reading),
            )
            return
        for event in reading.events:
            _show(event)
        with suppress(KeyboardInterrupt), _coming(path, query, reading.cursor) as coming:
            _show_coming(coming, filters)
    except EventSourceFault as fault:
        raise CliError(ExitCode.NO_INPUT, str(fault)) from None


@contextmanager
def _source(path: Path | None, query: JournalQuery) -> Iterator[Iterable[bytes]]:
    """What is there already."""
    if path is None:
        with journal_lines(replace(query, newest_first=True)) as found:
            yield found
    elif str(path) == "-":
        yield bounded_lines(sys.stdin.buffer)
    else:
        yield file_lines(path)


@contextmanager
def _coming(path: Path | None, query: JournalQuery, cursor: str) -> Iterator[Iterable[bytes]]:
    """What is still to come; standard input was read to its end."""
    if path is None:
        with journal_lines(replace(query, since_ms=None, follow=True, after_cursor=cursor)) as found:
            yield found
    else:
        yield () if str(path) == "-" else follow_file(path)


def _show_coming(coming: Iterable[bytes], filters: Filters) -> None:
    for line in coming:
        event = parse_line(line)
        if event is not None and filters.wants(event):
            _show(event)


def _show(event: LoggedEvent) -> None:
    """Write one event, at once."""
    click.echo(json.dumps(event.as_dict()) if wants_json() else _pretty(event))


def _of(reading: Reading) -> Any:  # noqa: ANN401 -- a callable for emit
    def human() -> None:
        for event in reading.events:
            click.echo(_pretty(event))
        if not reading.events:
            click.echo("no event passes; widen --since, --level or --lines, or run it as root", err=True)
        if reading.bad_lines:
            click.echo(f"{reading.bad_lines} lines are no events and were left out", err=True)

    return human


def _pretty(event: LoggedEvent) -> str:
    """Time, level, event, the few important facts; a traceback below."""
    stamp = str(event.as_dict()["timestamp"]).replace("T", " ")
    said = message_of({"event": event.event, **event.facts})
    line = f"{stamp} {click.style(f'{event.level:<7}', fg=_COLOURS.get(event.level))} "
    line += sanitise(said, _SHOWN_CHARACTERS, keep="\\")
    traceback = event.facts.get("exception")
    if traceback:
        text = sanitise(str(traceback), _TRACEBACK_CHARACTERS, keep="\\\n")
        line += "\n" + "\n".join(f"    {each}" for each in text.splitlines())
    return line
