"""The registrar's transactions while messages flow: out from the newest block on, in when it is final."""

from __future__ import annotations

import asyncio
import random

import pytest
from support.custody import custody_gateway, until
from support.custody_check import status_where
from support.fleet import Fleet, devices
from support.mosquitto import ACCOUNTS

from gateway.message import RejectReason

RATE = 100.0
DEPTH = 20
"""Blocks that make one final here; each transaction has a block of its own, and only ``mine`` makes more."""

pytestmark = [pytest.mark.slow, pytest.mark.broker, pytest.mark.timeout(180)]


@pytest.fixture
async def gateway(world, broker, tmp_path, records):
    made = custody_gateway(
        world,
        tmp_path / "gateway",
        broker.port,
        records,
        chain={"confirmations": DEPTH, "poll_s": 0.1},
        anchor={"interval_s": 3600.0},
    )
    world.fund()
    world.register_devices(records)
    world.register_miner(made)
    world.mine(DEPTH)
    made.start()
    await made.ready()
    yield made
    made.end()


def heard(fleet: Fleet, device_id: str) -> list[bool]:
    """Of each message of a device, in order, whether it was accepted: a refusal before step 4 is silent."""
    return [bool(each.receipts) for each in fleet.messages if each.device_id == device_id]


def refused(reason: RejectReason, count: int = 1):
    return lambda status: status["rejected"].get(reason, 0) >= count


async def for_a_while(fleet: Fleet, seconds: float = 2.0) -> None:
    """Let messages flow."""
    before = fleet.receipts
    await asyncio.sleep(seconds)
    assert fleet.receipts > before, "intake stands still"


async def test_a_revocation_takes_effect_with_its_block_before_that_is_final(world, gateway, fleet, records):
    revoked = records[0].device_id
    async with fleet.publishing(RATE):
        await until(lambda: sum(heard(fleet, revoked)) >= 5)
        world.chain.revoke(revoked)
        block = world.web3.eth.block_number
        status = await status_where(gateway, refused(RejectReason.DEVICE_REVOKED), 5)
        registry = status["chain"]["registry"]
        assert registry["final_block"] < block <= registry["head_block"]
        assert registry["head_suspensions"] == 1
        told = sum(heard(fleet, revoked))
        await for_a_while(fleet)
        world.mine(DEPTH)
        status = await status_where(gateway, lambda status: status["chain"]["registry"]["final_block"] >= block)
        assert status["registry"]["revoked"] == 1
        await for_a_while(fleet)
        assert sum(heard(fleet, revoked)) == told, "it was heard after its revocation took effect"
    await until(lambda: all(all(heard(fleet, each.device_id)) for each in records[1:]))
    answers = heard(fleet, revoked)
    assert answers == [True] * told + [False] * (len(answers) - told), "it was refused and then heard again"
    assert (await gateway.status())["chain"]["registry"]["head_suspensions"] == 0
    assert await gateway.stop() == 0


async def test_a_device_that_is_reinstated_waits_until_that_is_final(world, gateway, fleet, records):
    device = records[2].device_id
    async with fleet.publishing(RATE):
        await until(lambda: sum(heard(fleet, device)) >= 5)
        world.chain.suspend(device)
        await status_where(gateway, refused(RejectReason.DEVICE_SUSPENDED), 5)
        world.mine(DEPTH)
        told = sum(heard(fleet, device))
        world.chain.reinstate(device)
        block = world.web3.eth.block_number
        await status_where(gateway, lambda status: status["chain"]["registry"]["head_block"] >= block)
        await for_a_while(fleet)
        assert sum(heard(fleet, device)) == told, "it was reinstated before that was final"
        world.mine(DEPTH)
        await until(lambda: sum(heard(fleet, device)) > told, 5)
    assert await fleet.drain(60) == 0, "what it sent meanwhile is accepted when it is sent again"
    assert await gateway.stop() == 0


async def test_a_new_device_is_heard_when_its_registration_is_final(world, broker, gateway, records):
    known = {record.device_id for record in records}
    newcomers = [record for record in devices(len(records) + 2) if record.device_id not in known]
    fleet = Fleet(newcomers, random.Random(1), broker.port, ACCOUNTS["bench"], patience_s=1.0)
    try:
        async with fleet.publishing(10.0):
            await status_where(gateway, refused(RejectReason.DEVICE_UNKNOWN, 5))
            world.register_devices(newcomers)
            block = world.web3.eth.block_number
            await status_where(gateway, lambda status: status["chain"]["registry"]["head_block"] >= block)
            await asyncio.sleep(1)
            assert (await gateway.status())["chain"]["registry"]["final_block"] < block
            assert fleet.receipts == 0, "it was heard before its registration was final"
            world.mine(DEPTH)
            await until(lambda: fleet.receipts > 0, 5)
        assert await fleet.drain(60) == 0, "what was sent before is accepted when it is sent again"
        assert await gateway.stop() == 0
    finally:
        await fleet.close()
