"""Hostile sources: what one costs has a bound and a name, and the next source serves."""

import asyncio
import time
import tracemalloc

import pytest
from ipfs_kit import BLOCKS, DATA, ROOT, SMALL, Scripted, faults, fetched, opened
from support import ipfs_gateway
from support.ipfs_gateway import IpfsGateway, only

from gateway.vault.ipfs import FetchTimes
from gateway.vault.ipfs_sources import GatewaySource, KuboSource
from gateway.vault.source import SourceFailure
from gateway.vault.unixfs_builder import add_file

HOSTILE = {
    "another block": (ipfs_gateway.wrong_block, SourceFailure.WRONG_BLOCK),
    "bytes without end": (ipfs_gateway.endless, None),
    "a slow drip": (ipfs_gateway.drip, SourceFailure.TIMED_OUT),
    "silence": (ipfs_gateway.silence, SourceFailure.TIMED_OUT),
    "a redirect": (ipfs_gateway.redirect, SourceFailure.REDIRECT),
    "a gzip bomb": (ipfs_gateway.gzip_bomb, SourceFailure.ENCODED),
    "a page for people": (ipfs_gateway.page, SourceFailure.CONTENT_TYPE),
    "an error": (ipfs_gateway.broken, SourceFailure.STATUS),
    "a hang-up": (ipfs_gateway.hang_up, SourceFailure.UNREACHABLE),
}


@pytest.mark.parametrize("streams", [False, True], ids=["raw", "car"])
@pytest.mark.parametrize(("fault", "failure"), HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_gateway_is_named_and_the_next_source_serves(fault, failure, streams):
    root, blocks = (ROOT, BLOCKS) if streams else add_file([SMALL])
    async with IpfsGateway(blocks) as gateway:
        gateway.fault = fault
        honest = Scripted(blocks)
        begun = time.monotonic()
        async with opened(GatewaySource(gateway.url), honest) as sources:
            assert await fetched(root, sources) == (DATA if streams else SMALL)
            bad, good = sources.health()
        assert time.monotonic() - begun < 3
    named = failure or (SourceFailure.CAR if streams else SourceFailure.TOO_LARGE)
    assert f"({named})" in bad.fault
    assert bad.fault.startswith(f"gateway {gateway.url}: ")
    assert bad.fault.isprintable()
    assert good.fault == ""


@pytest.mark.parametrize(
    ("fault", "failure"),
    [pair for name, pair in HOSTILE.items() if name != "a page for people"],
    ids=[name for name in HOSTILE if name != "a page for people"],
)
async def test_a_hostile_node_is_named(fault, failure):
    root, blocks = add_file([SMALL])
    async with IpfsGateway(blocks) as node:
        async with opened(KuboSource(node.url)) as sources:
            assert await fetched(root, sources) == SMALL
        assert node.asked == [("rpc", root)]
        assert await faults(ROOT, KuboSource(node.url)) == [SourceFailure.ABSENT]
        node.fault = fault
        assert await faults(root, KuboSource(node.url)) == [failure or SourceFailure.TOO_LARGE]


async def test_a_stream_of_blocks_that_no_file_has_is_left_at_once():
    async with IpfsGateway(BLOCKS) as gateway:
        gateway.fault = only("car", ipfs_gateway.foreign_blocks)
        assert await faults(ROOT, GatewaySource(gateway.url)) == [SourceFailure.CAR]
        assert gateway.sent < 8 << 20


@pytest.mark.parametrize("fault", [ipfs_gateway.endless, ipfs_gateway.gzip_bomb])
async def test_a_flood_costs_the_memory_of_a_block_or_two(fault):
    root, blocks = add_file([SMALL])
    async with IpfsGateway(blocks) as gateway:
        gateway.fault = fault
        await faults(root, GatewaySource(gateway.url))
        tracemalloc.start()
        await faults(root, GatewaySource(gateway.url))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 12 << 20


async def test_a_source_that_is_slow_for_every_block_cannot_use_up_the_time_of_the_others():
    async def slowly(cid):
        await asyncio.sleep(0.2)
        return slow.blocks[cid]

    slow = Scripted(BLOCKS, label="slow")
    slow.act = slowly
    begun = time.monotonic()
    async with opened(slow, Scripted(BLOCKS), times=FetchTimes(block_s=0.4, file_s=1.0)) as sources:
        assert await fetched(ROOT, sources) == DATA
        assert "its time for this file is up" in sources.health()[0].fault
    assert time.monotonic() - begun < 1.5
    assert len(slow.asked) <= 3
