"""``status``: ask the running gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from gateway.cli.options import config_option, data_dir_of, data_dir_option
from gateway.cli.output import CliError, emit, facts, json_option
from gateway.ops.control import CONTROL_SOCKET, NoGatewayError, RequestRefusedError, request
from gateway.ops.exitcodes import ExitCode


@click.command()
@config_option
@data_dir_option
@json_option
def status(config_path: Path, data_dir: Path | None) -> None:
    """Ask the running gateway how it is, over the control socket in its data directory."""
    path = data_dir_of(config_path, data_dir) / CONTROL_SOCKET
    try:
        answer = asyncio.run(request(path, "status"))
    except NoGatewayError as error:
        raise CliError(ExitCode.NO_GATEWAY, f"{error}; is it running?") from None
    except RequestRefusedError as error:
        raise CliError(ExitCode.SOFTWARE, f"the gateway did not answer: {error}") from None
    emit(answer, lambda: facts(_flat("", answer)))


def _flat(prefix: str, value: object) -> Iterator[tuple[str, Any]]:
    """Nested values by dotted names."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _flat(f"{prefix}.{name}" if prefix else str(name), each)
    elif isinstance(value, list) and value and isinstance(value[0], (Mapping, list)):
        for number, each in enumerate(value):
            yield from _flat(f"{prefix}[{number}]", each)
    else:
        yield prefix, ", ".join(map(str, value)) if isinstance(value, list) else value
