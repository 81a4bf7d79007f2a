"""How the authority writes: for its owner alone, whole files or none, and synced before anybody is told (I/O)."""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Final

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_TEMPORARY: Final = ".tmp"


class StoreRefused(Exception):
    """The store cannot be used: ``problem`` says why, ``hint`` what to do; no secret is in either."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(f"{problem}; {hint}")
        self.problem = problem
        self.hint = hint


def hold(directory: Path) -> int:
    """Open the directory and lock it against every other process of the authority; closing it lets go.

    Raises:
        StoreRefused: it is not there, open to others, or in use.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StoreRefused(
            f"{directory} cannot be opened: {error.strerror}", "name the authority's directory, or make it: init"
        ) from None
    if os.fstat(descriptor).st_mode & _OTHERS:
        os.close(descriptor)
        raise StoreRefused(f"{directory} may be entered by others", f"run: chmod 700 {directory}")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreRefused(
            f"{directory} is in use by another process", "stop the service first, or wait for the other command"
        ) from None
    return descriptor


def read_whole(path: Path, most: int) -> bytes | None:
    """Read a file that nobody else may read; None when it is not there.

    Raises:
        StoreRefused: open to others, too large, or unreadable.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise StoreRefused(f"{path} is no regular file", "restore it from your copy")
            if status.st_mode & _OTHERS:
                raise StoreRefused(f"{path} may be read by others", f"run: chmod 600 {path}")
            data = file.read(most + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreRefused(f"{path} cannot be read: {error.strerror}", "check its owner") from None
    if len(data) > most:
        raise StoreRefused(f"{path} is larger than {most} bytes", "restore it from your copy")
    return data


def replace_whole(directory: int, path: Path, data: bytes) -> None:
    """Let ``data`` take the place of a file in one step; ``directory`` is the open directory that it is in.

    Raises:
        OSError: nothing changed, or all of it did.
    """
    temporary = path.with_name(f".{path.name}.{token_hex(4)}{_TEMPORARY}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105 -- beside the other steps, which tests interrupt one by one
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    os.fsync(directory)


def sweep(directory: Path) -> None:
    """Remove what a killed process left half written; to be called while the directory is held."""
    for each in directory.iterdir():
        if each.name.startswith(".") and each.name.endswith(_TEMPORARY):
            each.unlink(missing_ok=True)
