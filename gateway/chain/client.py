"""``Chain`` over several JSON-RPC endpoints: the first that is well, in the order of the configuration.

Importing this module imports aiohttp and the Ethereum libraries, 30 MB: do it where a chain is configured.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Self

from gateway.chain.endpoint import Clock, Endpoint, plain_url
from gateway.chain.port import ChainMisconfigured, ChainUnavailable, EndpointFault, EndpointHealth
from gateway.chain.view import EvmView
from gateway.config.model import ChainConfig


class EvmChain:
    """The configured chain. ``close`` it in the end, or use it as a context.

    Args:
        config: its endpoints and its id.
        clock: both clocks of the machine.
        resolve: turns an entry of ``chain.rpc`` into a URL, when it is first used: reads ``credential:NAME``. It
            raises ``ChainMisconfigured`` when it cannot.
        wall_trusted: whether the wall clock is believed; by one that is not, no head is of yesterday.

    Raises:
        ChainMisconfigured: an entry is no URL.
    """

    def __init__(
        self,
        config: ChainConfig,
        clock: Clock,
        *,
        resolve: Callable[[str], str] = plain_url,
        wall_trusted: Callable[[], bool] = lambda: True,
    ) -> None:
        self._config = config
        self._endpoints = [Endpoint(entry, config, clock, resolve, wall_trusted) for entry in config.rpc]
        self._retired: list[Endpoint] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def chain_id(self) -> int:
        """The pinned chain id."""
        return self._config.chain_id

    def health(self) -> Sequence[EndpointHealth]:
        """How the endpoints were when they were last asked."""
        return [endpoint.health() for endpoint in self._endpoints]

    async def close(self) -> None:
        """Close all connections; a later view would open new ones."""
        for endpoint in (*self._endpoints, *self._retired):
            await endpoint.close()

    async def become(self, other: EvmChain) -> None:
        """Ask the endpoints of ``other`` from the next view on, and close them with this one.

        A view that is open goes on with its endpoint, which is closed at the next change.
        """
        retired, self._retired = self._retired, self._endpoints
        self._endpoints, self._config = other._endpoints, other._config
        other._endpoints = []
        for endpoint in retired:
            await endpoint.close()

    @asynccontextmanager
    async def view(self) -> AsyncIterator[EvmView]:
        """Open a view of the first endpoint that is well; see ``gateway.chain.port.Chain``."""
        endpoint, view = await self._open()
        try:
            yield view
        finally:
            if not view.spent:
                endpoint.served()
            view.end()

    async def _open(self) -> tuple[Endpoint, EvmView]:
        awake = [endpoint for endpoint in self._endpoints if not endpoint.rests_s()]
        for endpoint in sorted(awake, key=lambda one: one.rest.yields):  # stable: the order of preference
            try:
                opened = await endpoint.open()
            except (EndpointFault, ChainMisconfigured):
                continue  # it rests, and its health has the words
            for other in self._endpoints:
                if other is not endpoint:
                    other.rest.passed_over()
            return endpoint, EvmView(endpoint, opened)
        raise self._none()

    def _none(self) -> ChainUnavailable | ChainMisconfigured:
        if not self._endpoints:
            return ChainMisconfigured("chain.rpc names no endpoint")
        faults = "; ".join(
            f"{endpoint.label}: {endpoint.fault_words} (asked again in {endpoint.rests_s():.0f} s)"
            for endpoint in self._endpoints
        )
        if all(endpoint.misconfigured for endpoint in self._endpoints):
            return ChainMisconfigured(faults)
        return ChainUnavailable(f"no endpoint of chain {self.chain_id} can be used: {faults}")
