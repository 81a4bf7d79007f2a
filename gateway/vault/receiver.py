"""The receiver: follows the chain's final word on the models of this gateway, and brings them into force (I/O).

``look`` (called by the chain watch) only reads what became final, and is short. ``run`` is a task of its own: it
asks ``receiver_rules`` what to do, fetches and opens (``receiver_open``), remembers, and swaps, which runs the smoke
test. Whatever fails, what runs goes on running; the failure is in ``status`` and told once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

import structlog

from gateway.chain.model_events import ModelHistory, Models, fold_models, read_models
from gateway.chain.models import Result, verify_model_contract
from gateway.chain.port import EndpointFault, View
from gateway.config.model import ModelsConfig
from gateway.detection.port import LoadedModel
from gateway.journal import JournalFault, ModelEnvelope, ModelRow, ReportRow
from gateway.vault import receiver_rules as rules
from gateway.vault.receiver_open import Means, NotLoaded, Unsealed, unseal
from gateway.vault.receiver_rules import Act, Memory, Moment, Policy, Ran, Reason, Refusal, Standing
from gateway.vault.receiver_state import FROZEN, ModelState

log = structlog.get_logger("models")

_BLOCKS_A_LOOK: Final = 100_000
"""So much is caught up with at one look, so that a long past keeps nobody else from looking."""
_TRIES: Final = 8
_ENVELOPE_KEPT: Final = 1 << 18
"""A larger manifest is fetched again when its version is gone back to: the journal's budget is for messages."""
_TICK_S: Final = 5.0
"""Expiry, the age of the final block and back-offs come by themselves: they are looked at so often."""

TellModel = Callable[[str, int, bytes, str, str | None], None]
"""Writes an entry of the kind ``model`` into the log (``gateway.ingest.clerk.Clerk.model``)."""


class Running(Protocol):
    """The models in force (``gateway.detection.scorer.ModelSet``)."""

    @property
    def models(self) -> tuple[LoadedModel, ...]:
        """Those in force, those that are put aside too."""
        ...

    async def swap(self, models: Sequence[LoadedModel]) -> list[str | None]:
        """Put these in force in place of all before; why each was refused. One refusal, and all stays as it was."""
        ...


class Store(Protocol):
    """The journal, as far as the receiver cares (``gateway.journal.Journal``)."""

    async def models(self) -> list[ModelRow]:
        """What this gateway ever ran."""
        ...

    async def model_envelope(self, model_id: str, version: int) -> bytes | None:
        """The signed manifest of a version that ran."""
        ...

    async def record_model(self, row: ModelRow, envelope: ModelEnvelope | None = None) -> None:
        """Write what ran of a model; durable when it returns."""
        ...

    async def report_model(self, report: ReportRow) -> None:
        """Write what is to be reported; durable when it returns."""
        ...


class Contract(NamedTuple):
    """Where the chain speaks of models: ModelRegistry, the registry it asks, and the first block to read."""

    address: bytes
    registry: bytes
    deploy_block: int
    logs_blocks: int


class Clock(Protocol):
    """Both clocks (``gateway.chain.endpoint.Clock``)."""

    @property
    def monotonic_s(self) -> Callable[[], float]:
        """Seconds that never go back."""
        ...

    @property
    def wall_ms(self) -> Callable[[], int]:
        """Milliseconds since 1970."""
        ...


