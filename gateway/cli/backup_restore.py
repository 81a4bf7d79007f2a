"""What ``restore`` does, and how a backup is checked: first all of it is read and compared, then anything is written.

What is put back lies below the data directory under another name until it is whole. Then the leaves file takes its
place first and the database second: a gateway that is started in between knows which places were given out.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, NamedTuple

from gateway.cli.backup_file import CONFIG, DATA_FILES, FILTERS, KEYS, REGISTRY, BackupFile, Manifest, sync_directory
from gateway.cli.backup_keys import SEALED_BYTES_MAX, open_keys
from gateway.cli.backup_places import Places, path_of
from gateway.cli.backup_steps import next_steps
from gateway.cli.backup_tail import Tail, published_tail
from gateway.cli.key_files import is_there, write_secret
from gateway.cli.options import config_at
from gateway.cli.output import CliError
from gateway.config.ids import is_id
from gateway.config.load import MAX_FILE_BYTES
from gateway.config.model import Config
from gateway.journal import JournalDamaged
from gateway.journal.backup import append_tail, roots_of
from gateway.journal.schema import DATABASE, LEAVES, LOCK, REPLACEMENT
from gateway.ops.exitcodes import ExitCode
from gateway.ops.last_good import LAST_GOOD
from gateway.ops.secrets import SecretError, load_passphrase
from gateway.tlog.checkpoint import CheckpointError, VerifierKey, parse, signed_by

_ID: Final = re.compile(r"^\s*id\s*=.*$", re.MULTILINE)
_CONFIG_MODE: Final = 0o640
_PLACE: Final = ".restore-"


class Way(NamedTuple):
    """What is to become of what came after the backup: none given means that nothing came."""

    tail: str | None
    new_id: str | None


def verified(path: Path) -> Manifest:
    """Read all of a backup and compute what can be: sums, the root of the log, the checkpoint's signature.

    Raises:
        CliError: something does not hold.
    """
    with tempfile.TemporaryDirectory(prefix="securenet-verify-") as there, BackupFile.open(path) as backup:
        try:
            backup.unpack(Path(there), {LEAVES})
        except OSError as error:
            raise CliError(ExitCode.UNAVAILABLE, f"{path} cannot be checked: {error.strerror or error}") from None
        _hold(backup.manifest, Path(there) / LEAVES, path)
        return backup.manifest


def _hold(manifest: Manifest, leaves: Path, path: Path) -> None:
    """Let the log of a backup be what its manifest says, and have the root that was signed."""
    size, root, then = roots_of(leaves, manifest.checkpoint_size)
    if (size, root.hex()) != (manifest.log_size, manifest.root):
        raise CliError(ExitCode.NEGATIVE, f"{path}: its log has not the size and root that its manifest states")
    if not manifest.checkpoint:
        return
    try:
        note = parse(manifest.checkpoint.encode())
        key = None if manifest.log_key is None else VerifierKey(manifest.origin, bytes.fromhex(manifest.log_key))
    except (CheckpointError, ValueError):
        raise CliError(ExitCode.NEGATIVE, f"{path}: its checkpoint cannot be read") from None
    if key is not None and not signed_by(note, key):
        raise CliError(ExitCode.NEGATIVE, f"{path}: its checkpoint is not signed by its log key")
    if (note.origin, note.size, note.root) != (manifest.origin, manifest.checkpoint_size, then):
        raise CliError(ExitCode.NEGATIVE, f"{path}: its log has not the root that was signed")


def restore_from(path: Path, way: Way, places: Places) -> dict[str, Any]:
    """Do it, and say what was done and what is next.

    Raises:
        CliError: the backup is not sound, the data directory is not empty, or what was said does not fit the backup.
    """
    if way.new_id is not None and not is_id(way.new_id):
        raise CliError(ExitCode.USAGE, f"{way.new_id!r} is no id: up to 64 of A-Z a-z 0-9 . _ : -")
    with tempfile.TemporaryDirectory(prefix="securenet-restore-") as there, BackupFile.open(path) as backup:
        manifest, keys = backup.manifest, None
        if places.passphrase_file is not None and KEYS not in manifest.names():
            raise CliError(ExitCode.USAGE, f"{path} has no keys in it: leave --passphrase-file out")
        config, text = _configuration(path, places.config, way, Path(there))
        _fits(manifest, config, way)
        try:
            with _empty_place(config.gateway.data_dir) as place:
                backup.unpack(place)
                _hold(manifest, place / LEAVES, path)
                if places.passphrase_file is not None:
                    sealed = _limited(place / KEYS, SEALED_BYTES_MAX)
                    keys = open_keys(sealed, load_passphrase(str(places.passphrase_file)), manifest.id)
                tail = None if way.tail is None else published_tail(way.tail, manifest)
                added = 0 if tail is None else _append(place, tail)
                kept = _put_beside(place, config, text, keys or {}, places)
                _move_in(place, config.gateway.data_dir, way)
        except SecretError as error:
            raise CliError(ExitCode.SECRET, str(error)) from None
        except OSError as error:
            where = error.filename or config.gateway.data_dir
            raise CliError(ExitCode.CANNOT_CREATE, f"{where}: {error.strerror or error}") from None
    return _told(manifest, config, new_log=way.new_id is not None) | {
        "entries_without_bytes": added,
        "keys_restored": 0 if keys is None else len(keys),
        "kept": kept,
        "next": next_steps(manifest, config, new_log=way.new_id is not None, tail=way.tail is not None, added=added),
    }


def _told(manifest: Manifest, config: Config, *, new_log: bool) -> dict[str, Any]:
    return {
        "data_dir": str(config.gateway.data_dir),
        "log": manifest.origin,
        "entries": manifest.log_size,
        "lost_from": manifest.log_size if new_log else None,
        "goes_on_as": config.origin,
    }


def _configuration(path: Path, config_path: Path, way: Way, there: Path) -> tuple[Config, str | None]:
    """The configuration in force afterwards; and its text, when it has to be written.

    Only then the backup is read for it alone: what is in the way is told before anything large is written.
    """
    if is_there(config_path):
        return config_at(config_path), None
    with BackupFile.open(path) as backup:
        text = backup.text_of(CONFIG, MAX_FILE_BYTES)
    if way.new_id is not None:
        text = _ID.sub(f'id = "{way.new_id}"', text, count=1)
    draft = there / config_path.name
    draft.write_text(text, encoding="utf-8")
    return config_at(draft), text


def _fits(manifest: Manifest, config: Config, way: Way) -> None:
    if way.new_id is None:
        if config.origin != manifest.origin:
            raise CliError(
                ExitCode.USAGE,
                f"the backup is of {manifest.origin}, the configuration of {config.origin}: "
                "name the gateway as it was, or say --new-id",
            )
        return
    if config.gateway.id != way.new_id:
        raise CliError(
            ExitCode.USAGE,
            f"the configuration says gateway.id = {config.gateway.id!r}: write {way.new_id!r} there first",
        )
    if config.origin == manifest.origin:
        raise CliError(ExitCode.USAGE, f"{way.new_id} is the id of the log in the backup: a new log needs another")


@contextmanager
def _empty_place(data_dir: Path) -> Iterator[Path]:
    """A directory below an empty data directory, which no gateway may take meanwhile.

    Raises:
        CliError: there is a journal.
        OSError: the directory cannot be written.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    place = data_dir / f"{_PLACE}{token_hex(4)}"
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for name in (DATABASE, LEAVES, REPLACEMENT):
            if is_there(data_dir / name):
                raise CliError(
                    ExitCode.CANNOT_CREATE,
                    f"{data_dir} holds a journal ({name}): stop the gateway, and move that directory away if it is "
                    "really lost; a journal that can be opened is worth more than any backup",
                )
        for left in data_dir.glob(f"{_PLACE}*"):
            shutil.rmtree(left, ignore_errors=True)  # of a call that was killed
        _give(data_dir / LOCK, data_dir)
        place.mkdir(mode=0o700)
        yield place
    except BlockingIOError:
        raise CliError(ExitCode.UNAVAILABLE, f"a gateway has {data_dir} open: stop it first") from None
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(lock)


