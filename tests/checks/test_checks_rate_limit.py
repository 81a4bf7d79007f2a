"""Token buckets against a bucket that counts tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.checks.rate_limit import TokenBuckets, verify_rate
from gateway.message import RejectReason


def test_a_burst_passes_and_the_next_message_waits_for_its_token():
    buckets = TokenBuckets(rate_per_s=2, burst=5, capacity=10)
    assert [buckets.take("d", 0.0) for _ in range(5)] == [0.0] * 5
    assert buckets.take("d", 0.0) == pytest.approx(0.5, abs=0.01)
    assert buckets.take("d", 0.5) == 0.0


def test_looking_takes_nothing():
    buckets = TokenBuckets(rate_per_s=1, burst=1, capacity=10)
    assert [buckets.wait_s("d", 0.0) for _ in range(3)] == [0.0] * 3
    assert buckets.take("d", 0.0) == 0.0
    assert buckets.wait_s("d", 0.0) == pytest.approx(1.0, abs=0.01)


def test_a_refused_message_costs_no_token():
    buckets = TokenBuckets(rate_per_s=1, burst=1, capacity=10)
    buckets.take("d", 0.0)
    for _ in range(100):
        assert buckets.take("d", 0.5) > 0
    assert buckets.take("d", 1.0) == 0.0


def test_a_million_keys_cost_no_more_than_the_capacity():
    buckets = TokenBuckets(rate_per_s=0.001, burst=1, capacity=1000)
    for key in range(1_000_000):
        buckets.take(str(key), 0.0)
    assert len(buckets) <= 1000


def test_after_an_outage_a_backlog_of_the_usual_rate_passes():
    buckets = TokenBuckets(rate_per_s=1, burst=5, capacity=10)
    buckets.take("d", 0.0)
    buckets.credit(gap_s=3600, now_s=3600.0)
    assert sum(buckets.take("d", 3601.0) == 0.0 for _ in range(10_000)) in range(3604, 3607)
    assert sum(buckets.take("another", 3601.0) == 0.0 for _ in range(10_000)) in range(3604, 3607)


def test_a_credit_ends_and_leaves_neither_a_debt_nor_a_hoard():
    buckets = TokenBuckets(rate_per_s=1, burst=5, capacity=10)
    buckets.credit(gap_s=600, now_s=0.0)
    for _ in range(605):
        buckets.take("spent", 1.0)
    assert buckets.take("spent", 2.1) == 0.0
    assert sum(buckets.take("saved", 601.0) == 0.0 for _ in range(100)) == 5


def test_a_link_that_flaps_while_the_backlog_drains_takes_no_credit_away():
    buckets = TokenBuckets(rate_per_s=1, burst=5, capacity=10)
    buckets.credit(gap_s=3600, now_s=3600.0)
    buckets.credit(gap_s=1, now_s=3610.0)
    assert sum(buckets.take("d", 3611.0) == 0.0 for _ in range(10_000)) in range(3604, 3607)
    buckets.credit(gap_s=1, now_s=9000.0)
    assert sum(buckets.take("later", 9000.5) == 0.0 for _ in range(100)) == 6


def test_full_buckets_are_forgotten_before_empty_ones():
    buckets = TokenBuckets(rate_per_s=1, burst=2, capacity=2)
    buckets.take("long ago", 0.0)
    buckets.take("empty", 9.5)
    buckets.take("empty", 9.5)
    buckets.take("new", 10.0)
    assert buckets.wait_s("empty", 10.0) > 0


@pytest.mark.parametrize("arguments", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (-1, 1, 1)])
def test_a_bucket_without_rate_burst_or_room_is_refused(arguments):
    with pytest.raises(ValueError, match="positive"):
        TokenBuckets(*arguments)


def test_a_full_table_is_not_gone_through_for_each_key_that_comes():
    buckets = TokenBuckets(rate_per_s=1, burst=8, capacity=64)
    for number in range(64):
        buckets.take(f"d{number}", number / 64)
    buckets.take("new", 1.0)  # when one bucket of the 64 is full again
    assert len(buckets) == 61
    assert buckets.take("d63", 1.0) == 0.0


@given(
    steps=st.lists(st.integers(0, 64), min_size=1, max_size=200),
    burst=st.integers(1, 16),
    interval=st.sampled_from([1, 4, 16]),
)
def test_it_decides_as_a_counted_bucket_does(steps, burst, interval):
    # Times are whole and the rate a power of two, so that both sides are exact.
    buckets = TokenBuckets(rate_per_s=1 / interval, burst=burst, capacity=4)
    now = 0
    credit = burst * interval
    for step in steps:
        now += step
        credit = min(burst * interval, credit + step)
        passes = credit >= interval
        assert (buckets.take("d", float(now)) == 0.0) is passes
        if passes:
            credit -= interval


def test_the_refusal_says_when_to_come_back():
    assert verify_rate(0.0) is None
    rejected = verify_rate(1.2)
    assert rejected.reason is RejectReason.RATE_LIMITED
    assert "2 s" in rejected.detail


def test_other_limits_hold_at_once_and_everybody_starts_with_a_full_bucket():
    buckets = TokenBuckets(rate_per_s=1, burst=2, capacity=10)
    assert [buckets.take("d", 0.0) for _ in range(3)] == [0.0, 0.0, pytest.approx(1.0, abs=0.01)]
    buckets.retune(10, 5, 1)
    assert [buckets.take("d", 0.0) for _ in range(5)] == [0.0] * 5
    assert buckets.take("d", 0.0) == pytest.approx(0.1, abs=0.01)
    assert buckets.take("e", 0.0) == 0.0
    assert len(buckets) == 1


@pytest.mark.parametrize("limits", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_limits_that_are_none_change_nothing(limits):
    buckets = TokenBuckets(rate_per_s=1, burst=1, capacity=10)
    assert buckets.take("d", 0.0) == 0.0
    with pytest.raises(ValueError, match="positive"):
        buckets.retune(*limits)
    assert buckets.take("d", 0.0) > 0
