"""Anchors and identities in the journal: durable rows, in order, across a restart, a migration and a salvage."""

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st
from journal_kit import group

from gateway.config.model import JournalConfig
from gateway.journal import AccessRow, AnchorRow, IdentityCursor, IdentityRow, ReportRow, open_journal, open_reader
from gateway.journal import outbox as anchors
from gateway.journal.schema import DATABASE, MIGRATIONS, migrate, schema_version

ORIGIN = "securenet/plant/gw-1"
CONTRACT = bytes(range(20))
CURSOR = IdentityCursor("31337:0xabc", 17, bytes(32), 1_700_000_000_000)


def anchor(number: int, *, size: int = 0, state: str = "sealed", is_open: bool = True, **facts) -> AnchorRow:
    return AnchorRow(number, 31337, CONTRACT, size or number, bytes(32), state, is_open, number, number, **facts)


SIGNED = anchor(100, state="signed", account=bytes(20), nonce=7, raw=b"raw", tx_hash=bytes(32))


def device(name: str, status: int = 1) -> IdentityRow:
    return IdentityRow(name, 1, "plant", 1, bytes(32), status)


def opened(folder):
    return open_journal(folder, JournalConfig(), origin=ORIGIN).journal


async def test_a_row_of_the_outbox_is_there_after_a_restart_as_it_was_written(tmp_path):
    row = anchor(1, nonce=7, max_fee_wei=2 * 10**9, raw=b"\x02raw", tx_hash=bytes(32), account=bytes(20))
    journal = opened(tmp_path)
    await journal.record_anchors([row])
    await journal.close()
    journal = opened(tmp_path)
    assert await journal.open_anchors() == [row]
    await journal.close()


async def test_a_row_is_replaced_by_its_id_and_leaves_the_open_ones_at_its_end(tmp_path):
    journal = opened(tmp_path)
    await journal.record_anchors([anchor(1), anchor(2)])
    await journal.record_anchors([anchor(1, state="final", is_open=False), anchor(2, state="broadcast")])
    assert [(row.id, row.state) for row in await journal.open_anchors()] == [(2, "broadcast")]
    assert [row.id for row in await journal.newest_anchors(5)] == [2, 1]
    with open_reader(tmp_path) as reader:
        assert reader.anchor_counts() == {"broadcast": 1, "final": 1}
        assert reader.newest_anchor_in("final").id == 1
        assert reader.newest_anchor_in("mined") is None
    await journal.close()


async def test_the_anchor_that_covers_an_entry_is_the_smallest_above_its_index(tmp_path):
    journal = opened(tmp_path)
    await journal.record_anchors(
        [anchor(n, size=10 * n, state="final", is_open=False) for n in (1, 2, 3)] + [anchor(4, size=40)]
    )
    with open_reader(tmp_path) as reader:
        assert reader.anchor_covering(9, "final").size == 10
        assert reader.anchor_covering(10, "final").size == 20
        assert reader.anchor_covering(30, "final") is None
    await journal.close()


async def test_an_anchor_is_recorded_even_when_the_journal_is_full(tmp_path):
    journal = opened(tmp_path)
    journal._writer.room.refuse(1 << 60)
    assert journal.full
    await journal.record_anchors([anchor(1)])
    assert len(await journal.open_anchors()) == 1
    await journal.close()


async def test_rows_and_cursor_are_stored_together_and_a_failing_row_stores_neither(tmp_path):
    journal = opened(tmp_path)
    with pytest.raises(sqlite3.IntegrityError):
        await journal.apply_identities([device("a"), device("b")._replace(fleet=None)], CURSOR)
    with open_reader(tmp_path) as reader:
        assert list(reader.identities()) == []
        assert reader.identity_cursor() is None
    await journal.apply_identities([device("a")], CURSOR)
    with open_reader(tmp_path) as reader:
        assert list(reader.identities()) == [device("a")]
        assert reader.identity_cursor() == CURSOR
    await journal.close()


async def test_identities_keep_the_order_of_their_first_registration(tmp_path):
    journal = opened(tmp_path)
    await journal.apply_identities([device("z"), device("a"), device("m")], CURSOR)
    await journal.apply_identities([device("z", status=3), device("b")], CURSOR._replace(block=18))
    with open_reader(tmp_path) as reader:
        assert [(row.id, row.status) for row in reader.identities()] == [("z", 3), ("a", 1), ("m", 1), ("b", 1)]
        assert reader.identity_cursor().block == 18
    await journal.forget_identities()
    with open_reader(tmp_path) as reader:
        assert list(reader.identities()) == []
        assert reader.identity_cursor() is None
    await journal.close()


