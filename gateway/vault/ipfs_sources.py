"""The sources of blocks: the local store, a CAR file, a Kubo node, a trustless gateway (I/O).

Each gives bytes for a CID and is believed in nothing; ``gateway.vault.ipfs`` hashes what it gives. Importing this
module imports aiohttp (extra ``chain``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from http import HTTPStatus
from pathlib import Path
from stat import S_ISREG
from typing import Final

import aiohttp

from gateway.config.model import Config, IpfsConfig
from gateway.vault import car
from gateway.vault.blocks import BlockStore, BlockStoreFault
from gateway.vault.cid import BLOCK_BYTES, Block, Cid, Codec
from gateway.vault.ipfs import FetchTimes, Sources
from gateway.vault.ipfs_http import CHUNK, ERROR_BYTES, HTTP_ERRORS, HttpPeer
from gateway.vault.source import BlockSource, SourceFailure, SourceFault

RAW_TYPE: Final = "application/vnd.ipld.raw"
CAR_ENTRIES: Final = 1 << 16
_SHARE_OF_JOURNAL: Final = 4
_STREAM_BYTES: Final = 1 << 40
"""No bound of its own: a stream is read no further than one block ahead of a walk that is bounded."""
_STREAM_FAILURES: Final = {
    car.CarRefusal.WRONG_BLOCK: SourceFailure.WRONG_BLOCK,
    car.CarRefusal.TOO_LARGE: SourceFailure.TOO_LARGE,
}
_KUBO_ABSENT: Final = (b"not found", b"could not find")


class StoreSource:
    """The local block store."""

    label = "store"

    def __init__(self, store: BlockStore) -> None:
        self._store = store

    async def get(self, cid: Cid) -> bytes:
        """See ``BlockSource``."""
        try:
            block = await asyncio.to_thread(self._store.get, cid)
        except BlockStoreFault as fault:
            raise SourceFault(SourceFailure.UNREADABLE, self.label, str(fault)) from None
        if block is None:
            raise SourceFault(SourceFailure.ABSENT, self.label, "it is not there")
        return block.data

    def for_file(self, root: Cid) -> BlockSource:  # noqa: ARG002 -- it is asked block by block
        """See ``BlockSource``."""
        return self

    async def close(self) -> None:
        """Nothing is kept open."""


class CarFile:
    """A CAR file on disk, read in place: once through for where each block lies, then block by block."""

    def __init__(self, path: Path, entries: int = CAR_ENTRIES) -> None:
        self._path = path
        self._entries = entries
        self._places: dict[bytes, tuple[int, int]] | None = None
        self._facts = (0, 0)
        self._reading = asyncio.Lock()
        self.label = "car " + "".join(each if each.isprintable() else "?" for each in path.name[:64])

    async def get(self, cid: Cid) -> bytes:
        """See ``BlockSource``."""
        async with self._reading:
            return await asyncio.to_thread(self._read, cid)

    def for_file(self, root: Cid) -> BlockSource:  # noqa: ARG002 -- its blocks may lie in any order
        """See ``BlockSource``."""
        return self

    async def close(self) -> None:
        """Nothing is kept open."""

    def _read(self, cid: Cid) -> bytes:
        try:
            places = self._scanned()
            if cid.digest not in places:
                raise SourceFault(SourceFailure.ABSENT, self.label, "it is not in it")
            at, size = places[cid.digest]
            with self._path.open("rb") as file:
                file.seek(at)
                return file.read(size)
        except FileNotFoundError:
            raise SourceFault(SourceFailure.ABSENT, self.label, "there is no such file") from None
        except OSError as error:
            raise SourceFault(SourceFailure.UNREADABLE, self.label, f"it cannot be read: {error.strerror}") from None
        except car.CarRefused as refused:
            raise SourceFault(SourceFailure.CAR, self.label, str(refused)) from None

    def _scanned(self) -> dict[bytes, tuple[int, int]]:
        stat = self._path.stat()
        if not S_ISREG(stat.st_mode):  # to open a pipe would wait for whoever writes into it
            raise SourceFault(SourceFailure.UNREADABLE, self.label, "it is no file")
        facts = (stat.st_mtime_ns, stat.st_size)
        if self._places is None or facts != self._facts:
            self._places = None
            places: dict[bytes, tuple[int, int]] = {}
            with self._path.open("rb") as file:
                header = car.read_header(file.read(car.HEADER_MAX + CHUNK))
                if header is None:
                    raise car.CarRefused(car.CarRefusal.TRUNCATED, "it ends within its header")
                at = header[0]
                for _ in range(self._entries):
                    file.seek(at)
                    head = car.section_head(file.read(car.HEAD_MAX), 0)
                    if head is None:
                        break
                    if head.cid is not None:
                        places.setdefault(head.cid.digest, (at + head.data_at, head.data_bytes))
                    at += head.data_at + head.data_bytes
                else:
                    raise car.CarRefused(car.CarRefusal.TOO_MANY, f"it has more than {self._entries} blocks")
            if at != stat.st_size:
                raise car.CarRefused(car.CarRefusal.TRUNCATED, "it ends within a section")
            self._places, self._facts = places, facts
        return self._places


class KuboSource:
    """A Kubo node, by its RPC (``/api/v0/block/get``)."""

    def __init__(self, url: str) -> None:
        self._peer = HttpPeer("kubo", url)
        self.label = self._peer.label

    async def get(self, cid: Cid) -> bytes:
        """See ``BlockSource``."""
        async with self._peer.request("POST", "api/v0/block/get", {"arg": str(cid)}) as response:
            if response.status == HTTPStatus.OK:
                return await self._peer.read(response, BLOCK_BYTES)
            said = await self._peer.read(response, ERROR_BYTES)
            if response.status == HTTPStatus.INTERNAL_SERVER_ERROR and any(words in said for words in _KUBO_ABSENT):
                raise self._peer.fault(SourceFailure.ABSENT, "it does not have it")
            raise self._peer.status_fault(response.status)

    def for_file(self, root: Cid) -> BlockSource:  # noqa: ARG002 -- it is asked block by block
        """See ``BlockSource``."""
        return self

    async def close(self) -> None:
        """See ``BlockSource``."""
        await self._peer.close()


class GatewaySource:
    """A trustless gateway: a file as one CAR stream, and block by block (``format=raw``) what the stream lacks."""

    def __init__(self, url: str) -> None:
        self._peer = HttpPeer("gateway", url)
        self.label = self._peer.label

    async def get(self, cid: Cid) -> bytes:
        """See ``BlockSource``."""
        query, headers = {"format": "raw"}, {"Accept": RAW_TYPE}
        async with self._peer.request("GET", f"ipfs/{cid}", query, headers=headers) as response:
            if response.status != HTTPStatus.OK:
                raise self._peer.status_fault(response.status)
            if response.content_type != RAW_TYPE:
                raise self._peer.fault(SourceFailure.CONTENT_TYPE, "its answer is no raw block, by its content type")
            return await self._peer.read(response, BLOCK_BYTES)

    def for_file(self, root: Cid) -> BlockSource:
        """See ``BlockSource``: a file of one block is asked for as a block, another one as a stream."""
        return self if root.codec is Codec.RAW else _GatewayFile(self, self._peer, root)

    async def close(self) -> None:
        """See ``BlockSource``."""
        await self._peer.close()


class _GatewayFile:
    """The blocks of one file from one gateway. The stream is in the order of asking, or it is not used."""

    def __init__(self, gateway: GatewaySource, peer: HttpPeer, root: Cid) -> None:
        self.label = gateway.label
        self._gateway = gateway
        self._peer = peer
        self._root = root
        self._exits = AsyncExitStack()
        self._blocks: AsyncGenerator[Block, None] | None = None
        self._next: Block | None = None
        self._given: Cid | None = None
        self._begun = False

    async def get(self, cid: Cid) -> bytes:
        """See ``BlockSource``. A block that the stream passed over, as one that comes again, is asked for alone."""
        if not self._begun:
            self._begun = True
            await self._begin()
        if self._next is None:
            await self._step()
        while self._next is not None and self._next.cid == self._given != cid:  # comes again, and was not asked again
            await self._step()
        if self._next is not None and self._next.cid == cid:
            data, self._next, self._given = self._next.data, None, cid
            return data
        return await self._gateway.get(cid)

    def for_file(self, root: Cid) -> BlockSource:
        """See ``BlockSource``."""
        return self._gateway.for_file(root)

    async def close(self) -> None:
        """End the stream, also in the middle."""
        blocks, self._blocks, self._next = self._blocks, None, None
        if blocks is not None:
            await blocks.aclose()
        await self._exits.aclose()

    async def _begin(self) -> None:
        """Ask for the stream; a gateway that has none is asked block by block."""
        query = {"format": "car", "dag-scope": "entity", "car-version": "1", "car-order": "dfs", "car-dups": "y"}
        headers = {"Accept": f"{car.MEDIA_TYPE}; version=1; order=dfs; dups=y"}
        request = self._peer.request("GET", f"ipfs/{self._root}", query, headers=headers)
        response = await self._exits.enter_async_context(request)
        if response.status == HTTPStatus.OK and response.content_type == car.MEDIA_TYPE:
            self._blocks = self._read(response)
        else:
            await self._exits.aclose()

    async def _read(self, response: aiohttp.ClientResponse) -> AsyncGenerator[Block, None]:
        reader = car.CarReader(car.CarLimits(total_bytes=_STREAM_BYTES))
        async for chunk in response.content.iter_chunked(CHUNK):
            for block in reader.feed(chunk):
                yield block
            if reader.foreign:
                raise car.CarRefused(car.CarRefusal.SECTION, "blocks that no file has")
        reader.finish()

    async def _step(self) -> None:
        """Take the next block off the stream, if there is one."""
        if self._blocks is None:
            self._next = None
            return
        try:
            self._next = await anext(self._blocks, None)
        except car.CarRefused as refused:
            raise self._peer.fault(_STREAM_FAILURES.get(refused.reason, SourceFailure.CAR), str(refused)) from None
        except TimeoutError:
            raise
        except HTTP_ERRORS as error:
            raise self._peer.failed(error) from None
        if self._next is None:
            self._blocks = None


def block_store(config: Config) -> BlockStore:
    """The local block store of a configuration; nothing is opened.

    Below the data directory it is counted in the journal's budget, which it may not crowd out: a quarter at most.
    """
    ipfs = config.ipfs
    if ipfs.block_store:
        return BlockStore(Path(ipfs.block_store), ipfs.store_bytes)
    most = config.journal.budget_bytes // _SHARE_OF_JOURNAL
    return BlockStore(config.gateway.data_dir / "blocks", min(ipfs.store_bytes, most))


def open_sources(config: IpfsConfig, store: BlockStore, monotonic_s: Callable[[], float]) -> Sources:
    """The sources of a configuration that was checked, in its order; nothing is asked.

    Blocks are kept in ``store`` when the store is one of the sources.
    """
    sources: list[BlockSource] = []
    for text in config.sources:
        kind, _, where = text.partition(":")
        if kind == "car":
            sources.append(CarFile(Path(where)))
        elif kind == "kubo":
            sources.append(KuboSource(where))
        elif kind == "gateway":
            sources.append(GatewaySource(where))
        else:
            sources.append(StoreSource(store))
    return Sources(
        sources,
        store=store if "store" in config.sources else None,
        times=FetchTimes(config.block_timeout_s, config.file_timeout_s),
        monotonic_s=monotonic_s,
    )
