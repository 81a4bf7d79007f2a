"""What the receiver loads, what it refuses and why, and that what runs goes on running."""

import asyncio
import contextlib
import hashlib

import pytest
from nacl.signing import SigningKey
from receiver_kit import LATER_S, MODEL, NOW_MS, plain, world_of
from vault_kit import DATA_KEY, HYBRID, PUBLISHER, RECIPIENTS, cid_of, secret

from gateway.chain.port import ChainMisconfigured, EndpointFault
from gateway.crypto.keys import parse_public_key
from gateway.detection.port import LoadedModel
from gateway.journal import JournalFault, open_reader
from gateway.message import Alg
from gateway.vault.manifest import Ciphertext, Plaintext
from gateway.vault.wrap import wrap_for

OTHER = parse_public_key(Alg.ED25519, bytes(SigningKey(b"\x22" * 32).verify_key))
TODAY_S = NOW_MS // 1000


@pytest.fixture
async def world(tmp_path):
    """A gateway that runs version 3."""
    async with world_of(tmp_path) as found:
        yield found


def flip(envelope):
    return envelope[:-1] + bytes([envelope[-1] ^ 1])


# --- what is loaded ---


async def test_a_version_that_is_published_and_granted_comes_into_force(world):
    bundle = world.publish(4)
    await world.look()
    assert world.running.versions == [(MODEL, 4)]
    (model,) = world.running.models
    assert (bytes(model.data), model.manifest_sha256) == (plain(4), bundle.digest)
    assert world.told == [(MODEL, 4, bundle.digest, "loaded", None)]
    state = world.state()
    assert (state["running"], state["highest"], state["reason"]) == (4, 4, None)
    with open_reader(world.directory) as reader:
        assert reader.model_envelope(MODEL, 4) == bundle.envelope
        assert [(row.version, row.result, row.reason) for row in reader.model_reports()] == [(4, 1, ""), (3, 1, "")]


async def test_nothing_of_the_plain_model_touches_the_disk(world):
    world.publish(4)
    await world.look()
    found = b"".join(path.read_bytes() for path in world.directory.rglob("*") if path.is_file())
    assert plain(4) not in found
    assert plain(3) not in found


async def test_nothing_is_fetched_when_nothing_is_new(world):
    asked = world.source.asked
    await world.look()
    await world.look()
    assert (world.source.asked, world.told) == (asked, [])


# --- what is refused ---


def revoked(world):
    world.publish(4)
    world.chain.revoke(4)


def expired_on_chain(world):
    world.publish(4, until_s=TODAY_S)


def expired_by_manifest(world):
    world.publish(4, world.bundle(4, created_ms=1, expires_ms=NOW_MS))


def wrong_signature(world):
    bundle = world.bundle(4)
    world.publish(4, bundle, key=OTHER)


def other_digest(world):
    world.publish(4, digest=bytes(32))


def altered_manifest(world):
    bundle = world.bundle(4)
    world.source.blocks = {
        digest: flip(data) if data == bundle.envelope else data for digest, data in world.source.blocks.items()
    }
    world.publish(4, bundle)


def manifest_of_another(world):
    world.publish(4, world.bundle(5))


def altered_block(world):
    bundle = world.bundle(4)
    world.source.blocks = {
        digest: flip(data) if data == bundle.ciphertext else data for digest, data in world.source.blocks.items()
    }
    world.publish(4, bundle)


def wrap_of_another(world):
    keys = wrap_for(RECIPIENTS, DATA_KEY, MODEL, 4, bytes(32))
    world.publish(4, world.bundle(4, wrapped=keys))


def no_wrap(world):
    recipients = {HYBRID: RECIPIENTS[HYBRID]}
    world.publish(4, world.bundle(4, wrapped=wrap_for(recipients, DATA_KEY, MODEL, 4, bytes(32))))


def no_grant(world):
    world.chain.grant(granted=False)
    world.publish(4)


def no_cid(world):
    bundle = world.bundle(4)
    world.publish(4, bundle._replace(cid="not-a-cid"))


def smoke_test(world):
    world.publish(4)
    world.running.refuses = {4: "its smoke test answers 0.5, not 0.125"}


def too_old_a_head(world):
    world.publish(4)
    world.chain.stands_since_s = TODAY_S - 7201


def away(world):
    world.publish(4)
    world.source.is_away = True


