"""A gateway whose clock is wrong, put right, or set: nobody is refused for age, and the log says where."""

import asyncio
import functools
import time

import ingest_world
import pytest

from gateway.config.model import ClockConfig
from gateway.ingest.ledger import Ledger
from gateway.journal import open_reader
from gateway.message import Accepted, RawMessage, Refused, RejectReason
from gateway.ops.clock import ClockWatch
from gateway.ops.clock_kernel import KernelWord
from gateway.receipt import parse
from gateway.tlog.entry import ClockEntry, MessageEntry, parse_entry


class Wall:
    """The machine's wall clock, off by ``by_s``; the kernel calls it synchronised when a test says so."""

    def __init__(self, by_s, *, synchronised):
        self.by_s = by_s
        self.synchronised = synchronised

    def __call__(self):
        return max(0, time.time_ns() // 1_000_000 + round(self.by_s * 1000))


@pytest.fixture
def gateway(world, monkeypatch):
    """Make the world's gateway with a clock of ``wall``."""

    def made(wall):
        watch = ClockWatch(
            ClockConfig(),
            0,
            world.directory,
            wall_ms=wall,
            kernel=lambda: KernelWord(wall.synchronised),
            keeper=lambda: "chronyd",
        )
        monkeypatch.setattr(ingest_world, "Ledger", functools.partial(Ledger, ask_clock=watch.take))
        return watch

    return made


async def send(world, wall, payload, received_ms=None):
    answer = asyncio.get_running_loop().create_future()
    stamp = wall() if received_ms is None else received_ms
    assert world.intake.offer(RawMessage(payload, "mqtt", "peer", stamp, answer.set_result))
    return await asyncio.wait_for(answer, 10)


def entries(world):
    with open_reader(world.directory) as reader:
        return [parse_entry(row.entry) for row in reader.entries(0, reader.size())]


@pytest.mark.parametrize("by_s", [-50 * 365 * 86400, -86400 * 3, 86400 * 3650])
async def test_before_the_clock_is_believed_nobody_is_refused_for_age(world, lamp, gateway, by_s):
    wall = Wall(by_s, synchronised=False)
    gateway(wall)
    async with world.running():
        assert isinstance(await send(world, wall, lamp.message(1)), Accepted)
        assert isinstance(await send(world, wall, lamp.message(2, issued_at=1000.0)), Accepted)
        same = lamp.message(3)
        first, again = await send(world, wall, same), await send(world, wall, same)
        assert isinstance(first, Accepted)
        assert again.receipt == first.receipt
        wall.by_s, wall.synchronised = 0, True
        refused = await send(world, wall, lamp.message(4, issued_at=1000.0))
        assert isinstance(refused, Refused)
        assert refused.reason is RejectReason.TOO_OLD
        assert isinstance(await send(world, wall, lamp.message(5)), Accepted)
    kinds = [entry.event if isinstance(entry, ClockEntry) else type(entry).__name__ for entry in entries(world)]
    assert kinds[:6] == ["untrusted", "MessageEntry", "MessageEntry", "MessageEntry", "trusted", "MessageEntry"]


async def test_what_was_received_by_the_old_clock_and_decided_by_the_new_has_the_new_ones_time(world, lamp, gateway):
    wall = Wall(-50 * 365 * 86400, synchronised=False)
    gateway(wall)
    async with world.running():
        old = wall()
        assert isinstance(await send(world, wall, lamp.message(1)), Accepted)
        wall.by_s, wall.synchronised = 0, True
        outcome = await send(world, wall, lamp.message(2), received_ms=old)
        assert isinstance(outcome, Accepted)
        assert abs(parse(outcome.receipt).received_ms - wall()) < 5000
    last = [entry for entry in entries(world) if isinstance(entry, MessageEntry)][-1]
    assert abs(last.time_ms - wall()) < 10_000


@pytest.mark.parametrize("by_s", [-7200, 7200])
async def test_a_step_stands_in_the_log_before_what_comes_after_it(world, lamp, gateway, by_s):
    wall = Wall(0, synchronised=True)
    gateway(wall)
    async with world.running():
        assert isinstance(await send(world, wall, lamp.message(1)), Accepted)
        wall.by_s = by_s
        assert isinstance(await send(world, wall, lamp.message(2, issued_at=wall() / 1000)), Accepted)
    first, step, second, *_ = entries(world)
    assert isinstance(step, ClockEntry)
    assert step.event == "stepped"
    assert abs(step.time_ms - step.before_ms - by_s * 1000) < 1000
    assert abs(second.time_ms - first.time_ms - by_s * 1000) < 10_000


async def test_a_believed_clock_leaves_nothing_in_the_log(world, lamp, gateway):
    wall = Wall(0, synchronised=True)
    gateway(wall)
    async with world.running():
        await send(world, wall, lamp.message(1))
    assert [type(entry) for entry in entries(world)] == [MessageEntry]


async def test_an_idle_gateway_tells_the_log_of_a_wrong_clock_at_once(world, gateway):
    wall = Wall(-86400, synchronised=False)
    gateway(wall)
    async with world.running():
        pass
    assert [entry.event for entry in entries(world)] == ["untrusted"]
