"""When systemd is told that the gateway is alive, and when that it is ready.

A gateway is alive when every part of it has answered a question of its own, not when a timer still runs: a process
whose writer hangs on a dead disk answers no device, and is better started anew. A part that refuses its work, and
knows why, is alive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import structlog

from gateway.ops.systemd.notify import Notify
from gateway.ops.view import Probe

log = structlog.get_logger("watchdog")

DEFAULT_WITHIN_S: Final = 120.0
"""Where systemd sets no watchdog, the start is prolonged in this rhythm."""

_ROUND: Final = 0.5
_PATIENCE: Final = 0.25
_LOOK_SOON_S: Final = 0.5
_LOOK_S: Final = 10.0


class Judgement(NamedTuple):
    """What follows from one round: whether to feed, and what changed since the round before."""

    feed: bool
    silent: tuple[str, ...]
    back: tuple[str, ...]


def judge(silent_before: Collection[str], faults: Mapping[str, str | None]) -> Judgement:
    """Judge a round by each part's fault, None for a part that answered."""
    silent = [name for name, fault in faults.items() if fault is not None]
    return Judgement(
        feed=not silent,
        silent=tuple(name for name in silent if name not in silent_before),
        back=tuple(name for name in faults if name in silent_before and name not in silent),
    )


class Watchdog:
    """Feeds systemd's watchdog. ``run`` is a task of its own; it returns at once where no systemd listens.

    Half of the time that systemd allows is one round, and a quarter is what the parts have to answer, all at once: a
    gateway whose parts answer just in time is fed before the time is over. A part that is late is not asked a second
    time; its answer counts in the round in which it comes. Until systemd took READY=1, a round in which all answered
    also prolongs the start: a broker that is away does not get a gateway killed, a part that hangs does.

    Args:
        notify: whom to tell.
        probes: what to ask; a name each.
        within_s: what systemd allows between two signs of life, None when it asks for none.
        monotonic_s: monotonic seconds.
    """

    def __init__(
        self,
        notify: Notify,
        probes: Sequence[Probe],
        *,
        within_s: float | None,
        monotonic_s: Callable[[], float],
    ) -> None:
        if len({probe.name for probe in probes}) != len(probes):
            raise ValueError("two probes of one name")
        self._notify = notify
        self._probes = tuple(probes)
        self._within_s = DEFAULT_WITHIN_S if within_s is None else within_s
        self._monotonic_s = monotonic_s
        self._asked: dict[str, asyncio.Task[None]] = {}
        self._silent: set[str] = set()

    @property
    def silent(self) -> frozenset[str]:
        """The parts that did not answer in the last round."""
        return frozenset(self._silent)

    async def run(self) -> None:
        """Ask, feed, sleep, until cancelled."""
        if not self._notify.wanted:
            return
        try:
            while True:
                started_s = self._monotonic_s()
                await self.round()
                await asyncio.sleep(max(0.0, self._within_s * _ROUND - (self._monotonic_s() - started_s)))
        finally:
            for task in self._asked.values():
                task.cancel()
            await asyncio.gather(*self._asked.values(), return_exceptions=True)

    async def round(self) -> Judgement:
        """Ask every part once, tell what changed, and feed if all answered."""
        for probe in self._probes:
            if probe.name not in self._asked:
                self._asked[probe.name] = asyncio.create_task(_ask(probe), name=f"probe {probe.name}")
        if self._asked:
            await asyncio.wait(self._asked.values(), timeout=self._within_s * _PATIENCE)
        faults = {probe.name: self._fault(probe.name) for probe in self._probes}
        judgement = judge(self._silent, faults)
        for name in judgement.silent:
            log.error("watchdog.part_silent", part=name, detail=faults[name])
        for name in judgement.back:
            log.info("watchdog.part_back", part=name)
        self._silent = {name for name, fault in faults.items() if fault is not None}
        if judgement.feed:
            self._notify.alive(None if self._notify.ready_told else self._within_s)
        return judgement

    def _fault(self, name: str) -> str | None:
        """What is wrong with a part that was asked, None if it answered."""
        task = self._asked[name]
        if not task.done():
            return f"no answer in {self._within_s * _PATIENCE:g} s"
        del self._asked[name]
        if task.cancelled():
            return "the question was cancelled"
        fault = task.exception()
        return None if fault is None else f"{type(fault).__name__}: {fault}"


async def _ask(probe: Probe) -> None:
    await probe.ask()


class ReadyKeeper:
    """Tells systemd READY=1 once the gateway takes messages, and what it waits for until then and afterwards.

    ``run`` is a task of its own; it returns at once where no systemd listens.
    """

    def __init__(self, notify: Notify) -> None:
        self._notify = notify
        self._told = ""

    async def run(self, report: Callable[[], Mapping[str, Any]]) -> None:
        """Look and tell until cancelled: twice a second until it is ready, then every ten seconds.

        Args:
            report: what ``securenet status`` shows (``GatewayView.status``).
        """
        while self._notify.wanted:
            self.look(report())
            await asyncio.sleep(_LOOK_S if self._notify.ready_told else _LOOK_SOON_S)

    def look(self, report: Mapping[str, Any]) -> None:
        """Tell what is new in a status report."""
        words = in_words(report)
        if report["ready"] and not self._notify.ready_told:
            if self._notify.ready(words):
                self._told = words
        elif words != self._told and self._notify.status(words):
            self._told = words

    @property
    def words(self) -> str:
        """What systemd was told last; for the end of a reload."""
        return self._told


def in_words(report: Mapping[str, Any]) -> str:
    """A status report as the one line that ``systemctl status`` shows."""
    if report["ready"]:
        over = ", ".join(sorted(report.get("transports", {}))) or "no transport"
        warnings = "".join(f"; {warning}" for warning in report.get("warnings", ()))
        return f"takes messages over {over}{warnings}"
    return f"waits: {'; '.join(map(str, report.get('problems', ()))) or 'it is not ready'}"
