"""``backup`` and ``restore``: all that a gateway must not lose in one file, and back into an empty data directory."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gateway import __version__
from gateway.cli.options import config_at, config_option
from gateway.cli.output import CliError, emit, facts, json_option
from gateway.ops.exitcodes import ExitCode

if TYPE_CHECKING:
    from gateway.cli.backup_file import Manifest, Source
    from gateway.cli.backup_places import Places
    from gateway.config.model import Config
    from gateway.journal.backup import Cut

CREDENTIALS: Final = Path("/etc/credstore")
_passphrase_option = click.option(
    "--passphrase-file", type=click.Path(path_type=Path), help="The file with the passphrase of the keys' part."
)
_credentials_option = click.option(
    "--credentials",
    type=click.Path(path_type=Path),
    default=CREDENTIALS,
    show_default=True,
    help="Where the file securenet.NAME lies for each credential:NAME.",
)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), help="The file to write; it must not be there yet.")
@click.option("--verify", type=click.Path(path_type=Path), help="Check this backup instead of making one.")
@click.option("--with-keys", is_flag=True, help="Put the keys in too, sealed under a passphrase.")
@_passphrase_option
@_credentials_option
@config_option
@json_option
def backup(  # noqa: PLR0913 -- click passes one argument for each option
    *,
    out: Path | None,
    verify: Path | None,
    with_keys: bool,
    passphrase_file: Path | None,
    credentials: Path,
    config_path: Path,
) -> None:
    """Put the journal, the configuration and the registry file into one file, while the gateway runs.

    What the gateway takes after this moment is not in it. restore has to be told what became of that.
    """
    if (out is None) == (verify is None):
        raise CliError(ExitCode.USAGE, "give either --out FILE, to make a backup, or --verify FILE, to check one")
    from gateway.cli import backup_places  # noqa: PLC0415 -- lazy: --help stays fast

    if verify is not None:
        _verify(verify)
        return
    if with_keys and passphrase_file is None:
        raise CliError(
            ExitCode.USAGE, "--with-keys needs --passphrase-file FILE; keep that file apart from the backup"
        )
    assert out is not None  # noqa: S101 -- said above
    config = config_at(config_path)
    if out.absolute().parent.is_relative_to(config.gateway.data_dir.absolute()):
        raise CliError(ExitCode.USAGE, f"{out} lies in the data directory, and would be lost with it")
    manifest = _make(
        out, config, backup_places.Places(config_path, passphrase_file if with_keys else None, credentials)
    )
    told = _told(manifest) | {"file": str(out), "bytes": out.stat().st_size}

    def human() -> None:
        facts(told.items())
        if not with_keys:
            click.echo("No keys are in it: without your copies of them this log cannot be carried on.")

    emit(told, human)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--nothing-since", is_flag=True, help="The gateway took nothing after this backup: go on as it was.")
@click.option("--tail", metavar="DIR_OR_URL", help="Go on behind the log that was published after the backup.")
@click.option("--new-id", metavar="ID", help="Something may be lost: end the old log, begin another under this id.")
@_passphrase_option
@_credentials_option
@config_option
@json_option
def restore(  # noqa: PLR0913 -- click passes one argument for each option
    *,
    file: Path,
    nothing_since: bool,
    tail: str | None,
    new_id: str | None,
    passphrase_file: Path | None,
    credentials: Path,
    config_path: Path,
) -> None:
    """Put a backup back into an empty data directory, on this machine or on another.

    Configuration, registry file and keys are put back where there are none; what is there stays. Only when the disk
    is lost: a log that goes on from an old state gives out places that it gave out before.
    """
    from gateway.cli import backup_places  # noqa: PLC0415 -- lazy: --help stays fast
    from gateway.cli.backup_restore import Way, restore_from  # noqa: PLC0415 -- likewise

    chosen = [nothing_since, tail is not None, new_id is not None]
    if sum(chosen) != 1:
        raise CliError(
            ExitCode.USAGE,
            "what came after the backup? Give one: --new-id ID if anything may have (the safe answer), "
            "--tail DIR_OR_URL if all of it was published, --nothing-since if the gateway took nothing after it",
        )
    told = restore_from(file, Way(tail, new_id), backup_places.Places(config_path, passphrase_file, credentials))

    def human() -> None:
        facts((name, value) for name, value in told.items() if name not in {"next", "kept"})
        for each in told["kept"]:
            click.echo(f"{each} was there already and stays as it is.")
        for number, step in enumerate(told["next"], 1):
            click.echo(f"{number}. {step}")

    emit(told, human)


def _make(out: Path, config: Config, places: Places) -> Manifest:
    """Copy, hash, write; the copy lies beside the backup until it is done."""
    from gateway.journal import JournalError  # noqa: PLC0415 -- lazy: --help stays fast
    from gateway.ops.secrets import SecretError  # noqa: PLC0415 -- likewise

    data_dir = config.gateway.data_dir
    if not out.absolute().parent.is_dir():
        raise CliError(
            ExitCode.CANNOT_CREATE,
            f"there is no directory {out.absolute().parent}; make it, or is its disk not mounted?",
        )
    staging = out.with_name(f".{out.name}.{secrets.token_hex(4)}.copy")
    try:
        staging.mkdir(mode=0o700)
    except OSError as error:
        why = f"{out.absolute().parent} takes no files: {error.strerror}; nothing was written"
        raise CliError(ExitCode.CANNOT_CREATE, why) from None
    try:
        return _staged(out, staging, config, places)
    except FileNotFoundError as error:
        missing = f"{error.filename} is not there" if error.filename else str(error)
        raise CliError(ExitCode.NO_INPUT, f"{missing}; nothing was written") from None
    except SecretError as error:
        raise CliError(ExitCode.SECRET, str(error)) from None
    except JournalError as error:
        raise CliError(ExitCode.JOURNAL, f"the journal in {data_dir} cannot be backed up: {error}") from None
    except OSError as error:
        where = error.filename or out
        raise CliError(ExitCode.CANNOT_CREATE, f"{where}: {error.strerror or error}; nothing was written") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _staged(out: Path, staging: Path, config: Config, places: Places) -> Manifest:
    from gateway.cli import backup_file as files  # noqa: PLC0415 -- lazy: --help stays fast
    from gateway.cli.backup_keys import seal_keys  # noqa: PLC0415 -- likewise
    from gateway.cli.backup_places import read_keys  # noqa: PLC0415 -- likewise
    from gateway.journal.backup import BACKED_UP, copy_journal  # noqa: PLC0415 -- likewise
    from gateway.ops.secrets import load_passphrase  # noqa: PLC0415 -- likewise

    data_dir, backup_id = config.gateway.data_dir, secrets.token_hex(8)
    sources = [files.Source(name, staging / name) for name in BACKED_UP]
    sources += [files.Source(name, data_dir / name) for name in files.DATA_FILES[2:] if (data_dir / name).is_file()]
    sources.append(files.Source(files.CONFIG, places.config))
    if not config.chain.rpc:
        sources.append(files.Source(files.REGISTRY, config.registry.file))
    for number, source in enumerate(sources[len(BACKED_UP) :], len(BACKED_UP)):
        shutil.copyfile(source.path, staging / source.name)  # a file that changes meanwhile is hashed as it is stored
        sources[number] = source._replace(path=staging / source.name)
    if places.passphrase_file is not None:
        passphrase = load_passphrase(str(places.passphrase_file))
        sealed = seal_keys(read_keys(config, places.credentials), passphrase, backup_id)
        (staging / files.KEYS).write_bytes(sealed)
        sources.append(files.Source(files.KEYS, staging / files.KEYS))
    cut = copy_journal(data_dir, staging)
    manifest = _manifest(cut, backup_id, staging, sources)
    files.write_backup(out, manifest, sources)
    return manifest


def _manifest(cut: Cut, backup_id: str, staging: Path, sources: list[Source]) -> Manifest:
    from gateway.cli.backup_file import manifest_of  # noqa: PLC0415 -- lazy: --help stays fast
    from gateway.journal import open_reader  # noqa: PLC0415 -- likewise
    from gateway.tlog.entry import EntryError, parse_entry  # noqa: PLC0415 -- likewise

    last_entry_ms = None
    with open_reader(staging) as reader, contextlib.suppress(EntryError):  # log fsck is the one to tell of it
        for row in reader.entries(max(0, cut.log_size - 1), cut.log_size):
            last_entry_ms = parse_entry(row.entry).time_ms
    return manifest_of(
        cut,
        backup_id=backup_id,
        made_ms=time.time_ns() // 1_000_000,
        made_by=__version__,
        last_entry_ms=last_entry_ms,
        sources=sources,
    )


def _verify(path: Path) -> None:
    from gateway.cli.backup_restore import verified  # noqa: PLC0415 -- lazy: --help stays fast

    manifest = verified(path)
    told = _told(manifest) | {"file": str(path), "sound": True}

    def human() -> None:
        facts(told.items())
        signed = "its log has the root that was signed" if manifest.checkpoint else "no checkpoint was signed yet"
        click.echo(f"The backup is whole, and {signed}.")

    emit(told, human)


def _told(manifest: Manifest) -> dict[str, Any]:
    from gateway.cli.backup_file import KEYS  # noqa: PLC0415 -- lazy: --help stays fast

    return {
        "id": manifest.id,
        "log": manifest.origin,
        "entries": manifest.log_size,
        "newest_entry": None if manifest.last_entry_ms is None else moment(manifest.last_entry_ms),
        "made": moment(manifest.made_ms),
        "made_by": manifest.made_by,
        "keys": KEYS in manifest.names(),
    }


def moment(ms: int) -> str:
    """A time for people."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
