"""``kill -9`` under confirmable CoAP posts: what was answered 2.04 is in the log, at the place the answer names."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Sequence

import pytest
from kill_check import assert_every_promise_is_kept, summary
from kill_world import UNLIMITED, duplicates_of
from support.fleet import Author, Sent, coap_format, devices
from support.gateway import Gateway
from support.mosquitto import free_port

from firmware_sim.coap_link import CoapAddress, CoapLink
from firmware_sim.keys import FleetKeys, registry_lines

KILLS = 6
POSTERS = 12
CHANGED = "2.04"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Posters:
    """Each posts one message after the other, and the same again until it is answered 2.04."""

    def __init__(self, author: Author, links: Sequence[CoapLink]) -> None:
        self._author = author
        self._links = links
        self.stopping = False
        self.answers: dict[str, int] = {}

    async def run(self) -> None:
        """Post until ``stopping``, and then only until the last answers are there."""
        async with asyncio.TaskGroup() as posters:
            for link in self._links:
                posters.create_task(self._post_all(link))

    async def _post_all(self, link: CoapLink) -> None:
        while not self.stopping:
            message = self._author.write()
            while not message.receipts:
                await self._post(link, message)
            if len(self._author.messages) % 50 == 0:
                await self._post(link, message)

    async def _post(self, link: CoapLink, message: Sent) -> None:
        message.times_sent += 1
        try:
            reply = await asyncio.wait_for(link.post(message.envelope, coap_format(message)), 8)
        except (TimeoutError, OSError):
            return
        self.answers[reply.code_text] = self.answers.get(reply.code_text, 0) + 1
        if reply.code_text == CHANGED:
            message.receipts[reply.payload] = message.receipts.get(reply.payload, 0) + 1
        else:
            await asyncio.sleep(0.2)


async def test_what_was_answered_over_coap_survives_every_kill(tmp_path):
    rng = random.Random(4)
    records = devices(30)
    port = free_port(socket.SOCK_DGRAM)
    gateway = Gateway(
        tmp_path / "gateway",
        registry_lines(FleetKeys(Gateway.fleet, records)),
        {"coap": {"host": "127.0.0.1", "port": port}, "limits": UNLIMITED, "log": {"checkpoint_interval_s": 0.5}},
    )
    author = Author(records, rng)
    links = [await CoapLink.open(CoapAddress("127.0.0.1", port)) for _ in range(POSTERS)]
    posters = Posters(author, links)
    redelivered = 0
    try:
        gateway.start()
        await gateway.ready()
        started_s = time.monotonic()
        posting = asyncio.create_task(posters.run())
        for _ in range(KILLS):
            await asyncio.sleep(rng.uniform(0.5, 3.0))
            redelivered += duplicates_of(await gateway.status())
            await asyncio.sleep(rng.uniform(0.0, 0.02))
            await gateway.kill()
            gateway.start()
            await gateway.ready()
        await asyncio.sleep(2.5)  # the posters' retransmissions find the new process
        posted_s = time.monotonic() - started_s
        posters.stopping = True
        await asyncio.wait_for(posting, 90)
        redelivered += duplicates_of(await gateway.status())
        assert await gateway.stop() == 0
    finally:
        for link in links:
            link.close()
        gateway.end()
    size = await assert_every_promise_is_kept(gateway, author.messages, rng)
    line = summary(
        author.messages,
        posted_s,
        kills=KILLS,
        log_size=size,
        answers=posters.answers,
        duplicates_refused=redelivered,
    )
    print(line)
    assert set(posters.answers) <= {CHANGED, "5.03"}, line
    assert posters.answers[CHANGED] > 500, "the load was too small to prove anything"
