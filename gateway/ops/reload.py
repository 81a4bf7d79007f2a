"""Reload: a new configuration is checked as a whole, applied room by room, and taken back as a whole (docs/adr/0176).

What can change live does, what cannot is named, and on any fault the old configuration stays in force, all of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import structlog

from gateway.config.fault import ConfigError, Fault
from gateway.config.load import parse_config
from gateway.config.model import Config
from gateway.ops.last_good import Source, fault_facts, keep, read_config_text
from gateway.ops.named_files import named_file_faults
from gateway.ops.reload_keys import HOW, Plan, plan_of

log = structlog.get_logger("config")


class NotApplied(Exception):
    """A room cannot work with the new configuration, and works with the old one as before; the text says why."""


class Room(NamedTuple):
    """A part of the gateway that can change while it runs: the keys that ``HOW`` gives it.

    ``apply`` puts a configuration into force, or raises ``NotApplied`` and leaves everything as it was. It is called
    with the old configuration again when another room could not follow. ``wants``: also when no key changed, because
    what its files hold may have.
    """

    name: str
    apply: Callable[[Config], Awaitable[None]]
    wants: Callable[[], bool] = lambda: False


class Outcome(NamedTuple):
    """What became of a reload: the keys that changed, those that wait for a restart, or why nothing changed."""

    changed: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    def answer(self) -> dict[str, Any]:
        """For ``securenet reload``."""
        return {"ok": not self.faults, **{name: list(value) for name, value in self._asdict().items()}}


class Reloader:
    """Owns the configuration in force.

    Args:
        config: what the gateway started with.
        source: where it came from.
        rooms: what can change live, in the order in which it is to change.
        on_applied: told of each configuration that came into force.
        check_files: looks at what a configuration names; runs in a thread.
    """

    def __init__(
        self,
        config: Config,
        source: Source,
        rooms: Sequence[Room],
        *,
        on_applied: Callable[[Config], None] = lambda _: None,
        check_files: Callable[[Config], list[Fault]] = named_file_faults,
    ) -> None:
        self.config = config
        self._source = source
        self._rooms = tuple(rooms)
        self._on_applied = on_applied
        self._check_files = check_files
        self._restart: tuple[str, ...] = ()
        self._faults: tuple[str, ...] = ()
        self._kept = ""
        self._whole = "" if source.broken is not None else source.text
        self._one = asyncio.Lock()
        self._under_way: asyncio.Task[Outcome] | None = None

    async def reload(self) -> Outcome:
        """Read the file and put into force what can be. Never raises for what is wrong with it: that is told."""
        async with self._one:
            outcome = await self._reload()
            self._restart, self._faults = outcome.restart, outcome.faults
            if outcome.faults:
                log.error("config.refused", path=str(self._source.path), **fault_facts(outcome.faults))
            else:
                log.info(
                    "config.reloaded", changed=", ".join(outcome.changed), needs_restart=", ".join(outcome.restart)
                )
            return outcome

    async def asked(self, patience_s: float = 4.0) -> dict[str, Any]:
        """The answer to ``securenet reload``; one that takes longer goes on, and its event says how it ended."""
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.create_task(self.reload(), name="reload-asked")
        try:
            async with asyncio.timeout(patience_s):
                return (await asyncio.shield(self._under_way)).answer()
        except TimeoutError:
            return {"ok": True, "under_way": True}

    async def became_ready(self) -> None:
        """The gateway works with what is in force: keep it as the last good configuration, where all of it is."""
        async with self._one:
            if self._whole:
                await self._keep(self._whole)

    def status(self) -> dict[str, Any]:
        """The configuration's part of ``securenet status``."""
        return {
            "path": str(self._source.path),
            "fallback": self._source.broken is not None,
            "refused": list(self._faults),
            "needs_restart": list(self._restart),
        }

    def warnings(self) -> list[str]:
        """What a person should know although messages are taken."""
        told = self._source.warnings()
        if self._faults:
            told.append(
                f"the configuration was refused at the last reload: {self._faults[0]}; the old one is in force"
            )
        if self._restart:
            told.append(f"changed, and in force after a restart: {', '.join(self._restart)}")
        return told

    async def _reload(self) -> Outcome:
        try:
            text = await asyncio.to_thread(read_config_text, self._source.path)
            new = parse_config(text, self._source.path)
        except ConfigError as error:
            return Outcome(faults=tuple(map(str, error.faults)))
        faults = await asyncio.to_thread(self._check_files, new)
        if faults:
            return Outcome(faults=tuple(map(str, faults)))
        plan = plan_of(self.config, new, {room.name for room in self._rooms})
        fault = await self._apply(plan)
        if fault:
            return Outcome(faults=(fault,))
        self.config = plan.config
        self._on_applied(plan.config)
        self._source = Source(self._source.path, text)
        self._whole = "" if plan.restart else text
        if self._whole:
            await self._keep(self._whole)
        return Outcome(plan.live, plan.restart)

    async def _apply(self, plan: Plan) -> str:
        """Room by room; at the first that cannot, the others go back. Returns why, empty when all could."""
        wanted = {HOW[name] for name in plan.live}
        done: list[Room] = []
        for room in self._rooms:
            if room.name not in wanted and not room.wants():
                continue
            try:
                await room.apply(plan.config)
            except NotApplied as refused:
                for each in reversed(done):
                    await self._take_back(each)
                return f"[{room.name}] {refused}"
            done.append(room)
        return ""

    async def _take_back(self, room: Room) -> None:
        try:
            await room.apply(self.config)
        except NotApplied as refused:
            log.error("config.not_taken_back", room=room.name, detail=str(refused))

    async def _keep(self, text: str) -> None:
        if text == self._kept:
            return
        try:
            await asyncio.to_thread(keep, self.config.gateway.data_dir, text)
        except OSError as error:
            log.warning("config.not_kept", detail=str(error.strerror or error))
        else:
            self._kept = text
