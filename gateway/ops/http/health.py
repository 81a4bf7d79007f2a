"""``/healthz``, ``/readyz``, ``/metrics``: the answers for machines.

Alive is less than ready. A gateway whose broker is away is alive and not ready; to start it anew would help nobody.
It is alive when the event loop answers this request and every probe comes back: a round trip through each part
without which the process is to be ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiohttp import hdrs, web

from gateway.ops.http.keys import VIEW
from gateway.ops.logging import sanitise
from gateway.ops.metrics import MetricsPage
from gateway.ops.view import Probe

ANSWER_WITHIN_S: Final = 5.0
"""A part that has not answered in this time hangs."""

_GOOD_FOR_S: Final = 1.0
_UNAVAILABLE: Final = 503


class Pulse:
    """Asks every probe at once, and at most once a second however often somebody wants to know."""

    def __init__(self, probes: Sequence[Probe], within_s: float = ANSWER_WITHIN_S) -> None:
        self._probes = probes
        self._within_s = within_s
        self._lock = asyncio.Lock()
        self._known: Mapping[str, str] = {}
        self._until_s = 0.0

    async def parts(self) -> Mapping[str, str]:
        """Each part by name: ``ok``, ``hangs``, or what it raised."""
        async with self._lock:
            if time.monotonic() >= self._until_s:
                self._known = await self._ask()
                self._until_s = time.monotonic() + _GOOD_FOR_S
            return self._known

    async def _ask(self) -> Mapping[str, str]:
        asked = {probe.name: asyncio.ensure_future(probe.ask()) for probe in self._probes}
        if not asked:
            return {}
        try:
            await asyncio.wait(asked.values(), timeout=self._within_s)
            return {name: _said(task) for name, task in asked.items()}
        finally:
            for task in asked.values():
                task.cancel()


def _said(task: asyncio.Future[None]) -> str:
    if not task.done():
        return "hangs"
    if task.cancelled():
        return "was cancelled"
    fault = task.exception()
    return "ok" if fault is None else sanitise(f"{type(fault).__name__}: {fault}")


def mount_health(app: web.Application, probes: Sequence[Probe]) -> None:
    """Add the three routes."""
    pulse = Pulse(probes)
    page = MetricsPage(app[VIEW], lambda: time.time_ns() // 1_000_000)

    async def healthz(request: web.Request) -> web.Response:
        parts = await pulse.parts()
        alive = all(said == "ok" for said in parts.values())
        lines = [f"{name}: {said}" for name, said in parts.items()]
        return _answer(
            request, {"alive": alive, "parts": dict(parts)}, alive, ["alive" if alive else "not alive", *lines]
        )

    async def readyz(request: web.Request) -> web.Response:
        status = request.app[VIEW].status()
        ready, reasons = bool(status["ready"]), status["reasons"]
        lines = [f"{each['reason']}: {each['detail']}" for each in reasons]
        lines += [f"warning: {warning}" for warning in status["warnings"]]
        body = {"ready": ready, "reasons": reasons, "warnings": status["warnings"]}
        return _answer(request, body, ready, ["ready" if ready else "not ready", *lines])

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=page.render(), headers={hdrs.CONTENT_TYPE: page.content_type})

    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)


def _answer(request: web.Request, body: Mapping[str, Any], good: bool, lines: Sequence[str]) -> web.Response:  # noqa: FBT001 -- the whole question
    """200 or 503; as text where the client asks for text before JSON, one thing a line."""
    code = 200 if good else _UNAVAILABLE
    if request.headers.get(hdrs.ACCEPT, "").startswith("text/plain"):
        return web.Response(text="".join(f"{sanitise(line, 500)}\n" for line in lines), status=code)
    return web.json_response(body, status=code)