def _append(place: Path, tail: Tail) -> int:
    try:
        return append_tail(place, tail.checkpoint, tail.blocks)
    except JournalDamaged as error:
        raise CliError(
            ExitCode.NEGATIVE, f"{error}: it is of another history than the backup; restore with --new-id"
        ) from None


def _put_beside(
    place: Path, config: Config, text: str | None, keys: Mapping[str, bytes], places: Places
) -> list[str]:
    """Put back what lies outside the data directory, where there is none; return what was there."""
    kept = []
    if text is None:
        kept.append(str(places.config))
    else:
        _write(places.config, text.encode())
    if (place / REGISTRY).exists() and not config.chain.rpc:
        if is_there(config.registry.file):
            kept.append(str(config.registry.file))
        else:
            _write(config.registry.file, (place / REGISTRY).read_bytes())
    for ref, data in keys.items():
        target = path_of(ref, places.credentials)
        if is_there(target):
            kept.append(str(target))
        else:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_secret(target, data, like=target.parent)
    return kept


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    write_secret(path, data, like=path.parent)
    path.chmod(_CONFIG_MODE)


def _move_in(place: Path, data_dir: Path, way: Way) -> None:
    """Let the files take their places. What tells of the old id does not come into a gateway with another one."""
    left_out = {LAST_GOOD, FILTERS} if way.new_id is not None else set()
    names = [name for name in DATA_FILES if (place / name).exists() and name not in left_out]
    for name in sorted(names, key=lambda name: (name == DATABASE, name != LEAVES)):
        _give(place / name, data_dir)
        (place / name).rename(data_dir / name)
        sync_directory(data_dir)


def _give(path: Path, like: Path) -> None:
    """Let root's file belong to whom the directory belongs."""
    status = like.stat()
    if os.geteuid() == 0 and status.st_uid != 0:
        os.chown(path, status.st_uid, status.st_gid)


def _limited(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise CliError(ExitCode.NO_INPUT, f"{path.name} in the backup is larger than {limit} bytes")
    return data
