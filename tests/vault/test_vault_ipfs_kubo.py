"""Against a real Kubo: what we add has the name that it gives, comes back from it, and it takes what we send."""

import os
import time
from contextlib import aclosing

import pytest
from support.ipfs_gateway import chunked
from support.kubo import Kubo

from gateway.vault import car
from gateway.vault.blocks import BlockStore
from gateway.vault.cid import Codec, block_of, parse_cid
from gateway.vault.ipfs import FetchTimes, NotFetched, Sources, fetch_file
from gateway.vault.ipfs_add import add
from gateway.vault.ipfs_sources import GatewaySource, KuboSource
from gateway.vault.source import SourceFailure
from gateway.vault.unixfs import FileLimits
from gateway.vault.unixfs_builder import add_file

TIMES = FetchTimes(block_s=20.0, file_s=60.0)
PROFILE = ("--cid-version", "1", "--raw-leaves", "--chunker", "size-1048576", "--max-file-links", "1024")
"""The profile unixfs-v1-2025 in options: Kubo knows its name from 0.40 on only."""


@pytest.fixture(scope="module")
def node():
    with Kubo() as kubo:
        yield kubo


async def fetched(root, *sources):
    every = Sources(sources, store=None, times=TIMES, monotonic_s=time.monotonic)
    try:
        async with aclosing(fetch_file(root, every, FileLimits(file_bytes=1 << 30))) as parts:
            return b"".join([part async for part in parts])
    finally:
        await every.close()


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 5_000_000])
async def test_a_file_has_the_name_that_kubo_gives_it_and_comes_back_either_way(node, size):
    data = os.urandom(size)
    root = node.ipfs("add", "-Q", *PROFILE, data=data).decode().strip()
    ours, _ = add_file([data])
    assert str(ours) == root
    assert await fetched(ours, KuboSource(node.rpc)) == data
    assert await fetched(ours, GatewaySource(node.gateway)) == data


@pytest.mark.parametrize("layout", [(), ("--trickle",), ("--cid-version", "1", "--chunker", "rabin")])
async def test_a_file_of_another_layout_is_read_all_the_same(node, layout):
    data = os.urandom(2_000_000)
    text = node.ipfs("add", "-Q", *layout, data=data).decode().strip()
    version_1 = node.ipfs("cid", "base32", text).decode().strip()

    root = parse_cid(version_1)
    assert await fetched(root, KuboSource(node.rpc)) == data
    assert await fetched(root, GatewaySource(node.gateway)) == data


async def test_what_we_publish_is_pinned_on_kubo_and_comes_back(node, tmp_path):
    data = os.urandom(3_500_000)
    store = BlockStore(tmp_path, 1 << 26)
    added = await add(chunked(data), store, kubo=node.rpc, times=TIMES, monotonic_s=time.monotonic)
    assert node.ipfs("cat", str(added.root)) == data
    pins = node.call(f"pin/ls?arg={added.root}&type=recursive")["Keys"]
    assert list(pins) == [str(added.root)]
    assert await fetched(added.root, GatewaySource(node.gateway)) == data


async def test_a_file_comes_as_one_stream_also_where_blocks_come_again(node, monkeypatch):
    alone = []
    get = GatewaySource.get
    monkeypatch.setattr(GatewaySource, "get", lambda self, cid: alone.append(cid) or get(self, cid))
    data = os.urandom(1 << 20) + bytes(2 << 20) + os.urandom(1 << 20) + bytes(1 << 20) + b"end"
    root, blocks = add_file([data])
    assert len({block.cid for block in blocks}) == 5
    assert node.ipfs("add", "-Q", *PROFILE, data=data).decode().strip() == str(root)
    assert await fetched(root, GatewaySource(node.gateway)) == data
    assert alone == []


async def test_what_kubo_does_not_have_is_absent_from_both(node):
    cid = block_of(Codec.RAW, os.urandom(20)).cid
    with pytest.raises(NotFetched) as caught:
        await fetched(cid, KuboSource(node.rpc), GatewaySource(node.gateway))
    assert [fault.failure for fault in caught.value.faults] == [SourceFailure.ABSENT, SourceFailure.ABSENT]


async def test_what_kubo_exports_we_read_and_what_we_write_it_imports(node, tmp_path):
    data = os.urandom(2_500_000)
    root = node.ipfs("add", "-Q", *PROFILE, data=data).decode().strip()
    exported = node.ipfs("dag", "export", root)
    reader = car.CarReader(car.CarLimits(1 << 30))
    blocks = list(reader.feed(exported))
    reader.finish()
    assert [str(cid) for cid in reader.roots] == [root]
    path = tmp_path / "ours.car"
    path.write_bytes(car.header(reader.roots) + b"".join(map(car.section, blocks)))
    assert path.read_bytes() == exported
    assert root.encode() in node.ipfs("dag", "import", str(path))
