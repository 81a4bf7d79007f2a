"""The pure rooms: states, batches, fees, words. The page docs/spec/anchoring.md shows the same tables."""

import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.anchor import batch, fees
from gateway.anchor.holds import HINTS, Hold, HoldReason
from gateway.anchor.lifecycle import BIRTHS, ENDS, IN_BLOCK, TABLE, WAITING, Event, IllegalMove, State, moved
from gateway.anchor.nonces import (
    Fate,
    Included,
    Place,
    Sight,
    fate,
    in_flight,
    moves,
    replacement_due,
)
from gateway.anchor.report import words
from gateway.chain.port import FeeQuote
from gateway.config.model import AnchorConfig

PAGE = (Path(__file__).parents[2] / "docs" / "spec" / "anchoring.md").read_text()
CONFIG = AnchorConfig()
GWEI = fees.GWEI


def rows_of(heading):
    """The rows of the table below a heading of the page."""
    part = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


# --- states ---


def test_the_page_has_the_table_of_the_code():
    shown = {}
    for cells in rows_of("Transitions"):
        event, to = cells[0].strip("`"), cells[2].strip("`")
        for state in re.findall(r"`([a-z]+)`", cells[1]):
            shown[State(state), Event(event)] = State(to)
    assert shown == dict(TABLE)


def test_the_page_names_every_state_and_whether_it_is_an_end():
    shown = {cells[0].strip("`"): cells[1] for cells in rows_of("States")}
    assert shown == {state.value: "end" if state in ENDS else "open" for state in State}


def test_the_page_names_every_hold():
    assert [cells[0].strip("`") for cells in rows_of("Holds")] == [reason.value for reason in HoldReason]
    assert set(HINTS) == set(HoldReason)


def test_an_end_is_an_end_and_every_other_state_has_a_way_there():
    assert not [state for state, _ in TABLE if state in ENDS]
    for start in State:
        reached = {start}
        while more := {to for (state, _), to in TABLE.items() if state in reached} - reached:
            reached |= more
        assert reached & ENDS
    born = set(BIRTHS)
    while more := {to for (state, _), to in TABLE.items() if state in born} - born:
        born |= more
    assert born == set(State)


@given(st.sampled_from(State), st.sampled_from(Event))
def test_a_move_that_is_not_in_the_table_is_refused(state, event):
    if (state, event) in TABLE:
        assert moved(state, event) is TABLE[state, event]
    else:
        with pytest.raises(IllegalMove, match=f"{state} has no {event}"):
            moved(state, event)


# --- nonces ---


class Row(NamedTuple):
    id: int
    state: str
    block_number: int | None = None
    block_hash: bytes | None = None


ROWS = st.lists(
    st.sampled_from(sorted(WAITING | IN_BLOCK)).map(lambda state: Row(0, state, 7, b"h")), min_size=1, max_size=4
).map(lambda rows: [row._replace(id=number) for number, row in enumerate(rows)])


@given(ROWS, st.booleans(), st.booleans(), st.booleans(), st.integers(0, 3), st.integers(5, 9), st.data())
def test_whatever_an_endpoint_says_the_moves_are_legal_and_a_block_is_believed(
    rows, used, known, anchored, winner, final, data
):
    included = None
    if used and data.draw(st.booleans()):
        included = Included(winner % len(rows), Place(data.draw(st.integers(6, 8)), b"h"), anchored)
    sight = Sight(used, included, known, Place(9, b"n"), final, displaced_stands=data.draw(st.booleans()))
    states = {row.id: State(row.state) for row in rows}
    for move in moves(rows, sight):
        states[move.id] = moved(states[move.id], move.event)
    found = fate(sight)
    if found is Fate.WAITING:
        assert not set(states.values()) & IN_BLOCK
        assert in_flight([Row(number, state) for number, state in states.items()])
    if found is Fate.INCLUDED:
        is_final = included.place.number <= final
        wanted = {(True, True): State.FINAL, (True, False): State.MINED}.get((anchored, is_final))
        assert states[included.id] is (wanted or (State.FAILED if is_final else State.REVERTED))
        others = {state for number, state in states.items() if number != included.id}
        assert others <= ({State.SUPERSEDED} if is_final else WAITING)
    if found is Fate.DISPLACED:
        assert set(states.values()) <= {State.DISPLACED, State.ABANDONED}


