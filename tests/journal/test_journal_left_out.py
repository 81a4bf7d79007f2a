"""What stands beside the log comes over from a damaged database as far as it means something; the rest is told."""

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st
from journal_kit import ORIGIN, SMALL, entry, group, refused
from structlog.testing import capture_logs

from gateway.anchor.access import AccessRow
from gateway.anchor.lifecycle import ENDS, TABLE, State
from gateway.chain.models import Result, report_access_call
from gateway.journal import (
    AnchorRow,
    CheckpointRow,
    Group,
    LeftOut,
    ModelEnvelope,
    ModelRow,
    RanState,
    RanVersion,
    ReportRow,
    open_journal,
    open_reader,
    outbox,
    understood,
)
from gateway.journal.schema import DATABASE
from gateway.parts import tell_how_the_journal_opened
from gateway.tlog.merkle import leaf_hash, root_hash

SIZE = 20
FACTS = {"account": bytes(20), "nonce": 7, "max_fee_wei": 10, "raw": b"raw", "tx_hash": bytes(32)}
ANCHOR = AnchorRow(1, 31337, bytes(20), 5, bytes(32), "signed", is_open=True, sealed_ms=1, changed_ms=1, **FACTS)
SEALED = AnchorRow(2, 31337, bytes(20), 9, bytes(32), "sealed", is_open=True, sealed_ms=2, changed_ms=2)
DONE = ANCHOR._replace(id=3, state="final", is_open=False, raw=None)
ACCESS = AccessRow(1, 1, 31337, bytes(20), "pump", 2, 2, "revoked", "broadcast", is_open=True, changed_ms=1, **FACTS)
REPORT = ReportRow(5, "pump", 2, 2, "revoked")
VERSION = RanVersion(3, bytes(32), RanState.GOOD)


async def filled(folder):
    """A closed journal with a row or more in every table beside the log."""
    journal = open_journal(folder, SMALL, origin=ORIGIN).journal
    note = CheckpointRow(SIZE, root_hash([leaf_hash(entry(index)) for index in range(SIZE)]), "note", 9)
    await journal.commit(group(0, SIZE, quarantine=[refused()], log_key=bytes(range(32))))
    await journal.commit(Group(checkpoint=note))
    await journal.set_final_size(7)
    await journal.record_anchors([ANCHOR, SEALED, DONE])
    await journal.report_model(REPORT)
    await journal.record_accesses([ACCESS])
    await journal.record_model(ModelRow("pump", 3, (VERSION,)), ModelEnvelope(3, b"manifest"))
    journal._writer.suspect()
    await journal.close()


def damage(folder, statement):
    connection = sqlite3.connect(folder / DATABASE)
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.fixture
async def folder(tmp_path):
    await filled(tmp_path)
    return tmp_path


MALFORMED = {
    "anchors": [
        "state = 'sealled' WHERE id = 1",
        "state = X'7f7f' WHERE id = 1",
        "state = CAST(X'ff7f' AS TEXT) WHERE id = 1",
        "is_open = 0 WHERE id = 1",
        "is_open = 'yes' WHERE id = 1",
        "state = 'sealed' WHERE id = 1",
        "tx_hash = NULL WHERE id = 1",
        "account = NULL WHERE id = 1",
        "account = X'00' WHERE id = 1",
        "nonce = 'many' WHERE id = 1",
        "root = X'00' WHERE id = 1",
        "contract = 'text' WHERE id = 1",
        "size = 1000000 WHERE id = 1",
        "changed_ms = 1.5 WHERE id = 1",
        "detail = X'00' WHERE id = 1",
        "id = 9223372036854775807 WHERE id = 1",
        "tx_hash = X'00' WHERE id = 3",
    ],
    "accesses": [
        "state = 'sealed'",
        "state = 'x'",
        "reason = 'Not A Reason'",
        "reason = ''",
        "reason = X'00'",
        "result = 9",
        "result = 'loaded'",
        "version = -1",
        "model_id = ''",
        "report_id = 9223372036854775807",
        "raw = 'text'",
    ],
    "model_reports": ["reason = X'00'", "result = 0", "version = 'v'", "model_id = X'00'", "time_ms = 'now'"],
    "models": ["highest = 'three'"],
    "model_versions": ["state = 'better'", "manifest_sha256 = 'text'", "envelope = 3"],
    "checkpoints": ["root = 'text'", "size = 1000000", "time_ms = X'00'"],
    "quarantine": ["payload = 5", "id = 9223372036854775807", "detail = X'00'", "received_ms = 'now'"],
    "facts": ["value = 'no key' WHERE name = 'log_key'", "value = 1000000 WHERE name = 'final_size'"],
}
CASES = [(table, change) for table, changes in MALFORMED.items() for change in changes]


@pytest.mark.parametrize(("table", "change"), CASES, ids=[f"{table}: {change}" for table, change in CASES])
async def test_a_row_that_means_nothing_is_left_out_and_told(folder, table, change):
    damage(folder, f"UPDATE {table} SET {change}")
    found = open_journal(folder, SMALL, origin=ORIGIN)
    journal = found.journal
    assert found.set_aside is not None
    assert journal.left_out == (LeftOut(table, 1, broken_off=False), LeftOut("replay", 7, broken_off=False))
    anchors = [row for row in (ANCHOR, SEALED) if table != "anchors" or row is SEALED or "WHERE id = 3" in change]
    assert await journal.open_anchors() == anchors
    assert await journal.open_accesses() == ([] if table == "accesses" else [ACCESS])
    await journal.record_anchors([SEALED._replace(id=(await journal.newest_anchors())[0].id + 1)])
    await journal.report_model(REPORT)
    await journal.commit(group(SIZE, 1, quarantine=[refused()]))
    await journal.models()
    with open_reader(folder) as reader:
        assert reader.log_key() in {None, bytes(range(32))}
        assert reader.final_size() in {0, 7}
    await journal.close()
    again = open_journal(folder, SMALL, origin=ORIGIN)
    assert again.journal.left_out == ()
    await again.journal.close()


