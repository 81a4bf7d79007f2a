"""The log's duties: a summary of refusals, a signed checkpoint of what has grown, and a change of its key."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import NamedTuple

from gateway.config.model import LogConfig
from gateway.ingest.counters import Refusals
from gateway.ingest.draft import Draft
from gateway.ingest.ledger import Ledger
from gateway.message import RejectReason
from gateway.tlog.checkpoint import checkpoint_body
from gateway.tlog.entry import KeyEntry, ModelEntry, RejectionsEntry, encode_entry


class Duty(Enum):
    """What the clerk puts between the batches."""

    SUMMARY = "summary"
    CHECKPOINT = "checkpoint"
    KEY = "key"
    MODELS = "models"


class LogKeys(NamedTuple):
    """The public key that signed last, as the journal knows it, and the one that signs from now on."""

    last: bytes | None
    now: bytes


class Clerk:
    """Wakes when there is something to do, waits its interval, and does it between two batches. Nothing polls."""

    def __init__(
        self, config: LogConfig, ledger: Ledger, *, origin: str, keys: LogKeys, wall_ms: Callable[[], int]
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._origin = origin
        self._keys = keys
        self._wall_ms = wall_ms
        self._refusals = Refusals(wall_ms())
        self._has_refused = asyncio.Event()
        self._has_grown = asyncio.Event()
        self._has_models = asyncio.Event()
        self._models: list[bytes] = []
        self._signed_size = 0
        if ledger.size:
            self._has_grown.set()

    def grown(self) -> None:
        """The log is longer than its last checkpoint."""
        self._has_grown.set()

    def refused(self, reason: RejectReason, device_id: str | None) -> bool:
        """Count a refusal for the next summary; True when it is the first of its reason."""
        self._has_refused.set()
        return self._refusals.add(reason, device_id)

    def model(self, model_id: str, version: int, manifest: bytes, event: str, reason: str | None) -> None:
        """Write into the log what became of a model: ``loaded``, ``refused`` or ``returned``.

        Raises:
            EntryError: the values are not those of the format; our own fault.
        """
        entry = ModelEntry(self._wall_ms(), model_id, version, manifest, event, reason)
        self._models.append(encode_entry(entry))
        self._has_models.set()

    async def run(self, put: Callable[[Duty], Awaitable[None]]) -> None:
        """Put duties into the pipeline until cancelled."""
        async with asyncio.TaskGroup() as duties:
            for duty, due, interval_s in (
                (Duty.MODELS, self._has_models, 0.0),
                (Duty.SUMMARY, self._has_refused, self._config.rejections_interval_s),
                (Duty.CHECKPOINT, self._has_grown, self._config.checkpoint_interval_s),
            ):
                duties.create_task(self._repeat(duty, due, interval_s, put), name=duty.value)

    def opening(self) -> list[Duty]:
        """What is owed before anything is signed: the log says that its key is another one."""
        return [Duty.KEY] if self._keys.last != self._keys.now else []

    def closing(self) -> list[Duty]:
        """What is still owed at the end: the log is sealed."""
        return [Duty.MODELS, Duty.SUMMARY, Duty.CHECKPOINT]

    def draft(self, duty: Duty) -> Draft | None:
        """Do a duty now; None when there is nothing to do."""
        match duty:
            case Duty.SUMMARY:
                return self._summary()
            case Duty.CHECKPOINT:
                return self._checkpoint()
            case Duty.KEY:
                return self._key()
            case Duty.MODELS:
                return self._model_entries()

    def _summary(self) -> Draft | None:
        refusals, now_ms = self._refusals, self._wall_ms()
        if not refusals.reasons:
            return None
        self._refusals = Refusals(now_ms)
        draft = Draft()
        entry = RejectionsEntry(now_ms, refusals.from_ms, now_ms, refusals.reasons, refusals.most_refused())
        self._ledger.append_entry(draft, encode_entry(entry))
        self._has_grown.set()
        return draft

    def _key(self) -> Draft:
        """Tell the log of its new key, once; the first key of all needs no telling."""
        draft, (last, now) = Draft(), self._keys
        draft.log_key = now
        if last is not None:
            self._ledger.append_entry(draft, encode_entry(KeyEntry(self._wall_ms(), last, now)))
            self._has_grown.set()
        return draft

    def _model_entries(self) -> Draft | None:
        entries, self._models = self._models, []
        if not entries:
            return None
        draft = Draft()
        for entry in entries:
            self._ledger.append_entry(draft, entry)
        self._has_grown.set()
        return draft

    def _checkpoint(self) -> Draft | None:
        size = self._ledger.size
        if size == self._signed_size:
            return None
        self._signed_size = size
        root = self._ledger.root()
        return Draft.of_checkpoint(size, root, checkpoint_body(self._origin, size, root), self._wall_ms())

    @staticmethod
    async def _repeat(
        duty: Duty, due: asyncio.Event, interval_s: float, put: Callable[[Duty], Awaitable[None]]
    ) -> None:
        while True:
            await due.wait()
            await asyncio.sleep(interval_s)
            due.clear()
            await put(duty)
