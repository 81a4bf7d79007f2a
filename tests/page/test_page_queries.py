"""The page's questions to the journal: which rows they find, that they search and never scan, and that they end."""

import asyncio
import sqlite3
import time
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from page_kit import NOW_MS, PUMPS, entry_at, message_at, refused_rows

from gateway.config.model import JournalConfig
from gateway.journal import EntryRow, Group, JournalFault, MessageRow, open_journal, queries
from gateway.journal.outbox import AnchorRow
from gateway.journal.queries import KINDS, LogQuestion, QueryTooLongError, RefusedQuestion, open_queries
from gateway.journal.schema import connect_reader
from gateway.message import Verdict
from gateway.tlog.entry import MessageEntry, RejectionsEntry, ResponseEntry, message_entry

START_MS = NOW_MS - 1_000_000


def asking(world, limit_s=5.0):
    return open_queries(world.data_dir, time.monotonic, limit_s)


def plan_of(world, sql, values):
    connection = connect_reader(world.data_dir / "journal.db")
    try:
        return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    finally:
        connection.close()


LOOKS = {
    "slice": (queries.SLICE.format(more=" AND device_id IS NULL AND instr(entry, ?)"), (9, 1, b"key", 5)),
    "device": (queries.OF_DEVICE, (PUMPS[0], 9, 1, 5)),
    "time": (queries.AT_OR_AFTER, (5,)),
    "session": (queries.NEXT_SESSION, (PUMPS[0], b"")),
    "newest": (queries.NEWEST_OF_SESSION, (PUMPS[0], b"session!")),
    "newest of many": (queries.NEWEST_OF_DEVICE, (PUMPS[0],)),
    "count": (queries.COUNT_OF_DEVICE, (PUMPS[0], 10)),
    "size": (queries.SIZE, ()),
}


@pytest.mark.parametrize("name", LOOKS)
def test_no_question_scans_the_whole_log(world, name):
    plan = plan_of(world, *LOOKS[name])
    assert any(step.startswith("SEARCH log") for step in plan), plan
    assert not any(step.startswith("SCAN log") for step in plan), plan


def test_the_quarantine_and_the_anchors_are_walked_by_their_key(world):
    for sql, values in (
        (queries.QUARANTINE.format(more=" AND reason = ?"), (9, "malformed", 5)),
        (queries.ANCHORS.format(columns="id", more=""), (9, 5)),
    ):
        plan = plan_of(world, sql, values)
        assert all("USING INTEGER PRIMARY KEY" in step for step in plan), plan


@cache
def known(index):
    return entry_at(index) or message_at(index)[0]


def names(entry, question):
    if isinstance(entry, RejectionsEntry):
        return question.kind == "rejections" and question.device_id in dict(entry.most_refused)
    if isinstance(entry, ResponseEntry):
        return question.kind == "response" and entry.device_id == question.device_id
    return isinstance(entry, MessageEntry) and entry.device_id == question.device_id


def expected(question, count):
    found = []
    for index in range(count - 1, -1, -1):
        entry = known(index)
        message = isinstance(entry, MessageEntry)
        if (
            (question.device_id is None or names(entry, question))
            and (question.from_ms is None or entry.time_ms >= question.from_ms)
            and (question.to_ms is None or entry.time_ms <= question.to_ms)
            and (question.kind is None or isinstance(entry, KINDS[question.kind]))
            and (question.verdict is None or (message and entry.verdict == question.verdict))
        ):
            found.append(index)
    return found


QUESTIONS = st.builds(
    LogQuestion,
    device_id=st.none() | st.sampled_from([*PUMPS, "nobody"]),
    from_ms=st.none() | st.integers(START_MS - 5_000, START_MS + 605_000),
    to_ms=st.none() | st.integers(START_MS - 5_000, START_MS + 605_000),
    kind=st.none() | st.sampled_from(list(KINDS)),
    verdict=st.none() | st.sampled_from(list(Verdict)),
    reason=st.none(),
)


