"""A door in front of a port: open, shut (it refuses), or silent (it takes what comes and says nothing)."""

from __future__ import annotations

import asyncio
import contextlib
from enum import Enum
from typing import Self

from support.mosquitto import free_port


class Way(Enum):
    """How a port is closed."""

    SHUT = "shut"
    """Connections break, new ones are refused: the program behind it is gone."""
    SILENT = "silent"
    """Connections stay, new ones are made, nothing comes back: the network between is gone."""


class Door:
    """A TCP proxy on ``port``; an asynchronous context, which opens it.

    Args:
        behind: the port that it leads to.
    """

    def __init__(self, behind: int) -> None:
        self.port = free_port()
        self._behind = behind
        self._audible = asyncio.Event()
        self._audible.set()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close(Way.SHUT)

    async def open(self) -> None:
        """Let everything through."""
        self._audible.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def close(self, way: Way) -> None:
        """From now on nothing gets through."""
        if way is Way.SILENT:
            self._audible.clear()
            return
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served by a task")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        with contextlib.closing(writer), contextlib.suppress(OSError):
            there, away = await asyncio.open_connection("127.0.0.1", self._behind)
            with contextlib.closing(away):
                ways = [asyncio.create_task(self._pump(*way)) for way in ((reader, away), (there, writer))]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self._audible.wait()
            writer.write(data)
            await writer.drain()
        await self._audible.wait()
