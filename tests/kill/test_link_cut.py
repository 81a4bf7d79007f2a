"""The link to the broker goes silent for half a minute: no RST, no FIN, no packet. Then it comes back."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
from kill_check import assert_every_promise_is_kept, summary
from kill_links import linked, need_namespaces
from kill_world import duplicates_of, mqtt_gateway
from support.fleet import Fleet, devices
from support.mosquitto import ACCOUNTS

CUT_S = 30.0
RATE = 520.0

pytestmark = [pytest.mark.slow, pytest.mark.broker, pytest.mark.timeout(300)]


@pytest.mark.parametrize("kind", ["proxy", "namespace"])
async def test_a_silent_link_is_noticed_given_up_and_made_anew(tmp_path, kind):
    if kind == "namespace":
        need_namespaces()
    rng = random.Random(30)
    records = devices(60)
    async with linked(kind, tmp_path / "broker") as link:
        fleet = Fleet(records, rng, link.broker.port, ACCOUNTS["bench"], patience_s=10.0)
        settings = {**link.settings, "keepalive_s": 5, "reconnect_max_s": 2}
        gateway = mqtt_gateway(tmp_path / "gateway", records, settings, prefix=link.prefix)
        try:
            gateway.start()
            await gateway.ready()
            async with fleet.publishing(RATE):
                await asyncio.sleep(3)
                await link.cut()
                before = fleet.receipts
                await asyncio.sleep(CUT_S)
                silent = await gateway.status()
                came_through = fleet.receipts - before
                await link.mend()
                mended_s = time.monotonic()
                await gateway.ready(90)
                up_s = time.monotonic() - mended_s
            unanswered = await fleet.drain(90)
            all_s = time.monotonic() - mended_s
            status = await gateway.ready()
            assert await gateway.stop() == 0
            await fleet.close()
        finally:
            gateway.end()
    size = await assert_every_promise_is_kept(gateway, fleet.messages, rng)
    line = summary(
        fleet.messages,
        fleet.published_s,
        link=kind,
        cut_s=CUT_S,
        up_after_s=round(up_s, 2),
        all_receipts_after_s=round(all_s, 2),
        log_size=size,
        duplicates_refused=duplicates_of(status),
    )
    print(line)
    assert not unanswered, line
    assert not fleet.strays, fleet.strays[:3]
    assert came_through < 2 * RATE, "the link was not cut"
    assert silent is not None, "the gateway went away with its link"
    assert silent["transports"]["mqtt"]["state"] != "up", "the silence was not noticed"
    assert gateway.events("mqtt.down"), "nobody was told"
    assert status["uptime_s"] >= CUT_S, "the gateway was not to be restarted"
