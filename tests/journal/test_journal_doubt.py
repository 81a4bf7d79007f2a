"""After damage a device's messages are known again, or new; never both: the gateway would end at every start."""

import asyncio
import itertools
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest.ingest_world import Sender, World
from journal_kit import ORIGIN, SMALL, group

from gateway.checks.duplicate import SESSIONS, ReplayWindow, Standing
from gateway.journal import EntryRow, Group, IdentityTaken, MessageRow, open_journal
from gateway.journal.doubt import doubted
from gateway.message import Accepted, Duplicate, Refused, RejectReason

PAGE = 4096
LOST = ReplayWindow.lost().to_bytes()
MESSAGES = 30


# --- one window ---

steps = st.lists(st.tuples(st.integers(0, SESSIONS + 2), st.integers(0, 3000), st.floats(0, 4e9)), max_size=60)


@given(steps, steps)
def test_a_doubted_window_asks_the_journal_and_remembers_what_it_knew(taken, asked):
    window = ReplayWindow()
    for session, seq, issued_at in taken:
        if window.standing(bytes([session] * 8), seq, issued_at) is Standing.FRESH:
            window.accept(bytes([session] * 8), seq, issued_at)
    state = doubted(window.to_bytes())
    assert doubted(state) == state
    after = ReplayWindow.from_bytes(state)
    assert after.has_forgotten
    for session, seq, issued_at in (*taken, *asked):
        identity = (bytes([session] * 8), seq, issued_at)
        assert after.standing(*identity) is window.standing(*identity)


@given(st.binary(max_size=80))
def test_whatever_lies_where_a_window_was_becomes_one_that_asks_the_journal(data):
    assert ReplayWindow.from_bytes(doubted(data)).has_forgotten


# --- one gateway ---


class Plant:
    """A gateway that took messages of some devices and was closed; ``first`` has what each was answered."""

    def __init__(self, folder):
        self.senders = [Sender(f"dev-{number}") for number in range(4)]
        self.world = World(folder, self.senders)
        self.first = {}
        self.unused = itertools.count(100)

    async def take(self, start=0, end=MESSAGES):
        async with self.world.running():
            sent = [(sender, seq, sender.message(seq)) for sender in self.senders for seq in range(start, end)]
            answers = [(sender.name, seq, payload, self.world.offer(payload)) for sender, seq, payload in sent]
            for name, seq, payload, answer in answers:
                outcome = await answer
                assert isinstance(outcome, Accepted)
                self.first[name, seq] = payload, outcome.receipt

    async def redelivered(self, folder):
        """What each is answered when it comes once more, and what its number is when it is signed once more."""
        world = World(folder, self.senders)
        by_name = {sender.name: sender for sender in self.senders}
        async with world.running(), asyncio.timeout(10):
            again = {key: world.offer(payload) for key, (payload, _) in self.first.items()}
            outcomes = {key: await answer for key, answer in again.items()}
            clones = {(name, seq): world.offer(by_name[name].message(seq, payload=b"[]")) for name, seq in self.first}
            signed_twice = {key: await answer for key, answer in clones.items()}
            number = next(self.unused)
            news = await asyncio.gather(*(world.send(sender.message(number)) for sender in self.senders))
            assert all(isinstance(outcome, Accepted) for outcome in news)
        return outcomes, signed_twice

    async def stands(self, folder):
        """Every message is known again by its first receipt, every clone is told, and the gateway lives."""
        outcomes, signed_twice = await self.redelivered(folder)
        assert outcomes == {key: Duplicate(receipt) for key, (_, receipt) in self.first.items()}
        assert {outcome.reason for outcome in signed_twice.values()} == {RejectReason.SEQUENCE_REUSED}


@pytest.fixture
async def plant(tmp_path):
    plant = Plant(tmp_path / "data")
    await plant.take()
    return plant


def page_of(database, table):
    with sqlite3.connect(database) as connection:
        found = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()[0]
    connection.close()
    return found


def overwrite(database, page, data):
    with database.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(data)


def in_sql(database, *statements):
    with sqlite3.connect(database) as connection:
        for statement in statements:
            connection.execute(*statement)
    connection.close()


async def test_with_the_windows_lost_and_the_log_kept_a_message_is_known_again(plant, tmp_path):
    database = tmp_path / "data" / "journal.db"
    overwrite(database, page_of(database, "replay"), b"\x7f" * PAGE)
    await plant.stands(tmp_path / "data")
    assert len(list((tmp_path / "data").glob("set-aside-*"))) == 1
    await plant.redelivered(tmp_path / "data")  # it stays so over a restart
    assert len(list((tmp_path / "data").glob("set-aside-*"))) == 1


