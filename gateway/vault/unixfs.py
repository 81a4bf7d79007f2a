"""Files as trees of blocks: which block comes next, and what of the file it holds (UnixFS, pure).

``FileWalk`` turns a CID into a file in constant memory. It says which block is ``wanted``; the caller gets it from
wherever, verifies it (``gateway.vault.cid.verify_block``) and hands it over; back come the bytes of the file that it
holds. Depth first, so the bytes come in order and each place of the tree is asked for once.

A block that holds its hash can still be part of a tree that was made to hurt. Before a link is followed, the sizes
that the node tells must add up, no link may lead to nothing, and the tree must stay within ``FileLimits``. With that
a tree cannot grow from few blocks into many without giving bytes for each, and it ends. There are no cycles to look
for: a block would have to contain its own hash.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from gateway.vault import dagpb
from gateway.vault.cid import Block, Cid, CidError, Codec, read_cid

_RAW, _FILE = 0, 2
_TYPE, _DATA, _SIZE, _BLOCK_SIZE, _HASH_TYPE, _FANOUT, _MODE, _MTIME = range(1, 9)
_IGNORED: Final = frozenset({_MODE, _MTIME})
_KINDS: Final = {1: "a directory", 3: "metadata", 4: "a symbolic link", 5: "a sharded directory"}


class FileRefusal(StrEnum):
    """Why a tree is no file that is read, whoever gave its blocks."""

    MALFORMED = "node-malformed"
    NOT_A_FILE = "not-a-file"
    FOREIGN_LINK = "foreign-link"
    SIZES = "sizes-disagree"
    TOO_LARGE = "file-too-large"
    TOO_MANY_LINKS = "too-many-links"
    TOO_MANY_BLOCKS = "too-many-blocks"
    TOO_DEEP = "too-deep"


class FileRefused(ValueError):
    """The tree is refused: no other source can give a better one under the same CID."""

    def __init__(self, reason: FileRefusal, cid: Cid, words: str) -> None:
        super().__init__(f"{cid} is refused ({reason}): {words}")
        self.reason = reason
        self.cid = cid


class FileLimits(NamedTuple):
    """How large a tree is followed. ``blocks`` counts every place of it, also where a block comes again."""

    file_bytes: int
    blocks: int = 1 << 16
    links: int = 4096
    depth: int = 8


class FileNode(NamedTuple):
    """What a dag-pb block of a file says: bytes of its own, then the trees below with the size of each."""

    data: bytes
    links: tuple[tuple[Cid, int], ...]
    size: int


class _Place(NamedTuple):
    """A place of the tree whose block has not come; the size is None for the root alone."""

    cid: Cid
    size: int | None
    depth: int


class FileWalk:
    """The way through one file.

    Args:
        root: the CID of the file.
        limits: how large a tree is followed.
    """

    def __init__(self, root: Cid, limits: FileLimits) -> None:
        self._limits = limits
        self._ahead = [_Place(root, None, 1)]
        self.blocks = 0
        self.size: int | None = None
        """What the file will have, known from the first block on."""

    @property
    def wanted(self) -> Cid | None:
        """The next block to hand over; None: the file is complete."""
        return self._ahead[-1].cid if self._ahead else None

    def take(self, block: Block) -> bytes:
        """Go one block on; returns the bytes of the file that it holds, often none.

        Raises:
            FileRefused: the tree is none that is read; there is no way on.
            RuntimeError: this is not the block that is wanted.
        """
        if block.cid != self.wanted:
            raise RuntimeError("hand over the block that is wanted")
        place = self._ahead.pop()
        self.blocks += 1
        if self.blocks > self._limits.blocks:
            raise FileRefused(
                FileRefusal.TOO_MANY_BLOCKS, place.cid, f"the tree has more than {self._limits.blocks} blocks"
            )
        if block.cid.codec is Codec.RAW:
            node = FileNode(block.data, (), len(block.data))
        else:
            node = parse_node(block, self._limits.links)
        self._judge(place, node)
        self._ahead += [_Place(cid, size, place.depth + 1) for cid, size in reversed(node.links)]
        return node.data

    def _judge(self, place: _Place, node: FileNode) -> None:
        if place.size is None:
            self.size = node.size
            if node.size > self._limits.file_bytes:
                words = f"it has {node.size} bytes, and {self._limits.file_bytes} are taken"
                raise FileRefused(FileRefusal.TOO_LARGE, place.cid, words)
        elif node.size != place.size:
            words = f"it has {node.size} bytes, and the node above says {place.size}"
            raise FileRefused(FileRefusal.SIZES, place.cid, words)
        if node.links and place.depth >= self._limits.depth:
            raise FileRefused(FileRefusal.TOO_DEEP, place.cid, f"there are links below level {self._limits.depth}")


def parse_node(block: Block, max_links: int) -> FileNode:
    """Read a dag-pb block of a file.

    Raises:
        FileRefused: it is not part of a file, or does not add up.
    """
    try:
        node = dagpb.decode_node(block.data, max_links)
        found = _Message.of(b"" if node.data is None else node.data, max_links)
    except dagpb.TooManyLinks as error:
        raise FileRefused(FileRefusal.TOO_MANY_LINKS, block.cid, str(error)) from None
    except dagpb.DagPbError as error:
        raise FileRefused(FileRefusal.MALFORMED, block.cid, str(error)) from None
    if found.kind not in (_RAW, _FILE):
        words = _KINDS.get(found.kind, "something else")
        raise FileRefused(FileRefusal.NOT_A_FILE, block.cid, f"it is {words}, not a file")
    return FileNode(found.data, _links(block.cid, node, found), _size(block.cid, node, found))


def _links(cid: Cid, node: dagpb.Node, found: _Message) -> tuple[tuple[Cid, int], ...]:
    if len(found.block_sizes) != len(node.links):
        words = f"{len(node.links)} links and {len(found.block_sizes)} sizes"
        raise FileRefused(FileRefusal.SIZES, cid, words)
    links: list[tuple[Cid, int]] = []
    for link, size in zip(node.links, found.block_sizes, strict=True):
        try:
            target, end = read_cid(link.hash)
        except CidError as error:
            raise FileRefused(FileRefusal.MALFORMED, cid, f"a link: {error}") from None
        if target is None:
            raise FileRefused(FileRefusal.FOREIGN_LINK, cid, "a link that is not sha2-256 over raw or dag-pb")
        if end != len(link.hash):
            raise FileRefused(FileRefusal.MALFORMED, cid, "a link: bytes behind the CID")
        if size == 0:
            raise FileRefused(FileRefusal.SIZES, cid, "a link to nothing")
        links.append((target, size))
    return tuple(links)


def _size(cid: Cid, node: dagpb.Node, found: _Message) -> int:
    size = len(found.data) + sum(found.block_sizes)
    if found.size is None and node.links:
        raise FileRefused(FileRefusal.SIZES, cid, "links, and no size of the file")
    if found.size is not None and found.size != size:
        raise FileRefused(FileRefusal.SIZES, cid, f"its parts have {size} bytes, and it says {found.size}")
    return size


class _Message(NamedTuple):
    """The protobuf message inside a node."""

    kind: int
    data: bytes
    size: int | None
    block_sizes: list[int]

    @classmethod
    def of(cls, message: bytes, max_links: int) -> _Message:
        """Read it; mode and time of change are let through and left out.

        Raises:
            dagpb.DagPbError: it is none.
        """
        ones: dict[int, int | bytes] = {}
        sizes: list[int] = []
        for number, value in dagpb.fields(message):
            if isinstance(value, bytes) is not (number in (_DATA, _MTIME)) or not _TYPE <= number <= _MTIME:
                raise dagpb.DagPbError("a field that no file has")
            if number == _BLOCK_SIZE and isinstance(value, int):
                if len(sizes) == max_links:
                    raise dagpb.TooManyLinks(f"a node with more than {max_links} sizes")
                sizes.append(value)
            elif number in ones:
                raise dagpb.DagPbError("a field twice")
            else:
                ones[number] = value
        kind, data, size = ones.get(_TYPE), ones.get(_DATA, b""), ones.get(_SIZE)
        if not isinstance(kind, int) or not isinstance(data, bytes):
            raise dagpb.DagPbError("no type")
        if kind in (_RAW, _FILE) and ones.keys() - _IGNORED - {_TYPE, _DATA, _SIZE}:
            raise dagpb.DagPbError("a field that no file has")
        return cls(kind, data, size if isinstance(size, int) else None, sizes)


def encode_file(links: list[tuple[Cid, int, int]]) -> bytes:
    """Write the node above ``links``, each a CID, the size of its part of the file, and the bytes of its tree."""
    total = sum(size for _, size, _ in links)
    message = dagpb.varint_field(_TYPE, _FILE) + dagpb.varint_field(_SIZE, total)
    message += b"".join(dagpb.varint_field(_BLOCK_SIZE, size) for _, size, _ in links)
    return dagpb.encode_node(dagpb.Node([dagpb.Link(cid.binary, b"", tree) for cid, _, tree in links], message))
