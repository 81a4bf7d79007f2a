"""Where a static web server finds the log: the paths of tiles and the format of entry bundles (c2sp.org/tlog-tiles).

Paths are relative to the log's prefix. A number becomes path elements of three digits: no directory ever holds
more than a thousand files, and no file has the name of a directory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

TILE_WIDTH = 256
"""Hashes in a full tile, entries in a full bundle."""

ENTRY_BYTES_MAX = 0xFFFF
"""The longest entry that a bundle can hold: its length is a uint16."""

_LEVEL_MAX = 63
_PATH_BASE = 1000  # three decimal digits a path element


def index_path(index: int) -> str:
    """Return a tile's index as path elements of three digits: 1234067 is ``x001/x234/067``."""
    if index < 0:
        raise ValueError("a tile's index is not negative")
    parts = [f"{index % _PATH_BASE:03d}"]
    while index := index // _PATH_BASE:
        parts.append(f"x{index % _PATH_BASE:03d}")
    return "/".join(reversed(parts))


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """Return ``tile/<L>/<N>[.p/<W>]``."""
    if not 0 <= level <= _LEVEL_MAX:
        raise ValueError("a tile's level is 0 to 63")
    return f"tile/{level}/{index_path(index)}{_partial_suffix(width)}"


def entries_path(index: int, width: int = TILE_WIDTH) -> str:
    """Return ``tile/entries/<N>[.p/<W>]``."""
    return f"tile/entries/{index_path(index)}{_partial_suffix(width)}"


def _partial_suffix(width: int) -> str:
    if not 1 <= width <= TILE_WIDTH:
        raise ValueError("a tile is 1 to 256 hashes wide")
    return "" if width == TILE_WIDTH else f".p/{width}"


def entry_bundle(entries: Iterable[bytes]) -> bytes:
    """Join entries, each behind its length as a uint16.

    Raises:
        ValueError: an entry is longer than 65,535 bytes.
    """
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > ENTRY_BYTES_MAX:
            raise ValueError("an entry of a bundle is at most 65,535 bytes long")
        parts += (struct.pack(">H", len(entry)), entry)
    return b"".join(parts)


def split_bundle(bundle: bytes) -> list[bytes]:
    """Return the entries of a bundle.

    Raises:
        ValueError: the bundle ends inside an entry.
    """
    entries = []
    at = 0
    while at < len(bundle):
        start = at + 2
        at = start + int.from_bytes(bundle[at:start], "big")
        if at > len(bundle) or start > len(bundle):
            raise ValueError("the bundle ends inside an entry")
        entries.append(bundle[start:at])
    return entries
