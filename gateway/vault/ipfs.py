"""A file by its CID, from sources that nobody trusts: asked in order, every block hashed, all of it bounded (I/O).

    async with aclosing(fetch_file(root, sources, FileLimits(file_bytes=size))) as parts:
        async for part in parts: ...

What a source may cost: a block's time for each block, its share of a file's time for each file, one block of memory.
One that fails, or has used up its share, is not asked again for that file, and rests. One that merely does not have a
block is asked for the next. Blocks that held go into the store, so a fetch that broke off goes on where it stood.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import structlog

from gateway.chain.pace import Rest
from gateway.vault.blocks import BlockStore, BlockStoreFault
from gateway.vault.cid import Block, Cid, WrongBlock, verify_block
from gateway.vault.source import BlockSource, SourceFailure, SourceFault
from gateway.vault.unixfs import FileLimits, FileWalk

log = structlog.get_logger("vault")

_THREAD_BYTES: Final = 1 << 16
"""Larger blocks are hashed on a thread: the loop has devices to answer."""


class FetchTimes(NamedTuple):
    """How long asking may take: for one block, and for one file; what the caller does in between does not count."""

    block_s: float = 20.0
    file_s: float = 600.0


class NotFetched(Exception):
    """No source gave a block that is needed. ``faults`` says of each what it did; trying later may help."""

    def __init__(self, cid: Cid, faults: Sequence[SourceFault], resting: Sequence[str]) -> None:
        said = [*map(str, faults), *(f"rests since: {words}" for words in resting)]
        super().__init__(f"no source gave {cid}: {'; '.join(said) or 'there is none in ipfs.sources'}")
        self.cid = cid
        self.faults = tuple(faults)


class SourceHealth(NamedTuple):
    """How a source was when it was last asked; no words: well."""

    label: str
    fault: str


class _Place:
    """One source of the list: its rest, and what was last wrong with it."""

    def __init__(self, source: BlockSource) -> None:
        self.source = source
        self.rest = Rest()
        self.words = ""


class Sources:
    """The sources in the order in which they are asked.

    Args:
        sources: what is asked; closed by ``close``.
        store: where blocks that held are kept; None: nowhere.
        times: how long asking may take.
        monotonic_s: seconds that never go back.
    """

    def __init__(
        self,
        sources: Sequence[BlockSource],
        *,
        store: BlockStore | None,
        times: FetchTimes,
        monotonic_s: Callable[[], float],
    ) -> None:
        self._places = [_Place(source) for source in sources]
        self._retired: list[_Place] = []
        self._store = store
        self._times = times
        self.now_s = monotonic_s
        self._keeps = True

    def health(self) -> tuple[SourceHealth, ...]:
        """How each source is."""
        return tuple(SourceHealth(place.source.label, place.words) for place in self._places)

    @asynccontextmanager
    async def for_file(self, root: Cid) -> AsyncIterator[FileFetch]:
        """Begin to ask for the blocks of a file; what was opened for it is closed at the end."""
        now = self.now_s()
        able = [place for place in self._places if not place.rest.left_s(now)]
        resting = [place.words for place in self._places if place not in able]
        fetch = FileFetch(self, root, able, resting, self._times)
        try:
            yield fetch
        finally:
            await fetch.close()

    async def close(self) -> None:
        """Close every source."""
        for place in (*self._places, *self._retired):
            await place.source.close()

    async def become(self, other: Sources) -> None:
        """Ask what ``other`` asks, from the next file on; a file that is being fetched goes on as it began."""
        retired, self._retired = self._retired, self._places
        self._places, self._store, self._times = other._places, other._store, other._times
        other._places = []
        for place in retired:
            await place.source.close()

    def served(self, place: _Place) -> None:
        """A source gave a block that held."""
        place.rest.served()
        if place.words:
            place.words = ""
            log.info("vault.source_up", source=place.source.label)

    def failed(self, place: _Place, fault: SourceFault) -> None:
        """A source has to rest."""
        first = not place.words
        place.words = str(fault)
        place.rest.failed(self.now_s())
        if first or fault.failure is SourceFailure.WRONG_BLOCK:
            level = log.error if fault.failure is SourceFailure.WRONG_BLOCK else log.warning
            level("vault.source_down", source=place.source.label, reason=fault.failure.value, detail=str(fault))

    async def keep(self, block: Block) -> None:
        """Keep a block that held; a store that is full or broken stops no fetch, and is told once."""
        if self._store is None:
            return
        try:
            await asyncio.to_thread(self._store.put, block)
            if not self._keeps:
                self._keeps = True
                log.info("vault.store_up")
        except BlockStoreFault as fault:
            if self._keeps:
                self._keeps = False
                log.error("vault.store_down", detail=str(fault))


class _Asked:
    """A source while one file is fetched."""

    def __init__(self, place: _Place, root: Cid) -> None:
        self.place = place
        self.source = place.source.for_file(root)
        self.spent_s = 0.0

    async def close(self) -> None:
        if self.source is not self.place.source:
            await self.source.close()


class FileFetch:
    """The blocks of one file, each from the first source that gives it."""

    def __init__(
        self,
        sources: Sources,
        root: Cid,
        able: Sequence[_Place],
        resting: Sequence[str],
        times: FetchTimes,
    ) -> None:
        self._sources = sources
        self._asked = [_Asked(place, root) for place in able]
        self._resting = resting
        self._times = times
        self._share_s = times.file_s / max(1, len(able))
        self._faults: list[SourceFault] = []
        self._last: Block | None = None

    async def block(self, cid: Cid) -> Block:
        """Return a block that holds; one that comes again at once is not asked for again.

        Raises:
            NotFetched: nobody gave it.
        """
        if self._last is not None and self._last.cid == cid:
            return self._last
        absent: list[SourceFault] = []
        for asked in tuple(self._asked):
            try:
                self._last = await self._ask(asked, cid)
            except SourceFault as fault:
                if fault.failure is SourceFailure.ABSENT:
                    absent.append(fault)
                else:
                    await self._give_up(asked, fault)
            else:
                self._sources.served(asked.place)
                await self._sources.keep(self._last)
                return self._last
        raise NotFetched(cid, [*self._faults, *absent], self._resting)

    async def close(self) -> None:
        """Close what was opened for the file."""
        for asked in self._asked:
            await asked.close()

    async def _ask(self, asked: _Asked, cid: Cid) -> Block:
        """Ask one source within its time, and hash what it gives."""
        label = asked.source.label
        left_s = min(self._times.block_s, self._share_s - asked.spent_s)
        begun = self._sources.now_s()
        try:
            async with asyncio.timeout(max(0.0, left_s)):
                data = await asked.source.get(cid)
        except TimeoutError:
            words = (
                f"no block within {left_s:g} s" if left_s == self._times.block_s else "its time for this file is up"
            )
            raise SourceFault(SourceFailure.TIMED_OUT, label, words) from None
        finally:
            asked.spent_s += self._sources.now_s() - begun
        try:
            if len(data) < _THREAD_BYTES:
                return verify_block(cid, data)
            return await asyncio.to_thread(verify_block, cid, data)
        except WrongBlock as error:
            raise SourceFault(SourceFailure.WRONG_BLOCK, label, str(error)) from None

    async def _give_up(self, asked: _Asked, fault: SourceFault) -> None:
        self._asked.remove(asked)
        self._faults.append(fault)
        self._sources.failed(asked.place, fault)
        await asked.close()


async def fetch_file(root: Cid, sources: Sources, limits: FileLimits) -> AsyncGenerator[bytes, None]:
    """Give the bytes of a file, in order; every one of them is in a block that held.

    Close the iterator (``contextlib.aclosing``) when leaving early.

    Raises:
        NotFetched: a block is not to be had now.
        FileRefused: the tree under ``root`` is no file within ``limits``, whoever gives it.
    """
    walk = FileWalk(root, limits)
    async with sources.for_file(root) as fetch:
        while (wanted := walk.wanted) is not None:
            part = walk.take(await fetch.block(wanted))
            if part:
                yield part
