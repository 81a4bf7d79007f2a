"""Anchors as the journal has them, and the request for one."""

import asyncio
import threading

import pytest
from cli_chain_kit import run
from cli_world import ORIGIN

from gateway.anchor.lifecycle import State
from gateway.cli.anchor import WORDS
from gateway.config.model import JournalConfig
from gateway.journal import open_journal
from gateway.journal.outbox import AnchorRow
from gateway.ops.control import CONTROL_SOCKET, ControlServer
from gateway.ops.exitcodes import ExitCode

FINAL = AnchorRow(
    1, 31337, b"c" * 20, 10, b"r" * 32, "final", False, 1_732_165_200_000, 1_732_165_290_000, b"a" * 20, 0, 2 * 10**9,
    10**9, None, b"t" * 32, 77, b"b" * 32, 45_025, 10**9,
)  # fmt: skip
WAITING = FINAL._replace(
    id=2,
    size=20,
    state="broadcast",
    is_open=True,
    raw=b"signed",
    block_number=None,
    gas_used=None,
    detail="\x1b[31mred",
)


@pytest.fixture
def anchored(world):
    async def fill():
        journal = open_journal(world.data_dir, JournalConfig(), origin=ORIGIN).journal
        await journal.record_anchors([FINAL, WAITING])
        await journal.close()

    asyncio.run(fill())
    return world


def test_every_state_has_words():
    assert set(WORDS) == {state.value for state in State}


def test_anchors_are_listed_with_what_happens_next(anchored):
    found = run("anchor", "list", "--config", anchored.config, "--json").json
    assert [(each["size"], each["state"], each["block_number"]) for each in found["anchors"]] == [
        (10, "final", 77),
        (20, "broadcast", None),
    ]
    assert found["counts"] == {"broadcast": 1, "final": 1}
    assert all("raw" not in each for each in found["anchors"])
    text = run("anchor", "list", "--config", anchored.config).stdout
    assert "waits for a block" in text
    assert "4.5025e-05 ETH" in text
    assert "\x1b" not in text
    assert len(run("anchor", "list", "--last", "1", "--config", anchored.config, "--json").json["anchors"]) == 1


def test_a_journal_without_anchors_lists_none(world):
    world.fill()
    found = run("anchor", "list", "--config", world.config, "--json").json
    assert (found["anchors"], found["entries"]) == ([], 3)


def test_without_a_running_gateway_nothing_is_anchored_now(world):
    world.data_dir.mkdir()
    found = run("anchor", "now", "--config", world.config, "--json")
    assert (found.exit_code, found.json["code"]) == (ExitCode.NO_GATEWAY, "no_gateway")


def test_the_running_gateway_is_asked_and_its_answer_shown(world):
    world.data_dir.mkdir()
    asked = []

    async def anchor_now(request):
        asked.append(request["command"])
        return {"state": "size 3 is sealed"}

    with Answering(world.data_dir / CONTROL_SOCKET, {"anchor-now": anchor_now}):
        text = run("anchor", "now", "--config", world.config).stdout
    assert asked == ["anchor-now"]
    assert "size 3 is sealed" in text


def test_a_gateway_without_anchoring_says_no(world):
    world.data_dir.mkdir()
    with Answering(world.data_dir / CONTROL_SOCKET, {}):
        found = run("anchor", "now", "--config", world.config, "--json")
    assert found.exit_code == ExitCode.NEGATIVE


class Answering:
    """A control server on a thread of its own."""

    def __init__(self, path, handlers):
        self.server = ControlServer(path, handlers)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)

    def __enter__(self):
        self.thread.start()
        asyncio.run_coroutine_threadsafe(self.server.start(), self.loop).result(10)

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self.server.close(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()
