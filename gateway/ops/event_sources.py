"""Where events lie: files of JSON lines with their rotated predecessors, standard input, and the journal.

Each source gives lines of a bounded size; one that is longer comes as an empty line, which the reader counts as bad.
"""

from __future__ import annotations

import gzip
import os
import re
import signal
import subprocess
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from gateway.ops.events import MAX_LINE_BYTES
from gateway.ops.sanitising import sanitise

IDENTIFIER: Final = "securenet"
MAX_ROTATED: Final = 100
MAX_UNPACKED_BYTES: Final = 1 << 30
_FOLLOW_S: Final = 0.5
_ROTATED: Final = re.compile(r"(?:\.(?P<number>\d{1,4})|-(?P<date>\d{8,14}))(?:\.gz)?")
_COMPLAINT_BYTES: Final = 4096


class EventSourceFault(Exception):
    """The source cannot be read; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalQuery:
    """What is asked of the journal. Without ``unit``: whatever was said under the gateway's identifier."""

    unit: str = ""
    namespace: str = ""
    since_ms: int | None = None
    until_ms: int | None = None
    newest_first: bool = False
    follow: bool = False
    after_cursor: str = ""

    def command(self) -> list[str]:
        """The arguments of journalctl."""
        said = ["journalctl", "--output=json", "--all", "--quiet", "--no-pager"]
        said.append(f"--unit={self.unit}" if self.unit else f"--identifier={IDENTIFIER}")
        if self.namespace:
            said.append(f"--namespace={self.namespace}")
        if self.since_ms is not None:
            said.append(f"--since=@{self.since_ms // 1000}")
        if self.until_ms is not None:
            said.append(f"--until=@{-(-self.until_ms // 1000)}")
        if self.newest_first:
            said.append("--reverse")
        if self.follow:
            said += ["--follow", "--no-tail" if self.after_cursor else "--lines=0"]
        if self.after_cursor:
            said.append(f"--after-cursor={self.after_cursor}")
        return said


def bounded_lines(file: IO[bytes], limit: int = MAX_LINE_BYTES) -> Iterator[bytes]:
    """The lines of a file; one above ``limit`` bytes comes empty."""
    while line := file.readline(limit + 1):
        if len(line) > limit:
            while line and not line.endswith(b"\n"):
                line = file.readline(limit)
            yield b""
        else:
            yield line


def file_lines(path: Path) -> Iterator[bytes]:
    """The lines of a log, those of its rotated predecessors first (``.1``, ``.2.gz``, ``-20260131``).

    Raises:
        EventSourceFault: a file cannot be read.
    """
    try:
        files = (*_rotated(path), path) if path.is_file() else ()
    except OSError as error:
        raise EventSourceFault(f"{path} cannot be read: {error.strerror}") from None
    if not files:
        raise EventSourceFault(f"{path} is not there; name the file that the gateway's standard error goes to")
    for each in files:
        try:
            with each.open("rb") as file:
                yield from _unpacked(file) if each.suffix == ".gz" else bounded_lines(file)
        except OSError as error:
            raise EventSourceFault(f"{each} cannot be read: {error.strerror}") from None


def follow_file(path: Path) -> Iterator[bytes]:
    """What is appended to a file from now on, for ever; a file that takes its place is read from its beginning."""
    file = path.open("rb")
    try:
        file.seek(0, 2)
        begun = b""
        while True:
            line = file.readline(MAX_LINE_BYTES + 1)
            begun += line
            if begun.endswith(b"\n") or len(begun) > MAX_LINE_BYTES:
                yield begun
                begun = b""
            elif not line:
                time.sleep(_FOLLOW_S)
                if _was_replaced(file, path):
                    file.close()
                    file, begun = path.open("rb"), b""
    finally:
        file.close()


@contextmanager
def journal_lines(query: JournalQuery, within_s: float | None = None) -> Iterator[Iterable[bytes]]:
    """The lines of ``journalctl``, which ends with the block, and after ``within_s`` in any case.

    Raises:
        EventSourceFault: there is no journalctl, or it refuses, or it was too slow; on leaving the block when all was
            read.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 -- a list of arguments, no shell; each value is part of an option
            query.command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except (FileNotFoundError, PermissionError):
        raise EventSourceFault("there is no journalctl here; name a file of JSON lines with --file") from None
    if process.stdout is None or process.stderr is None:
        raise EventSourceFault("journalctl cannot be listened to")
    ended = False

    def all_lines(said: IO[bytes]) -> Iterator[bytes]:
        nonlocal ended
        yield from bounded_lines(said)
        ended = True

    timer = None if within_s is None else threading.Timer(within_s, process.kill)
    if timer is not None:
        timer.daemon = True
        timer.start()
    with closing(process.stdout) as said, closing(process.stderr) as complaints:
        try:
            yield all_lines(said)
        finally:
            if not ended:
                process.terminate()
            if timer is not None:
                timer.cancel()
            complaint = complaints.read(_COMPLAINT_BYTES).decode("utf-8", "replace").strip()
            code = process.wait()
    if ended and code == -signal.SIGKILL:
        raise EventSourceFault(f"journalctl did not end within {within_s} s; look at the journal's disk")
    if ended and code != 0:
        raise EventSourceFault(f"journalctl: {sanitise(complaint or f'exit code {code}')}")


def _rotated(path: Path) -> list[Path]:
    """The predecessors of a log, the oldest first."""
    found: list[tuple[int, int, Path]] = []
    for each in path.parent.iterdir():
        if not each.name.startswith(path.name):
            continue
        suffix = _ROTATED.fullmatch(each.name.removeprefix(path.name))
        if suffix is not None:
            number = suffix["number"]
            found.append((0, int(suffix["date"]), each) if number is None else (1, -int(number), each))
    return [each for *_order, each in sorted(found)[-MAX_ROTATED:]]


def _unpacked(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a gzip file, as far as it is sound."""
    size = 0
    try:
        with gzip.GzipFile(fileobj=file) as unpacked:
            for line in bounded_lines(unpacked):  # type: ignore[arg-type] # it reads like any binary file
                size += len(line)
                if size > MAX_UNPACKED_BYTES:
                    yield b""
                    return
                yield line
    except (EOFError, zlib.error, gzip.BadGzipFile):
        yield b""


def _was_replaced(file: IO[bytes], path: Path) -> bool:
    """Whether the path leads to another file now, or to one that was cut."""
    try:
        there, here = path.stat(), os.fstat(file.fileno())
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino) or here.st_size < file.tell()
