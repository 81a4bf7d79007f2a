"""What may happen while the journal is being asked: a group in flight lands, a window is forgotten."""

import asyncio

from ingest_world import World

from gateway.ingest.windows import WindowCache
from gateway.message import Duplicate


class LandsDuringLookup:
    """A journal that commits nothing more once ``held``, until it is asked for identities: then it commits first."""

    def __init__(self, journal):
        self.journal = journal
        self.may_commit = asyncio.Event()
        self.may_commit.set()
        self.landed = asyncio.Event()

    async def commit(self, group):
        await self.may_commit.wait()
        await self.journal.commit(group)
        self.landed.set()

    async def lookup(self, identities):
        found = await self.journal.lookup(identities)
        self.landed.clear()
        self.may_commit.set()
        await self.landed.wait()
        await asyncio.sleep(0.01)  # the pipeline answers the landed group
        return found

    async def replay_states(self, device_ids):
        return await self.journal.replay_states(device_ids)


async def test_a_group_that_lands_while_its_duplicate_is_looked_up_is_still_its_first(tmp_path, lamp):
    stores = []

    def hold(journal):
        stores.append(LandsDuringLookup(journal))
        return stores[0]

    world = World(tmp_path / "data", [lamp], store=hold)
    async with world.running():
        old, new = lamp.message(1), lamp.message(2)
        first_of_old = await world.send(old)
        stores[0].may_commit.clear()
        first = world.offer(new)
        while world.ledger.size < 2:
            await asyncio.sleep(0.001)
        again, old_again = world.offer(new), world.offer(old)
        assert (await old_again) == Duplicate(first_of_old.receipt)
        assert (await again) == Duplicate((await first).receipt)


def test_a_window_that_a_waiting_batch_counts_on_is_not_forgotten():
    windows = WindowCache(1)
    windows.install(["lamp"], {}, 0)
    assert windows.absent(["lamp"], 20) == []
    windows.install(["pump"], {}, 20)
    windows.forget(20)
    assert windows.absent(["lamp"], 20) == []
