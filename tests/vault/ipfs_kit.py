"""Files of small blocks, sources in memory, and a fetch in one call."""

import time
from contextlib import aclosing, asynccontextmanager

import pytest

from gateway.vault.ipfs import FetchTimes, NotFetched, Sources, fetch_file
from gateway.vault.source import SourceFailure, SourceFault
from gateway.vault.unixfs import FileLimits
from gateway.vault.unixfs_builder import FileBuilder

TIMES = FetchTimes(block_s=0.4, file_s=1.5)
DATA = bytes(range(256)) * 3000
SMALL = b"a small file"


def small_blocks(data=DATA, chunk=50_000):
    builder = FileBuilder(chunk, 4)
    blocks = [*builder.feed(data), *builder.finish()]
    return blocks[-1].cid, blocks


ROOT, BLOCKS = small_blocks()


class Scripted:
    """A source in memory: gives what it has, or does what it is told."""

    def __init__(self, blocks=(), act=None, label="scripted"):
        self.blocks = {block.cid: block.data for block in blocks}
        self.act = act
        self.label = label
        self.asked = []
        self.closed = 0

    async def get(self, cid):
        self.asked.append(cid)
        if self.act is not None:
            return await self.act(cid)
        if cid not in self.blocks:
            raise SourceFault(SourceFailure.ABSENT, self.label, "not here")
        return self.blocks[cid]

    def for_file(self, root):
        return self

    async def close(self):
        self.closed += 1


class Clock:
    def __init__(self):
        self.ahead_s = 0.0

    def __call__(self):
        return time.monotonic() + self.ahead_s


@asynccontextmanager
async def opened(*sources, store=None, times=TIMES, clock=time.monotonic):
    every = Sources(sources, store=store, times=times, monotonic_s=clock)
    try:
        yield every
    finally:
        await every.close()


async def fetched(root, sources, limits=None):
    async with aclosing(fetch_file(root, sources, limits or FileLimits(file_bytes=1 << 30))) as parts:
        return b"".join([part async for part in parts])


async def faults(root, *sources, times=TIMES):
    async with opened(*sources, times=times) as every:
        with pytest.raises(NotFetched) as caught:
            await fetched(root, every)
    return [fault.failure for fault in caught.value.faults]
