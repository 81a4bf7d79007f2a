"""``kill -9`` of the gateway, again and again, at moments of no one's choosing: it keeps every promise."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path

import pytest
from kill_check import Broken, assert_every_promise_is_kept, broken_promises, summary
from kill_world import duplicates_of, mqtt_gateway
from support.fleet import Fleet, devices
from support.gateway import SECURENET
from support.mosquitto import ACCOUNTS, Mosquitto

KILLS_AT_WORK = 20
KILLS_AT_START = 4
RATE = 800.0
pytestmark = [pytest.mark.slow, pytest.mark.broker, pytest.mark.timeout(300)]


async def test_twenty_kills_under_load_lose_nothing_and_double_nothing(tmp_path):
    rng = random.Random(20)
    records = devices(60)
    broker = Mosquitto(tmp_path / "broker").start()
    gateway = mqtt_gateway(tmp_path / "gateway", records, {"port": broker.port})
    fleet = Fleet(records, rng, broker.port, ACCOUNTS["bench"])
    starts = [False] * KILLS_AT_WORK + [True] * KILLS_AT_START
    rng.shuffle(starts)
    ready_s = []
    redelivered = 0
    try:
        async with fleet.publishing(RATE):
            for while_starting in starts:
                gateway.start()
                if while_starting:
                    await asyncio.sleep(rng.uniform(0.0, 1.0))
                else:
                    started_s = time.monotonic()
                    await gateway.ready()
                    ready_s.append(time.monotonic() - started_s)
                    await asyncio.sleep(rng.uniform(0.0, 2.5))
                    redelivered += duplicates_of(await gateway.status())
                    await asyncio.sleep(rng.uniform(0.0, 0.02))
                await gateway.kill()
            gateway.start()
            await gateway.ready()
        killed_s = time.monotonic()
        unanswered = await fleet.drain(90)
        drained_s = time.monotonic() - killed_s
        redelivered += duplicates_of(await gateway.status())
        assert await gateway.stop() == 0
        await fleet.close()
    finally:
        gateway.end()
        broker.stop()
    size = await assert_every_promise_is_kept(gateway, fleet.messages, rng)
    line = summary(
        fleet.messages,
        fleet.published_s,
        kills=len(starts),
        log_size=size,
        duplicates_refused=redelivered,
        ready_s=round(sorted(ready_s)[len(ready_s) // 2], 2),
        drained_s=round(drained_s, 1),
    )
    print(line)
    assert not unanswered, line
    assert not fleet.strays, fleet.strays[:3]
    assert len(fleet.messages) / fleet.published_s >= 500, "the load was too small to prove anything"
    assert any(sum(message.receipts.values()) > 1 for message in fleet.messages), "no duplicate was ever answered"


async def test_a_gateway_that_acknowledges_before_the_commit_is_found_out(tmp_path):
    """The same fleet, the same check, a gateway whose journal says "committed" half a second too early."""
    rng = random.Random(2)
    records = devices(20)
    broker = Mosquitto(tmp_path / "broker").start()
    mutant = Path(__file__).with_name("kill_mutant.py")
    gateway = mqtt_gateway(
        tmp_path / "gateway", records, {"port": broker.port}, program=(sys.executable, str(mutant))
    )
    fleet = Fleet(records, rng, broker.port, ACCOUNTS["bench"])
    try:
        async with fleet.publishing(RATE):
            gateway.start()
            await gateway.ready()
            await asyncio.sleep(1.5)
            await gateway.kill()
            gateway.program = SECURENET
            gateway.start()
            await gateway.ready()
        await fleet.drain(30)
        await gateway.stop()
        await fleet.close()
    finally:
        gateway.end()
        broker.stop()
    with gateway.reader() as reader:
        entries = list(reader.entries(0, reader.size()))
    kinds = {each.kind for each in broken_promises(fleet.messages, entries, gateway.log_key, gateway.origin)}
    assert {Broken.LOST, Broken.ELSEWHERE, Broken.OTHER_LEAF} <= kinds
