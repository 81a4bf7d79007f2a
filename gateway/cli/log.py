"""``log``: the Merkle log, read beside a running gateway or without one."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway.cli.fsck import FsckReport, fsck
from gateway.cli.log_peer import verify_peer
from gateway.cli.options import (
    config_at,
    config_option,
    data_dir_of,
    data_dir_option,
    journal_in,
    registry_snapshot,
)
from gateway.cli.output import CliError, emit, facts, json_option, table, wants_json
from gateway.journal import CheckpointRow, Reader
from gateway.message import Alg
from gateway.ops.exitcodes import ExitCode
from gateway.ops.publish import publish
from gateway.tlog.checkpoint import CheckpointError, VerifierKey, parse_verifier_key
from gateway.tlog.entry import Entry, EntryError, parse_entry
from gateway.tlog.text import NUMBER_MAX
from gateway.tlog.tiles import MissingTileError

_KINDS = {
    "MessageEntry": "message",
    "RejectionsEntry": "rejections",
    "ModelEntry": "model",
    "ResponseEntry": "response",
    "KeyEntry": "key",
    "ClockEntry": "clock",
}
_LAST_MS = 253_402_300_799_000
"""The end of the year 9999, the last date that can be written: an entry may claim a later one."""


@click.group()
def log() -> None:
    """Look at the Merkle log, check it, publish it; check another gateway's."""


log.add_command(verify_peer)


@log.command("show")
@click.option("--index", type=click.IntRange(0, NUMBER_MAX - 1), help="Only this entry.")
@click.option("--last", type=click.IntRange(1), default=20, show_default=True, help="The newest so many.")
@config_option
@data_dir_option
@json_option
def show(index: int | None, last: int, config_path: Path, data_dir: Path | None) -> None:
    """Show entries, the oldest first, and how far the log has come."""
    with journal_in(data_dir_of(config_path, data_dir)) as reader:
        size = reader.size()
        start, end = (max(0, size - last), size) if index is None else (index, index + 1)
        entries = [{"index": row.index} | _described(row.entry) for row in reader.entries(start, end)]
        checkpoint = reader.latest_checkpoint()
    if index is not None and not entries:
        gone = "was dropped by the retention policy" if index < size else f"is not there yet: the log has {size}"
        raise CliError(ExitCode.NEGATIVE, f"the entry {index} {gone}")
    known = {"size": size, "checkpoint": _checkpoint_dict(checkpoint), "entries": entries}

    def human() -> None:
        if index is not None:
            facts((name, _in_words(value)) for name, value in entries[0].items())
            return
        columns = ("index", "time", "kind", "about")
        table(columns, ([entry["index"], entry["time"], entry["kind"], _about(entry)] for entry in entries))
        signed = "no checkpoint yet" if checkpoint is None else f"the newest checkpoint covers {checkpoint.size}"
        click.echo(f"{size} entries; {signed}")

    emit(known, human)


@log.command("checkpoint")
@config_option
@data_dir_option
@json_option
def checkpoint(config_path: Path, data_dir: Path | None) -> None:
    """Print the newest checkpoint, a signed note, as it stands."""
    with journal_in(data_dir_of(config_path, data_dir)) as reader:
        row = _newest(reader)
    emit(_checkpoint_dict(row) or {}, lambda: click.echo(row.text, nl=False))


@log.command("fsck")
@click.option("--log-key", "log_key_text", metavar="VERIFIER-KEY", help="Check the checkpoints' signatures by this.")
@config_option
@data_dir_option
@json_option
def check(log_key_text: str | None, config_path: Path, data_dir: Path | None) -> None:
    """Read the whole log again and compute every hash. Exit code 1 at the first difference.

    The log key is that of the registry's miner, unless --log-key or --data-dir is given.
    """
    with journal_in(data_dir_of(config_path, data_dir)) as reader:
        log_key = _log_key(log_key_text, config_path, reader) if log_key_text or data_dir is None else None
        size = reader.size()
        if wants_json() or not sys.stderr.isatty():
            report = fsck(reader, log_key)
        else:
            with click.progressbar(length=max(size, 1), label="reading", file=sys.stderr) as bar:
                report = fsck(reader, log_key, lambda done: bar.update(done - bar.pos))
    emit(_report_dict(report), lambda: _tell_report(report))
    if report.difference is not None:
        click.get_current_context().exit(int(ExitCode.NEGATIVE))


