"""Algorithm 1 from bytes to answer: real envelopes, real signatures, a real journal."""

import asyncio
import time
from dataclasses import replace

import pytest
from ingest_world import LOG_KEY, Sender, World

from gateway import receipt
from gateway.crypto.keys import PublicKey
from gateway.journal import JournalFault, JournalFull, open_reader
from gateway.message import Accepted, Alg, Duplicate, Pushback, PushbackReason, Refused, RejectReason
from gateway.registry.port import Status
from gateway.tlog.entry import MessageEntry, RejectionsEntry, parse_entry
from gateway.tlog.merkle import leaf_hash, root_hash


def opened(outcome, world):
    parsed = receipt.parse(outcome.receipt)
    assert parsed.origin == world.config.origin
    assert receipt.verify_receipt(parsed, PublicKey(Alg.ED25519, LOG_KEY), world.config.origin)
    return parsed


@pytest.mark.parametrize("name", ["lamp", "pump", "chip"])
async def test_a_good_message_gets_a_receipt_for_its_entry(world, request, name):
    device = request.getfixturevalue(name)
    async with world.running():
        outcome = await world.send(device.message(1), device=device.name, fleet="plant-7")
        assert isinstance(outcome, Accepted)
        got = opened(outcome, world)
    with open_reader(world.directory) as reader:
        entry = reader.entry(got.log_index)
    assert leaf_hash(entry) == got.leaf_hash
    parsed = parse_entry(entry)
    assert isinstance(parsed, MessageEntry)
    assert (parsed.device_id, parsed.session, parsed.seq) == (device.name, device.session, 1)
    assert parsed.digest == got.digest


async def refusal(world, payload, **routing):
    async with world.running():
        return await world.send(payload, **routing)


def spoiled(message):
    """The message with one bit of its signature turned: the last byte alone is often zero already."""
    return message[:-1] + bytes([message[-1] ^ 1])


@pytest.mark.parametrize(
    ("make", "routing", "reason"),
    [
        (lambda d: b"\xd2" + bytes(70_000), {}, RejectReason.TOO_LARGE),
        (lambda d: b"hello", {}, RejectReason.MALFORMED),
        (lambda d: b"", {}, RejectReason.MALFORMED),
        (lambda d: d.message(1, fleet="plant-8"), {}, RejectReason.WRONG_FLEET),
        (lambda d: d.message(1), {"device": "lamp-1", "fleet": "plant-8"}, RejectReason.WRONG_FLEET),
        (lambda d: d.message(1), {"device": "lamp-2"}, RejectReason.IDENTITY_MISMATCH),
        (lambda d: Sender("ghost").message(1), {}, RejectReason.DEVICE_UNKNOWN),
        (lambda d: spoiled(d.message(1)), {}, RejectReason.BAD_SIGNATURE),
    ],
)
async def test_what_does_not_hold_gets_its_reason_and_no_receipt(world, lamp, make, routing, reason):
    outcome = await refusal(world, make(lamp), **routing)
    assert outcome == Refused(reason)
    with open_reader(world.directory) as reader:
        (kept,) = reader.quarantine()
    assert kept.row.reason == reason


async def test_a_key_of_another_algorithm_is_a_mismatch(world, lamp):
    imposter = Sender("lamp-1", alg="ES256")
    assert await refusal(world, imposter.message(1)) == Refused(RejectReason.ALG_MISMATCH)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(Status.SUSPENDED, RejectReason.DEVICE_SUSPENDED), (Status.REVOKED, RejectReason.DEVICE_REVOKED)],
)
async def test_a_device_that_is_not_active_is_refused(world, lamp, status, reason):
    world.statuses["lamp-1"] = status
    assert await refusal(world, lamp.message(1)) == Refused(reason)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"issued_at": 1000.0}, RejectReason.TOO_OLD), ({"issued_at": 4e9}, RejectReason.IN_FUTURE)],
)
async def test_a_signed_refusal_carries_a_signed_receipt(world, lamp, changes, reason):
    outcome = await refusal(world, lamp.message(1, **changes))
    assert outcome.reason is reason
    got = opened(outcome, world)
    assert (got.reason, got.log_index, got.leaf_hash) == (reason, None, None)


async def test_a_duplicate_is_answered_with_the_first_receipt_byte_for_byte(world, lamp):
    payload = lamp.message(1)
    async with world.running():
        first = world.offer(payload)
        again = world.offer(payload)
        assert (await again) == Duplicate((await first).receipt)
        assert (await world.send(payload)) == Duplicate((await first).receipt)
    async with world.running():
        assert (await world.send(payload)) == Duplicate((await first).receipt)
        assert world.ledger.size == 2  # the message, and the summary of the refusals at the stop


