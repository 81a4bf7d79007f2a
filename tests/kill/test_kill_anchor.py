"""SIGKILL at every write of the outbox and at every broadcast: one anchor a size, no gap, no stuck nonce."""

import json
import os
import random
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
from support.contracts_kit import Gateway
from web3 import Web3

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS / "anchor"))

from anchor_world import ETHER, Node, World  # noqa: E402 -- the world of tests/anchor, which is no package

KILLED = -9


class Doom:
    """Forks a gateway's anchoring as often as wanted, each in a world of its own on one node."""

    numbers = count(1)

    def __init__(self, node, directory):
        self.node = node
        self.directory = directory
        path = [str(TESTS.parent), str(TESTS), str(TESTS / "anchor")]
        with (directory / "log").open("w") as log:
            self.child = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("anchor_child.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
            )

    def end(self):
        self.child.stdin.close()
        self.child.stdout.close()
        self.child.wait()

    def settle_in(self):
        """A new gateway, registered and funded."""
        number = next(self.numbers)
        name = f"gw-{number}"
        world = World(self.node, self.directory / name, name=name, number=number)
        self.node.automine(True)
        self.node.chain.register_miner(Gateway(name, Web3.to_checksum_address(world.key.address), number=900))
        self.node.fund(world.key.address, 10 * ETHER)
        self.node.mine()
        return world

    def run(self, world, scenario, fatal=None):
        """Return how the run ended, and the points that it came to."""
        points = world.directory.with_suffix(".points")
        points.write_text("")
        order = {
            "scenario": scenario,
            "fatal": fatal,
            "points": str(points),
            "directory": str(world.directory),
            "name": world.name,
            "number": int(world.name.removeprefix("gw-")),
            "url": self.node.url,
            "registry": self.node.chain.registry.address,
            "anchor_log": self.node.chain.log.address,
        }
        self.child.stdin.write(json.dumps(order) + "\n")
        self.child.stdin.flush()
        ended = int(self.child.stdout.readline())
        return ended, points.read_text().splitlines()

    def log(self):
        return (self.directory / "log").read_text()[-6000:]


@pytest.fixture(scope="module")
def doom(tmp_path_factory):
    with Node() as node:
        made = Doom(node, tmp_path_factory.mktemp("doom"))
        yield made
        made.end()


async def assert_custody(world):
    """Exactly one anchor a size, sizes rise, all is covered, every nonce is accounted for, nothing is left open."""
    async with world:
        await world.assert_custody(foreign=int(world.directory.with_suffix(".foreign").exists()))


_TRIES = 4
LEAST = {"plain": 24, "replaced": 18, "reorged": 18, "displaced": 18, "reverted": 20, "adopted": 14}


@pytest.mark.slow
@pytest.mark.parametrize("scenario", LEAST)
async def test_killed_at_each_point_it_goes_on_as_if_nothing_had_been(doom, scenario):
    whole = doom.settle_in()
    ended, points = doom.run(whole, scenario)
    assert ended == 0, doom.log()
    assert len(points) >= LEAST[scenario], points
    killed = set()
    for fatal in range(len(points)):
        for _ in range(_TRIES):  # two blocks that become final between two looks make a run a step shorter
            world = doom.settle_in()
            ended, reached = doom.run(world, scenario, fatal)
            if ended == KILLED:
                break
        assert ended == KILLED, doom.log()
        killed.add(reached[-1])
        ended, _ = doom.run(world, "recover")
        assert ended == 0, (reached, doom.log())
        try:
            await assert_custody(world)
        except AssertionError as wrong:
            raise AssertionError(f"killed {reached[-1]} (point {fatal}): {wrong}\n{doom.log()}") from wrong
    assert killed == set(points)


@pytest.mark.slow
async def test_killed_again_and_again_while_it_recovers(doom):
    rng = random.Random(3)
    for _ in range(6):
        world = doom.settle_in()
        scenario = rng.choice(("plain", "replaced", "reorged"))
        ended, _ = doom.run(world, scenario, rng.randrange(12))
        while ended == KILLED:
            ended, _ = doom.run(world, "recover", rng.randrange(1, 24))
        assert ended == 0, doom.log()
        await assert_custody(world)


async def test_the_points_are_all_the_writes_and_broadcasts(doom):
    """What is enumerated is really each transition of the outbox, before and after."""
    names = set()
    for scenario in LEAST:
        names |= set(doom.run(doom.settle_in(), scenario)[1])
    for state in ("sealed", "signed", "broadcast", "mined", "final", "replaced+signed", "displaced", "reverted"):
        assert {f"before {state}", f"after {state}"} <= names
    for state in ("reorged", "superseded+final", "failed", "abandoned"):
        assert {f"before {state}", f"after {state}"} <= names, sorted(names)
    assert {"before a broadcast", "after a broadcast", "before the final size", "after the final size"} <= names
