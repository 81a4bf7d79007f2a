import asyncio
import os
import stat

import pytest
from journal_kit import ORIGIN, SMALL, entries, entry, group, message, refused

from gateway.journal import (
    CheckpointRow,
    EntryRow,
    Group,
    IdentityTaken,
    JournalBusy,
    Known,
    QuarantineRow,
    TileRow,
    open_journal,
    open_reader,
)
from gateway.tlog.merkle import leaf_hash


@pytest.fixture
async def journal(tmp_path):
    opened = open_journal(tmp_path / "data", SMALL, origin=ORIGIN)
    yield opened.journal
    await opened.journal.close()


async def test_a_group_is_there_after_its_commit_in_every_part(journal, tmp_path):
    note = CheckpointRow(3, b"r" * 32, "a signed note", 9_000)
    await journal.commit(
        group(
            0,
            3,
            replay=[("dev-0", b"state 0"), ("dev-1", b"state 1"), ("dev-0", b"state 0 again")],
            quarantine=[refused(b"junk 1"), refused(b"junk 2")],
            tiles=[TileRow(1, 7, b"t" * 8192)],
            checkpoint=note,
        )
    )
    assert journal.size() == 3
    assert await journal.replay_states(["dev-0", "dev-1", "dev-2"]) == {
        "dev-0": b"state 0 again",
        "dev-1": b"state 1",
    }
    assert journal.tile(1, 7) == b"t" * 8192
    assert journal.tile(1, 8) is None
    assert journal.leaf_hashes(1, 9) == [leaf_hash(entry(1)), leaf_hash(entry(2))]
    with open_reader(tmp_path / "data") as reader:
        assert list(reader.entries(0, 100)) == entries(0, 3)
        assert reader.entry(1) == entry(1)
        assert reader.message(2) == message(2)
        assert reader.envelope(2) == b"envelope"
        assert reader.envelope(3) is None
        assert reader.find("dev-1", b"session!", 1) == 1
        assert reader.find("dev-1", b"session!", 2) is None
        assert [found.row.payload for found in reader.quarantine()] == [b"junk 1", b"junk 2"]
        assert reader.quarantine_counts() == {"bad-signature": 2}
        assert reader.latest_checkpoint() == note
        assert reader.checkpoint_covering(2) == note
        assert reader.checkpoint_covering(3) is None
        stats = reader.stats()
        assert (stats.log_size, stats.messages, stats.devices, stats.quarantined) == (3, 3, 2, 2)
        assert stats.usage.file_bytes > 0


async def test_an_entry_that_is_no_message_has_no_envelope(journal, tmp_path):
    await journal.commit(Group([EntryRow(0, b"a summary")]))
    with open_reader(tmp_path / "data") as reader:
        assert reader.entry(0) == b"a summary"
        assert reader.message(0) is None


async def test_a_lookup_gives_the_entry_and_the_first_receipts_signature(journal):
    await journal.commit(group(0, 600))
    asked = [(f"dev-{index % 7}", b"session!", index) for index in range(700)]
    found = await journal.lookup(asked)
    assert found == {asked[index]: Known(index, entry(index), b"s" * 64) for index in range(600)}


async def test_a_lookup_of_nothing_asks_nothing(journal):
    assert await journal.lookup([]) == {}
    assert await journal.replay_states([]) == {}


@pytest.mark.parametrize("count", [1, 5, 255, 256, 257, 3601, 4096])
async def test_groups_of_every_size_are_stored_whole(journal, count):
    await journal.commit(group(0, count, replay=[(f"d{n}", b"%d" % n) for n in range(count)]))
    assert journal.size() == count
    assert len(journal.leaf_hashes(0, count)) == count
    assert await journal.replay_states([f"d{count - 1}"]) == {f"d{count - 1}": b"%d" % (count - 1)}


@pytest.mark.parametrize("count", [10, 4000])
async def test_an_identity_that_is_there_refuses_the_whole_group(journal, count, tmp_path):
    await journal.commit(group(0, 10))
    again = message(3)._replace(index=10 + count - 1)
    bad = Group(entries(10, count), [again], replay=[("dev-9", b"x")], quarantine=[refused()])
    with pytest.raises(IdentityTaken):
        await journal.commit(bad)
    assert journal.size() == 10
    assert await journal.replay_states(["dev-9"]) == {}
    with open_reader(tmp_path / "data") as reader:
        assert len(list(reader.entries(0, 100_000))) == 10
        assert reader.quarantine() == []
    await journal.commit(group(10, 5))


