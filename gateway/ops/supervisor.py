"""Restarts what may be restarted: the one place that catches whatever a task raises."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import structlog

log = structlog.get_logger("supervisor")

_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 60.0
_HEALTHY_AFTER_S = 120.0


@dataclass(slots=True)
class TaskState:
    """How a supervised task is doing: ``running``, ``waiting`` (to be restarted) or ``ended``."""

    state: str = "running"
    restarts: int = 0
    last_fault: str = ""


def next_wait_s(wait_s: float, ran_s: float) -> float:
    """The wait before the next restart: doubled each time, forgotten after two healthy minutes."""
    return _FIRST_WAIT_S if ran_s >= _HEALTHY_AFTER_S else min(_LONGEST_WAIT_S, wait_s * 2)


def causes(fault: BaseException) -> Iterator[BaseException]:
    """Yield what was raised in the first place: task groups hand it on in a group, and such groups in others."""
    if isinstance(fault, BaseExceptionGroup):
        for each in fault.exceptions:
            yield from causes(each)
    else:
        yield fault


async def supervise(
    name: str, task: Callable[[], Awaitable[None]], state: TaskState, monotonic_s: Callable[[], float]
) -> None:
    """Run ``task`` until it returns; when it raises, say so and start it again after a wait.

    For the tasks that stand alone (transports, publisher). A fault in ingest, journal or crypto ends the process:
    systemd starts a new one from what is on the disk.
    """
    wait_s = _FIRST_WAIT_S / 2
    while True:
        started_s = monotonic_s()
        state.state = "running"
        try:
            await task()
        except Exception as fault:  # the supervisor: every other handler names what it expects
            wait_s = next_wait_s(wait_s, monotonic_s() - started_s)
            state.state = "waiting"
            state.last_fault = "; ".join(dict.fromkeys(f"{type(each).__name__}: {each}" for each in causes(fault)))
            state.restarts += 1
            log.exception("task.failed", task=name, restart_in_s=wait_s)
            await asyncio.sleep(wait_s)
        else:
            state.state = "ended"
            return
