"""The tables of docs/scaling.md, each a function from the assumptions to lines of Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import fields

from .model import (
    AS_OF,
    DAY_S,
    SIGNED_ANCHOR_BYTES,
    Assumptions,
    Chain,
    Gas,
    Load,
    chains,
    custody,
    cycle_s,
    fleet_share,
    gas_a_message,
    l1_bytes,
    lifetime,
    shortest_interval_s,
    usd_a_year,
)
from .simulation import Outcome, Weather, World, simulate

RATES_S = (0.01, 0.1, 1.0, 10.0, 100.0, 1_000.0)
INTERVALS_S = (10.0, 60.0, 600.0, 3_600.0, 21_600.0, 86_400.0)
FLEETS = (1, 10, 100, 1_000, 10_000)
PAPER_RATE_S = 5_000
PAPER_DEVICES = 100_000

Table = Callable[[Assumptions, Gas], list[str]]


def figure(value: float) -> str:
    """Three significant digits, thousands apart, never an exponent; 0 is 0."""
    if not value:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    if digits <= 0 or rounded == int(rounded):
        return f"{rounded:,.0f}"
    return f"{rounded:.{min(digits, 8)}f}".rstrip("0")


def percent(share: float) -> str:
    """A share as a percentage of three significant digits."""
    return f"{figure(share * 100)} %"


def span(seconds: float) -> str:
    """A time as people say it."""
    for unit, length in (("d", DAY_S), ("h", 3_600), ("min", 60)):
        if seconds >= 1.5 * length or (seconds >= length and seconds % length == 0):
            return f"{figure(seconds / length)} {unit}"
    return f"{figure(seconds)} s"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A Markdown table; all but the first column to the right."""
    names = list(head)
    rule = ["---"] + ["--:"] * (len(names) - 1)
    return [f"| {' | '.join(cells)} |" for cells in (names, rule, *rows)]


def assumptions(given: Assumptions, _: Gas) -> list[str]:
    """Every figure that is not measured."""
    rows = [
        (
            f"`--{item.name.replace('_', '-')}`",
            figure(getattr(given, item.name)),
            item.metadata["unit"],
            item.metadata["why"],
        )
        for item in fields(given)
    ]
    head = [f"| assumption, as of {AS_OF} | value | unit | from |", "|---|--:|---|---|"]
    return head + [f"| {' | '.join(row)} |" for row in rows]


def gas_by_rate(_: Assumptions, gas: Gas) -> list[str]:
    """Gas a message, by rate and interval."""
    return table(
        ("messages/s", *(f"every {span(interval)}" for interval in INTERVALS_S)),
        (
            (figure(rate), *(figure(gas_a_message(gas, rate, interval)) for interval in INTERVALS_S))
            for rate in RATES_S
        ),
    )


def gas_by_purpose(given: Assumptions, gas: Gas) -> list[str]:
    """What one gateway's gas goes to over its devices' years, and what that is for each message and in dollars."""
    whole = lifetime(given, gas)
    on_l1, on_l2, _ = chains(given, gas)
    parts = (
        ("anchors", whole.anchors),
        ("register the gateway, open its log", whole.joining),
        ("register its devices, batches of 100", whole.devices),
        ("suspensions, one by one", whole.suspensions),
    )
    total = sum(spent for _, spent in parts)
    return table(
        ("one gateway", "gas", "of all", "gas a message", "USD, mainnet", "USD, L2 without its data fee"),
        (
            (
                name,
                figure(spent),
                percent(spent / total),
                figure(spent / whole.messages),
                figure(spent * on_l1.gas_usd),
                figure(spent * on_l2.gas_usd),
            )
            for name, spent in (*parts, ("**all**", total))
        ),
    )


def price_of_an_anchor(given: Assumptions, gas: Gas) -> list[str]:
    """One anchor and a million messages, in dollars."""
    on_l1, on_l2, own = chains(given, gas)

    def a_million(chain: Chain, interval: float) -> str:
        load = Load(1, given.rate_s, interval)
        return figure(1e6 / (given.rate_s * cycle_s(load, chain)) * chain.anchor_usd)

    rows = [
        (chain.name, figure(chain.anchor_usd), *(a_million(chain, interval) for interval in INTERVALS_S))
        for chain in (on_l1, on_l2, own)
    ]
    return table(("USD", "an anchor", *(f"1 M messages, {span(interval)}" for interval in INTERVALS_S)), rows)