async def test_entries_that_do_not_continue_the_log_are_a_fault_of_the_caller(journal):
    await journal.commit(group(0, 2))
    for wrong in (group(1, 1), group(3, 1), Group([*entries(2, 1), *entries(4, 1)])):
        with pytest.raises(ValueError, match="does not continue"):
            await journal.commit(wrong)
    with pytest.raises(ValueError, match="has no entry"):
        await journal.commit(Group(entries(2, 1), [message(3)]))
    assert journal.size() == 2


async def test_the_quarantine_drops_its_oldest_first_and_stays_within_its_bytes(journal, tmp_path):
    for number in range(40):
        await journal.commit(Group(quarantine=[refused(b"%04d" % number + bytes(4000))] * 2))
    with open_reader(tmp_path / "data") as reader:
        kept = reader.quarantine()
        numbers = [int(found.row.payload[:4]) for found in kept]
        assert numbers == sorted(numbers)
        assert numbers[-1] == 39
        assert 48_000 < sum(len(found.row.payload) for found in kept) <= 64 << 10
        assert reader.quarantined(kept[3].id) == kept[3]
        assert reader.quarantined(1) is None
        assert reader.quarantine(after=kept[-3].id) == kept[-2:]


async def test_a_refused_message_beyond_a_quarter_of_the_quarantine_is_cut_and_says_so(journal, tmp_path):
    await journal.commit(Group(quarantine=[refused(b"x" * 100_000, "too-large", "as told")]))
    with open_reader(tmp_path / "data") as reader:
        (found,) = reader.quarantine()
    assert found.row.payload == b"x" * (16 << 10)
    assert found.row.detail == "as told (the first 16384 of 100000 bytes are kept)"


async def test_what_quarantine_rows_say_comes_back_as_it_was(journal, tmp_path):
    row = QuarantineRow(1, "malformed", "coap", "[::1]:5683", None, "no tag", b"\x00\xff")
    await journal.commit(Group(quarantine=[row]))
    with open_reader(tmp_path / "data") as reader:
        assert reader.quarantine()[0].row == row


async def test_files_are_for_the_gateway_alone(journal, tmp_path):
    await journal.commit(group(0, 1))
    old = os.umask(0)
    os.umask(old)
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()}
    assert set(modes.values()) == {0o600}, modes
    assert {"journal.db", "journal.db-wal", "journal.leaves"} <= set(modes)


@pytest.mark.usefixtures("journal")
async def test_a_second_gateway_on_the_same_directory_is_told_so(tmp_path):
    with pytest.raises(JournalBusy):
        open_journal(tmp_path / "data", SMALL, origin=ORIGIN)


async def test_a_reader_needs_a_journal(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_reader(tmp_path)


async def test_everything_is_there_after_a_restart(tmp_path):
    opened = open_journal(tmp_path, SMALL, origin=ORIGIN)
    assert opened[1:] == (None, None, None, (), None, False)
    await opened.journal.commit(group(0, 300, replay=[("dev-1", b"state")], quarantine=[refused()]))
    await opened.journal.close()
    again = open_journal(tmp_path, SMALL, origin=ORIGIN)
    assert again[1:] == (None, None, None, (), None, False)
    assert again.journal.size() == 300
    assert await again.journal.replay_states(["dev-1"]) == {"dev-1": b"state"}
    assert again.journal.tile(0, 0) == b"".join(leaf_hash(entry(index)) for index in range(256))
    await again.journal.commit(group(300, 1, quarantine=[refused()]))
    await again.journal.close()
    with open_reader(tmp_path) as reader:
        assert len(reader.quarantine()) == 2


async def test_a_reader_beside_the_writer_sees_only_whole_groups(journal, tmp_path):
    async def write():
        for first in range(0, 2000, 50):
            await journal.commit(group(first, 50))

    with open_reader(tmp_path / "data") as reader:
        writing = asyncio.create_task(write())
        seen = set()
        while not writing.done():
            seen.add(reader.size())
            await asyncio.sleep(0)
        await writing
        assert all(size % 50 == 0 for size in seen)
        assert reader.size() == 2000
