"""Fetching: any source will do, and none is believed."""

import asyncio
import os
from contextlib import aclosing

import pytest
from ipfs_kit import BLOCKS, DATA, ROOT, SMALL, Clock, Scripted, faults, fetched, opened, small_blocks
from structlog.testing import capture_logs
from support import ipfs_gateway
from support.ipfs_gateway import IpfsGateway

from gateway.vault import car
from gateway.vault.blocks import BlockStore
from gateway.vault.cid import Codec, block_of
from gateway.vault.ipfs import FetchTimes, NotFetched, fetch_file
from gateway.vault.ipfs_http import UrlRefused
from gateway.vault.ipfs_sources import CarFile, GatewaySource, KuboSource, StoreSource
from gateway.vault.source import SourceFailure
from gateway.vault.unixfs import FileLimits, FileRefusal, FileRefused
from gateway.vault.unixfs_builder import add_file


async def test_a_file_comes_from_the_store(tmp_path):
    store = BlockStore(tmp_path, 1 << 24)
    for block in BLOCKS:
        store.put(block)
    async with opened(StoreSource(store), store=store) as sources:
        assert await fetched(ROOT, sources) == DATA


async def test_a_file_comes_from_a_car_file_in_any_order(tmp_path):
    path = tmp_path / "bundle.car"
    path.write_bytes(car.header([ROOT]) + b"".join(map(car.section, reversed(BLOCKS))))
    async with opened(CarFile(path)) as sources:
        assert await fetched(ROOT, sources) == DATA
        root, blocks = small_blocks(SMALL)
        path.write_bytes(car.header([root]) + b"".join(map(car.section, blocks)))
        assert await fetched(root, sources) == SMALL


async def test_a_file_comes_from_a_gateway_in_one_stream():
    async with IpfsGateway(BLOCKS) as gateway, opened(GatewaySource(gateway.url)) as sources:
        assert await fetched(ROOT, sources) == DATA
        assert gateway.asked == [("car", ROOT)]


async def test_a_file_of_one_block_comes_as_a_block():
    root, blocks = add_file([SMALL])
    async with IpfsGateway(blocks) as gateway, opened(GatewaySource(gateway.url)) as sources:
        assert await fetched(root, sources) == SMALL
        assert gateway.asked == [("raw", root)]


async def test_a_gateway_without_streams_gives_block_by_block():
    async with IpfsGateway(BLOCKS, streams=False) as gateway, opened(GatewaySource(gateway.url)) as sources:
        assert await fetched(ROOT, sources) == DATA
        assert {kind for kind, _ in gateway.asked[1:]} == {"raw"}


async def test_blocks_that_come_again_are_asked_for_alone_where_the_stream_leaves_them_out(tmp_path):
    data = b"".join([b"a" * 9, b"b" * 9, b"a" * 9, b"a" * 9, b"c" * 9])
    root, blocks = small_blocks(data, 9)
    async with IpfsGateway(blocks, dups=False) as gateway:
        async with opened(GatewaySource(gateway.url)) as sources:
            assert await fetched(root, sources) == data
        assert [kind for kind, _ in gateway.asked] == ["car", "raw"]
        gateway.asked.clear()
        store = BlockStore(tmp_path, 1 << 20)
        async with opened(StoreSource(store), GatewaySource(gateway.url), store=store) as sources:
            assert await fetched(root, sources) == data
        assert [kind for kind, _ in gateway.asked] == ["car"]


@pytest.mark.parametrize("dups", [False, True])
async def test_a_block_that_comes_again_at_once_does_not_hold_up_the_stream(dups):
    data = b"".join([b"a" * 9, b"b" * 27, b"c" * 9, b"d" * 18])
    root, blocks = small_blocks(data, 9)
    async with IpfsGateway(blocks, dups=dups) as gateway, opened(GatewaySource(gateway.url)) as sources:
        assert await fetched(root, sources) == data
        assert gateway.asked == [("car", root)]


async def test_a_block_that_comes_again_at_once_is_asked_for_once():
    root, blocks = small_blocks(bytes(400), 100)
    source = Scripted(blocks)
    async with opened(source) as sources:
        assert await fetched(root, sources) == bytes(400)
    assert len(source.asked) == 2