REFUSALS = {
    "revoked": revoked,
    "expired": expired_on_chain,
    "expired ": expired_by_manifest,
    "manifest-signature": wrong_signature,
    "manifest-digest": other_digest,
    "block-altered": altered_manifest,
    "manifest-mismatch": manifest_of_another,
    "block-altered ": altered_block,
    "wrap-failed": wrap_of_another,
    "not-a-recipient": no_wrap,
    "not-granted": no_grant,
    "cid-malformed": no_cid,
    "smoke-test": smoke_test,
}


@pytest.mark.parametrize(("reason", "done"), REFUSALS.items(), ids=lambda given: getattr(given, "__name__", ""))
async def test_each_refusal_has_its_own_reason_and_the_old_model_runs_on(world, reason, done):
    done(world)
    await world.look()
    await world.look()
    assert world.running.versions == [(MODEL, 3)]
    assert world.events == [(4, "refused", reason.strip())]
    state = world.state()
    assert (state["running"], state["refused"], state["reason"]) == (3, 4, reason.strip())
    assert (await world.journal.models())[0].highest == 3
    with open_reader(world.directory) as reader:
        assert reader.model_reports()[0][2:] == (4, 2, reason.strip())


@pytest.mark.parametrize(("reason", "done"), [("frozen", too_old_a_head), ("not-fetched", away)])
async def test_what_is_waited_for_is_in_the_status_and_is_no_refusal(world, reason, done):
    world.chain.clocks.now_s = 8000
    done(world)
    await world.look()
    assert world.running.versions == [(MODEL, 3)]
    assert world.state()["reason"] == reason
    assert world.told == []
    assert any(reason in warning for warning in world.receiver.warnings())


async def test_a_chain_that_stands_still_is_told_of_and_loads_nothing_until_it_moves(world):
    world.chain.stands_since_s = TODAY_S
    world.clocks.now_s = 7201
    world.publish(4)
    await world.look()
    assert world.receiver.status()["frozen"]
    assert world.running.versions == [(MODEL, 3)]
    world.chain.stands_since_s = None
    await world.look()
    assert not world.receiver.status()["frozen"]
    assert world.running.versions == [(MODEL, 4)]


async def test_a_final_block_that_goes_back_in_time_makes_nothing_fresh_or_older(world):
    world.clocks.now_s = 7000
    await world.look()
    world.chain.stands_since_s = TODAY_S
    world.clocks.now_s = 7300
    await world.look()
    assert not world.receiver.status()["frozen"]


async def test_a_publisher_that_the_configuration_does_not_allow_is_refused(tmp_path):
    async with world_of(tmp_path, publishers=(PUBLISHER.data.hex(),)) as world:
        world.publish(4, key=OTHER)
        await world.look()
        assert world.events == [(4, "refused", "wrong-publisher")]


async def test_a_model_that_is_too_large_is_refused_before_its_ciphertext_is_fetched(tmp_path):
    async with world_of(tmp_path, max_bytes=1024) as world:
        large = plain(4) * 100
        ciphertext = secret(large, version=4)
        digest = hashlib.sha256(ciphertext).digest()
        changes = {
            "ciphertext": Ciphertext(cid_of(ciphertext), len(ciphertext), digest),
            "plaintext": Plaintext(len(large), hashlib.sha256(large).digest()),
            "wrapped": wrap_for(RECIPIENTS, DATA_KEY, MODEL, 4, digest),
        }
        world.publish(4, world.bundle(4, **changes))
        await world.look()
        assert world.events == [(4, "refused", "too-large")]


async def test_below_the_floor_nothing_is_loaded_and_what_runs_is_dropped(world):
    world.publish(9, until_s=TODAY_S)
    world.chain.floor(9)
    await world.look()
    assert world.running.versions == []
    assert world.events == [(3, "refused", "below-floor"), (9, "refused", "expired")]
    assert world.state()["running"] is None


async def test_a_version_that_runs_is_dropped_when_it_is_revoked_and_nothing_else_may_run(world):
    world.chain.revoke(3)
    await world.look()
    assert world.running.versions == []
    assert world.events == [(3, "refused", "revoked")]


async def test_a_version_whose_time_is_over_runs_on_and_a_person_is_told(world):
    world.clocks.now_s = LATER_S - TODAY_S + 1
    await world.look()
    assert world.running.versions == [(MODEL, 3)]
    assert world.state()["expired"]
    assert any("time is over" in warning for warning in world.receiver.warnings())


