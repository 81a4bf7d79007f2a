"""Models, put together: the chain says which may run, nobody is trusted to bring them, and a process scores.

Imported only where ``models.enabled`` names one.
"""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.chain.contracts import address_of
from gateway.chain.port import View
from gateway.config.model import Config, IpfsConfig
from gateway.detection.port import LoadedModel
from gateway.detection.scorer import ModelSet
from gateway.ingest.clerk import Clerk
from gateway.ingest.pipeline import Clock
from gateway.journal import Journal
from gateway.vault.ipfs_sources import block_store, open_sources
from gateway.vault.receiver import Contract, ModelReceiver
from gateway.vault.receiver_open import Means
from gateway.vault.wrap import PrivateKey


class ModelDelivery:
    """The models of this gateway. ``scorer`` is what ingest asks; ``look`` is called by the chain's watch.

    Args:
        config: the whole configuration; it names models and their contract.
        private_key: what models are wrapped for.
        journal: remembers what ran.
        clerk: writes into the log what became of a model.
        clock: both clocks.
    """

    def __init__(self, config: Config, private_key: PrivateKey, journal: Journal, clerk: Clerk, clock: Clock) -> None:
        self.scorer = ModelSet(clock.monotonic_s, put_aside=self._put_aside)
        chain = config.chain
        contract = Contract(
            address_of(chain.model_registry), address_of(chain.registry), chain.deploy_block, chain.logs_blocks
        )
        self._monotonic_s = clock.monotonic_s
        self._blocks = block_store(config)
        self._sources = open_sources(config.ipfs, self._blocks, clock.monotonic_s)
        means = Means(self._sources, private_key, config.gateway.id, config.models.max_bytes)
        self._receiver = ModelReceiver(
            config.models, contract, means, running=self.scorer, store=journal, tell=clerk.model, clock=clock
        )

    def _put_aside(self, model: LoadedModel, why: str) -> None:
        self._receiver.put_aside(model, why)

    async def look(self, view: View) -> None:
        """Read what became final about the models.

        Raises:
            ChainError: as from the view.
        """
        await self._receiver.look(view)

    async def run(self) -> None:
        """Score, and bring models into force, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.scorer.run(), name="scorer")
            tasks.create_task(self._receiver.run(), name="receiver")

    async def change_sources(self, config: IpfsConfig) -> None:
        """Ask other sources, from the next file on; the local store stays where it is."""
        await self._sources.become(open_sources(config, self._blocks, self._monotonic_s))

    async def close(self) -> None:
        """Close the connections to the sources."""
        await self._sources.close()

    def status(self) -> dict[str, Any]:
        """The part of ``securenet status`` that is about models."""
        return {"scoring": self.scorer.status(), **self._receiver.status()}

    def warnings(self) -> list[str]:
        """What a person should know although messages are taken: in words."""
        return self._receiver.warnings()