def _fleets(given: Assumptions, gas: Gas, interval: float) -> list[str]:
    def row(gateways: int) -> list[str]:
        load = Load(gateways, given.rate_s, interval)
        cells = [figure(gateways), figure(gateways * DAY_S / (interval + 1 / given.rate_s))]
        for chain in chains(given, gas):
            share = fleet_share(load, chain)
            cost = [figure(usd_a_year(load, chain))] if chain.anchor_usd else []
            cells += [
                percent(share) if share < 1 else f"**{percent(share)}**",
                *(cost if share < 1 else ["-"] * len(cost)),
            ]
        return cells

    head = ("gateways", "anchors a day, wanted", "mainnet", "USD a year", "L2", "USD a year", "QBFT")
    return table(head, map(row, FLEETS))


def fleets(given: Assumptions, gas: Gas) -> list[str]:
    """Fleets at the interval that is assumed: share of each chain's target, and cost."""
    return _fleets(given, gas, given.interval_s)


def fleets_fast(given: Assumptions, gas: Gas) -> list[str]:
    """The same at the shortest interval of the tables, where it breaks."""
    return _fleets(given, gas, INTERVALS_S[0])


def intervals(given: Assumptions, gas: Gas) -> list[str]:
    """The shortest interval that keeps a fleet within its share, chain by chain."""
    every = chains(given, gas)
    rows = [(figure(count), *(span(shortest_interval_s(count, chain)) for chain in every)) for count in FLEETS]
    return table(("gateways", *(f"{chain.name}, {percent(chain.share)}" for chain in every)), rows)


def latency(given: Assumptions, gas: Gas) -> list[str]:
    """From a receipt to an anchor, mined and final."""
    rows = []
    for chain in chains(given, gas):
        for interval in INTERVALS_S[:4]:
            seen = custody(Load(1, given.rate_s, interval), chain)
            rows.append((chain.name, span(interval), *map(span, seen)))
    return table(("chain", "interval", "mined, mean", "mined, worst", "final, mean", "final, worst"), rows)


def paper(given: Assumptions, gas: Gas) -> list[str]:
    """The paper's 5,000 transactions a second and 100,000 devices, put on each chain."""
    gateways = int(PAPER_DEVICES / given.devices)
    load = Load(gateways, PAPER_RATE_S / gateways, given.interval_s)
    rows = []
    for chain in chains(given, gas):
        admitted = PAPER_DEVICES * gas.device
        rows.append(
            (
                chain.name,
                percent(PAPER_RATE_S / chain.anchors_s),
                percent(fleet_share(load, chain)),
                figure(admitted * chain.gas_usd),
                span(admitted / (chain.share * chain.target_s)),
            )
        )
    head = (
        f"{figure(PAPER_RATE_S)} messages/s, {figure(PAPER_DEVICES)} devices",
        "a transaction a message",
        f"anchors of {figure(gateways)} gateways",
        "USD to register the devices, gas alone",
        "time to, within the share",
    )
    return table(head, rows)


def world(load: Load, chain: Chain, seconds: float, weather: Weather | None = None, headroom: float = 2.0) -> World:
    """A run on that chain, whose blocks have room for anchors up to the gas target and not above."""
    wobble = 0.02 if chain.anchor_usd else 0.0
    told = weather or Weather()
    room = int(chain.anchors_s * chain.block_s + 1e-9)
    return World(load, chain.block_s, room, seconds, told._replace(wobble=wobble), headroom=headroom)


