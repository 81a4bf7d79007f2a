"""The registry as the chain has it: a snapshot that follows the contract's events (docs/adr/0095).

What lets somebody in counts when its block is final. What shuts somebody out, a suspension or a revocation, counts
from the newest block on, and is forgotten again when that block is. The final state lies in the journal with the
block it is of; what newer blocks say is held in memory.

A state is put in force at the end of a look, never in its middle: a device that was registered in one block and
revoked in a later one is at no time let in by having read only the first. Only who is shut out is so at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, NamedTuple

import structlog

from gateway.chain.contracts import Contracts, address_of, verify_contracts
from gateway.chain.events import StatusChanged, decode_registry, registry_filter, status_filter
from gateway.chain.port import (
    ChainError,
    ChainMisconfigured,
    EndpointFault,
    LogFilter,
    LogRecord,
    TooManyLogs,
    View,
)
from gateway.chain.registry_state import Fold, HeadWords, Skip, Stride, head_words, overlay, registration_of, row_of
from gateway.chain.registry_status import (
    NOT_CONFIRMED_MS,
    FollowerState,
    FollowerStatus,
    Freshness,
    IdentityReader,
    IdentityStore,
    Moment,
)
from gateway.config.model import ChainConfig
from gateway.journal.identities import IdentityCursor
from gateway.journal.rows import JournalError
from gateway.registry.port import Device, Miner, RegistrySnapshot, SnapshotBuilder, Status, TooManyTraitsError

log = structlog.get_logger("chain")

WRITE_S: Final = 60.0
"""That the chain confirmed the state once more is written so often; what it changed is written at once."""
_SLICE: Final = 16
_EMPTY: Final = SnapshotBuilder().build(NOT_CONFIRMED_MS)


class _Final(NamedTuple):
    """The final state, the newest block of which something is in it, and the first block that was not read yet.

    ``base`` is the hash of the block of deployment: it tells another chain from an endpoint that lags.
    """

    snapshot: RegistrySnapshot
    cursor: IdentityCursor | None
    next_block: int
    base: str = ""


class ChainRegistry:
    """The registry port, and a looker of ``gateway.chain.watch``. ``restore`` before the first look.

    Args:
        config: which contracts on which chain, and where they begin.
        max_age_s: without a look that went well for so long, the registry is stale.
        store: the journal.
        monotonic_s: seconds that never go back; better a clock that goes on while the machine sleeps.
        wall_ms: milliseconds since 1970.
        on_change: called when another state is in force, or the one in force is confirmed after it was stale.
    """

    def __init__(  # noqa: PLR0913 -- two clocks, two neighbours, two settings; all but the first by name
        self,
        config: ChainConfig,
        *,
        max_age_s: float,
        store: IdentityStore,
        monotonic_s: Callable[[], float],
        wall_ms: Callable[[], int],
        on_change: Callable[[], None],
    ) -> None:
        self._contracts = Contracts(address_of(config.registry), address_of(config.anchor_log))
        self._first_block = config.deploy_block
        self._source = f"eip155:{config.chain_id}:0x{self._contracts.registry.hex()}/{config.deploy_block}"
        self._freshness = Freshness(max_age_s)
        self._store = store
        self._monotonic_s = monotonic_s
        self._wall_ms = wall_ms
        self._on_change = on_change
        self._stride = Stride(config.logs_blocks)
        self._final = _Final(_EMPTY, None, self._first_block)
        self._in_force = _EMPTY
        self._words: HeadWords = {}
        self._in_force_of: tuple[RegistrySnapshot, HeadWords] = (_EMPTY, {})
        self._written_s: float | None = None
        self._forget_due = False
        self._verified: set[str] = set()
        self._syncing = False
        self._head_block: int | None = None
        self._rewrites = 0
        self._skipped = 0
        self._last_fault = ""

    @property
    def snapshot(self) -> RegistrySnapshot:
        """The state in force: the final one, less whom newer blocks shut out; empty before there is one."""
        return self._in_force

    def is_stale(self) -> bool:
        """Whether nothing may be accepted, because nobody knows how the registry is by now."""
        return self._freshness.is_stale(self._now())

    def status(self) -> FollowerStatus:
        """How it goes."""
        cursor, counts = self._final.cursor, self._in_force.counts
        as_of_ms = self._in_force.as_of_ms
        now = self._now()
        if not self._freshness.is_stale(now):
            state = FollowerState.FOLLOWING
        elif self._syncing:
            state = FollowerState.SYNCING
        else:
            state = FollowerState.STALE if as_of_ms else FollowerState.NEVER_SYNCED
        return FollowerStatus(
            state=state,
            final_block=None if cursor is None else cursor.block,
            head_block=self._head_block,
            as_of_ms=as_of_ms,
            age_s=self._freshness.age_s(now),
            devices=counts.devices,
            head_suspensions=sum(1 for _ in overlay(self._final.snapshot, self._words)),
            rewrites=self._rewrites,
            skipped_events=self._skipped,
            last_fault=self._last_fault,
        )

    def _now(self) -> Moment:
        return Moment(self._monotonic_s(), self._wall_ms())

    # --- the start ---

    async def restore(self, reader: IdentityReader) -> None:
        """Take up the state that the journal holds, on a thread; 100,000 devices take less than a second.

        Does nothing where a state is held already, or one is to be forgotten: that is newer than the journal's.

        Raises:
            JournalError: from the reader.
        """
        if self._final.cursor is not None or self._forget_due:
            return
        cursor = await asyncio.to_thread(reader.identity_cursor)
        if cursor is None:
            return
        source, _, base = cursor.source.partition("#")
        if source != self._source:
            log.warning("registry.source_changed", before=source, now=self._source)
            self._forget_due = True
            return
        try:
            snapshot = await asyncio.to_thread(_load, reader, cursor.as_of_ms)
        except ValueError as error:
            log.error("registry.journal_refused", detail=str(error))
            self._forget_due = True
            return
        self._final = _Final(snapshot, cursor, cursor.block + 1, base)
        self._in_force = snapshot
        self._in_force_of = (snapshot, self._words)
        self._freshness.restored(cursor.as_of_ms, self._now())
        log.info("registry.restored", block=cursor.block, as_of_ms=cursor.as_of_ms, **_totals(snapshot))

    # --- a look ---

    async def look(self, view: View) -> None:
        """Read what is new, and put it in force.

        Raises:
            ChainError: as from the view; what was read before it is kept, and not in force.
            JournalError: the journal did not take it; nothing is kept.
        """
        now = self._now()
        self._syncing = True
        try:
            await self._look(view, now)
        except (ChainError, JournalError) as fault:
            self._last_fault = str(fault)
            raise
        finally:
            self._syncing = False
        self._last_fault = ""

    async def _look(self, view: View, now: Moment) -> None:
        if self._final.cursor is not None and await self._is_other_chain(view, self._final.cursor):
            self._drop()
        if self._forget_due:
            await self._store.forget_identities()
            self._forget_due = False
        if view.endpoint not in self._verified:
            await verify_contracts(view, self._contracts)
            self._verified.add(view.endpoint)
        if not self._final.base and self._first_block <= view.final.number:
            first = await view.block(self._first_block)
            self._final = self._final._replace(base="" if first is None else first.hash.hex())
        counts = await self._follow(view, now)
        words = await self._read_head(view)
        self._put_in_force(view, words, counts, now)

    async def _is_other_chain(self, view: View, cursor: IdentityCursor) -> bool:
        """Whether the endpoint says that a block which was final is not, or never was.

        Raises:
            EndpointFault: it cannot be told; the endpoint lags, or is on a fork that cannot become final.
        """
        head, final, block = view.head.number, view.final.number, cursor.block
        found = None
        if head >= block:
            found = view.final if final == block else await view.block(block)
            if found is None:
                raise EndpointFault(f"{view.endpoint}: it has no block {block}, and its newest is {head}")
            if found.hash == cursor.block_hash:
                return False
        if (found is not None and final >= block) or await self._began_anew(view):
            log.error("registry.rewritten", endpoint=view.endpoint, block=block, was=cursor.block_hash, head=head)
            return True
        if found is None:
            raise EndpointFault(f"{view.endpoint}: it lags: its newest block is {head}, and {block} was final")
        raise EndpointFault(f"{view.endpoint}: it is on a fork: its block {block} is not the one that was final")

    async def _began_anew(self, view: View) -> bool:
        """Whether the block of deployment is final there, and another one."""
        if not self._final.base or self._first_block > view.final.number:
            return False
        first = await view.block(self._first_block)
        return first is not None and first.hash.hex() != self._final.base

    def _drop(self) -> None:
        """Begin anew; until that is done nothing is accepted."""
        self._rewrites += 1
        self._forget_due = True
        self._final = _Final(_EMPTY, None, self._first_block)
        self._in_force = _EMPTY
        self._words = {}
        self._in_force_of = (_EMPTY, self._words)
        self._freshness.forget()
        self._written_s = None
        self._verified.clear()
        self._on_change()

    async def _follow(self, view: View, now: Moment) -> Counter[str]:
        """Read up to the newest final block, into the journal chunk by chunk; count what happened."""
        final, counts = view.final, Counter[str]()
        wanted = registry_filter(self._contracts.registry)
        async for upto, records in self._chunks(view, wanted, self._final.next_block, final.number):
            fold = Fold(self._final.snapshot)
            for at, record in enumerate(records):
                fold.take(decode_registry(record))
                if at % _SLICE == _SLICE - 1:
                    await asyncio.sleep(0)
            cursor = self._final.cursor
            if upto == final.number:
                cursor = self._cursor(final.number, final.hash, now.wall_ms)
            elif records:
                cursor = self._cursor(records[-1].block_number, records[-1].block_hash, NOT_CONFIRMED_MS)
            await self._keep(fold.changes, cursor, upto + 1, now)
            self._tell_skipped(fold.skipped)
            counts += fold.counts
        cursor = self._final.cursor
        if cursor is not None and cursor.as_of_ms != now.wall_ms:  # nothing is new but that it was looked at
            self._final = self._final._replace(cursor=cursor._replace(as_of_ms=now.wall_ms))
        await self._confirm_in_journal(now)
        return counts

    def _cursor(self, block: int, block_hash: bytes, as_of_ms: int) -> IdentityCursor:
        base = f"#{self._final.base}" if self._final.base else ""
        return IdentityCursor(self._source + base, block, block_hash, as_of_ms)

    async def _keep(
        self, changes: dict[str, Device | Miner], cursor: IdentityCursor | None, next_block: int, now: Moment
    ) -> None:
        """Write changes with their cursor, then remember them; whom they shut out is out at once."""
        snapshot = self._final.snapshot
        if changes and cursor is not None:
            try:
                snapshot = snapshot.changed(changes.values(), cursor.as_of_ms)
            except TooManyTraitsError as error:
                raise ChainMisconfigured(
                    f"chain.registry: {error}; spread the fleets over several registries"
                ) from None
            await self._store.apply_identities([row_of(change) for change in changes.values()], cursor)
            self._written_s = now.monotonic_s if cursor.as_of_ms else None
        self._final = self._final._replace(snapshot=snapshot, cursor=cursor, next_block=next_block)
        shut_out = [
            known._replace(status=change.status)
            for change in changes.values()
            if change.status is not Status.ACTIVE
            and (known := self._in_force.device(change.id) or self._in_force.miner(change.id)) is not None
        ]
        self._in_force = self._in_force.changed(shut_out, self._in_force.as_of_ms)

    async def _confirm_in_journal(self, now: Moment) -> None:
        """Write that the chain confirmed the state: not for every look, each costs a sync of the disk."""
        cursor = self._final.cursor
        if cursor is None or (self._written_s is not None and now.monotonic_s - self._written_s < WRITE_S):
            return
        await self._store.apply_identities((), cursor)
        self._written_s = now.monotonic_s

    async def _read_head(self, view: View) -> HeadWords:
        """Read the changes of status between the newest final block and the newest."""
        cursor = self._final.cursor
        final = view.final.number if cursor is None else max(cursor.block, view.final.number)
        found: list[tuple[int, StatusChanged]] = []
        async for _, records in self._chunks(
            view, status_filter(self._contracts.registry), final + 1, view.head.number
        ):
            for at, record in enumerate(records):
                event = decode_registry(record)
                if isinstance(event, StatusChanged):
                    found.append((record.block_number, event))
                if at % _SLICE == _SLICE - 1:
                    await asyncio.sleep(0)
        return head_words(self._words, found, final, view.head.number)

    async def _chunks(
        self, view: View, wanted: LogFilter, start: int, end: int
    ) -> AsyncIterator[tuple[int, list[LogRecord]]]:
        """Events of the blocks ``start`` to ``end``, some blocks at a time, with the last block of each chunk."""
        while start <= end:
            upto = min(end, start + self._stride.blocks - 1)
            try:
                records = await view.logs(wanted, start, upto)
            except TooManyLogs:
                if upto == start:
                    raise
                self._stride.refused(upto - start + 1)
                continue
            self._stride.took(len(records), upto - start + 1)
            yield upto, records
            start = upto + 1

    def _put_in_force(self, view: View, words: HeadWords, counts: Counter[str], now: Moment) -> None:
        was_stale = self.is_stale()
        before = self._in_force_of
        self._words = words
        if before == (self._final.snapshot, words):
            self._in_force = self._in_force.changed((), now.wall_ms)
        else:
            self._in_force = self._final.snapshot.changed(overlay(self._final.snapshot, words), now.wall_ms)
        self._in_force_of = (self._final.snapshot, words)
        first = self._freshness.confirmed(now)
        self._head_block = view.head.number
        if first or was_stale:
            took_s = round(self._monotonic_s() - now.monotonic_s, 3)
            log.info("registry.synced", block=view.final.number, took_s=took_s, **_totals(self._in_force))
        elif counts:
            log.info("registry.changed", block=view.final.number, **counts)
        if words.keys() - before[1].keys():
            log.warning("registry.shut_out_at_head", block=view.head.number, ids=len({name for name, _ in words}))
        if was_stale or before != self._in_force_of:
            self._on_change()

    def _tell_skipped(self, skipped: Sequence[Skip]) -> None:
        if skipped:
            self._skipped += len(skipped)
            log.warning("registry.event_skipped", count=len(skipped), id=skipped[0].id, why=skipped[0].why)


def _load(reader: IdentityReader, as_of_ms: int) -> RegistrySnapshot:
    builder = SnapshotBuilder()
    for row in reader.identities():
        builder.add(registration_of(row))
    return builder.build(as_of_ms)


def _totals(snapshot: RegistrySnapshot) -> dict[str, int]:
    return snapshot.counts._asdict()