@given(ROWS, st.integers(0, 20))
def test_nothing_is_final_before_its_block_is(rows, final):
    sight = Sight(True, Included(0, Place(10, b"h"), anchored=True), False, Place(12, b"n"), final)
    ended = [move for move in moves(rows, sight) if move.event in {Event.FINALISE, Event.SUPERSEDE}]
    assert bool(ended) == (final >= 10)


def test_replacing_waits_for_time_and_for_a_block_that_passed_it_over():
    assert not replacement_due(5_999, 1_000, 5.0, passed_over=True)
    assert replacement_due(6_000, 1_000, 5.0, passed_over=True)
    assert not replacement_due(60_000, 1_000, 5.0, passed_over=False)
    assert replacement_due(0, 1_000, 5.0, passed_over=True)  # the clock was set back


# --- batches ---


def standing(newest, covered=0, last_ms=None, **more):
    return batch.Standing(newest, covered, last_ms, **more)


@pytest.mark.parametrize(
    ("given_standing", "now_ms", "decision"),
    [
        (standing(0), 0, batch.Wait(None)),
        (standing(5, 5, 0), 10**9, batch.Wait(None)),
        (standing(1), 0, batch.Seal("first")),
        (standing(9, 5, 1_000), 600_999, batch.Wait(601_000)),
        (standing(9, 5, 1_000), 601_000, batch.Seal("interval")),
        (standing(9, 5, 1_000, asked=True), 1_001, batch.Seal("asked")),
        (standing(5, 5, 1_000, asked=True), 1_001, batch.Wait(None)),
        (standing(9, 5, 1_000, owed=True), 10_999, batch.Wait(11_000)),
        (standing(9, 5, 1_000, owed=True), 11_000, batch.Seal("again")),
        (standing(9, 5, 50_000), 1_000, batch.Seal("clock")),
    ],
)
def test_when_a_checkpoint_is_sealed(given_standing, now_ms, decision):
    assert batch.decide(CONFIG, given_standing, now_ms) == decision


def test_enough_entries_do_not_wait_for_the_interval_but_for_the_least_of_it():
    config = replace(CONFIG, entries=100)
    assert batch.decide(config, standing(99, 0, 1_000), 12_000) == batch.Wait(601_000)
    assert batch.decide(config, standing(100, 0, 1_000), 10_999) == batch.Wait(11_000)
    assert batch.decide(config, standing(100, 0, 1_000), 11_000) == batch.Seal("entries")


