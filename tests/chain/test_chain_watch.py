"""The watch looks for everyone, in its rhythm, and tells a change once."""

import asyncio
import contextlib

import pytest
from structlog.testing import capture_logs

from gateway.chain.port import ChainMisconfigured, ChainUnavailable, EndpointFault
from gateway.chain.watch import ChainState, ChainWatch


class ScriptedChain:
    """Views that are nothing but a number, or what the script raises."""

    chain_id = 1

    def __init__(self):
        self.fault = None
        self.opened = 0

    @contextlib.asynccontextmanager
    async def view(self):
        if self.fault is not None:
            raise self.fault
        self.opened += 1
        yield self.opened

    def health(self):
        return ()


class Looker:
    def __init__(self, fault=None):
        self.fault = fault
        self.views = []

    async def look(self, view):
        self.views.append(view)
        if self.fault is not None:
            raise self.fault


def watch(chain, *lookers, poll_s=3600.0, **more):
    return ChainWatch(chain, lookers, poll_s=poll_s, wall_ms=lambda: 5000, **more)


@contextlib.asynccontextmanager
async def running(watched):
    task = asyncio.create_task(watched.run())
    try:
        await asyncio.sleep(0)
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(true):
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.001)


async def test_a_fault_of_one_looker_does_not_keep_the_next_from_looking_through_a_view_of_its_own():
    chain, first, second = ScriptedChain(), Looker(EndpointFault("hung")), Looker()
    fault = await watch(chain, first, second).look()
    assert str(fault) == "hung"
    assert (first.views, second.views) == ([1], [2])


async def test_the_watch_looks_in_its_rhythm_and_at_once_when_woken():
    looker = Looker()
    quick = watch(ScriptedChain(), looker, poll_s=0.01)
    async with running(quick):
        await until(lambda: len(looker.views) >= 3)
    looker = Looker()
    slow = watch(ScriptedChain(), looker)
    async with running(slow):
        await until(lambda: len(looker.views) == 1)
        slow.wake()
        await until(lambda: len(looker.views) == 2)


async def test_a_wake_during_a_look_is_not_forgotten():
    class Waking:
        looks = 0

        async def look(self, _view):
            self.looks += 1
            if self.looks == 1:
                watched.wake()

    looker = Waking()
    watched = watch(ScriptedChain(), looker)
    async with running(watched):
        await until(lambda: looker.looks == 2)


async def test_a_chain_that_goes_and_comes_back_costs_two_lines_however_often_it_is_asked():
    chain = ScriptedChain()
    watched = watch(chain, Looker(), poll_s=0.001)
    with capture_logs() as lines:
        async with running(watched):
            await until(lambda: watched.status.state is ChainState.UP)
            chain.fault = ChainUnavailable("no endpoint answers")
            await until(lambda: watched.status.state is ChainState.DOWN)
            await asyncio.sleep(0.05)
            assert watched.status.detail == "no endpoint answers"
            chain.fault = None
            await until(lambda: watched.status.state is ChainState.UP)
    assert [line["event"] for line in lines] == ["chain.up", "chain.down", "chain.up"]
    assert watched.status.detail == ""


async def test_what_a_person_has_to_mend_has_a_state_of_its_own():
    chain = ScriptedChain()
    chain.fault = ChainMisconfigured("another chain id")
    watched = watch(chain, Looker())
    async with running(watched):
        await until(lambda: watched.status.state is ChainState.MISCONFIGURED)


async def test_only_faults_that_were_named_are_survived():
    watched = watch(ScriptedChain(), Looker(OSError("disk")), survivable=(OSError,))
    assert isinstance(await watched.look(), OSError)
    with pytest.raises(KeyError):
        await watch(ScriptedChain(), Looker(KeyError("bug"))).look()
