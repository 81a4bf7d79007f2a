"""``log fsck``: reads the whole log again and believes nothing that it can compute.

From the first entry to the last: is it an entry; does its hash stand in the leaves file; is the message beside it
the one it speaks of; does each full tile hold the hashes that come out here; does each stored checkpoint have the
root that comes out here, and the log's signature. Entries that the retention policy dropped are gone with their
bytes; their leaf hashes are kept and take their place. The first difference ends it: whatever is behind it would
differ, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from gateway.envelope.decoding import decode
from gateway.journal import CheckpointRow, Reader
from gateway.message import Rejected
from gateway.tlog.checkpoint import CheckpointError, VerifierKey, parse, signed_by
from gateway.tlog.entry import EntryError, MessageEntry, parse_entry
from gateway.tlog.merkle import leaf_hash
from gateway.tlog.tiles import TILE_BYTES, TileWriter
from gateway.tlog.verification import ENVELOPE_BYTES_MAX

_BLOCK = 256


class Difference(NamedTuple):
    """The first thing that does not hold. ``kind``: entry, leaf, message, tile, checkpoint or signature."""

    kind: str
    index: int  # type: ignore[assignment] # hides tuple.index, which nobody misses
    sentence: str


@dataclass(slots=True)
class FsckReport:
    """What was read. ``root`` is what came out over ``size`` leaves, None when a difference ended it before."""

    size: int
    entries_read: int = 0
    entries_gone: int = 0
    messages: int = 0
    tiles: int = 0
    checkpoints: int = 0
    signatures_checked: bool = False
    root: bytes | None = None
    difference: Difference | None = None


def fsck(reader: Reader, log_key: VerifierKey | None, progress: Callable[[int], None] | None = None) -> FsckReport:
    """Check the log of ``reader`` up to the size it has now; a gateway may run and append meanwhile.

    Args:
        reader: the journal.
        log_key: the key that signed the checkpoints; None: their signatures are not looked at.
        progress: told the number of leaves that are done, now and then.
    """
    report = FsckReport(reader.size(), signatures_checked=log_key is not None)
    tree = TileWriter()
    checkpoints = _checkpoints(reader)
    awaited = next(checkpoints, None)
    for start in range(0, report.size, _BLOCK):
        for index, leaf in _leaves(reader, start, min(start + _BLOCK, report.size), report):
            if report.difference is not None:
                return report
            for tile in tree.append(leaf):
                report.tiles += 1
                stored = reader.tile(tile.level, tile.index)
                if stored != tile.data:
                    what = (
                        "is not stored" if stored is None else f"has other hashes ({len(stored)}/{TILE_BYTES} bytes)"
                    )
                    report.difference = Difference("tile", index, f"Tile {tile.level}/{tile.index} {what}.")
                    return report
            while awaited is not None and awaited.size == tree.size:
                report.checkpoints += 1
                report.difference = _checkpoint_fault(awaited, tree.root(), log_key)
                if report.difference is not None:
                    return report
                awaited = next(checkpoints, None)
        if report.difference is not None:
            return report
        if progress is not None:
            progress(tree.size)
    report.root = tree.root()
    return report


def _checkpoints(reader: Reader) -> Iterator[CheckpointRow]:
    """The stored checkpoints from the smallest on; that of the empty tree says nothing."""
    row = reader.checkpoint_covering(0)
    while row is not None:
        yield row
        row = reader.checkpoint_covering(row.size)


def _leaves(reader: Reader, start: int, end: int, report: FsckReport) -> Iterator[tuple[int, bytes]]:
    """Yield index and leaf hash, from the entry where it is there; a difference is noted and ends it."""
    entries = {row.index: row.entry for row in reader.entries(start, end)}
    stored = reader.leaf_hashes(start, end)
    for index in range(start, end):
        entry = entries.get(index)
        kept = stored[index - start] if index - start < len(stored) else None
        if entry is None:
            if not any(gap.start <= index < gap.end for gap in reader.gaps()):
                report.difference = Difference("entry", index, "The entry is gone, and no policy dropped it.")
                return
            if kept is None:
                report.difference = Difference("leaf", index, "The entry was dropped, and its leaf hash is gone.")
                return
            report.entries_gone += 1
            yield index, kept
            continue
        report.entries_read += 1
        leaf = leaf_hash(entry)
        report.difference = _entry_fault(reader, index, entry, report)
        if report.difference is None and kept != leaf:
            report.difference = Difference("leaf", index, "The entry does not have the hash that was kept of it.")
        if report.difference is not None:
            return
        yield index, leaf


def _entry_fault(reader: Reader, index: int, data: bytes, report: FsckReport) -> Difference | None:
    try:
        entry = parse_entry(data)
    except EntryError as error:
        return Difference("entry", index, f"The bytes are no log entry: {error}.")
    if not isinstance(entry, MessageEntry):
        return None
    report.messages += 1
    row = reader.message(index)
    if row is None:
        return None if _dropped(reader, index) else Difference("message", index, "The message of the entry is gone.")
    if (row.device_id, row.session, row.seq) != (entry.device_id, entry.session, entry.seq):
        return Difference("message", index, "The stored message has another identity than the entry.")
    decoded = decode(row.envelope, None, max_bytes=ENVELOPE_BYTES_MAX)
    if isinstance(decoded, Rejected) or decoded.digest != entry.digest:
        return Difference("message", index, "The stored envelope is not the one that the entry speaks of.")
    return None


def _dropped(reader: Reader, index: int) -> bool:
    """Whether the entry went away since it was read."""
    return reader.entry(index) is None


def _checkpoint_fault(row: CheckpointRow, root: bytes, log_key: VerifierKey | None) -> Difference | None:
    where = f"The checkpoint of size {row.size}"
    if row.root != root:
        return Difference("checkpoint", row.size, f"{where} has another root than its entries.")
    try:
        checkpoint = parse(row.text.encode())
    except CheckpointError as error:
        return Difference("checkpoint", row.size, f"{where} cannot be read: {error}.")
    if (checkpoint.size, checkpoint.root) != (row.size, row.root):
        return Difference("checkpoint", row.size, f"{where} says something else in its signed text.")
    if log_key is not None and not signed_by(checkpoint, log_key):
        return Difference("signature", row.size, f"{where} is not signed with the log key.")
    return None