async def test_a_gap_that_is_none_is_left_out(folder):
    damage(folder, "INSERT INTO gaps VALUES (3, 1000000, 'damage'), (0, 4, 'policy'), (5, 6, 'theft')")
    found = open_journal(folder, SMALL, origin=ORIGIN)
    assert LeftOut("gaps", 2, broken_off=False) in found.journal.left_out
    assert found.journal.size() == SIZE
    with open_reader(folder) as reader:
        assert [gap.start for gap in reader.gaps()] == [0]
    await found.journal.close()


async def test_keys_far_beyond_all_others_neither_hold_up_the_opening_nor_lose_an_entry(folder):
    damage(folder, f"INSERT INTO replay VALUES ({1 << 61}, 'dev-far', X'00')")
    damage(folder, "INSERT INTO log (idx, entry) VALUES (-700, X'00')")
    found = open_journal(folder, SMALL, origin=ORIGIN)
    assert found.lost == ()
    assert found.journal.size() == SIZE
    await found.journal.close()


async def test_what_is_sound_all_comes_over(folder):
    found = open_journal(folder, SMALL, origin=ORIGIN)
    journal = found.journal
    assert journal.left_out == (LeftOut("replay", 7, broken_off=False),)
    assert await journal.newest_anchors(9) == [DONE, SEALED, ANCHOR]
    assert await journal.open_accesses() == [ACCESS]
    assert await journal.models() == [ModelRow("pump", 3, (VERSION,))]
    with open_reader(folder) as reader:
        assert reader.model_reports() == [REPORT]
        assert reader.log_key() == bytes(range(32))
        assert reader.final_size() == 7
        assert len(reader.quarantine()) == 1
    await journal.close()


async def test_a_table_that_could_not_be_read_to_its_end_is_told(folder):
    connection = sqlite3.connect(folder / DATABASE)
    page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'accesses'").fetchone()[0]
    connection.close()
    with (folder / DATABASE).open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\x7f" * 4096)
    found = open_journal(folder, SMALL, origin=ORIGIN)
    assert LeftOut("accesses", 0, broken_off=True) in found.journal.left_out
    await found.journal.close()


# --- the words are those of anchoring ---


def test_the_words_of_the_outbox_are_the_states_of_an_anchor():
    assert {outbox.SEALED} | outbox.ON_THEIR_WAY | outbox.ENDS == set(State)
    assert {state.value for state in ENDS} == outbox.ENDS
    assert outbox.SEALED in {state for state, _ in TABLE}


@given(
    st.sampled_from(Result),
    st.text(alphabet="ab-9Z_\u00e9", max_size=3) | st.sampled_from(["", "a" * 32, "a" * 33, "revoked\n"]),
)
def test_a_report_is_understood_exactly_when_the_contract_takes_it(result, reason):
    try:
        report_access_call("pump", 2, result, reason)
    except ValueError:
        takes = False
    else:
        takes = True
    assert understood.is_report((1, 5, "pump", 2, int(result), reason)) is takes


values = (
    st.none() | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats() | st.binary(max_size=40) | st.text(max_size=9)
)


@given(st.lists(values, min_size=22, max_size=22))
def test_whatever_the_disk_left_is_judged_and_raises_nothing(row):
    judges = [
        (understood.is_state, 2),
        (lambda cells: understood.is_checkpoint(cells, SIZE), 4),
        (lambda cells: understood.is_gap(cells, SIZE), 3),
        (lambda cells: understood.is_fact(cells, SIZE), 2),
        (understood.is_quarantined, 8),
        (understood.is_model, 2),
        (understood.is_version, 5),
        (understood.is_report, 6),
        (lambda cells: understood.is_anchor(cells, SIZE), 20),
        (understood.is_access, 22),
    ]
    for judge, width in judges:
        assert judge(tuple(row[:width])) in {True, False}


async def test_what_was_left_out_is_told_by_table(folder):
    damage(folder, "UPDATE anchors SET state = 'sealled' WHERE id = 1")
    opened = open_journal(folder, SMALL, origin=ORIGIN)
    with capture_logs() as logs:
        tell_how_the_journal_opened(opened)
    await opened.journal.close()
    told = [each for each in logs if each["event"] == "journal.rows_left_out"]
    assert [(each["table"], each["rows"], each["log_level"]) for each in told] == [
        ("anchors", 1, "error"),
        ("replay", 7, "error"),
    ]


@pytest.mark.parametrize("table", ["quarantine", "anchors", "accesses", "checkpoints", "model_reports"])
async def test_a_table_of_other_columns_than_ours_keeps_no_gateway_from_starting(folder, table):
    damage(folder, f"DROP TABLE {table}")
    damage(folder, f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, other TEXT)")
    damage(folder, f"INSERT INTO {table} VALUES (1, 'x')")
    opened = open_journal(folder, SMALL, origin=ORIGIN)
    assert opened.set_aside is not None
    assert opened.journal.size() == SIZE
    await opened.journal.close()
