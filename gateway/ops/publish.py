"""The log as files, for any static web server (c2sp.org/tlog-tiles).

Tiles first, then the entry bundles, and the checkpoint last, by renaming: whoever fetches the checkpoint finds all
that it promises. A full tile never changes and is written once; the partial ones that led to it go when it is there.
Entries that the retention policy dropped have no bundle.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from gateway.journal import CheckpointRow, Reader
from gateway.tlog.layout import TILE_WIDTH, entries_path, entry_bundle, tile_path
from gateway.tlog.merkle import HASH_BYTES
from gateway.tlog.tiles import MissingTileError, partial_tiles


class Published(NamedTuple):
    """What is there now: the checkpoint's tree size, files written in this run, entries that have no bundle."""

    size: int
    files_written: int
    entries_missing: int


def publish(reader: Reader, checkpoint: CheckpointRow, directory: Path, *, since: int = 0) -> Published:
    """Write what is missing in ``directory`` of the tree of ``checkpoint``.

    Args:
        reader: the journal.
        checkpoint: what is to be published.
        directory: the web server's.
        since: a tree size whose full tiles are known to be there, so that only what came after is looked at.

    Raises:
        OSError: the directory cannot be written.
        MissingTileError: the journal lacks a hash of that tree.
    """
    written = _publish_tiles(reader, checkpoint.size, directory, since)
    missing = 0
    for start in range(since // TILE_WIDTH * TILE_WIDTH, checkpoint.size, TILE_WIDTH):
        width = min(TILE_WIDTH, checkpoint.size - start)
        path = directory / entries_path(start // TILE_WIDTH, width)
        if path.exists():
            continue
        entries = [row.entry for row in reader.entries(start, start + width)]
        if len(entries) == width:
            written += _write_once(path, entry_bundle(entries))
            _drop_partial(path, width)
        else:
            missing += width
    written += _replace(directory / "checkpoint", checkpoint.text.encode())
    return Published(checkpoint.size, written, missing)


def _publish_tiles(reader: Reader, size: int, directory: Path, since: int) -> int:
    written = 0
    level, count, known = 0, size, since
    while count:
        for index in range(known // TILE_WIDTH, count // TILE_WIDTH):
            path = directory / tile_path(level, index)
            if path.exists():
                continue
            data = reader.tile(level, index)
            if data is None or len(data) != TILE_WIDTH * HASH_BYTES:
                raise MissingTileError(f"tile {level}/{index} is not in the journal")
            written += _write_once(path, data)
            _drop_partial(path, TILE_WIDTH)
        level, count, known = level + 1, count // TILE_WIDTH, known // TILE_WIDTH
    for tile in partial_tiles(reader, size):
        written += _write_once(directory / tile.path, tile.data)
    return written


def _drop_partial(path: Path, width: int) -> None:
    if width == TILE_WIDTH:
        shutil.rmtree(path.with_name(path.name + ".p"), ignore_errors=True)


def _write_once(path: Path, data: bytes) -> int:
    return 0 if path.exists() else _replace(path, data)


def _replace(path: Path, data: bytes) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_bytes(data)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return 1
