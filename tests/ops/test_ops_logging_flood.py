"""The log under a flood: bounded bytes, bounded waiting, every event accounted for."""

import asyncio
import io
import json
import os
import subprocess
import sys
import time
from collections import Counter

import pytest
import structlog
from ops_logging_kit import restored_logging

from gateway.config.model import LoggingConfig
from gateway.message import RejectReason
from gateway.ops.folding import EventFolder
from gateway.ops.linesink import LineSink
from gateway.ops.logging import configure_logging
from gateway.ops.tending import Tending

HOUR_S = 3600
MAX_HOUR_BYTES = 20 * 1000 * 1000


@pytest.fixture
def restored():
    with restored_logging() as configured:
        yield configured


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


REASONS = list(RejectReason)


def refused(number):
    """A refused message, as the pipeline tells it, its text a peer's own."""
    return {
        "reason": REASONS[number % len(REASONS)],
        "transport": "coap",
        "peer": f"192.0.2.{number % 256}:{number}" + "x" * 300,
        "device": f"urn:dev:mac:{number:016x}",
        "session": "00" * 8,
        "seq": number,
        "detail": "\x1b" * 40,
    }


REFUSED = [refused(number) for number in range(1000)]


@pytest.mark.parametrize(
    ("form", "rate"),
    [
        ("json", 50),
        ("journald", 50),
        pytest.param("json", 1000, marks=[pytest.mark.slow, pytest.mark.timeout(400)]),
    ],
)
def test_an_hour_of_flood_is_below_twenty_megabytes(restored, tmp_path, form, rate):
    """So many refused messages a second, of every reason, through the real processors; the clock alone is ours."""
    stream, clock = io.StringIO(), Clock()
    config = LoggingConfig(format=form)
    configured = configure_logging(config, stream, journal_socket=tmp_path / "none", monotonic_s=clock)
    restored.append(configured)
    log = structlog.get_logger("gateway")
    for second in range(HOUR_S):
        clock.now_s = second
        for facts in REFUSED[:rate]:
            log.info("message.rejected", **facts)
        configured.flush()
    configured.flush(everything=True)
    written = stream.getvalue()
    assert len(written.encode()) < MAX_HOUR_BYTES
    if form == "json":
        assert len(written.encode()) <= config.bytes_per_hour
    events = [json.loads(line) for line in written.splitlines()]
    told = sum(event["event"] == "message.rejected" for event in events)
    folded = sum(event.get("folded", 0) for event in events)
    withheld = sum(event.get("withheld", 0) for event in events)
    assert told > 0
    assert told + folded + withheld == rate * HOUR_S


def test_without_folding_the_budget_alone_holds(restored):
    """Every event of a kind of its own: nothing folds, and the bytes are bounded all the same."""
    stream, clock = io.StringIO(), Clock()
    config = LoggingConfig(format="json", bytes_per_hour=1 << 20)
    configured = configure_logging(config, stream, monotonic_s=clock)
    restored.append(configured)
    log = structlog.get_logger()
    for number in range(50_000):
        clock.now_s = number * HOUR_S / 50_000
        log.info(f"kind.x{number}", detail="x" * 200)  # noqa: G004 -- structlog's events are no format strings
    log.error("journal.blocked", detail="this one is heard")
    configured.flush(everything=True)
    lines = stream.getvalue().splitlines()
    assert len(stream.getvalue()) <= (1 << 20) + len(lines)
    events = [json.loads(line) for line in lines]
    assert any(event["event"] == "journal.blocked" for event in events)
    withheld = sum(event.get("withheld", 0) for event in events)
    assert withheld == configured.status()["withheld"] > 0
    kinds = Counter(event["event"].split(".")[0] for event in events)
    assert kinds["kind"] + withheld == 50_000
    assert kinds["log"] >= 1


def test_a_short_flood_in_real_time_is_folded_and_cheap(restored):
    stream = io.StringIO()
    restored.append(configure_logging(LoggingConfig(format="json"), stream))
    log = structlog.get_logger("gateway")
    began, spent = time.monotonic(), time.process_time()
    count = 0
    while time.monotonic() - began < 1.0:
        log.info("message.rejected", **REFUSED[5])
        count += 1
    assert count > 5_000
    assert len(stream.getvalue().splitlines()) <= 20
    assert (time.process_time() - spent) / count < 200e-6


async def test_what_was_folded_is_told_while_the_process_lives(restored):
    stream, moments = io.StringIO(), Clock()
    configured = configure_logging(LoggingConfig(format="json"), stream, monotonic_s=moments)
    restored.append(configured)
    log = structlog.get_logger()
    tending = asyncio.create_task(configured.keep_flushing())
    await asyncio.sleep(0)
    for _each in range(25):
        log.warning("mqtt.down")
    moments.now_s = 9.99  # the folding's clock: its window is nearly over, so that keep_flushing sleeps shortly
    await asyncio.sleep(0.05)
    moments.now_s = 10.01
    for _each in range(100):
        await asyncio.sleep(0.01)
        if "log.folded" in stream.getvalue():
            break
    tending.cancel()
    await asyncio.gather(tending, return_exceptions=True)
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["folded"] for event in events if event["event"] == "log.folded"] == [15]


