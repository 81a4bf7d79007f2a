"""Publishing a file: into the local store and, where there is one, a Kubo node; then look whether it is there (I/O).

Nothing is reported as added that was not read back: every block from the store's disk, and every block from the node.
Importing this module imports aiohttp (extra ``chain``).
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import aclosing
from http import HTTPStatus
from typing import Final

from gateway.jsontext import DeepJsonError, require_shallow
from gateway.vault import car
from gateway.vault.blocks import BlockStore, BlockStoreFault
from gateway.vault.cid import Block, Cid
from gateway.vault.ipfs import FetchTimes, NotFetched, Sources, fetch_file
from gateway.vault.ipfs_http import HttpPeer
from gateway.vault.ipfs_sources import KuboSource, StoreSource
from gateway.vault.source import BlockSource, SourceFault
from gateway.vault.unixfs import FileLimits, FileRefused, FileWalk
from gateway.vault.unixfs_builder import Added, FileBuilder

__all__ = ["Added", "NotAdded", "add"]

_ANSWER_BYTES: Final = 1 << 16


class NotAdded(Exception):
    """The file is not where it was put; the words say what to do. Adding it again is safe."""


async def add(
    chunks: AsyncIterable[bytes],
    store: BlockStore,
    *,
    kubo: str = "",
    times: FetchTimes,
    monotonic_s: Callable[[], float],
) -> Added:
    """Add a file by the profile unixfs-v1-2025, and read it back.

    Args:
        chunks: the file, in pieces of any size.
        store: where its blocks are kept; its budget has room for all of them.
        kubo: base URL of the RPC of a Kubo node that gets the file too, pinned; empty: none.
        times: how long each block, and the whole file, may take on the way to and from the node.
        monotonic_s: seconds that never go back.

    Raises:
        NotAdded: it cannot be written, or what comes back is not what was added.
        UrlRefused: ``kubo`` is no URL.
    """
    builder = FileBuilder()
    shelf = _Shelf(store)
    try:
        async for chunk in chunks:
            for block in builder.feed(chunk):
                await shelf.keep(block)
        for block in builder.finish():
            await shelf.keep(block)
    except BlockStoreFault as fault:
        raise NotAdded(str(fault)) from None
    added = builder.added
    if added is None:
        raise RuntimeError("a finished file has a root")
    await _read_back(added, StoreSource(store), times, monotonic_s)
    if kubo:
        node = KuboSource(kubo)
        try:
            await _import(HttpPeer("kubo", kubo), added, store, times)
            await _read_back(added, node, times, monotonic_s)
        finally:
            await node.close()
    return added


class _Shelf:
    """The store, while one file goes into it: what is written must not push out what was written before."""

    def __init__(self, store: BlockStore) -> None:
        self._store = store
        self._kept: set[bytes] = set()
        self._bytes = 0

    async def keep(self, block: Block) -> None:
        if block.cid.digest in self._kept:
            return
        self._kept.add(block.cid.digest)
        self._bytes += len(block.data)
        budget = self._store.budget_bytes
        if self._bytes > budget:
            raise BlockStoreFault(
                f"the file does not fit into the {budget} bytes of the block store: "
                "see ipfs.store_bytes and ipfs.block_store"
            )
        await asyncio.to_thread(self._store.put, block)


async def _read_back(added: Added, source: BlockSource, times: FetchTimes, monotonic_s: Callable[[], float]) -> None:
    sources = Sources([source], store=None, times=times, monotonic_s=monotonic_s)
    size = 0
    try:
        limits = FileLimits(file_bytes=added.size, blocks=added.blocks)
        async with aclosing(fetch_file(added.root, sources, limits)) as parts:
            async for part in parts:
                size += len(part)
    except (NotFetched, FileRefused) as error:
        raise NotAdded(f"{source.label} does not give back what was added: {error}") from None
    if size != added.size:
        raise NotAdded(f"{source.label} gives back {size} bytes of {added.size}")


async def _import(peer: HttpPeer, added: Added, store: BlockStore, times: FetchTimes) -> None:
    """Send the file as a CAR (``/api/v0/dag/import``), pinned, so that the node's own cleaning leaves it alone."""
    boundary = secrets.token_hex(16)
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    try:
        async with (
            asyncio.timeout(times.file_s),
            peer.request(
                "POST", "api/v0/dag/import", {"pin-roots": "true"}, headers, _form(boundary, added, store)
            ) as response,
        ):
            if response.status != HTTPStatus.OK:
                raise peer.status_fault(response.status)
            said = await peer.read(response, _ANSWER_BYTES)
    except TimeoutError:
        raise NotAdded(f"{peer.label} did not take the file within {times.file_s:g} s") from None
    except (SourceFault, BlockStoreFault) as fault:
        raise NotAdded(f"the file is in the store, but not on the node: {fault}") from None
    finally:
        await peer.close()
    if not _pinned(said, added.root):
        raise NotAdded(f"{peer.label} took the file and did not pin it: look at its log, then add it again")


async def _form(boundary: str, added: Added, store: BlockStore) -> AsyncGenerator[bytes, None]:
    """The body of the request: a form of one part, which is the CAR."""
    head = (
        'Content-Disposition: form-data; name="file"; filename="file.car"\r\nContent-Type: application/octet-stream'
    )
    yield f"--{boundary}\r\n{head}\r\n\r\n".encode()
    yield car.header([added.root])
    walk = FileWalk(added.root, FileLimits(file_bytes=added.size, blocks=added.blocks))
    sent: set[bytes] = set()
    while (wanted := walk.wanted) is not None:
        block = await asyncio.to_thread(store.get, wanted)
        if block is None:
            raise BlockStoreFault("a block that was just written is gone: is something else cleaning its directory?")
        walk.take(block)
        if block.cid.digest not in sent:
            sent.add(block.cid.digest)
            yield car.section(block)
    yield f"\r\n--{boundary}--\r\n".encode()


def _pinned(said: bytes, root: Cid) -> bool:
    """Whether the node's answer, a JSON object a line, says that the root is pinned."""
    for line in said.splitlines():
        try:
            answer = json.loads(require_shallow(line.decode()))
            found = answer["Root"]
            if found["Cid"]["/"] == str(root):
                return not found.get("PinErrorMsg")
        except (ValueError, KeyError, TypeError, AttributeError, DeepJsonError):
            continue
    return False
