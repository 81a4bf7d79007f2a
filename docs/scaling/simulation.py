"""A fleet of gateways on a chain, event by event: what the closed forms of ``model`` are checked against.

Each gateway seals by age or size, has one transaction in flight, replaces it by a dearer one with its newest
checkpoint when it is not mined in time, and holds still while the chain makes no blocks. Blocks come at fixed times
and take the best offers, the older first, as far as there is room. The price moves by itself: the fleet does not
move it. Messages arrive as a Poisson stream; only the instants that matter are drawn.
"""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass, field
from typing import NamedTuple

from .model import Load

REPLACEMENT = 1.125
PRICE_STEP = 1.125
MEMORY = 0.98


class Weather(NamedTuple):
    """What happens to the chain: no blocks for a while, or a price that climbs to ``spike`` times and comes back."""

    outage_at_s: float = 0.0
    outage_s: float = 0.0
    spike_at_s: float = 0.0
    spike_s: float = 0.0
    spike: float = 1.0
    wobble: float = 0.02


class World(NamedTuple):
    """One run. ``room`` is anchors a block; an offer is ``headroom`` times the current price, at most ``cap``."""

    load: Load
    block_s: float
    room: int
    seconds: float
    weather: Weather = Weather()
    replace_after_s: float = 60.0
    headroom: float = 2.0
    cap: float = 100.0
    seed: int = 3


class Outcome(NamedTuple):
    """What was seen after the first third of the run.

    ``replaced`` is replacements an anchor, ``paid`` the mean price of what was mined. Of the gateways that waited
    when an outage ended: ``caught_up_s`` later the last of them was anchored up to the outage's end, give or take
    ``replace_after_s``, and none needed more than ``needed`` anchors for it.
    """

    anchors: int
    cycle_s: float
    delay_p50_s: float
    delay_p99_s: float
    replaced: float
    paid: float
    longest_gap_s: float
    needed: int
    caught_up_s: float


@dataclass(slots=True)
class _Gateway:
    cut_at: float
    first_at: float = 0.0
    ready_at: float = 0.0
    sealed_at: float = 0.0
    offer: float = 0.0
    mined_cut_at: float = 0.0
    version: int = 0
    in_flight: bool = False


@dataclass(slots=True)
class _Tally:
    delays: list[float] = field(default_factory=list)
    replaced: int = 0
    paid: float = 0.0
    longest_gap_s: float = 0.0
    since_outage: dict[int, int] = field(default_factory=dict)
    needed: int = 0
    caught_up_at: float = 0.0


