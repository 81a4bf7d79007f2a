"""What keeps a gateway in order while it runs: reloads, clock, certificates. One object for the composition root."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from gateway.config.model import Config
from gateway.ops.certificates import CertificateWatch, certificate_files
from gateway.ops.clock import ClockWatch
from gateway.ops.last_good import Source
from gateway.ops.reload import Reloader, Room
from gateway.ops.reload_rooms import mqtt_room
from gateway.ops.supervisor import TaskState, supervise
from gateway.transport.mqtt import MqttTransport

_READY_LOOK_S: Final = 2.0
_ANSWER_S: Final = 4.5
"""Whoever asks over the control socket is answered in 5 s; a registry of a large fleet takes longer."""


class Attendance:
    """``run`` is a task, ``reload_wanted`` is set by SIGHUP, ``reload_now`` answers ``securenet reload``.

    Args:
        config: what the gateway started with.
        source: where it came from.
        clock: the clock's watch, which the ledger asks already.
        mqtt: the broker's link; None without.
        rooms: what else can change live (``quiet_rooms``, ``page_room``), those that can fail first.
        reload_registry: reads the registry anew.
        is_ready: whether the gateway takes messages in.
        wall_ms: milliseconds since 1970.
        on_applied: told of each configuration that came into force.
        around: entered for the length of a reload: who waits for one is told.
    """

    def __init__(  # noqa: PLR0913 -- one argument for each thing that it attends to
        self,
        config: Config,
        source: Source,
        *,
        clock: ClockWatch,
        mqtt: MqttTransport | None,
        rooms: Sequence[Room],
        reload_registry: Callable[[], Awaitable[None]],
        is_ready: Callable[[], bool],
        wall_ms: Callable[[], int],
        on_applied: Callable[[Config], None] = lambda _: None,
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._around = around
        links = [] if mqtt is None else [mqtt_room(mqtt)]
        self._reloader = Reloader(config, source, [*links, *rooms], on_applied=on_applied)
        self._clock = clock
        self._certificates = CertificateWatch(
            lambda: certificate_files(self._reloader.config.mqtt),
            mqtt,
            wall_ms=wall_ms,
            clock_trusted=lambda: clock.trusted,
        )
        if mqtt is not None:
            mqtt.on_up = self._certificates.wake  # with other files perhaps, and the broker has shown its own
        self._reload_registry = reload_registry
        self._reading = asyncio.Lock()
        self._now: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None
        self._is_ready = is_ready
        self.reload_wanted = asyncio.Event()

    async def run(self) -> None:
        """Attend to all of it until cancelled. A fault of ours in here is told, and ends no intake of messages."""
        attended: dict[str, Callable[[], Awaitable[None]]] = {
            "clock": self._clock.run,
            "certificates": self._certificates.run,
            "last-good": self._keep_when_ready,
            "reload": self._reload_when_asked,
        }
        async with asyncio.TaskGroup() as tasks:
            for name, attend in attended.items():
                tasks.create_task(supervise(name, attend, TaskState(), time.monotonic), name=name)

    async def reload_now(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        """Reload, and say what became of it."""
        until_s = asyncio.get_running_loop().time() + _ANSWER_S
        answer = await self._reloader.asked()
        try:
            async with asyncio.timeout_at(until_s):
                await asyncio.shield(self._follow())
        except TimeoutError:
            return {"ok": True, "under_way": True} if answer["ok"] else answer
        return answer

    def status(self) -> dict[str, Any]:
        """The parts of ``securenet status``: configuration, clock, certificates."""
        return {
            "configuration": self._reloader.status(),
            "clock": self._clock.status(),
            "certificates": self._certificates.status(),
        }

    def warnings(self) -> list[str]:
        """What a person should know although messages are taken."""
        return [*self._reloader.warnings(), *self._clock.warnings(), *self._certificates.warnings()]

    def close(self) -> None:
        """Call it when the journal is closed."""
        self._clock.close()

    async def _reload_when_asked(self) -> None:
        while True:
            await self.reload_wanted.wait()
            self.reload_wanted.clear()
            with self._around():
                await self._reloader.reload()
                await asyncio.shield(self._follow())

    def _follow(self) -> asyncio.Task[None]:
        """What is read anew with every reload, whatever became of the configuration; who asks no more ends nothing.

        One after the other: of two that read at a time, the one that read the older file could come last.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._read_anew(), name="reload-registry")
        return self._next

    async def _read_anew(self) -> None:
        async with self._reading:
            self._now, self._next = self._next, None  # whoever asks from here on wants what is there then
            await self._reload_registry()
            self._certificates.wake()

    async def _keep_when_ready(self) -> None:
        while not self._is_ready():  # noqa: ASYNC110 -- ready is asked for, nobody announces it; over once it is
            await asyncio.sleep(_READY_LOOK_S)
        await self._reloader.became_ready()