async def test_more_identities_than_a_page_are_all_read(tmp_path):
    journal = opened(tmp_path)
    rows = [device(f"d{number}") for number in range(5000)]
    await journal.apply_identities(rows, CURSOR)
    with open_reader(tmp_path) as reader:
        assert list(reader.identities()) == rows
    await journal.close()


async def test_anchors_survive_a_database_that_had_to_be_set_aside(tmp_path):
    journal = opened(tmp_path)
    await journal.commit(group(0, 2))
    await journal.record_anchors([anchor(1, state="final", is_open=False), SIGNED._replace(id=2, size=2)])
    journal._writer.suspect()
    await journal.close()
    found = open_journal(tmp_path, JournalConfig(), origin=ORIGIN)
    assert found.set_aside is not None
    assert [row.id for row in await found.journal.newest_anchors(9)] == [2, 1]
    assert [row.raw for row in await found.journal.open_anchors()] == [b"raw"]
    await found.journal.close()


async def test_of_a_damaged_outbox_the_newest_rows_are_carried_over(tmp_path):
    journal = opened(tmp_path)
    await journal.commit(group(0, 100))
    old = [anchor(number, state="final", is_open=False)._replace(detail="x" * 500) for number in range(1, 100)]
    await journal.record_anchors([*old, SIGNED])
    await journal.close()
    database = tmp_path / DATABASE
    held = bytearray(database.read_bytes())
    connection = sqlite3.connect(database)
    root = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'anchors'").fetchone()[0]
    connection.close()
    first_leaf = int.from_bytes(held[(root - 1) * 4096 + 12 :][:2], "big")  # the first cell of the interior page
    page = int.from_bytes(held[(root - 1) * 4096 + first_leaf :][:4], "big")
    held[(page - 1) * 4096 : page * 4096] = b"\x7f" * 4096
    database.write_bytes(held)
    found = open_journal(tmp_path, JournalConfig(), origin=ORIGIN)
    assert found.reason == "corrupt"
    assert [row.raw for row in await found.journal.open_anchors()] == [b"raw"]
    assert len(await found.journal.newest_anchors(100)) > 80
    await found.journal.close()


async def test_a_report_never_has_the_number_of_one_that_was_lost_with_its_transaction_kept(tmp_path):
    journal = opened(tmp_path)
    report = ReportRow(1, "pump", 1, 1, "")
    await journal.report_model(report)
    row = AccessRow(1, 1, 31337, bytes(20), "pump", 1, 1, "", "final", is_open=False, changed_ms=1)
    await journal.record_accesses([row])
    await journal.close()
    connection = sqlite3.connect(tmp_path / DATABASE)
    connection.execute("DELETE FROM model_reports")
    connection.commit()
    connection.close()
    journal = opened(tmp_path)
    await journal.report_model(report._replace(time_ms=2))
    assert [owed.report.time_ms for owed in await journal.owed_reports(9)] == [2]
    await journal.close()


def test_a_journal_of_the_first_version_gains_the_tables(tmp_path):
    connection = sqlite3.connect(tmp_path / DATABASE, isolation_level=None)
    migrate(connection, MIGRATIONS[:1])
    assert schema_version(connection) == 1
    assert migrate(connection) == 1
    assert anchors.open_rows(connection) == []
    connection.close()


@given(
    st.lists(st.tuples(st.integers(0, 100), st.booleans(), st.sampled_from(["final", "superseded"]))),
    st.integers(0, 20),
    st.integers(1, 50),
)
def test_thinning_keeps_every_open_row_the_newest_and_one_of_each_state_an_hour(rows, keep, per_ms):
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in anchors.TABLES:
        connection.execute(statement)
    sealed_ms = 0
    made = []
    for number, (gap_ms, is_open, state) in enumerate(rows, 1):
        sealed_ms += gap_ms
        made.append(anchor(number, state=state, is_open=is_open)._replace(sealed_ms=sealed_ms))
    anchors.store(connection, made)
    anchors.thin(connection, keep, per_ms)
    kept = {row.id for row in anchors.newest(connection, 1000)}
    assert {row.id for row in made if row.is_open} <= kept
    assert {row.id for row in made[len(made) - min(keep, len(made)) :]} <= kept
    closed = [row for row in made if not row.is_open]
    for row in closed:
        hour = [
            other.id
            for other in closed
            if (other.state, other.sealed_ms // per_ms) == (row.state, row.sealed_ms // per_ms)
        ]
        assert max(hour) in kept
    connection.close()
