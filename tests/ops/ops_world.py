"""A whole gateway inside the test's own process, with devices that sign, and its HTTP server in front."""

import asyncio
import contextlib
import json
import random
import socket
from pathlib import Path

from aiohttp import ClientSession
from support.fleet import Author
from support.gateway import Gateway as Files

from firmware_sim.keys import generate, registry_lines
from gateway.app import Gateway, open_parts
from gateway.config.load import load_config
from gateway.config.model import HttpConfig
from gateway.message import RawMessage
from gateway.ops.http.server import HttpServer


class World:
    """A gateway made of its real parts. ``running`` starts it; without that it stands as after its start."""

    def __init__(self, folder: Path, *, devices=4, sections=None):
        fleet = generate(Files.fleet, devices, (), 0, b"ops")
        self.folder = folder
        self.files = Files(
            folder, registry_lines(fleet), sections or {"coap": {"host": "127.0.0.1", "port": free_port()}}
        )
        self.author = Author(fleet.devices, random.Random(7))
        self.gateway = Gateway(load_config(self.files.config), open_parts(load_config(self.files.config)))
        self.outcomes = []

    @contextlib.asynccontextmanager
    async def running(self):
        task = asyncio.create_task(self.gateway.run())
        try:
            yield self
        finally:
            self.gateway._stopping.set()
            await task

    @contextlib.asynccontextmanager
    async def serving(self, config=None, **means):
        """The HTTP server on a free port, and a client whose requests begin with its address."""
        server = HttpServer(config or HttpConfig(port=0), self.gateway, **means)
        task = asyncio.create_task(server.run())
        await until(lambda: server.status().state == "up")
        try:
            async with ClientSession(server.status().address) as client:
                yield server, client
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def send(self, count, *, spoil=False):
        """Hand in messages of the fleet, and wait for what becomes of them."""
        wanted = len(self.outcomes) + count
        for _ in range(count):
            sent = self.author.write()
            payload = spoilt(sent) if spoil else sent.envelope
            received_ms = self.gateway._clock.wall_ms()
            raw = RawMessage(
                payload, "mqtt", sent.device_id, received_ms, self.outcomes.append, Files.fleet, sent.device_id
            )
            assert self.gateway._intake.offer(raw)
        await until(lambda: len(self.outcomes) >= wanted)


def spoilt(sent):
    """The message with another signature, well-formed still."""
    if sent.encoding == "cose":
        return sent.envelope[:-1] + bytes([sent.envelope[-1] ^ 1])
    at = sent.envelope.rindex(b'"signature":"') + 20
    return sent.envelope[:at] + (b"A" if sent.envelope[at : at + 1] != b"A" else b"B") + sent.envelope[at + 1 :]


def free_port():
    """A UDP port that nobody has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def until(told, within_s=10.0):
    """Wait until it is so."""
    async with asyncio.timeout(within_s):
        while not told():
            await asyncio.sleep(0.005)


async def json_of(client, path, **how):
    """Status code and JSON of an answer."""
    async with client.get(path, **how) as answer:
        return answer.status, json.loads(await answer.text())
