"""``kill -9`` of a gateway that anchors: every promise is kept, and the chain has each anchor once."""

from __future__ import annotations

import asyncio
import random

import pytest
from kill_check import assert_every_promise_is_kept, summary
from support.anvil import Anvil
from support.custody import CustodyWorld, custody_gateway
from support.custody_check import anchored_to_the_end, assert_proven_on_the_chain, assert_the_chain_agrees
from support.fleet import Fleet, devices
from support.mosquitto import ACCOUNTS, Mosquitto

KILLS_AT_WORK = 12
KILLS_AT_START = 4
RATE = 300.0
BLOCK_S = 1

pytestmark = [pytest.mark.slow, pytest.mark.broker, pytest.mark.timeout(420)]


async def test_a_gateway_that_is_killed_while_it_anchors_anchors_everything_once(tmp_path):
    rng = random.Random(12)
    records = devices(40)
    broker = Mosquitto(tmp_path / "broker").start()
    fleet = Fleet(records, rng, broker.port, ACCOUNTS["bench"])
    starts = [False] * KILLS_AT_WORK + [True] * KILLS_AT_START
    rng.shuffle(starts)
    with Anvil() as anvil:
        world = CustodyWorld(anvil, tmp_path / "keys")
        gateway = custody_gateway(world, tmp_path / "gateway", broker.port, records)
        world.fund()
        world.register_devices(records)
        world.register_miner(gateway)
        world.block_every(BLOCK_S)
        under_way = 0
        try:
            async with fleet.publishing(RATE):
                for while_starting in starts:
                    gateway.start()
                    if while_starting:
                        await asyncio.sleep(rng.uniform(0.0, 2.5))
                    else:
                        await gateway.ready(60)
                        await asyncio.sleep(rng.uniform(0.0, 3.0))
                    await gateway.kill()
                    if not while_starting:
                        with gateway.reader() as reader:
                            under_way += bool(reader.open_anchors())
                gateway.start()
                await gateway.ready(60)
            unanswered = await fleet.drain(90)
            await anchored_to_the_end(gateway)
            assert await gateway.stop() == 0
            await fleet.close()
        finally:
            gateway.end()
            broker.stop()
        size = await assert_every_promise_is_kept(gateway, fleet.messages, rng)
        anchors = assert_the_chain_agrees(world, gateway)
        with gateway.reader() as reader:
            last = max(reader.find(*message.identity) or 0 for message in fleet.messages)
            counts = reader.anchor_counts()
        assert anchors[-1].size > last, "the last anchor does not cover the log"
        await assert_proven_on_the_chain(world, gateway, rng.randrange(last))
    line = summary(
        fleet.messages,
        fleet.published_s,
        kills=len(starts),
        killed_with_an_anchor_under_way=under_way,
        log_size=size,
        anchors=len(anchors),
        outbox=counts,
    )
    print(line)
    assert not unanswered, line
    assert not fleet.strays, fleet.strays[:3]
    assert under_way >= 3, f"too few kills met an anchor under way: {line}"
    assert len(anchors) >= 6, line
    assert len(fleet.messages) / fleet.published_s >= 0.8 * RATE, "the load was too small to prove anything"
