"""What the status page costs: a search among 100,000 devices, and questions to a log of many entries.

``python tests/benchmarks/page.py [--devices N] [--messages N]`` prints a table; docs/operations/page.md has one.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "page")]

import page_kit  # noqa: E402 -- the path is set above
from aiohttp.test_utils import TestClient, TestServer  # noqa: E402 -- likewise

from gateway.config.model import JournalConfig  # noqa: E402 -- likewise
from gateway.journal import EntryRow, Group, MessageRow, open_journal  # noqa: E402 -- likewise
from gateway.message import Verdict  # noqa: E402 -- likewise
from gateway.tlog.entry import MessageEntry, message_entry  # noqa: E402 -- likewise

ROUNDS = 15


class LargeWorld(page_kit.PageWorld):
    """A registry and a log of a size; the messages are rows without signatures, which the page never looks at."""

    def __init__(self, root, devices, messages):
        self.devices = devices
        super().__init__(root, messages=messages, extra=devices, chain=False)

    async def _fill(self, messages):
        journal = open_journal(self.data_dir, JournalConfig(), origin=page_kit.ORIGIN).journal
        start_ms = page_kit.NOW_MS - messages * 100
        for first in range(0, messages, 5_000):
            entries, rows = [], []
            for index in range(first, min(messages, first + 5_000)):
                device, session = f"meter-{index * 7919 % self.devices:06d}", b"session!"
                verdict = Verdict.ANOMALOUS if index % 5_000 == 0 else Verdict.NORMAL
                entry = MessageEntry(
                    start_ms + index * 100, bytes(32), device, session, index, verdict, bytes(32), 0.25, None
                )
                entries.append(EntryRow(index, message_entry(entry)))
                rows.append(MessageRow(index, device, session, index, bytes(300), bytes(64)))
            await journal.commit(Group(entries, rows))
        await journal.close()


async def measure(world, messages):
    middle = page_kit.NOW_MS - messages * 50
    asked = {
        "devices: first page": "/api/devices",
        "devices: prefix": "/api/devices?q=meter-0421",
        "devices: part of an id": "/api/devices?q=777",
        "devices: part of an id, by status": "/api/devices?q=99&status=suspended",
        "devices: nothing matches": "/api/devices?q=nobody",
        "one device": "/api/device?id=meter-000777",
        "log: newest page": "/api/log",
        "log: of one device": "/api/log?device=meter-000777",
        "log: ten minutes in its middle": f"/api/log?from_ms={middle}&to_ms={middle + 600_000}",
        "log: a rare verdict": "/api/log?verdict=anomalous",
        "log: a kind that is not there": "/api/log?kind=key",
        "status": "/api/status",
    }
    async with TestClient(TestServer(world.app())) as client:
        began = time.perf_counter()
        async with client.get("/api/devices?q=warm") as answer:
            await answer.read()
        print(f"{'the first search, which makes the index':42} {1000 * (time.perf_counter() - began):8.1f} ms")
        for name, path in asked.items():
            taken = []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                async with client.get(path) as answer:
                    if answer.status != 200:
                        raise RuntimeError(await answer.text())
                    await answer.read()
                taken.append(1000 * (time.perf_counter() - began))
            print(f"{name:42} {statistics.median(taken):8.1f} ms median {max(taken):8.1f} ms worst")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--messages", type=int, default=300_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = LargeWorld(Path(folder), given.devices, given.messages)
        print(f"{given.devices} devices, {given.messages} messages")
        asyncio.run(measure(world, given.messages))


if __name__ == "__main__":
    main()