class ModelReceiver:
    """Brings the models that the chain names into force; a ``gateway.chain.port.Looker``.

    Args:
        config: which models, and when they are refused.
        contract: where the chain speaks of them.
        means: what they are opened with.
        running: the models in force.
        store: the journal.
        tell: writes into the log.
        clock: both clocks.
    """

    def __init__(  # noqa: PLR0913 -- one argument for each thing it works with
        self,
        config: ModelsConfig,
        contract: Contract,
        means: Means,
        *,
        running: Running,
        store: Store,
        tell: TellModel,
        clock: Clock,
    ) -> None:
        self._contract = contract
        self._means = means
        self._running = running
        self._store = store
        self._tell = tell
        self._clock = clock
        publishers = frozenset(bytes.fromhex(key) for key in config.publishers)
        self._policy = Policy(means.gateway_id, config.freeze_after_s, publishers)
        self._models = {name: ModelState() for name in config.enabled}
        self._histories: Models = {}
        self._next_block = contract.deploy_block
        self._verified = False
        self._final_s: int | None = None
        self._caught_up = False
        self._frozen = False
        self._woken = {name: asyncio.Event() for name in config.enabled}
        self._swapping = asyncio.Lock()

    # --- the chain ---

    async def look(self, view: View) -> None:
        """Read what became final since the last look.

        Raises:
            ChainError: as from the view; what was known stays.
        """
        contract, final = self._contract, view.final
        if not self._verified:
            await verify_model_contract(view, contract.address, contract.registry)
            self._verified = True
        start = self._next_block
        end = min(final.number, start + _BLOCKS_A_LOOK - 1)
        if end >= start:
            events = await read_models(
                view, contract.address, start, end, tuple(self._models), blocks=contract.logs_blocks
            )
            try:
                self._histories = fold_models(events, self._histories)
            except EndpointFault:
                # What was folded before may have been short of an event: begin again, with what runs running on.
                self._histories, self._next_block, self._caught_up = {}, contract.deploy_block, False
                raise
            self._next_block = end + 1
        self._caught_up = end >= final.number or start > final.number
        if self._caught_up:
            self._final_s = max(self._final_s or 0, final.timestamp_s)
            for woken in self._woken.values():
                woken.set()

    def put_aside(self, model: LoadedModel, why: str) -> None:
        """A model failed at work: go back to the last good version. For ``ModelSet``, on the event loop."""
        known = self._models.get(model.model_id)
        if known is not None:
            known.asides.append((Ran(model.version, model.manifest_sha256), why))
            self._woken[model.model_id].set()

    # --- what is done ---

    async def run(self) -> None:
        """Bring models into force until cancelled. ``ModelSet.run`` has to be running.

        Raises:
            JournalFault, JournalDamaged: the journal cannot be read.
        """
        await self.restore()
        async with asyncio.TaskGroup() as tasks:
            for name in self._models:
                tasks.create_task(self._follow(name), name=f"model {name}")

    async def _follow(self, name: str) -> None:
        woken = self._woken[name]
        while True:
            woken.clear()
            await self._attend(name)
            try:
                async with asyncio.timeout(_TICK_S):
                    await woken.wait()
            except TimeoutError:
                continue

    async def restore(self) -> None:
        """Take up what the journal remembers; before anything is settled.

        Raises:
            JournalFault, JournalDamaged: the journal cannot be read.
        """
        for row in await self._store.models():
            if row.model_id in self._models:
                self._models[row.model_id].memory = rules.memory_of(row)

    async def settle(self) -> None:
        """Do all there is to do now, one model after the other."""
        for name in self._models:
            await self._attend(name)

    async def _attend(self, name: str) -> None:
        model = self._models[name]
        await self._take_asides(name, model)
        if not self._caught_up:
            return
        self._tell_frozen()
        for _ in range(_TRIES):
            history = self._histories.get(name)
            if history is None:
                return
            model.forget_failures(history)
            decision = rules.decide(history, self._standing(model), self._policy, self._moment())
            model.refusal = decision.refusal
            if decision.refusal is not None:
                await self._tell_refusal(name, model, decision.refusal)
            if decision.act is Act.KEEP or decision.ran is None:
                return
            if decision.act is Act.DROP:
                if not await self._drop(name, model):
                    return
            else:
                await self._load(name, model, history, decision.ran)

    @staticmethod
    def _standing(model: ModelState) -> Standing:
        return Standing(model.running, model.memory, model.failed)

    def _is_still_wanted(self, name: str, model: ModelState, ran: Ran) -> bool:
        """Whether the chain, as it was read meanwhile, and the time still say so."""
        history = self._histories.get(name, ModelHistory())
        decision = rules.decide(history, self._standing(model), self._policy, self._moment())
        return decision.act is Act.LOAD and decision.ran == ran

    async def _drop(self, name: str, model: ModelState) -> bool:
        async with self._swapping:
            refusals = await self._running.swap([each for each in self._running.models if each.model_id != name])
        if any(refusals):
            if model.running is not None and model.is_news(model.running, "not-dropped"):
                log.error("model.not_dropped", model=name, detail=next(filter(None, refusals)))
            return False
        model.running = model.expires_ms = None
        return True

    async def _load(self, name: str, model: ModelState, history: ModelHistory, ran: Ran) -> None:
        before = model.memory
        returns = ran == before.before
        reason = model.why_returned(history).value if returns else None
        try:
            kept = (
                await self._store.model_envelope(name, ran.version) if ran in (before.good, before.before) else None
            )
            said = history.versions[ran.version]
            found = await unseal(self._means, name, ran.version, said, now_ms=self._clock.wall_ms(), kept=kept)
            if not self._is_still_wanted(name, model, ran):
                return
            model.memory = rules.remember_loaded(before, ran)
            # First the journal: a version that runs and is not remembered could be rolled back.
            small = len(found.envelope) <= _ENVELOPE_KEPT
            envelope = ModelEnvelope(ran.version, found.envelope) if small else None
            await self._store.record_model(rules.row_of(name, model.memory), envelope)
            await self._swap(name, found)
        except (NotLoaded, JournalFault) as fault:
            model.memory = before
            await self._failed(name, model, ran, fault)
            return
        model.running, model.expires_ms = ran, found.expires_ms
        model.failed.pop(ran.manifest_sha256, None)
        result = Result.RETURNED if returns else Result.LOADED
        log.info("model.returned" if returns else "model.loaded", model=name, version=ran.version, reason=reason)
        await self._report(name, ran, result, reason)

    async def _swap(self, name: str, found: Unsealed) -> None:
        async with self._swapping:
            others = [each for each in self._running.models if each.model_id != name]
            refusals = await self._running.swap([*others, found.model])
        own, theirs = refusals[-1], next(filter(None, refusals[:-1]), None)
        if own is not None or theirs is not None:
            raise NotLoaded(Reason.SMOKE_TEST, own or f"another model: {theirs}", may_pass=True)

    async def _failed(self, name: str, model: ModelState, ran: Ran, fault: NotLoaded | JournalFault) -> None:
        now_s = self._clock.monotonic_s()
        if isinstance(fault, NotLoaded):
            if fault.reason == Reason.SMOKE_TEST:
                await self._unremember(name, model.memory)
            reason, detail, again = fault.reason, fault.detail, now_s if fault.may_pass else None
        else:
            reason, detail, again = Reason.NOT_KEPT.value, str(fault), now_s
        digest = ran.manifest_sha256
        model.failed[digest] = rules.failed_again(model.failed.get(digest), reason, detail, again)

    async def _unremember(self, name: str, memory: Memory) -> None:
        """A version was remembered and did not come into force: the journal is as before."""
        try:
            await self._store.record_model(rules.row_of(name, memory))
        except JournalFault as fault:
            log.warning("model.not_recorded", model=name, detail=str(fault))

    async def _take_asides(self, name: str, model: ModelState) -> None:
        asides, model.asides = model.asides, []
        for ran, why in asides:
            if model.running != ran:
                continue
            model.memory = rules.remember_aside(model.memory, ran)
            try:
                await self._store.record_model(rules.row_of(name, model.memory))
            except JournalFault as fault:
                log.warning("model.not_recorded", model=name, detail=str(fault))
            await self._tell_refusal(name, model, Refusal(ran, Reason.PUT_ASIDE, why))

    # --- what is told ---

    async def _tell_refusal(self, name: str, model: ModelState, refusal: Refusal) -> None:
        """Tell of a refusal once; what is waited for is told as a warning alone."""
        if not model.is_news(refusal.ran, refusal.reason):
            return
        version, reason = refusal.ran.version, str(refusal.reason)
        if reason in rules.WAITS:
            log.warning("model.waits", model=name, version=version, reason=reason, detail=refusal.detail)
            return
        log.error("model.refused", model=name, version=version, reason=reason, detail=refusal.detail)
        await self._report(name, refusal.ran, Result.REFUSED, reason)

    async def _report(self, name: str, ran: Ran, result: Result, reason: str | None) -> None:
        """Write it into the log, and keep it for the chain's access log."""
        self._tell(name, ran.version, ran.manifest_sha256, result.name.lower(), reason)
        report = ReportRow(self._clock.wall_ms(), name, ran.version, int(result), reason or "")
        try:
            await self._store.report_model(report)
        except JournalFault as fault:
            log.warning("model.not_reported", model=name, detail=str(fault))

    def _tell_frozen(self) -> None:
        frozen = rules.is_frozen(self._policy, self._moment())
        if frozen and not self._frozen:
            log.error("models.frozen", final_s=self._final_s, detail=FROZEN)
        elif self._frozen and not frozen:
            log.info("models.thawed", final_s=self._final_s)
        self._frozen = frozen

    def _moment(self) -> Moment:
        return Moment(self._clock.wall_ms() / 1000, self._clock.monotonic_s(), self._final_s)

    def status(self) -> dict[str, Any]:
        """How each wanted model is, for ``securenet status``."""
        now_ms = self._clock.wall_ms()
        return {
            "caught_up": self._caught_up,
            "frozen": rules.is_frozen(self._policy, self._moment()),
            "final_s": self._final_s,
            "models": {
                name: model.status(self._history(name), self._policy.gateway_id, now_ms)
                for name, model in self._models.items()
            },
            "sources": [health._asdict() for health in self._means.sources.health()],
        }

    def warnings(self) -> list[str]:
        """What a person should know although messages are taken: in words."""
        told, now_ms = [], self._clock.wall_ms()
        if self._caught_up and rules.is_frozen(self._policy, self._moment()):
            told.append(FROZEN)
        for name, model in self._models.items():
            told += model.warnings(name, self._history(name), now_ms)
        return told

    def _history(self, name: str) -> ModelHistory:
        return self._histories.get(name, ModelHistory())
