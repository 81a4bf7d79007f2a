"""The shelves of the log: its hashes cut into tiles of 256, and the proofs that are read from them.

Tiles are those of c2sp.org/tlog-tiles. Level 0 holds the leaf hashes, 256 to a tile; an entry of level 1 is the root
of one full level-0 tile, an entry of level 2 the root of one full level-1 tile, and so on. A full tile never changes
again, so any static web server can publish the log. Whatever lies between two tile levels is computed when asked for.

* ``TileWriter`` is the right edge of the log in memory: leaf hashes go in, full tiles come out, the root is always
  at hand. The journal stores what comes out, in the transaction that stores the entries: extend a ``fork()``, and
  keep the fork when the transaction held.
* ``TileReader`` is the port to wherever the tiles were stored. ``TileWriter.restore`` comes back from it after a
  restart, in exactly the state before it.
* ``inclusion_proof`` and ``consistency_proof`` read O(log n) tiles. Give them ``EdgeReader(store, writer)``: the
  store has the full tiles, the writer has the right edge.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.tlog.layout import TILE_WIDTH, tile_path
from gateway.tlog.merkle import HASH_BYTES, CompactRange, fold, node_hash, root_hash

TILE_BYTES = TILE_WIDTH * HASH_BYTES

_HEIGHT = 8  # levels of the tree in one tile: 256 == 2 ** 8


@dataclass(frozen=True, slots=True)
class Tile:
    """Consecutive hashes of one tile level: 1 to 256 of them, 32 bytes each, joined.

    ``index`` counts the tiles of ``level`` from the left.
    """

    level: int
    index: int
    data: bytes

    @property
    def width(self) -> int:
        """The number of hashes; 256 when the tile is full."""
        return len(self.data) // HASH_BYTES

    @property
    def path(self) -> str:
        """Where a static web server has it, below the log's prefix."""
        return tile_path(self.level, self.index, self.width)


class MissingTileError(LookupError):
    """The store does not have hashes that the log must have: ours to repair, see ``securenet log fsck``."""


class TileReader(Protocol):
    """Where hashes are read from. All of it is below the size that the caller asks about."""

    def tile(self, level: int, index: int) -> bytes | None:
        """Return a full tile (8,192 bytes), or the part of it that is at hand (32 bytes a hash), or None."""
        ...

    def leaf_hashes(self, start: int, end: int) -> Sequence[bytes]:
        """Return the leaf hashes of the entries ``start`` to ``end`` (exclusive): fewer than a tile of them."""
        ...


# --- writing ---


class _Level:
    """One tile level's right edge: the hashes of its open tile, and the compact range over them."""

    __slots__ = ("hashes", "index", "range")

    def __init__(self, index: int, hashes: list[bytes], subtrees: CompactRange) -> None:
        self.index = index
        self.hashes = hashes
        self.range = subtrees


