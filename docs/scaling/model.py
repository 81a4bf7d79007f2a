"""What anchoring costs and how much of a chain it takes, in closed form. Nothing here does more than arithmetic."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

GAS_FILE = Path(__file__).resolve().parents[2] / "tests" / "contracts" / "gas.json"
AS_OF = "2026-11-21"
DAY_S = 86_400
YEAR_S = 365 * DAY_S
GWEI = 1e-9

SIGNED_ANCHOR_BYTES = 228
"""An upper bound of a signed EIP-1559 transaction that calls ``anchor``: 100 bytes of call data and 128 more."""


def assumed(default: float, unit: str, why: str) -> Any:  # noqa: ANN401 -- as dataclasses.field does
    """A figure that the page does not measure: its value, its unit, and where it comes from."""
    return field(default=default, metadata={"unit": unit, "why": why})


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """Everything that is stated and not measured. Each is an option of the command line."""

    coin_usd: float = assumed(2_000.0, "USD an ether", "assumed; about the price of February 2026")
    mainnet_gas_gwei: float = assumed(
        1.0, "gwei a unit of gas", "assumed, base fee and tip; every cost is in proportion"
    )
    mainnet_block_gas: float = assumed(60e6, "gas", "EIP-7935; the limit in force since 2025-11-25")
    mainnet_elasticity: float = assumed(2.0, "limit / target", "EIP-1559")
    mainnet_block_s: float = assumed(12.0, "s", "one slot")
    mainnet_final_slots: float = assumed(64.0, "slots", "two epochs; up to one more, by its place in its epoch")
    l2_gas_gwei: float = assumed(0.01, "gwei a unit of gas", "assumed; Base's floor is 0.002 since 2026-02-02")
    l2_block_gas: float = assumed(40e6, "gas", "OP Mainnet since May 2025; Base has 400 M since March 2026")
    l2_elasticity: float = assumed(2.0, "limit / target", "OP Mainnet since May 2025; Base has 5")
    l2_block_s: float = assumed(2.0, "s", "OP Stack")
    l2_base_fee_scalar: float = assumed(0.005, "of the base fee", "assumed; each chain sets its own")
    l2_blob_fee_scalar: float = assumed(1.0, "of the blob fee", "assumed; each chain sets its own")
    l2_footprint_gas_byte: float = assumed(
        400.0, "gas a byte", "the OP Stack's default; Base has 148 since March 2026"
    )
    l2_post_s: float = assumed(600.0, "s", "assumed: the longest from an L2 block to its batch on mainnet")
    blob_fee_ratio: float = assumed(1 / 16, "of the base fee", "the floor that EIP-7918 sets, 2^13 / 2^17")
    qbft_tx_s: float = assumed(
        520.0, "transactions/s", "the least published for Besu QBFT, 4 validators; the most 1,200"
    )
    qbft_block_s: float = assumed(1.0, "s", "blockperiodseconds, by genesis")
    public_share: float = assumed(0.05, "of the gas target", "assumed: what one fleet may take of a public chain")
    own_share: float = assumed(0.5, "of the rate", "assumed: what anchors may take of a chain of one's own")
    rate_s: float = assumed(1.0, "messages/s a gateway", "assumed: 100 devices, each once in 100 s")
    interval_s: float = assumed(600.0, "s", "the default of `anchor.interval_s`")
    devices: float = assumed(100.0, "a gateway", "assumed")
    years: float = assumed(5.0, "years", "assumed: how long a device serves")
    suspended_share: float = assumed(0.01, "of the devices, a year", "assumed, one transaction each")


class Gas(NamedTuple):
    """Gas by call, as tests/contracts measures it."""

    anchor: int
    first_anchor: int
    open: int
    miner: int
    device: int
    suspend: int
    suspend_batch: int


class Chain(NamedTuple):
    """A chain, as far as the arithmetic needs it.

    ``limit_s`` and ``target_s`` are gas a second, ``weight`` is what an anchor takes of them, ``share`` the part of
    the target that one fleet should ask for, ``final_s`` the soonest and the latest that a mined block is final.
    """

    name: str
    block_s: float
    limit_s: float
    target_s: float
    weight: float
    anchor_usd: float
    gas_usd: float
    share: float
    final_s: tuple[float, float]

    @property
    def anchors_s(self) -> float:
        """Anchors a second that make up the gas target, alone on the chain: above it the price runs away."""
        return self.target_s / self.weight


class Load(NamedTuple):
    """A fleet of gateways: each takes ``rate_s`` messages a second, and seals by age or, if not 0, by ``entries``."""

    gateways: int
    rate_s: float
    interval_s: float
    entries: int = 0


def read_gas(path: Path = GAS_FILE) -> Gas:
    """The committed gas snapshot."""
    table: dict[str, int] = json.loads(path.read_text())
    return Gas(
        anchor=table["anchor"],
        first_anchor=table["anchor, the first of an opened log"],
        open=table["open"],
        miner=table["registerMiner, X25519"],
        device=table["registerDevices, 100 Ed25519, per device"],
        suspend=table["suspend, 1"],
        suspend_batch=table["suspend, 100, per id"],
    )


def l1_bytes(signed_bytes: int = SIGNED_ANCHOR_BYTES) -> float:
    """The size that an OP Stack chain charges for (Fjord), by the upper bound that its own oracle offers."""
    compressed = signed_bytes + signed_bytes // 255 + 16
    return max(100.0, -42.5856 + 0.8365 * compressed)


def l1_fee_gwei(given: Assumptions, size: float) -> float:
    """What an OP Stack chain adds for posting ``size`` bytes on mainnet."""
    base = given.mainnet_gas_gwei
    return size * (16 * given.l2_base_fee_scalar * base + given.l2_blob_fee_scalar * given.blob_fee_ratio * base)


def mainnet(given: Assumptions, gas: Gas) -> Chain:
    """Ethereum: gas has a price, blocks a limit and a target of half of it."""
    limit_s = given.mainnet_block_gas / given.mainnet_block_s
    usd = given.mainnet_gas_gwei * GWEI * given.coin_usd
    soonest = given.mainnet_final_slots * given.mainnet_block_s
    latest = soonest + 32 * given.mainnet_block_s
    target_s = limit_s / given.mainnet_elasticity
    share = given.public_share
    weight = float(gas.anchor)
    return Chain(
        "mainnet", given.mainnet_block_s, limit_s, target_s, weight, gas.anchor * usd, usd, share, (soonest, latest)
    )


def l2(given: Assumptions, gas: Gas) -> Chain:
    """A rollup like the OP Stack's: cheap gas, a fee and a footprint in gas for the bytes that go to mainnet."""
    size = l1_bytes()
    limit_s = given.l2_block_gas / given.l2_block_s
    usd = given.l2_gas_gwei * GWEI * given.coin_usd
    anchor_usd = gas.anchor * usd + l1_fee_gwei(given, size) * GWEI * given.coin_usd
    weight = max(float(gas.anchor), size * given.l2_footprint_gas_byte)
    l1 = mainnet(given, gas).final_s
    target_s = limit_s / given.l2_elasticity
    final = (l1[0], l1[1] + given.l2_post_s)
    return Chain("L2", given.l2_block_s, limit_s, target_s, weight, anchor_usd, usd, given.public_share, final)


