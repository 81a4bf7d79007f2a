import asyncio
import os
import signal
import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.config.model import CoapConfig, LimitsConfig
from gateway.crypto.pool import CryptoPool
from gateway.ops.systemd.notify import Notify
from gateway.ops.systemd.probes import coap_ping, coap_probe, crypto_probe, probe
from gateway.ops.systemd.watchdog import ReadyKeeper, Watchdog, in_words, judge
from gateway.ops.view import Probe
from gateway.transport.coap import CoapTransport
from gateway.transport.port import LinkState

WITHIN_S = 0.2


class Told(Notify):
    """The real one, but for the socket: keeps what it was to send."""

    def __init__(self):
        super().__init__("/nobody")
        self.sent = []

    def send(self, *fields):
        self.sent.append(fields)
        return True

    def count(self, field):
        return sum(field in fields for fields in self.sent)


class Part:
    def __init__(self, name):
        self.name = name
        self.asked = 0
        self.hangs = asyncio.Event()
        self.fault = None

    async def ask(self):
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        if self.hangs.is_set():
            await asyncio.Event().wait()


def watchdog_of(notify, *probes, within_s=WITHIN_S):
    return Watchdog(notify, probes, within_s=within_s, monotonic_s=time.monotonic)


@given(
    st.lists(
        st.dictionaries(st.sampled_from("abcd"), st.none() | st.just("hangs"), min_size=1).map(
            lambda faults: {name: faults.get(name) for name in "abcd"}
        )
    )
)
def test_every_silence_is_told_once_and_every_return_once_and_one_silent_part_starves_it(rounds):
    silent = set()
    for faults in rounds:
        judgement = judge(silent, faults)
        assert judgement.feed == (not any(faults.values()))
        assert silent.isdisjoint(judgement.silent)
        assert silent.issuperset(judgement.back)
        silent = (silent | set(judgement.silent)) - set(judgement.back)
        assert silent == {name for name, fault in faults.items() if fault}


async def test_it_feeds_when_every_part_has_answered():
    notify, first, second = Told(), Part("journal"), Part("crypto")
    notify.ready("up")
    await watchdog_of(notify, Probe("journal", first.ask), Probe("crypto", second.ask)).round()
    assert (first.asked, second.asked) == (1, 1)
    assert notify.sent[1:] == [("WATCHDOG=1",)]


async def test_the_start_is_prolonged_while_all_answer_and_no_longer():
    notify, part = Told(), Part("journal")
    watchdog = watchdog_of(notify, Probe("journal", part.ask), within_s=2.0)
    await watchdog.round()
    assert notify.sent == [("WATCHDOG=1", "EXTEND_TIMEOUT_USEC=2000000")]
    part.fault = OSError("the disk is gone")
    with capture_logs() as logs:
        await watchdog.round()
        await watchdog.round()
    assert notify.count("WATCHDOG=1") == 1
    assert [(entry["event"], entry["part"], entry["detail"]) for entry in logs] == [
        ("watchdog.part_silent", "journal", "OSError: the disk is gone")
    ]


async def test_a_part_that_hangs_is_told_once_asked_once_and_starves_it_until_it_is_back():
    notify, part = Told(), Part("journal")
    other = Part("crypto")
    part.hangs.set()
    answer = asyncio.Event()

    async def ask():
        part.asked += 1
        await answer.wait()

    watchdog = watchdog_of(notify, Probe("journal", ask), Probe("crypto", other.ask))
    with capture_logs() as logs:
        assert not (await watchdog.round()).feed
        assert not (await watchdog.round()).feed
        assert watchdog.silent == {"journal"}
        answer.set()
        assert (await watchdog.round()).feed
    assert part.asked == 1
    assert other.asked == 3
    assert [entry["event"] for entry in logs] == ["watchdog.part_silent", "watchdog.part_back"]
    assert notify.count("WATCHDOG=1") == 1


