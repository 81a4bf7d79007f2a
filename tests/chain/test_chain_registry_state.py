"""The pure parts of the follower: events, words of the head, rows, strides, age."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from registry_world import CHAIN_ID, HPKE_KEY, KEYS, device_registered, miner_registered, status_changed

from gateway.chain.contracts import ChainStatus, Kind
from gateway.chain.events import decode_registry
from gateway.chain.port import Block
from gateway.chain.registry_state import (
    NOBODY,
    Fold,
    Stride,
    head_words,
    overlay,
    registration_of,
    row_of,
)
from gateway.chain.registry_status import Freshness, Moment
from gateway.crypto.keys import PublicKey
from gateway.journal.identities import IdentityRow
from gateway.message import Alg
from gateway.registry.port import Device, Miner, SnapshotBuilder, Status

EMPTY = SnapshotBuilder().build(0)
SMALL_ORDER = bytes([1]) + bytes(31)
P256 = bytes.fromhex(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
A_BLOCK = Block(1, bytes(32), bytes(32), CHAIN_ID, None)
ACTIVE, SUSPENDED, REVOKED = ChainStatus.ACTIVE, ChainStatus.SUSPENDED, ChainStatus.REVOKED


def event(happening):
    return decode_registry(happening.record(A_BLOCK, 0))


def folded(*happenings, base=EMPTY):
    fold = Fold(base)
    for happening in happenings:
        fold.take(event(happening))
    return fold


def test_events_come_to_registrations_in_the_order_of_the_chain():
    fold = folded(
        device_registered("d"),
        device_registered("p", P256, alg=2, fleet="ward"),
        miner_registered("gw", KEYS[1], b"\x05" * 20),
        status_changed("d", SUSPENDED),
        status_changed("gw", SUSPENDED, Kind.MINER),
        miner_registered("gw", KEYS[2], b"\x06" * 20, renewed=True),
    )
    assert fold.changes == {
        "d": Device("d", "plant", PublicKey(Alg.ED25519, KEYS[0]), Status.SUSPENDED),
        "p": Device("p", "ward", PublicKey(Alg.ES256, P256), Status.ACTIVE),
        "gw": Miner(
            "gw",
            "plant",
            PublicKey(Alg.ED25519, KEYS[2]),
            Status.SUSPENDED,
            "securenet/plant/gw",
            b"\x06" * 20,
            HPKE_KEY,
        ),
    }
    assert fold.counts == {"devices": 2, "miners": 1, "suspended": 2, "renewed": 1}
    assert not fold.skipped


GW = miner_registered("gw")


@pytest.mark.parametrize(
    ("before", "happening", "why"),
    [
        ([device_registered("x")], device_registered("x"), "registered already"),
        ([device_registered("x"), status_changed("x", REVOKED)], device_registered("x"), "registered already"),
        ([GW], device_registered("gw"), "registered already"),
        ([device_registered("gw")], GW, "registered already"),
        ([], device_registered("no id!"), "the id is none"),
        ([], device_registered("gateway"), "the id is none"),
        ([], device_registered("x" * 65), "the id is none"),
        ([], device_registered("x", fleet=".."), "the fleet is none"),
        ([], device_registered("x", SMALL_ORDER), "of small order"),
        ([], device_registered("x", KEYS[0][:31]), "32 bytes"),
        ([], device_registered("x", P256[:-1] + b"\0", alg=2), "off the curve"),
        ([], device_registered("x", KEYS[0], alg=2), "65 bytes"),
        ([], miner_registered("gw", SMALL_ORDER), "of small order"),
        ([], miner_registered("gw", hpke_key=bytes(33)), "HPKE"),
        ([], GW._replace(topics=(bytes(32), GW.topics[1])), "the log is not the miner's"),
        ([], miner_registered("gw", renewed=True), "no miner that is known"),
        ([device_registered("gw")], miner_registered("gw", renewed=True), "no miner that is known"),
        ([GW], miner_registered("gw", fleet="ward", renewed=True), "no miner that is known"),
        ([GW, status_changed("gw", REVOKED, Kind.MINER)], miner_registered("gw", renewed=True), "a revoked miner"),
        ([], status_changed("x", SUSPENDED), "not known"),
        ([GW], status_changed("gw", SUSPENDED, Kind.DEVICE), "not known"),
        ([device_registered("x"), status_changed("x", REVOKED)], status_changed("x", ACTIVE), "revoked for ever"),
    ],
)
@pytest.mark.parametrize("in_base", [False, True])
def test_what_the_contract_cannot_say_is_skipped_and_changes_nothing(before, happening, why, in_base):
    base = EMPTY
    if in_base:
        base, before = EMPTY.changed(folded(*before).changes.values(), 0), []
    expected = folded(*before, base=base)
    fold = folded(*before, happening, base=base)
    assert fold.changes == expected.changes
    assert [skip.id for skip in fold.skipped] == [happening.id]
    assert why in fold.skipped[0].why


@pytest.mark.parametrize("bad", [{"key": SMALL_ORDER}, {"hpke_key": b"short"}])
def test_a_renewal_that_cannot_be_read_ends_what_held_before(bad):
    fold = folded(miner_registered("gw", KEYS[1], b"\x05" * 20), miner_registered("gw", **bad, renewed=True))
    assert fold.changes["gw"].account == NOBODY
    assert fold.changes["gw"].hpke_key == b""
    assert len(fold.skipped) == 1


# --- the words of the head ---


def said(name, status, block):
    return (block, event(status_changed(name, status)))


def test_the_head_is_heard_only_against_somebody_and_only_above_the_final_block():
    events = [said("a", SUSPENDED, 5), said("a", ACTIVE, 6), said("b", REVOKED, 7), said("c", SUSPENDED, 9)]
    assert head_words({}, events, final=5, head=9) == {("b", Status.REVOKED): 7, ("c", Status.SUSPENDED): 9}


def test_a_word_stays_while_the_endpoint_has_not_come_to_its_block():
    before = {("a", Status.SUSPENDED): 8, ("b", Status.REVOKED): 9}
    assert head_words(before, [], final=5, head=8) == {("b", Status.REVOKED): 9}
    assert head_words(before, [], final=9, head=8) == {}


def test_the_worst_word_about_an_id_counts_and_never_lifts_what_is_final():
    fold = folded(
        device_registered("a"), device_registered("r"), status_changed("r", REVOKED), device_registered("s")
    )
    final = EMPTY.changed(fold.changes.values(), 0)
    words = {
        ("a", Status.SUSPENDED): 9,
        ("a", Status.REVOKED): 8,
        ("r", Status.SUSPENDED): 9,
        ("stranger", Status.REVOKED): 9,
    }
    assert {each.id: each.status for each in overlay(final, words)} == {"a": Status.REVOKED}
    assert list(overlay(final, {("s", Status.SUSPENDED): 1})) == [final.device("s")._replace(status=Status.SUSPENDED)]


# --- rows ---

keys = st.sampled_from([PublicKey(Alg.ED25519, KEYS[0]), PublicKey(Alg.ES256, P256)])
devices = st.builds(Device, st.just("d"), st.just("plant"), keys, st.sampled_from(Status))
miners = st.builds(
    Miner,
    st.just("gw"),
    st.just("plant"),
    st.just(PublicKey(Alg.ED25519, KEYS[0])),
    st.sampled_from(Status),
    st.just("securenet/plant/gw"),
    st.binary(min_size=20, max_size=20),
    st.sampled_from([b"", HPKE_KEY]),
)


@given(devices | miners)
def test_a_row_comes_back_as_what_it_was(registration):
    assert registration_of(row_of(registration)) == registration


ROW = row_of(Miner("gw", "plant", PublicKey(Alg.ED25519, KEYS[0]), Status.ACTIVE, "", b"\x01" * 20, HPKE_KEY))


@pytest.mark.parametrize("wrong", [{"kind": 3}, {"alg": 0}, {"status": 4}, {"key": b"short"}, {"account": None}])
def test_a_row_that_row_of_did_not_write_is_refused(wrong):
    with pytest.raises(ValueError, match=r".+"):
        registration_of(ROW._replace(**wrong))


def test_rows_are_in_the_numbers_of_the_contract():
    row = IdentityRow("gw", 2, "plant", 1, KEYS[0], 1, b"\x01" * 20, HPKE_KEY)
    assert row == ROW


# --- strides ---


@given(
    st.integers(1, 5000),
    st.integers(1, 600),
    st.lists(st.integers(0, 300), min_size=1, max_size=300),
)
def test_any_range_is_walked_to_its_end_whatever_an_endpoint_takes_at_once(most, limit, events_by_block):
    stride, at, asked_for, refused = Stride(most), 0, 0, 0
    while at < len(events_by_block):
        asked = min(stride.blocks, len(events_by_block) - at)
        assert 1 <= stride.blocks <= most
        asked_for += 1
        if asked > limit:
            refused += 1
            stride.refused(asked)
            continue
        stride.took(sum(events_by_block[at : at + asked]), asked)
        at += asked
    assert asked_for <= len(events_by_block) + refused
    assert refused <= 10 + asked_for / Stride.PATIENCE


def test_a_stride_grows_to_its_most_where_nothing_happens_and_shrinks_where_much_does():
    stride = Stride(5000)
    for _ in range(12):
        stride.took(0, stride.blocks)
    assert stride.blocks == 5000
    for _ in range(20):
        stride.took(1000 * stride.blocks, stride.blocks)
    assert stride.blocks == 1


def test_the_rest_of_a_range_says_nothing_about_the_next():
    stride = Stride(5000)
    for _ in range(50):
        stride.took(0, 1)
    assert stride.blocks == Stride.FIRST


# --- age ---


@given(
    st.integers(1, 2**42),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.integers(-(2**42), 2**42),
)
def test_a_restored_state_is_as_old_as_the_less_favourable_clock_says(as_of_ms, started_s, later_s, wall_after_ms):
    freshness = Freshness(100.0)
    freshness.restored(as_of_ms, Moment(started_s, as_of_ms))
    now = Moment(started_s + later_s, as_of_ms + wall_after_ms)
    age_s = freshness.age_s(now)
    assert (age_s is None) == (wall_after_ms < 0)
    if age_s is not None:
        assert age_s >= max(now.monotonic_s - started_s, wall_after_ms / 1000)
        assert freshness.is_stale(now) == (age_s >= 100.0)
    else:
        assert freshness.is_stale(now)


def test_a_state_that_was_confirmed_ages_by_the_monotonic_clock_alone():
    freshness = Freshness(100.0)
    freshness.restored(5, Moment(0.0, 10))
    assert freshness.confirmed(Moment(10.0, 20))
    assert not freshness.confirmed(Moment(11.0, 20))
    assert freshness.age_s(Moment(60.0, -5)) == 49.0
    freshness.forget()
    assert freshness.is_stale(Moment(60.0, 20))


def test_a_state_that_was_read_in_part_is_stale():
    freshness = Freshness(100.0)
    freshness.restored(0, Moment(0.0, 10))
    assert freshness.is_stale(Moment(0.0, 10))
