"""A copy of the journal at one moment, made beside a running gateway; and a log that a copy is carried on from.

The database is copied in one read transaction (SQLite's backup in a single step), so that it holds whole groups: what
was committed before the cut, and nothing after. The leaves file is written anew with exactly the hashes of that cut.
A copy that is opened is therefore a journal that was closed cleanly at the cut. See ADR 0185.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from gateway.journal.custody_reader import faults
from gateway.journal.leaves import LeavesFile, LeavesState, is_blank
from gateway.journal.reader import Reader
from gateway.journal.rows import TILE_HASHES, CheckpointRow, JournalDamaged, JournalFault
from gateway.journal.schema import DATABASE, LEAVES, check_version, connect_reader, fact, schema_version
from gateway.tlog.merkle import HASH_BYTES, CompactRange, leaf_hash

BACKED_UP = (DATABASE, LEAVES)
"""The files of a copy."""


class Cut(NamedTuple):
    """Where a copy ends: whose log it is, how many entries it has and their root, and the newest checkpoint.

    ``log_key`` is the public key that signed last, None when nothing was signed yet.
    """

    origin: str
    log_size: int
    root: bytes
    checkpoint: CheckpointRow | None
    log_key: bytes | None
    schema: int


def copy_journal(source: Path, target: Path) -> Cut:
    """Copy the journal of ``source`` into the empty directory ``target``, whether or not a gateway runs on it.

    Reads all of it, and once more what was copied. While it reads, the write-ahead log cannot be folded back.

    Raises:
        FileNotFoundError: There is no journal.
        JournalTooNew: A newer version wrote it.
        JournalDamaged: It is not sound, or its hashes do not have the root that was signed.
        JournalFault: The disk failed.
        OSError: The copy cannot be written.
    """
    database = source / DATABASE
    if not database.is_file():
        raise FileNotFoundError(f"there is no journal at {database}")
    with faults():
        _copy_database(database, target / DATABASE)
        connection = connect_reader(target / DATABASE)
    with contextlib.ExitStack() as undo:
        undo.callback(connection.close)
        leaves = LeavesFile.open_read_only(source / LEAVES)
        undo.callback(leaves.close)
        copy = Reader(connection, leaves, target)
        with faults():
            origin = fact(connection, "origin")
            schema = schema_version(connection)
        if not isinstance(origin, str):
            raise JournalDamaged("the database does not say whose log it holds")
        size, checkpoint = copy.size(), copy.latest_checkpoint()
        root = _write_leaves(copy, target / LEAVES, origin, size, checkpoint)
        return Cut(origin, size, root, checkpoint, copy.log_key(), schema)


def append_tail(directory: Path, checkpoint: CheckpointRow, tail: Iterable[bytes]) -> int:
    """Let a restored log go on with the leaf hashes that were published after its copy was made.

    The next opening of the journal keeps their places as a gap: their hashes are in the tree, their bytes are lost.

    Args:
        directory: holds a copy that nobody has open.
        checkpoint: what was signed over the whole of it.
        tail: blocks of leaf hashes, joined, from the copy's end up to the checkpoint's size.

    Returns:
        The number of hashes that were added.

    Raises:
        JournalDamaged: Together they do not have the checkpoint's root; nothing was added.
        OSError: The disk does not take it.
    """
    leaves = LeavesFile.open(directory / LEAVES)
    try:
        before = leaves.size
        tree = _tree_of(leaves, before)
        added = b"".join(tail)
        for at in range(0, len(added), HASH_BYTES):
            tree.append(added[at : at + HASH_BYTES])
        if (tree.size, tree.root()) != (checkpoint.size, checkpoint.root):
            raise JournalDamaged("the published hashes do not continue this log to the root that was signed")
        if added:
            leaves.reserve(len(added) // HASH_BYTES)
            leaves.write_at(before, added)
            leaves.record(LeavesState.CLOSED, checkpoint)
    finally:
        leaves.close()
    return len(added) // HASH_BYTES


def roots_of(leaves: Path, at: int) -> tuple[int, bytes, bytes | None]:
    """Return how many hashes a leaves file has, their root, and the root of the first ``at``; None: it has fewer.

    Raises:
        OSError: It cannot be read.
    """
    file = LeavesFile.open_read_only(leaves)
    try:
        then = _tree_of(file, at).root() if at <= file.size else None
        return file.size, _tree_of(file, file.size).root(), then
    finally:
        file.close()


def _tree_of(leaves: LeavesFile, size: int) -> CompactRange:
    tree = CompactRange()
    for start in range(0, size, TILE_HASHES):
        for leaf in leaves.hashes(start, min(size, start + TILE_HASHES)):
            tree.append(leaf)
    return tree


def _copy_database(source: Path, target: Path) -> None:
    """Copy in one step, check what came out, and leave one file that needs no write-ahead log."""
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with (
        contextlib.closing(connect_reader(source)) as old,
        contextlib.closing(sqlite3.connect(target, isolation_level=None)) as new,
    ):
        check_version(old)
        old.backup(new)
        new.execute("PRAGMA journal_mode = DELETE").fetchall()
        said = new.execute("PRAGMA quick_check(1)").fetchone()[0]
    if said != "ok":
        raise JournalDamaged("the database is not sound; securenet log fsck says more")
    _sync(target)


def _write_leaves(copy: Reader, target: Path, origin: str, size: int, checkpoint: CheckpointRow | None) -> bytes:
    """Write the first ``size`` leaf hashes of the copied database; return their root.

    Raises:
        JournalDamaged: A hash is nowhere, or the root is not the one that was signed.
    """
    tree = CompactRange()
    leaves = LeavesFile.open(target)
    try:
        leaves.start(origin)
        for start in range(0, size, TILE_HASHES):
            hashes = _block(copy, start, min(size, start + TILE_HASHES))
            leaves.reserve(len(hashes))
            leaves.write_at(start, b"".join(hashes))
            for leaf in hashes:
                tree.append(leaf)
                if checkpoint is not None and tree.size == checkpoint.size and tree.root() != checkpoint.root:
                    raise JournalDamaged(f"the first {tree.size} leaf hashes do not have the root that was signed")
        leaves.record(LeavesState.CLOSED, checkpoint if checkpoint is not None and checkpoint.size else None)
    finally:
        leaves.close()
    return tree.root()


def _block(copy: Reader, start: int, end: int) -> list[bytes]:
    """Return leaf hashes: by a full tile, of the entries, or of those that are gone by the leaves file."""
    tile = copy.tile(0, start // TILE_HASHES) if end - start == TILE_HASHES else None
    if tile is not None and len(tile) == TILE_HASHES * HASH_BYTES:
        return [tile[at : at + HASH_BYTES] for at in range(0, len(tile), HASH_BYTES)]
    hashes = [leaf_hash(row.entry) for row in copy.entries(start, end)]
    if len(hashes) < end - start:
        hashes = copy.leaf_hashes(start, end)
    if len(hashes) != end - start or any(map(is_blank, hashes)):
        raise JournalDamaged(f"leaf hashes from {start} on are nowhere; securenet log fsck says more")
    return hashes


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise JournalFault(f"the disk did not take it (errno {error.errno})") from error
    finally:
        os.close(descriptor)
