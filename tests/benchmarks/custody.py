"""A chain that goes away under load: what is taken in meanwhile, and what covers the gap when it is back.

    python tests/benchmarks/custody.py outage                            # ten minutes at 500 messages a second
    python tests/benchmarks/custody.py outage --minutes 0.5 --how silent

A real mosquitto, a real node, a real gateway, and a fleet that remembers every message, PUBACK and receipt. The node
is ended and started again with the chain that it had and without its pool (``ended``), or a door in front of it
refuses (``shut``) or swallows everything (``silent``). It prints one JSON object; a promise that is broken is an
``AssertionError``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kill.kill_check import assert_every_promise_is_kept
from support.custody import CustodyWorld, LastingAnvil, custody_gateway
from support.custody_check import (
    anchored_to_the_end,
    assert_proven_on_the_chain,
    assert_the_chain_agrees,
    status_where,
)
from support.door import Door, Way
from support.fleet import Fleet, devices
from support.gateway import Gateway
from support.mosquitto import ACCOUNTS, Mosquitto

Figures = dict[str, Any]
ENDED = "ended"
HOWS = (ENDED, Way.SHUT.value, Way.SILENT.value)
BLOCK_S = 1


@dataclass(frozen=True)
class Plan:
    """What happens. ``in_flight``: the chain goes while a transaction waits for its block."""

    seconds: float
    rate: float
    how: str = ENDED
    devices: int = 100
    interval_s: float = 10.0
    poll_s: float = 1.0
    max_age_s: int = 14400
    in_flight: bool = False


class Away:
    """Takes the node away, and brings it back."""

    def __init__(self, plan: Plan, node: LastingAnvil, door: Door, world: CustodyWorld) -> None:
        self._how = plan.how
        self._node = node
        self._door = door
        self._world = world

    async def go(self) -> None:
        """From now on nobody answers."""
        if self._how == ENDED:
            await asyncio.to_thread(self._node.stop)
        else:
            await self._door.close(Way(self._how))

    async def come(self) -> None:
        """The same chain is there again."""
        if self._how == ENDED:
            await asyncio.to_thread(self._node.start)
            self._world.block_every(BLOCK_S)
        else:
            await self._door.open()


async def outage(folder: Path, plan: Plan) -> Figures:
    """Let the chain be away for a while; returns what was seen, and holds all of it to the promises.

    Raises:
        AssertionError: a promise is broken.
    """
    rng = random.Random(10)
    records = devices(plan.devices)
    broker = Mosquitto(folder / "broker").start()
    fleet = Fleet(records, rng, broker.port, ACCOUNTS["bench"], patience_s=60.0)
    with LastingAnvil(folder / "chain.json", "--slots-in-an-epoch", "1") as node:
        world = CustodyWorld(node, folder / "keys")
        async with Door(node.port) as door:
            chain = {
                "rpc": [node.url if plan.how == ENDED else f"http://127.0.0.1:{door.port}"],
                "finality": "finalized",
                "poll_s": plan.poll_s,
                "timeout_s": 2.0,
            }
            gateway = custody_gateway(
                world,
                folder / "gateway",
                broker.port,
                records,
                chain=chain,
                anchor={"interval_s": plan.interval_s, "min_interval_s": plan.interval_s},
                registry={"max_age_s": plan.max_age_s},
            )
            world.fund()
            world.register_devices(records)
            world.register_miner(gateway)
            world.block_every(BLOCK_S)
            try:
                gateway.start()
                await gateway.ready(60)
                async with fleet.publishing(plan.rate):
                    figures = await _gap(plan, gateway, world, fleet, Away(plan, node, door, world))
                drain_s = time.monotonic()
                unanswered = await fleet.drain(120)
                figures |= {"drained_s": round(time.monotonic() - drain_s, 1)}
                await anchored_to_the_end(gateway)
                assert await gateway.stop() == 0
                await fleet.close()
            finally:
                gateway.end()
                broker.stop()
        figures["log_size"] = await assert_every_promise_is_kept(gateway, fleet.messages, rng)
        assert_the_chain_agrees(world, gateway)
        with gateway.reader() as reader:
            last = max(reader.find(*message.identity) or 0 for message in fleet.messages)
        await assert_proven_on_the_chain(world, gateway, rng.randrange(last))
    assert unanswered == 0
    assert not fleet.strays, fleet.strays[:3]
    return figures | {
        "messages": len(fleet.messages),
        "per_s": round(len(fleet.messages) / fleet.published_s),
        "chain_down_lines": len(gateway.events("chain.down")),
        "chain_up_lines": len(gateway.events("chain.up")),
        "held_lines": [event["reason"] for event in gateway.events("anchor.held")],
        "held_back": [event["reason"] for event in gateway.events("gateway.holds_back")],
        "how": plan.how,
        "away_s": plan.seconds,
    }


async def _gap(plan: Plan, gateway: Gateway, world: CustodyWorld, fleet: Fleet, away: Away) -> Figures:
    """Anchor once, take the chain away, bring it back, and wait until the gap is covered for good."""
    await _standing(gateway, {"broadcast"} if plan.in_flight else set())
    before = world.on_chain(gateway)
    sent, open_before = len(fleet.messages), fleet.open_count
    await away.go()
    size_at_going = (await gateway.status() or {}).get("log_size", 0)
    watched = await _watch(gateway, plan.seconds)
    sent_meanwhile, open_after = len(fleet.messages) - sent, fleet.open_count
    size_at_return = watched["log_size"]
    await away.come()
    back_s = time.monotonic()
    await status_where(gateway, lambda status: status["chain"]["state"] == "up", 120)
    up_s = time.monotonic() - back_s
    await _until(lambda: len(world.on_chain(gateway)) > len(before) and _tip(world, gateway) >= size_at_return)
    covered_s = time.monotonic() - back_s
    # What was sealed before the chain went may come first; it is no part of the gap.
    new = [each for each in world.on_chain(gateway)[len(before) :] if each.size > size_at_going]
    covering = next(number for number, each in enumerate(new, 1) if each.size >= size_at_return)
    await status_where(gateway, lambda status: status["anchors"]["final_size"] >= new[0].size, 120)
    return {
        "anchors_before": len(before),
        "size_before": before[-1].size if before else 0,
        "size_at_return": size_at_return,
        "anchors_until_the_gap_was_covered": covering,
        "covering_size": new[covering - 1].size,
        "up_after_s": round(up_s, 1),
        "covered_after_s": round(covered_s, 1),
        "final_after_s": round(time.monotonic() - back_s, 1),
        "sent_while_away": sent_meanwhile,
        "without_receipt_before": open_before,
        "without_receipt_at_return": open_after,
        **{name: value for name, value in watched.items() if name != "log_size"},
    }


async def _standing(gateway: Gateway, states: set[str]) -> None:
    """Wait until an anchor is final and those under way are in exactly these states."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with gateway.reader() as reader:
            under_way = {row.state for row in reader.open_anchors()}
            if reader.final_size() and under_way == states:
                return
        await asyncio.sleep(0.02)
    raise AssertionError(f"anchoring never stood at {states or 'rest'}: {await gateway.status()}")


