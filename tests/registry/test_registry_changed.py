"""A snapshot that changes is another snapshot: the one before stays as it was."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.crypto.keys import PublicKey
from gateway.message import Alg
from gateway.registry.port import Device, Miner, SnapshotBuilder, Status, TooManyTraitsError

KEYS = {Alg.ED25519: PublicKey(Alg.ED25519, b"\x01" * 32), Alg.ES256: PublicKey(Alg.ES256, b"\x04" * 65)}

devices = st.builds(
    Device,
    st.sampled_from([f"dev-{number}" for number in range(6)]),
    st.sampled_from(["plant", "ward"]),
    st.sampled_from(list(KEYS.values())),
    st.sampled_from(Status),
)
miners = st.builds(
    Miner,
    st.sampled_from(["gw-1", "gw-2"]),
    st.just("plant"),
    st.just(KEYS[Alg.ED25519]),
    st.sampled_from(Status),
    st.just("log"),
    st.sampled_from([None, b"\x01" * 20]),
    st.just(b"\x09" * 32),
)


def contents(snapshot):
    return {each.id: each for each in (*snapshot.devices(), *snapshot.miners())}


def built(registrations, as_of_ms=0):
    builder = SnapshotBuilder()
    for registration in registrations:
        builder.add(registration)
    return builder.build(as_of_ms)


@given(st.lists(st.lists(devices | miners, max_size=4), max_size=6))
def test_changes_one_after_another_come_to_what_was_built_at_once_and_leave_the_ones_before_alone(rounds):
    snapshot = built(())
    model = {}
    history = []
    for at, changes in enumerate(rounds):
        snapshot = snapshot.changed(changes, at)
        model |= {change.id: change for change in changes}
        history.append((snapshot, dict(model)))
    for at, (then, held) in enumerate(history):
        assert contents(then) == held
        assert then.as_of_ms == at
        assert then.counts == built(held.values()).counts


def test_no_change_but_the_time_shares_everything():
    before = built([Device("dev-1", "plant", KEYS[Alg.ES256], Status.ACTIVE)], 1)
    after = before.changed((), 2)
    assert (before.as_of_ms, after.as_of_ms) == (1, 2)
    assert after._devices is before._devices


def test_an_id_is_a_device_or_a_miner():
    device = Device("one", "plant", KEYS[Alg.ES256], Status.ACTIVE)
    miner = Miner("one", "plant", KEYS[Alg.ED25519], Status.ACTIVE, "log")
    with pytest.raises(ValueError, match="that of a device"):
        built([device]).changed([miner], 0)
    with pytest.raises(ValueError, match="that of a miner"):
        built([miner]).changed([device], 0)


def test_more_fleets_than_can_be_numbered_leave_the_snapshot_as_it_was():
    full = built(Device(f"d{at}", f"f{at}", KEYS[Alg.ES256], Status.ACTIVE) for at in range(1 << 16))
    with pytest.raises(TooManyTraitsError):
        full.changed([Device("one", "more", KEYS[Alg.ES256], Status.ACTIVE)], 0)
    assert full.device("one") is None
    assert full.counts.devices == 1 << 16


def test_a_few_changes_among_a_hundred_thousand_are_quick():
    big = built(Device(f"urn:dev:mac:{at:016x}", "plant", KEYS[Alg.ED25519], Status.ACTIVE) for at in range(100_000))
    change = [Device(f"urn:dev:mac:{at:016x}", "plant", KEYS[Alg.ED25519], Status.REVOKED) for at in range(5)]
    best = 1.0
    for _ in range(20):
        started = time.perf_counter()
        changed = big.changed(change, 1)
        best = min(best, time.perf_counter() - started)
    assert changed.counts[1:4] == (99_995, 0, 5)
    assert best < 0.005
