import shutil
import sqlite3
from pathlib import Path

import pytest
from journal_kit import ORIGIN, SMALL, entry, group, refused

from gateway.journal import (
    CheckpointRow,
    Gap,
    Group,
    JournalDamaged,
    JournalTooNew,
    LogDamaged,
    TileRow,
    open_journal,
    open_reader,
    schema,
)
from gateway.tlog.merkle import leaf_hash, root_hash
from gateway.tlog.tiles import TileWriter, consistency_proof, inclusion_proof, root_at

SIZE = 700


class PowerCut(Exception):
    """The process ends here."""


def leaves(size):
    return [leaf_hash(entry(index)) for index in range(size)]


def note(size):
    return CheckpointRow(size, root_hash(leaves(size)), f"signed {size}", 9_000)


async def fill(directory, size=SIZE, checkpoint=600, *, close=True):
    """A journal with tiles, a checkpoint, replay states and quarantine; closed, or left as after a kill."""
    journal = open_journal(directory, SMALL, origin=ORIGIN).journal
    tree = TileWriter()
    for first in range(0, size, 100):
        tiles = [TileRow(t.level, t.index, t.data) for t in tree.extend(leaves(first + 100)[first:])]
        states = [(f"dev-{first}", b"state %d" % first)]
        await journal.commit(group(first, 100, replay=states, quarantine=[refused()], tiles=tiles))
    await journal.commit(Group(checkpoint=note(checkpoint)))
    if close:
        await journal.close()
        return directory
    copy = directory.parent / "killed"
    shutil.copytree(directory, copy)
    await journal.close()
    return copy


def overwrite(path, start, data):
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data)


async def assert_goes_on(opened, size=SIZE):
    """The log continues behind every index that was promised, with the roots it had."""
    journal = opened.journal
    assert journal.size() == size
    assert not opened.log_damaged
    assert root_at(journal, size) == root_hash(leaves(size))
    await journal.commit(group(size, 60))
    everything = leaves(size + 60)
    assert root_at(journal, size + 60) == root_hash(everything)
    assert inclusion_proof(journal, size + 3, size + 60)
    assert consistency_proof(journal, 600, size + 60)
    tree = TileWriter.restore(journal, size + 60)
    assert tree.root() == root_hash(everything)


@pytest.mark.parametrize("close", [True, False])
async def test_a_database_of_garbage_is_set_aside_and_the_log_goes_on(tmp_path, close):
    directory = await fill(tmp_path / "data", close=close)
    database = directory / "journal.db"
    database.write_bytes(b"\xa5" * database.stat().st_size)
    opened = open_journal(directory, SMALL, origin=ORIGIN)
    assert opened.set_aside is not None
    # A write-ahead log has pages of its own: whether the first of all is among them decides how far SQLite comes.
    assert opened.reason in ({"unreadable"} if close else {"corrupt", "unreadable"})
    assert b"\xa5" * 4096 in (opened.set_aside / "journal.db").read_bytes()  # SQLite may have folded pages back
    if close:
        assert opened.lost == (Gap(0, SIZE, "damage"),)
    await assert_goes_on(opened)
    await opened.journal.close()
    with open_reader(directory) as reader:
        assert tuple(reader.gaps()) == opened.lost
        assert reader.latest_checkpoint() == note(600)
    again = open_journal(directory, SMALL, origin=ORIGIN)
    assert again[1:] == (None, None, None, (), None, False)
    assert again.journal.size() == SIZE + 60
    await again.journal.close()


