"""The log's spine: one plain file with the hash of every leaf, 32 bytes each, in order.

The database holds everything and is the one to believe; this file is there for the day on which it is damaged. With
the leaf hashes a log can be continued so that every earlier checkpoint and receipt still holds, though the entries
themselves are lost. It is also the journal's high-water mark: hashes are appended after a group's commit and before
its promises leave the house, so no index at or above its size was ever promised, and a database that holds fewer
entries than this file was rolled back. ADR 0072 tells the whole story.

Layout: a head of 4,096 bytes with two slots that are written in turn (a CRC tells a torn one), then the hashes.
Space is allocated ahead, so that an append cannot fail for want of room; a hash of all zeros means "not written".
An append is a write to the page cache, which outlives the process; ``sync`` makes it outlive the power.
"""

from __future__ import annotations

import json
import os
import zlib
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Self

from gateway.journal.rows import CheckpointRow

HEAD_BYTES = 4096
_SLOT_BYTES = HEAD_BYTES // 2
_HASH_BYTES = 32
_AHEAD_BYTES = 64 << 10
_FORMAT = "securenet.leaves/1"
_BLANK = bytes(_HASH_BYTES)


class LeavesState(StrEnum):
    """How the journal was left: ``suspect`` means that the database was caught lying."""

    OPEN = "open"
    CLOSED = "closed"
    SUSPECT = "suspect"


class LeavesHead(NamedTuple):
    """The head: whose log this is, how it was left, and the last checkpoint that was signed (size 0: none)."""

    origin: str
    state: LeavesState
    serial: int
    checkpoint: CheckpointRow | None


def _encode_head(head: LeavesHead) -> bytes:
    note = head.checkpoint
    fields: dict[str, object] = {
        "format": _FORMAT,
        "origin": head.origin,
        "state": head.state.value,
        "serial": head.serial,
    }
    if note is not None:
        fields["checkpoint"] = [note.size, note.root.hex(), note.time_ms, note.text]
    body = json.dumps(fields).encode()
    if len(body) > _SLOT_BYTES - 16 and note is not None:  # many cosignatures: size and root are what matters
        return _encode_head(head._replace(checkpoint=note._replace(text="")))
    return (b"%08x %s\n" % (zlib.crc32(body), body)).ljust(_SLOT_BYTES, b"\0")


def _decode_slot(slot: bytes) -> LeavesHead | None:
    line = slot.split(b"\n", 1)[0]
    crc, _, body = line.partition(b" ")
    if crc != b"%08x" % zlib.crc32(body):
        return None
    try:
        fields = json.loads(body)
        if fields["format"] != _FORMAT:
            return None
        note = fields.get("checkpoint")
        checkpoint = None if note is None else CheckpointRow(note[0], bytes.fromhex(note[1]), note[3], note[2])
        return LeavesHead(fields["origin"], LeavesState(fields["state"]), fields["serial"], checkpoint)
    except (ValueError, KeyError, TypeError, IndexError):
        return None


def _read_head(descriptor: int) -> LeavesHead | None:
    raw = os.pread(descriptor, HEAD_BYTES, 0)
    heads = [head for at in (0, _SLOT_BYTES) if (head := _decode_slot(raw[at : at + _SLOT_BYTES])) is not None]
    return max(heads, key=lambda head: head.serial, default=None)


def _count(descriptor: int) -> int:
    """Return the number of hashes: up to the last one that is not blank."""
    end = max(0, os.fstat(descriptor).st_size - HEAD_BYTES) // _HASH_BYTES * _HASH_BYTES
    while end > 0:
        start = max(0, end - _AHEAD_BYTES)
        written = os.pread(descriptor, end - start, HEAD_BYTES + start).rstrip(b"\0")
        if written:
            return (start + len(written) + _HASH_BYTES - 1) // _HASH_BYTES
        end = start
    return 0


class LeavesFile:
    """The open file. Made by ``open`` (to write) or ``open_read_only``; not safe for two writers."""

    def __init__(self, path: Path, descriptor: int, head: LeavesHead | None, size: int) -> None:
        self.path = path
        self.head = head
        self.size = size
        self._descriptor = descriptor

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or create (mode 0600) the file. ``head`` is None when it is new or its head cannot be read.

        Raises:
            OSError: It cannot be opened.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return cls(path, descriptor, _read_head(descriptor), _count(descriptor))

    @classmethod
    def open_read_only(cls, path: Path) -> Self:
        """Open the file beside a running gateway; ``size`` is what it was at this moment.

        Raises:
            OSError: It cannot be opened.
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return cls(path, descriptor, _read_head(descriptor), _count(descriptor))

    def start(self, origin: str) -> None:
        """Make this an empty file of ``origin``, whatever it was. Durable when it returns."""
        os.ftruncate(self._descriptor, 0)
        os.posix_fallocate(self._descriptor, 0, HEAD_BYTES + _AHEAD_BYTES)
        self.size = 0
        self._write_head(LeavesHead(origin, LeavesState.OPEN, 1, None))
        self._sync()

    def _write_head(self, head: LeavesHead) -> None:
        os.pwrite(self._descriptor, _encode_head(head), (head.serial % 2) * _SLOT_BYTES)
        self.head = head

    def _sync(self) -> None:
        os.fdatasync(self._descriptor)

    def sync(self) -> None:
        """Make what was appended durable."""
        self._sync()

    def record(self, state: LeavesState, checkpoint: CheckpointRow | None = None) -> None:
        """Write the state, and a newer checkpoint if there is one, into the head; durable when it returns."""
        if self.head is None:
            raise ValueError("the leaves file was not started")
        self._sync()  # the hashes first: a checkpoint in the head vouches for them
        head = self.head
        self._write_head(LeavesHead(head.origin, state, head.serial + 1, checkpoint or head.checkpoint))
        self._sync()

    def reserve(self, count: int) -> None:
        """Allocate room for ``count`` more hashes, so that their append needs no new space.

        Raises:
            OSError: The disk is full.
        """
        need = HEAD_BYTES + (self.size + count) * _HASH_BYTES
        have = os.fstat(self._descriptor).st_size
        if need > have:
            os.posix_fallocate(self._descriptor, have, need - have + _AHEAD_BYTES)

    def write_at(self, index: int, hashes: bytes) -> None:
        """Write hashes from ``index`` on; it may be at most the size."""
        if index > self.size or len(hashes) % _HASH_BYTES:
            raise ValueError("hashes are appended whole and without a gap")
        view = memoryview(hashes)
        at = HEAD_BYTES + index * _HASH_BYTES
        while view:
            done = os.pwrite(self._descriptor, view, at)
            view, at = view[done:], at + done
        self.size = max(self.size, index + len(hashes) // _HASH_BYTES)

    def read(self, start: int, end: int) -> bytes:
        """Return the hashes ``start`` to ``end`` (exclusive) joined; shorter when the file ends before."""
        return os.pread(self._descriptor, (end - start) * _HASH_BYTES, HEAD_BYTES + start * _HASH_BYTES)

    def hashes(self, start: int, end: int) -> list[bytes]:
        """Return the hashes ``start`` to ``end`` (exclusive); blank ones are those that are not there."""
        joined = self.read(start, end)
        return [joined[at : at + _HASH_BYTES] for at in range(0, len(joined), _HASH_BYTES)]

    def close(self) -> None:
        """Close the descriptor; says nothing about durability."""
        os.close(self._descriptor)


def is_blank(leaf: bytes) -> bool:
    """Return whether this is the place of a hash that was never written, or lost with the power."""
    return leaf == _BLANK
