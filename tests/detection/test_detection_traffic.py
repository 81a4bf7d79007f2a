"""Traffic statistics against a plain list of the last 32 values."""

import itertools
import math
import statistics as plain
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.detection.traffic import LEAST, WINDOW, DeviceTraffic, Statistic, TrafficTable

MESSAGE = st.tuples(st.integers(-100_000, 10**13), st.integers(0, 2**53), st.integers(0, 65_536))
EVENTS = st.lists(st.none() | MESSAGE, max_size=100)


def reference(events):
    """The same statistics from lists, by the standard library."""
    accepted = [event for event in events if event is not None]
    outcomes = [event is None for event in events][-WINDOW:]
    sizes = [size for _, _, size in accepted][-WINDOW:]

    def gaps(index):
        times = [event[index] for event in accepted]
        clipped = [min(max(0, b - a), 2**32 - 1) for a, b in itertools.pairwise(times)]
        return clipped[-WINDOW:]

    found = dict.fromkeys(Statistic)
    if len(outcomes) >= LEAST:
        found["refused_ratio"] = sum(outcomes) / len(outcomes)
    if accepted:
        found["messages"] = len(accepted)
        found["lag_s"] = (accepted[-1][0] - accepted[-1][1]) / 1000
        found["bytes"] = sizes[-1]
    for name, values, unit, square in (
        ("bytes{}", sizes, 1, ""),
        ("gap{}_s", gaps(0), 1000, "2"),
        ("issue_gap{}_s", gaps(1), 1000, "2"),
    ):
        if values and unit == 1000:
            found[name.format("")] = values[-1] / unit
        if len(values) >= LEAST:
            found[name.format("_mean")] = plain.mean(values) / unit
            found[name.format("_variance") + square] = plain.pvariance(values) / unit**2
            found[name.format("_median")] = plain.median(values) / unit
    return found


@given(EVENTS)
def test_every_statistic_is_that_of_a_plain_list(events):
    device = DeviceTraffic()
    for event in events:
        if event is None:
            device.refused()
        else:
            device.accepted(*event)
    for name, expected in reference(events).items():
        found = device.value(Statistic(name))
        if expected is None:
            assert found is None, name
        else:
            assert found == pytest.approx(float(expected), rel=1e-12, abs=1e-12), name
            assert math.isfinite(found)


def test_the_names_are_those_of_the_page():
    assert [name.value for name in Statistic] == [
        "messages", "refused_ratio", "lag_s",
        "bytes", "bytes_mean", "bytes_variance", "bytes_median",
        "gap_s", "gap_mean_s", "gap_variance_s2", "gap_median_s",
        "issue_gap_s", "issue_gap_mean_s", "issue_gap_variance_s2", "issue_gap_median_s",
    ]  # fmt: skip


def test_a_change_is_all_there_is_after_32_messages():
    device = DeviceTraffic()
    for n in range(1000):
        device.accepted(60_000 * n, 60_000 * n, 100)
    for n in range(32):
        device.accepted(60_000_000 + 10 * n, 60_000_000 + 10 * n, 900)
    assert device.value(Statistic.BYTES_MEAN) == 900
    assert device.value(Statistic.BYTES_VARIANCE) == 0
    assert device.value(Statistic.GAP_MEDIAN_S) == 0.01


def test_after_an_outage_the_signed_times_stay_as_they_were():
    device = DeviceTraffic()
    for n in range(40):
        device.accepted(10_000_000 + n, 60_000 * n, 100)
    assert device.value(Statistic.GAP_MEAN_S) == 0.001
    assert device.value(Statistic.ISSUE_GAP_MEAN_S) == 60
    assert device.value(Statistic.LAG_S) > 7000


def test_a_device_takes_the_same_memory_however_much_it_sends():
    def size(device):
        return sum(sys.getsizeof(getattr(device, slot)) for slot in DeviceTraffic.__slots__)

    device = DeviceTraffic()
    for n in range(100):
        device.accepted(10**12 + n, 10**12 + n, n)
    early = size(device)
    for n in range(100, 20_000):
        device.accepted(10**12 + n, 10**12 + n, n)
    assert size(device) <= early + 8 < 1000


def test_the_table_forgets_who_was_silent_longest():
    table = TrafficTable(2)
    table.use("a").accepted(0, 0, 1)
    table.use("b").accepted(0, 0, 1)
    table.use("a").accepted(1, 1, 1)
    table.use("c").accepted(1, 1, 1)
    assert (len(table), table.forgotten) == (2, 1)
    assert table.use("a").messages == 2
    assert table.use("b").messages == 0


@given(st.lists(st.sampled_from("abcdef"), max_size=60), st.integers(1, 5))
def test_the_table_is_a_least_recently_used_one(uses, bound):
    table, order = TrafficTable(bound), []
    for name in uses:
        known = name in order[-bound:]
        assert (table.use(name).messages > 0) == known
        table.use(name).accepted(0, 0, 0)
        order = [other for other in order if other != name] + [name]
        order = order[-bound:]
    assert len(table) == len(order)
