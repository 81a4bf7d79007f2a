"""The figures of docs/scaling.md are those of its script, and its closed forms are what the simulation sees."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))

from scaling import __main__ as script  # noqa: E402 -- the folder docs is not on the path before
from scaling.model import (  # noqa: E402 -- likewise
    SIGNED_ANCHOR_BYTES,
    Assumptions,
    Load,
    chains,
    custody,
    cycle_s,
    fleet_share,
    gas_a_message,
    l1_bytes,
    l1_fee_gwei,
    lifetime,
    read_gas,
    shortest_interval_s,
    usd_a_year,
    wanted_cycle_s,
)
from scaling.simulation import Weather, World, simulate  # noqa: E402 -- likewise
from scaling.tables import TABLES, figure, span, world  # noqa: E402 -- likewise

GAS = read_gas()
BASE = Assumptions()
MAINNET, L2, QBFT = chains(BASE, GAS)

rates = st.floats(0.001, 10_000)
intervals = st.floats(1, 86_400)
fleets = st.integers(1, 100_000)
any_chain = st.sampled_from((MAINNET, L2, QBFT))


@pytest.fixture(scope="module")
def documents():
    return script.documents(BASE)


def test_the_page_and_its_plots_are_what_the_script_writes(documents):
    assert len(documents) == 3
    for path, text in documents.items():
        assert path.read_text(encoding="utf-8") == text, f"run `python -m scaling --write` in docs: {path.name}"


def test_every_table_has_its_place_in_the_page():
    page = script.PAGE.read_text(encoding="utf-8")
    assert [match["name"] for match in script.BLOCK.finditer(page)] == list(TABLES)


def test_a_block_that_no_table_fills_is_an_error():
    with pytest.raises(KeyError, match="no-such"):
        script.filled("<!-- computed: no-such -->\n<!-- end -->", {"other": []})


@pytest.mark.parametrize("name", ["gas-a-message.svg", "shortest-interval.svg"])
def test_a_plot_is_named_and_described_and_has_colours_for_the_dark(name):
    text = (script.HERE / name).read_text(encoding="utf-8")
    root = ET.fromstring(text)
    named = {element.get("id"): element.text for element in root if element.get("id")}
    assert root.get("role") == "img"
    assert root.get("aria-labelledby").split() == list(named) == ["title", "desc"]
    assert all(len(words) > 20 for words in named.values())
    assert "prefers-color-scheme: dark" in text


def test_the_command_of_the_page_prints_a_table_with_other_assumptions():
    done = subprocess.run(
        [sys.executable, "-m", "scaling", "--mainnet-gas-gwei", "20", "--only", "price-of-an-anchor"],
        cwd=ROOT / "docs",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert f"| mainnet | {figure(20 * MAINNET.anchor_usd)} |" in done.stdout


def test_help_names_every_assumption():
    told = script.parser().format_help()
    assert all(f"--{name.replace('_', '-')}" in told for name in Assumptions.__dataclass_fields__)


def test_what_the_page_says_in_short_is_what_its_tables_say():
    assert MAINNET.anchor_usd / L2.anchor_usd == pytest.approx(100, rel=0.1)
    assert 60 < shortest_interval_s(1_000, L2) < 300
    assert shortest_interval_s(10_000, QBFT) < 60
    assert all(fleet_share(Load(10_000, 1.0, 10.0), chain) > 1 for chain in (MAINNET, L2, QBFT))
    whole = lifetime(BASE, GAS)
    assert whole.anchors > 100 * (whole.joining + whole.devices + whole.suspensions)
    paper = Load(1_000, 5.0, BASE.interval_s)
    assert all(chain.anchors_s < 5_000 and fleet_share(paper, chain) < chain.share for chain in (MAINNET, L2, QBFT))
    assert 50 < 1.125**60 / 20 < 100, "an hour of replacements multiplies an offer by a thousand"


def test_gas_comes_from_the_snapshot(tmp_path):
    table = json.loads((ROOT / "tests/contracts/gas.json").read_text())
    path = tmp_path / "gas.json"
    path.write_text(json.dumps({**table, "anchor": 12_345}))
    assert read_gas(path).anchor == 12_345
    assert GAS.anchor == table["anchor"]


def test_a_signed_anchor_is_no_larger_than_is_charged_for():
    account = pytest.importorskip("eth_account").Account
    greatest = {
        "type": 2,
        "chainId": 2**53 - 1,
        "nonce": 2**40,
        "maxFeePerGas": 10**13,
        "maxPriorityFeePerGas": 10**13,
        "gas": 10_000_000,
        "to": bytes([0xFF] * 20),
        "value": 0,
        "data": bytes([0xFF] * 100),
    }
    sizes = {len(account.sign_transaction(greatest, bytes([key]) * 32).raw_transaction) for key in range(1, 30)}
    assert 200 < max(sizes) <= SIGNED_ANCHOR_BYTES


def test_the_data_fee_is_the_formula_of_the_op_stack():
    # estimatedSize * (16 * baseFeeScalar * l1BaseFee + blobFeeScalar * l1BlobBaseFee), size and scalars times 1e6
    compressed = SIGNED_ANCHOR_BYTES + SIGNED_ANCHOR_BYTES // 255 + 16
    size_scaled = max(100_000_000, -42_585_600 + 836_500 * compressed)
    fee_scaled = 5_000 * 10**9 * 16 + 1_000_000 * (10**9 // 16)
    assert l1_fee_gwei(BASE, l1_bytes()) * 1e9 == pytest.approx(size_scaled * fee_scaled // 10**12, rel=1e-6)
    assert l1_bytes(10) == 100


@given(rates, intervals, st.floats(1.01, 1000))
def test_gas_a_message_falls_with_rate_and_with_interval(rate, interval, more):
    gas = gas_a_message(GAS, rate, interval)
    assert gas_a_message(GAS, rate * more, interval) < gas
    assert gas_a_message(GAS, rate, interval * more) < gas
    assert 0 < gas < GAS.anchor


@given(rates, intervals, st.integers(1, 10**6))
def test_sealing_by_entries_only_ever_shortens_the_cycle(rate, interval, entries):
    by_age = wanted_cycle_s(Load(1, rate, interval))
    assert wanted_cycle_s(Load(1, rate, interval, entries)) == min(by_age, entries / rate)


@given(fleets, rates, intervals, any_chain)
def test_a_fleet_never_anchors_more_than_the_chain_has_room_for(gateways, rate, interval, chain):
    load = Load(gateways, rate, interval)
    cycle = cycle_s(load, chain)
    assert gateways / cycle <= chain.anchors_s * (1 + 1e-9)
    assert cycle >= chain.block_s
    if fleet_share(load, chain) <= 1 and interval >= chain.block_s:
        assert cycle == pytest.approx(wanted_cycle_s(load))


@given(fleets, any_chain)
def test_the_shortest_interval_keeps_the_fleet_within_its_share(gateways, chain):
    shortest = shortest_interval_s(gateways, chain)
    assert fleet_share(Load(gateways, 1e9, shortest), chain) <= chain.share * (1 + 1e-6)
    assert shortest_interval_s(gateways + 1, chain) >= shortest


@given(fleets, rates, intervals, st.floats(0.1, 100))
def test_cost_is_in_proportion_to_fleet_and_price(gateways, rate, interval, dearer):
    load = Load(gateways, rate, interval)
    cost = usd_a_year(load, MAINNET)
    assert usd_a_year(load._replace(gateways=2 * gateways), MAINNET) == pytest.approx(2 * cost)
    pricey = chains(replace(BASE, mainnet_gas_gwei=dearer), GAS)[0]
    assert usd_a_year(load, pricey) == pytest.approx(dearer * cost)
    assert usd_a_year(load, QBFT) == 0


@given(rates, intervals, any_chain)
def test_custody_takes_longer_at_worst_than_on_average_and_longer_to_be_final(rate, interval, chain):
    seen = custody(Load(1, rate, interval), chain)
    assert seen.mined_mean <= seen.mined_worst <= seen.final_worst
    assert seen.mined_mean <= seen.final_mean <= seen.final_worst
    assert seen.mined_worst >= interval


def test_the_parts_of_a_lifetime_are_what_gas_json_says():
    whole = lifetime(replace(BASE, years=1.0, devices=100.0, suspended_share=0.5), GAS)
    assert whole.devices == 100 * GAS.device
    assert whole.suspensions == 50 * GAS.suspend
    assert whole.joining == GAS.miner + GAS.open
    assert whole.messages == 365 * 86_400


@settings(max_examples=15, derandomize=True)  # a statistical bound: the same draws each time
@given(
    chain=any_chain,
    gateways=st.integers(50, 400),
    interval=st.floats(20, 900),
    rate=st.floats(0.05, 50),
    seed=st.integers(0, 2**32),
)
def test_the_simulation_sees_the_closed_form(chain, gateways, interval, rate, seed):
    load = Load(gateways, rate, interval)
    seen = simulate(world(load, chain, 30 * interval)._replace(seed=seed))
    told = cycle_s(load, chain)
    six_sigma = 6 / (rate * seen.anchors**0.5)
    assert seen.cycle_s == pytest.approx(told, abs=0.02 * told + six_sigma)
    assert 0.1 * chain.block_s < seen.delay_p50_s < 0.9 * chain.block_s
    assert seen.delay_p50_s <= seen.delay_p99_s <= chain.block_s


@settings(max_examples=6, derandomize=True)
@given(gateways=st.integers(1_000, 4_000), seed=st.integers(0, 2**32))
def test_in_overload_the_cycle_is_the_fleet_over_the_room(gateways, seed):
    load = Load(gateways, 1.0, 2.0)
    tight = World(load, 2.0, 200, 400.0, Weather(wobble=0.0), seed=seed)
    assert simulate(tight).cycle_s == pytest.approx(gateways / 100, rel=0.03)


@settings(max_examples=6, derandomize=True)
@given(entries=st.integers(1, 500), seed=st.integers(0, 2**32))
def test_sealing_by_entries_is_seen_as_well(entries, seed):
    load = Load(50, 10.0, 500.0, entries)
    seen = simulate(World(load, 0.01, 1_000, 100 * entries / 10.0 + 20, seed=seed))
    assert seen.cycle_s == pytest.approx(max(entries / 10.0, 0.01), rel=0.06, abs=0.02)


@settings(max_examples=15, derandomize=True)  # a statistical bound: the same draws each time
@given(chain=any_chain, down=st.floats(300, 7_200), gateways=st.integers(20, 1_500), seed=st.integers(0, 2**32))
def test_one_anchor_covers_an_outage(chain, down, gateways, seed):
    load = Load(gateways, 1.0, 120.0)
    weather = Weather(outage_at_s=600.5, outage_s=down)
    seen = simulate(world(load, chain, 600 + down + 600, weather)._replace(seed=seed))
    room = int(chain.anchors_s * chain.block_s + 1e-9)
    assert seen.needed == 1
    assert seen.longest_gap_s >= down
    assert seen.caught_up_s <= (-(-gateways // room) + 1) * chain.block_s


def test_a_price_that_climbs_is_met_by_headroom_and_else_by_replacement():
    load = Load(300, 1.0, 600.0)
    weather = Weather(spike_at_s=3_600.0, spike_s=1_200.0, spike=8.0)
    easy, tight = (simulate(world(load, MAINNET, 7_200.0, weather, headroom)) for headroom in (2.0, 1.0))
    assert easy.replaced == 0
    assert easy.delay_p99_s <= MAINNET.block_s
    assert tight.replaced > 0
    assert tight.delay_p99_s > easy.delay_p99_s


def test_an_offer_stops_at_its_cap_and_is_mined_when_the_price_comes_back():
    weather = Weather(spike_at_s=600.0, spike_s=1_200.0, spike=50.0, wobble=0.0)
    capped = World(Load(20, 1.0, 60.0), 12.0, 100, 3_600.0, weather, cap=4.0)
    seen = simulate(capped)
    assert seen.paid <= 4.0
    assert seen.longest_gap_s > 1_000


def test_the_same_seed_gives_the_same_run():
    run = World(Load(50, 1.0, 60.0), 12.0, 100, 1_800.0)
    assert simulate(run) == simulate(run)
    assert simulate(run) != simulate(run._replace(seed=4))


def test_a_run_in_which_nothing_is_mined_says_so():
    with pytest.raises(ValueError, match="too short"):
        simulate(World(Load(1, 1.0, 600.0), 12.0, 100, 24.0))


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (45_025, "45,000"), (0.5208, "0.521"), (0.0000446, "0.0000446"), (9.999, "10"), (1_640, "1,640")],
)
def test_a_figure_has_three_digits_and_no_exponent(value, said):
    assert figure(value) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(10, "10 s"), (60, "1 min"), (62, "62 s"), (600, "10 min"), (3_600, "1 h"), (3_602, "60 min"), (86_400, "1 d")],
)
def test_a_time_is_said_as_people_say_it(seconds, said):
    assert span(seconds) == said
