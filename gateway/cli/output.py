"""How commands answer: tables and sentences for people, one JSON object for programs, and errors with a named code.

Whatever comes from a file, the journal or the gateway is sanitised before a terminal sees it; JSON escapes by itself.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, ParamSpec, TypeVar

import click

from gateway.ops.exitcodes import ExitCode

P = ParamSpec("P")
R = TypeVar("R")

_META: Final = "gateway.cli.json"
_TABLE_CHARACTERS: Final = 2000
_NARROW: Final = 24
_ROOM: Final = 12
_WORDS: Final = {True: "yes", False: "no"}


class CliError(click.ClickException):
    """A command ends here: what happened, what to do, and by which code the process says so.

    ``heard`` is False when standard output takes nothing: then programs, too, find the sentence on standard error.
    """

    def __init__(
        self, code: ExitCode, message: str, details: Iterable[Mapping[str, Any]] = (), *, heard: bool = True
    ) -> None:
        super().__init__(message)
        self.exit_code = int(code)  # type: ignore[misc] # click declares it for the class and reads it here
        self._code = code
        self._details = [dict(detail) for detail in details]
        self._as_json = heard and wants_json()

    def show(self, file: Any = None) -> None:  # noqa: ANN401 -- click's signature
        """Write the error: JSON on standard output for programs, a sentence on standard error for people."""
        if self._as_json:
            error: dict[str, Any] = {"error": self.message, "code": self._code.name.lower()}
            if self._details:
                error["details"] = self._details
            click.echo(to_json(error), file=file)
        else:
            click.echo(f"securenet: {plain(self.message, keep=chr(10))}", file=file, err=file is None)


def _set_json(ctx: click.Context, _parameter: click.Parameter, value: bool) -> bool:  # noqa: FBT001 -- click's signature
    ctx.meta[_META] = value
    return value


def json_option(command: Callable[P, R]) -> Callable[P, R]:
    """Add ``--json``; the command asks ``wants_json`` or calls ``emit``."""
    return click.option(
        "--json", is_flag=True, expose_value=False, is_eager=True, callback=_set_json, help="One JSON object."
    )(command)


def wants_json() -> bool:
    """Whether the command that runs now was called with ``--json``."""
    context = click.get_current_context(silent=True)
    return bool(context is not None and context.meta.get(_META))


def to_json(value: Mapping[str, Any]) -> str:
    """One JSON object, indented."""
    return json.dumps(value, indent=2, default=str)


def plain(text: object, limit: int = _TABLE_CHARACTERS, *, keep: str = "") -> str:
    """Text fit for a terminal."""
    from gateway.ops.logging import sanitise  # noqa: PLC0415 -- structlog takes 70 ms to import

    return sanitise(str(text), limit, keep=keep)


def emit(value: Mapping[str, Any], human: Callable[[], None]) -> None:
    """Answer with ``value`` under ``--json``, else let ``human`` write."""
    if wants_json():
        click.echo(to_json(value))
    else:
        human()


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table to standard output: on a terminal within its width, else a line a row."""
    cells = [[plain(cell) for cell in row] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(columns, *cells, strict=True)]
    if not sys.stdout.isatty():
        for line in (columns, *cells):
            click.echo("  ".join(f"{text:<{width}}" for text, width in zip(line, widths, strict=True)).rstrip())
        return
    from rich.console import Console  # noqa: PLC0415 -- rich takes 25 ms to import
    from rich.table import Table  # noqa: PLC0415 -- likewise
    from rich.text import Text  # noqa: PLC0415 -- likewise

    console = Console()
    kept = sum(width + 2 for width in widths if width <= _NARROW)
    whole = console.width - kept >= _ROOM  # numbers, times and names stay on one line; the wide columns are broken
    drawn = Table(box=None, pad_edge=False)
    for column, width in zip(columns, widths, strict=True):
        drawn.add_column(column, overflow="fold", no_wrap=whole and width <= _NARROW)
    for row in cells:
        drawn.add_row(*(Text(cell) for cell in row))
    console.print(drawn, crop=False)


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Write names and values, one pair a line."""
    listed = [(name, plain(_WORDS.get(value, value) if isinstance(value, bool) else value)) for name, value in pairs]
    width = max((len(name) for name, _value in listed), default=0)
    for name, value in listed:
        click.echo(f"{name:<{width}}  {value}")
