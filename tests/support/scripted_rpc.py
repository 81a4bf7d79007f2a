"""An RPC endpoint with faults: it passes requests on to a real node, or answers from a script, and lies when told.

    with Anvil() as node, ScriptedRpc(node.url) as rpc:
        rpc.faults["eth_getLogs"] = Hang()
        rpc.faults["eth_chainId"] = Answer("0x1")
        rpc.faults["eth_getBlockByNumber"] = Times(2, Status(503))
        rpc.faults["eth_getTransactionReceipt"] = Change(lambda params, result: {**result, "status": "0x0"})
        ...

``faults`` is by method; ``"*"`` is for those that are not named. ``down()`` and ``up()`` stop and start listening on
the same port. ``calls`` has every request. It runs on a thread of its own: tests of either colour may use it, and so
may other processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from aiohttp import ClientError, ClientSession, web
from support.mosquitto import free_port

METHOD_NOT_FOUND = -32601


@dataclass(frozen=True)
class Asked:
    """A request as it came; ``upstream()`` is what the real node answers to it."""

    request: web.Request
    id: Any
    method: str
    params: list[Any]
    upstream: Callable[[], Coroutine[Any, Any, dict[str, Any]]]

    def answer(self, **members: Any) -> web.Response:
        return web.json_response({"jsonrpc": "2.0", "id": self.id, **members})


class Fault(Protocol):
    async def respond(self, asked: Asked) -> web.StreamResponse: ...


@dataclass(frozen=True)
class Well:
    """No fault: what the node says."""

    async def respond(self, asked: Asked) -> web.StreamResponse:
        return web.json_response(await asked.upstream())


@dataclass(frozen=True)
class Answer:
    """Another result, as it stands."""

    result: Any

    async def respond(self, asked: Asked) -> web.StreamResponse:
        return asked.answer(result=self.result)


@dataclass(frozen=True)
class Change:
    """The node's result, changed: ``change(params, result)``."""

    change: Callable[[list[Any], Any], Any]

    async def respond(self, asked: Asked) -> web.StreamResponse:
        said = await asked.upstream()
        if "result" in said:
            said["result"] = self.change(asked.params, said["result"])
        return web.json_response(said)


@dataclass(frozen=True)
class Error:
    """A JSON-RPC error; ``status`` for those who send it with another one."""

    code: int
    message: str
    data: Any = None
    status: int = 200

    async def respond(self, asked: Asked) -> web.StreamResponse:
        error = {"code": self.code, "message": self.message}
        if self.data is not None:
            error["data"] = self.data
        response = asked.answer(error=error)
        response.set_status(self.status)
        return response


@dataclass(frozen=True)
class Status:
    """An HTTP status with a body that is not JSON: 429 with ``{"Retry-After": "3"}``, 503, 301 with a Location."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"<html>no</html>"

    async def respond(self, asked: Asked) -> web.StreamResponse:
        return web.Response(status=self.status, headers=self.headers, body=self.body)


@dataclass(frozen=True)
class Body:
    """A whole body, garbage or not; ``%ID%`` in it becomes the id of the request."""

    body: bytes
    zipped: bool = False

    async def respond(self, asked: Asked) -> web.StreamResponse:
        body = self.body.replace(b"%ID%", json.dumps(asked.id).encode())
        if self.zipped:
            return web.Response(body=gzip.compress(body, 9), headers={"Content-Encoding": "gzip"})
        return web.Response(body=body, content_type="application/json")


@dataclass(frozen=True)
class Hang:
    """Takes the request and says nothing."""

    async def respond(self, asked: Asked) -> web.StreamResponse:
        await asyncio.sleep(3600)
        return await Well().respond(asked)


@dataclass(frozen=True)
class HangUp:
    """Closes the connection without an answer."""

    async def respond(self, asked: Asked) -> web.StreamResponse:
        if asked.request.transport is not None:
            asked.request.transport.abort()
        return web.Response()


@dataclass(frozen=True)
class Late:
    """The node's answer, or another fault's, so much later."""

    seconds: float
    then: Fault = field(default_factory=Well)

    async def respond(self, asked: Asked) -> web.StreamResponse:
        await asyncio.sleep(self.seconds)
        return await self.then.respond(asked)


@dataclass(frozen=True)
class Drip:
    """The node's answer, byte by byte."""

    every_s: float = 0.05

    async def respond(self, asked: Asked) -> web.StreamResponse:
        body = json.dumps(await asked.upstream()).encode()
        response = web.StreamResponse()
        await response.prepare(asked.request)
        for byte in body:
            await response.write(bytes([byte]))
            await asyncio.sleep(self.every_s)
        return response


@dataclass(frozen=True)
class Endless:
    """An answer that begins well and never ends."""

    async def respond(self, asked: Asked) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(asked.request)
        with contextlib.suppress(ConnectionError):
            await response.write(b'{"jsonrpc": "2.0", "result": "0x')
            while True:
                await response.write(65536 * b"0")
        return response


@dataclass
class Times:
    """A fault so many times, and then another, or none."""

    left: int
    fault: Fault
    then: Fault = field(default_factory=Well)

    async def respond(self, asked: Asked) -> web.StreamResponse:
        self.left -= 1
        return await (self.fault if self.left >= 0 else self.then).respond(asked)


class ScriptedRpc:
    """One endpoint on loopback. Without ``upstream_url`` it knows only its ``script``: results by method."""

    def __init__(self, upstream_url: str | None = None, script: Mapping[str, Any] | None = None) -> None:
        self.upstream_url = upstream_url
        self.script = dict(script or {})
        self.faults: dict[str, Fault] = {}
        self.calls: list[tuple[str, list[Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="scripted-rpc", daemon=True)
        self._session: ClientSession | None = None
        self._runner: web.AppRunner | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()
        self._wait(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def up(self) -> None:
        """Listen (again)."""
        self._wait(self._listen())

    def down(self) -> None:
        """Stop listening and cut every connection."""
        self._wait(self._stop())

    def asked(self, method: str) -> int:
        """How often this method was asked for."""
        return sum(name == method for name, _ in self.calls)

    def _wait(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=20)

    async def _listen(self) -> None:
        app = web.Application(client_max_size=16 * 2**20)
        app.router.add_post("/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.05, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _end(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.headers.append(dict(request.headers))
        if isinstance(asked, list):  # a batch: passed on, each by its own fault would be another protocol
            self.calls += [(one["method"], one.get("params", [])) for one in asked]
            return web.json_response(await self._pass_on(asked))
        method, params = asked["method"], asked.get("params", [])
        self.calls.append((method, params))
        fault = self.faults.get(method) or self.faults.get("*") or Well()
        return await fault.respond(Asked(request, asked.get("id"), method, params, lambda: self._upstream(asked)))

    async def _upstream(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["method"] in self.script:
            said = self.script[asked["method"]]
            result = said(*asked.get("params", [])) if callable(said) else said
            return {"jsonrpc": "2.0", "id": asked.get("id"), "result": result}
        if self.upstream_url is None:
            error = {"code": METHOD_NOT_FOUND, "message": f"the method {asked['method']} does not exist"}
            return {"jsonrpc": "2.0", "id": asked.get("id"), "error": error}
        return await self._pass_on(asked)

    async def _pass_on(self, asked: Any) -> Any:
        if self._session is None:
            self._session = ClientSession()
        try:
            async with self._session.post(str(self.upstream_url), json=asked) as response:
                return await response.json(content_type=None)
        except ClientError as error:
            raise web.HTTPBadGateway(text=type(error).__name__) from None