class TileWriter:
    """The right edge of the log: takes leaf hashes, gives back each tile that becomes full.

    The state is at most 255 hashes a level, of which a billion entries have four.
    """

    __slots__ = ("_levels", "_size")

    def __init__(self) -> None:
        self._size = 0
        self._levels: list[_Level] = []

    @property
    def size(self) -> int:
        """The number of leaves appended."""
        return self._size

    def root(self) -> bytes:
        """Return the root of the whole tree: one hash for each bit of its size."""
        return fold([root for level in reversed(self._levels) for root in level.range.subtree_roots])

    def append(self, leaf_hash: bytes) -> list[Tile]:
        """Append one leaf; see ``extend``."""
        return self.extend((leaf_hash,))

    def extend(self, leaf_hashes: Iterable[bytes]) -> list[Tile]:
        """Append leaves in order.

        Returns:
            The tiles that became full, lower levels first. They have to be stored with the entries.
        """
        completed: list[Tile] = []
        level = self._level(0)
        for leaf in leaf_hashes:
            self._size += 1
            level.hashes.append(leaf)
            level.range.append(leaf)
            if len(level.hashes) == TILE_WIDTH:
                self._complete(0, completed)
        return completed

    def partial_tiles(self) -> list[Tile]:
        """Return the tiles of the right edge, as wide as they are now: to be published with a checkpoint."""
        return [
            Tile(number, level.index, b"".join(level.hashes))
            for number, level in enumerate(self._levels)
            if level.hashes
        ]

    def partial(self, level: int, index: int) -> bytes | None:
        """Return the open tile ``index`` of ``level`` as far as it goes, None when it is another one."""
        if level < len(self._levels) and self._levels[level].index == index:
            return b"".join(self._levels[level].hashes)
        return None

    def fork(self) -> TileWriter:
        """Return an independent copy: extend it inside a transaction, and keep it when the transaction held."""
        copy = TileWriter()
        copy._size = self._size
        copy._levels = [_Level(level.index, level.hashes.copy(), level.range.fork()) for level in self._levels]
        return copy

    @classmethod
    def restore(cls, reader: TileReader, size: int) -> TileWriter:
        """Come back after a restart: the state of a writer that was given ``size`` leaves.

        Reads at most 255 tiles a level and hashes them; some 50 ms a level, once.

        Raises:
            MissingTileError: the store lacks something below ``size``.
        """
        writer = cls()
        writer._size = size
        source = _Hashes(reader, size)
        number = 0
        while number == 0 or size >> (_HEIGHT * number):
            width = size >> (_HEIGHT * number)
            hashes = source.of_tile(number, width // TILE_WIDTH) if width % TILE_WIDTH else []
            subtrees = CompactRange()
            for entry in hashes:
                subtrees.append(entry)
            writer._levels.append(_Level(width // TILE_WIDTH, hashes, subtrees))
            number += 1
        return writer

    def _level(self, number: int) -> _Level:
        if number == len(self._levels):
            self._levels.append(_Level(0, [], CompactRange()))
        return self._levels[number]

    def _complete(self, number: int, completed: list[Tile]) -> None:
        """Emit the full tile of this level and enter its root one level up."""
        level = self._level(number)
        completed.append(Tile(number, level.index, b"".join(level.hashes)))
        root = level.range.root()
        level.index += 1
        level.hashes = []
        level.range = CompactRange()
        above = self._level(number + 1)
        above.hashes.append(root)
        above.range.append(root)
        if len(above.hashes) == TILE_WIDTH:
            self._complete(number + 1, completed)


class EdgeReader:
    """A store of full tiles, with a writer's right edge laid over it: every hash of the log within one read."""

    def __init__(self, store: TileReader, writer: TileWriter) -> None:
        self._store = store
        self._writer = writer

    def tile(self, level: int, index: int) -> bytes | None:
        """Return the tile from the right edge when it is there, else from the store."""
        partial = self._writer.partial(level, index)
        return partial if partial is not None else self._store.tile(level, index)

    def leaf_hashes(self, start: int, end: int) -> Sequence[bytes]:
        """Return leaf hashes from the store."""
        return self._store.leaf_hashes(start, end)


# --- reading ---


class _Hashes:
    """The nodes of the tree of ``size`` leaves, read from tiles; each tile is read once."""

    def __init__(self, reader: TileReader, size: int) -> None:
        self._reader = reader
        self._size = size
        self._tiles: dict[tuple[int, int], list[bytes]] = {}

    def of_tile(self, level: int, index: int) -> list[bytes]:
        """Return the hashes of a tile, as many as the tree of this size has of it."""
        known = self._tiles.get((level, index))
        if known is None:
            known = self._tiles[level, index] = self._read(level, index)
        return known

    def subtree(self, height: int, index: int) -> bytes:
        """Return the root of the perfect subtree over the leaves ``index * 2**height`` and on."""
        level, above = divmod(height, _HEIGHT)
        first = index << above
        offset = first % TILE_WIDTH
        hashes = self.of_tile(level, first // TILE_WIDTH)[offset : offset + (1 << above)]
        while len(hashes) > 1:
            hashes = [node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
        return hashes[0]

    def span(self, start: int, end: int) -> bytes:
        """Return the root over the leaves ``start`` to ``end``; ``start`` is aligned as a subtree's is."""
        roots = []
        while start < end:
            height = (end - start).bit_length() - 1
            roots.append(self.subtree(height, start >> height))
            start += 1 << height
        return fold(roots)

    def _read(self, level: int, index: int) -> list[bytes]:
        width = min(TILE_WIDTH, (self._size >> (_HEIGHT * level)) - index * TILE_WIDTH)
        data = self._reader.tile(level, index)
        if data is not None and len(data) >= width * HASH_BYTES:
            return [data[at : at + HASH_BYTES] for at in range(0, width * HASH_BYTES, HASH_BYTES)]
        first = index * TILE_WIDTH
        if level:  # the store has full tiles alone: each of them is one hash of ours
            return [root_hash(self.of_tile(level - 1, child)) for child in range(first, first + width)]
        if width == TILE_WIDTH:
            raise MissingTileError(f"tile {level}/{index} is full and not in the store")
        hashes = list(self._reader.leaf_hashes(first, first + width))
        if len(hashes) != width:
            raise MissingTileError(f"of the {width} leaf hashes from {first} on the store has {len(hashes)}")
        return hashes


def root_at(reader: TileReader, size: int) -> bytes:
    """Return the root of the log when it had ``size`` leaves.

    Raises:
        MissingTileError: the store lacks something below ``size``.
    """
    return _Hashes(reader, size).span(0, size)


def partial_tiles(reader: TileReader, size: int) -> list[Tile]:
    """Return the partial tiles of the tree of ``size`` leaves, those a log must serve beside that checkpoint.

    Raises:
        MissingTileError: the store lacks something below ``size``.
    """
    source = _Hashes(reader, size)
    tiles = []
    level = 0
    while width := size >> (_HEIGHT * level):
        if width % TILE_WIDTH:
            index = width // TILE_WIDTH
            tiles.append(Tile(level, index, b"".join(source.of_tile(level, index))))
        level += 1
    return tiles


def inclusion_proof(reader: TileReader, index: int, size: int) -> list[bytes]:
    """Prove the leaf ``index`` within the tree of ``size`` leaves (RFC 6962 section 2.1.1), from the leaf up.

    Raises:
        ValueError: there is no such leaf.
        MissingTileError: the store lacks something below ``size``.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    spans = []
    start, end = 0, size
    while end - start > 1:
        middle = _split(start, end)
        if index < middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start = middle
    hashes = _Hashes(reader, size)
    return [hashes.span(*span) for span in reversed(spans)]


def consistency_proof(reader: TileReader, old_size: int, new_size: int) -> list[bytes]:
    """Prove the tree of ``old_size`` leaves a prefix of the one of ``new_size`` (RFC 6962 section 2.1.2).

    Raises:
        ValueError: the sizes are not 1 ≤ old ≤ new; nothing can be proven of an empty tree.
        MissingTileError: the store lacks something below ``new_size``.
    """
    if not 0 < old_size <= new_size:
        raise ValueError("a consistency proof leads from 1 or more leaves to as many or more")
    spans = []
    start, end = 0, new_size
    while end != old_size:
        middle = _split(start, end)
        if old_size <= middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start = middle
    if start:  # a subtree of the old tree's border; when it is the whole old tree, the verifier has its root
        spans.append((start, end))
    hashes = _Hashes(reader, new_size)
    return [hashes.span(*span) for span in reversed(spans)]


def _split(start: int, end: int) -> int:
    """Return where RFC 6962 splits a range: behind the largest power of two that is smaller than its length."""
    return start + (1 << ((end - start - 1).bit_length() - 1))
