"""The Echo value and the estimate that decides when it is asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.transport.coap_echo import ECHO_BYTES, FRESH_MS, PeerLoad, is_fresh_echo, make_echo

KEY = b"k" * 32


@given(st.binary(min_size=1, max_size=32), st.text(max_size=40), st.integers(0, 2**47), st.integers(0, FRESH_MS))
def test_an_echo_holds_for_its_peer_for_a_minute(key, peer, now_ms, age_ms):
    echo = make_echo(key, peer, now_ms)
    assert len(echo) == ECHO_BYTES <= 40
    assert is_fresh_echo(key, peer, now_ms + age_ms, echo)


@pytest.mark.parametrize("age_ms", [FRESH_MS + 1, 10 * FRESH_MS, -1])
def test_an_echo_that_is_old_or_from_the_future_does_not_hold(age_ms):
    assert not is_fresh_echo(KEY, "::1", 100_000 + age_ms, make_echo(KEY, "::1", 100_000))


def test_an_echo_holds_for_no_other_peer_and_no_other_key():
    echo = make_echo(KEY, "::1", 1000)
    assert not is_fresh_echo(KEY, "::2", 1000, echo)
    assert not is_fresh_echo(b"K" * 32, "::1", 1000, echo)


@given(st.integers(0, ECHO_BYTES - 1), st.integers(1, 255))
def test_an_altered_echo_does_not_hold(at, change):
    echo = bytearray(make_echo(KEY, "::1", 1000))
    echo[at] ^= change
    assert not is_fresh_echo(KEY, "::1", 1000, bytes(echo))


@given(st.binary(max_size=40))
def test_made_up_bytes_do_not_hold(echo):
    assert not is_fresh_echo(KEY, "::1", 1000, echo)


def test_half_a_budget_is_the_border():
    load = PeerLoad(rate_per_s=1.0, burst=10, most_peers=8)
    for _ in range(5):
        assert not load.is_over_half("p", 0.0)
        load.charge("p", 0.0)
    assert not load.is_over_half("p", 0.0)
    load.charge("p", 0.0)
    assert load.is_over_half("p", 0.0)
    assert not load.is_over_half("other", 0.0)
    assert not load.is_over_half("p", 1.0)


def test_the_estimate_is_the_bucket_it_estimates():
    load = PeerLoad(rate_per_s=2.0, burst=4, most_peers=8)
    for _ in range(100):
        load.charge("p", 0.0)
    assert load.is_over_half("p", 0.99)
    assert not load.is_over_half("p", 1.0)
    load.charge("p", 1000.0)
    assert not load.is_over_half("p", 1000.0)


def test_a_million_forged_peers_cost_a_bounded_table():
    load = PeerLoad(rate_per_s=1.0, burst=10, most_peers=100)
    for i in range(10_000):
        load.charge(str(i), 0.0)
    assert len(load) == 100
