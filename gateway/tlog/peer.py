"""Another gateway's published log, computed again from its tiles and held against what a chain has of it (pure).

Every leaf hash is read once, in order, and the root of every anchored size is computed from them; the tiles above are
compared with what comes out. So an altered tile is found wherever it is, and a log that was forked after an anchor
wherever the next anchor is. What is kept in memory is the right edge of the tree and the list of anchors.

Whether the signed checkpoint has the computed root decides what a difference is called: with it, the publisher signed
a history that is not the anchored one (``equivocation``); without it, the files are not those that were signed
(``altered``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from gateway.tlog.checkpoint import Checkpoint, VerifierKey, signed_by
from gateway.tlog.evidence import AnchoredRoot, Keyed, LogHistory, TwoRoots
from gateway.tlog.layout import TILE_WIDTH, split_bundle
from gateway.tlog.merkle import HASH_BYTES, leaf_hash
from gateway.tlog.tiles import Tile, TileWriter

TOLD_MAX = 8
"""Findings of one kind that are told one by one; all are counted."""


class SourceFault(Exception):
    """A file of the published log cannot be had; the message says why."""


class PeerFiles(Protocol):
    """Where the published files are read from."""

    def tile(self, level: int, index: int, width: int) -> bytes:
        """Return the first ``width`` hashes of a tile.

        Raises:
            SourceFault: they cannot be had.
        """
        ...

    def bundle(self, index: int, width: int) -> bytes | None:
        """Return the entry bundle, None when it is not published (any more).

        Raises:
            SourceFault: it is there and cannot be had.
        """
        ...


class Kind(StrEnum):
    """What can be found. All but the last four say that somebody lied or altered something."""

    FOREIGN_KEY = "foreign-key"
    """The checkpoint is not signed with a key of that log."""
    TWO_ROOTS = "two-roots"
    """The chain was given two roots of one size."""
    EQUIVOCATION = "equivocation"
    """The signed log has another root at an anchored size."""
    ALTERED = "altered"
    """The files are not those of the signed checkpoint."""
    SHRUNK = "shrunk"
    """An earlier checkpoint was larger than the published one."""
    WITHHELD = "withheld"
    """The chain has anchors above the published checkpoint."""
    UNREAD = "unread"
    """A file cannot be had."""
    NOT_ANCHORED = "not-anchored"
    """The chain has nothing to compare with."""
    DISAGREEMENT = "disagreement"
    """Endpoints of the chain do not say the same, or one was not reached."""


OPEN = frozenset({Kind.WITHHELD, Kind.UNREAD, Kind.NOT_ANCHORED, Kind.DISAGREEMENT})
"""Found, but nobody is convicted by it."""


class Finding(NamedTuple):
    """One thing that is not as it should be; ``size`` is the tree size or entry that it is about."""

    kind: Kind
    size: int
    sentence: str


class Expected(NamedTuple):
    """A root that the log had at a size; ``where`` says who says so."""

    size: int
    root: bytes
    where: str


class PeerAudit(NamedTuple):
    """What came out: entries read, anchored roots that were compared and held, entries whose bytes were compared."""

    size: int
    entries_read: int
    roots_held: int
    bundles_read: int
    findings: tuple[Finding, ...]

    @property
    def consistent(self) -> bool | None:
        """Whether the log is the anchored one; None when that could not be established."""
        kinds = {finding.kind for finding in self.findings}
        if kinds - OPEN:
            return False
        return None if kinds else True


def signature_finding(checkpoint: Checkpoint, keys: Sequence[VerifierKey]) -> Finding | None:
    """Return what is wrong with the signature on a published checkpoint, None when one of the keys made it."""
    if any(signed_by(checkpoint, key) for key in keys):
        return None
    sentence = f"The checkpoint of size {checkpoint.size} is not signed with a key of the log {checkpoint.origin}."
    return Finding(Kind.FOREIGN_KEY, checkpoint.size, sentence)


def expected_of(histories: Sequence[LogHistory]) -> list[Expected]:
    """Return the anchored roots, of all endpoints together."""
    roots: dict[tuple[int, bytes], str] = {}
    for history in histories:
        for anchor in history.anchors:
            roots.setdefault((anchor.size, anchor.root), f"the chain, in block {anchor.at.block},")
    return [Expected(size, root, where) for (size, root), where in roots.items()]


def compare_histories(histories: Sequence[LogHistory]) -> list[Finding]:
    """Return what the chain alone says: freezes, nothing to compare with, endpoints that disagree."""
    found = []
    caught = {(each.size, each.claimed_root): each for history in histories for each in history.two_roots}
    for (size, claimed), each in sorted(caught.items()):
        sentence = (
            f"In block {each.at.block} a second root of size {size} was sent to the chain: {claimed.hex()}, after"
            f" {each.anchored_root.hex()}. The log is frozen."
        )
        found.append(Finding(Kind.TWO_ROOTS, size, sentence))
    if not any(history.anchors for history in histories):
        sentence = "Not established: no endpoint that answered has an anchor of this log to compare with."
        found.append(Finding(Kind.NOT_ANCHORED, 0, sentence))
    for other in histories[1:]:
        height = min(histories[0].final, other.final)
        if _up_to(histories[0], height) != _up_to(other, height):
            sentence = (
                f"Not established: {histories[0].endpoint} and {other.endpoint} know different anchors or keys."
            )
            found.append(Finding(Kind.DISAGREEMENT, 0, sentence))
    return found


def _up_to(history: LogHistory, height: int) -> tuple[object, ...]:
    known: tuple[Sequence[AnchoredRoot | Keyed | TwoRoots], ...] = (history.anchors, history.keyed, history.two_roots)
    return tuple(tuple(each for each in kind if each.at.block <= height) for kind in known)


def audit(
    files: PeerFiles,
    checkpoint: Checkpoint,
    expected: Iterable[Expected],
    *,
    with_entries: bool = False,
    progress: Callable[[int], None] = lambda _read: None,
) -> PeerAudit:
    """Read the whole published log and compare.

    Args:
        files: the published tiles.
        checkpoint: the published one; its signature is the caller's business (``signature_finding``).
        expected: the anchored roots, and those of earlier checkpoints.
        with_entries: read the entries too, and compare them with their hashes.
        progress: is told how many entries were read.
    """
    reading = _Reading(files, checkpoint, expected)
    bundles = 0
    try:
        for index in range(-(-checkpoint.size // TILE_WIDTH)):
            leaves = reading.next_leaves(index)
            if with_entries:
                bundles += reading.compare_entries(index, leaves)
            progress(reading.read)
        reading.compare_edge()
    except SourceFault as fault:
        reading.found.append(
            Finding(Kind.UNREAD, reading.read, f"Not established from entry {reading.read}: {fault}.")
        )
    return PeerAudit(checkpoint.size, reading.read, reading.held, bundles, tuple(reading.all_findings()))


class _Reading:
    """One pass over a published log."""

    def __init__(self, files: PeerFiles, checkpoint: Checkpoint, expected: Iterable[Expected]) -> None:
        self._files = files
        self._checkpoint = checkpoint
        self._writer = TileWriter()
        roots = sorted(expected)
        self._pending = [root for root in reversed(roots) if root.size <= checkpoint.size]
        self._above = [root for root in roots if root.size > checkpoint.size]
        self._differing: list[tuple[Expected, bytes, int]] = []
        self._last_held = 0
        self.held = 0
        self.found: list[Finding] = []

    @property
    def read(self) -> int:
        return self._writer.size

    def next_leaves(self, index: int) -> list[bytes]:
        """Read a leaf tile, and compare every anchored root and every full tile that it completes."""
        start = index * TILE_WIDTH
        width = min(TILE_WIDTH, self._checkpoint.size - start)
        leaves = _hashes(self._files.tile(0, index, width))
        completed: list[Tile] = []
        at = 0
        while self._pending and self._pending[-1].size <= start + width:
            wanted = self._pending.pop()
            completed += self._writer.extend(leaves[at : wanted.size - start])
            at = max(at, wanted.size - start)
            self._compare(wanted)
        completed += self._writer.extend(leaves[at:])
        self._compare_tiles(tile for tile in completed if tile.level)
        return leaves

    def compare_entries(self, index: int, leaves: Sequence[bytes]) -> int:
        """Compare a bundle of entries with their hashes; return 1 when there was one."""
        bundle = self._files.bundle(index, len(leaves))
        if bundle is None:
            return 0
        try:
            hashes = [leaf_hash(entry) for entry in split_bundle(bundle)]
        except ValueError:
            hashes = []
        if hashes != list(leaves):
            start = index * TILE_WIDTH
            differs = (at for at, pair in enumerate(zip(hashes, leaves, strict=False)) if pair[0] != pair[1])
            at = next(differs, min(len(hashes), len(leaves)))  # one is the beginning of the other
            sentence = (
                f"The entries from {start} on are not those of the log; the first that differs is {start + at}."
            )
            self.found.append(Finding(Kind.ALTERED, start + at, sentence))
        return 1

    def compare_edge(self) -> None:
        """Compare the partial tiles above the leaves."""
        self._compare_tiles(tile for tile in self._writer.partial_tiles() if tile.level)

    def all_findings(self) -> list[Finding]:
        """Everything that was found, each kind's first few."""
        whole = self.read == self._checkpoint.size
        sound = whole and self._writer.root() == self._checkpoint.root
        if whole and not sound:
            sentence = (
                f"The tiles do not lead to the root that was signed at size {self._checkpoint.size}; the last"
                f" anchored root that they lead to is that of size {self._last_held}."
            )
            self.found.append(Finding(Kind.ALTERED, self._checkpoint.size, sentence))
        kind = Kind.EQUIVOCATION if sound else Kind.ALTERED
        for wanted, computed, since in self._differing:
            sentence = (
                f"At size {wanted.size} {wanted.where} has the root {wanted.root.hex()}, and the published log"
                f" {computed.hex()}: they part behind entry {since}."
            )
            self.found.append(Finding(kind, wanted.size, sentence))
        if self._above:
            top = self._above[-1]
            sentence = (
                f"{len(self._above)} roots above the published size {self._checkpoint.size} are known, the highest by"
                f" {top.where} at size {top.size}: the publisher withholds that part, or has not published it yet;"
                " ask again later."
            )
            self.found.append(Finding(Kind.WITHHELD, top.size, sentence))
        return _first_few(self.found)

    def _compare(self, wanted: Expected) -> None:
        computed = self._writer.root()
        if computed == wanted.root:
            self.held += 1
            self._last_held = wanted.size
        else:
            self._differing.append((wanted, computed, self._last_held))

    def _compare_tiles(self, tiles: Iterable[Tile]) -> None:
        for tile in tiles:
            if self._files.tile(tile.level, tile.index, tile.width) != tile.data:
                sentence = f"The tile {tile.path} is not the one that the tiles below it make."
                self.found.append(Finding(Kind.ALTERED, self.read, sentence))


def _hashes(data: bytes) -> list[bytes]:
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def _first_few(found: Sequence[Finding]) -> list[Finding]:
    told: list[Finding] = []
    for kind in Kind:
        of_kind = [finding for finding in found if finding.kind is kind]
        told += of_kind[:TOLD_MAX]
        if len(of_kind) > TOLD_MAX:
            last = of_kind[-1]
            sentence = f"{len(of_kind) - TOLD_MAX} more of this kind, up to size {last.size}."
            told.append(Finding(kind, last.size, sentence))
    return told
