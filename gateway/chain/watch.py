"""Looks at the chain regularly, on behalf of those who follow it: the registry, and the anchors.

One look is one view of one endpoint for each looker, so that a fault in what one of them asks does not keep the other
from asking. Nothing is retried faster than the rhythm; a chain that is away for days costs a line when it goes and a
line when it is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

import structlog

from gateway.chain.port import Chain, ChainError, ChainMisconfigured, Looker

log = structlog.get_logger("chain")


class ChainState(StrEnum):
    """How the chain is, seen from here."""

    STARTING = "starting"
    UP = "up"
    DOWN = "down"
    MISCONFIGURED = "misconfigured"
    """A person has to act: the detail says how."""


class WatchStatus(NamedTuple):
    """The state, since when (milliseconds since 1970), and in words what is wrong; empty when nothing is."""

    state: ChainState
    since_ms: int
    detail: str


class ChainWatch:
    """Calls every looker once in ``poll_s`` seconds, or at once when woken. ``run`` is a task of its own.

    Args:
        chain: where views come from.
        lookers: who looks, in this order.
        poll_s: seconds between two looks.
        wall_ms: milliseconds since 1970.
        survivable: what a look may raise beside ``ChainError``: the next look tries again.
        on_look: called after each look, when the status is up to date.
    """

    def __init__(  # noqa: PLR0913 -- one argument for each thing it works with
        self,
        chain: Chain,
        lookers: Sequence[Looker],
        *,
        poll_s: float,
        wall_ms: Callable[[], int],
        survivable: tuple[type[Exception], ...] = (),
        on_look: Callable[[], None] = lambda: None,
    ) -> None:
        self._chain = chain
        self._lookers = lookers
        self._poll_s = poll_s
        self._wall_ms = wall_ms
        self._survivable: tuple[type[Exception], ...] = (ChainError, *survivable)
        self._on_look = on_look
        self._woken = asyncio.Event()
        self._status = WatchStatus(ChainState.STARTING, wall_ms(), "the chain was not looked at yet")

    @property
    def status(self) -> WatchStatus:
        """How the last look went."""
        return self._status

    def wake(self) -> None:
        """Look now."""
        self._woken.set()

    async def run(self) -> None:
        """Look, wait, look again, until cancelled."""
        while True:
            self._woken.clear()
            self._note(await self.look())
            self._on_look()
            try:
                async with asyncio.timeout(self._poll_s):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def look(self) -> Exception | None:
        """Let everyone look once; return the first thing that went wrong."""
        first: Exception | None = None
        for looker in self._lookers:
            try:
                async with self._chain.view() as view:
                    await looker.look(view)
            except self._survivable as fault:
                first = first or fault
        return first

    def _note(self, fault: Exception | None) -> None:
        """Write a change of state to the log, and nothing when it is as it was."""
        state = ChainState.UP
        if fault is not None:
            state = ChainState.MISCONFIGURED if isinstance(fault, ChainMisconfigured) else ChainState.DOWN
        detail = "" if fault is None else str(fault)
        before = self._status
        if state is before.state:
            self._status = before._replace(detail=detail)
            return
        now_ms = self._wall_ms()
        self._status = WatchStatus(state, now_ms, detail)
        if state is ChainState.UP:
            log.info("chain.up", after_s=(now_ms - before.since_ms) // 1000)
        elif state is ChainState.DOWN:
            log.warning("chain.down", detail=detail)
        else:
            log.error("chain.misconfigured", detail=detail)
