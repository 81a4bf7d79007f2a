"""A chain that is away: intake goes on, nothing is lost, and one anchor covers the gap when it is back."""

from __future__ import annotations

import json

import pytest
from benchmarks.custody import ENDED, Plan, outage
from support.door import Way

from gateway.message import PushbackReason

RATE = 300.0

pytestmark = [pytest.mark.slow, pytest.mark.broker, pytest.mark.timeout(300)]


def hold(seen: dict) -> None:
    """What is true of every outage that is shorter than ``registry.max_age_s``."""
    line = json.dumps(seen)
    assert seen["looks_ready"] == seen["looks"], f"it was not ready all the time: {line}"
    assert seen["looks_with_a_warning"] >= seen["looks"] // 2, (
        f"the status does not say that the chain is away: {line}"
    )
    assert seen["chain_down_lines"] == 1, f"one outage is one line: {line}"
    assert seen["registry_at_return"] == "following", line
    assert seen["logged_while_away"] >= 0.9 * RATE * seen["away_s"], f"intake faltered: {line}"
    assert seen["without_receipt_at_return"] < RATE, line
    assert seen["anchors_until_the_gap_was_covered"] == 1, line
    print(line)


@pytest.mark.parametrize("how", [ENDED, Way.SILENT.value])
async def test_a_chain_that_is_away_costs_no_message_and_one_anchor(tmp_path, how):
    hold(await outage(tmp_path, Plan(20.0, RATE, how, devices=30, interval_s=3.0)))


async def test_a_transaction_that_the_node_forgot_when_it_ended_is_replaced_by_one_that_covers_the_gap(tmp_path):
    hold(await outage(tmp_path, Plan(12.0, RATE, ENDED, devices=30, interval_s=3.0, in_flight=True)))


async def test_a_chain_that_is_away_too_long_holds_everything_back_and_loses_nothing(tmp_path):
    seen = await outage(tmp_path, Plan(25.0, RATE, Way.SHUT.value, devices=30, interval_s=3.0, max_age_s=10))
    line = json.dumps(seen)
    print(line)
    assert 0 < seen["looks_ready"] < seen["looks"], line
    assert seen["registry_at_return"] == "stale", line
    assert seen["held_back"][-1] == PushbackReason.REGISTRY_STALE, line
    assert seen["logged_while_away"] < 0.6 * RATE * seen["away_s"], f"it took messages on a stale registry: {line}"
    assert seen["without_receipt_at_return"] > 5 * RATE, line
    assert seen["anchors_until_the_gap_was_covered"] == 1, line
