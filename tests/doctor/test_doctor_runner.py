"""How checks are asked: side by side, each in its time, none able to end the others."""

import asyncio
import threading
import time
from dataclasses import replace

import pytest

from gateway.doctor.case import Check
from gateway.doctor.finding import Severity, Sheet, error
from gateway.doctor.runner import AT_ONCE, aside, examine

SHEET = Sheet("x", {"y": error("run `ls`")})


def check(name, ask, **changes):
    return Check(name, "what?", SHEET, ask, **({"limit_s": 5.0} | changes))


async def fine(_):
    return [SHEET.fine("fine")]


async def test_a_check_that_hangs_is_told_and_the_others_are_heard(case_of):
    async def hangs(_):
        await asyncio.sleep(60)

    began = time.monotonic()
    found = await examine(case_of(), [check("slow", hangs, limit_s=0.2), check("fine", fine)])
    assert time.monotonic() - began < 3
    assert [each.name for each in found] == ["doctor.timed-out", "x.ok"]
    assert "securenet doctor --only slow" in found[0].remedy


async def test_a_check_that_breaks_is_told_and_the_others_are_heard(case_of):
    async def breaks(_):
        raise KeyError("secret\x1b[31m")

    found = await examine(case_of(), [check("broken", breaks, heavy=True), check("fine", fine)])
    assert [each.name for each in found] == ["doctor.failed", "x.ok"]
    assert found[0].what.isprintable()
    assert found[0].severity is Severity.WARNING


async def test_light_checks_run_side_by_side_and_heavy_ones_alone(case_of):
    now, most, seen = 0, 0, {}

    def asked(name):
        async def ask(_):
            nonlocal now, most
            now += 1
            most = max(most, now)
            seen[name] = now
            await asyncio.sleep(0.05)
            now -= 1
            return [SHEET.fine(name)]

        return ask

    checks = [check(f"l{n}", asked(f"l{n}")) for n in range(2 * AT_ONCE)]
    checks.insert(0, check("h", asked("h"), heavy=True))
    found = await examine(case_of(), checks)
    assert most == AT_ONCE
    assert seen["h"] == 1
    assert [each.what for each in found][:2] == ["h", "l0"]


async def test_what_asks_beyond_this_machine_is_left_out_offline(case_of):
    assert await examine(case_of(offline=True), [check("far", fine, remote=True)]) == []


async def test_without_a_configuration_the_rest_is_asked_and_what_is_not_is_told(case_of):
    case = case_of()
    found = await examine(replace(case, config=None), [check("a", fine), check("b", fine, needs_config=False)])
    assert [each.name for each in found] == ["x.ok", "doctor.left-out"]
    assert "a" in found[1].what
    with pytest.raises(RuntimeError):
        _ = replace(case, config=None).sound


async def test_what_blocks_for_ever_does_not_hold_the_end():
    release = threading.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await aside(release.wait)
    assert any(thread.daemon and thread.name.startswith("doctor-") for thread in threading.enumerate())
    release.set()
    with pytest.raises(OSError, match="no"):
        await aside(_refuses)
    assert await aside(len, [1, 2]) == 2


def _refuses():
    raise OSError("no")
