"""What the overview shows, and the glossary beside it."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gateway import __version__
from gateway.ops.http.keys import ACTIONS, VIEW, problem
from gateway.ops.page.words import glossary


async def status(request: web.Request) -> web.Response:
    """``GET /api/status``: what ``securenet status --json`` shows, and what this page may do."""
    view, actions = request.app[VIEW], request.app[ACTIONS]
    latency = view.counters.latency
    return web.json_response(
        {
            "version": __version__,
            "status": view.status(),
            "latency": {"bounds_ms": list(latency.bounds_ms), "counts": list(latency.counts)},
            "actions": list(actions),
            "can_act": bool(actions) and bool(view.config.http.token_file),
        }
    )


async def words(_request: web.Request) -> web.Response:
    """``GET /api/words``: what reasons, verdicts, states and steps mean."""
    return web.json_response(glossary(), headers={"Cache-Control": "private, max-age=3600"})


async def act(request: web.Request) -> web.Response:
    """``POST /api/actions/<name>``: the server has seen the token, the origin and the header."""
    actions = request.app[ACTIONS]
    action = actions.get(request.match_info["name"])
    if action is None:
        return problem(404, "there is no such action", f"there are: {', '.join(sorted(actions)) or 'none'}")
    done: dict[str, Any] = dict(await action())
    return web.json_response({"done": done})
