"""Questions of the status page to the journal: read-only, in slices, each with a bound and an end.

The log's table has no column for time, kind or verdict: they stand inside the entries, which are what is hashed, and
an index of them would be paid by every message. So a question walks the log backwards from a cursor in slices of
``SLICE_ENTRIES``, lets SQLite pass over what cannot match, and comes back with what it found and where to go on when
the page is full or the time is up. A device is found by the index of identities, a time by bisection (ADR 0179).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

from gateway import cbor
from gateway.journal.outbox import AnchorRow
from gateway.journal.rows import JournalFault
from gateway.journal.schema import DATABASE, check_version, connect_reader, journal_error
from gateway.tlog.entry import (
    ClockEntry,
    Entry,
    EntryError,
    KeyEntry,
    MessageEntry,
    ModelEntry,
    RejectionsEntry,
    ResponseEntry,
    parse_entry,
)

SLICE_ENTRIES: Final = 20_000
"""Entries that are passed over in one statement."""
CLOCK_WOBBLE_MS: Final = 60_000
"""Entries may stand so far out of the order of their times, and a question by time still finds them."""
SESSIONS_LOOKED_AT: Final = 32
KINDS: Final = {
    "message": MessageEntry,
    "rejections": RejectionsEntry,
    "model": ModelEntry,
    "response": ResponseEntry,
    "key": KeyEntry,
    "clock": ClockEntry,
}
_BATCH: Final = 512
_STEPS_BETWEEN_LOOKS: Final = 2_000

SIZE = "SELECT ifnull((SELECT max(idx) + 1 FROM log), 0), ifnull((SELECT min(idx) FROM log), 0)"
AT_OR_AFTER = "SELECT idx, entry FROM log WHERE idx >= ? ORDER BY idx LIMIT 1"
SLICE = "SELECT idx, entry FROM log WHERE idx < ? AND idx >= ?{more} ORDER BY idx DESC LIMIT ?"
OF_DEVICE = """SELECT idx, entry FROM log WHERE idx IN (
    SELECT idx FROM log INDEXED BY log_identity WHERE device_id = ? AND idx < ? AND idx >= ? ORDER BY idx DESC LIMIT ?
) ORDER BY idx DESC"""
NEXT_SESSION = """SELECT session FROM log INDEXED BY log_identity
WHERE device_id = ? AND session > ? ORDER BY session LIMIT 1"""
NEWEST_OF_SESSION = """SELECT idx FROM log INDEXED BY log_identity
WHERE device_id = ? AND session = ? ORDER BY seq DESC LIMIT 1"""
NEWEST_OF_DEVICE = "SELECT max(idx) FROM log INDEXED BY log_identity WHERE device_id = ?"
COUNT_OF_DEVICE = """SELECT count(*) FROM (
    SELECT 1 FROM log INDEXED BY log_identity WHERE device_id = ? LIMIT ?)"""
QUARANTINE = """SELECT id, received_ms, reason, transport, peer, device_id, detail, length(payload)
FROM quarantine WHERE id < ?{more} ORDER BY id DESC LIMIT ?"""
ANCHORS = "SELECT {columns} FROM anchors WHERE id < ?{more} ORDER BY id DESC LIMIT ?"
_END: Final = (1 << 63) - 1


class QueryTooLongError(Exception):
    """The time that the question was given is over; nothing is half answered."""


class LogQuestion(NamedTuple):
    """What is asked of the log. None: whatever it is. Times are in milliseconds since 1970, both inclusive.

    A ``device_id`` alone, or with the kind ``message``, is about messages and found by the index; with ``rejections``
    it is about summaries that name the device among the most refused, with ``response`` about what was done to it.
    ``reason`` is a reason of refusal that a summary counts, or that a model was refused for.
    """

    device_id: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None
    kind: str | None = None
    verdict: str | None = None
    reason: str | None = None


class LogHit(NamedTuple):
    """An entry that matches; ``entry`` is None when its bytes are no entry."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody misses
    entry: Entry | None


class LogPage(NamedTuple):
    """What was found, the newest first. ``before`` is the cursor to go on with, None when all was looked at."""

    hits: list[LogHit]
    before: int | None


class RefusedQuestion(NamedTuple):
    """What is asked of the quarantine."""

    device_id: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None
    reason: str | None = None


class RefusedHit(NamedTuple):
    """A refused message, without its bytes."""

    id: int
    received_ms: int
    reason: str
    transport: str
    peer: str
    device_id: str | None
    detail: str
    size: int


