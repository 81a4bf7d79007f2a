"""A task that works only when something is due: no timer runs while there is nothing to do."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable


class Tending:
    """``run`` is the task; ``wake`` says, from any thread, that something will be due."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wanted = asyncio.Event()
        self._until_s = math.inf

    def wake(self, within_s: float) -> None:
        """Something is due in so many seconds. Costs nothing where ``run`` looks before that anyway."""
        loop = self._loop
        if loop is None or (at_s := loop.time() + within_s) >= self._until_s:
            return
        self._until_s = at_s
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody tends any more
            loop.call_soon_threadsafe(self._wanted.set)

    async def run(self, due_s: Callable[[], float | None], work: Callable[[], None]) -> None:
        """Call ``work`` whenever ``due_s`` has run out, until cancelled."""
        self._loop = loop = asyncio.get_running_loop()
        try:
            while True:
                self._wanted.clear()
                self._until_s = math.inf
                wait_s = due_s()
                self._until_s = math.inf if wait_s is None else loop.time() + wait_s
                try:
                    async with asyncio.timeout(wait_s):
                        await self._wanted.wait()
                except TimeoutError:
                    work()
        finally:
            self._loop = None