async def test_a_stream_that_lacks_a_block_is_filled_from_the_next_source():
    missing = BLOCKS[3]
    async with IpfsGateway(block for block in BLOCKS if block != missing) as gateway:
        other = Scripted(BLOCKS)
        async with opened(GatewaySource(gateway.url), other) as sources:
            assert await fetched(ROOT, sources) == DATA
        assert other.asked == [block.cid for block in BLOCKS if block.cid in other.asked]
        assert missing.cid in other.asked


async def test_what_was_fetched_is_kept_and_a_fetch_that_broke_off_goes_on(tmp_path):
    store = BlockStore(tmp_path, 1 << 24)
    have = BLOCKS[-4:]
    async with opened(StoreSource(store), Scripted(have), store=store) as sources:
        with pytest.raises(NotFetched):
            await fetched(ROOT, sources)
    kept = set(store.digests())
    assert kept
    rest = Scripted(BLOCKS)
    async with opened(StoreSource(store), rest, store=store) as sources:
        assert await fetched(ROOT, sources) == DATA
    assert not kept & {cid.digest for cid in rest.asked}
    async with opened(StoreSource(store), store=store) as sources:
        assert await fetched(ROOT, sources) == DATA


async def test_a_store_that_is_full_stops_no_fetch(tmp_path):
    (tmp_path / "file").write_text("")
    store = BlockStore(tmp_path / "file", 1 << 24)
    async with opened(StoreSource(store), Scripted(BLOCKS), store=store) as sources:
        with capture_logs() as logs:
            assert await fetched(ROOT, sources) == DATA
    assert [each["event"] for each in logs].count("vault.store_down") == 1


async def test_a_damaged_block_in_the_store_is_fetched_again(tmp_path):
    store = BlockStore(tmp_path, 1 << 24)
    for block in BLOCKS:
        store.put(block)
    max(tmp_path.iterdir(), key=lambda path: path.stat().st_size).write_bytes(b"damage")
    async with opened(StoreSource(store), Scripted(BLOCKS), store=store) as sources:
        assert await fetched(ROOT, sources) == DATA
    assert store.damaged == 1


async def test_time_that_the_reader_takes_is_not_the_sources():
    async with opened(Scripted(BLOCKS), times=FetchTimes(block_s=0.2, file_s=0.3)) as sources:
        size = 0
        async with aclosing(fetch_file(ROOT, sources, FileLimits(file_bytes=1 << 30))) as parts:
            async for part in parts:
                size += len(part)
                await asyncio.sleep(0.04)
    assert size == len(DATA)


async def test_a_source_that_failed_is_not_asked_again_for_the_file_and_rests_after_it():
    async def lie(cid):
        return b"lie"

    clock = Clock()
    liar = Scripted(act=lie, label="liar")
    async with opened(liar, Scripted(BLOCKS), clock=clock) as sources:
        with capture_logs() as logs:
            assert await fetched(ROOT, sources) == DATA
            assert len(liar.asked) == 1
            await fetched(ROOT, sources)
            assert len(liar.asked) == 1
            clock.ahead_s += 2
            await fetched(ROOT, sources)
            assert len(liar.asked) == 2
            clock.ahead_s += 60
            liar.act, liar.blocks = None, {block.cid: block.data for block in BLOCKS}
            await fetched(ROOT, sources)
        assert sources.health()[0].fault == ""
    assert [(each["event"], each["log_level"]) for each in logs] == [
        ("vault.source_down", "error"),
        ("vault.source_down", "error"),
        ("vault.source_up", "info"),
    ]


async def test_when_all_rest_the_words_say_since_what():
    async def lie(cid):
        return b"lie"

    async with opened(Scripted(act=lie)) as sources:
        for _ in range(2):
            with pytest.raises(NotFetched) as caught:
                await fetched(ROOT, sources)
    assert "rests since: scripted: its 3 bytes are not the block" in str(caught.value)


async def test_a_source_that_lacks_a_block_does_not_rest():
    lacking, other = Scripted(), Scripted(BLOCKS)
    async with opened(lacking, other) as sources:
        await fetched(ROOT, sources)
        await fetched(ROOT, sources)
        assert [health.fault for health in sources.health()] == ["", ""]
    assert lacking.asked == other.asked
    assert (lacking.closed, other.closed) == (1, 1)


