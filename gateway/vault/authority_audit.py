"""The authority's audit: who was given what, as JSON lines that each hold the SHA-256 of the one before.

A line is on disk before the answer that it tells of leaves. ``head.json`` says which line is the last one, under a
MAC: so lines that are cut off at the end are missed, and whoever has no key of the store cannot write another history
(docs/adr/0135). Files are closed at a size and go on in the next; those at the beginning may be put elsewhere, the
chain goes through them.

A process that dies between a line and its head leaves the line one ahead of the head, or a torn line that nobody was
answered by. Both are taken up at the next start, and that is a line too.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from gateway.vault.authority_disk import StoreRefused, read_whole, replace_whole, sweep
from gateway.vault.authority_words import AuthorityRefused, hexadecimal, read_members, to_bytes

DIRECTORY: Final = "audit"
HEAD: Final = "head.json"
FILE_BYTES: Final = 8 * 1024 * 1024
LINE_BYTES_MAX: Final = 512 * 1024
NOTHING: Final = bytes(32)
MEMBERS: Final = ("seq", "time", "event", "publisher", "certificate", "via", "model", "version", "detail", "prev")

_FILE: Final = re.compile(r"audit-(\d{6})\.jsonl")
_HEAD_MEMBERS: Final = ("seq", "sha256", "mac")
_HEAD_BYTES_MAX: Final = 4096
_DIGEST_BYTES: Final = 32


class Event(NamedTuple):
    """What happened. ``certificate`` is the SHA-256 of the caller's, in hexadecimal; ``detail`` is any of JSON."""

    event: str
    publisher: str = ""
    certificate: str = ""
    via: str = ""
    model: str = ""
    version: int = 0
    detail: Mapping[str, object] = {}


class Head(NamedTuple):
    """The last line: its number, counted from 1, and its SHA-256. Number 0 before there is any."""

    seq: int = 0
    sha256: bytes = NOTHING


class Finding(NamedTuple):
    """Something is wrong with the audit, at this line of this file; line 0 is the file itself."""

    file: str
    line: int
    problem: str


class Report(NamedTuple):
    """What the audit is. ``first`` is the number of its first line, ``before`` the SHA-256 of the one before that."""

    files: int
    lines: int
    first: int
    before: bytes
    head: Head
    ahead: int
    torn_bytes: int
    findings: tuple[Finding, ...]


class Line(NamedTuple):
    """A line that is sound in itself, and where it stands."""

    file: str
    number: int
    seq: int
    prev: bytes
    sha256: bytes
    members: Mapping[str, object]


class Torn(NamedTuple):
    """The beginning of a line, at the end of all."""

    file: str
    number: int
    size: int