@settings(max_examples=40)
@given(question=QUESTIONS, limit=st.integers(15, 200))
def test_pages_together_hold_exactly_what_was_asked_for(world, monkeypatch_slices, question, limit):
    found, before = [], None
    with asking(world) as asked:
        for _ in range(2000):
            page = asked.log(question, limit, before)
            assert len(page.hits) <= limit
            found += [hit.index for hit in page.hits]
            before = page.before
            if before is None:
                break
    assert found == expected(question, 600)


@pytest.fixture(scope="module")
def monkeypatch_slices():
    """Slices so small that every question takes several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queries, "SLICE_ENTRIES", 61)
        patch.setattr(queries, "_BATCH", 16)
        yield


def test_a_device_is_seen_in_its_newest_session_though_the_name_of_that_sorts_first(tmp_path):
    rows = [(0, b"zzzzzzzz", 900), (1, b"zzzzzzzz", 901), (2, b"aaaaaaaa", 0), (3, b"aaaaaaaa", 1)]
    fill(tmp_path, rows)
    with open_queries(tmp_path, time.monotonic, 5.0) as asked:
        seen = asked.seen("pump", 3)
    assert (seen.newest.index, seen.messages) == (3, 3)


def test_a_device_of_many_sessions_is_seen_too(tmp_path):
    count = queries.SESSIONS_LOOKED_AT + 9
    fill(tmp_path, [(index, (count - index).to_bytes(8, "big"), 0) for index in range(count)])
    with open_queries(tmp_path, time.monotonic, 5.0) as asked:
        assert asked.seen("pump", 1000).newest.index == count - 1


def fill(folder, rows):
    async def go():
        journal = open_journal(folder, JournalConfig(), origin="securenet/plant/gw").journal
        entries = [
            EntryRow(
                index,
                message_entry(
                    MessageEntry(index, bytes(32), "pump", session, seq, Verdict.UNSCORED, None, None, None)
                ),
            )
            for index, session, seq in rows
        ]
        messages = [MessageRow(index, "pump", session, seq, b"e", b"s" * 64) for index, session, seq in rows]
        await journal.commit(Group(entries, messages))
        await journal.close()

    asyncio.run(go())


def test_a_question_that_takes_too_long_is_ended_from_within(world):
    ticks = iter(range(1_000_000))
    with open_queries(world.data_dir, lambda: float(next(ticks)), 3.0) as asked, pytest.raises(QueryTooLongError):
        asked._ask("SELECT count(*) FROM log AS a, log AS b")


def test_an_impatient_question_comes_back_with_a_cursor(world):
    clock = iter(range(1_000_000))
    with open_queries(world.data_dir, lambda: next(clock) / 10, 1e9) as asked:
        page = asked.log(LogQuestion(kind="key"), 10, patience_s=0.0)
    assert page.before is None or page.before >= 0


def test_refused_messages_are_found_by_reason_device_and_time(world):
    rows = refused_rows()
    with asking(world) as asked:
        mine = asked.refused(RefusedQuestion(device_id=PUMPS[2]), 100)
        assert len(mine) == sum(row.device_id == PUMPS[2] for row in rows)
        late = asked.refused(RefusedQuestion(from_ms=NOW_MS - 25_000, to_ms=NOW_MS - 24_000), 100)
        assert {hit.received_ms for hit in late} == {NOW_MS - 25_000, NOW_MS - 24_500, NOW_MS - 24_000}
        assert (
            asked.refused(RefusedQuestion(reason="malformed"), 1)[0].id == asked.refused(RefusedQuestion(), 1)[0].id
        )


def test_anchors_come_whole(world):
    with asking(world) as asked:
        rows = asked.anchors(10)
    assert [row.id for row in rows] == [9, 4, 3, 2, 1]
    assert all(isinstance(row, AnchorRow) and isinstance(row.is_open, bool) for row in rows)


def test_a_journal_that_cannot_be_read_is_a_fault_of_the_house(tmp_path):
    fill(tmp_path, [(0, b"zzzzzzzz", 1)])
    with open_queries(tmp_path, time.monotonic, 5.0) as asked:
        with pytest.raises(JournalFault):
            asked._ask("SELECT nothing FROM nowhere")
        with pytest.raises(JournalFault, match="READONLY"):
            asked._ask("DELETE FROM log")
    assert sqlite3.connect(tmp_path / "journal.db").execute("SELECT count(*) FROM log").fetchone() == (1,)