async def test_a_grant_that_is_taken_back_ends_no_version_that_runs_but_the_next_is_not_loaded(world):
    world.chain.grant(granted=False)
    await world.look()
    assert world.running.versions == [(MODEL, 3)]
    world.publish(4)
    await world.look()
    assert world.running.versions == [(MODEL, 3)]
    assert world.events == [(4, "refused", "not-granted")]


# --- trying again ---


async def test_sources_that_are_back_are_asked_again_with_patience(world):
    away(world)
    await world.look()
    asked = world.source.asked
    await world.look()
    assert world.source.asked == asked
    world.source.is_away = False
    world.clocks.now_s += 3600
    await world.look()
    assert world.running.versions == [(MODEL, 4)]


async def test_what_cannot_change_is_not_tried_again_before_the_chain_names_another(world):
    wrong_signature(world)
    await world.look()
    asked = world.source.asked
    world.clocks.now_s += 100_000
    await world.look()
    assert world.source.asked == asked
    world.publish(5)
    await world.look()
    assert world.running.versions == [(MODEL, 5)]


async def test_a_grant_that_comes_later_loads_what_was_refused(world):
    no_grant(world)
    await world.look()
    world.chain.grant()
    await world.look()
    assert world.running.versions == [(MODEL, 4)]
    assert world.events == [(4, "refused", "not-granted"), (4, "loaded", None)]


async def test_what_cannot_be_remembered_does_not_run(world, monkeypatch):
    record = world.journal.record_model

    async def full(row, envelope=None):
        raise JournalFault("the disk did not take it")

    monkeypatch.setattr(world.journal, "record_model", full)
    world.publish(4)
    await world.look()
    assert world.running.versions == [(MODEL, 3)]
    assert world.state()["reason"] == "journal-fault"
    monkeypatch.setattr(world.journal, "record_model", record)
    world.clocks.now_s += 10
    await world.look()
    assert world.running.versions == [(MODEL, 4)]


# --- going back ---


async def fail_at_work(world):
    (model,) = world.running.models
    world.receiver.put_aside(model, "it raises, and no longer passes its smoke test")
    await world.receiver.settle()


async def test_a_model_that_fails_at_work_gives_way_to_the_last_good_one(world):
    world.publish(4)
    await world.look()
    await fail_at_work(world)
    assert world.running.versions == [(MODEL, 3)]
    assert world.events == [(4, "loaded", None), (4, "refused", "put-aside"), (3, "returned", "put-aside")]
    await world.look()
    assert world.running.versions == [(MODEL, 3)]
    assert len(world.events) == 3


async def test_a_version_that_was_put_aside_is_not_run_again_after_a_restart(world):
    world.publish(4)
    await world.look()
    await fail_at_work(world)
    world.told.clear()
    await world.restart()
    await world.look()
    assert world.running.versions == [(MODEL, 3)]
    assert world.events == [(4, "refused", "put-aside"), (3, "loaded", None)]
    world.publish(5)
    await world.look()
    assert world.running.versions == [(MODEL, 5)]


async def test_a_model_without_a_predecessor_that_fails_stays_where_it_is_put(world):
    await fail_at_work(world)
    assert world.running.versions == [(MODEL, 3)]
    assert world.state()["put_aside"]
    assert world.events == [(3, "refused", "put-aside")]


async def test_a_revoked_version_gives_way_to_the_one_before_it(world):
    world.publish(4)
    await world.look()
    world.chain.revoke(4)
    await world.look()
    assert world.running.versions == [(MODEL, 3)]
    assert world.events[1:] == [(4, "refused", "revoked"), (3, "returned", "revoked")]


async def test_a_fault_that_is_told_of_a_version_which_runs_no_more_changes_nothing(world):
    (old,) = world.running.models
    world.publish(4)
    await world.look()
    world.receiver.put_aside(old, "late")
    world.receiver.put_aside(LoadedModel(bytes(32), "another", 1, old.spec, b""), "of nobody")
    await world.receiver.settle()
    assert world.running.versions == [(MODEL, 4)]


# --- memory ---


async def test_after_a_restart_the_same_version_runs_again_from_its_own_manifest(world):
    await world.restart()
    await world.look()
    assert world.running.versions == [(MODEL, 3)]
    assert world.events == [(3, "loaded", None)]


