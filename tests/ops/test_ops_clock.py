"""When the wall clock is believed: a judge that reads no clock, and a watch over a machine that is a test's own."""

import asyncio
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.config.model import ClockConfig
from gateway.ops.clock import BUILT_MS, STRETCH_FILE, ClockJudge, ClockWatch, Facts, when
from gateway.ops.clock_kernel import KernelWord, SetNotice, find_keeper, read_kernel

NOW = BUILT_MS + 200 * 86_400_000
WRONG = 86_400_000  # 2 January 1970: a board without a battery


class Machine:
    """Two clocks, a kernel and a time service that a test turns as it likes."""

    def __init__(self, wall_ms=NOW, *, synchronised=None, keeper=""):
        self.boot = 100.0
        self.wall = wall_ms
        self.synchronised = synchronised
        self.keeper = keeper

    def passes(self, seconds):
        self.boot += seconds
        self.wall += round(seconds * 1000)

    def facts(self):
        return Facts(self.boot, self.wall, self.synchronised, self.keeper)

    def watch(self, folder, config=None, known_past_ms=0):
        return ClockWatch(
            config or ClockConfig(),
            known_past_ms,
            folder,
            wall_ms=lambda: self.wall,
            boot_s=lambda: self.boot,
            kernel=lambda: KernelWord(self.synchronised, 0.25, 16.0),
            keeper=lambda: self.keeper,
        )


def events(watch):
    return [entry.event for entry in watch.take().news]


@pytest.mark.parametrize(
    ("trust", "wall", "synchronised", "keeper", "trusted"),
    [
        ("always", WRONG, False, "chronyd", True),
        ("kernel", NOW, True, "", True),
        ("kernel", NOW, False, "", False),
        ("kernel", NOW, None, "", False),
        ("auto", NOW, True, "chronyd", True),
        ("auto", NOW, False, "chronyd", False),
        ("auto", NOW, None, "chronyd", False),
        ("auto", NOW, False, "", True),
        ("auto", NOW, None, "", True),
        ("auto", WRONG, False, "", False),
        ("auto", WRONG, True, "", True),
        ("auto", BUILT_MS - 6000, False, "", False),
        ("auto", BUILT_MS - 4000, False, "", True),
    ],
)
def test_whose_word_counts(trust, wall, synchronised, keeper, trusted):
    verdict, step = ClockJudge(ClockConfig(trust=trust), 0).look(Facts(1.0, wall, synchronised, keeper))
    assert (verdict.trusted, step) == (trusted, None)
    assert verdict.why


def test_a_clock_behind_the_newest_entry_of_the_log_is_not_believed_and_says_what_is_past():
    verdict, _ = ClockJudge(ClockConfig(), NOW + 3_600_000).look(Machine().facts())
    assert not verdict.trusted
    assert when(NOW + 3_600_000) in verdict.why


def test_what_was_believed_stays_so_when_the_time_service_loses_its_servers():
    machine = Machine(synchronised=True, keeper="chronyd")
    judge = ClockJudge(ClockConfig(), 0)
    assert judge.look(machine.facts())[0].trusted
    machine.synchronised = False
    machine.passes(86400)
    assert judge.look(machine.facts())[0].trusted
    machine.wall += 60_000
    verdict, step = judge.look(machine.facts())
    assert not verdict.trusted
    assert step.after_ms - step.before_ms == 60_000


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.integers(-(10**9), 10**9)), max_size=20),
    st.floats(0.5, 3600),
)
def test_a_step_is_told_exactly_when_the_clocks_part_by_more_than_the_limit(moves, step_s):
    machine, judge = Machine(), ClockJudge(ClockConfig(trust="always", step_s=step_s), 0)
    judge.look(machine.facts())
    parted = 0
    for seconds, by_ms in moves:
        machine.passes(seconds)
        machine.wall = max(0, machine.wall + by_ms)
        parted = machine.wall - machine.boot * 1000 - (judge._base_ms or 0)
        if abs(abs(parted) - step_s * 1000) < 2:
            return  # on the edge rounding decides
        _, step = judge.look(machine.facts())
        assert (step is not None) == (abs(parted) > step_s * 1000)
        if step is not None:
            assert step.after_ms == machine.wall
            assert abs(step.after_ms - step.before_ms - parted) < 2 or step.before_ms == 0
        assert judge.look(machine.facts())[1] is None


def test_a_clock_set_back_where_nothing_sets_it_is_not_believed_until_it_is_where_it_was():
    machine, judge = Machine(), ClockJudge(ClockConfig(), 0)
    judge.look(machine.facts())
    machine.wall -= 3_600_000
    assert not judge.look(machine.facts())[0].trusted
    machine.passes(3500)
    assert not judge.look(machine.facts())[0].trusted
    machine.passes(101)
    assert judge.look(machine.facts())[0].trusted


