"""A proof to its end: each fact of the chain that is another fails at its step, and no step passes for want of it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey
from tlog_chain import ACCOUNT, ANCHORED, DAY, LOGGED_S, caught, evidence_of, moved, spot
from tlog_world import LOG_KEY, TRUST, proof_of

from gateway.crypto.keys import PublicKey
from gateway.message import Alg
from gateway.tlog.checkpoint import VerifierKey
from gateway.tlog.evidence import Keyed, Unreached
from gateway.tlog.meaning import meaning
from gateway.tlog.onchain import CLOCK_SLACK_S, resolve, verify_on_chain
from gateway.tlog.verification import Result, StepName, Trust

TRUE = evidence_of(ANCHORED)
OTHER_KEY = PublicKey(Alg.ED25519, bytes(SigningKey(b"\x77" * 32).verify_key))
NOBODY = Trust()
CHAIN_STEPS = [
    StepName.CHAIN,
    StepName.DEVICE_REGISTERED,
    StepName.DEVICE_STATUS,
    StepName.MINER_KEY,
    StepName.ANCHOR_EVENT,
    StepName.NOT_FROZEN,
    StepName.FINAL,
]


def outcome(evidence=TRUE, proof=ANCHORED, given=NOBODY):
    return verify_on_chain(proof, given, [evidence])


def step(verification, name):
    return next(each for each in verification.steps if each.name is name)


def test_a_true_chain_makes_a_proof_valid_with_the_keys_of_the_registry():
    said = outcome()
    assert said.result is Result.VALID
    assert [each.name for each in said.steps][-8:] == [StepName.ANCHOR_CONSISTENCY, *CHAIN_STEPS]
    assert all(each.held for each in said.steps)
    assert outcome(given=TRUST).result is Result.VALID
    assert resolve(ANCHORED, [TRUE], Trust()) == TRUST


def wrong(**changes):
    return TRUE._replace(**changes)


ENROLLED, KEYED, ANCHORED_ROOT = TRUE.enrolled, TRUE.keyed[0], TRUE.anchors[0]
LIES = {
    "chain-id": (wrong(chain_id=1), {StepName.CHAIN}),
    "contract": (wrong(anchor_log=bytes(20)), {StepName.CHAIN}),
    "log-id": (wrong(log_id=bytes(32)), {StepName.CHAIN}),
    "no-device": (wrong(enrolled=None), {StepName.DEVICE_REGISTERED, StepName.DEVICE_STATUS}),
    "device-key": (
        wrong(enrolled=ENROLLED._replace(key=OTHER_KEY)),
        {StepName.DEVICE_SIGNATURE, StepName.DEVICE_REGISTERED},
    ),
    "device-key-refused": (wrong(enrolled=ENROLLED._replace(key=None)), {StepName.DEVICE_REGISTERED}),
    "device-fleet": (wrong(enrolled=ENROLLED._replace(fleet="fleet-b")), {StepName.DEVICE_REGISTERED}),
    "device-later": (wrong(enrolled=ENROLLED._replace(at=spot(123_457, LOGGED_S + 700))), {StepName.DEVICE_STATUS}),
    "revoked-before": (wrong(device_moves=(moved("revoked", -DAY, 110),)), {StepName.DEVICE_STATUS}),
    "no-gateway": (wrong(keyed=()), {StepName.MINER_KEY, StepName.ANCHOR_EVENT}),
    "log-key": (
        wrong(keyed=(KEYED._replace(log_key=OTHER_KEY.data),)),
        {StepName.CHECKPOINT, StepName.MINER_KEY},
    ),
    "account": (wrong(keyed=(KEYED._replace(account=bytes(20)),)), {StepName.ANCHOR_EVENT}),
    "no-anchor": (wrong(anchors=()), {StepName.ANCHOR_EVENT}),
    "anchor-size": (wrong(anchors=(ANCHORED_ROOT._replace(size=9),)), {StepName.ANCHOR_EVENT}),
    "anchor-root": (wrong(anchors=(ANCHORED_ROOT._replace(root=bytes(32)),)), {StepName.ANCHOR_EVENT}),
    "anchor-account": (wrong(anchors=(ANCHORED_ROOT._replace(account=b"\x09" * 20),)), {StepName.ANCHOR_EVENT}),
    "anchor-transaction": (
        wrong(anchors=(ANCHORED_ROOT._replace(at=ANCHORED_ROOT.at._replace(tx_hash=bytes(32))),)),
        {StepName.ANCHOR_EVENT},
    ),
    "anchor-block": (
        wrong(anchors=(ANCHORED_ROOT._replace(at=ANCHORED_ROOT.at._replace(block_hash=bytes(32))),)),
        {StepName.ANCHOR_EVENT},
    ),
    "canonical": (wrong(canonical=bytes(32)), {StepName.FINAL}),
    "second-history": (wrong(two_roots=(caught(ANCHORED, 8, bytes(32)),)), {StepName.NOT_FROZEN}),
    "above-the-freeze": (wrong(two_roots=(caught(ANCHORED, 5),)), {StepName.NOT_FROZEN}),
}


@pytest.mark.parametrize("lie", LIES)
def test_every_fact_that_is_another_fails_at_its_step_and_at_no_other(lie):
    evidence, steps = LIES[lie]
    said = outcome(evidence)
    assert said.result is Result.INVALID
    assert set(said.failed) == steps
    assert all(each.held for each in said.steps if each.name not in steps)


def changes_of(lie):
    return {field: value for field, value in LIES[lie][0]._asdict().items() if value != getattr(TRUE, field)}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(sorted(LIES)), min_size=1, max_size=6))
def test_of_several_lies_none_covers_another(names):
    changes, expected = {}, set()
    for name in names:
        if not changes.keys() & changes_of(name).keys():
            changes |= changes_of(name)
            expected |= LIES[name][1]
    said = outcome(TRUE._replace(**changes))
    assert said.result is Result.INVALID
    assert set(said.failed) == expected


OPEN = {
    "device-not-final": (wrong(final=99), None),
    "anchor-not-final": (wrong(final=123_455), {StepName.FINAL}),
    "no-block-yet": (
        wrong(final=123_000, canonical=None, anchors=()),
        {StepName.ANCHOR_EVENT, StepName.FINAL},
    ),
    "key-not-final": (wrong(keyed=(KEYED._replace(at=spot(123_000, 0)),), final=122_999), None),
    "frozen-later": (wrong(two_roots=(caught(ANCHORED, 9),)), {StepName.NOT_FROZEN}),
    "frozen-at-it": (wrong(two_roots=(caught(ANCHORED, 8),)), {StepName.NOT_FROZEN}),
    "suspended-after-logging": (
        wrong(device_moves=(moved("suspended", CLOCK_SLACK_S - 1, 123_000),)),
        {StepName.DEVICE_STATUS},
    ),
}


@pytest.mark.parametrize("case", OPEN)
def test_what_is_not_final_or_no_longer_certain_is_open_and_never_valid(case):
    evidence, steps = OPEN[case]
    said = outcome(evidence, given=TRUST)
    assert said.result is Result.NOT_ESTABLISHED
    found = {each.name for each in said.steps if each.held is None}
    assert found == steps if steps else found
    assert all(each.sentence.startswith("Not established") for each in said.steps if each.held is None)


@pytest.mark.parametrize(
    ("moves", "held"),
    [
        ([], True),
        ([("suspended", 3600, 190_000)], True),
        ([("suspended", -2 * DAY, 110), ("active", -DAY, 120)], True),
        ([("suspended", -2 * DAY, 110)], False),
        ([("suspended", -CLOCK_SLACK_S - 1, 110)], False),
        ([("suspended", -CLOCK_SLACK_S + 1, 110)], None),
        ([("suspended", 60, 123_456)], None),
        ([("suspended", -DAY, 110), ("active", 500, 123_400)], None),
        ([("suspended", -DAY, 110), ("active", CLOCK_SLACK_S, 123_400)], True),
    ],
)
def test_the_status_is_that_of_the_anchors_block_held_against_the_time_of_logging(moves, held):
    said = outcome(wrong(device_moves=tuple(moved(*move) for move in moves)))
    assert step(said, StepName.DEVICE_STATUS).held is held


def test_any_registered_key_of_the_log_will_do_and_its_blocks_are_told():
    first = Keyed(spot(80, LOGGED_S - 11 * DAY), OTHER_KEY.data, b"\x01" * 20, renewed=False)
    said = outcome(wrong(keyed=(first, KEYED._replace(renewed=True))))
    assert said.result is Result.VALID
    assert "from block 90" in step(said, StepName.MINER_KEY).sentence
    later = Keyed(spot(150_000, LOGGED_S + DAY), OTHER_KEY.data, b"\x02" * 20, renewed=True)
    said = outcome(wrong(keyed=(KEYED, later), miner_moves=(moved("revoked", DAY, 160_000),)))
    assert said.result is Result.VALID
    sentence = step(said, StepName.MINER_KEY).sentence
    assert "to block 150000" in sentence
    assert "The gateway is revoked since block 160000" in sentence


def test_the_account_of_a_renewal_counts_from_its_block_on():
    renewed = Keyed(spot(123_000, LOGGED_S), LOG_KEY.public_key, b"\x02" * 20, renewed=True)
    assert outcome(wrong(keyed=(KEYED, renewed))).failed == (StepName.ANCHOR_EVENT,)
    at_the_anchor = renewed._replace(at=ANCHORED_ROOT.at)
    assert outcome(wrong(keyed=(KEYED, at_the_anchor))).result is Result.VALID
    assert outcome(wrong(keyed=(at_the_anchor._replace(account=ACCOUNT),))).result is Result.VALID


def test_a_proof_without_an_anchor_is_not_established():
    plain = proof_of()
    said = outcome(evidence_of(plain), plain)
    assert said.result is Result.NOT_ESTABLISHED
    held = {each.name: each.held for each in said.steps}
    assert held[StepName.DEVICE_REGISTERED] is held[StepName.MINER_KEY] is held[StepName.NOT_FROZEN] is True
    assert held[StepName.ANCHOR_CONSISTENCY] is held[StepName.ANCHOR_EVENT] is held[StepName.FINAL] is None


def test_keys_of_the_verifier_that_the_registry_does_not_have_fail():
    said = outcome(given=Trust(OTHER_KEY, VerifierKey(LOG_KEY.name, OTHER_KEY.data)))
    assert set(said.failed) == {StepName.DEVICE_SIGNATURE, StepName.CHECKPOINT}


def test_an_envelope_that_is_none_leaves_the_device_open():
    broken = ANCHORED._replace(envelope=b"none")
    said = outcome(proof=broken)
    assert said.failed == (StepName.ENVELOPE,)
    assert step(said, StepName.DEVICE_REGISTERED).held is None


# --- several endpoints ---


def together(*answers, given=NOBODY):
    return verify_on_chain(ANCHORED, given, answers)


def second(**changes):
    return TRUE._replace(endpoint="http://two", **changes)


def test_endpoints_that_say_the_same_are_named_so_although_their_heads_differ():
    said = together(TRUE, second(final=200_050))
    assert said.result is Result.VALID
    assert said.steps[-1].name is StepName.ENDPOINTS_AGREE
    assert "up to block 200000" in said.steps[-1].sentence


@pytest.mark.parametrize("lie", LIES)
def test_one_liar_of_two_makes_nothing_invalid_and_nothing_valid(lie):
    for answers in ((TRUE, LIES[lie][0]._replace(endpoint="http://two")), (LIES[lie][0], second())):
        said = together(*answers, given=TRUST)
        assert said.result is Result.NOT_ESTABLISHED
        assert said.steps[-1].held is None
        assert "disagree" in said.steps[-1].sentence
        assert "http://two" in said.steps[-1].sentence


def test_two_liars_who_tell_the_same_are_believed():
    evidence = LIES["canonical"][0]
    assert together(evidence, evidence._replace(endpoint="http://two")).result is Result.INVALID


def test_an_endpoint_that_was_not_reached_is_named():
    gone = Unreached("http://two", "it does not answer")
    said = together(TRUE, gone)
    assert said.result is Result.NOT_ESTABLISHED
    assert "http://two was of no use (it does not answer)" in said.steps[-1].sentence
    alone = together(gone, given=TRUST)
    assert alone.result is Result.NOT_ESTABLISHED
    assert [each.held for each in alone.steps[-7:]] == [None] * 7
    assert together(gone).result is Result.UNTRUSTED


def test_nobody_asked_is_a_fault_of_the_caller():
    with pytest.raises(ValueError, match="ask an endpoint"):
        verify_on_chain(ANCHORED, TRUST, [])


# --- what it means ---


def test_what_is_proven_is_told_only_of_what_held():
    said = meaning(ANCHORED, outcome(), [TRUE])
    assert len(said.proves) == 4
    assert "block 123456 of chain 31337" in said.proves[2]
    assert any("asked alone" in sentence for sentence in said.does_not)
    both = [TRUE, second()]
    assert not any("asked alone" in sentence for sentence in meaning(ANCHORED, together(*both), both).does_not)
    unfinal = outcome(wrong(final=123_455))
    assert not any("block 123456" in sentence for sentence in meaning(ANCHORED, unfinal, [TRUE]).proves)


@pytest.mark.parametrize("lie", LIES)
def test_what_is_invalid_proves_nothing(lie):
    said = meaning(ANCHORED, outcome(LIES[lie][0]), [TRUE])
    assert said.proves == ()
    assert said.does_not[0].startswith("Anything")


def test_under_keys_that_nobody_vouches_for_nothing_is_proven():
    gone = [Unreached("http://one", "down")]
    assert meaning(ANCHORED, together(*gone), gone).proves == ()
