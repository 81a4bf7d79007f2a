"""Questions to parts of the gateway that the watchdog asks from outside, over the very door that devices use."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.ops.view import Probe

_CON_EMPTY: Final = 0x40
_RST_EMPTY: Final = 0x70
_HEADER_BYTES: Final = 4
_ANY: Final = {"": "::1", "::": "::1", "0.0.0.0": "127.0.0.1"}  # noqa: S104 -- compared with, not bound

_message_ids = itertools.count(1)


def probe(name: str, ask: Callable[[], Awaitable[object]], but: tuple[type[Exception], ...] = ()) -> Probe:
    """A probe by a question whose answer does not matter; ``but`` is raised by a part that is alive and refuses."""

    async def asked() -> None:
        with contextlib.suppress(*but):
            await ask()

    return Probe(name, asked)


def coap_probe(host: str, port: int, is_up: Callable[[], bool]) -> Probe:
    """Ping the gateway's own CoAP port, while it is bound: whoever waits for a port that is taken is alive."""

    async def ask() -> None:
        if is_up():
            await coap_ping(_ANY.get(host, host), port)

    return Probe("coap", ask)


async def coap_ping(host: str, port: int) -> None:
    """CoAP's own ping (RFC 7252 §1.2): an empty confirmable message, answered by a reset of the same id.

    Raises:
        OSError: nobody is bound there.
    """
    loop = asyncio.get_running_loop()
    family, kind, protocol, _name, address = (await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM))[0]
    with socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol) as asking:
        asking.connect(address)
        message_id = (next(_message_ids) & 0xFFFF).to_bytes(2, "big")
        await loop.sock_sendall(asking, bytes((_CON_EMPTY, 0)) + message_id)
        while await loop.sock_recv(asking, _HEADER_BYTES + 1) != bytes((_RST_EMPTY, 0)) + message_id:
            pass
