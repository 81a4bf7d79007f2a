"""The registry as a file: JSON Lines of devices and miners, read at start and on SIGHUP (FORMATS.md §1).

A file holds as a whole or not at all: one line that does not hold refuses it, with its number and what to do. The
snapshot before stays in force; at the first start there is none, and the gateway does not start.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from gateway.crypto.keys import KeyRefused, parse_public_key
from gateway.registry.line import MAX_LINE_BYTES, Line, LineRefused, parse_line, shown
from gateway.registry.port import Device, Miner, RegistrySnapshot, SnapshotBuilder, TooManyTraitsError

MAX_FILE_BYTES: Final = 512 << 20


class RegistryError(Exception):
    """The registry file is refused. ``line`` counts from 1; 0 when the file as a whole is at fault."""

    def __init__(self, path: Path, line: int, problem: str, hint: str) -> None:
        where = f"{path}:{line}" if line else str(path)
        super().__init__(f"{where}: {problem}; {hint}")
        self.path = path
        self.line = line
        self.problem = problem
        self.hint = hint


class ReloadResult(NamedTuple):
    """What a reload came to: the snapshot now in force, and why the new file was refused (None: it was taken)."""

    snapshot: RegistrySnapshot
    error: RegistryError | None

    @property
    def ok(self) -> bool:
        """Whether the new file is in force."""
        return self.error is None


class FileRegistry:
    """The registry port over one file. ``load`` once at start, ``reload`` for each SIGHUP.

    Both read and check the whole file, 1-2 s for 100,000 devices: call them off the event loop. The swap is one
    assignment; who took the old snapshot keeps a whole one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._snapshot: RegistrySnapshot | None = None

    @property
    def snapshot(self) -> RegistrySnapshot:
        """The state in force.

        Raises:
            RuntimeError: ``load`` was not called, or failed.
        """
        if self._snapshot is None:
            raise RuntimeError("the registry is not loaded; call load() first")
        return self._snapshot

    def load(self) -> RegistrySnapshot:
        """Read the file and put it in force.

        Raises:
            RegistryError: the file is refused; nothing changed.
        """
        self._snapshot = load_registry(self.path)
        return self._snapshot

    def reload(self) -> ReloadResult:
        """Read the file again and swap it in if it holds; otherwise the old state stays and the fault comes back."""
        kept = self.snapshot
        try:
            return ReloadResult(self.load(), None)
        except RegistryError as error:
            return ReloadResult(kept, error)


def load_registry(path: Path) -> RegistrySnapshot:
    """Read and check a whole registry file.

    Raises:
        RegistryError: the file cannot be read, or one line does not hold.
    """
    as_of_ms = time.time_ns() // 1_000_000
    try:
        with path.open("rb") as file:
            _check_file(path, file.fileno())
            builder = _read(path, file)
    except OSError as error:
        raise RegistryError(
            path, 0, f"cannot be read: {error.strerror}", "check [registry] file, and that the gateway may read it"
        ) from None
    return builder.build(as_of_ms)


def _check_file(path: Path, descriptor: int) -> None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise RegistryError(path, 0, "is no regular file", "name a file of JSON Lines in [registry] file")
    if status.st_size > MAX_FILE_BYTES:
        raise RegistryError(path, 0, f"is larger than {MAX_FILE_BYTES} bytes", "split it over several gateways")


def _read(path: Path, file: BinaryIO) -> SnapshotBuilder:
    builder = SnapshotBuilder()
    for number, raw in enumerate(_lines(file), 1):
        try:
            line = parse_line(raw)
            if line is not None:
                _take(line, builder)
        except LineRefused as refusal:
            raise RegistryError(path, number, refusal.problem, refusal.hint) from None
        except TooManyTraitsError as error:
            raise RegistryError(path, number, str(error), "split the fleets over several gateways") from None
    return builder


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines with their breaks; one that is too long comes cut, one byte over the limit, and ends the reading."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        yield line


def _take(line: Line, builder: SnapshotBuilder) -> None:
    if line.id in builder:
        raise LineRefused(f"the id {shown(line.id)} stands twice", "an id may stand once; keep one of the lines")
    try:
        key = parse_public_key(line.alg, line.key)
    except KeyRefused as refusal:
        raise LineRefused(f"public_key is refused: {refusal}", "export the device's public key again") from None
    if line.log is None:
        builder.add(Device(line.id, line.fleet, key, line.status))
    else:
        builder.add(Miner(line.id, line.fleet, key, line.status, line.log))