async def test_a_number_signed_twice_is_an_alarm_and_both_envelopes_are_kept(world, lamp):
    async with world.running():
        first = await world.send(lamp.message(7, payload=b"[]"))
        clone = lamp.message(7, payload=b"[{}]")
        outcome = await world.send(clone)
        assert outcome.reason is RejectReason.SEQUENCE_REUSED
    with open_reader(world.directory) as reader:
        (kept,) = reader.quarantine()
        assert kept.row.payload == clone
        index = opened(first, world).log_index
        assert str(index) in kept.row.detail
        assert reader.envelope(index) is not None


async def test_sessions_and_windows_survive_a_restart(world, lamp):
    async with world.running():
        await world.send(lamp.message(5000))
        for number in range(8):
            await world.send(lamp.message(1, session=b"session%d" % number))
    async with world.running():
        old = lamp.message(2, session=b"never--8", issued_at=time.time() - 60)
        assert (await world.send(old)).reason is RejectReason.STALE_SESSION
        await world.send(lamp.message(5000, session=b"session7"))
        assert (await world.send(lamp.message(3975, session=b"session7"))).reason is RejectReason.OUT_OF_WINDOW
        assert isinstance(await world.send(lamp.message(3976, session=b"session7")), Accepted)


async def outlived(world, device, now_s):
    """Have the device accepted once in ``session0`` and then in eight others, so that the first is forgotten."""
    first = device.message(5, session=b"session0", issued_at=now_s - 100)
    outcome = await world.send(first)
    for number in range(1, 9):
        await world.send(device.message(1, session=b"session%d" % number, issued_at=now_s - 100 + number))
    return first, outcome


async def test_a_number_of_a_forgotten_session_that_is_signed_again_is_refused_and_stops_nobody(world, lamp, pump):
    now_s = time.time()
    async with world.running():
        await outlived(world, lamp, now_s)
        clone = lamp.message(5, session=b"session0", issued_at=now_s)
        assert (await world.send(clone)).reason is RejectReason.SEQUENCE_REUSED
        assert isinstance(await world.send(pump.message(1)), Accepted)


async def test_a_session_that_comes_back_cannot_bring_its_old_messages_along(world, lamp):
    now_s = time.time()
    async with world.running():
        first, outcome = await outlived(world, lamp, now_s)
        assert isinstance(await world.send(lamp.message(6, session=b"session0", issued_at=now_s)), Accepted)
        assert (await world.send(first)) == Duplicate(outcome.receipt)
        reused = lamp.message(5, session=b"session0", issued_at=now_s + 1)
        assert (await world.send(reused)).reason is RejectReason.SEQUENCE_REUSED


async def test_a_window_that_cannot_be_read_costs_nobody_a_message_and_nothing_is_taken_twice(tmp_path, lamp):
    class Damaging(FailingStore):
        async def replay_states(self, device_ids):
            return dict.fromkeys(device_ids, b"what a broken disk left")

    world = World(tmp_path / "data", [lamp])
    async with world.running():
        assert isinstance(await world.send(lamp.message(7)), Accepted)
    world.store_wrapper = lambda journal: Damaging(journal, [])
    async with world.running():
        assert isinstance(await world.send(lamp.message(8)), Accepted)
        assert (await world.send(lamp.message(7))).reason is RejectReason.SEQUENCE_REUSED
        assert isinstance(await world.send(lamp.message(6)), Accepted)


async def test_windows_that_do_not_fit_in_memory_are_read_back(tmp_path):
    senders = [Sender(f"dev-{n}") for n in range(40)]
    world = World(tmp_path / "data", senders)
    async with world.running():
        for sender in senders:
            assert isinstance(await world.send(sender.message(19)), Accepted)
        assert len(world.ledger.windows) < 40
        replays = [world.offer(sender.message(19, payload=b"{}")) for sender in senders]
        assert {outcome.reason for outcome in await asyncio.gather(*replays)} == {RejectReason.SEQUENCE_REUSED}


async def test_a_flood_is_limited_per_device_even_within_one_batch(tmp_path, lamp, pump):
    world = World(tmp_path / "data", [lamp, pump], device_burst=20, device_rate_per_s=0.01)
    async with world.running():
        flood = [world.offer(lamp.message(n)) for n in range(200)]
        calm = world.offer(pump.message(1))
        outcomes = await asyncio.gather(*flood)
        assert sum(isinstance(outcome, Accepted) for outcome in outcomes) == 20
        refused = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
        assert {outcome.reason for outcome in refused} == {RejectReason.RATE_LIMITED}
        assert all(outcome.retry_after_s >= 1 and outcome.receipt is None for outcome in refused)
        assert isinstance(await calm, Accepted)