def test_a_wrong_clock_opens_a_stretch_and_the_time_service_closes_it(tmp_path):
    machine = Machine(WRONG, synchronised=False, keeper="systemd-timesyncd")
    watch, told = machine.watch(tmp_path), []
    watch.on_news = lambda: told.append(1)
    with capture_logs() as logs:
        word = watch.take()
        assert (word.trusted, [entry.event for entry in word.news], word.set_ms) == (False, ["untrusted"], 0)
        assert watch.warnings()
        assert (watch.trusted, watch.past_ms()) == (False, 0)
        assert (tmp_path / STRETCH_FILE).exists()
        assert events(watch) == []
        machine.wall, machine.synchronised = NOW, True
        word = watch.take()
    assert (word.trusted, word.set_ms, word.now_ms) == (True, NOW, NOW)
    (entry,) = word.news
    assert (entry.event, entry.time_ms, entry.before_ms) == ("trusted", NOW, None)
    assert watch.warnings() == []
    assert (watch.trusted, watch.past_ms()) == (True, NOW)
    assert len(told) == 2
    assert [each["event"] for each in logs] == ["clock.untrusted", "clock.stepped", "clock.trusted"]
    watch.close()
    assert not (tmp_path / STRETCH_FILE).exists()


def test_a_stretch_that_a_crash_left_open_is_closed_by_the_next_start(tmp_path):
    machine = Machine(WRONG)
    assert events(machine.watch(tmp_path)) == ["untrusted"]
    machine.wall = NOW
    watch = machine.watch(tmp_path)
    assert events(watch) == ["trusted"]
    watch.close()
    assert events(machine.watch(tmp_path)) == []


@pytest.mark.parametrize("by_ms", [7_200_000, -7_200_000])
def test_a_step_of_a_clock_that_is_believed_goes_into_the_log_with_both_times(tmp_path, by_ms):
    machine = Machine(synchronised=True)
    watch = machine.watch(tmp_path)
    assert watch.take().news == []
    machine.passes(10)
    machine.wall += by_ms
    (entry,) = watch.take().news
    assert (entry.event, entry.time_ms - entry.before_ms) == ("stepped", by_ms)
    assert watch.take().news == []
    assert watch.status() | {"since_ms": 0} == {
        "trusted": True,
        "why": "it is synchronised",
        "offset_ms": 0.25,
        "max_error_ms": 16.0,
        "steps": 1,
        "since_ms": 0,
    }


def test_another_rule_is_applied_at_once(tmp_path):
    machine = Machine(synchronised=False, keeper="chronyd")
    watch = machine.watch(tmp_path)
    assert events(watch) == ["untrusted"]
    watch.apply(ClockConfig(trust="always"))
    assert events(watch) == ["trusted"]
    watch.apply(ClockConfig(trust="kernel"))
    assert events(watch) == ["untrusted"]


async def test_a_watch_of_a_believed_clock_sleeps_and_the_kernels_notice_wakes_it(tmp_path):
    machine = Machine(synchronised=True)
    watch = machine.watch(tmp_path)
    looks = []
    kernel, watch._kernel = watch._kernel, lambda: looks.append(1) or kernel()
    running = asyncio.create_task(watch.run())
    await asyncio.sleep(0.2)
    assert len(looks) == 1
    machine.wall += 60_000
    watch._wake.set()  # what SetNotice calls
    await asyncio.sleep(0.05)
    assert watch.steps == 1
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_the_kernel_takes_the_request_for_a_notice_and_is_silent_while_nobody_sets_the_clock():
    rung = []
    notice = SetNotice(lambda: rung.append(1))
    assert notice.start()
    await asyncio.sleep(0.1)
    assert rung == []
    notice._readable()  # woken for nothing
    assert rung == []
    notice.close()
    notice.close()


async def test_a_notice_that_ends_is_given_up_and_the_clock_looked_at():
    rung = []
    notice = SetNotice(lambda: rung.append(1))
    assert notice.start()
    ended = os.open("/dev/null", os.O_RDONLY)
    os.dup2(ended, notice._fd)
    os.close(ended)
    notice._readable()
    assert (rung, notice._fd) == ([1], -1)


def test_the_kernel_of_this_machine_answers():
    word = read_kernel()
    assert word.synchronised in {True, False}
    assert word.max_error_ms is None or word.max_error_ms >= 0


def test_a_time_service_is_known_by_what_it_leaves_in_run(tmp_path):
    assert find_keeper(tmp_path) == ""
    (tmp_path / "chrony").mkdir()
    assert find_keeper(tmp_path) == "chronyd"
    (tmp_path / "systemd" / "timesync").mkdir(parents=True)
    assert find_keeper(tmp_path) == "systemd-timesyncd"


def test_asking_before_a_batch_costs_next_to_nothing(tmp_path):
    watch = ClockWatch(ClockConfig(), 0, tmp_path, wall_ms=lambda: time.time_ns() // 1_000_000)
    watch.take()
    began = time.process_time()
    for _ in range(10_000):
        watch.take()
    assert (time.process_time() - began) / 10_000 < 50e-6
