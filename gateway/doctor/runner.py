"""Asks the checks: side by side where that disturbs nothing, each in its time, none able to end the others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Final, ParamSpec, TypeVar

from gateway.doctor.case import Case, Check
from gateway.doctor.finding import Finding, Sheet, note, warning

P = ParamSpec("P")
R = TypeVar("R")

AT_ONCE: Final = 6
SHEET: Final = Sheet(
    "doctor",
    {
        "timed-out": warning(
            "What was asked hangs, or is slow: ask it alone, `securenet doctor --only {name}`; a disk that hangs "
            "shows in `journalctl -k -p warning`."
        ),
        "failed": warning(
            "This is a fault of the doctor's own, and says nothing of the gateway: send "
            "`securenet support-bundle` to whoever maintains it."
        ),
        "left-out": note("Correct the configuration, then ask again: `securenet check-config`."),
    },
)


async def examine(case: Case, checks: Sequence[Check]) -> list[Finding]:
    """Ask ``checks``; the findings come in the order of the checks."""
    asked = [check for check in checks if _is_asked(check, case)]
    places = asyncio.Semaphore(AT_ONCE)

    async def in_turn(check: Check) -> list[Finding]:
        async with places:
            return await _ask(check, case)

    found: dict[str, list[Finding]] = {}
    light = [asyncio.create_task(in_turn(check), name=check.name) for check in asked if not check.heavy]
    if light:
        await asyncio.wait(light)
    found |= {task.get_name(): _outcome(task) for task in light}
    for check in asked:
        if check.heavy:
            task = asyncio.create_task(_ask(check, case), name=check.name)
            await asyncio.wait([task])
            found[check.name] = _outcome(task)
    left_out = [check.name for check in checks if case.config is None and check.needs_config]
    told = [finding for check in asked for finding in found[check.name]]
    if left_out:
        told.append(SHEET.found("left-out", f"not asked without a configuration: {', '.join(left_out)}"))
    return told


def _is_asked(check: Check, case: Case) -> bool:
    if case.offline and check.remote:
        return False
    return not check.needs_config or (case.config is not None and check.applies(case.config))


async def _ask(check: Check, case: Case) -> list[Finding]:
    try:
        async with asyncio.timeout(check.limit_s):
            return await check.ask(case)
    except TimeoutError:
        what = f"{check.name} was not answered in {check.limit_s:g} s ({check.asks})"
        return [SHEET.found("timed-out", what, name=check.name)]


def _outcome(task: asyncio.Task[list[Finding]]) -> list[Finding]:
    """What a check found; one that broke has found nothing, and says so."""
    fault = task.exception()
    if fault is None:
        return task.result()
    what = f"the check {task.get_name()} broke: {type(fault).__name__}: {fault}"
    return [SHEET.found("failed", what, name=task.get_name())]


async def aside(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call what may block, on a thread that nobody waits for at the end: a dead disk must not hold the doctor."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[R] = loop.create_future()

    def settle(result: R | None, fault: BaseException | None) -> None:
        if answer.done():
            return
        if fault is not None:
            answer.set_exception(fault)
        else:
            answer.set_result(result)  # type: ignore[arg-type] # R it is, where there is no fault

    def work() -> None:
        result, fault = None, None
        try:
            result = function(*args, **kwargs)
        except BaseException as raised:  # noqa: BLE001 -- it is raised again where the answer is awaited
            fault = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, fault)

    threading.Thread(target=work, daemon=True, name=f"doctor-{getattr(function, '__name__', 'ask')}").start()
    return await answer
