"""The chain of custody, put together: who is registered comes from a chain, and the roots of the log go to it.

Imported only where ``chain.rpc`` names an endpoint, because the Ethereum libraries take a second and 30 MB.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from functools import partial
from typing import Any, Protocol

from gateway.anchor.precheck import Accesses
from gateway.anchor.sender import Anchoring, Means
from gateway.anchor.transaction import Target
from gateway.chain.client import EvmChain
from gateway.chain.contracts import address_of, log_id
from gateway.chain.endpoint import Clock
from gateway.chain.port import ChainError, ChainMisconfigured, Looker
from gateway.chain.registry import ChainRegistry
from gateway.chain.watch import ChainState, ChainWatch
from gateway.config.model import ChainConfig, Config
from gateway.crypto.anchoring_key import AnchoringKey
from gateway.journal import Journal, JournalFault, open_reader
from gateway.ops.secrets import CREDENTIAL, SecretError, read_secret
from gateway.ops.supervisor import TaskState, supervise


class Delivery(Looker, Protocol):
    """The models of this gateway (``gateway.delivery.ModelDelivery``)."""

    async def run(self) -> None:
        """Bring models into force until cancelled."""
        ...

    async def close(self) -> None:
        """Let go of the sources."""
        ...

    def status(self) -> dict[str, Any]:
        """The part of the status that is about models."""
        ...

    def warnings(self) -> list[str]:
        """What a person should know, in words."""
        ...


class TrustedClock(Clock, Protocol):
    """Both clocks, and whether the wall clock is believed."""

    @property
    def wall_trusted(self) -> Callable[[], bool]:
        """Whether it is, now."""
        ...


class ChainCustody:
    """Implements ``gateway.custody.port.Custody`` over a chain.

    Args:
        config: the whole configuration.
        key: the anchoring account, None when nothing is to be anchored.
        journal: outbox and identities.
        clock: both clocks, and whether to believe the one on the wall.
        on_look: called after each look at the chain: what may be accepted may have changed.
        delivery: the models of this gateway, None when it runs none.
    """

    def __init__(  # noqa: PLR0913 -- one argument for each thing it joins
        self,
        config: Config,
        key: AnchoringKey | None,
        journal: Journal,
        clock: TrustedClock,
        *,
        on_look: Callable[[], None],
        delivery: Delivery | None = None,
    ) -> None:
        self._on_look = on_look
        self._delivery = delivery
        self._models_task = TaskState()
        self._monotonic_s = clock.monotonic_s
        self._open_log = partial(open_reader, config.gateway.data_dir)
        self._clock = clock
        self._chain = EvmChain(config.chain, clock, resolve=_resolve, wall_trusted=clock.wall_trusted)
        self.registry = ChainRegistry(
            config.chain,
            max_age_s=config.registry.max_age_s,
            store=journal,
            monotonic_s=clock.monotonic_s,
            wall_ms=clock.wall_ms,
            on_change=on_look,
        )
        lookers: list[Looker] = [self.registry]
        self.account = None if key is None else key.address
        self.anchoring: Anchoring | None = None
        if key is not None:
            target = Target(config.chain.chain_id, address_of(config.chain.anchor_log), log_id(config.origin))
            means = Means(journal, self._open_log, key, clock.wall_ms, config.chain.logs_blocks)
            if delivery is not None:
                means = means._replace(accesses=Accesses(address_of(config.chain.model_registry), journal))
            self.anchoring = Anchoring(config.anchor, target, means)
            lookers.append(self.anchoring)
        if delivery is not None:
            lookers.append(delivery)
        self._watch = ChainWatch(
            self._chain,
            lookers,
            poll_s=config.chain.poll_s,
            wall_ms=clock.wall_ms,
            survivable=(JournalFault,),
            on_look=self._looked,
        )

    async def run(self) -> None:
        """Take up the registry as the journal has it, then look at the chain until cancelled.

        Raises:
            JournalFault, JournalDamaged: the journal cannot be read.
        """
        with self._open_log() as reader:
            await self.registry.restore(reader)
        self._on_look()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch.run(), name="watch")
            if self._delivery is not None:  # on its own: a fault among the models keeps nobody from looking
                models = supervise("models", self._delivery.run, self._models_task, self._monotonic_s)
                tasks.create_task(models, name="models")

    async def close(self) -> None:
        """Close the connections to the endpoints, and to the models' sources."""
        await self._chain.close()
        if self._delivery is not None:
            await self._delivery.close()

    def is_stale(self) -> bool:
        """Whether the chain was not seen for ``registry.max_age_s``."""
        return self.registry.is_stale()

    async def change_endpoints(self, config: ChainConfig) -> None:
        """Ask other endpoints; they are tried first, and one has to serve where one serves now.

        Raises:
            ChainError: none does; the old ones stay in use.
        """
        fresh = EvmChain(config, self._clock, resolve=_resolve, wall_trusted=self._clock.wall_trusted)
        try:
            async with fresh.view():
                pass
        except ChainError:
            if self._watch.status.state is ChainState.UP:
                await fresh.close()
                raise
        await self._chain.become(fresh)
        self._watch.wake()

    async def reload(self) -> None:
        """Look at the chain now."""
        self._watch.wake()

    def anchor_now(self) -> Mapping[str, Any]:
        """Anchor at once, whatever the interval says; returns how anchoring is."""
        if self.anchoring is None:
            return {"state": "anchor.enabled is false: nothing is anchored"}
        self.anchoring.wake()
        self._watch.wake()
        return plain(self.anchoring.status())

    def status(self) -> dict[str, Any]:
        """The chain's part of ``securenet status``: the endpoints, the registry, the anchors."""
        watch = self._watch.status
        return {
            "chain": {
                "id": self._chain.chain_id,
                "state": watch.state.value,
                "since_ms": watch.since_ms,
                "detail": watch.detail,
                "endpoints": [plain(each) for each in self._chain.health()],
                "registry": plain(self.registry.status()),
            },
            "anchors": None if self.anchoring is None else plain(self.anchoring.status()),
            "models": None if self._delivery is None else {**self._delivery.status(), "accesses": self._accesses()},
        }

    def warnings(self) -> list[str]:
        """What a person should know although messages are taken: in words."""
        watch, told = self._watch.status, []
        if watch.state not in {ChainState.UP, ChainState.STARTING}:
            told.append(f"the chain is {watch.state}: {watch.detail}")
        hold = None if self.anchoring is None else self.anchoring.status().hold
        if self.anchoring is not None and hold is not None:
            told.append(f"anchoring is {self.anchoring.status().state}")
        return told if self._delivery is None else [*told, *self._delivery.warnings()]

    def _accesses(self) -> dict[str, Any] | None:
        reports = None if self.anchoring is None else self.anchoring.accesses
        return None if reports is None else plain(reports.status())

    def _looked(self) -> None:
        watch = self._watch.status
        if self.anchoring is not None and watch.state in {ChainState.DOWN, ChainState.MISCONFIGURED}:
            self.anchoring.unavailable(watch.detail)
        self._on_look()


def plain(value: Any) -> dict[str, Any]:  # noqa: ANN401 -- any named tuple or dataclass
    """A status as what JSON can hold."""
    fields = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value._asdict()
    return {name: _plain(each) for name, each in fields.items()}


def _plain(value: object) -> object:
    if hasattr(value, "_asdict"):
        return plain(value)
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    return value


def _resolve(entry: str) -> str:
    """The URL behind an entry of ``chain.rpc``, which may be a credential.

    Raises:
        ChainMisconfigured: the credential cannot be read.
    """
    if not entry.startswith(CREDENTIAL):
        return entry
    try:
        return read_secret(entry).decode("utf-8").strip()
    except SecretError as error:
        raise ChainMisconfigured(str(error)) from None
    except UnicodeDecodeError:
        raise ChainMisconfigured(f"{entry}: is no URL") from None
