"""Questions to parts of the gateway that the watchdog asks from outside, over the very door that devices use."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from gateway.config.model import Config
from gateway.crypto.frames import Claim
from gateway.crypto.keys import PublicKey
from gateway.crypto.pool import CryptoPool
from gateway.journal import JournalFault
from gateway.message import Alg
from gateway.ops.view import Probe

_CON_EMPTY: Final = 0x40
_RST_EMPTY: Final = 0x70
_HEADER_BYTES: Final = 4
_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_ANY: Final = {"": "::1", "::": "::1", "0.0.0.0": "127.0.0.1"}  # noqa: S104 -- compared with, not bound

_message_ids = itertools.count(1)


def probe(name: str, ask: Callable[[], Awaitable[object]], but: tuple[type[Exception], ...] = ()) -> Probe:
    """A probe by a question whose answer does not matter; ``but`` is raised by a part that is alive and refuses."""

    async def asked() -> None:
        with contextlib.suppress(*but):
            await ask()

    return Probe(name, asked)


def crypto_probe(pool: CryptoPool) -> Probe:
    """Have the signature worker say of a signature that is none that it does not hold.

    Raises, when asked:
        RuntimeError: it says that it holds.
    """
    claim = Claim(PublicKey(Alg.ED25519, bytes(_KEY_BYTES)), b"", bytes(_SIGNATURE_BYTES - 1))

    async def ask() -> None:
        if await pool.verify([claim]) != [False]:
            raise RuntimeError("the signature worker takes anything for a signature")

    return Probe("crypto", ask)


def coap_probe(host: str, port: Callable[[], int | None]) -> Probe:
    """Ping the gateway's own CoAP port while one is bound: whoever waits for a port that is taken is alive."""

    async def ask() -> None:
        bound = port()
        if bound is not None:
            await coap_ping(_ANY.get(host, host), bound)

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


class Pings(Protocol):
    """A part that a question can be sent through."""

    async def ping(self) -> None:
        """Return when the question has gone all the way."""
        ...


class Bound(Protocol):
    """A server that may be bound to a port."""

    @property
    def port(self) -> int | None:
        """The port, None while there is none."""
        ...


def gateway_probes(  # noqa: PLR0913 -- one argument for each part that may hang
    config: Config, *, crypto: CryptoPool, journal: Pings, ingest: Pings, scorer: Pings | None, coap: Bound | None
) -> list[Probe]:
    """What the watchdog asks of a gateway. A disk that refuses is told by the gateway itself; it does not hang."""
    probes = [crypto_probe(crypto), probe("journal", journal.ping, (JournalFault,)), probe("ingest", ingest.ping)]
    if scorer is not None:
        probes.append(probe("scorer", scorer.ping))
    if coap is not None:
        probes.append(coap_probe(config.coap.host, lambda: coap.port))
    return probes
