"""The models in force: scores batches in a process of its own, swaps models between two batches.

``run`` keeps that process alive while there are models; a gateway without models has none, and imports neither numpy
nor LiteRT. Whatever a model does, a message costs at most the time limit and its verdict.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from gateway.detection import frames
from gateway.detection.frames import Operation
from gateway.detection.link import Limits, WorkerLink, WorkerLost
from gateway.detection.port import LoadedModel, UnscoredReason
from gateway.detection.traffic import Statistic
from gateway.message import Score, VerifiedMessage

log = structlog.get_logger("detection")

MODELS_MAX: Final = 16
"""Models in force at once."""
FAULTS: Final = 3
FAULTS_WITHIN_S: Final = 600.0
"""So many faults in so long put a model aside: one that stumbled once over a busy machine stays."""

_UNSCORED: Final = Score()
_REFUSED_KEPT: Final = 4096
_START_S: Final = 30.0
_BACK_OFF_S: Final = (0.0, 0.2, 1.0, 5.0, 15.0, 60.0)
_STEADY_S: Final = 60.0

PutAside = Callable[[LoadedModel, str], None]


async def prove(model: LoadedModel, limits: Limits | None = None) -> str | None:
    """Load a model in a process of its own, end it again, and say why the model cannot be used; None when it can.

    A model that crashes, takes all memory or never ends does so there.
    """
    limits = limits or Limits()
    try:
        link = await WorkerLink.start(limits)
    except OSError as fault:
        return f"no process could be started to try it: {fault.strerror}"
    try:
        (refusal,) = await link.load([model], 0, _START_S)
    except WorkerLost as lost:
        return f"the process that tried it {lost}"
    finally:
        await link.close()
    return refusal


class ModelSet:
    """Several models at once; each message is given to one of them (``gateway.detection.selection``).

    Args:
        limits: what the scoring process may take.
        put_aside: told on the event loop of a model that is no longer asked, and why.
        now_s: monotonic seconds.
    """

    def __init__(
        self, now_s: Callable[[], float], limits: Limits | None = None, put_aside: PutAside | None = None
    ) -> None:
        self._limits = limits or Limits()
        self._put_aside = put_aside
        self._now_s = now_s
        self._models: tuple[LoadedModel, ...] = ()
        self._aside = 0
        self._faults: dict[bytes, deque[float]] = {}
        self._refused: deque[str] = deque(maxlen=_REFUSED_KEPT)
        self._counts_refusals = False
        self._link: WorkerLink | None = None
        self._lock = asyncio.Lock()
        self._swapping = asyncio.Lock()
        self._changed = asyncio.Condition()
        self.scored: Counter[bytes] = Counter()
        self.unscored: Counter[UnscoredReason] = Counter()
        self.restarts = 0
        self._down = False

    @property
    def models(self) -> tuple[LoadedModel, ...]:
        """The models in force, those that are put aside too."""
        return self._models

    def refused(self, device_id: str) -> None:
        """Count a refusal for the device's statistics; it is known from the next batch on."""
        if self._counts_refusals:
            self._refused.append(device_id)

    async def score(self, messages: Sequence[VerifiedMessage]) -> list[Score]:
        """Return one score a message, in their order; never raises for what a model does."""
        if not messages:
            return []
        if not self._models:
            return self._none(messages, UnscoredReason.NO_MODEL)
        async with self._lock:
            link, models = self._link, self._models
            if link is None:
                return self._none(messages, UnscoredReason.WORKER_LOST)
            refused = list(self._refused)
            self._refused.clear()
            batch = frames.pack_batch(messages, refused, self._aside)
            try:
                body = await link.ask(Operation.SCORE, batch, self._limits.model_s * len(models))
            except WorkerLost as lost:
                self._link = None
                self._blame(models, lost)
                return self._none(messages, lost.reason)
        scores, reasons, faults = frames.unpack_results(body, models)
        self.unscored.update(reasons)
        self.scored.update(score.model for score in scores if score.model is not None)
        for place in faults:
            self._fault(models[place], "it raises, and no longer passes its smoke test")
        return scores

    async def ping(self) -> None:
        """Return when the scoring process has answered, or is known to be away: then nothing waits for it."""
        async with self._lock:
            link, models = self._link, self._models
            if link is None or not models:
                return
            try:
                await link.ask(Operation.SCORE, frames.pack_batch((), (), self._aside), self._limits.model_s)
            except WorkerLost as lost:
                self._link = None
                self._blame(models, lost)

    def _none(self, messages: Sequence[VerifiedMessage], reason: UnscoredReason) -> list[Score]:
        self.unscored[reason] += len(messages)
        return [_UNSCORED] * len(messages)

    async def swap(self, models: Sequence[LoadedModel]) -> list[str | None]:
        """Put these models in force in place of all before, between two batches: none is lost or unscored by it.

        Each new one is proved in a process of its own first. One refusal, and everything stays as it was. Returns
        when the new models score. ``run`` has to be running.

        Returns:
            Why each was refused, None for those that were not.
        """
        if len(models) > MODELS_MAX:
            raise ValueError(f"at most {MODELS_MAX} models at once")
        async with self._swapping:
            known = {model.manifest_sha256 for model in self._models}
            refusals = [
                None if model.manifest_sha256 in known else await prove(model, self._limits) for model in models
            ]
            if any(refusals):
                return refusals
            return await self._switch(tuple(models))

    async def _switch(self, models: tuple[LoadedModel, ...]) -> list[str | None]:
        before, aside_before = self._models, self._aside
        kept = {model.manifest_sha256 for place, model in enumerate(before) if aside_before >> place & 1}
        aside = sum(1 << place for place, model in enumerate(models) if model.manifest_sha256 in kept)
        refusals: list[str | None] = [None] * len(models)
        async with self._lock:
            if self._link is not None and models:
                try:
                    refusals = await self._link.load(list(models), aside, self._limits.model_s * len(models))
                except WorkerLost as lost:
                    self._link = None
                    return [f"the scoring process {lost}"] * len(models)
                if any(refusals):
                    return refusals
            self._models, self._aside = models, aside
            self._faults = {
                model.manifest_sha256: self._faults.get(model.manifest_sha256, deque()) for model in models
            }
            self.scored = Counter({digest: self.scored[digest] for digest in self._faults})
            self._counts_refusals = any(_counts_refusals(model) for model in models)
        async with self._changed:
            self._changed.notify_all()
            if not models:
                if self._link is not None:
                    self._link.kill()
                    self._link = None
                return refusals
            try:
                async with asyncio.timeout(_START_S):
                    await self._changed.wait_for(lambda: self._link is not None)
            except TimeoutError:
                if self._link is None:
                    self._models, self._aside = before, aside_before
                    return ["the scoring process does not start"] * len(models)
        return refusals

    async def run(self) -> None:
        """Keep a scoring process alive while there are models, until cancelled. It is started anew after a while."""
        fruitless = 0
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._models))
            await asyncio.sleep(_BACK_OFF_S[min(fruitless, len(_BACK_OFF_S) - 1)])
            started_s = self._now_s()
            await self._serve_one_child()
            if not self._models:
                fruitless = 0
                continue
            self.restarts += 1
            fruitless = 0 if self._now_s() - started_s > _STEADY_S else fruitless + 1

    async def _serve_one_child(self) -> None:
        """Start a child, load the models in force, and wait until it ends."""
        try:
            link = await WorkerLink.start(self._limits)
        except OSError as fault:
            if not self._down:
                log.error("detection.no_worker", detail=fault.strerror)
            self._down = True
            return
        try:
            async with self._lock:
                models, aside = self._models, self._aside
                if not models:
                    return
                try:
                    refusals = await link.load(list(models), aside, _START_S)
                except WorkerLost as lost:
                    self._blame(models, lost)
                    return
                for model, refusal in zip(models, refusals, strict=True):
                    if refusal is not None:
                        self._aside_now(model, refusal)
                if any(refusals) or self._models is not models:  # it took too long, and the swap was taken back
                    return
                self._link = link
            async with self._changed:
                self._changed.notify_all()
            if self._down:
                self._down = False
                log.info("detection.worker_up", restarts=self.restarts)
            await link.ended()
            if self._link is link:  # between two batches: nobody was there to notice
                self._gone("it ended")
        finally:
            if self._link is link:
                self._link = None
            await link.close()

    def _blame(self, models: Sequence[LoadedModel], lost: WorkerLost) -> None:
        if lost.place is None:
            self._gone(str(lost))
            return
        model = models[lost.place]
        late = lost.reason is UnscoredReason.TIME_LIMIT
        self._fault(model, "it does not answer in time" if late else "it ends the process that runs it")

    def _gone(self, detail: str) -> None:
        if not self._down:
            log.warning("detection.worker_lost", detail=detail)
        self._down = True

    def _fault(self, model: LoadedModel, what: str) -> None:
        """Note a fault; the third within ten minutes puts the model aside."""
        log.warning("model.fault", model=model.model_id, version=model.version, detail=what)
        now_s = self._now_s()
        times = self._faults.setdefault(model.manifest_sha256, deque())
        times.append(now_s)
        while now_s - times[0] > FAULTS_WITHIN_S:
            times.popleft()
        if len(times) >= FAULTS:
            self._aside_now(model, what)

    def _aside_now(self, model: LoadedModel, why: str) -> None:
        for place, other in enumerate(self._models):
            if other.manifest_sha256 == model.manifest_sha256 and not self._aside >> place & 1:
                self._aside |= 1 << place
                log.error("model.put_aside", model=model.model_id, version=model.version, detail=why)
                if self._put_aside is not None:
                    self._put_aside(model, why)

    def status(self) -> dict[str, Any]:
        """What the status page shows."""
        return {
            "worker": "none" if not self._models else "up" if self._link is not None else "lost",
            "restarts": self.restarts,
            "unscored": {reason.value: count for reason, count in self.unscored.items()},
            "models": [
                {
                    "model": model.model_id,
                    "version": model.version,
                    "manifest_sha256": model.manifest_sha256.hex(),
                    "scored": self.scored[model.manifest_sha256],
                    "faults": len(self._faults.get(model.manifest_sha256, ())),
                    "put_aside": bool(self._aside >> place & 1),
                }
                for place, model in enumerate(self._models)
            ],
        }


def _counts_refusals(model: LoadedModel) -> bool:
    return any(column.name == Statistic.REFUSED_RATIO for column in model.spec.inputs.columns)
