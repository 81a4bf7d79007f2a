"""``reload``: have the running gateway read its configuration anew."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from gateway.cli.options import config_option, data_dir_of, data_dir_option
from gateway.cli.output import CliError, emit, json_option
from gateway.ops.control import CONTROL_SOCKET, NoGatewayError, RequestRefusedError, request
from gateway.ops.exitcodes import ExitCode


@click.command()
@config_option
@data_dir_option
@json_option
def reload(config_path: Path, data_dir: Path | None) -> None:
    """Have the running gateway read its configuration anew: all of it is taken, or nothing.

    Says what changed and what needs a restart. A configuration that is refused leaves the old one in force.
    """
    path = data_dir_of(config_path, data_dir) / CONTROL_SOCKET
    try:
        answer = asyncio.run(request(path, "reload"))
    except NoGatewayError as error:
        raise CliError(ExitCode.NO_GATEWAY, f"{error}; is it running?") from None
    except RequestRefusedError as error:
        raise CliError(ExitCode.SOFTWARE, f"the gateway did not reload: {error}") from None
    if answer.get("faults"):
        faults = list(map(str, answer["faults"]))
        lines = "\n".join(f"  {fault}" for fault in faults)
        details = [{"fault": fault} for fault in faults]
        raise CliError(ExitCode.CONFIG, f"the gateway keeps its old configuration:\n{lines}", details)
    emit(answer, lambda: _show(answer))


def _show(answer: Mapping[str, Any]) -> None:
    if answer.get("under_way"):
        click.echo("The gateway is at it; securenet status says what became of it.")
        return
    changed, restart = answer.get("changed") or [], answer.get("restart") or []
    click.echo(f"In force: {', '.join(changed)}" if changed else "Nothing else is in force than before.")
    if restart:
        click.echo(f"After a restart: {', '.join(restart)}")
