"""What every reload reads anew: one after the other, to the end, and answered in time."""

import asyncio
import time

import pytest
from structlog.testing import capture_logs

from gateway.config.load import parse_config
from gateway.config.model import Config, GatewayConfig, HttpConfig, MqttConfig
from gateway.ops import attendance, supervisor
from gateway.ops.attendance import Attendance
from gateway.ops.clock import ClockWatch
from gateway.ops.last_good import Source
from gateway.ops.reload import NotApplied
from gateway.ops.reload_rooms import mqtt_room, page_room


class Registry:
    """A file that is read in steps: what counts is what lay there when the reading began."""

    def __init__(self):
        self.file = "old"
        self.in_force = ""
        self.reads = 0
        self.at_once = 0
        self.may_end = asyncio.Event()

    async def reload(self):
        self.reads += 1
        self.at_once += 1
        assert self.at_once == 1
        seen = self.file
        await self.may_end.wait()
        self.in_force = seen
        self.at_once -= 1


@pytest.fixture
def registry():
    return Registry()


@pytest.fixture
def attended(tmp_path, registry):
    path = tmp_path / "gateway.toml"
    path.write_text(
        f'[gateway]\nid = "gw-1"\nfleet = "f"\ndata_dir = "{tmp_path}"\nlog_key_file = "k"\n'
        '[registry]\nfile = "r"\n[mqtt]\nenabled = false\n[coap]\nenabled = true\n'
    )
    config = parse_config(path.read_text(), path)
    made = Attendance(
        config,
        Source(path, path.read_text()),
        clock=ClockWatch(config.clock, 0, tmp_path, wall_ms=lambda: time.time_ns() // 1_000_000),
        mqtt=None,
        rooms=[],
        reload_registry=registry.reload,
        is_ready=lambda: False,
        wall_ms=lambda: time.time_ns() // 1_000_000,
    )
    made._reloader._check_files = lambda _: []  # the files that it names do not matter here
    return made


async def test_of_reloads_that_overlap_the_newest_file_comes_into_force(attended, registry):
    first = asyncio.create_task(attended.reload_now({}))
    while not registry.reads:
        await asyncio.sleep(0.01)
    registry.file = "new"
    others = [asyncio.create_task(attended.reload_now({})) for _ in range(3)]
    await asyncio.sleep(0.3)
    registry.may_end.set()
    await asyncio.gather(first, *others)
    assert registry.in_force == "new"
    assert registry.reads == 2  # those who wait for the same file read it once


async def test_a_registry_that_takes_long_is_read_to_its_end_and_the_asker_hears_that_it_goes_on(
    attended, registry, monkeypatch
):
    monkeypatch.setattr(attendance, "_ANSWER_S", 0.2)
    answer = await attended.reload_now({})
    assert registry.reads == 1
    registry.may_end.set()
    await asyncio.sleep(0.05)
    assert registry.in_force == "old"
    assert answer == {"ok": True, "under_way": True}


async def test_a_fault_of_ours_in_a_reload_is_told_and_ends_nothing(attended, registry, monkeypatch):
    monkeypatch.setattr(supervisor, "_FIRST_WAIT_S", 0.01)
    registry.may_end.set()
    running = asyncio.create_task(attended.run())
    read = registry.reload
    attended._reload_registry = raises
    with capture_logs() as logs:
        attended.reload_wanted.set()
        await until(lambda: any(each["event"] == "task.failed" for each in logs))
    attended._reload_registry = read
    attended.reload_wanted.set()
    await until(lambda: registry.in_force == "old")
    assert not running.done()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def raises():
    raise KeyError("a fault of ours")


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("host", ["broker..local", "b" * 64 + ".local"])
async def test_a_host_that_is_no_name_is_refused_and_not_looked_up(host):
    config = Config(
        gateway=GatewayConfig(id="gw-1", fleet="f"), mqtt=MqttConfig(host=host), http=HttpConfig(host=host)
    )
    rooms = [mqtt_room(None), page_room(None)]  # neither link nor page is asked
    for room in rooms:
        with pytest.raises(NotApplied, match="is no host name"):
            await room.apply(config)
