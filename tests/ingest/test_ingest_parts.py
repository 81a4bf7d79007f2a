"""Intake, window cache and counters on their own."""

import pytest

from gateway.checks.duplicate import ReplayWindow
from gateway.ingest.counters import Latency, Refusals
from gateway.ingest.intake import IntakeQueue
from gateway.ingest.windows import WindowCache
from gateway.message import RawMessage, RejectReason


def raw(transport, n=0):
    return RawMessage(bytes([n]), transport, "peer", 0, lambda _: None)


async def test_a_full_queue_takes_nothing_more_and_counts_it():
    intake = IntakeQueue(2)
    assert [intake.offer(raw("mqtt")) for _ in range(3)] == [True, True, False]
    assert intake.offer(raw("coap"))
    assert intake.refused == 1


async def test_a_queue_is_bounded_in_bytes_too_and_has_room_again_when_they_are_taken():
    intake = IntakeQueue(100, max_bytes=150)
    heavy = raw("mqtt")._replace(payload=bytes(100))
    assert [intake.offer(heavy) for _ in range(3)] == [True, True, False]
    assert intake.offer(raw("coap"))
    assert len(intake.take(10)) == 3
    assert intake.offer(heavy)


async def test_a_closed_intake_takes_nothing_and_still_gives_what_it_has():
    intake = IntakeQueue(2)
    intake.offer(raw("mqtt"))
    intake.close()
    assert not intake.offer(raw("mqtt"))
    assert len(intake.take(10)) == 1


async def test_patient_messages_can_be_left_waiting():
    intake = IntakeQueue(10)
    for transport in ("mqtt", "coap", "mqtt"):
        intake.offer(raw(transport))
    assert [message.transport for message in intake.take(10, patient=False)] == ["coap"]
    assert intake.depth() == 2


@pytest.mark.parametrize("limit", [1, 2, 3, 8])
async def test_neither_kind_starves_the_other_and_order_is_kept(limit):
    intake = IntakeQueue(100)
    for n in range(50):
        intake.offer(raw("mqtt", n))
        intake.offer(raw("coap", n))
    taken = intake.take(limit)
    assert len(taken) == limit
    for transport in ("mqtt", "coap"):
        numbers = [message.payload[0] for message in taken if message.transport == transport]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= limit // 2


@pytest.mark.parametrize(("max_bytes", "taken"), [(1, 1), (100, 1), (101, 2), (250, 3), (10_000, 8)])
async def test_a_batch_is_bounded_in_bytes_and_never_empty(max_bytes, taken):
    intake = IntakeQueue(100)
    for n in range(4):
        for transport in ("mqtt", "coap"):
            intake.offer(raw(transport, n)._replace(payload=bytes(100)))
    assert len(intake.take(8, max_bytes=max_bytes)) == taken


async def test_one_kind_alone_gets_all_the_places():
    for transport in ("mqtt", "coap"):
        intake = IntakeQueue(100)
        for n in range(50):
            intake.offer(raw(transport, n))
        assert len(intake.take(40)) == 40


def test_a_window_is_forgotten_only_when_its_groups_are_long_settled():
    cache = WindowCache(capacity=1)
    cache.install(["a", "b"], {}, group=1)
    cache.use("a", 1)
    cache.use("b", 20)
    cache.forget(group=10)
    assert len(cache) == 2
    cache.forget(group=20)
    assert cache.absent(["a", "b"], 0) == ["a"]


def test_what_the_journal_says_never_replaces_a_window_that_is_here():
    cache = WindowCache(capacity=10)
    cache.install(["a"], {}, group=1)
    cache.use("a", 1).accept(b"session1", 7, 1.0)
    cache.install(["a"], {"a": ReplayWindow().to_bytes()}, group=2)
    assert cache.use("a", 2).to_bytes() != ReplayWindow().to_bytes()


def test_each_absent_device_is_asked_for_once():
    assert WindowCache(10).absent(["b", "a", "b"], 0) == ["b", "a"]


def test_a_swarm_of_ids_does_not_hide_who_is_refused_again_and_again():
    refusals = Refusals(0)
    for n in range(50_000):
        refusals.add(RejectReason.DEVICE_UNKNOWN, f"sybil-{n}")
        if n % 10 == 0:
            refusals.add(RejectReason.BAD_SIGNATURE, "victim")
    assert refusals.most_refused()[0] == ("victim", 5000)
    assert len(refusals.most_refused()) == 10
    assert refusals.reasons == {"device-unknown": 50_000, "bad-signature": 5000}


def test_the_first_refusal_of_each_reason_is_told():
    refusals = Refusals(0)
    assert refusals.add(RejectReason.MALFORMED, None)
    assert not refusals.add(RejectReason.MALFORMED, None)
    assert refusals.add(RejectReason.TOO_LARGE, None)


def test_a_quantile_is_the_bound_below_which_the_share_lies():
    latency = Latency()
    assert latency.quantile_ms(0.5) is None
    for elapsed in [1] * 98 + [150] * 2:
        latency.add(elapsed)
    assert latency.quantile_ms(0.5) == 1
    assert latency.quantile_ms(0.99) == 200
    latency.add(-5)
    assert latency.quantile_ms(0.0) == 1