async def _watch(gateway: Gateway, seconds: float) -> Figures:
    """Look at the status while the chain is away."""
    first = await gateway.status()
    assert first is not None
    end_s = time.monotonic() + seconds
    ready, warned, looks, status = 0, 0, 0, first
    while time.monotonic() < end_s:
        await asyncio.sleep(min(1.0, seconds / 20))
        status = await gateway.status() or status
        looks += 1
        ready += status["ready"]
        warned += any("the chain is down" in warning for warning in status["warnings"])
    grown = status["log_size"] - first["log_size"]
    return {
        "log_size": status["log_size"],
        "logged_while_away": grown,
        "looks": looks,
        "looks_ready": ready,
        "looks_with_a_warning": warned,
        "registry_at_return": status["chain"]["registry"]["state"],
        "anchors_said": status["anchors"]["state"],
        "p99_ms": status["p99_ms"],
    }


def _tip(world: CustodyWorld, gateway: Gateway) -> int:
    return world.on_chain(gateway)[-1].size


async def _until(true: Callable[[], bool], timeout_s: float = 180.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not await asyncio.to_thread(true):
        assert time.monotonic() < deadline, "the gap was never covered"
        await asyncio.sleep(0.1)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["outage"])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--how", choices=HOWS, default=ENDED)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="securenet-custody-") as folder:
        figures = asyncio.run(outage(Path(folder), Plan(60 * options.minutes, options.rate, options.how)))
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
