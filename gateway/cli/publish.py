"""``log publish``: the log as files, for any static web server (c2sp.org/tlog-tiles).

Tiles first, then the entry bundles, and the checkpoint last, by renaming: whoever fetches the checkpoint finds all
that it promises. A full tile never changes and is written once. Entries that the retention policy dropped have no
bundle.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
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


def publish(reader: Reader, checkpoint: CheckpointRow, directory: Path) -> Published:
    """Write what is missing in ``directory`` of the tree of ``checkpoint``.

    Raises:
        OSError: the directory cannot be written.
        MissingTileError: the journal lacks a hash of that tree.
    """
    written = 0
    for name, data in _tiles(reader, checkpoint.size):
        written += _write_once(directory / name, data)
    missing = 0
    for start in range(0, checkpoint.size, TILE_WIDTH):
        width = min(TILE_WIDTH, checkpoint.size - start)
        path = directory / entries_path(start // TILE_WIDTH, width)
        if path.exists():
            continue
        entries = [row.entry for row in reader.entries(start, start + width)]
        if len(entries) == width:
            written += _write_once(path, entry_bundle(entries))
        else:
            missing += width
    written += _replace(directory / "checkpoint", checkpoint.text.encode())
    return Published(checkpoint.size, written, missing)


def _tiles(reader: Reader, size: int) -> Iterator[tuple[str, bytes]]:
    level, count = 0, size
    while count:
        for index in range(count // TILE_WIDTH):
            data = reader.tile(level, index)
            if data is None or len(data) != TILE_WIDTH * HASH_BYTES:
                raise MissingTileError(f"tile {level}/{index} is not in the journal")
            yield tile_path(level, index), data
        level, count = level + 1, count // TILE_WIDTH
    for tile in partial_tiles(reader, size):
        yield tile.path, tile.data


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
