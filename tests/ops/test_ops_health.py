"""/healthz and /readyz: alive is not ready, every reason has a stable word, and nothing is asked in vain."""

import asyncio
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ops_world import World, json_of, until

from gateway.message import PushbackReason
from gateway.ops.health import JOURNAL_BLOCKED, LOG_DAMAGED, WHY_HELD_BACK, readiness
from gateway.ops.http.health import Pulse
from gateway.ops.view import Probe
from gateway.transport.port import LinkState

DOCS = Path(__file__).resolve().parents[2] / "docs/operations/health.md"


@pytest.fixture
async def world(tmp_path):
    return World(tmp_path)


def probe(name, seconds=0.0, fault=None):
    async def ask():
        await asyncio.sleep(seconds)
        if fault is not None:
            raise fault

    return Probe(name, ask)


async def test_a_gateway_that_takes_messages_is_ready(world):
    async with world.running(), world.serving() as (_server, client):
        await until(lambda: world.gateway.status()["ready"])
        assert await json_of(client, "/readyz") == (200, {"ready": True, "reasons": [], "warnings": []})
        async with client.get("/readyz", headers={"Accept": "text/plain"}) as answer:
            assert (answer.status, await answer.text()) == (200, "ready\n")


async def test_one_whose_transport_is_down_says_so_and_is_alive(world):
    async with world.serving() as (_server, client):  # the gateway is not running: its socket is not bound
        status, body = await json_of(client, "/readyz")
        assert status == 503
        assert [each["reason"] for each in body["reasons"]] == ["coap-stopped"]
        async with client.get("/readyz", headers={"Accept": "text/plain"}) as answer:
            assert (await answer.text()).splitlines()[1].startswith("coap-stopped: ")
        assert await json_of(client, "/healthz") == (200, {"alive": True, "parts": {}})


async def test_one_that_the_registry_does_not_know_says_so(world):
    world.files.registry.write_text("")
    await world.gateway._custody.reload()
    async with world.running(), world.serving() as (_server, client):
        await until(lambda: world.gateway.status()["transports"]["coap"]["state"] == "up")
        _status, body = await json_of(client, "/readyz")
        assert [each["reason"] for each in body["reasons"]] == ["miner-unknown"]
        assert "securenet miner" in body["reasons"][0]["detail"]


async def test_alive_is_what_every_part_says(world):
    fine = [probe("crypto"), probe("journal")]
    async with world.serving(probes=fine) as (_server, client):
        assert await json_of(client, "/healthz") == (200, {"alive": True, "parts": {"crypto": "ok", "journal": "ok"}})
    broken = [probe("crypto"), probe("journal", fault=OSError("gone\x1b[2J"))]
    async with world.serving(probes=broken) as (_server, client):
        status, body = await json_of(client, "/healthz")
        assert (status, body["alive"], body["parts"]["crypto"]) == (503, False, "ok")
        assert body["parts"]["journal"] == "OSError: gone\\x1b[2J"
        async with client.get("/healthz", headers={"Accept": "text/plain"}) as answer:
            assert (await answer.text()).startswith("not alive\ncrypto: ok\njournal: OSError")


async def test_a_part_that_hangs_is_told_in_time():
    pulse = Pulse([probe("crypto"), probe("journal", seconds=60)], within_s=0.1)
    async with asyncio.timeout(2):
        assert await pulse.parts() == {"crypto": "ok", "journal": "hangs"}


async def test_many_who_ask_at_once_cost_one_question():
    asked = 0

    async def ask():
        nonlocal asked
        asked += 1

    pulse = Pulse([Probe("crypto", ask)])
    await asyncio.gather(*(pulse.parts() for _ in range(50)))
    assert asked == 1


@given(
    st.sampled_from([None, *PushbackReason]),
    st.none() | st.text(max_size=20),
    st.dictionaries(st.sampled_from(["mqtt", "coap"]), st.sampled_from(list(LinkState))),
)
def test_ready_means_that_nothing_stands_in_the_way(pushback, fault, states):
    links = {name: {"state": state.value, "detail": "why"} for name, state in states.items()}
    ready, reasons = readiness(pushback, fault, links)
    assert ready == (pushback is None and all(state is LinkState.UP for state in states.values()))
    assert ready == (not reasons)
    assert all(each.sentence for each in reasons)


def test_a_full_disk_and_a_damaged_log_are_told_apart():
    [full] = readiness(PushbackReason.PUSHBACK, "the disk is full", {}).reasons
    [damaged] = readiness(PushbackReason.PUSHBACK, None, {}).reasons
    assert (full.reason, full.detail) == (JOURNAL_BLOCKED, "the disk is full")
    assert damaged.reason == LOG_DAMAGED


def test_every_reason_is_explained_in_the_docs():
    text = DOCS.read_text()
    for word in WHY_HELD_BACK:
        assert f"| `{word}` |" in text, word
    for transport in ("mqtt", "coap"):
        for state in LinkState:
            if state is not LinkState.UP:
                assert f"`{transport}-{state.value}`" in text, (transport, state)
    assert {reason for reason in PushbackReason if reason is not PushbackReason.PUSHBACK} <= set(WHY_HELD_BACK)


def test_what_is_told_when_it_is_down_is_told_when_it_is_back():
    """Both halves of each pair are events that the gateway has; another test holds that page to the source."""
    events = DOCS.with_name("events.md").read_text()
    pairs = DOCS.read_text().partition("| down | back |")[2].split("\n\n")[0].splitlines()[2:]
    assert len(pairs) > 8
    for row in pairs:
        for name in re.findall(r"`([a-z._]+)`", row):
            assert f"| `{name}` |" in events, name


async def test_the_commands_of_the_pages_work(world):
    if shutil.which("curl") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("curl is not installed")
    pages = DOCS.read_text() + DOCS.with_name("metrics.md").read_text()
    commands = re.findall(r"^ {4}(curl .*)$", pages, re.MULTILINE)
    assert len(commands) >= 3
    async with world.running(), world.serving() as (server, _client):
        await until(lambda: world.gateway.status()["ready"])
        for command in commands:
            asked = shlex.split(command.replace("http://127.0.0.1:8470", server.status().address))
            curl = await asyncio.create_subprocess_exec(*asked, "--fail", stdout=asyncio.subprocess.PIPE)
            said, _ = await curl.communicate()
            assert curl.returncode == 0, command
            assert b"ready" in said, command
