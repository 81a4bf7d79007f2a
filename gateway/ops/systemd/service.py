"""The gateway as a service of systemd, in one piece: what the composition root needs of this folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from gateway.ops.systemd.notify import Notify, watchdog_s
from gateway.ops.systemd.watchdog import ReadyKeeper, Watchdog
from gateway.ops.view import Probe

_TO_CLOSE_S: Final = 10.0


class Service:
    """Tells systemd of start, readiness, reloads, life and stop; does nothing where no systemd listens.

    Args:
        environ: the environment of the process.
        pid: its process id.
        monotonic_s: monotonic seconds.
    """

    def __init__(self, environ: Mapping[str, str], pid: int, monotonic_s: Callable[[], float]) -> None:
        self._notify = Notify.from_environment(environ)
        self._within_s = watchdog_s(environ, pid)
        self._monotonic_s = monotonic_s
        self._keeper = ReadyKeeper(self._notify)

    def starting(self, words: str, within_s: float) -> None:
        """Say what is done before anything can answer, and how long it may take."""
        self._notify.starting(words, within_s)

    async def run(self, probes: Sequence[Probe], report: Callable[[], Mapping[str, Any]]) -> None:
        """Tell READY=1 when ``report`` says so, feed the watchdog while ``probes`` answer; until cancelled.

        Cancel it behind everything else: a stop that keeps its promises is alive.
        """
        watchdog = Watchdog(self._notify, probes, within_s=self._within_s, monotonic_s=self._monotonic_s)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keeper.run(report), name="ready")
            tasks.create_task(watchdog.run(), name="watchdog")

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Around a reload, whatever comes of it."""
        self._notify.reloading(int(self._monotonic_s() * 1_000_000))
        try:
            yield
        finally:
            self._notify.reloaded(self._keeper.words)

    def stopping(self, shutdown_s: float) -> None:
        """The stop begins; what was taken in is decided and answered within so long."""
        self._notify.stopping(shutdown_s + _TO_CLOSE_S)
