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
    CLOCK = "clock"


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
        self._has_clock = asyncio.Event()
        self._models: list[bytes] = []
        self._signed_size = 0
        if ledger.size:
            self._has_grown.set()

    def retune(self, config: LogConfig) -> None:
        """Other intervals, from the next duty on; one that waits already waits as long as it was to."""
        self._config = config

    def clock_changed(self) -> None:
        """The clock's watch has something for the log."""
        self._has_clock.set()

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
            for duty, due in (
                (Duty.CLOCK, self._has_clock),
                (Duty.MODELS, self._has_models),
                (Duty.SUMMARY, self._has_refused),
                (Duty.CHECKPOINT, self._has_grown),
            ):
                duties.create_task(self._repeat(duty, due, put), name=duty.value)

    def opening(self) -> list[Duty]:
        """What is owed before anything is signed: the log says that its key is another one, and how the clock is."""
        return [Duty.KEY, Duty.CLOCK] if self._keys.last != self._keys.now else [Duty.CLOCK]

    def closing(self) -> list[Duty]:
        """What is still owed at the end: the log is sealed."""
        return [Duty.CLOCK, Duty.MODELS, Duty.SUMMARY, Duty.CHECKPOINT]

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
            case Duty.CLOCK:
                return self._clock()

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

    def _clock(self) -> Draft | None:
        self._ledger.heed_clock()
        draft = Draft()
        if not self._ledger.append_news(draft):
            return None
        self._has_grown.set()
        return draft

    def _checkpoint(self) -> Draft | None:
        size = self._ledger.size
        if size == self._signed_size:
            return None
        self._signed_size = size
        root = self._ledger.root()
        return Draft.of_checkpoint(size, root, checkpoint_body(self._origin, size, root), self._wall_ms())

    def _interval_s(self, duty: Duty) -> float:
        match duty:
            case Duty.SUMMARY:
                return self._config.rejections_interval_s
            case Duty.CHECKPOINT:
                return self._config.checkpoint_interval_s
            case _:
                return 0.0

    async def _repeat(self, duty: Duty, due: asyncio.Event, put: Callable[[Duty], Awaitable[None]]) -> None:
        while True:
            await due.wait()
            await asyncio.sleep(self._interval_s(duty))
            due.clear()
            await put(duty)
