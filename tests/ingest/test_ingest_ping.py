"""What the watchdog asks of ingest and journal."""

import asyncio

import pytest
from ingest_world import World

from gateway.journal import JournalFault


class Store:
    """The real journal, but for commits that wait, or fail, while a test wants it."""

    def __init__(self, journal):
        self._journal = journal
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.fault = None

    def __getattr__(self, name):
        return getattr(self._journal, name)

    async def commit(self, group):
        if self.fault is not None:
            raise self.fault
        await self.goes_on.wait()
        await self._journal.commit(group)


@pytest.fixture
def stalling(tmp_path, lamp):
    world = World(tmp_path / "data", [lamp])
    world.store_wrapper = lambda journal: setattr(world, "store", Store(journal)) or world.store
    return world


async def test_an_idle_gateway_answers_and_so_does_its_journal(world):
    async with world.running(), asyncio.timeout(10):
        for _ in range(3):
            await world.ingest.ping()
            await world.journal.ping()


async def test_a_commit_that_hangs_keeps_the_answer_back_until_it_is_through(stalling, lamp):
    async with stalling.running():
        async with asyncio.timeout(10):
            await stalling.ingest.ping()
        stalling.store.goes_on.clear()
        sent = stalling.offer(lamp.message(1))
        await asyncio.sleep(0.2)  # it is on its way, and the question behind it
        asked = asyncio.create_task(stalling.ingest.ping())
        await asyncio.sleep(1.5)
        assert not asked.done()
        stalling.store.goes_on.set()
        async with asyncio.timeout(10):
            await asked
            await sent


async def test_a_journal_that_refuses_is_no_hanging_one(stalling, lamp):
    async with stalling.running():
        async with asyncio.timeout(10):
            await stalling.ingest.ping()
            stalling.store.fault = JournalFault("the disk is read-only")
            sent = stalling.offer(lamp.message(1))
            for _ in range(3):
                await stalling.ingest.ping()
            stalling.store.fault = None
            await sent
            await stalling.ingest.ping()


async def test_many_messages_and_many_questions_do_not_stand_in_each_others_way(world, lamp):
    async with world.running(), asyncio.timeout(20):
        answers = [world.offer(lamp.message(seq)) for seq in range(1, 400)]
        await asyncio.gather(*(world.ingest.ping() for _ in range(50)), *answers)
        assert world.ingest.counters.accepted == 399
