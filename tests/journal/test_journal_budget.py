import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from journal_kit import ORIGIN, SMALL, entry, group, refused

from gateway.checks.duplicate import ReplayWindow
from gateway.config.model import JournalConfig
from gateway.journal import (
    CheckpointRow,
    Gap,
    Group,
    JournalFault,
    JournalFull,
    Usage,
    open_journal,
    open_reader,
)
from gateway.journal.budget import Room, marks_of
from gateway.tlog.merkle import leaf_hash, root_hash
from gateway.tlog.tiles import inclusion_proof, root_at

BUDGET = SMALL.budget_bytes
OLD, NOW = 1_000, 1_000_000


def disk_bytes(directory):
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


async def fill_up(journal, first=0, time_ms=OLD, watch=lambda: None, error=JournalFull, size=4000):
    """Commit groups of 64 messages of ``size`` bytes until the journal is full; return the log's size."""
    while True:
        try:
            await journal.commit(group(first, 64, time_ms, os.urandom(size)))
        except error:
            return first
        first += 64
        watch()


async def settle(journal, now_ms=NOW):
    report = await journal.maintain(now_ms)
    while report.retry_soon:
        report = await journal.maintain(now_ms)
    return report


@given(st.integers(16 << 20, 1 << 44))
def test_the_marks_stand_in_their_order_below_the_budget(budget):
    marks = marks_of(budget)
    assert 0 < marks.drop_at < marks.resume_at < marks.full_at < budget
    assert marks.wal_pages * 4096 < budget - marks.full_at
    assert marks.slack_pages * 4096 < marks.full_at - marks.drop_at


def test_full_lasts_until_the_use_is_below_the_mark_to_resume():
    room = Room(16 << 20)
    full, resume = room.marks.full_at, room.marks.resume_at
    room.measured(Usage(full - 100, 0, 0, 0))
    assert room.admits(100)
    assert not room.admits(101)
    room.refuse(50)
    room.measured(Usage(resume - 49, 0, 0, 0))
    assert room.full
    assert not room.admits(50)
    room.measured(Usage(full, full - resume + 50, 0, 0))
    assert not room.full
    room.take(1000)
    assert room.used_bytes == resume + 950


async def test_a_full_journal_says_so_and_stays_within_its_budget(tmp_path):
    journal = open_journal(tmp_path, SMALL, origin=ORIGIN).journal
    most = 0

    def watch():
        nonlocal most
        most = max(most, disk_bytes(tmp_path))

    size = await fill_up(journal, watch=watch)
    assert journal.full
    assert BUDGET * 0.6 < most <= BUDGET
    report = await settle(journal)
    assert report.full
    assert report.dropped_entries == 0  # nothing is final, and unanchored messages are kept
    with pytest.raises(JournalFull):
        await journal.commit(group(size, 1, envelope=b"small"))
    assert journal.size() == size
    await journal.close()


async def test_what_is_final_and_old_goes_and_the_gateway_recovers_by_itself(tmp_path):
    journal = open_journal(tmp_path, SMALL, origin=ORIGIN).journal
    size = await fill_up(journal)
    before = [leaf_hash(entry(index, OLD)) for index in range(size)]
    await journal.set_final_size(1000)
    report = await settle(journal)
    assert report.first_index == report.dropped_entries == 768  # whole blocks below 1,000
    assert not report.full
    with open_reader(tmp_path) as reader:
        assert reader.gaps() == [Gap(0, 768, "policy")]
        assert reader.entry(767) is None
        assert reader.find("dev-0", b"session!", 0) is None
        assert reader.envelope(768) is not None
        assert reader.tile(0, 0) == b"".join(before[:256])
    assert root_at(journal, size) == root_hash(before)
    assert inclusion_proof(journal, 900, size)
    await journal.commit(group(size, 64, OLD))
    assert disk_bytes(tmp_path) <= BUDGET
    await journal.close()
    again = open_journal(tmp_path, SMALL, origin=ORIGIN)
    assert again.lost == ()
    assert again.journal.size() == size + 64
    await again.journal.close()


async def test_under_endless_load_the_budget_holds_and_dropping_keeps_pace(tmp_path):
    config = JournalConfig(budget_bytes=BUDGET, quarantine_bytes=64 << 10, retention_s=60, drop_unanchored=True)
    journal = open_journal(tmp_path, config, origin=ORIGIN).journal
    first = most = 0
    for _ in range(120):
        await journal.commit(group(first, 64, OLD, os.urandom(4000), quarantine=[refused(bytes(900))]))
        first += 64
        if first % 256 == 0:
            await journal.commit(Group(checkpoint=CheckpointRow(first, bytes(32), "note", OLD)))
            await settle(journal)
        most = max(most, disk_bytes(tmp_path))
    assert most <= BUDGET
    with open_reader(tmp_path) as reader:
        assert reader.first_index() > 0
        assert [gap.reason for gap in reader.gaps()] == ["policy"]
    await journal.close()


async def test_messages_younger_than_the_retention_stay_whatever_is_final(tmp_path):
    journal = open_journal(tmp_path, SMALL, origin=ORIGIN).journal
    size = await fill_up(journal, time_ms=NOW - 59_000)
    await journal.set_final_size(size)
    assert (await settle(journal)).dropped_entries == 0
    assert (await settle(journal, NOW + 2_000)).dropped_entries > 0
    await journal.close()


