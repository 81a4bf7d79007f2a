"""The page's addresses, and the few files that a browser gets."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from pathlib import Path
from typing import Final

from aiohttp import web

from gateway.ops.http.keys import TOKENLESS, problem
from gateway.ops.page import api_devices, api_models, api_proof, api_records, api_status
from gateway.ops.page.desk import DESK, Desk, answered

_STATIC: Final = Path(__file__).parent / "static"
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
FILES: Final = frozenset(
    {
        *("page.css", "icon.svg", "main.js", "api.js", "dom.js", "format.js", "plot.js", "overview.js", "devices.js"),
        *("records.js", "anchors.js", "models.js", "quarantine.js", "proof.js", "actions.js"),
    }
)
"""What may be asked for beneath ``/static/``; nothing else is ever read."""


def mount(app: web.Application) -> None:
    """Add the page to an application that has ``VIEW``, ``ACTIONS`` and ``TOKENLESS``."""
    app[DESK] = Desk()
    app[api_devices.INDEX] = api_devices.DeviceIndex()
    app[TOKENLESS].add(api_proof.PATH)
    source, form = "{source:log|quarantine|anchors}", "{form:csv|json}"
    app.router.add_get("/", _shell)
    app.router.add_get("/static/{name}", _file)
    app.router.add_get("/api/status", answered(api_status.status))
    app.router.add_get("/api/words", answered(api_status.words))
    app.router.add_get("/api/devices", answered(api_devices.devices))
    app.router.add_get("/api/device", answered(api_devices.device))
    app.router.add_get("/api/models", answered(api_models.models))
    app.router.add_get("/api/quarantine/record", answered(api_records.refused))
    app.router.add_get("/api/quarantine/counts", answered(api_records.held))
    app.router.add_get(f"/api/{source}", answered(api_records.page))
    app.router.add_get(f"/api/{source}.{form}", answered(api_records.export))
    app.router.add_post(api_proof.PATH, answered(api_proof.check))
    app.router.add_post("/api/actions/{name:[a-z-]{1,32}}", answered(api_status.act))


async def _shell(request: web.Request) -> web.Response:
    return await _send(request, "index.html")


async def _file(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    return await _send(request, name) if name in FILES else problem(404, "there is no such file", "")


async def _send(request: web.Request, name: str) -> web.Response:
    """Send a file of the page; a browser that has it already is told so."""
    data = await asyncio.to_thread((_STATIC / name).read_bytes)
    etag = sha256(data).hexdigest()[:32]
    headers = {"Cache-Control": "no-cache", "ETag": f'"{etag}"', "Content-Type": _TYPES[Path(name).suffix]}
    if any(known.value == etag for known in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    return web.Response(body=data, headers=headers)
