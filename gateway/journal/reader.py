"""The reading side: what the CLI shows beside a running gateway, and what the log is restored from.

Every question is a short transaction of its own, so that a slow reader never keeps the write-ahead log from being
folded back. Answers to many questions at once come as one row of text: beside a busy event loop every row more costs
a wait for the interpreter lock (ADR 0070).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from gateway.journal.custody_reader import CustodyReader, faults
from gateway.journal.leaves import LeavesFile, is_blank
from gateway.journal.rows import (
    TILE_HASHES,
    CheckpointRow,
    EntryRow,
    Gap,
    Identity,
    Known,
    MessageRow,
    QuarantineEntry,
    QuarantineRow,
    Stats,
    Usage,
)
from gateway.journal.schema import DATABASE, LEAVES, check_version, connect_reader, fact, tile_key
from gateway.journal.writer import log_size, measure
from gateway.tlog.merkle import HASH_BYTES, leaf_hash

_PAGE_ROWS = 512
_ASKED_AT_ONCE = (1, 4, 16, 64, 256)

_LOOKUP = """SELECT
    group_concat(asked.column1 || ' ' || idx || ' ' || hex(entry) || ' ' || hex(receipt_signature), ';')
FROM (VALUES {values}) AS asked CROSS JOIN log
WHERE device_id = asked.column2 AND session = asked.column3 AND seq = asked.column4"""
_STATES = """SELECT group_concat(asked.column1 || ' ' || hex(state), ';')
FROM (VALUES {values}) AS asked CROSS JOIN replay WHERE device_id = asked.column2"""


def _batches(count: int) -> Iterator[tuple[int, int, int]]:
    """Yield (start, end, places): few statement sizes serve every number of questions."""
    start = 0
    while start < count:
        end = min(count, start + _ASKED_AT_ONCE[-1])
        yield start, end, next(size for size in _ASKED_AT_ONCE if size >= end - start)
        start = end


class Reader(CustodyReader):
    """A read-only view of the journal; may be used from any thread, by one at a time.

    Implements ``gateway.tlog.tiles.TileReader``. Every method raises ``JournalFault`` when the disk fails, and
    ``JournalDamaged`` when the database is not sound.
    """

    def __init__(self, connection: sqlite3.Connection, leaves: LeavesFile, directory: Path) -> None:
        self._connection = connection
        self._leaves = leaves
        self._directory = directory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and the file."""
        self._connection.close()
        self._leaves.close()

    def _ask(self, sql: str, values: Iterable[object] = ()) -> list[tuple[Any, ...]]:
        with faults():
            return self._connection.execute(sql, tuple(values)).fetchall()

    # --- the log ---

    def size(self) -> int:
        """Return how many entries the log has, those that are gone included."""
        with faults():
            return log_size(self._connection)

    def first_index(self) -> int:
        """Return the index of the oldest entry that is still here; the size when there is none."""
        found = self._ask("SELECT min(idx) FROM log")[0][0]
        return self.size() if found is None else found

    def entry(self, index: int) -> bytes | None:
        """Return a log entry, None when it is gone or was never there."""
        return next((row.entry for row in self.entries(index, index + 1)), None)

    def entries(self, start: int, end: int) -> Iterator[EntryRow]:
        """Yield the entries ``start`` to ``end`` (exclusive) that are still here, in order."""
        while start < end:
            rows = self._ask(
                "SELECT idx, entry FROM log WHERE idx >= ? AND idx < ? LIMIT ?", (start, end, _PAGE_ROWS)
            )
            for index, entry in rows:
                yield EntryRow(index, entry)
            if len(rows) < _PAGE_ROWS:
                return
            start = rows[-1][0] + 1

    def message(self, index: int) -> MessageRow | None:
        """Return what was stored of the message at ``index``, None when that is no message or gone."""
        rows = self._ask(
            "SELECT idx, device_id, session, seq, envelope, receipt_signature FROM log"
            " WHERE idx = ? AND device_id IS NOT NULL",
            (index,),
        )
        return MessageRow._make(rows[0]) if rows else None

    def envelope(self, index: int) -> bytes | None:
        """Return the bytes that the device sent, None when ``index`` is no message or gone."""
        row = self.message(index)
        return row.envelope if row else None

    def find(self, device_id: str, session: bytes, seq: int) -> int | None:
        """Return the index of a message by its identity."""
        rows = self._ask(
            "SELECT idx FROM log WHERE device_id = ? AND session = ? AND seq = ?", (device_id, session, seq)
        )
        return rows[0][0] if rows else None

    def lookup(self, identities: Sequence[Identity]) -> dict[Identity, Known]:
        """Return what is held of these identities; those that are not here are left out."""
        found: dict[Identity, Known] = {}
        for start, end, places in _batches(len(identities)):
            values: list[object] = []
            for number in range(start, end):
                values += (number, *identities[number])
            values += [None] * (4 * places - len(values))
            for line in self._one_text(_LOOKUP, "(?, ?, ?, ?)", places, values):
                number_text, index, entry, signature = line.split(" ")
                known = Known(int(index), bytes.fromhex(entry), bytes.fromhex(signature))
                found[identities[int(number_text)]] = known
        return found

    def replay_states(self, device_ids: Sequence[str]) -> dict[str, bytes]:
        """Return the stored replay states of these devices; those without one are left out."""
        found: dict[str, bytes] = {}
        for start, end, places in _batches(len(device_ids)):
            values: list[object] = []
            for number in range(start, end):
                values += (number, device_ids[number])
            values += [None] * (2 * places - len(values))
            for line in self._one_text(_STATES, "(?, ?)", places, values):
                number_text, state = line.split(" ")
                found[device_ids[int(number_text)]] = bytes.fromhex(state)
        return found

    def _one_text(self, sql: str, row: str, places: int, values: list[object]) -> list[str]:
        text = self._ask(sql.format(values=", ".join([row] * places)), values)[0][0]
        return str(text).split(";") if text else []

    # --- hashes ---

    def tile(self, level: int, index: int) -> bytes | None:
        """Return a full tile (8,192 bytes), None when it is not stored."""
        rows = self._ask("SELECT data FROM tiles WHERE key = ?", (tile_key(level, index),))
        if rows:
            return bytes(rows[0][0])
        if level:
            return None
        start = index * TILE_HASHES
        hashes = self.leaf_hashes(start, start + TILE_HASHES)
        return b"".join(hashes) if len(hashes) == TILE_HASHES else None

    def leaf_hashes(self, start: int, end: int) -> list[bytes]:
        """Return the leaf hashes of the entries ``start`` to ``end`` (exclusive), fewer when the log ends before."""
        hashes = self._leaves.hashes(start, min(end, self.size()))
        while hashes and is_blank(hashes[-1]):
            hashes.pop()
        if len(hashes) < end - start:  # the file may lag behind the database
            for index, entry in self.entries(start + len(hashes), end):
                if index != start + len(hashes):
                    break
                hashes.append(leaf_hash(entry))
        return hashes

    def stored_leaf_hash(self, index: int) -> bytes | None:
        """Return what the leaves file has for ``index``, for ``log fsck`` to compare; None when it has nothing."""
        found = self._leaves.read(index, index + 1)
        return found if len(found) == HASH_BYTES and not is_blank(found) else None

    def gaps(self) -> list[Gap]:
        """Return which entries are gone and why, in order of their start; ranges may overlap."""
        rows = self._ask("SELECT start, end, reason FROM gaps ORDER BY start")
        return [Gap._make(row) for row in rows]

    def latest_checkpoint(self) -> CheckpointRow | None:
        """Return the checkpoint of the largest size."""
        return self._checkpoint("SELECT size, root, text, time_ms FROM checkpoints ORDER BY size DESC LIMIT 1", ())

    def checkpoint_covering(self, index: int) -> CheckpointRow | None:
        """Return the smallest stored checkpoint whose tree has the leaf ``index``."""
        sql = "SELECT size, root, text, time_ms FROM checkpoints WHERE size > ? ORDER BY size LIMIT 1"
        return self._checkpoint(sql, (index,))

    def _checkpoint(self, sql: str, values: tuple[int, ...]) -> CheckpointRow | None:
        rows = self._ask(sql, values)
        return CheckpointRow._make(rows[0]) if rows else None

    def final_size(self) -> int:
        """Return how many entries are final on chain."""
        with faults():
            known = fact(self._connection, "final_size")
        return known if isinstance(known, int) else 0

    # --- for maintenance ---

    def log_key(self) -> bytes | None:
        """Return the public key that signed last, None when the journal never learned one."""
        with faults():
            known = fact(self._connection, "log_key")
        return bytes.fromhex(known) if isinstance(known, str) else None

    def usage(self) -> Usage:
        """Measure the data directory."""
        with faults():
            return measure(self._connection, self._directory)

    def fold_back(self) -> None:
        """Copy what can be copied from the write-ahead log into the database, and sync the leaves file.

        Does not hold the writer: what is written meanwhile is left for the next time.
        """
        with faults():
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        self._leaves.sync()

    def block_entries(self, start: int, end: int) -> list[bytes]:
        """Return the entries of a block that are still here, read in one step."""
        rows = self._ask("SELECT group_concat(hex(entry), ' ') FROM log WHERE idx >= ? AND idx < ?", (start, end))
        return [bytes.fromhex(text) for text in str(rows[0][0] or "").split()]

    def checkpoint_size_at(self, place: int) -> int | None:
        """Return the size of the checkpoint that is ``place`` checkpoints before the newest."""
        rows = self._ask("SELECT size FROM checkpoints ORDER BY size DESC LIMIT 1 OFFSET ?", (place,))
        return rows[0][0] if rows else None

    # --- quarantine ---

    def quarantine(self, after: int = 0, limit: int = _PAGE_ROWS) -> list[QuarantineEntry]:
        """Return up to ``limit`` refused messages with ids above ``after``, the oldest first."""
        rows = self._ask(
            "SELECT id, received_ms, reason, transport, peer, device_id, detail, payload FROM quarantine"
            " WHERE id > ? ORDER BY id LIMIT ?",
            (after, limit),
        )
        return [QuarantineEntry(row[0], QuarantineRow._make(row[1:])) for row in rows]

    def quarantined(self, number: int) -> QuarantineEntry | None:
        """Return one refused message by its id."""
        rows = self.quarantine(number - 1, 1)
        return rows[0] if rows and rows[0].id == number else None

    def quarantine_counts(self) -> dict[str, int]:
        """Return how many refused messages are held, by reason."""
        rows = self._ask("SELECT reason, count(*) FROM quarantine GROUP BY reason ORDER BY reason")
        return dict(rows)

    # --- the whole ---

    def stats(self) -> Stats:
        """Count everything; reads a good part of the indexes."""
        with faults():
            usage = measure(self._connection, self._directory)
        one = self._ask(
            "SELECT (SELECT count(*) FROM log WHERE device_id IS NOT NULL), (SELECT count(*) FROM replay),"
            " (SELECT count(*) FROM quarantine), (SELECT ifnull(sum(length(payload)), 0) FROM quarantine),"
            " (SELECT count(*) FROM tiles), (SELECT count(*) FROM checkpoints)"
        )[0]
        messages, devices, quarantined, quarantine_bytes, tiles, checkpoints = one
        return Stats(
            usage=usage,
            log_size=self.size(),
            first_index=self.first_index(),
            messages=messages,
            devices=devices,
            quarantined=quarantined,
            quarantine_bytes=quarantine_bytes,
            tiles=tiles,
            checkpoints=checkpoints,
            final_size=self.final_size(),
            gaps=tuple(self.gaps()),
        )


def open_reader(directory: Path) -> Reader:
    """Open the journal in ``directory`` to read, whether or not a gateway runs on it.

    Raises:
        FileNotFoundError: There is no journal.
        JournalTooNew: A newer version wrote it.
        JournalFault: It cannot be read.
        JournalDamaged: It is not a sound database; the gateway sets it aside at its next start.
    """
    database = directory / DATABASE
    if not database.is_file():
        raise FileNotFoundError(f"there is no journal at {database}")
    with contextlib.ExitStack() as undo:
        leaves = LeavesFile.open_read_only(directory / LEAVES)
        undo.callback(leaves.close)
        with faults():
            connection = connect_reader(database)
            undo.callback(connection.close)
            check_version(connection)
        undo.pop_all()
    return Reader(connection, leaves, directory)