async def test_one_young_message_keeps_its_block(tmp_path):
    journal = open_journal(tmp_path, SMALL, origin=ORIGIN).journal
    await journal.commit(group(0, 300, OLD, bytes(4000)))
    await journal.commit(group(300, 1, NOW, bytes(4000)))
    size = await fill_up(journal, 301)
    await journal.set_final_size(size)
    assert (await settle(journal)).first_index == 256
    await journal.close()


async def test_space_goes_back_to_the_filesystem(tmp_path):
    journal = open_journal(tmp_path, SMALL, origin=ORIGIN).journal
    size = await fill_up(journal)
    await journal.set_final_size(size)
    before = disk_bytes(tmp_path)
    reports = [await journal.maintain(NOW) for _ in range(3)]
    assert sum(report.returned_pages for report in reports) > 0
    await journal.close()
    assert disk_bytes(tmp_path) < before - (512 << 10)


async def test_a_stranger_file_in_the_directory_counts(tmp_path):
    journal = open_journal(tmp_path, SMALL, origin=ORIGIN).journal
    await journal.commit(group(0, 1))
    (tmp_path / "big").write_bytes(bytes(BUDGET))
    assert (await journal.maintain(NOW)).usage.other_bytes > BUDGET
    with pytest.raises(JournalFull):
        await journal.commit(group(1, 1))
    (tmp_path / "big").unlink()
    await journal.maintain(NOW)
    await journal.commit(group(1, 1))
    await journal.close()


async def test_old_checkpoints_are_thinned_and_the_newest_stay(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.journal.journal._CHECKPOINTS_KEPT", 10)
    journal = open_journal(tmp_path, SMALL, origin=ORIGIN).journal
    for size in range(1, 41):
        await journal.commit(group(size - 1, 1, checkpoint=CheckpointRow(size, bytes(32), "n", size * 600_000)))
    await journal.maintain(NOW)
    with open_reader(tmp_path) as reader:
        kept = {note.size for index in range(40) if (note := reader.checkpoint_covering(index))}
    assert set(range(30, 41)) <= kept
    assert len(kept) == 11 + 5
    await journal.close()


# --- the disk says no ---


async def test_a_database_that_may_not_grow_is_a_fault_and_the_same_group_fits_later(tmp_path):
    journal = open_journal(tmp_path, SMALL, origin=ORIGIN).journal
    await journal.commit(group(0, 10))
    connection = journal._writer._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}").fetchone()
    late = group(10, 200, envelope=bytes(2000), replay=[("dev-9", b"state")], quarantine=[refused()])
    with pytest.raises(JournalFault):
        await journal.commit(late)
    assert journal.size() == 10
    assert await journal.replay_states(["dev-9"]) == {}
    connection.execute("PRAGMA max_page_count = 1000000").fetchone()
    await journal.commit(late)
    assert journal.size() == 210
    assert len(journal.leaf_hashes(0, 999)) == 210
    await journal.close()


@pytest.fixture
def tiny_disk(tmp_path):
    mount, umount = shutil.which("mount"), shutil.which("umount")
    where = tmp_path / "tiny"
    where.mkdir()
    if mount is None or umount is None or os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(where)], check=False)
    if done.returncode:
        pytest.skip("this machine does not let us mount a tmpfs")
    yield Path(where)
    subprocess.run([umount, str(where)], check=True)


async def test_a_disk_that_is_full_is_a_fault_and_the_same_group_fits_later(tiny_disk):
    journal = open_journal(tiny_disk / "data", SMALL, origin=ORIGIN).journal
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(bytes(1 << 20))
    first = await fill_up(journal, error=JournalFault, size=2000)
    assert journal.size() == first > 0
    with pytest.raises(JournalFault):
        await journal.commit(group(first, 64, envelope=os.urandom(2000)))
    ballast.unlink()
    await journal.commit(group(first, 64, envelope=os.urandom(2000)))
    await journal.close()
    again = open_journal(tiny_disk / "data", SMALL, origin=ORIGIN)
    assert again.journal.size() == first + 64
    assert again.set_aside is None
    assert root_at(again.journal, first + 64) == root_hash(leaf_hash(entry(index)) for index in range(first + 64))
    await again.journal.close()


@pytest.mark.parametrize("ballast_kib", [200, 500, 800, 1100])
async def test_a_disk_that_fills_while_a_database_is_repaired_costs_nothing(tiny_disk, ballast_kib):
    directory = tiny_disk / "data"
    database, ballast = directory / "journal.db", tiny_disk / "ballast"
    journal = open_journal(directory, SMALL, origin=ORIGIN).journal
    state = ReplayWindow.lost().to_bytes()
    await journal.commit(group(0, 200, envelope=os.urandom(2000), replay=[("dev-1", state)]))
    await journal.close()
    with database.open("r+b") as file:
        file.seek(database.read_bytes().find(entry(100)) // 4096 * 4096)
        file.write(b"\x7f" * 4096)
    ballast.write_bytes(bytes(ballast_kib << 10))
    with pytest.raises(JournalFault):
        open_journal(directory, SMALL, origin=ORIGIN)
    ballast.unlink()
    opened = open_journal(directory, SMALL, origin=ORIGIN)
    assert opened.reason == "corrupt"
    assert sum(gap.end - gap.start for gap in opened.lost) < 10
    assert await opened.journal.replay_states(["dev-1"]) == {"dev-1": state}
    await opened.journal.close()
