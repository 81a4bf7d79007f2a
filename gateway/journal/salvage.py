"""What is carried over from a damaged database into a new one.

The leaves file says what every entry was, so a row of the damaged database is believed exactly when its entry hashes
to the leaf at its place. What cannot be read, or does not hash so, becomes a gap: the log goes on behind it under the
same name, and every checkpoint and receipt of before still holds. See ADR 0072.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gateway import cbor
from gateway.journal import understood
from gateway.journal.leaves import LeavesFile, is_blank
from gateway.journal.rows import TILE_HASHES, Gap, JournalDamaged, LeftOut, LogDamaged
from gateway.journal.schema import connect_reader, journal_error, tile_key
from gateway.tlog.entry import EntryError, MessageEntry, parse_entry
from gateway.tlog.merkle import HASH_BYTES, leaf_hash
from gateway.tlog.tiles import TileWriter

_ROWS = 256
_DEVICES_GUESSED = 1 << 17
_DEVICES_MOST = 1 << 22
_AHEAD_ROWS = 1 << 16
_DEADLINE_S = 60.0
_ROW_BYTES = 400


class Salvaged(NamedTuple):
    """What came over: the log's size, how many entries and devices were read, and what is lost."""

    log_size: int
    entries: int
    devices: int
    lost: tuple[Gap, ...]


def open_old(path: Path) -> sqlite3.Connection | None:
    """Open a database that was set aside, None when it cannot be opened at all."""
    if not path.is_file():
        return None
    try:
        connection = connect_reader(path)
    except sqlite3.Error:
        return None
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.Error:
        connection.close()
        return None
    connection.text_factory = _text
    return connection


