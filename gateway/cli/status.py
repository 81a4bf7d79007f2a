"""``status``: ask the running gateway, once or again and again."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from gateway.cli.options import config_option, data_dir_of, data_dir_option
from gateway.cli.output import CliError, emit, json_option, wants_json
from gateway.cli.status_screen import Line, Mood, Rates, rates_between, screen
from gateway.ops.control import CONTROL_SOCKET, NoGatewayError, RequestRefusedError, request
from gateway.ops.exitcodes import ExitCode

_BETWEEN_S: Final = 0.5
_PIPE_WIDTH: Final = 160
_COLOURS: Final = {Mood.GOOD: "green", Mood.WARNING: "yellow", Mood.BAD: "red"}


@click.command()
@config_option
@data_dir_option
@click.option(
    "--watch",
    "every_s",
    is_flag=False,
    flag_value=2.0,
    type=click.FloatRange(0.5, 3600),
    metavar="[SECONDS]",
    help="Draw the screen anew every 2 s, or every so many; Ctrl-C ends it.",
)
@json_option
def status(config_path: Path, data_dir: Path | None, every_s: float | None) -> None:
    """Ask the running gateway how it is, over the control socket in its data directory."""
    path = data_dir_of(config_path, data_dir) / CONTROL_SOCKET
    if every_s is not None:
        if wants_json():
            raise CliError(ExitCode.USAGE, "--watch draws a screen; ask for --json again and again instead")
        _watch(path, every_s)
        return
    answer = _ask(path)
    emit(answer, lambda: _show(_after_a_moment(path, answer)))


def _ask(path: Path) -> dict[str, Any]:
    try:
        return asyncio.run(request(path, "status"))
    except NoGatewayError as error:
        raise CliError(ExitCode.NO_GATEWAY, f"{error}; is it running?") from None
    except RequestRefusedError as error:
        raise CliError(ExitCode.SOFTWARE, f"the gateway did not answer: {error}") from None


def _after_a_moment(path: Path, before: Mapping[str, Any]) -> list[Line]:
    """Look a second time, for the rates."""
    started_s = time.monotonic()
    time.sleep(_BETWEEN_S)
    after = _ask(path)
    return _draw(after, rates_between(before, after, time.monotonic() - started_s))


def _watch(path: Path, every_s: float) -> None:
    """Draw until Ctrl-C; a gateway that does not answer is waited for."""
    before: Mapping[str, Any] | None = None
    looked_s = 0.0
    try:
        while True:
            try:
                now = _ask(path)
            except CliError as error:
                before, lines = None, [Line(f"no answer: {error.message}", Mood.BAD)]
            else:
                rates = None if before is None else rates_between(before, now, time.monotonic() - looked_s)
                before, lines = now, _draw(now, rates)
            looked_s = time.monotonic()
            click.clear()
            _show(lines)
            time.sleep(every_s)
    except KeyboardInterrupt:
        click.echo()


def _draw(answer: Mapping[str, Any], rates: Rates | None) -> list[Line]:
    size = shutil.get_terminal_size()
    on_screen = sys.stdout.isatty()
    width, height = (size.columns, max(10, size.lines - 1)) if on_screen else (_PIPE_WIDTH, None)
    return screen(answer, rates, now_ms=time.time_ns() // 1_000_000, width=width, height=height)


def _show(lines: list[Line]) -> None:
    """Write; click leaves the colours out where no terminal is."""
    for line in lines:
        click.echo(
            click.style(line.text, fg=_COLOURS.get(line.mood)), color=False if os.environ.get("NO_COLOR") else None
        )