def qbft(given: Assumptions, gas: Gas) -> Chain:
    """A permissioned chain: gas is free, the validators' transactions a second are the limit, a block is final."""
    limit_s = given.qbft_tx_s * gas.anchor
    return Chain(
        "QBFT", given.qbft_block_s, limit_s, limit_s, float(gas.anchor), 0.0, 0.0, given.own_share, (0.0, 0.0)
    )


def chains(given: Assumptions, gas: Gas) -> tuple[Chain, Chain, Chain]:
    """The three chains of the page."""
    return mainnet(given, gas), l2(given, gas), qbft(given, gas)


def wanted_cycle_s(load: Load) -> float:
    """Seconds from anchor to anchor of one gateway, if the chain has room: age counts from the first message."""
    by_age = load.interval_s + 1 / load.rate_s
    return min(by_age, load.entries / load.rate_s) if load.entries else by_age


def floor_s(load: Load, chain: Chain) -> float:
    """The least cycle that the chain allows: one anchor a gateway and block, and of all no more than have room."""
    return max(chain.block_s, load.gateways / chain.anchors_s)


def cycle_s(load: Load, chain: Chain) -> float:
    """Seconds from anchor to anchor of one gateway on a real chain."""
    return max(wanted_cycle_s(load), floor_s(load, chain))


def gas_a_message(gas: Gas, rate_s: float, interval_s: float) -> float:
    """Gas of one anchor over the messages it covers, on a chain with room."""
    return gas.anchor / (rate_s * wanted_cycle_s(Load(1, rate_s, interval_s)))


def fleet_share(load: Load, chain: Chain, *, of_limit: bool = False) -> float:
    """The part of the chain's gas target (or limit) that the fleet's anchors ask for. Above 1 they do not fit."""
    asked_s = load.gateways / wanted_cycle_s(load) * chain.weight
    return asked_s / (chain.limit_s if of_limit else chain.target_s)


def shortest_interval_s(gateways: float, chain: Chain) -> float:
    """The shortest interval at which a fleet stays within ``chain.share``; never below the time of a block."""
    return max(chain.block_s, gateways * chain.weight / (chain.share * chain.target_s))


def usd_a_year(load: Load, chain: Chain) -> float:
    """What the fleet's anchors cost in a year, if they fit and the price does not move."""
    return load.gateways * YEAR_S / max(wanted_cycle_s(load), chain.block_s) * chain.anchor_usd


class Lifetime(NamedTuple):
    """Gas of one gateway over the years that its devices serve, by what it is spent on, and its messages."""

    anchors: float
    joining: float
    devices: float
    suspensions: float
    messages: float


def lifetime(given: Assumptions, gas: Gas) -> Lifetime:
    """Everything that a gateway and its devices cost, from registration to the last anchor."""
    seconds = given.years * YEAR_S
    return Lifetime(
        anchors=gas.anchor * seconds / wanted_cycle_s(Load(1, given.rate_s, given.interval_s)),
        joining=gas.miner + gas.open,
        devices=given.devices * gas.device,
        suspensions=given.devices * given.suspended_share * given.years * gas.suspend,
        messages=given.rate_s * seconds,
    )


class Custody(NamedTuple):
    """Seconds from a message's receipt until its anchor is mined and until it is final, on average and at worst."""

    mined_mean: float
    mined_worst: float
    final_mean: float
    final_worst: float


def custody(load: Load, chain: Chain) -> Custody:
    """How long a message waits for a chain that has room and is up. The receipt does not wait for any of it."""
    held = max(min(load.interval_s, wanted_cycle_s(load)), floor_s(load, chain))
    mean, worst = (held + chain.block_s) / 2, held + chain.block_s
    soonest, latest = chain.final_s
    return Custody(mean, worst, mean + (soonest + latest) / 2, worst + latest)