async def test_signs_of_life_come_before_the_time_is_over_and_end_with_a_part_that_hangs():
    notify, part = Told(), Part("journal")
    task = asyncio.create_task(watchdog_of(notify, Probe("journal", part.ask)).run())
    await asyncio.sleep(WITHIN_S * 3)
    fed = notify.count("WATCHDOG=1")
    assert fed >= 4
    part.hangs.set()
    await asyncio.sleep(WITHIN_S * 3)
    assert notify.count("WATCHDOG=1") - fed <= 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not [other for other in asyncio.all_tasks() if other.get_name().startswith("probe")]


async def test_without_systemd_nothing_runs():
    part = Part("journal")
    async with asyncio.timeout(1):
        await watchdog_of(Notify(""), Probe("journal", part.ask)).run()
        await ReadyKeeper(Notify("")).run(dict)
    assert part.asked == 0


def test_two_probes_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two probes"):
        watchdog_of(Told(), Probe("a", Part("a").ask), Probe("a", Part("a").ask))


def report(*, ready, problems=(), warnings=()):
    return {"ready": ready, "problems": list(problems), "warnings": list(warnings), "transports": {"mqtt": {}}}


def test_what_it_waits_for_is_said_until_it_is_ready_and_nothing_twice():
    notify = Told()
    keeper = ReadyKeeper(notify)
    away = report(ready=False, problems=["mqtt is connecting: the broker refuses"])
    for seen in (away, away, report(ready=True), report(ready=True), away, report(ready=True, warnings=["old"])):
        keeper.look(seen)
    assert notify.sent == [
        ("STATUS=waits: mqtt is connecting: the broker refuses",),
        ("READY=1", "STATUS=takes messages over mqtt"),
        ("STATUS=waits: mqtt is connecting: the broker refuses",),
        ("STATUS=takes messages over mqtt; old",),
    ]
    assert keeper.words == "takes messages over mqtt; old"


def test_a_ready_that_systemd_did_not_take_is_said_again():
    notify = Told()
    taken = iter([False, True])
    notify.send = lambda *fields: (notify.sent.append(fields), next(taken))[1]
    keeper = ReadyKeeper(notify)
    keeper.look(report(ready=True))
    assert not notify.ready_told
    keeper.look(report(ready=True))
    assert notify.ready_told
    assert len(notify.sent) == 2


def test_words_are_there_even_where_the_report_has_none():
    assert in_words({"ready": False}) == "waits: it is not ready"
    assert in_words({"ready": True}) == "takes messages over no transport"


async def test_a_part_that_refuses_and_knows_why_is_alive():
    async def full():
        raise BlockingIOError("full")

    await probe("journal", full, (BlockingIOError,)).ask()
    with pytest.raises(BlockingIOError):
        await probe("journal", full).ask()


class Nobody:
    def offer(self, raw):
        return False


async def test_the_gateways_own_coap_port_answers_a_ping():
    transport = CoapTransport(CoapConfig(host="::", port=0), LimitsConfig())
    task = asyncio.create_task(transport.run(Nobody()))
    try:
        async with asyncio.timeout(5):
            while transport.status().state is not LinkState.UP:
                await asyncio.sleep(0.01)
            for _ in range(3):
                await coap_probe("::", lambda: transport.port).ask()
    finally:
        transport.stop_intake()
        await transport.close()
        await task
    await coap_probe("::", lambda: None).ask()


async def test_a_port_that_nobody_is_bound_to_does_not_answer():
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as taken:
        taken.bind(("::1", 0))
        port = taken.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        await coap_ping("::1", port)


async def test_the_signature_worker_says_no_to_what_is_no_signature():
    pool = CryptoPool(bytes(32))
    task = asyncio.create_task(pool.run())
    async with asyncio.timeout(20):
        await crypto_probe(pool).ask()
        os.kill(pool.pid, signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await crypto_probe(pool).ask()
        os.kill(pool.pid, signal.SIGCONT)
        await crypto_probe(pool).ask()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