class Audit:
    """The audit, open to be written to; one process at a time, which the store's lock sees to.

    Args:
        directory: of the authority.
        key: makes the head's MAC.
        file_bytes: a file that is longer is closed.
    """

    def __init__(self, directory: Path, key: bytes, file_bytes: int = FILE_BYTES) -> None:
        self._directory = directory / DIRECTORY
        self._key = key
        self._file_bytes = file_bytes
        self._head = Head()
        self._file = 1
        self._size = 0
        self._broken = ""

    def __repr__(self) -> str:
        return f"Audit({str(self._directory)!r}, line {self._head.seq})"

    @property
    def head(self) -> Head:
        """The last line."""
        return self._head

    def begin(self, event: Event, now_ms: int) -> None:
        """Begin the audit of a new store; what an earlier making left, of which no store came, is removed.

        Raises:
            StoreRefused: there is an audit of something else.
            OSError: it cannot be written.
        """
        self._directory.mkdir(mode=0o700, exist_ok=True)
        sweep(self._directory)
        if sum(1 for _ in _lines(_files(self._directory))) > 1:
            raise StoreRefused(
                f"{self._directory} holds the audit of another store", "move it away, and keep it: it is evidence"
            )
        for each in (*_files(self._directory), self._directory / HEAD):
            each.unlink(missing_ok=True)
        self.append(event, now_ms)

    def resume(self, now_ms: int) -> None:
        """Go on where the audit ends.

        Raises:
            StoreRefused: it does not hold; nothing may be issued until somebody has seen to it.
            OSError: it cannot be written.
        """
        report = verify(self._directory.parent, self._key, newest_only=True)
        if report.findings:
            file, line, problem = report.findings[0]
            raise StoreRefused(
                f"the audit does not hold: {file}:{line}: {problem}",
                "look at it with securenet authority audit; go on in a new one with --begin-anew",
            )
        sweep(self._directory)
        files = [path for path in _files(self._directory) if path.stat().st_size]
        self._file = _number(files[-1])
        self._size = files[-1].stat().st_size - report.torn_bytes
        self._head = report.head
        if report.torn_bytes or report.ahead:
            os.truncate(files[-1], self._size)
            detail: dict[str, object] = {"torn_bytes": report.torn_bytes, "lines_after_head": report.ahead}
            self.append(Event("resumed", detail=detail), now_ms)

    def append(self, event: Event, now_ms: int) -> None:
        """Write a line; it is on disk when this returns.

        Raises:
            OSError: it is not, and after a failure to sync nothing more is taken.
        """
        if self._broken:
            raise OSError(self._broken)
        line = encode_line(event, self._head, now_ms)
        held = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if self._size >= self._file_bytes:
                self._file, self._size = self._file + 1, 0
            self._write(held, line)
            head = Head(self._head.seq + 1, hashlib.sha256(line).digest())
            replace_whole(held, self._directory / HEAD, encode_head(self._key, head))
        except OSError as error:
            self._broken = f"the audit could not be written: {error.strerror}"
            raise
        finally:
            os.close(held)
        self._size += len(line) + 1
        self._head = head

    def _write(self, held: int, line: bytes) -> None:
        path = self._directory / f"audit-{self._file:06d}.jsonl"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(path, flags, 0o600), "ab") as file:
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if not self._size:
            os.fsync(held)


def begin_anew(directory: Path, key: bytes, stamp: str, now_ms: int) -> Path:
    """Put an audit that does not hold aside, and begin another whose first line says so; where the old one lies.

    Raises:
        OSError: it cannot be written.
    """
    old = directory / f"{DIRECTORY}.{stamp}"
    if (directory / DIRECTORY).is_dir():
        os.rename(directory / DIRECTORY, old)  # noqa: PTH104 -- as the other steps
    Audit(directory, key).begin(Event("begun-anew", detail={"old": old.name}), now_ms)
    return old


def verify(
    directory: Path,
    key: bytes | None,
    told: Callable[[Line], None] = lambda _line: None,
    *,
    newest_only: bool = False,
) -> Report:
    """Read the audit from its first line to its last, and say what is wrong with it.

    Args:
        directory: of the authority.
        key: of the head's MAC; without it, whoever can write the files could have written others.
        told: hears each line that is sound in itself.
        newest_only: begin with the newest file.
    """
    where = directory / DIRECTORY
    files = [path for path in _files(where) if path.stat().st_size]
    reading = _Reading()
    for found in _lines(files[-2:] if newest_only else files):
        if isinstance(found, Line):
            reading.take(found)
            told(found)
        elif isinstance(found, Finding):
            reading.findings.append(found)
        else:
            reading.torn = found.size
    ahead = _compare_head(where, key, reading)
    return Report(
        len(files),
        reading.lines,
        reading.first,
        reading.before,
        reading.last,
        ahead,
        reading.torn,
        tuple(reading.findings),
    )


