"""``run``: the gateway itself."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.chain.port import ChainMisconfigured
from gateway.cli.options import config_option
from gateway.cli.output import CliError, json_option
from gateway.crypto.anchoring_key import ChainExtraMissing
from gateway.journal import JournalBusy, JournalError, JournalTooNew
from gateway.ops.control import ControlError
from gateway.ops.exitcodes import ExitCode
from gateway.ops.lean import structlog
from gateway.ops.logging import configure_logging
from gateway.ops.secrets import SecretError
from gateway.registry.file import RegistryError

if TYPE_CHECKING:
    from gateway.config.model import Config
    from gateway.ops.last_good import Source


@click.command()
@config_option
@click.option(
    "--fallback", is_flag=True, help="When the configuration is refused, start with the last one that was good."
)
@json_option
@click.pass_context
def run(context: click.Context, config_path: Path, *, fallback: bool) -> None:
    """Run the gateway until SIGTERM or Ctrl-C. SIGHUP reads configuration and registry anew.

    The log goes to standard error; [logging] chooses its form.
    """
    # SIGHUP ends a process by default, and systemd holds that for a clean end: it would not start the gateway again.
    # One that comes while the gateway starts asks for what the start reads anyway.
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)
    from gateway import app  # noqa: PLC0415 -- transports and all: a broken config is told before they load

    config, source = _configuration(config_path, fallback=fallback)
    configured = configure_logging(config.logging)
    _tell_of_fallback(source)
    try:
        code = asyncio.run(app.run(config, source, configured))
    except RegistryError as error:
        raise _not_started(ExitCode.REGISTRY, str(error)) from None
    except SecretError as error:
        raise _not_started(ExitCode.SECRET, str(error)) from None
    except (ChainExtraMissing, ChainMisconfigured) as error:
        raise _not_started(ExitCode.CONFIG, f"[chain]: {error}") from None
    except JournalBusy as error:
        why = f"{config.gateway.data_dir}: {error}; is a gateway running already? securenet status says so"
        raise _not_started(ExitCode.UNAVAILABLE, why) from None
    except ControlError as error:
        raise _not_started(ExitCode.UNAVAILABLE, f"{config.gateway.data_dir}: {error}") from None
    except JournalTooNew as error:
        raise _not_started(ExitCode.JOURNAL, f"{config.gateway.data_dir}: {error}") from None
    except JournalError as error:
        why = f"{config.gateway.data_dir}: {error}; what to do: securenet doctor --only disk"
        raise _not_started(ExitCode.UNAVAILABLE, why) from None
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    finally:
        configured.close()
    context.exit(int(code))


def _configuration(path: Path, *, fallback: bool) -> tuple[Config, Source]:
    """The operator's configuration; or the last good one, where it is refused and that is wanted."""
    from gateway.config.load import ConfigError, parse_config  # noqa: PLC0415 -- lazy: --help stays fast
    from gateway.config.model import LoggingConfig  # noqa: PLC0415 -- likewise
    from gateway.ops.last_good import Source, fault_facts, last_good, read_config_text  # noqa: PLC0415 -- likewise

    text = ""
    try:
        text = read_config_text(path)
        return parse_config(text, path), Source(path, text)
    except ConfigError as error:
        refused = error
    found = last_good(text) if fallback else None
    if found is None:
        hint = "\nThere is no last good configuration to fall back to." if fallback else ""
        faults = [fault._asdict() for fault in refused.faults]
        configured = configure_logging(LoggingConfig())
        try:
            told = fault_facts(refused.faults)
            raise _not_started(ExitCode.CONFIG, f"{refused}{hint}", faults, path=str(path), **told)
        finally:
            configured.close()
    config, good = found
    return config, Source(path, good, refused)


def _not_started(
    code: ExitCode, message: str, details: Iterable[Mapping[str, Any]] = (), **facts: object
) -> CliError:
    """How a gateway ends that did not come up: an event for the log, and the error, which is enough on a terminal."""
    if not sys.stderr.isatty():
        said = facts or {"detail": message}
        structlog.get_logger("gateway").error("gateway.not_started", code=code.name.lower(), exit_code=code, **said)
    return CliError(code, message, details)


def _tell_of_fallback(source: Source) -> None:
    """Say loudly that the operator's file is not what runs."""
    if source.broken is not None:
        from gateway.ops.last_good import fault_facts  # noqa: PLC0415 -- lazy: --help stays fast

        facts = fault_facts(source.broken.faults)
        structlog.get_logger("config").error("config.fallback", path=str(source.path), **facts)
