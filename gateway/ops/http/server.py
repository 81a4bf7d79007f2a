"""The HTTP server: listens where ``[http]`` says, within limits, and never in the way of a message.

A port that is taken is told once and tried again; the gateway takes messages meanwhile. So many connections at once,
a head in so many seconds, a body and an answer in so many more. Nothing runs while nobody asks.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import structlog
from aiohttp import web

from gateway.config.model import HttpConfig
from gateway.ops.http.guard import dress, guard, has_begun
from gateway.ops.http.health import mount_health
from gateway.ops.http.keys import ACTIONS, TOKENLESS, VIEW, problem
from gateway.ops.view import Action, GatewayView, Probe

log = structlog.get_logger("http")

_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 30.0
_GOODBYE_S: Final = 1.0
_BACKLOG: Final = 64
_HEAD_BYTES: Final = 4096
_HEADERS: Final = 64

Mount = Callable[[web.Application], None]


class HttpLimits(NamedTuple):
    """What the server gives to those who ask.

    ``idle_s`` is for a whole head, and between two requests; ``request_s`` for a body and what a handler does with
    it, and once more for an answer on its way.
    """

    connections: int = 64
    body_bytes: int = 4 << 20
    idle_s: float = 15.0
    request_s: float = 60.0


DEFAULT_LIMITS: Final = HttpLimits()


class HttpStatus(NamedTuple):
    """``state`` is ``off``, ``up`` or ``down``; ``address`` is a URL once it is up."""

    state: str
    detail: str
    address: str | None


def make_app(  # noqa: PLR0913 -- one argument for each thing that is joined
    config: HttpConfig,
    view: GatewayView,
    *,
    actions: Mapping[str, Action] | None = None,
    probes: Sequence[Probe] = (),
    mount: Sequence[Mount] = (),
    token: bytes | None = None,
    limits: HttpLimits = DEFAULT_LIMITS,
) -> web.Application:
    """Put the application together: the guard, the view, health and metrics, and what is mounted."""
    middlewares = guard(config.allowed_hosts, token, limits.request_s)
    app = web.Application(client_max_size=limits.body_bytes, middlewares=middlewares)
    app[VIEW] = view
    app[ACTIONS] = dict(actions or {})
    app[TOKENLESS] = set()
    app.on_response_prepare.append(dress)
    mount_health(app, probes)
    for each in mount:
        each(app)
    return app


class HttpServer:
    """Serves the gateway's ``view`` from ``run`` to its cancellation.

    Args:
        config: where to listen.
        view: what is shown.
        actions: what may be asked for with the token, by name.
        probes: the parts without which the process is to be ended; /healthz asks them.
        mount: each adds its routes to the application.
        token: unlocks actions, see ``gateway.ops.http.token``; None: read-only.
        limits: what each peer may cost.
    """

    def __init__(  # noqa: PLR0913 -- likewise
        self,
        config: HttpConfig,
        view: GatewayView,
        *,
        actions: Mapping[str, Action] | None = None,
        probes: Sequence[Probe] = (),
        mount: Sequence[Mount] = (),
        token: bytes | None = None,
        limits: HttpLimits = DEFAULT_LIMITS,
    ) -> None:
        self._config = config
        self._view = view
        self._actions = actions
        self._probes = probes
        self._mount = mount
        self._token = token
        self._limits = limits
        self._status = HttpStatus("off", "not started", None)

    def status(self) -> HttpStatus:
        """How it is doing."""
        return self._status

    async def run(self) -> None:
        """Serve until cancelled; a port that cannot be had is tried again and again, and told once."""
        app = make_app(
            self._config,
            self._view,
            actions=self._actions,
            probes=self._probes,
            mount=self._mount,
            token=self._token,
            limits=self._limits,
        )
        runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=_GOODBYE_S)
        await runner.setup()
        try:
            server = await self._listen(runner)
            try:
                await asyncio.Event().wait()
            finally:
                server.close()  # and not wait_closed, which waits for peers: cleanup takes leave of them
        finally:
            self._status = HttpStatus("off", "stopped", None)
            await runner.cleanup()

    async def _listen(self, runner: web.AppRunner) -> asyncio.Server:
        """Bind; wait and bind again."""
        loop = asyncio.get_running_loop()
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                server = await loop.create_server(
                    lambda: _protocol(runner, self._limits), self._config.host, self._config.port, backlog=_BACKLOG
                )
            except OSError as fault:
                why = os.strerror(fault.errno) if fault.errno and fault.errno > 0 else str(fault)
                detail = f"cannot listen on {self._config.host}:{self._config.port}: {why}"
                if self._status.state != "down":
                    log.error("http.not_listening", detail=detail)
                self._status = HttpStatus("down", detail, None)
                await asyncio.sleep(wait_s)
                wait_s = min(_LONGEST_WAIT_S, 2 * wait_s)
            else:
                self._status = HttpStatus("up", "", _url(server))
                log.info("http.listening", address=self._status.address)
                return server


def _url(server: asyncio.Server) -> str:
    host, port = server.sockets[0].getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _protocol(runner: web.AppRunner, limits: HttpLimits) -> asyncio.Protocol:
    """A protocol for one connection more, or one that says that there are too many."""
    server = runner.server
    if server is None or len(server.connections) >= limits.connections:
        return _Full()
    return _Connection(server, limits)


class _Full(asyncio.Protocol):
    """Says once that there is no room, and hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer before anything is read."""
        if isinstance(transport, asyncio.WriteTransport):
            transport.write(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n")
            transport.close()


class _Connection(web.RequestHandler):
    """One connection, whose faults are told in our own form, and whose reader may not dawdle."""

    __slots__ = ("_send_s",)

    def __init__(self, server: web.Server, limits: HttpLimits) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type] # None is what aiohttp documents for "no access log"
            keepalive_timeout=limits.idle_s,  # counted from the first byte on: a head that drips is cut off too
            lingering_time=_GOODBYE_S,
            max_line_size=_HEAD_BYTES,
            max_field_size=_HEAD_BYTES,
            max_headers=_HEADERS,
            auto_decompress=False,
        )
        self._send_s = limits.request_s

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 -- aiohttp's signature; it repeats what the peer sent
    ) -> web.StreamResponse:
        """Tell a peer its own mistake, or that it was ours, whose cause goes to the log alone.

        Raises:
            ConnectionResetError: nothing can be told any more; aiohttp hangs up.
        """
        self.keep_alive(val=False)
        if status < web.HTTPInternalServerError.status_code:
            answer = problem(
                status, "the request is no HTTP that is taken here", "a head of 4,096 bytes a line at most"
            )
        else:
            log.error("http.failed", path=request.path, detail=f"{type(exc).__name__}: {exc}")
            if has_begun(request):
                raise ConnectionResetError("half an answer is out: the reader sees that it is not whole")
            answer = problem(status, "the gateway could not answer this", "its log says why (http.failed)")
        answer.force_close()
        return answer

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the answer, in time."""
        if not resp.prepared:
            await dress(request, resp)
        try:
            async with asyncio.timeout(self._send_s):
                return await super().finish_response(request, resp, start_time)
        except TimeoutError:
            if self.transport is not None:
                self.transport.abort()
            return resp, True