class Seen(NamedTuple):
    """A device's newest entry of those that are here (None: none is), and how many there are, up to a bound."""

    newest: LogHit | None
    messages: int


class Queries:
    """A read-only connection with an alarm clock; for one thread.

    Every method raises ``QueryTooLongError`` when the time is over, and ``JournalFault`` or ``JournalDamaged`` as the
    reader does.

    Args:
        connection: from ``connect_reader``.
        monotonic_s: the clock.
        limit_s: the time that all questions to this object together may take.
    """

    def __init__(self, connection: sqlite3.Connection, monotonic_s: Callable[[], float], limit_s: float) -> None:
        self._connection = connection
        self._monotonic_s = monotonic_s
        self._end_s = monotonic_s() + limit_s
        connection.set_progress_handler(self._is_over, _STEPS_BETWEEN_LOOKS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def _is_over(self) -> bool:
        return self._monotonic_s() > self._end_s

    def _ask(self, sql: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        with _meant():
            return self._connection.execute(sql, values).fetchall()

    # --- the log ---

    def bounds(self) -> tuple[int, int]:
        """The index after the newest entry that is here, and the index of the oldest."""
        end, start = self._ask(SIZE)[0]
        return _whole(end), _whole(start)

    def at_or_after(self, index: int) -> LogHit | None:
        """The first entry that is here from ``index`` on."""
        rows = self._ask(AT_OR_AFTER, (index,))
        return _hit(rows[0]) if rows else None

    def index_of_time(self, time_ms: int) -> int:
        """The first index whose entry is of ``time_ms`` or later, as far as time rises with the index."""
        end, start = self.bounds()
        while start < end:
            middle = (start + end) // 2
            hit = self.at_or_after(middle)
            if hit is None or hit.index >= end:
                end = middle
            elif hit.entry is None or hit.entry.time_ms < time_ms:
                start = hit.index + 1
            else:
                end = middle
        return start

    def log(
        self, question: LogQuestion, limit: int, before: int | None = None, *, patience_s: float = 0.5
    ) -> LogPage:
        """Find up to ``limit`` entries below ``before``; come back after ``patience_s`` with what there is."""
        give_up_s = self._monotonic_s() + patience_s
        end, start = self.bounds()
        if question.to_ms is not None:
            end = min(end, self.index_of_time(question.to_ms + CLOCK_WOBBLE_MS + 1))
        if question.from_ms is not None:
            start = max(start, self.index_of_time(question.from_ms - CLOCK_WOBBLE_MS))
        cursor = end if before is None else min(before, end)
        found: list[LogHit] = []
        indexed = question.device_id is not None and question.kind in {None, "message"}
        step = self._step_of_device if indexed else self._step
        while cursor > start and len(found) < limit:
            rows, reached = step(question, cursor, start, limit)
            for index, entry in map(_hit, rows):
                if _matches(entry, question):
                    found.append(LogHit(index, entry))
                    if len(found) == limit:
                        reached = index
                        break
            cursor = reached
            if self._monotonic_s() > give_up_s:
                break
        return LogPage(found, cursor if cursor > start else None)

    def _step(
        self, question: LogQuestion, cursor: int, start: int, limit: int
    ) -> tuple[list[tuple[object, ...]], int]:
        """One slice of the log: the rows that may match, and how far it got."""
        floor = max(start, cursor - SLICE_ENTRIES)
        more, values = _prefilter(question)
        most = max(_BATCH, limit)
        rows = self._ask(SLICE.format(more=more), (cursor, floor, *values, most))
        return rows, floor if len(rows) < most else _whole(rows[-1][0])

    def _step_of_device(
        self, question: LogQuestion, cursor: int, start: int, limit: int
    ) -> tuple[list[tuple[object, ...]], int]:
        """The next rows of one device, and how far that got."""
        most = max(_BATCH, limit)
        rows = self._ask(OF_DEVICE, (question.device_id, cursor, start, most))
        return rows, start if len(rows) < most else _whole(rows[-1][0])

    def seen(self, device_id: str, count_to: int) -> Seen:
        """When a device was last heard, by the highest number of each of its sessions."""
        count = _whole(self._ask(COUNT_OF_DEVICE, (device_id, count_to))[0][0])
        newest, session = -1, b""
        for _ in range(SESSIONS_LOOKED_AT if count else 0):
            rows = self._ask(NEXT_SESSION, (device_id, session))
            if not rows:
                break
            session = rows[0][0]  # type: ignore[assignment]  # the column is a BLOB
            newest = max(newest, _whole(self._ask(NEWEST_OF_SESSION, (device_id, session))[0][0]))
        else:
            if count:
                newest = _whole(self._ask(NEWEST_OF_DEVICE, (device_id,))[0][0])
        return Seen(self.at_or_after(newest) if newest >= 0 else None, count)

    # --- beside the log ---

    def refused(self, question: RefusedQuestion, limit: int, before: int | None = None) -> list[RefusedHit]:
        """Messages of the quarantine below the id ``before``, the newest first."""
        tests = {
            " AND device_id = ?": question.device_id,
            " AND reason = ?": question.reason,
            " AND received_ms >= ?": question.from_ms,
            " AND received_ms <= ?": question.to_ms,
        }
        asked = {test: value for test, value in tests.items() if value is not None}
        rows = self._ask(QUARANTINE.format(more="".join(asked)), (_or_end(before), *asked.values(), limit))
        return [RefusedHit._make(row) for row in rows]

    def anchors(self, limit: int, before: int | None = None, state: str | None = None) -> list[AnchorRow]:
        """Attempts to anchor with ids below ``before``, the newest first."""
        more, values = ("", ()) if state is None else (" AND state = ?", (state,))
        sql = ANCHORS.format(columns=", ".join(AnchorRow._fields), more=more)
        rows = [AnchorRow._make(row) for row in self._ask(sql, (_or_end(before), *values, limit))]
        return [row._replace(is_open=bool(row.is_open)) for row in rows]


def open_queries(directory: Path, monotonic_s: Callable[[], float], limit_s: float) -> Queries:
    """Open the journal in ``directory`` for the page, beside the gateway that runs on it.

    Raises:
        FileNotFoundError: there is no journal.
        JournalTooNew, JournalFault, JournalDamaged: it cannot be read.
    """
    database = directory / DATABASE
    if not database.is_file():
        raise FileNotFoundError(f"there is no journal at {database}")
    with contextlib.ExitStack() as undo, _meant():
        connection = connect_reader(database)
        undo.callback(connection.close)
        check_version(connection)
        undo.pop_all()
    return Queries(connection, monotonic_s, limit_s)


def _prefilter(question: LogQuestion) -> tuple[str, list[object]]:
    """What SQLite can tell of a row that cannot match, without taking its entry apart."""
    more = ""
    values: list[object] = []
    kind = "message" if question.verdict is not None else question.kind
    if kind is not None:
        more += " AND device_id IS NOT NULL" if kind == "message" else " AND device_id IS NULL"
    elif question.reason is not None:
        more += " AND device_id IS NULL"
    for word in (question.verdict, kind, question.reason, question.device_id):
        if word is not None:
            more += " AND instr(entry, ?)"
            values.append(cbor.encode(word))
    return more, values


def _matches(entry: Entry | None, question: LogQuestion) -> bool:
    """Whether an entry is what was asked for; bytes that are no entry match only the question for everything."""
    device_id, from_ms, to_ms, kind, verdict, reason = question
    if entry is None:
        return question == LogQuestion()
    if (from_ms is not None and entry.time_ms < from_ms) or (to_ms is not None and entry.time_ms > to_ms):
        return False
    if kind is not None and not isinstance(entry, KINDS[kind]):
        return False
    if device_id is not None and not _names(entry, device_id):
        return False
    if verdict is not None and not (isinstance(entry, MessageEntry) and entry.verdict == verdict):
        return False
    return reason is None or _has_reason(entry, reason)


def _names(entry: Entry, device_id: str) -> bool:
    if isinstance(entry, RejectionsEntry):
        return any(name == device_id for name, _ in entry.most_refused)
    return isinstance(entry, (MessageEntry, ResponseEntry)) and entry.device_id == device_id


def _has_reason(entry: Entry, reason: str) -> bool:
    if isinstance(entry, RejectionsEntry):
        return reason in entry.counts
    if isinstance(entry, ModelEntry):
        return entry.reason == reason
    return isinstance(entry, ResponseEntry) and entry.cause == reason


def _hit(row: Sequence[object]) -> LogHit:
    index, data = row
    try:
        return LogHit(_whole(index), parse_entry(data if isinstance(data, bytes) else b""))
    except EntryError:
        return LogHit(_whole(index), None)


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _or_end(before: int | None) -> int:
    return _END if before is None else before


@contextlib.contextmanager
def _meant() -> Iterator[None]:
    """Give SQLite's errors the names of the house."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            raise QueryTooLongError("the question took too long") from None
        raise journal_error(error) or JournalFault(f"the journal was not read ({error})") from error
    except sqlite3.Error as error:
        raise journal_error(error) or JournalFault(f"the journal was not read ({error})") from error