class Simulation:
    """The state of one run; ``run`` plays it to the end. The same seed gives the same run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = random.Random(world.seed)  # noqa: S311 -- a simulation; nothing is kept secret by it
        self._fleet: list[_Gateway] = []
        self._seals: list[tuple[float, int]] = []
        self._replacements: list[tuple[float, int, int]] = []
        self._pool: list[tuple[float, float, int, int]] = []
        self._price = 1.0
        self._drift = 0.0
        self._lift = 1.0
        self._tally = _Tally()
        self._warm_s = world.seconds / 3
        self._up_at = world.weather.outage_at_s + world.weather.outage_s

    def run(self) -> Outcome:
        """Play block after block, and before each what the gateways do."""
        world = self._world
        for number in range(world.load.gateways):
            gateway = _Gateway(cut_at=-self._random.uniform(0, world.load.interval_s))
            gateway.mined_cut_at = gateway.cut_at
            self._fleet.append(gateway)
            self._open(gateway, gateway.cut_at)
            heapq.heappush(self._seals, (max(gateway.ready_at, 0.0), number))
        for block in range(1, int(world.seconds / world.block_s) + 1):
            now = block * world.block_s
            self._gateways_until(now)
            if not self._is_down(now):
                self._move_price(now)
                self._block(now, counted=now > self._warm_s)
        return self._outcome(world.seconds - self._warm_s)

    def _is_down(self, now: float) -> bool:
        return self._world.weather.outage_at_s <= now < self._up_at

    def _open(self, gateway: _Gateway, now: float) -> None:
        """Start the next batch: draw when its first message comes, and when it is old or large enough to seal."""
        load = self._world.load
        gateway.cut_at = now
        gateway.first_at = now + self._random.expovariate(load.rate_s)
        gateway.ready_at = gateway.first_at + load.interval_s
        if load.entries:
            full_in = self._random.gammavariate(load.entries - 1, 1 / load.rate_s) if load.entries > 1 else 0.0
            gateway.ready_at = min(gateway.ready_at, gateway.first_at + full_in)

    def _gateways_until(self, now: float) -> None:
        """Let the gateways seal and replace, in the order of time."""
        while True:
            seal = self._seals[0][0] if self._seals else math.inf
            replacement = self._replacements[0][0] if self._replacements else math.inf
            if min(seal, replacement) > now:
                return
            if seal <= replacement:
                at, number = heapq.heappop(self._seals)
                self._send(number, at, first=True)
            else:
                at, number, version = heapq.heappop(self._replacements)
                gateway = self._fleet[number]
                if not gateway.in_flight or gateway.version != version:
                    continue
                if self._is_down(at):
                    heapq.heappush(self._replacements, (self._up_at, number, version))
                else:
                    self._send(number, at, first=False)

    def _send(self, number: int, now: float, *, first: bool) -> None:
        """Seal the newest checkpoint and offer for it; a replacement offers at least 12.5 % more."""
        world, gateway = self._world, self._fleet[number]
        offer = world.headroom * self._price
        if first:
            gateway.sealed_at = now
            gateway.in_flight = True
        else:
            self._tally.replaced += now > self._warm_s
            offer = max(offer, gateway.offer * REPLACEMENT)
        if first or gateway.first_at <= now:
            self._open(gateway, now)
        gateway.offer = min(offer, world.cap)
        gateway.version += 1
        heapq.heappush(self._pool, (-gateway.offer, now, number, gateway.version))
        heapq.heappush(self._replacements, (now + world.replace_after_s, number, gateway.version))

    def _move_price(self, now: float) -> None:
        """The price wanders about 1; a spike lifts and lowers it by an eighth a block, as EIP-1559 does at most."""
        weather = self._world.weather
        self._drift = MEMORY * self._drift + self._random.gauss(0.0, weather.wobble)
        if weather.spike_at_s <= now < weather.spike_at_s + weather.spike_s:
            self._lift = min(weather.spike, self._lift * PRICE_STEP)
        else:
            self._lift = max(1.0, self._lift / PRICE_STEP)
        self._price = self._lift * math.exp(self._drift)

    def _block(self, now: float, *, counted: bool) -> None:
        """Mine what offers enough, the best offer first, while there is room."""
        room = self._world.room
        while self._pool and room > 0 and -self._pool[0][0] >= self._price:
            _, _, number, version = heapq.heappop(self._pool)
            gateway = self._fleet[number]
            if not gateway.in_flight or gateway.version != version:
                continue
            room -= 1
            gateway.in_flight = False
            self._count(number, now, counted=counted)
            heapq.heappush(self._seals, (max(gateway.ready_at, now), number))

    def _count(self, number: int, now: float, *, counted: bool) -> None:
        tally, gateway = self._tally, self._fleet[number]
        if counted:
            tally.delays.append(now - gateway.sealed_at)
            tally.paid += self._price
            tally.longest_gap_s = max(tally.longest_gap_s, gateway.cut_at - gateway.mined_cut_at)
        covered = self._up_at - self._world.replace_after_s
        if self._world.weather.outage_s and gateway.sealed_at < self._up_at <= now and gateway.mined_cut_at < covered:
            tally.since_outage[number] = tally.since_outage.get(number, 0) + 1
            if gateway.cut_at >= covered:
                tally.needed = max(tally.needed, tally.since_outage[number])
                tally.caught_up_at = now
        gateway.mined_cut_at = gateway.cut_at

    def _outcome(self, counted_s: float) -> Outcome:
        tally = self._tally
        delays = sorted(tally.delays)
        count = len(delays)
        if not count:
            raise ValueError("the run is too short: nothing was mined after its first third; give it more seconds")
        return Outcome(
            anchors=count,
            cycle_s=counted_s * self._world.load.gateways / count,
            delay_p50_s=delays[count // 2],
            delay_p99_s=delays[min(count - 1, count * 99 // 100)],
            replaced=tally.replaced / count,
            paid=tally.paid / count,
            longest_gap_s=tally.longest_gap_s,
            needed=tally.needed,
            caught_up_s=tally.caught_up_at - self._up_at if tally.caught_up_at else 0.0,
        )


def simulate(world: World) -> Outcome:
    """Play one world to its end."""
    return Simulation(world).run()
