"""How ``key`` writes: whole files or none, never over another, and a rotation that may be killed anywhere.

A rotation goes by three names: FILE, which the gateway reads, FILE.next, which it does not yet, and FILE.old-<time>.

    begun       FILE, FILE.next
    kept        FILE, FILE.next, FILE.old-<time>      the old one is FILE itself under a second name
    finished    FILE, FILE.old-<time>                 FILE.next took the place of FILE in one step

FILE is there in every state, and each state may be entered again: whoever finds ``kept`` makes no second old one.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

from gateway.cli.output import CliError
from gateway.ops.exitcodes import ExitCode


class Finished(NamedTuple):
    """A rotation is through: where the old key lies, if there was one, and whether this call brought it about."""

    old: Path | None
    now: bool


def next_of(path: Path) -> Path:
    """Where the key lies that is to follow the one in ``path``."""
    return path.with_name(f"{path.name}.next")


def is_there(path: Path) -> bool:
    """Whether the name is taken, be it by a link that leads nowhere."""
    return os.path.lexists(path)


def write_secret(path: Path, data: bytes, like: Path | None = None) -> None:
    """Write a file for its owner alone: all of it or nothing, and never over another.

    Args:
        path: must not be there yet.
        data: what it is to hold.
        like: a file whose owner it gets, when root writes it for the gateway's user.

    Raises:
        CliError: it cannot be written, or stands already.
    """
    temporary = path.with_name(f".{path.name}.{token_hex(4)}.tmp")
    try:
        with _directory(path.parent) as directory:
            _sweep(path)
            try:
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    if like is not None:
                        _give_to_owner_of(like, file.fileno())
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.link(temporary, path)
            finally:
                with suppress(FileNotFoundError):
                    temporary.unlink()
            os.fsync(directory)
    except FileExistsError:
        raise CliError(ExitCode.CANNOT_CREATE, f"{path} is there already; nothing was written") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no path"
        raise CliError(ExitCode.CANNOT_CREATE, f"{path} cannot be written: {reason}") from None


def finish(path: Path, stamp: str) -> Finished:
    """Let FILE.next take the place of FILE, and keep FILE as FILE.old-``stamp``.

    May be called again whenever it was cut short, and after it was through.

    Raises:
        CliError: no rotation has begun, or the file system refuses.
    """
    following = next_of(path)
    try:
        with _directory(path.parent) as directory:
            _sweep(following)
            if not is_there(following):
                return Finished(_newest_old(path), now=False)
            old = _keep(path, stamp) if is_there(path) else None
            os.fsync(directory)
            following.replace(path)
            os.fsync(directory)
    except FileExistsError:
        raise CliError(ExitCode.CANNOT_CREATE, f"{path}.old-{stamp} is there already; try again") from None
    except OSError as error:
        raise CliError(
            ExitCode.CANNOT_CREATE, f"the rotation of {path} cannot be finished: {error.strerror}; nothing is lost"
        ) from None
    return Finished(old, now=True)


def _sweep(path: Path) -> None:
    """Remove what a killed call left half written; nobody else writes while the directory is locked."""
    temporary = re.compile(re.escape(f".{path.name}.") + r"[0-9a-f]{8}\.tmp")
    for each in path.parent.iterdir():
        if temporary.fullmatch(each.name):
            each.unlink(missing_ok=True)


def _keep(path: Path, stamp: str) -> Path:
    for earlier in _olds(path):
        if earlier.samefile(path):
            return earlier  # an earlier call came as far as this
    old = path.with_name(f"{path.name}.old-{stamp}")
    os.link(path, old)
    return old


def _newest_old(path: Path) -> Path:
    olds = [each for each in _olds(path) if is_there(path) and not each.samefile(path)]
    if not olds:
        raise CliError(ExitCode.NEGATIVE, f"no rotation of {path} has begun: there is no {next_of(path).name}")
    return olds[-1]


def _olds(path: Path) -> list[Path]:
    return sorted(each for each in path.parent.iterdir() if each.name.startswith(f"{path.name}.old-"))


def _give_to_owner_of(like: Path, descriptor: int) -> None:
    status = like.stat()
    if os.geteuid() == 0 and (status.st_uid, status.st_gid) != (0, 0):
        os.fchown(descriptor, status.st_uid, status.st_gid)


@contextmanager
def _directory(path: Path) -> Iterator[int]:
    """The directory, open to be synced, and locked against another ``key`` command."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
