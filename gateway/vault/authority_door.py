"""A door for TLS: so many connections at once, so many from one address, each for so long, and no more (I/O).

``asyncio``'s own server takes a connection's buffers before the handshake, from whomever, as many as come. Here one
that is too many is closed at once, or waits in the kernel's queue until there is room.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

import structlog

log = structlog.get_logger("authority")

_BACKLOG: Final = 32
_REST_S: Final = 1.0


class DoorLimits(NamedTuple):
    """Seconds for a handshake and for a whole connection; connections at once, and of one address."""

    handshake_s: float = 5.0
    connection_s: float = 120.0
    connections: int = 32
    connections_of_one: int = 8


class Door:
    """Listens from ``open`` to ``close``.

    Args:
        make: a protocol for each connection.
        context: of the server.
        limits: see there.
    """

    def __init__(self, make: Callable[[], asyncio.Protocol], context: ssl.SSLContext, limits: DoorLimits) -> None:
        self._make = make
        self._context = context
        self._limits = limits
        self._room = asyncio.Semaphore(limits.connections)
        self._by_address: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        if self._socket is None:
            raise RuntimeError("the door is not open")
        return int(self._socket.getsockname()[1])

    async def open(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be had.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.setblocking(False)  # noqa: FBT003 -- the library's signature
            listening.bind(address)
            listening.listen(_BACKLOG)
        except OSError:
            listening.close()
            raise
        self._socket = listening
        self._accepting = asyncio.create_task(self._accept(listening), name="authority-door")

    async def close(self) -> None:
        """Take no more connections; those that are there go on, see ``end``."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
            self._accepting = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def end(self) -> None:
        """End the connections that are left."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._room.acquire()
            try:
                connection, address = await loop.sock_accept(listening)
            except OSError as error:
                self._room.release()
                log.warning("authority.accept_failed", detail=error.strerror)
                await asyncio.sleep(_REST_S)
                continue
            except asyncio.CancelledError:
                self._room.release()
                raise
            peer = str(address[0]) if isinstance(address, tuple) else ""
            if self._by_address[peer] >= self._limits.connections_of_one:
                connection.close()
                self._room.release()
                continue
            self._by_address[peer] += 1
            task = asyncio.create_task(self._hold(connection, peer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _hold(self, connection: socket.socket, peer: str) -> None:
        """One connection, from its handshake to its end."""
        watched = _Watched(self._make)
        try:
            async with asyncio.timeout(self._limits.connection_s):
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: watched,
                    connection,
                    ssl=self._context,
                    ssl_handshake_timeout=self._limits.handshake_s,
                    ssl_shutdown_timeout=1.0,
                )
                await watched.closed.wait()
        except (TimeoutError, OSError):  # no handshake of ours (ssl.SSLError is an OSError), or too long
            log.info("authority.connection_dropped", peer=peer)
        finally:
            watched.abort()
            connection.close()
            self._by_address[peer] -= 1
            if not self._by_address[peer]:
                del self._by_address[peer]
            self._room.release()


class _Watched(asyncio.Protocol):
    """Another protocol, made when the handshake is through, and when its connection is over."""

    def __init__(self, make: Callable[[], asyncio.Protocol]) -> None:
        self.closed = asyncio.Event()
        self._make = make
        self._inner: asyncio.Protocol = asyncio.Protocol()
        self._transport: asyncio.BaseTransport | None = None

    def abort(self) -> None:
        """End the connection, if there is one still."""
        if (
            self._transport is not None
            and not self.closed.is_set()
            and isinstance(self._transport, asyncio.Transport)
        ):
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._inner = self._make()
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._inner.connection_lost(error)
        self.closed.set()