class _Reading:
    """How far the reading has come: each line is compared with the one before it."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.lines = self.first = self.torn = 0
        self.before = NOTHING
        self.last = self.last_but_one = Head()
        self.file, self.line = HEAD, 0

    def take(self, line: Line) -> None:
        if not self.lines:
            self.first, self.before = line.seq, line.prev
            self.last = Head(line.seq - 1, line.prev)
            if line.seq == 1 and line.prev != NOTHING:
                self.findings.append(Finding(line.file, line.number, "the first line of all names one before it"))
        elif line.seq != self.last.seq + 1:
            missing = f"lines {self.last.seq + 1} to {line.seq - 1} are missing before this one"
            words = missing if line.seq > self.last.seq else f"this line has the number {line.seq} once more"
            self.findings.append(Finding(line.file, line.number, words))
        elif line.prev != self.last.sha256:
            self.find("this line was altered, or what the next one says of it")
        self.last_but_one, self.last = self.last, Head(line.seq, line.sha256)
        self.file, self.line = line.file, line.number
        self.lines += 1

    def find(self, problem: str) -> None:
        """Something is wrong with the last line that was taken."""
        self.findings.append(Finding(self.file, self.line, problem))


def _compare_head(where: Path, key: bytes | None, reading: _Reading) -> int:
    """Find what the head says of the last line; how many lines stand after it: 0, or 1 where a process died."""
    last = reading.last if reading.lines else Head()
    try:
        head = _read_head(where, key)
    except StoreRefused as refused:
        reading.findings.append(Finding(HEAD, 0, refused.problem))
        return 0
    # A store comes after its first head: none at all was taken away, also where a single line is left.
    if not head.seq:
        reading.findings.append(Finding(HEAD, 0, "it is missing: nobody knows where the audit ended"))
        return 0
    if head == last:
        return 0
    if reading.lines and head == reading.last_but_one:
        return 1
    if head.seq > last.seq:
        reading.find(f"lines {last.seq + 1} to {head.seq} are cut off after this one")
    elif head.seq == last.seq:
        reading.find("this line was altered: the head has another SHA-256 of it")
    else:
        reading.findings.append(
            Finding(HEAD, 0, f"it is old: it names line {head.seq}, and the audit has {last.seq}")
        )
    return 0


def _read_head(where: Path, key: bytes | None) -> Head:
    data = read_whole(where / HEAD, _HEAD_BYTES_MAX)
    if data is None:
        return Head()
    try:
        seq, digest, mac = read_members(data, "a head", _HEAD_MEMBERS)
        head = Head(seq if type(seq) is int else 0, hexadecimal(digest, "sha256", _DIGEST_BYTES))
        sound = head.seq > 0
        sound &= key is None or hmac.compare_digest(_mac(key, head), hexadecimal(mac, "mac", _DIGEST_BYTES))
    except (AuthorityRefused, OverflowError):
        sound = False
    if not sound:
        raise StoreRefused("this authority did not write it, or it was altered", "look at the audit")
    return head


# --- lines ---


def encode_line(event: Event, before: Head, now_ms: int) -> bytes:
    """A line without its line break.

    Raises:
        ValueError: it is longer than a line may be.
    """
    line = to_bytes(
        {
            "seq": before.seq + 1,
            "time": now_ms,
            **event._asdict(),
            "detail": dict(event.detail),
            "prev": before.sha256.hex(),
        }
    )
    if len(line) > LINE_BYTES_MAX:
        raise ValueError("a line of the audit has too much in it")
    return line


def encode_head(key: bytes, head: Head) -> bytes:
    """The head's file."""
    return to_bytes({"seq": head.seq, "sha256": head.sha256.hex(), "mac": _mac(key, head).hex()}) + b"\n"


def _mac(key: bytes, head: Head) -> bytes:
    return hmac.digest(key, b"securenet.authority-audit/1\x00" + head.seq.to_bytes(8, "big") + head.sha256, "sha256")


def _parse_line(data: bytes, file: str, number: int) -> Line | None:
    try:
        members = dict(zip(MEMBERS, read_members(data, "a line", MEMBERS), strict=True))
        seq = members["seq"]
        prev = hexadecimal(members["prev"], "prev", _DIGEST_BYTES)
    except AuthorityRefused:
        return None
    if type(seq) is not int or seq < 1:
        return None
    return Line(file, number, seq, prev, hashlib.sha256(data).digest(), members)


def _lines(files: list[Path]) -> Iterator[Line | Finding | Torn]:
    """Every line, what is none, and what a dying process left at the very end."""
    for path in files:
        number = 0
        with path.open("rb") as file:
            while data := file.readline(LINE_BYTES_MAX + 1):
                number += 1
                line = _parse_line(data[:-1], path.name, number) if data.endswith(b"\n") else None
                if line is not None:
                    yield line
                elif not data.endswith(b"\n") and path == files[-1] and not file.read(1):
                    yield Torn(path.name, number, len(data))
                else:
                    yield Finding(path.name, number, "this is no line of an audit: altered")


def _files(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    return sorted(each for each in directory.iterdir() if _FILE.fullmatch(each.name))


def _number(path: Path) -> int:
    found = _FILE.fullmatch(path.name)
    return int(found[1]) if found else 0