async def test_a_forger_cannot_spend_the_budget_of_a_victim(tmp_path, lamp):
    world = World(tmp_path / "data", [lamp], device_burst=2, device_rate_per_s=0.001, mqtt_peer_burst=30)
    forger = Sender("lamp-1")
    forger.key = Sender("somebody else").key
    async with world.running():
        forged = [world.offer(forger.message(n), peer="forger") for n in range(100)]
        reasons = [outcome.reason for outcome in await asyncio.gather(*forged)]
        assert set(reasons) == {RejectReason.BAD_SIGNATURE, RejectReason.RATE_LIMITED}
        assert reasons.count(RejectReason.BAD_SIGNATURE) == 30
        assert isinstance(await world.send(lamp.message(1)), Accepted)


async def test_without_a_registered_miner_nothing_is_refused_and_nothing_is_lost(world, lamp):
    world.miner_status = Status.SUSPENDED
    async with world.running():
        patient = world.offer(lamp.message(1), transport="mqtt")
        told = await world.send(lamp.message(2), transport="coap")
        assert told == Pushback(PushbackReason.MINER_SUSPENDED, told.retry_after_s)
        broken = await world.send(b"hello", transport="coap")
        assert broken == Refused(RejectReason.MALFORMED)
        assert not patient.done()
        world.miner_status = Status.ACTIVE
        world.intake.wake()
        assert isinstance(await asyncio.wait_for(patient, 10), Accepted)


class FailingStore:
    """The journal behind a disk that says no a few times."""

    def __init__(self, journal, faults):
        self.journal = journal
        self.faults = list(faults)

    async def commit(self, group):
        if self.faults and group.entries:
            raise self.faults.pop(0)
        await self.journal.commit(group)

    async def lookup(self, identities):
        return await self.journal.lookup(identities)

    async def replay_states(self, device_ids):
        return await self.journal.replay_states(device_ids)


async def test_a_disk_that_says_no_delays_the_answer_and_loses_nothing(tmp_path, lamp, monkeypatch):
    monkeypatch.setattr("gateway.ingest.pipeline._COMMIT_RETRY_S", 0.05)
    faults = [JournalFull("budget"), JournalFault("disk"), JournalFull("budget")]
    world = World(tmp_path / "data", [lamp], store=lambda journal: FailingStore(journal, faults))
    async with world.running():
        first = world.offer(lamp.message(1))
        while world.ingest.journal_fault is None:
            await asyncio.sleep(0.001)
        told = await world.send(lamp.message(2), transport="coap")
        assert told == Pushback(PushbackReason.PUSHBACK, told.retry_after_s)
        assert isinstance(await first, Accepted)
        assert isinstance(await world.send(lamp.message(3), transport="coap"), Accepted)
        assert world.ingest.counters.commit_faults == 3


async def test_what_is_refused_while_the_gateway_holds_back_fits_into_a_small_journal(world):
    world.config = replace(world.config, journal=replace(world.config.journal, budget_bytes=16 << 20))
    world.miner_status = Status.SUSPENDED
    async with world.running(), asyncio.timeout(30):
        answers = [world.offer(bytes(60_000), transport="coap") for _ in range(400)]
        assert set(await asyncio.gather(*answers)) == {Refused(RejectReason.MALFORMED)}
        assert world.ingest.counters.commit_faults == 0


async def test_a_stop_answers_what_was_taken_and_seals_the_log(world, lamp):
    async with world.running():
        answers = [world.offer(lamp.message(n)) for n in range(500)]
        refused = world.offer(b"hello")
    assert all(isinstance(answer.result(), Accepted) for answer in answers)
    assert refused.result().reason is RejectReason.MALFORMED
    with open_reader(world.directory) as reader:
        entries = [row.entry for row in reader.entries(0, reader.size())]
        checkpoint = reader.latest_checkpoint()
    assert checkpoint.size == len(entries) == 501
    assert checkpoint.root == root_hash(leaf_hash(entry) for entry in entries)
    summary = parse_entry(entries[-1])
    assert isinstance(summary, RejectionsEntry)
    assert dict(summary.counts) == {"malformed": 1}


async def test_indexes_follow_the_order_of_arrival_across_batches(world, lamp):
    world.config = replace(world.config, ingest=replace(world.config.ingest, batch_messages=7, linger_ms=0))
    async with world.running():
        answers = [world.offer(lamp.message(n)) for n in range(100)]
        indexes = [opened(outcome, world).log_index for outcome in await asyncio.gather(*answers)]
    assert indexes == list(range(100))


async def test_every_message_is_counted_in_one_outcome(world, lamp):
    async with world.running():
        payload = lamp.message(1)
        for data in (payload, payload, b"", b"\xd2", lamp.message(2)):
            await world.send(data)
        counters = world.ingest.counters
        assert counters.received["mqtt"] == 5
        assert counters.accepted == 2
        assert counters.rejected == {"duplicate": 1, "malformed": 2}
        assert counters.answered == 5