@log.command("publish")
@click.option("--dir", "directory", type=click.Path(path_type=Path), help="In the place of [log] publish_dir.")
@config_option
@data_dir_option
@json_option
def publish_log(directory: Path | None, config_path: Path, data_dir: Path | None) -> None:
    """Write tiles, entries and the newest checkpoint for a static web server."""
    if directory is None:
        configured = config_at(config_path).log.publish_dir
        if not configured:
            raise CliError(ExitCode.USAGE, "where to? give --dir, or set [log] publish_dir")
        directory = Path(configured)
    with journal_in(data_dir_of(config_path, data_dir)) as reader:
        try:
            done = publish(reader, _newest(reader), directory)
        except OSError as error:
            raise CliError(
                ExitCode.CANNOT_CREATE, f"{error.filename or directory} cannot be written: {error.strerror}"
            ) from None
        except MissingTileError as error:
            raise CliError(ExitCode.JOURNAL, f"{error}; securenet log fsck says more") from None
    text = f"{directory} holds the log up to {done.size} entries; {done.files_written} files written"
    gone = f"; {done.entries_missing} entries were dropped and have no bundle" if done.entries_missing else ""
    emit({"directory": str(directory), **done._asdict()}, lambda: click.echo(text + gone))


def _newest(reader: Reader) -> CheckpointRow:
    row = reader.latest_checkpoint()
    if row is None:
        raise CliError(ExitCode.NEGATIVE, "there is no checkpoint yet; the gateway signs one when the log has grown")
    return row


def _log_key(text: str | None, config_path: Path, reader: Reader) -> VerifierKey | None:
    if text is not None:
        try:
            return parse_verifier_key(text)
        except CheckpointError as error:
            raise CliError(ExitCode.USAGE, f"--log-key: {error}") from None
    config = config_at(config_path)
    miner = registry_snapshot(config, reader).miner(config.gateway.id)
    if miner is None or miner.key.alg is not Alg.ED25519:
        return None
    return VerifierKey(config.origin, miner.key.data)


def _described(data: bytes) -> dict[str, Any]:
    try:
        entry: Entry = parse_entry(data)
    except EntryError as error:
        return {"kind": "damaged", "time": "", "fault": str(error), "bytes": data.hex()}
    fields = {name: value.hex() if isinstance(value, bytes) else value for name, value in entry._asdict().items()}
    when = datetime.fromtimestamp(min(entry.time_ms, _LAST_MS) / 1000, UTC).isoformat(timespec="milliseconds")
    return {"kind": _KINDS[type(entry).__name__], "time": when, **fields}


def _about(entry: dict[str, Any]) -> str:
    """A line of the table: what the kind has to say, without what stands in the other columns."""
    told = {name: value for name, value in entry.items() if name not in {"index", "kind", "time", "time_ms"}}
    return " ".join(f"{name}={_in_words(value)}" for name, value in told.items() if value is not None)


def _in_words(value: object) -> str:
    """Counts and lists without the brackets of a programming language."""
    if isinstance(value, dict):
        return ",".join(f"{name}:{count}" for name, count in value.items())
    if isinstance(value, tuple):
        return ",".join(":".join(map(str, each)) if isinstance(each, tuple) else str(each) for each in value)
    return str(value)


def _checkpoint_dict(row: CheckpointRow | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {"size": row.size, "root": row.root.hex(), "time_ms": row.time_ms, "note": row.text}


def _report_dict(report: FsckReport) -> dict[str, Any]:
    return {
        "holds": report.difference is None,
        "size": report.size,
        "root": None if report.root is None else report.root.hex(),
        "entries_read": report.entries_read,
        "entries_gone": report.entries_gone,
        "messages": report.messages,
        "tiles": report.tiles,
        "checkpoints": report.checkpoints,
        "signatures_checked": report.signatures_checked,
        "difference": None if report.difference is None else report.difference._asdict(),
    }


def _tell_report(report: FsckReport) -> None:
    known = _report_dict(report)
    del known["holds"], known["difference"]
    facts(known.items())
    if report.difference is None:
        click.echo("The log holds.")
    else:
        click.echo(f"The log does not hold, from entry {report.difference.index}: {report.difference.sentence}")