def simulated(given: Assumptions, gas: Gas) -> list[str]:
    """The closed form beside the simulation, in calm weather and in overload."""
    on_l1, on_l2, own = chains(given, gas)
    runs = [
        ("mainnet", on_l1, Load(100, 1.0, 600.0), 6 * 3_600.0),
        ("mainnet, every hour", on_l1, Load(1_000, 1.0, 3_600.0), 18 * 3_600.0),
        ("mainnet, interval below a block", on_l1, Load(100, 1.0, 10.0), 3_600.0),
        ("mainnet, overload", on_l1, Load(3_000, 1.0, 10.0), 900.0),
        ("mainnet, a message an hour", on_l1, Load(100, 1 / 3_600, 600.0), 2.0 * DAY_S),
        ("mainnet, sealed by 10,000 entries", on_l1, Load(100, 100.0, 600.0, 10_000), 3_600.0),
        ("L2", on_l2, Load(1_000, 1.0, 60.0), 1_200.0),
        ("QBFT", own, Load(1_000, 1.0, 10.0), 300.0),
        ("QBFT, overload", own, Load(10_000, 1.0, 10.0), 180.0),
    ]
    rows = []
    for name, chain, load, seconds in runs:
        seen = simulate(world(load, chain, seconds))
        told = cycle_s(load, chain)
        rows.append(
            (
                name,
                figure(load.gateways),
                figure(DAY_S / told),
                figure(DAY_S / seen.cycle_s),
                figure(gas.anchor / (load.rate_s * told)),
                figure(gas.anchor / (load.rate_s * seen.cycle_s)),
                *_delays(seen),
            )
        )
    head = ("run", "gateways", "anchors a day each", "seen", "gas a message", "seen", "sealed → mined p50", "p99")
    return table(head, rows)


def _delays(seen: Outcome) -> tuple[str, str]:
    return f"{figure(seen.delay_p50_s)} s", f"{figure(seen.delay_p99_s)} s"


def spikes(given: Assumptions, gas: Gas) -> list[str]:
    """A price that climbs to eight times, met with an offer of twice the price and with none to spare."""
    on_l1, _, _ = chains(given, gas)
    weather = Weather(spike_at_s=7_200.0, spike_s=1_200.0, spike=8.0)
    rows = []
    for name, headroom in (("twice the price", 2.0), ("the price", 1.0)):
        seen = simulate(world(Load(600, 1.0, 600.0), on_l1, 14_400.0, weather, headroom))
        rows.append((name, *_delays(seen), figure(seen.replaced), figure(seen.paid), span(seen.longest_gap_s)))
    head = ("offer", "sealed → mined p50", "p99", "replacements an anchor", "mean price paid", "longest gap")
    return table(head, rows)


def outages(given: Assumptions, gas: Gas) -> list[str]:
    """No blocks for ten minutes and for an hour: what is left to do when they come again."""
    rows = []
    for chain in chains(given, gas):
        for gateways, down in ((100, 600.0), (1_000, 3_600.0), (10_000, 600.0), (10_000, 3_600.0)):
            weather = Weather(outage_at_s=1_800.5, outage_s=down)
            load = Load(gateways, given.rate_s, 600.0)
            seen = simulate(world(load, chain, 1_800 + down + 900, weather))
            bound = (math.ceil(gateways / int(chain.anchors_s * chain.block_s + 1e-9))) * chain.block_s
            most = figure(given.rate_s * seen.longest_gap_s)
            rows.append(
                (
                    chain.name,
                    figure(gateways),
                    span(down),
                    str(seen.needed),
                    most,
                    span(seen.caught_up_s),
                    span(bound),
                )
            )
    head = ("chain", "gateways", "down", "anchors a gateway", "messages in one, most", "caught up after", "at most")
    return table(head, rows)


def data_fee(given: Assumptions, gas: Gas) -> list[str]:
    """What an anchor on the L2 is made of."""
    _, on_l2, _ = chains(given, gas)
    execution = gas.anchor * on_l2.gas_usd
    size, data = l1_bytes(), on_l2.anchor_usd - execution
    return [
        f"An anchor on the L2: {gas.anchor:,} gas for USD {figure(execution)}; for its data on mainnet,",
        f"{figure(size)} bytes of a signed transaction of at most {SIGNED_ANCHOR_BYTES}, USD {figure(data)}.",
        f"By its footprint it takes {figure(on_l2.weight)} gas of a block.",
    ]


TABLES: dict[str, Table] = {
    "assumptions": assumptions,
    "gas-by-rate": gas_by_rate,
    "gas-by-purpose": gas_by_purpose,
    "price-of-an-anchor": price_of_an_anchor,
    "data-fee": data_fee,
    "fleets": fleets,
    "fleets-fast": fleets_fast,
    "intervals": intervals,
    "latency": latency,
    "paper": paper,
    "simulated": simulated,
    "spikes": spikes,
    "outages": outages,
}
"""By the name of the block that a table fills in the page."""
