"""``run``: the gateway itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from gateway.chain.port import ChainMisconfigured
from gateway.cli.options import config_at, config_option
from gateway.cli.output import CliError, json_option
from gateway.crypto.anchoring_key import ChainExtraMissing
from gateway.journal import JournalBusy, JournalError, JournalTooNew
from gateway.ops.control import ControlError
from gateway.ops.exitcodes import ExitCode
from gateway.ops.logging import configure_logging
from gateway.ops.secrets import SecretError
from gateway.registry.file import RegistryError


@click.command()
@config_option
@json_option
@click.pass_context
def run(context: click.Context, config_path: Path) -> None:
    """Run the gateway until SIGTERM or Ctrl-C. SIGHUP reads the registry anew.

    The log goes to standard error; [logging] chooses its form.
    """
    from gateway import app  # noqa: PLC0415 -- transports and all: a broken config is told before they load

    config = config_at(config_path)
    configured = configure_logging(config.logging)
    try:
        code = asyncio.run(app.run(config))
    except RegistryError as error:
        raise CliError(ExitCode.REGISTRY, str(error)) from None
    except SecretError as error:
        raise CliError(ExitCode.SECRET, str(error)) from None
    except (ChainExtraMissing, ChainMisconfigured) as error:
        raise CliError(ExitCode.CONFIG, f"[chain]: {error}") from None
    except (JournalBusy, ControlError) as error:
        raise CliError(ExitCode.UNAVAILABLE, f"{config.gateway.data_dir}: {error}") from None
    except JournalTooNew as error:
        raise CliError(ExitCode.JOURNAL, f"{config.gateway.data_dir}: {error}") from None
    except JournalError as error:
        raise CliError(ExitCode.UNAVAILABLE, f"{config.gateway.data_dir}: {error}") from None
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    finally:
        configured.flush(everything=True)
    context.exit(int(code))
