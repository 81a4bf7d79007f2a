"""Publishing into the local store: nothing is reported as added that was not read back."""

import time

import pytest
from support.ipfs_gateway import IpfsGateway, chunked, wrong_block

from gateway.vault.blocks import BlockStore
from gateway.vault.cid import Codec, block_of
from gateway.vault.ipfs import FetchTimes
from gateway.vault.ipfs_add import NotAdded, add
from gateway.vault.unixfs_builder import add_file

DATA = bytes(range(256)) * 10_000


async def added(data, store, kubo=""):
    return await add(chunked(data), store, kubo=kubo, times=FetchTimes(2.0, 5.0), monotonic_s=time.monotonic)


@pytest.mark.parametrize("data", [b"", b"hello world", DATA], ids=len)
async def test_a_file_is_added_under_the_name_of_the_profile(tmp_path, data):
    store = BlockStore(tmp_path, 1 << 24)
    root, blocks = add_file([data])
    assert await added(data, store) == (root, len(data), len(blocks))
    assert set(store.digests()) == {block.cid.digest for block in blocks}
    assert await added(data, store) == (root, len(data), len(blocks))


async def test_a_file_that_does_not_fit_is_told_before_it_pushes_itself_out(tmp_path):
    with pytest.raises(NotAdded, match=r"ipfs\.store_bytes"):
        await added(DATA, BlockStore(tmp_path, 1 << 20))


async def test_a_store_that_pushes_out_others_keeps_all_of_the_new_file(tmp_path):
    store = BlockStore(tmp_path, 2 << 20)
    await added(DATA[::-1], store)
    root, blocks = add_file([DATA])
    assert (await added(DATA, store)).root == root
    assert all(store.get(block.cid) == block for block in blocks)


async def test_a_disk_that_gives_back_something_else_is_told(tmp_path):
    class Lying(BlockStore):
        def put(self, block):
            super().put(block)
            for path in tmp_path.iterdir():
                path.write_bytes(b"damage")

    with pytest.raises(NotAdded, match="store does not give back"):
        await added(DATA, Lying(tmp_path, 1 << 24))


async def test_a_store_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotAdded, match=r"ipfs\.block_store"):
        await added(DATA, BlockStore(tmp_path / "file", 1 << 24))


async def test_a_node_that_is_not_there_is_told_and_the_file_is_in_the_store(tmp_path):
    store = BlockStore(tmp_path, 1 << 24)
    with pytest.raises(NotAdded, match="in the store, but not on the node"):
        await added(b"hello world", store, kubo="http://127.0.0.1:1")
    assert store.get(block_of(Codec.RAW, b"hello world").cid) is not None


SMALL_ROOT, SMALL_BLOCKS = add_file([b"hello world"])
PINNED = b'{"Root":{"Cid":{"/":"%s"},"PinErrorMsg":""}}\n' % str(SMALL_ROOT).encode()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "did not pin"),
        (b"{}\n[]\n7\n\xff\n", "did not pin"),
        (b"[" * 60_000, "did not pin"),
        (PINNED.replace(b'""', b'"no room"'), "did not pin"),
        (PINNED.replace(b"bafk", b"bafy"), "did not pin"),
        (bytes(1 << 20), "too-large"),
    ],
)
async def test_a_node_that_does_not_say_that_it_pinned_is_told(tmp_path, answer, words):
    async with IpfsGateway(SMALL_BLOCKS) as node:
        node.imported = answer
        with pytest.raises(NotAdded, match=words):
            await added(b"hello world", BlockStore(tmp_path, 1 << 24), kubo=node.url)


async def test_a_node_that_says_so_and_gives_back_something_else_is_told(tmp_path):
    store = BlockStore(tmp_path, 1 << 24)
    async with IpfsGateway(SMALL_BLOCKS) as node:
        node.imported = PINNED
        assert (await added(b"hello world", store, kubo=node.url)).root == SMALL_ROOT
        node.fault = wrong_block
        with pytest.raises(NotAdded, match="wrong-block"):
            await added(b"hello world", store, kubo=node.url)
        node.fault, node.blocks = None, {}
        with pytest.raises(NotAdded, match="absent"):
            await added(b"hello world", store, kubo=node.url)
        node.import_status = 500
        with pytest.raises(NotAdded, match="HTTP 500"):
            await added(b"hello world", store, kubo=node.url)
