"""The example of the page's part on the chain, lived through by a follower."""

import re
from pathlib import Path

import pytest
from registry_world import World, device_registered, status_changed

from gateway.chain.contracts import ChainStatus

PAGE = Path(__file__).parents[2] / "docs" / "spec" / "registry.md"
EVENTS = {
    100: device_registered("d"),
    140: status_changed("d", ChainStatus.SUSPENDED),
    150: status_changed("d", ChainStatus.ACTIVE),
}


def lines():
    example = re.search(r"```text example chain\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for line in example[1].splitlines()[1:]:
        final, newest, status = line.split()[:3]
        yield int(final), int(newest), status


async def test_a_device_is_what_the_page_says_at_every_line():
    world = World()
    seen = []
    for final, newest, status in lines():
        while (number := len(world.chain.blocks)) <= newest:
            world.chain.mine(*([EVENTS[number]] if number in EVENTS else []))
        world.chain.finalise(final - world.chain.final)
        await world.look()
        device = world.registry.snapshot.device("d")
        seen.append((final, newest, "unknown" if device is None else device.status.value))
        assert seen[-1] == (final, newest, status)
    assert len(seen) == 6


@pytest.mark.parametrize(
    "event",
    re.findall(r"`(registry\.[a-z_]+)`", PAGE.read_text(encoding="utf-8").split("Events in the log:")[1]),
)
def test_an_event_of_the_page_is_in_the_code(event):
    code = (Path(__file__).parents[2] / "gateway" / "chain" / "registry.py").read_text(encoding="utf-8")
    assert f'"{event}"' in code
