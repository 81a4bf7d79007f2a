"""A supervised task is restarted with a wait that grows, and ends when it returns."""

import asyncio

import pytest

from gateway.ops import supervisor
from gateway.ops.supervisor import TaskState, next_wait_s, supervise


def test_the_wait_doubles_up_to_a_minute_and_is_forgotten_after_healthy_minutes():
    waits, wait = [], 0.25
    for _ in range(10):
        wait = next_wait_s(wait, ran_s=1)
        waits.append(wait)
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert next_wait_s(60, ran_s=120) == 0.5


async def test_a_task_that_raises_is_started_again_and_its_fault_is_kept(monkeypatch):
    monkeypatch.setattr(supervisor, "_FIRST_WAIT_S", 0.001)
    runs = []

    async def task():
        runs.append(None)
        if len(runs) < 4:
            raise RuntimeError("no luck")

    state = TaskState()
    await asyncio.wait_for(supervise("t", task, state, lambda: 0.0), 5)
    assert len(runs) == 4
    assert state == TaskState("ended", 3, "RuntimeError: no luck")


async def test_a_cancelled_task_is_not_restarted():
    started = asyncio.Event()

    async def task():
        started.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(supervise("t", task, TaskState(), lambda: 0.0))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_the_fault_that_is_kept_is_the_cause_and_not_the_group_that_hands_it_on(monkeypatch):
    monkeypatch.setattr(supervisor, "_FIRST_WAIT_S", 0.001)
    runs = []

    async def part():
        raise OSError("the disk is gone")

    async def task():
        runs.append(None)
        if len(runs) == 1:
            async with asyncio.TaskGroup() as outer:
                outer.create_task(inner())

    async def inner():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(part())
            tasks.create_task(part())

    state = TaskState()
    await asyncio.wait_for(supervise("t", task, state, lambda: 0.0), 5)
    assert state.last_fault == "OSError: the disk is gone"