async def test_a_chain_that_names_older_versions_only_is_a_rollback_also_after_a_restart(world):
    world.publish(7)
    await world.look()
    await world.restart()
    last = world.chain.records.pop()
    assert last.block_number == world.chain.number
    world.told.clear()
    await world.look()
    assert world.running.versions == []
    assert world.events == [(3, "refused", "rollback")]
    assert world.state()["highest"] == 7


async def test_another_manifest_under_a_version_that_ran_is_a_rollback(world):
    await world.restart()
    other = world.bundle(3, metrics={})
    world.chain.records.pop()
    world.publish(3, other)
    world.told.clear()
    await world.look()
    assert world.running.versions == []
    assert world.events == [(3, "refused", "rollback")]


async def test_sources_that_keep_the_newest_back_do_not_bring_the_one_before_it_back(world):
    world.publish(4)
    await world.look()
    await world.restart()
    world.source.is_away = True
    await world.look()
    assert world.running.versions == []
    assert world.state()["reason"] == "not-fetched"


async def test_after_a_restart_before_a_chain_that_stands_still_what_ran_runs_again(world):
    world.publish(4)
    await world.restart()
    world.chain.stands_since_s = TODAY_S
    world.clocks.now_s = 8000
    await world.look()
    assert world.running.versions == [(MODEL, 3)]
    assert world.state()["reason"] == "frozen"


# --- the chain ---


async def test_events_that_do_not_follow_from_each_other_stop_nothing_and_are_read_anew(world):
    world.chain.own()
    world.publish(4)
    world.publish(5)
    world.chain.revoke(4)
    world.chain.is_short_of = world.chain.records[-3]
    with pytest.raises(EndpointFault):
        await world.look()
    await world.receiver.settle()
    assert world.running.versions == [(MODEL, 3)]
    world.chain.is_short_of = None
    await world.look()
    assert world.running.versions == [(MODEL, 5)]


async def test_another_contract_is_told_to_the_operator(world, monkeypatch):
    await world.restart()

    async def nothing(address):
        return b""

    monkeypatch.setattr(world.chain, "code", nothing)
    with pytest.raises(ChainMisconfigured, match="has no code"):
        await world.look()


async def test_a_version_that_no_journal_can_hold_is_as_if_it_were_not_there(world):
    world.publish(2**63, world.bundle(4))
    await world.look()
    assert world.running.versions == [(MODEL, 3)]
    assert world.told == []


async def test_a_version_that_is_revoked_while_it_is_fetched_does_not_come_into_force(world):
    world.publish(4)
    fetch, chain, published = world.source.get, world.chain, world.chain.number

    async def revoked_meanwhile(cid):
        if chain.number == published:
            chain.revoke(4)
            await world.receiver.look(chain)
        return await fetch(cid)

    world.source.get = revoked_meanwhile
    await world.look()
    assert world.running.versions == [(MODEL, 3)]
    assert world.events == [(4, "refused", "revoked")]


async def test_models_do_not_wait_for_each_other(tmp_path):
    async with world_of(tmp_path, enabled=(MODEL, "fan")) as world:
        stuck = asyncio.Event()
        world.chain.own("fan")
        world.chain.grant(model="fan")
        slow = world.bundle(1)
        world.chain.publish(1, slow.cid, slow.digest, model="fan")
        world.publish(4)

        fetch = world.source.get

        async def get(cid):
            if str(cid) == slow.cid:
                await stuck.wait()
            return await fetch(cid)

        world.source.get = get
        await world.receiver.look(world.chain)
        task = asyncio.create_task(world.receiver.run())
        async with asyncio.timeout(10):
            while world.running.versions != [(MODEL, 4)]:
                await asyncio.sleep(0.01)
        stuck.set()
        async with asyncio.timeout(10):
            while (1, "refused", "manifest-mismatch") not in world.events:
                await asyncio.sleep(0.01)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_manifest_that_is_too_large_to_keep_is_fetched_again(world, monkeypatch):
    monkeypatch.setattr("gateway.vault.receiver._ENVELOPE_KEPT", 10)
    world.publish(4)
    await world.look()
    assert await world.journal.model_envelope(MODEL, 4) is None
    await world.restart()
    await world.look()
    assert world.running.versions == [(MODEL, 4)]
