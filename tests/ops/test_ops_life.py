"""The edges of a gateway's life: a fault in its midst, a stop that cannot keep its time."""

import asyncio

import pytest
from ops_world import World, until
from structlog.testing import capture_logs

from gateway.journal import JournalDamaged, JournalFault
from gateway.ops.clock import STRETCH_FILE
from gateway.ops.exitcodes import ExitCode


@pytest.fixture
async def world(tmp_path):
    return World(tmp_path)


async def test_a_fault_within_ingest_is_told_by_its_own_words(world):
    async def damaged(_asked):
        raise JournalDamaged("page 7 is damaged")

    world.gateway._journal.replay_states = damaged
    with capture_logs() as logs:
        running = asyncio.create_task(world.gateway.run())
        sending = asyncio.create_task(world.send(1))
        assert await running is ExitCode.UNAVAILABLE
        sending.cancel()
    assert [each["detail"] for each in logs if each["event"] == "gateway.fault"] == ["page 7 is damaged"]


async def test_a_stretch_whose_end_the_disk_did_not_take_is_remembered(world):
    async def refuses(_group):
        raise JournalFault("the disk takes nothing")

    stretch = world.gateway.config.gateway.data_dir / STRETCH_FILE
    stretch.touch()
    object.__setattr__(world.gateway.config.ingest, "shutdown_s", 0.5)
    world.gateway._journal.commit = refuses
    async with world.running():
        await until(lambda: world.gateway._clock_watch.trusted)
        await asyncio.sleep(0.2)
    assert stretch.exists()