async def test_a_damaged_page_costs_what_it_held_and_no_more(tmp_path):
    directory = await fill(tmp_path / "data")
    database = directory / "journal.db"
    at = database.read_bytes().find(entry(333))
    overwrite(database, at // 4096 * 4096, b"\x7f" * 4096)
    opened = open_journal(directory, SMALL, origin=ORIGIN)
    assert opened.reason == "corrupt"
    assert opened.doubtful_from is None
    (gap,) = opened.lost
    assert gap.start <= 333 < gap.end
    assert gap.end - gap.start < 60
    assert len(await opened.journal.replay_states([f"dev-{first}" for first in range(0, SIZE, 100)])) == 7
    await assert_goes_on(opened)
    await opened.journal.close()
    with open_reader(directory) as reader:
        kept = [row.index for row in reader.entries(0, SIZE)]
        assert kept == [index for index in range(SIZE) if not gap.start <= index < gap.end]
        assert len(reader.quarantine()) == 7


async def test_an_entry_that_was_altered_is_not_carried_over(tmp_path):
    directory = await fill(tmp_path / "data")
    database = directory / "journal.db"
    at = database.read_bytes().find(entry(SIZE - 2))
    overwrite(database, at + len(entry(0)) - 2, b"XX")
    opened = open_journal(directory, SMALL, origin=ORIGIN)
    assert opened.lost == (Gap(SIZE - 2, SIZE - 1, "damage"),)
    await assert_goes_on(opened)
    await opened.journal.close()


async def test_a_database_that_is_gone_leaves_the_log_going_on(tmp_path):
    directory = await fill(tmp_path / "data")
    (directory / "journal.db").unlink()
    opened = open_journal(directory, SMALL, origin=ORIGIN)
    assert opened.set_aside is None
    assert opened.lost == (Gap(0, SIZE, "damage"),)
    await assert_goes_on(opened)
    await opened.journal.close()


async def test_an_older_backup_does_not_give_out_indexes_again(tmp_path):
    directory = await fill(tmp_path / "data", 300, checkpoint=300)
    backup = (directory / "journal.db").read_bytes()
    journal = open_journal(directory, SMALL, origin=ORIGIN).journal
    await journal.commit(group(300, 400, checkpoint=note(700)))
    await journal.close()
    (directory / "journal.db").write_bytes(backup)
    opened = open_journal(directory, SMALL, origin=ORIGIN)
    assert opened.reason == "rolled-back"
    assert opened.lost == (Gap(300, 700, "damage"),)
    await assert_goes_on(opened)
    await opened.journal.close()


async def test_a_write_ahead_log_that_is_gone_does_not_give_out_indexes_again(tmp_path):
    directory = await fill(tmp_path / "data", close=False)
    (directory / "journal.db-wal").unlink()
    (directory / "journal.db-shm").unlink()
    opened = open_journal(directory, SMALL, origin=ORIGIN)
    assert opened.lost
    await assert_goes_on(opened)
    await opened.journal.close()


async def test_leaf_hashes_that_are_gone_come_back_from_the_database(tmp_path):
    directory = await fill(tmp_path / "data")
    (directory / "journal.leaves").unlink()
    opened = open_journal(directory, SMALL, origin=ORIGIN)
    assert opened[1:] == (None, None, None, (), None, False)
    await assert_goes_on(opened)
    await opened.journal.close()


async def test_leaf_hashes_lost_with_the_power_come_back_from_the_database(tmp_path):
    directory = await fill(tmp_path / "data", close=False)
    overwrite(directory / "journal.leaves", 4096 + 640 * 32, bytes(30 * 32))
    overwrite(directory / "journal.leaves", 4096 + 680 * 32, bytes(20 * 32))
    opened = open_journal(directory, SMALL, origin=ORIGIN)
    assert opened.lost == ()
    await assert_goes_on(opened)
    await opened.journal.close()


@pytest.mark.parametrize("harm", ["gone", "garbage", "altered", "beheaded"])
async def test_with_both_gone_nothing_is_appended_and_it_shows(tmp_path, harm):
    directory = await fill(tmp_path / "data")
    overwrite(directory / "journal.db", 0, b"\xa5" * 8192)
    file = directory / "journal.leaves"
    if harm == "gone":
        file.unlink()
    elif harm == "garbage":
        file.write_bytes(b"\xa5" * file.stat().st_size)
    elif harm == "altered":
        overwrite(file, 4096 + 32 * 100, b"\xa5" * 32)
    else:
        overwrite(file, 0, bytes(4096))
    for _ in range(2):  # it stays so over a restart, and nothing more is set aside
        opened = open_journal(directory, SMALL, origin=ORIGIN)
        assert opened.log_damaged
        with pytest.raises(LogDamaged):
            await opened.journal.commit(group(opened.journal.size(), 1))
        await opened.journal.commit(Group(quarantine=[refused()]))
        await opened.journal.close()
    assert len(list(directory.glob("set-aside-*"))) == 1


async def test_another_gateway_id_begins_another_log_and_keeps_the_replay_states(tmp_path):
    directory = await fill(tmp_path / "data")
    opened = open_journal(directory, SMALL, origin="securenet/plant/gw-2")
    assert opened.reason == "other-log"
    assert opened.set_aside is not None
    assert opened.journal.size() == 0
    assert await opened.journal.replay_states(["dev-0"]) == {"dev-0": b"state 0"}
    await opened.journal.commit(group(0, 1))
    await opened.journal.close()
    with open_reader(opened.set_aside) as reader:
        assert reader.size() == SIZE
        assert reader.entry(5) == entry(5)


async def test_damage_met_while_running_is_told_and_set_aside_at_the_next_opening(tmp_path):
    directory = await fill(tmp_path / "data")
    journal = open_journal(directory, SMALL, origin=ORIGIN).journal
    database = directory / "journal.db"
    root = sqlite3.connect(database)
    page = root.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'replay'").fetchone()[0]
    root.close()
    overwrite(database, (page - 1) * 4096, b"\x7f" * 4096)
    with pytest.raises(JournalDamaged):
        await journal.replay_states(["dev-0"])
    await journal.close()
    opened = open_journal(directory, SMALL, origin=ORIGIN)
    assert opened.reason == "suspect"
    assert opened.lost == ()
    await assert_goes_on(opened)
    await opened.journal.close()


async def test_at_most_two_stores_are_kept_aside(tmp_path):
    directory = await fill(tmp_path / "data")
    for _ in range(4):
        overwrite(directory / "journal.db", 0, b"\xa5" * 4096)
        opened = open_journal(directory, SMALL, origin=ORIGIN)
        await opened.journal.close()
    assert len(list(directory.glob("set-aside-*"))) == 2


async def test_a_crash_between_setting_aside_and_replacing_is_finished(tmp_path):
    directory = await fill(tmp_path / "data")
    (directory / "journal.db").rename(directory / "journal.new")
    (directory / "journal.db-wal").write_bytes(b"a stray write-ahead log")
    opened = open_journal(directory, SMALL, origin=ORIGIN)
    assert opened[1:] == (None, None, None, (), None, False)
    await assert_goes_on(opened)
    await opened.journal.close()


async def test_what_a_repair_left_that_was_broken_off_goes_when_the_database_holds(tmp_path):
    directory = await fill(tmp_path / "data")
    for name in ("journal.new", "journal.new-wal", "journal.new-shm"):
        (directory / name).write_bytes(b"half of a repair")
    opened = open_journal(directory, SMALL, origin=ORIGIN)
    assert opened[1:] == (None, None, None, (), None, False)
    assert not list(directory.glob("journal.new*"))
    await assert_goes_on(opened)
    await opened.journal.close()


async def test_the_store_of_another_gateway_id_is_whole_though_setting_it_aside_was_broken_off(tmp_path, monkeypatch):
    directory = await fill(tmp_path / "data")
    rename = Path.rename

    def break_off(path, target):
        if path.name.startswith("journal.") and list(directory.glob("set-aside-*/journal.*")):
            raise PowerCut
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", break_off)
        with pytest.raises(PowerCut):
            open_journal(directory, SMALL, origin="securenet/plant/gw-2")
    opened = open_journal(directory, SMALL, origin="securenet/plant/gw-2")
    assert opened.journal.size() == 0
    await opened.journal.close()
    (leaves_file,) = [
        path for path in directory.glob("set-aside-*/journal.leaves") if leaf_hash(entry(5)) in path.read_bytes()
    ]
    (database,) = directory.glob("set-aside-*/journal.db")
    assert leaves_file.stat().st_size > SIZE * 32
    with open_reader(database.parent) as reader:
        assert reader.entry(5) == entry(5)


# --- schema versions ---


async def test_an_empty_database_of_version_0_is_migrated(tmp_path):
    (tmp_path / "data").mkdir()
    connection = schema.connect_writer(tmp_path / "data" / "journal.db", 1000)
    assert schema.schema_version(connection) == 0
    connection.close()
    opened = open_journal(tmp_path / "data", SMALL, origin=ORIGIN)
    await opened.journal.commit(group(0, 3))
    await opened.journal.close()
    connection = schema.connect_reader(tmp_path / "data" / "journal.db")
    assert schema.schema_version(connection) == len(schema.MIGRATIONS)
    assert schema.fact(connection, "origin") == ORIGIN
    connection.close()


def add_column(connection):
    connection.execute("ALTER TABLE log ADD COLUMN colour TEXT")


def add_and_fail(connection):
    add_column(connection)
    connection.execute("INSERT INTO nowhere VALUES (1)")


async def test_a_migration_holds_whole_or_not_at_all(tmp_path):
    directory = await fill(tmp_path / "data")
    connection = schema.connect_writer(directory / "journal.db", 1000)
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        schema.migrate(connection, (*schema.MIGRATIONS, add_and_fail))
    assert schema.schema_version(connection) == len(schema.MIGRATIONS)
    assert "colour" not in [row[1] for row in connection.execute("PRAGMA table_info(log)")]
    assert schema.migrate(connection, (*schema.MIGRATIONS, add_column)) == len(schema.MIGRATIONS)
    assert connection.execute("SELECT count(*) FROM log WHERE colour IS NULL").fetchone() == (SIZE,)
    connection.close()


async def test_a_newer_schema_is_refused_with_the_version_to_install(tmp_path):
    directory = await fill(tmp_path / "data")
    connection = schema.connect_writer(directory / "journal.db", 1000)
    connection.execute("PRAGMA user_version = 99")
    schema.set_fact(connection, "written_by", "7.8.9")
    connection.close()
    with pytest.raises(JournalTooNew, match=r"install version 7\.8\.9 or newer"):
        open_journal(directory, SMALL, origin=ORIGIN)
    with pytest.raises(JournalTooNew):
        open_reader(directory)
    assert not list(directory.glob("set-aside-*"))