async def test_tending_does_nothing_while_nothing_is_due():
    tending, looked, worked = Tending(), 0, 0
    due = [None, None, 0.01, None]

    def due_s():
        nonlocal looked
        looked += 1
        return due.pop(0) if due else None

    def work():
        nonlocal worked
        worked += 1

    task = asyncio.create_task(tending.run(due_s, work))
    await asyncio.sleep(0.05)
    assert (looked, worked) == (1, 0)
    tending.wake(10)
    tending.wake(20)
    await asyncio.sleep(0.01)
    assert (looked, worked) == (2, 0)
    await asyncio.to_thread(tending.wake, 5)
    await asyncio.sleep(0.1)
    assert (looked, worked) == (4, 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    tending.wake(1)  # nobody tends any more


def test_a_fold_that_ends_earlier_is_not_kept_waiting_by_a_later_one():
    folder = EventFolder(window_s=10, burst=1)
    for now, kind in ((0, "a"), (3, "b"), (4, "b"), (5, "a")):
        folder.admit(kind, now)
    assert folder.due_s(6) == 4
    folder.flush(10)
    assert folder.due_s(10) == 3
    folder.flush(13)
    assert folder.due_s(13) is None


def test_a_reader_that_is_stuck_loses_lines_and_holds_nobody_up():
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as reader, os.fdopen(write_end, "w") as stream:
        sink = LineSink(stream)
        began, sent = time.monotonic(), 0
        for number in range(2000):
            sent += sink.send(b"%d " % number + b"x" * 100)
        assert time.monotonic() - began < 2
        assert 0 < sent < 2000
        os.set_blocking(read_end, False)
        got = reader.read()
        assert sink.send(b"again")
        got += reader.read()
    lines = got.decode().splitlines()
    assert lines[-1] == "again"
    assert sum(len(line) > 100 for line in lines) in {sent, sent - 1}


def test_lost_lines_are_told_when_somebody_reads_again(restored):
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as reader, os.fdopen(write_end, "w") as stream:
        clock = Clock()
        configured = configure_logging(LoggingConfig(format="json"), stream, monotonic_s=clock)
        log = structlog.get_logger()
        for number in range(1000):
            clock.now_s += 60
            log.info("noise.made", detail="x" * 200, number=number)
        lost = configured.status()["lost"]
        assert lost > 0
        os.set_blocking(read_end, False)
        reader.read()
        log.info("noise.over")
        events = [json.loads(line) for line in reader.read().decode().splitlines() if line.startswith("{")]
        configured.close()
    assert [event["event"] for event in events] == ["noise.over", "log.lost"]
    assert events[1]["lost"] == lost


def test_a_reader_that_is_gone_ends_nothing(restored):
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as stream:
        configured = configure_logging(LoggingConfig(format="json"), stream)
        structlog.get_logger().error("gateway.fault", detail="x")
        assert configured.status()["lost"] == 1
        configured.close()


def test_a_level_may_change_while_the_process_lives(restored):
    stream = io.StringIO()
    configured = configure_logging(LoggingConfig(format="json", level="warning"), stream)
    restored.append(configured)
    log = structlog.get_logger("gateway")
    log.info("not.heard")
    configured.change(LoggingConfig(format="json", level="debug"))
    log.debug("now.heard")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["now.heard"]


def test_each_reason_of_a_list_is_a_kind_and_free_text_is_none(restored):
    stream = io.StringIO()
    restored.append(configure_logging(LoggingConfig(format="json"), stream))
    log = structlog.get_logger()
    for number in range(40):
        log.info("message.rejected", reason=RejectReason.BAD_SIGNATURE)
        log.info("coap.observation_lost", reason=f"a peer's words {number}")
    log.info("message.rejected", reason=RejectReason.DUPLICATE)
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert Counter((event["event"], event["reason"][:3]) for event in events) == {
        ("message.rejected", "bad"): 10,
        ("coap.observation_lost", "a p"): 10,
        ("message.rejected", "dup"): 1,
    }


def test_the_gateway_logs_without_importing_rich():
    code = (
        "import sys\nimport gateway.cli.run, gateway.app\n"
        "from gateway.config.model import LoggingConfig\n"
        "from gateway.ops.logging import configure_logging\nimport structlog\n"
        "configure_logging(LoggingConfig(format='pretty'))\n"
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    structlog.get_logger().exception('task.failed')\n"
        "assert 'rich' not in sys.modules, 'rich'\nimport rich\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "ZeroDivisionError" in done.stderr