def _text(data: bytes) -> str | bytes:
    """Read a text; one that is none stays bytes, so that a row is left out for it and not all rows behind it."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def rows_between(old: sqlite3.Connection, sql: str, start: int, end: int) -> Iterator[tuple[Any, ...]]:
    """Yield the readable rows of a query with two places for a range of keys; what cannot be read is left out."""
    try:
        rows = old.execute(sql, (start, end)).fetchall()
    except sqlite3.Error:
        if end - start > 1:
            middle = (start + end) // 2
            yield from rows_between(old, sql, start, middle)
            yield from rows_between(old, sql, middle, end)
        return
    yield from rows


def _number(old: sqlite3.Connection, sql: str, otherwise: int) -> int:
    try:
        found = old.execute(sql).fetchone()
    except sqlite3.Error:
        return otherwise
    return otherwise if found is None or not isinstance(found[0], int) else found[0]


def carry_replay(old: sqlite3.Connection, new: sqlite3.Connection) -> None:
    """Copy the replay states, as they are."""
    last = min(_number(old, "SELECT max(id) FROM replay", _DEVICES_GUESSED), _DEVICES_MOST)
    sql = "SELECT device_id, state FROM replay WHERE id >= ? AND id < ?"
    for start in range(0, last + 1, _ROWS):
        found = rows_between(old, sql, start, min(last + 1, start + _ROWS))
        sound = [row for row in found if understood.is_state(row)]
        new.executemany("INSERT OR IGNORE INTO replay (device_id, state) VALUES (?, ?)", sound)


class _Table(NamedTuple):
    """A table beside the log: what is read of it, and what a row has to be to come over."""

    name: str
    query: str
    is_understood: Callable[[understood.Row], bool]


def carry_models(old: sqlite3.Connection, new: sqlite3.Connection) -> list[LeftOut]:
    """Copy what was ever run of each model, the reports of it and their transactions, as far as each can be read.

    The newest rows of an outbox come first: they may be on their way. Return what is left out.
    """
    tables = (
        _Table("models", "SELECT model_id, highest FROM models", understood.is_model),
        _Table(
            "model_versions",
            "SELECT model_id, version, manifest_sha256, state, envelope FROM model_versions",
            understood.is_version,
        ),
        _Table(
            "model_reports",
            "SELECT id, time_ms, model_id, version, result, reason FROM model_reports ORDER BY id DESC",
            understood.is_report,
        ),
        _Table("accesses", "SELECT * FROM accesses ORDER BY id DESC", understood.is_access),
    )
    return _carry(old, new, tables)


def carry_rest(old: sqlite3.Connection, new: sqlite3.Connection, log_size: int) -> list[LeftOut]:
    """Copy checkpoints, anchors, quarantine, gaps and the final size, as far as each can be read.

    Return what is left out.
    """
    tables = (
        _Table(
            "checkpoints",
            "SELECT size, root, text, time_ms FROM checkpoints",
            lambda row: understood.is_checkpoint(row, log_size),
        ),
        _Table("gaps", "SELECT start, end, reason FROM gaps", lambda row: understood.is_gap(row, log_size)),
        _Table(
            "facts",
            "SELECT name, value FROM facts WHERE name IN ('final_size', 'log_key')",
            lambda row: understood.is_fact(row, log_size),
        ),
        _Table("anchors", "SELECT * FROM anchors ORDER BY id DESC", lambda row: understood.is_anchor(row, log_size)),
        _Table(
            "quarantine",
            "SELECT id, received_ms, reason, transport, peer, device_id, detail, payload FROM quarantine"
            " ORDER BY id DESC",
            understood.is_quarantined,
        ),
    )
    return _carry(old, new, tables)


def _carry(old: sqlite3.Connection, new: sqlite3.Connection, tables: Sequence[_Table]) -> list[LeftOut]:
    """Copy the rows that can be understood; return what is left out of which table."""
    left = []
    for table in tables:
        count, broken_off = 0, False
        try:
            for row in old.execute(table.query):
                if table.is_understood(row):
                    places = ", ".join("?" * len(row))
                    new.execute(f"INSERT OR IGNORE INTO {table.name} VALUES ({places})", row)  # noqa: S608 -- our own names
                else:
                    count += 1
        except sqlite3.Error as error:
            # An older version had not every table, and a damaged schema has not every name.
            broken_off = isinstance(journal_error(error), JournalDamaged)
        if count or broken_off:
            left.append(LeftOut(table.name, count, broken_off))
    return left


def rebuild_tiles(new: sqlite3.Connection, leaves: LeavesFile, size: int) -> None:
    """Store every full tile of the log from its leaf hashes, and hold them against the last signed checkpoint.

    Raises:
        LogDamaged: A hash is missing, or the root is not the one that was signed.
    """
    note = None if leaves.head is None else leaves.head.checkpoint
    if note is not None and note.size > size:
        raise LogDamaged(f"a checkpoint of {note.size} entries was signed, {size} leaf hashes are left")
    tree = TileWriter()
    for start in range(0, size, TILE_HASHES):
        hashes = leaves.hashes(start, min(size, start + TILE_HASHES))
        if any(is_blank(leaf) for leaf in hashes):
            raise LogDamaged(f"leaf hashes from {start} on are missing")
        split = note.size - start if note is not None and start < note.size <= start + len(hashes) else 0
        tiles = tree.extend(hashes[:split])
        if split and note is not None and tree.root() != note.root:
            raise LogDamaged(f"the leaf hashes do not have the root that was signed for {note.size} entries")
        tiles += tree.extend(hashes[split:])
        new.executemany(
            "INSERT OR REPLACE INTO tiles VALUES (?, ?)",
            [(tile_key(tile.level, tile.index), tile.data) for tile in tiles],
        )


def complete_leaves(old: sqlite3.Connection | None, leaves: LeavesFile) -> None:
    """Fill blank hashes, and add those beyond the end, from the entries of the damaged database.

    Blank ones were lost with the power; those beyond the end belong to a group whose promises had not left yet.
    """
    if old is None:
        return
    synced = 0 if leaves.head is None or leaves.head.checkpoint is None else leaves.head.checkpoint.size
    sql = "SELECT idx, entry FROM log WHERE idx >= ? AND idx < ? ORDER BY idx"
    for start in range(synced, leaves.size, _ROWS):
        hashes = leaves.hashes(start, min(leaves.size, start + _ROWS))
        blank = {start + place for place, leaf in enumerate(hashes) if is_blank(leaf)}
        if blank:
            for index, entry in rows_between(old, sql, start, start + len(hashes)):
                if index in blank and isinstance(entry, bytes):
                    leaves.write_at(index, leaf_hash(entry))
    for index, entry in rows_between(old, sql, leaves.size, leaves.size + _AHEAD_ROWS):
        if index != leaves.size or not isinstance(entry, bytes):
            break
        leaves.reserve(1)
        leaves.write_at(index, leaf_hash(entry))


class _Missing:
    """The ranges of entries that did not come over; told from the newest to the oldest."""

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int]] = []

    def add(self, start: int, end: int) -> None:
        if self.ranges and self.ranges[-1][0] == end:
            self.ranges[-1] = (start, self.ranges[-1][1])
        elif start < end:
            self.ranges.append((start, end))

    def note(self, start: int, end: int, present: Iterable[int]) -> None:
        """Add what lies between ``present`` (sorted) in the range."""
        upper = end
        for index in sorted(present, reverse=True):
            self.add(index + 1, upper)
            upper = index
        self.add(start, upper)


def carry_log(
    old: sqlite3.Connection | None, new: sqlite3.Connection, leaves: LeavesFile, room_bytes: int
) -> Salvaged:
    """Copy the entries that hash to their leaves, the newest first, within the room and a minute; note the gaps."""
    until = time.monotonic() + _DEADLINE_S
    first = 0 if old is None else _number(old, "SELECT min(idx) FROM log", 0)
    if not 0 <= first < leaves.size:
        first = 0  # what a damaged page says
    missing = _Missing()
    count = used = 0
    sql = (
        "SELECT idx, entry, device_id, session, seq, receipt_signature, envelope FROM log"
        " WHERE idx >= ? AND idx < ? ORDER BY idx"
    )
    end = leaves.size
    while old is not None and end > first and used < room_bytes and time.monotonic() < until:
        start = max(first, (end - 1) // TILE_HASHES * TILE_HASHES)
        hashes = leaves.read(start, end)
        sound = []
        for row in rows_between(old, sql, start, end):
            at = (row[0] - start) * HASH_BYTES
            if isinstance(row[1], bytes) and leaf_hash(row[1]) == hashes[at : at + HASH_BYTES]:
                sound.append(_as_its_entry_says(row))
        new.executemany("INSERT OR IGNORE INTO log VALUES (?, ?, ?, ?, ?, ?, ?)", sound)
        used += sum(len(row[1]) + len(row[6] or b"") + _ROW_BYTES for row in sound)
        count += len(sound)
        missing.note(start, end, [row[0] for row in sound])
        end = start
    if end > 0:
        missing.add(0, end)
    lost = _subtract_policy(new, missing.ranges)
    new.executemany(
        "INSERT INTO gaps VALUES (?, ?, ?) ON CONFLICT (start) DO UPDATE SET end = max(end, excluded.end)", lost
    )
    return Salvaged(leaves.size, count, 0, lost)


def _as_its_entry_says(row: understood.Row) -> understood.Row:
    """The row under the identity that its entry has; what stands beside an entry is not hashed."""
    index, entry, device_id, session, seq, signature, envelope = row
    if not _is_written_in(entry, device_id, session, seq):
        try:
            said = parse_entry(entry)
        except EntryError:
            pass
        else:
            device_id = session = seq = None
            if isinstance(said, MessageEntry):
                device_id, session, seq = said.device_id, said.session, said.seq
    signature, envelope = (each if isinstance(each, bytes) else None for each in (signature, envelope))
    return index, entry, device_id, session, seq, signature, envelope


def _is_written_in(entry: bytes, device_id: object, session: object, seq: object) -> bool:
    """Whether a message entry has this identity, told without taking it apart: salvage has a minute."""
    if not (isinstance(device_id, str) and isinstance(session, bytes) and isinstance(seq, int)):
        return False
    return b"".join((cbor.encode(device_id), cbor.encode(session), cbor.encode(seq))) in entry


def _subtract_policy(new: sqlite3.Connection, missing: list[tuple[int, int]]) -> tuple[Gap, ...]:
    """Return what is missing for another reason than that it was dropped by policy, or lost before."""
    known = sorted(new.execute("SELECT start, end FROM gaps").fetchall())
    lost = []
    for given, end in sorted(missing):
        start = given
        for low, high in known:
            if low >= end or high <= start:
                continue
            if low > start:
                lost.append(Gap(start, low, "damage"))
            start = max(start, high)
        if start < end:
            lost.append(Gap(start, end, "damage"))
    return tuple(lost)
