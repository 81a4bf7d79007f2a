"""The operator's side of a running gateway: page, metrics and health, systemd, the log, reloads, clock, certificates.

It looks at the gateway through ``gateway.ops.view`` alone. Nothing in here is on the way of a message.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from gateway.config.model import Config
from gateway.ops.attendance import Attendance
from gateway.ops.clock import ClockWatch
from gateway.ops.http.token import load_token
from gateway.ops.last_good import Source
from gateway.ops.logging import Logging
from gateway.ops.reload import Room
from gateway.ops.reload_rooms import Page, page_room
from gateway.ops.supervisor import TaskState, supervise
from gateway.ops.systemd.service import Service
from gateway.ops.view import Action, GatewayView, Probe
from gateway.transport.mqtt import MqttTransport


class Running(GatewayView, Protocol):
    """The gateway, as far as it is operated: looked at, and given another configuration."""

    def in_force(self, config: Config) -> None:
        """A reload put this configuration into force."""
        ...


class Rooms(NamedTuple):
    """What operating a gateway takes of its rooms.

    ``changing`` are those that a reload can change, ``probes`` the questions that only a live gateway answers,
    ``reload_registry`` reads the registry anew, ``anchor_now`` anchors.
    """

    clock: ClockWatch
    mqtt: MqttTransport | None
    changing: Sequence[Room]
    probes: Sequence[Probe]
    reload_registry: Callable[[], Awaitable[None]]
    anchor_now: Action


class Operations:
    """``run`` is a task that ends with the intake; ``tell_systemd`` is one that outlives the stop.

    Args:
        gateway: what is operated.
        rooms: what that takes.
        source: where the configuration came from.
        logs: the log of this process; None when somebody else keeps it.
        token: unlocks the page's actions; None: read-only.
    """

    def __init__(
        self, gateway: Running, rooms: Rooms, source: Source, *, logs: Logging | None, token: bytes | None
    ) -> None:
        self._gateway = gateway
        self._rooms = rooms
        self._logs = logs
        self._token = token
        self._page_task = TaskState()
        self._page = self._make_page(gateway.config) if gateway.config.http.enabled else None
        self._service = Service(os.environ, os.getpid(), time.monotonic)
        pages = [] if self._page is None else [page_room(self._page)]
        self._attendance = Attendance(
            gateway.config,
            source,
            clock=rooms.clock,
            mqtt=rooms.mqtt,
            rooms=[*pages, *rooms.changing],
            reload_registry=rooms.reload_registry,
            is_ready=lambda: bool(gateway.status()["ready"]),
            wall_ms=lambda: time.time_ns() // 1_000_000,
            on_applied=gateway.in_force,
            around=self._service.reloading,
        )

    def _make_page(self, config: Config) -> Page:
        """The page, its API, metrics and health, on one server."""
        from gateway.ops.http.server import HttpServer  # noqa: PLC0415 -- aiohttp: only where it serves
        from gateway.ops.page import mount  # noqa: PLC0415 -- likewise

        actions: Mapping[str, Action] = {"anchor-now": self._rooms.anchor_now, "reload": self._reload}

        def server(wanted: Config) -> HttpServer:
            token = self._token if wanted is config else load_token(wanted.http.token_file)
            return HttpServer(
                wanted.http, self._gateway, actions=actions, probes=self._rooms.probes, mount=[mount], token=token
            )

        return Page(server, config)

    async def run(self) -> None:
        """Operate until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._attendance.run(), name="attendance")
            if self._page is not None:
                serving = supervise("http", self._page.run, self._page_task, time.monotonic)
                tasks.create_task(serving, name="http")
            if self._logs is not None:
                tasks.create_task(self._logs.keep_flushing(), name="logs")

    async def tell_systemd(self) -> None:
        """Readiness and signs of life, until cancelled: behind everything else, for who keeps promises is alive."""
        await self._service.run(self._rooms.probes, self._gateway.status)

    def stopping(self) -> None:
        """The stop begins."""
        self._service.stopping(self._gateway.config.ingest.shutdown_s)

    def wants_reload(self) -> None:
        """SIGHUP."""
        self._attendance.reload_wanted.set()

    async def reload_now(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer to ``securenet reload``."""
        return await self._attendance.reload_now(request)

    async def _reload(self) -> Mapping[str, Any]:
        return await self._attendance.reload_now({})

    def status(self) -> dict[str, Any]:
        """The operator's part of ``securenet status``."""
        told = self._attendance.status()
        if self._logs is not None:
            told["logging"] = self._logs.status()
        if self._page is not None:
            page = self._page.server.status()
            told["http"] = {"state": page.state, "detail": page.detail, "address": page.address}
        return told

    def tasks(self) -> dict[str, TaskState]:
        """The supervised tasks."""
        return {} if self._page is None else {"http": self._page_task}

    def warnings(self) -> list[str]:
        """What a person should know although messages are taken."""
        return self._attendance.warnings()

    def close(self) -> None:
        """Call it when the journal is closed."""
        self._attendance.close()
