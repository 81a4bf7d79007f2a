"""securenet status: one screen that says what matters first, from a gateway that runs."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ops_world import free_port
from support.gateway import Gateway as Process

from gateway.cli.status_screen import Mood, rates_between, screen
from gateway.message import RejectReason

NOW_MS = 1_790_000_000_000
BASE = {
    "gateway": "gw-1",
    "fleet": "plant-7",
    "version": "0.1.0",
    "ready": True,
    "problems": [],
    "warnings": [],
    "uptime_s": 273_600,
    "log_size": 12_401,
    "accepted": 12_345,
    "rejected": {"bad-signature": 20, "too-old": 3},
    "pushed_back": 0,
    "answered": 12_368,
    "quarantined": 23,
    "verdicts": {"normal": 12_000, "unscored": 345},
    "waiting": 3,
    "queue_messages": 4096,
    "p50_ms": 10,
    "p99_ms": 50,
    "crypto_restarts": 0,
    "registry": {"devices": 100_000, "active": 99_990, "suspended": 5, "revoked": 5, "miners": 1, "as_of_ms": NOW_MS},
    "transports": {"mqtt": {"state": "up", "detail": "", "restarts": 0, "counters": {}}},
    "tasks": {"mqtt": {"state": "running", "restarts": 0, "last_fault": ""}},
    "disk_bytes": 1 << 30,
    "budget_bytes": 4 << 30,
}
FULL = BASE | {
    "chain": {
        "state": "up",
        "detail": "",
        "endpoints": [{"endpoint": "http://a", "head": 9, "head_age_s": 2.0, "fault": ""}],
    },
    "anchors": {"state": "size 9 is final; the next anchor is sealed in 5 s", "unanchored": 12, "hold": None},
    "models": {
        "models": {
            "pump": {"running": 3, "refused": 4, "reason": "not-granted", "expired": False},
            "fan": {"running": None, "refused": None, "reason": None, "expired": False},
        }
    },
    "certificates": [{"name": "mqtt.cert_file", "not_after_ms": NOW_MS + 12 * 86_400_000, "path": "c.pem"}],
    "clock": {"trusted": True, "why": "the kernel calls it synchronised", "offset_ms": 2, "steps": 1, "since_ms": 0},
    "http": {"state": "up", "detail": "", "address": "http://127.0.0.1:8470"},
}


def drawn(status, **how):
    return [line.text for line in screen(status, how.pop("rates", None), now_ms=NOW_MS, **how)]


def test_a_whole_gateway_fits_one_screen():
    lines = drawn(FULL, rates=rates_between(BASE, FULL | {"accepted": 12_445}, 2))
    assert lines == [
        "gw-1 · plant-7 · READY · up 3 d 4 h · version 0.1.0",
        "messages   12,345 accepted · 23 refused (0.2%, 23 kept)",
        "now        50/s accepted · 0/s refused",
        "refused    bad-signature 20 · too-old 3",
        "answers    p50 10 ms · p99 50 ms · 3 of 4,096 waiting",
        "verdicts   normal 12,000 · unscored 345",
        "links      mqtt up",
        "log        12,401 entries",
        "anchors    12 entries wait · size 9 is final; the next anchor is sealed in 5 s",
        "chain      up · 1 of 1 endpoints well · newest block 2 s old",
        "registry   100,000 devices, 99,990 active · confirmed 0 s ago",
        "models     pump version 3 (4 refused: not-granted) · fan none in force",
        "certs      mqtt.cert_file 12 days left",
        "disk       1.0 GiB of 4.0 GiB (25%)",
        "clock      believed · 2 ms off · 1 jumps · the kernel calls it synchronised",
        "page       http://127.0.0.1:8470",
    ]


def test_what_stands_in_the_way_comes_first_and_whole():
    problem = "nothing is accepted (miner-unknown): " + "the registry has no miner of this id; " * 5 + "register it"
    lines = drawn(FULL | {"ready": False, "problems": [problem], "warnings": ["the chain is down"]})
    assert "NOT READY" in lines[0]
    told = " ".join(line.strip("! ") for line in lines[1:6] if not line.startswith("?"))
    assert told.startswith(problem[:60])
    assert "register it" in told
    assert any(line == "? the chain is down" for line in lines)


def test_a_gateway_without_chain_and_models_has_no_lines_for_them():
    labels = {line.split()[0] for line in drawn(BASE)[1:]}
    assert labels == {"messages", "refused", "answers", "verdicts", "links", "log", "registry", "disk"}


@pytest.mark.parametrize(
    ("change", "start", "mood"),
    [
        ({"transports": {"mqtt": {"state": "down"}}}, "links", Mood.BAD),
        ({"disk_bytes": 4 << 30}, "disk", Mood.WARNING),
        ({"certificates": [{"name": "c", "not_after_ms": NOW_MS - 1, "path": ""}]}, "certs", Mood.BAD),
        ({"crypto_restarts": 2}, "restarts", Mood.WARNING),
        ({"clock": {"trusted": False, "why": "no source", "steps": 0}}, "clock", Mood.WARNING),
    ],
)
def test_a_line_that_is_coloured_says_why_in_words(change, start, mood):
    [line] = [line for line in screen(FULL | change, None, now_ms=NOW_MS) if line.text.startswith(start)]
    assert line.mood is mood
    assert re.search(r"down|nearly full|is over|signatures 2|not believed", line.text)


@given(
    st.lists(st.text(max_size=400), max_size=12),
    st.lists(st.text(max_size=400), max_size=12),
    st.dictionaries(st.sampled_from([reason.value for reason in RejectReason]), st.integers(0, 10**12)),
    st.text(max_size=300),
    st.integers(10, 24),
    st.integers(40, 120),
)
def test_whatever_is_wrong_the_screen_stays_a_screen(problems, warnings, rejected, state, height, width):
    status = FULL | {"problems": problems, "warnings": warnings, "rejected": rejected, "ready": not problems}
    status["anchors"] = FULL["anchors"] | {"state": state}
    lines = drawn(status, height=height, width=width)
    assert len(lines) <= height
    assert all(len(line) <= width and line.isprintable() for line in lines)
    assert ("NOT READY" in lines[0]) == bool(problems)


def test_rates_are_not_taken_across_a_restart():
    assert rates_between(BASE, BASE | {"accepted": 5}, 1) is None
    assert rates_between(BASE, BASE | {"uptime_s": 1}, 1) is None
    assert rates_between(BASE, BASE, 0) is None


@pytest.fixture
async def running(tmp_path):
    gateway = Process(tmp_path, [], {"coap": {"host": "127.0.0.1", "port": free_port()}, "http": {"enabled": False}})
    gateway.start()
    await gateway.ready()
    yield gateway
    if gateway.process is not None:
        await gateway.stop()


async def test_the_command_draws_a_running_gateway_and_its_json_stays_one_object(running):
    code, said = await running.securenet("status", "--config", running.config)
    assert code == 0
    assert said.startswith("gw-1 · plant-7 · READY · up ")
    assert "\x1b" not in said
    assert "now        0/s accepted" in said
    code, said = await running.securenet("status", "--config", running.config, "--json")
    status = json.loads(said)
    assert (code, status["ready"], status["reasons"]) == (0, True, [])
    code, said = await running.securenet("status", "--config", running.config, "--json", "--watch")
    assert code == 2


async def test_watch_draws_again_on_a_terminal_in_colour_and_ends_with_ctrl_c(running):
    main, terminal = pty.openpty()
    command = [sys.executable, "-m", "gateway", "status", "--config", str(running.config), "--watch", "0.5"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(command, stdout=terminal, stderr=terminal, stdin=terminal, env=environment)
    os.close(terminal)
    said, deadline = "", time.monotonic() + 20
    while said.count("READY") < 3 and time.monotonic() < deadline:
        if select.select([main], [], [], 0.1)[0]:
            said += os.read(main, 65536).decode(errors="replace")
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    os.close(main)
    assert said.count("READY") >= 3
    assert "\x1b[32m" in said
    assert "/s accepted" in said


async def test_without_a_gateway_the_command_says_so(running):
    await running.stop()
    code, said = await running.securenet("status", "--config", running.config)
    assert code != 0
    assert "is it running?" in said
