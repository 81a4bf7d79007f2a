"""A file becomes blocks, the same ones everywhere: profile ``unixfs-v1-2025`` of IPIP-0499 (pure).

CIDv1, sha2-256, raw leaves of 1 MiB, nodes of 1024 links, a balanced tree: each leaf is as far from the root as any
other, so a node with one link stays where it is. A file of one leaf is that leaf.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from gateway.vault.cid import Block, Cid, Codec, block_of
from gateway.vault.unixfs import encode_file

PROFILE: Final = "unixfs-v1-2025"
CHUNK_BYTES: Final = 1 << 20
WIDTH: Final = 1024


class Added(NamedTuple):
    """A file that was added: its name, its bytes, and how many blocks it has (one that comes again counts again)."""

    root: Cid
    size: int
    blocks: int


class _Child(NamedTuple):
    cid: Cid
    size: int
    tree: int


class FileBuilder:
    """Bytes in, blocks out, a block at a time; memory for one leaf and a row of links a level.

    Call ``feed`` as often as there are bytes, and use up what each call gives, then ``finish`` likewise; then
    ``added`` is there. Other sizes than the profile's are for tests.
    """

    def __init__(self, chunk_bytes: int = CHUNK_BYTES, width: int = WIDTH) -> None:
        self._chunk_bytes = chunk_bytes
        self._width = width
        self._rest = bytearray()
        self._levels: list[list[_Child]] = [[]]
        self._blocks = 0
        self._size = 0
        self.added: Added | None = None

    def feed(self, data: bytes) -> Iterator[Block]:
        """Take bytes of the file; gives the blocks that they complete."""
        at = 0
        while at < len(data):
            part = data[at : at + self._chunk_bytes - len(self._rest)]
            at += len(part)
            self._rest += part
            if len(self._rest) == self._chunk_bytes:
                yield from self._leaf()

    def finish(self) -> Iterator[Block]:
        """End the file; gives the blocks that were left, the root last."""
        if self._rest or not self._size:
            yield from self._leaf()
        level = 0
        while level < len(self._levels) - 1 or len(self._levels[level]) > 1:
            if self._levels[level]:
                yield self._node(level)
            level += 1
        self.added = Added(self._levels[level][0].cid, self._size, self._blocks)

    def _leaf(self) -> Iterator[Block]:
        block = block_of(Codec.RAW, bytes(self._rest))
        self._rest.clear()
        self._size += len(block.data)
        self._put(0, block, len(block.data), len(block.data))
        yield block
        level = 0
        while len(self._levels[level]) == self._width:
            yield self._node(level)
            level += 1

    def _node(self, level: int) -> Block:
        children = self._levels[level]
        block = block_of(Codec.DAG_PB, encode_file([(child.cid, child.size, child.tree) for child in children]))
        size, below = sum(child.size for child in children), sum(child.tree for child in children)
        children.clear()
        self._put(level + 1, block, size, below + len(block.data))
        return block

    def _put(self, level: int, block: Block, size: int, tree: int) -> None:
        if level == len(self._levels):
            self._levels.append([])
        self._levels[level].append(_Child(block.cid, size, tree))
        self._blocks += 1


def add_file(chunks: Iterable[bytes]) -> tuple[Cid, list[Block]]:
    """Turn a file that fits into memory into its root and its blocks, the root last."""
    builder = FileBuilder()
    blocks = [block for chunk in chunks for block in builder.feed(chunk)]
    blocks += builder.finish()
    return blocks[-1].cid, blocks
