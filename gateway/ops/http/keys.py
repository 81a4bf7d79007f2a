"""What every handler finds in the application, and the one form in which it says no."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from gateway.ops.view import Action, GatewayView

VIEW: Final = web.AppKey("view", GatewayView)
"""The running gateway."""

ACTIONS: Final[web.AppKey[Mapping[str, Action]]] = web.AppKey("actions", Mapping)
"""What may be asked of it with the token, by name."""

TOKENLESS: Final[web.AppKey[set[str]]] = web.AppKey("tokenless", set)
"""Paths that take a POST without the token, because they change nothing; a mount adds its own."""

ASKED_BY: Final = "X-SecureNet-Request"
"""A header that every POST must carry (any value): no form and no foreign script can send it."""


def problem(status: int, error: str, hint: str = "", headers: Mapping[str, str] | None = None) -> web.Response:
    """Say no: what is wrong, and what to do about it."""
    return web.json_response({"error": error, "hint": hint}, status=status, headers=headers)
