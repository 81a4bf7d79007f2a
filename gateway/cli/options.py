"""Options that several commands share, and the loaders behind them, with every error turned into a named exit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from gateway.cli.output import CliError
from gateway.ops.exitcodes import ExitCode

if TYPE_CHECKING:
    from gateway.config.model import Config
    from gateway.journal import Reader
    from gateway.registry.port import RegistrySnapshot

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_CONFIG = Path("/etc/securenet/gateway.toml")

config_option: Callable[[Callable[P, R]], Callable[P, R]] = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    show_default=True,
    envvar="SECURENET_CONFIG",
    help="The configuration file.",
)
data_dir_option: Callable[[Callable[P, R]], Callable[P, R]] = click.option(
    "--data-dir", type=click.Path(path_type=Path), help="The data directory, in the place of the configuration's."
)
registry_option: Callable[[Callable[P, R]], Callable[P, R]] = click.option(
    "--registry",
    "registry_path",
    type=click.Path(path_type=Path),
    help="The registry file, in the place of the configuration's.",
)


def config_at(path: Path) -> Config:
    """Load the configuration, or end with ``CONFIG`` and all its faults."""
    from gateway.config.load import ConfigError, load_config  # noqa: PLC0415 -- lazy: --help stays fast

    try:
        return load_config(path)
    except ConfigError as error:
        raise CliError(ExitCode.CONFIG, str(error), [fault._asdict() for fault in error.faults]) from None


def data_dir_of(config_path: Path, data_dir: Path | None) -> Path:
    """The data directory: as given, or the configuration's; in full, so that an error says where we looked."""
    return (data_dir if data_dir is not None else config_at(config_path).gateway.data_dir).absolute()


def registry_at(path: Path) -> RegistrySnapshot:
    """Load a registry file, or end with ``REGISTRY``."""
    from gateway.registry.file import RegistryError, load_registry  # noqa: PLC0415 -- lazy: --help stays fast

    try:
        return load_registry(path)
    except RegistryError as error:
        detail = {"line": error.line, "problem": error.problem, "hint": error.hint}
        raise CliError(ExitCode.REGISTRY, str(error), [detail]) from None


@contextmanager
def journal_in(data_dir: Path) -> Iterator[Reader]:
    """Open the journal to read, whether or not a gateway runs; its errors end with ``JOURNAL`` or ``NO_INPUT``."""
    from gateway.journal import JournalError, open_reader  # noqa: PLC0415 -- lazy: --help stays fast

    try:
        with open_reader(data_dir) as reader:
            yield reader
    except FileNotFoundError:
        raise CliError(
            ExitCode.NO_INPUT,
            f"there is no journal in {data_dir}; name the data directory with --data-dir",
        ) from None
    except PermissionError:
        raise CliError(
            ExitCode.NO_INPUT, f"you may not read the journal in {data_dir}; run as the gateway's user"
        ) from None
    except JournalError as error:
        raise CliError(ExitCode.JOURNAL, f"the journal in {data_dir} cannot be read: {error}") from None


def write_new(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file that must not be there yet, or end with ``CANNOT_CREATE``."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise CliError(ExitCode.CANNOT_CREATE, f"{path} is there already; nothing was written") from None
    except OSError as error:
        raise CliError(ExitCode.CANNOT_CREATE, f"{path} cannot be written: {error.strerror}") from None


def registry_snapshot(config: Config, reader: Reader) -> RegistrySnapshot:
    """Who is registered: by the registry file, or by what the journal holds of the chain's registry.

    Ends with ``REGISTRY`` when the file is refused, or when the gateway has not read the chain's registry yet.
    """
    if not config.chain.rpc:
        return registry_at(config.registry.file)
    from gateway.crypto.keys import parse_public_key  # noqa: PLC0415 -- lazy: --help stays fast
    from gateway.message import Alg  # noqa: PLC0415 -- likewise
    from gateway.registry.port import Device, Miner, SnapshotBuilder, Status  # noqa: PLC0415 -- likewise

    cursor = reader.identity_cursor()
    if cursor is None:
        raise CliError(
            ExitCode.REGISTRY,
            "the journal holds nothing of the chain's registry yet; let the gateway run until it has read it once "
            "(securenet status), or name a file with --registry",
        )
    device_kind, algs, statuses = 1, {1: Alg.ED25519, 2: Alg.ES256}, dict(enumerate(Status, 1))
    builder = SnapshotBuilder()
    for row in reader.identities():
        key, status = parse_public_key(algs[row.alg], row.key), statuses[row.status]
        if row.kind == device_kind:
            builder.add(Device(row.id, row.fleet, key, status))
        else:
            builder.add(Miner(row.id, row.fleet, key, status, f"securenet/{row.fleet}/{row.id}"))
    return builder.build(cursor.as_of_ms)
