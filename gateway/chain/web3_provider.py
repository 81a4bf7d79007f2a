"""``AsyncWeb3`` on the gateway's own bounded connection: for scripts and tests, which want contracts as objects.

No gateway imports it: web3 is 10 MB more than what the gateway uses of it, which was the name of a base class.
"""

from __future__ import annotations

from typing import Any, cast

from web3 import AsyncHTTPProvider
from web3.types import RPCEndpoint, RPCError, RPCResponse

from gateway.chain import wire
from gateway.chain.port import EndpointFault
from gateway.chain.provider import BoundedProvider, NoAnswer


class Web3Provider(AsyncHTTPProvider):
    """What ``AsyncWeb3`` is given: every request goes through ``bounded``, with its limits.

    Args:
        bounded: the connection; closing this provider closes it.
    """

    def __init__(self, bounded: BoundedProvider) -> None:
        super().__init__(exception_retry_configuration=None)
        self._bounded = bounded

    def __str__(self) -> str:
        return str(self._bounded)

    async def make_request(self, method: RPCEndpoint, params: object) -> RPCResponse:
        """Ask, with the same limits.

        Raises:
            EndpointFault: there is no answer.
        """
        try:
            listed = params if isinstance(params, (list, tuple)) else []
            said = await self._bounded.ask(method, listed, lambda answer: answer)
        except (NoAnswer, wire.WireError) as fault:
            raise EndpointFault(f"{method}: {fault}") from None
        if said.error is None:
            return {"jsonrpc": "2.0", "id": 0, "result": said.result}
        error = {"code": said.error.code, "message": said.error.message, "data": said.error.data}
        return {"jsonrpc": "2.0", "id": 0, "error": cast(RPCError, error)}

    async def make_batch_request(self, batch_requests: list[tuple[RPCEndpoint, Any]]) -> list[RPCResponse]:
        """Ask one by one: a batch would be one answer, with one bound."""
        return [await self.make_request(method, params) for method, params in batch_requests]

    async def disconnect(self) -> None:
        """Close the connections; the next request opens new ones."""
        await self._bounded.disconnect()