async def test_windows_of_an_earlier_day_than_the_log_take_nothing_twice(plant, tmp_path):
    database = tmp_path / "data" / "journal.db"
    connection = sqlite3.connect(database)
    earlier = connection.execute("SELECT state, device_id FROM replay").fetchall()
    connection.close()
    for sender in plant.senders:
        sender.session = b"earlier!"
    await plant.take()
    in_sql(database, *[("UPDATE replay SET state = ? WHERE device_id = ?", row) for row in earlier])
    overwrite(database, page_of(database, "quarantine"), b"\x7f" * PAGE)
    await plant.stands(tmp_path / "data")
    assert len(list((tmp_path / "data").glob("set-aside-*"))) == 1


async def test_a_window_outlives_a_salvage_for_the_messages_whose_entries_do_not(plant, tmp_path):
    database = tmp_path / "data" / "journal.db"
    in_sql(database, ("UPDATE log SET entry = X'00' WHERE device_id = 'dev-1'",))
    outcomes, _ = await plant.redelivered(tmp_path / "data")
    assert list((tmp_path / "data").glob("set-aside-*"))
    for (name, _), outcome in outcomes.items():
        assert isinstance(outcome, Refused if name == "dev-1" else Duplicate)


async def test_a_log_that_was_rolled_back_asks_the_journal_too(plant, tmp_path):
    database = tmp_path / "data" / "journal.db"
    in_sql(
        database,
        ("DELETE FROM log WHERE idx = (SELECT max(idx) FROM log)",),
        ("UPDATE replay SET state = ?", (ReplayWindow().to_bytes(),)),
    )
    del plant.first["dev-3", MESSAGES - 1]
    await plant.stands(tmp_path / "data")
    assert not list((tmp_path / "data").glob("set-aside-*"))


async def test_an_identity_beside_an_entry_is_not_believed_but_the_entrys_own(plant, tmp_path):
    database = tmp_path / "data" / "journal.db"
    in_sql(
        database,
        ("DROP INDEX log_identity",),
        ("UPDATE log SET device_id = 'dev-1', session = X'00', seq = 7, envelope = 5 WHERE device_id IS NOT NULL",),
    )
    overwrite(database, page_of(database, "replay"), b"\x7f" * PAGE)
    await plant.stands(tmp_path / "data")


async def test_damage_that_nobody_saw_ends_the_gateway_once_and_not_at_every_start(plant, tmp_path):
    in_sql(tmp_path / "data" / "journal.db", ("UPDATE replay SET state = ?", (ReplayWindow().to_bytes(),)))
    config = plant.world.config
    journal = open_journal(tmp_path / "data", config.journal, origin=config.origin).journal
    at, sender = journal.size(), plant.senders[2]
    taken = MessageRow(at, sender.name, sender.session, 3, plant.first[sender.name, 3][0], bytes(64))
    with pytest.raises(IdentityTaken):  # what the ingest does with a message that it thinks fresh
        await journal.commit(Group([EntryRow(at, b"entry")], [taken]))
    await journal.close()
    await plant.stands(tmp_path / "data")


async def test_an_identity_that_is_taken_has_every_window_ask_the_journal(tmp_path):
    journal = open_journal(tmp_path, SMALL, origin=ORIGIN).journal
    window = ReplayWindow()
    window.accept(b"session!", 3, 1.0)
    await journal.commit(group(0, 7, replay=[("dev-3", window.to_bytes()), ("dev-9", b"not a window")]))
    known = group(0, 1).messages[0]
    with pytest.raises(IdentityTaken):
        await journal.commit(Group([EntryRow(7, b"x")], [known._replace(index=7)]))
    states = await journal.replay_states(["dev-0", "dev-3", "dev-9"])
    assert states == {"dev-0": LOST, "dev-3": doubted(window.to_bytes()), "dev-9": LOST}
    await journal.close()


# --- any page ---


@pytest.fixture(scope="module")
def closed():
    """A plant that was closed, of which every example damages a copy."""
    with tempfile.TemporaryDirectory() as folder:
        plant = Plant(Path(folder) / "data")
        asyncio.run(plant.take())
        yield plant


harms = st.lists(
    st.tuples(st.integers(0, 10_000), st.sampled_from([b"\0", b"\x7f", b"\xff", b"\x0d"]), st.booleans()),
    min_size=1,
    max_size=6,
)


@settings(max_examples=20)
@given(harms)
def test_whatever_pages_are_damaged_no_message_that_comes_again_ends_the_gateway(closed, harms):
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "data"
        shutil.copytree(closed.world.directory, copy)
        database = copy / "journal.db"
        pages = database.stat().st_size // PAGE
        for number, byte, half in harms:
            overwrite(database, number % pages + 1, byte * (PAGE // 2 if half else PAGE))
        outcomes, signed_twice = asyncio.run(closed.redelivered(copy))
    for key, outcome in outcomes.items():
        assert isinstance(outcome, (Duplicate, Accepted, Refused)), key
    assert all(isinstance(outcome, (Accepted, Refused)) for outcome in signed_twice.values())
