"""What the gateway does for its store beside the messages: maintenance, and the published copy of its log.

Both wait for an event of ingest, so that an idle gateway does nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import structlog

from gateway.journal import Journal, JournalFault, MaintenanceReport, Reader
from gateway.ops.publish import publish
from gateway.tlog.tiles import MissingTileError

log = structlog.get_logger("gateway")

_MAINTAIN_S: Final = 1.0
_PUBLISH_AGAIN_S: Final = 10.0


class JournalCare:
    """Maintenance of the journal: after commits, and while it refuses them, but at most once a second."""

    def __init__(self, journal: Journal, touched: asyncio.Event, wall_ms: Callable[[], int]) -> None:
        self._journal = journal
        self._touched = touched
        self._wall_ms = wall_ms
        self.report: MaintenanceReport | None = None

    async def run(self) -> None:
        """Maintain until cancelled; a fault is told once, and so is that it is over; the next commit asks again."""
        failed = False
        while True:
            await self._touched.wait()
            await asyncio.sleep(_MAINTAIN_S)
            self._touched.clear()
            try:
                self.report = await self._journal.maintain(self._wall_ms())
            except JournalFault as fault:
                if not failed:
                    log.warning("journal.care_failed", detail=str(fault))
                failed = True
            else:
                if failed:
                    log.info("journal.cared_for")
                failed = False


class Publication:
    """Tiles, entries and checkpoint in ``log.publish_dir`` after each checkpoint; no directory, no publication."""

    def __init__(
        self, directory: str, sealed: asyncio.Event, open_log: Callable[[], AbstractContextManager[Reader]]
    ) -> None:
        self._directory = directory
        self._sealed = sealed
        self._open_log = open_log
        self._fault = ""

    async def run(self) -> None:
        """Publish until cancelled; a fault is told once, and so is that it is over; meanwhile it is tried again."""
        published = 0
        while self._directory:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PUBLISH_AGAIN_S if self._fault else None):
                    await self._sealed.wait()
            self._sealed.clear()
            try:
                published = await asyncio.to_thread(self._publish, Path(self._directory), published)
            except (OSError, MissingTileError, JournalFault) as fault:
                if not self._fault:
                    log.error("log.not_published", detail=str(fault))
                self._fault = str(fault)
            else:
                if self._fault:
                    log.info("log.published", size=published)
                self._fault = ""

    def warnings(self) -> list[str]:
        """What a person should know although messages are taken."""
        return [f"the log is not published: {self._fault}"] if self._fault else []

    def _publish(self, directory: Path, since: int) -> int:
        """Publish what the newest checkpoint covers; returns its size."""
        with self._open_log() as reader:
            checkpoint = reader.latest_checkpoint()
            return since if checkpoint is None else publish(reader, checkpoint, directory, since=since).size
