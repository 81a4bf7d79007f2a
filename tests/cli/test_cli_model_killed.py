"""The command as a process of its own, killed (SIGKILL) whenever its state file says the next thing."""

import json
import subprocess
import sys
import time

import pytest
from cli_model_kit import Desk, model_world
from support.publisher_kit import GATEWAY, MODEL_ID

LAST_S = 30


@pytest.fixture
def desk(tmp_path):
    with model_world(tmp_path) as world:
        yield Desk(world, tmp_path)


def state_of(desk):
    path = desk.files.model.with_name("m.tflite.publication")
    return json.loads(path.read_bytes()) if path.exists() else {}


def killed_when(desk, member):
    """Run it, and kill it as soon as the state has this member."""
    world = desk.world
    words = ("model", *desk.publication(), "--config", world.config, *world.operator, "--json")
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", *map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + LAST_S
    while process.poll() is None and state_of(desk).get(member) is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    process.wait()


@pytest.mark.slow
def test_killed_again_and_again_it_is_one_bundle_and_one_transaction(desk):
    assert desk.paid("grant", MODEL_ID, GATEWAY).exit_code == 0
    before, seen = desk.world.transactions(), []
    for member in ("salt", "ciphertext", "ciphertext", "manifest", "manifest_cid", "transaction"):
        killed_when(desk, member)
        seen.append(state_of(desk))
        if desk.carried.exists():
            desk.carry()
    done = desk.publish()
    assert done.exit_code == 0, done.output
    assert desk.world.transactions() == before + 1
    last = state_of(desk)
    for state in seen:
        assert {name: value for name, value in state.items() if value is not None}.items() <= last.items()
    assert done.json["tx_hash"] == f"0x{last['transaction']}"