async def test_nobody_to_ask_is_told():
    async with opened() as sources:
        with pytest.raises(NotFetched, match=r"none in ipfs\.sources"):
            await fetched(ROOT, sources)


async def test_a_tree_that_hurts_is_refused_whoever_gives_it_and_nobody_rests():
    liar = block_of(Codec.DAG_PB, b"\x0a\x04\x08\x02\x18\x05")
    source = Scripted([liar, *BLOCKS])
    async with opened(source) as sources:
        for root, limits, reason in (
            (liar.cid, None, FileRefusal.SIZES),
            (ROOT, FileLimits(file_bytes=len(DATA) - 1), FileRefusal.TOO_LARGE),
        ):
            with pytest.raises(FileRefused) as caught:
                await fetched(root, sources, limits)
            assert caught.value.reason is reason
        assert sources.health()[0].fault == ""
    assert source.asked == [liar.cid, ROOT]


async def test_leaving_early_ends_the_stream():
    async with IpfsGateway(BLOCKS) as gateway, opened(GatewaySource(gateway.url)) as sources:
        async with aclosing(fetch_file(ROOT, sources, FileLimits(file_bytes=1 << 30))) as parts:
            assert await anext(parts) == DATA[:50_000]
        assert await fetched(ROOT, sources) == DATA


async def test_a_fetch_that_is_cancelled_leaves_no_source_resting():
    async with IpfsGateway(BLOCKS) as gateway, opened(GatewaySource(gateway.url), times=FetchTimes()) as sources:
        gateway.fault = ipfs_gateway.silence
        task = asyncio.create_task(fetched(ROOT, sources))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gateway.fault = None
        assert await fetched(ROOT, sources) == DATA


async def test_two_fetches_share_the_sources():
    other_root, other = small_blocks(DATA[::-1], 30_000)
    async with IpfsGateway([*BLOCKS, *other]) as gateway, opened(GatewaySource(gateway.url)) as sources:
        assert await asyncio.gather(fetched(ROOT, sources), fetched(other_root, sources)) == [DATA, DATA[::-1]]


@pytest.mark.parametrize(
    ("change", "failure"),
    [
        (lambda whole: whole[:-1], SourceFailure.CAR),
        (lambda whole: whole + b"\x00", SourceFailure.CAR),
        (lambda whole: b"", SourceFailure.CAR),
        (lambda whole: whole[:60], SourceFailure.CAR),
        (lambda whole: whole[:-1] + b"!", SourceFailure.WRONG_BLOCK),
        (lambda whole: car.header([]), SourceFailure.ABSENT),
    ],
)
async def test_a_car_file_that_does_not_hold_is_named(tmp_path, change, failure):
    root, blocks = small_blocks(SMALL)
    path = tmp_path / "bundle.car"
    path.write_bytes(change(car.header([root]) + b"".join(map(car.section, blocks))))
    assert await faults(root, CarFile(path)) == [failure]


async def test_a_car_file_with_too_many_blocks_is_refused_and_one_that_is_missing_is_absent(tmp_path):
    path = tmp_path / "bundle.car"
    assert await faults(ROOT, CarFile(path)) == [SourceFailure.ABSENT]
    path.write_bytes(car.header([]) + b"".join(map(car.section, BLOCKS)))
    assert await faults(ROOT, CarFile(path, entries=3)) == [SourceFailure.CAR]
    assert await faults(ROOT, CarFile(tmp_path)) == [SourceFailure.UNREADABLE]


async def test_a_pipe_where_a_car_file_should_be_keeps_no_thread_waiting(tmp_path):
    path = tmp_path / "bundle.car"
    os.mkfifo(path)
    assert await faults(ROOT, CarFile(path)) == [SourceFailure.UNREADABLE]


async def test_nobody_listening_is_named():
    assert await faults(ROOT, GatewaySource("http://127.0.0.1:1"), KuboSource("http://127.0.0.1:1")) == [
        SourceFailure.UNREACHABLE,
        SourceFailure.UNREACHABLE,
    ]


@pytest.mark.parametrize(
    "url",
    ["", "ftp://a", "http://", "http://u:p@a", "http://a?x=1", "http://a#x", "http://a:99999", "a", "http://[::1"],
)
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(UrlRefused):
        GatewaySource(url)