@given(
    *(st.integers(0, 10**6) for _ in range(2)),
    st.none() | st.integers(0, 10**6),
    st.booleans(),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_waiting_until_the_time_that_was_named_is_always_enough(newest, covered, last_ms, owed, asked, now_ms):
    asking = batch.Standing(newest, covered, last_ms, owed, asked)
    decision = batch.decide(CONFIG, asking, now_ms)
    if isinstance(decision, batch.Wait) and decision.until_ms is not None:
        assert decision.until_ms > now_ms
        assert isinstance(batch.decide(CONFIG, asking, decision.until_ms), batch.Seal)
        assert isinstance(batch.decide(CONFIG, asking, decision.until_ms - 1), batch.Wait)
    assert (newest <= covered) == (decision == batch.Wait(None))


# --- fees ---

WEI = st.integers(0, 400 * GWEI)
QUOTES = st.builds(FeeQuote, st.none() | WEI, WEI, WEI)
CONFIGS = st.builds(
    AnchorConfig,
    max_fee_gwei=st.floats(0.001, 300),
    priority_fee_gwei=st.floats(0, 10),
    legacy_gas=st.sampled_from(("auto", "always")),
)


@given(CONFIGS, QUOTES)
def test_a_first_bid_pays_what_the_chain_asks_and_no_more_than_is_allowed(config, quote):
    bid = fees.first_bid(config, quote)
    cap = fees.cap_of(config)
    if isinstance(bid, fees.Capped):
        assert bid.asked > bid.cap == cap
        return
    assert bid.max_fee <= cap
    legacy = quote.base_fee_wei is None or config.legacy_gas == "always"
    assert (bid.tip is None) == legacy
    if bid.tip is None:
        assert bid.max_fee >= quote.gas_price_wei
    else:
        assert bid.tip <= min(bid.max_fee, quote.priority_fee_wei, round(config.priority_fee_gwei * GWEI))
        assert bid.max_fee >= quote.base_fee_wei + bid.tip


@given(CONFIGS, QUOTES, QUOTES)
def test_a_replacement_bids_an_eighth_more_on_both_fees_and_stays_under_the_cap(config, quote, later):
    before = fees.first_bid(config, quote)
    if isinstance(before, fees.Capped):
        return
    after = fees.replacement(config, before, later)
    if isinstance(after, fees.Capped):
        assert after.asked > after.cap
        return
    assert after.max_fee <= fees.cap_of(config)
    assert after.max_fee * 8 >= before.max_fee * 9
    assert after.max_fee > before.max_fee
    assert (after.tip is None) == (before.tip is None)
    if after.tip is not None:
        assert after.tip * 8 >= before.tip * 9
        assert before.tip < after.tip <= after.max_fee
        assert after.max_fee >= (later.base_fee_wei or 0) + after.tip
    else:
        assert after.max_fee >= later.gas_price_wei


def test_examples_of_fees():
    quote = FeeQuote(30 * GWEI, 1 * GWEI, 31 * GWEI)
    assert fees.first_bid(CONFIG, quote) == fees.Bid(61 * GWEI, 1 * GWEI)
    assert fees.first_bid(CONFIG, quote._replace(base_fee_wei=60 * GWEI)) == fees.Bid(100 * GWEI, GWEI)
    assert fees.first_bid(CONFIG, quote._replace(base_fee_wei=100 * GWEI)) == fees.Capped(101 * GWEI, 100 * GWEI)
    assert fees.first_bid(CONFIG, quote._replace(base_fee_wei=None)) == fees.Bid(31 * GWEI, None)
    assert isinstance(fees.first_bid(replace(CONFIG, max_fee_gwei=1e12), FeeQuote(2**63, 0, 0)), fees.Capped)
    assert fees.replacement(CONFIG, fees.Bid(8, 0), FeeQuote(0, 0, 0)) == fees.Bid(9, 1)
    assert fees.replacement(CONFIG, fees.Bid(9, None), FeeQuote(None, 0, 0)) == fees.Bid(11, None)
    assert fees.replacement(CONFIG, fees.Bid(99 * GWEI, 0), quote) == fees.Capped(111_375_000_000, 100 * GWEI)


# --- words ---


class Newest(NamedTuple):
    size: int
    state: str
    nonce: int | None
    block_number: int | None


@given(
    st.none()
    | st.builds(Newest, st.integers(1, 99), st.sampled_from(sorted(set(State) - ENDS)), st.just(3), st.just(9)),
    st.integers(0, 9),
    st.integers(0, 9),
    st.none() | st.sampled_from(HoldReason).map(lambda reason: Hold(reason, "the detail", 5)),
    st.none() | st.integers(0, 99),
)
def test_words_say_what_is_and_never_pending_alone(newest, final_size, unanchored, hold, next_in_s):
    said = words(newest, final_size=final_size, unanchored=unanchored, hold=hold, next_in_s=next_in_s)
    assert "pending" not in said
    assert said.isprintable()
    if hold is not None:
        assert said.startswith(f"held, {hold.reason}: the detail; ")
    elif next_in_s is not None:
        assert f"in {next_in_s} s" in said
    elif newest is not None:
        assert f"size {newest.size}" in said or f"nonce {newest.nonce}" in said
