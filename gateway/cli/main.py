"""The commands by name. Each lives in a module of its own that is imported when it is called, and not before."""

from __future__ import annotations

import contextlib
import difflib
import errno
import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any, Final

import click

from gateway import __version__
from gateway.ops.exitcodes import ExitCode

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "run": ("gateway.cli.run:run", "Run the gateway until SIGTERM; SIGHUP reloads the registry."),
    "check-config": ("gateway.cli.config:check_config", "Check the configuration and the files that it names."),
    "show-config": ("gateway.cli.config:show_config", "Print every value in force, defaults included."),
    "example-config": ("gateway.cli.config:example_config", "Print a configuration to start from."),
    "reload": ("gateway.cli.reload:reload", "Have the running gateway read its configuration anew."),
    "status": ("gateway.cli.status:status", "Ask the running gateway how it is."),
    "doctor": ("gateway.cli.doctor:doctor", "What is wrong, and what to do about it."),
    "support-bundle": ("gateway.cli.support_bundle:support_bundle", "One file for whoever helps; nothing secret."),
    "logs": ("gateway.cli.logs:logs", "What the gateway said: from the journal or a file, filtered, followed."),
    "device": ("gateway.cli.device:device", "Who may speak: list, register, import, suspend, revoke."),
    "miner": ("gateway.cli.miner:miner", "This gateway in the registry on chain."),
    "chain": ("gateway.cli.chain:chain", "Deploy the contracts; endpoints, accounts and funds."),
    "anchor": ("gateway.cli.anchor:anchor", "The log's checkpoints on chain: list them, anchor now."),
    "model": ("gateway.cli.model:model", "Models: publish, grant, revoke them, and see who loaded what."),
    "quarantine": ("gateway.cli.quarantine:quarantine", "Look at the messages that were refused."),
    "log": ("gateway.cli.log:log", "Look at the Merkle log, check it, publish it."),
    "proof": ("gateway.cli.proof:proof", "Export and verify proofs."),
    "key": ("gateway.cli.key:key", "Make, show and rotate the gateway's keys."),
    "authority": ("gateway.cli.authority:authority", "The keys of models: make them, guard them, give them out."),
    "backup": ("gateway.cli.backup:backup", "All that must not be lost in one file, while the gateway runs."),
    "restore": ("gateway.cli.backup:restore", "Put a backup back, when the disk is lost."),
    "install": ("gateway.cli.install:install", "Make the gateway a service: user, directories, units."),
    "uninstall": ("gateway.cli.install:uninstall", "Remove the service; configuration, keys and log stay."),
    "demo": ("gateway.cli.demo:demo", "See it all at work: a broker, a chain, a gateway, a fleet, its attackers."),
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and first lines by heart."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """The commands in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 -- likewise
        """Import the one that is called."""
        if cmd_name not in COMMANDS:
            return None
        module, _colon, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest commands beside one that does not exist."""
        if near := difflib.get_close_matches(args[0], COMMANDS) if args[0] not in COMMANDS else []:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {' or '.join(map(repr, near))}?")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 -- click's signature
        """Run the command. Ctrl-C, and a disk or a pipe that takes nothing, end it by their codes."""
        from gateway.cli.output import CliError  # noqa: PLC0415 -- lazy: --help stays fast

        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise CliError(ExitCode.INTERRUPTED, "interrupted") from None
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # click ends quietly: whoever read has read enough
            if error.filename is None and _is_deaf():
                why = f"the output cannot be written: {error.strerror}"
                raise CliError(ExitCode.CANNOT_CREATE, why, heard=False) from None
            where = f"{error.filename}: " if error.filename else ""
            raise CliError(
                ExitCode.UNAVAILABLE, f"{where}{error.strerror or error}; what to do: securenet doctor --only disk"
            ) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 -- likewise
        """List them without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_where, line) in COMMANDS.items()])


def _is_deaf() -> bool:
    """Whether standard output takes nothing; what waits for it is dropped then, so that Python can end in peace."""
    try:
        click.echo()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), sys.stdout.fileno())
        return True
    return False


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="securenet", message="%(prog)s %(version)s")
def cli() -> None:
    """SecureNet Gateway: the IoT edge gateway that can prove what it did."""


def main() -> None:
    """Run the command line of the process."""
    cli(prog_name="securenet")
