"""The journal as the rest of the house sees it: awaitable on the outside, three threads on the inside.

One thread writes, one answers the questions of the ingest loop, one takes care of the files. Each has a connection of
its own, so that none waits for another but where SQLite itself makes it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

import cbor2

from gateway.config.model import JournalConfig
from gateway.journal import accesses, identities, models, outbox
from gateway.journal.accesses import AccessRow, OwedReport
from gateway.journal.budget import PAGE_BYTES
from gateway.journal.identities import IdentityCursor, IdentityRow
from gateway.journal.models import ModelEnvelope, ModelRow, ReportRow
from gateway.journal.outbox import AnchorRow
from gateway.journal.reader import Reader
from gateway.journal.rows import (
    TILE_HASHES,
    Gap,
    Group,
    Identity,
    JournalDamaged,
    Known,
    LeftOut,
    MaintenanceReport,
    TileRow,
)
from gateway.journal.writer import Writer

_P = ParamSpec("_P")
_R = TypeVar("_R")

_BLOCKS_A_STEP = 4
_STEPS_A_ROUND = 64
_PAGES_A_STEP = 256
_CHECKPOINTS_KEPT = 2048
_ANCHORS_KEPT = 1024
_HOUR_MS = 3_600_000
_TIME_FIELD = 2


def entry_time_ms(entry: bytes) -> int | None:
    """Return when an entry was made (FORMATS.md §5), None when these bytes are no entry."""
    try:
        fields = cbor2.loads(entry)
    except (cbor2.CBORDecodeError, ValueError, TypeError):
        return None
    time_ms = fields[_TIME_FIELD] if isinstance(fields, list) and len(fields) > _TIME_FIELD else None
    return time_ms if isinstance(time_ms, int) else None


class Journal:
    """An open journal; made by ``open_journal``, ended by ``close``.

    ``left_out``: rows beside the log that did not come over, when its database had to be set aside.
    """

    def __init__(  # noqa: PLR0913 -- its parts, and what was found of them
        self,
        writer: Writer,
        reader: Reader,
        care: Reader,
        config: JournalConfig,
        lock: int,
        *,
        left_out: Sequence[LeftOut] = (),
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._care = care
        self._config = config
        self._lock = lock
        self.left_out = tuple(left_out)
        self._rounds = 0
        self._write_thread = ThreadPoolExecutor(1, "journal-write")
        self._read_thread = ThreadPoolExecutor(1, "journal-read")
        self._care_thread = ThreadPoolExecutor(1, "journal-care")

    async def _on(
        self, thread: ThreadPoolExecutor, call: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs
    ) -> _R:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(thread, lambda: call(*args, **kwargs))
        except JournalDamaged:
            await loop.run_in_executor(self._write_thread, self._writer.suspect)
            raise

    async def ping(self) -> None:
        """Return when each of the journal's threads has come to this question, behind what it was given before."""
        for thread in (self._write_thread, self._read_thread, self._care_thread):
            await self._on(thread, _nothing)

    # --- writing ---

    async def commit(self, group: Group) -> None:
        """Store the group in one transaction; it is durable when this returns. A cancelled call may still store it.

        Raises:
            ValueError: The entries do not continue the log, or a message has no entry: a fault of the caller.
            IdentityTaken: An identity is in the journal already: a fault of the caller, or of the windows that it was
                given. Those are doubted by now (docs/spec/journal.md, rule 12).
            JournalFull: The budget is used up; push back, it clears by itself when ``maintain`` makes room.
            JournalFault: The disk did not take it; push back, the same group may be committed later.
            JournalDamaged: The database is not sound; close this journal and open it again.
            LogDamaged: The log takes no entries until the operator decides (ADR 0072); push back.
        """
        await self._on(self._write_thread, self._writer.commit, group)

    async def set_final_size(self, size: int) -> None:
        """Note that the first ``size`` entries are final on chain, so that the policy may drop them.

        Raises:
            JournalFault: The disk did not take it.
            JournalDamaged: The database is not sound.
        """
        await self._on(self._write_thread, self._writer.set_final_size, size)

    async def record_anchors(self, rows: Sequence[AnchorRow]) -> None:
        """Write rows of the anchor outbox, all or none; durable when this returns.

        Raises:
            JournalFault: The disk did not take it.
            JournalDamaged: The database is not sound.
        """
        await self._on(self._write_thread, self._writer.transact, partial(outbox.store, rows=rows))

    async def record_accesses(self, rows: Sequence[AccessRow]) -> None:
        """Write rows of the access outbox, all or none; durable when this returns.

        Raises:
            JournalFault: The disk did not take it.
            JournalDamaged: The database is not sound.
        """
        await self._on(self._write_thread, self._writer.transact, partial(accesses.store, rows=rows))

    async def apply_identities(self, rows: Sequence[IdentityRow], cursor: IdentityCursor) -> None:
        """Write what the chain's registry says now, and up to where; durable when this returns.

        Raises:
            JournalFault: The disk did not take it.
            JournalDamaged: The database is not sound.
        """
        await self._on(self._write_thread, self._writer.transact, partial(identities.apply, rows=rows, cursor=cursor))

    async def forget_identities(self) -> None:
        """Drop what is held of the chain's registry: it is followed anew from its first block.

        Raises:
            JournalFault: The disk did not take it.
            JournalDamaged: The database is not sound.
        """
        await self._on(self._write_thread, self._writer.transact, identities.forget)

    async def record_model(self, row: ModelRow, envelope: ModelEnvelope | None = None) -> None:
        """Write what this gateway ran of a model, in place of what was written before; durable when this returns.

        Raises:
            JournalFault: The disk did not take it.
            JournalDamaged: The database is not sound.
        """
        store = partial(models.store, row=row, envelope=envelope)
        await self._on(self._write_thread, self._writer.transact, store)

    async def report_model(self, report: ReportRow) -> None:
        """Write what was done with a version of a model; durable when this returns.

        Raises:
            JournalFault: The disk did not take it.
            JournalDamaged: The database is not sound.
        """
        await self._on(self._write_thread, self._writer.transact, partial(models.add_report, report=report))

    # --- reading ---

    async def lookup(self, identities: Sequence[Identity]) -> dict[Identity, Known]:
        """Return what is held of these identities; those that are not here are left out.

        Raises:
            JournalFault: The disk failed.
            JournalDamaged: The database is not sound.
        """
        return await self._on(self._read_thread, self._reader.lookup, identities)

    async def replay_states(self, device_ids: Sequence[str]) -> dict[str, bytes]:
        """Return the stored replay states of these devices; those without one are left out.

        Raises:
            JournalFault: The disk failed.
            JournalDamaged: The database is not sound.
        """
        return await self._on(self._read_thread, self._reader.replay_states, device_ids)

    async def open_anchors(self) -> list[AnchorRow]:
        """Return the rows of the anchor outbox that have not come to their end, the oldest first."""
        return await self._on(self._read_thread, self._reader.open_anchors)

    async def newest_anchors(self, limit: int = 1) -> list[AnchorRow]:
        """Return the newest rows of the anchor outbox, the newest first."""
        return await self._on(self._read_thread, self._reader.newest_anchors, limit)

    async def open_accesses(self) -> list[AccessRow]:
        """Return the rows of the access outbox that have not come to their end, the oldest first."""
        return await self._on(self._read_thread, self._reader.open_accesses)

    async def newest_accesses(self, limit: int = 1) -> list[AccessRow]:
        """Return the newest rows of the access outbox, the newest first."""
        return await self._on(self._read_thread, self._reader.newest_accesses, limit)

    async def owed_reports(self, limit: int = 1) -> list[OwedReport]:
        """Return the oldest reports that no transaction carries."""
        return await self._on(self._read_thread, self._reader.owed_reports, limit)

    async def models(self) -> list[ModelRow]:
        """Return what this gateway ever ran of each model."""
        return await self._on(self._read_thread, self._reader.models)

    async def model_envelope(self, model_id: str, version: int) -> bytes | None:
        """Return the signed manifest of a version that ran, None when it is not kept."""
        return await self._on(self._read_thread, self._reader.model_envelope, model_id, version)

    def size(self) -> int:
        """Return how many entries the log has: the index of the next one."""
        return self._writer.size

    @property
    def full(self) -> bool:
        """Whether groups are refused for want of room."""
        return self._writer.room.full

    def tile(self, level: int, index: int) -> bytes | None:
        """Return a full tile, None when it is not stored. Reads the disk in the caller's thread: for the start."""
        return self._reader.tile(level, index)

    def leaf_hashes(self, start: int, end: int) -> list[bytes]:
        """Return leaf hashes. Reads the disk in the caller's thread: for the start."""
        return self._reader.leaf_hashes(start, end)

    # --- taking care ---

    async def maintain(self, now_ms: int) -> MaintenanceReport:
        """Fold the write-ahead log back, drop what the policy lets go, give free space back; call it every second.

        Works in small steps, between which groups are committed.

        Raises:
            JournalFault: The disk failed; call again later.
            JournalDamaged: The database is not sound.
        """
        writer, care = self._writer, self._care
        await self._on(self._care_thread, care.fold_back)
        usage = await self._on(self._care_thread, care.usage)
        await self._on(self._write_thread, writer.room.measured, usage)
        dropped = 0
        steps = 0
        while writer.room.used_bytes > writer.room.marks.drop_at and steps < _STEPS_A_ROUND:
            count = await self._drop_step(now_ms)
            if not count:
                break
            dropped += count
            steps += 1
            usage = await self._on(self._care_thread, care.usage)
            await self._on(self._write_thread, writer.room.measured, usage)
        returned = await self._give_back(usage.free_bytes // PAGE_BYTES)
        if self._rounds % 256 == 0:
            await self._thin_checkpoints()
        self._rounds += 1
        if dropped or returned:
            await self._on(self._care_thread, care.fold_back)
            usage = await self._on(self._care_thread, care.usage)
            await self._on(self._write_thread, writer.room.measured, usage)
        first = await self._on(self._care_thread, care.first_index)
        return MaintenanceReport(
            dropped_entries=dropped,
            first_index=first,
            returned_pages=returned,
            usage=usage,
            full=writer.room.full,
            retry_soon=steps == _STEPS_A_ROUND,
        )

    async def _drop_step(self, now_ms: int) -> int:
        """Drop up to four blocks of 256 entries that the policy lets go; return how many entries."""
        plan = await self._on(self._care_thread, self._plan_drop, now_ms)
        if plan is None:
            return 0
        start, end, tiles, gap = plan
        await self._on(self._write_thread, self._writer.drop, start, end, tiles, gap)
        return end - start

    def _plan_drop(self, now_ms: int) -> tuple[int, int, list[TileRow], Gap] | None:
        care = self._care
        start = care.first_index() // TILE_HASHES * TILE_HASHES
        limit = care.final_size()
        if self._config.drop_unanchored:
            note = care.latest_checkpoint()
            limit = max(limit, 0 if note is None else note.size)
        tiles: list[TileRow] = []
        end = start
        while len(tiles) < _BLOCKS_A_STEP and end + TILE_HASHES <= min(limit, self.size()):
            block = end // TILE_HASHES
            data = care.tile(0, block)
            times = [entry_time_ms(entry) for entry in care.block_entries(end, end + TILE_HASHES)]
            if data is None or any(time is None or time > now_ms - self._config.retention_s * 1000 for time in times):
                break
            tiles.append(TileRow(0, block, data))
            end += TILE_HASHES
        if not tiles:
            return None
        before = next((gap.start for gap in care.gaps() if gap.reason == "policy" and gap.end == start), start)
        return start, end, tiles, Gap(before, end, "policy")

    async def _give_back(self, free_pages: int) -> int:
        """Return free pages above the slack to the filesystem; return how many."""
        surplus = free_pages - self._writer.room.marks.slack_pages
        returned = 0
        for _ in range(_STEPS_A_ROUND):
            if returned >= surplus:
                break
            pages = min(_PAGES_A_STEP, surplus - returned)
            await self._on(self._write_thread, self._writer.vacuum, pages)
            returned += pages
        return returned

    async def _thin_checkpoints(self) -> None:
        """Keep the newest checkpoints, and one an hour of those before."""
        keep_above = await self._on(self._care_thread, self._care.checkpoint_size_at, _CHECKPOINTS_KEPT)
        if keep_above is not None:
            await self._on(self._write_thread, self._writer.thin_checkpoints, keep_above, _HOUR_MS)
        await self._on(self._write_thread, self._writer.thin_anchors, _ANCHORS_KEPT, _HOUR_MS)

    async def close(self) -> None:
        """Finish what was begun, fold everything into the database file, release the files.

        Raises:
            JournalFault: The disk failed at the last moment; nothing that was committed is lost.
            JournalDamaged: The database is not sound; the next opening sets it aside.
        """
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._care_thread, self._care.close)
            await loop.run_in_executor(self._read_thread, self._reader.close)
            await loop.run_in_executor(self._write_thread, self._writer.close)
        finally:
            for thread in (self._care_thread, self._read_thread, self._write_thread):
                thread.shutdown(wait=False)
            os.close(self._lock)


def _nothing() -> None:
    """Answers a ping."""
