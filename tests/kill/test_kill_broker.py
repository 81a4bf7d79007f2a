"""``kill -9`` of the broker: the gateway comes back by itself, and what the broker forgot the devices send again."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
from kill_check import assert_every_promise_is_kept, summary
from kill_world import duplicates_of, mqtt_gateway
from support.fleet import Fleet, devices
from support.mosquitto import ACCOUNTS, Mosquitto

KILLS = 6
RATE = 600.0

pytestmark = [pytest.mark.slow, pytest.mark.broker, pytest.mark.timeout(300)]


async def test_a_broker_that_crashes_under_load_costs_nothing_but_time(tmp_path):
    rng = random.Random(6)
    records = devices(60)
    broker = Mosquitto(tmp_path / "broker").start()
    gateway = mqtt_gateway(tmp_path / "gateway", records, {"port": broker.port, "reconnect_max_s": 2})
    fleet = Fleet(records, rng, broker.port, ACCOUNTS["bench"])
    back_s = []
    try:
        gateway.start()
        await gateway.ready()
        async with fleet.publishing(RATE):
            for _ in range(KILLS):
                await asyncio.sleep(rng.uniform(0.5, 3.0))
                await asyncio.to_thread(broker.kill)
                await asyncio.sleep(rng.uniform(0.0, 1.5))
                await asyncio.to_thread(broker.start)
                started_s = time.monotonic()
                status = await gateway.ready(60)
                back_s.append(time.monotonic() - started_s)
        drain_s = time.monotonic()
        unanswered = await fleet.drain(90)
        drain_s = time.monotonic() - drain_s
        status = await gateway.ready()
        assert status["uptime_s"] >= 3, "the gateway was not to be restarted"
        assert await gateway.stop() == 0
        await fleet.close()
    finally:
        gateway.end()
        broker.stop()
    size = await assert_every_promise_is_kept(gateway, fleet.messages, rng)
    line = summary(
        fleet.messages,
        fleet.published_s,
        kills=KILLS,
        log_size=size,
        back_s=[round(each, 2) for each in back_s],
        drained_s=round(drain_s, 1),
        duplicates_refused=duplicates_of(status),
    )
    print(line)
    assert not unanswered, line
    assert not fleet.strays, fleet.strays[:3]
    assert status["transports"]["mqtt"]["counters"]["connects"] >= KILLS + 1, "it did not lose every connection"
    assert any(message.times_sent > 1 for message in fleet.messages), "no message was ever sent again"
