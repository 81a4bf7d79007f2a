"""Verifying a proof file: everything holds, or the step that does not is named; hints are never trust."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey
from tlog_world import (
    DEVICE,
    DEVICE_KEY,
    DEVICE_SIGNING_KEY,
    LOG_KEY,
    LOG_SIGNING_KEY,
    ORIGIN,
    TRUST,
    Log,
    entry_of,
    envelope_of,
    proof_of,
)

from gateway.crypto.keys import PublicKey
from gateway.message import Alg
from gateway.tlog import checkpoint, proof, tlog_proof
from gateway.tlog.checkpoint import VerifierKey
from gateway.tlog.entry import KeyEntry, encode_entry
from gateway.tlog.verification import Result, StepName, Trust, verify, verify_file

PLAIN = proof_of()
ANCHORED = proof_of(anchored=8)
STRANGER = SigningKey(b"\x99" * 32)
MESSAGE_STEPS = [
    StepName.ENVELOPE,
    StepName.DEVICE_SIGNATURE,
    StepName.ENTRY,
    StepName.INCLUSION,
    StepName.CHECKPOINT,
]


def failed(made, trust=TRUST):
    outcome = verify(made, trust)
    assert (outcome.result is Result.INVALID) == bool(outcome.failed)
    return list(outcome.failed)


def test_a_true_proof_is_valid_and_every_step_says_why():
    outcome = verify_file(proof.dump(PLAIN), TRUST)
    assert outcome.result is Result.VALID
    assert [step.name for step in outcome.steps] == MESSAGE_STEPS
    assert all(step.held for step in outcome.steps)
    assert [step.sentence for step in outcome.steps] == [
        f"The envelope is number 7 of a session of the device {DEVICE}.",
        "The signature holds under the device key you trust.",
        "The entry speaks of this message, with the verdict normal.",
        "The entry is number 3 of the 11 under the checkpoint's root.",
        "The checkpoint is signed with the log key you trust.",
    ]


@pytest.mark.parametrize("trust", [Trust(), Trust(device_key=DEVICE_KEY), Trust(log_key=LOG_KEY)])
def test_without_both_keys_a_proof_is_untrusted_and_never_valid(trust):
    outcome = verify(PLAIN, trust)
    assert outcome.result is Result.UNTRUSTED
    assert any("nobody vouches for" in step.sentence for step in outcome.steps)


def test_a_forger_who_brings_his_own_keys_is_untrusted_and_against_ours_invalid():
    envelope = envelope_of(signing_key=STRANGER)
    entry = entry_of(envelope)
    log = Log(entry, 3, 11)
    forged = PLAIN._replace(
        envelope=envelope,
        entry=entry,
        tlog_proof=tlog_proof.prove(log, 3, log.note(11, signing_key=STRANGER)),
        device_key=PublicKey(Alg.ED25519, bytes(STRANGER.verify_key)),
        log_key=VerifierKey(ORIGIN, bytes(STRANGER.verify_key)),
    )
    assert verify(forged, Trust()).result is Result.UNTRUSTED
    assert failed(forged) == [StepName.DEVICE_SIGNATURE, StepName.CHECKPOINT]
    with_true_hints = forged._replace(device_key=DEVICE_KEY, log_key=LOG_KEY)
    assert failed(with_true_hints) == [StepName.DEVICE_SIGNATURE, StepName.CHECKPOINT]
    assert failed(with_true_hints, Trust()) == [StepName.DEVICE_SIGNATURE, StepName.CHECKPOINT]


def test_an_anchor_is_compared_and_its_chain_left_open():
    outcome = verify(ANCHORED, TRUST)
    assert outcome.result is Result.VALID
    consistency, on_chain = outcome.steps[-2:]
    assert (consistency.name, consistency.held) == (StepName.ANCHOR_CONSISTENCY, True)
    assert (on_chain.name, on_chain.held) == (StepName.ANCHOR_ON_CHAIN, None)
    assert (
        on_chain.sentence
        == "Not established whether the chain has the anchored root: that needs an endpoint (--rpc)."
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.data())
def test_any_leaf_of_any_two_sizes_is_proven(size, anchored, data):
    index = data.draw(st.integers(0, size - 1))
    outcome = verify_file(proof.dump(proof_of(index, size, anchored)), TRUST)
    if index < anchored:
        assert outcome.result is Result.VALID
    else:
        assert list(outcome.failed) == [StepName.ANCHOR_CONSISTENCY]
        assert "not below the anchored size" in outcome.steps[-2].sentence


# --- one thing changed at a time ---


def flips(data):
    """Every byte of ``data`` changed, each in one of three ways."""
    for at in range(len(data)):
        yield data[:at] + bytes([data[at] ^ (0x01, 0x80, 0xFF)[at % 3]]) + data[at + 1 :]


def test_every_changed_byte_of_the_envelope_is_named():
    for envelope in flips(PLAIN.envelope):
        first = failed(PLAIN._replace(envelope=envelope))[0]
        assert first in {StepName.ENVELOPE, StepName.DEVICE_SIGNATURE}
    for at in range(len(PLAIN.envelope) - 64, len(PLAIN.envelope)):
        signature_changed = PLAIN.envelope[:at] + bytes([PLAIN.envelope[at] ^ 1]) + PLAIN.envelope[at + 1 :]
        assert failed(PLAIN._replace(envelope=signature_changed)) == [StepName.DEVICE_SIGNATURE]


def test_every_changed_byte_of_the_entry_is_named():
    for entry in flips(PLAIN.entry):
        names = failed(PLAIN._replace(entry=entry))
        assert StepName.INCLUSION in names
        assert set(names) <= {StepName.ENTRY, StepName.INCLUSION}


def test_every_changed_byte_of_the_inclusion_proof_is_named():
    hashes = PLAIN.tlog_proof.hashes
    for at, node in enumerate(hashes):
        for other in flips(node):
            changed = PLAIN.tlog_proof._replace(hashes=(*hashes[:at], other, *hashes[at + 1 :]))
            assert failed(PLAIN._replace(tlog_proof=changed)) == [StepName.INCLUSION]


@pytest.mark.parametrize("change", [lambda h: h[:-1], lambda h: (*h, h[0]), lambda h: h[:0], lambda h: h[::-1]])
def test_a_proof_of_other_hashes_is_named(change):
    changed = PLAIN.tlog_proof._replace(hashes=change(PLAIN.tlog_proof.hashes))
    assert failed(PLAIN._replace(tlog_proof=changed)) == [StepName.INCLUSION]


@pytest.mark.parametrize("index", [0, 2, 4, 10, 11, 1 << 62])
def test_another_index_is_named(index):
    assert failed(PLAIN._replace(tlog_proof=PLAIN.tlog_proof._replace(log_index=index))) == [StepName.INCLUSION]


def test_every_changed_byte_of_the_checkpoint_is_named():
    note = PLAIN.tlog_proof.note
    for other in flips(note):
        try:
            changed = PLAIN.tlog_proof._replace(note=other, checkpoint=checkpoint.parse(other))
        except checkpoint.CheckpointError:
            continue
        assert StepName.CHECKPOINT in failed(PLAIN._replace(tlog_proof=changed))


def test_every_changed_byte_of_the_whole_file_is_invalid_or_the_same_proof():
    data = proof.dump(ANCHORED)
    on_chain_only = {"chain_id", "contract", "log_id", "tx_hash", "block_number", "block_hash"}
    for other in flips(data):
        outcome = verify_file(other, TRUST)
        if outcome.result is Result.INVALID:
            continue
        read = proof.parse(other)
        if read != ANCHORED:  # what only the chain can contradict is left open, and said to be
            differing = {
                name for name in read.anchor._fields if getattr(read.anchor, name) != getattr(ANCHORED.anchor, name)
            }
            assert read._replace(anchor=ANCHORED.anchor) == ANCHORED
            assert differing <= on_chain_only
            assert outcome.steps[-1].held is None


def test_a_file_that_is_none_fails_at_the_step_file():
    outcome = verify_file(b"{}", TRUST)
    assert (outcome.result, outcome.failed) == (Result.INVALID, (StepName.FILE,))
    assert outcome.steps[0].sentence.startswith("No proof file: proof-members")


# --- one thing replaced by another true thing ---


def test_an_entry_of_another_message_is_named():
    log_entry = entry_of(envelope_of(seq=8))
    assert failed(proof_of(entry=log_entry)) == [StepName.ENTRY]


@pytest.mark.parametrize(
    "change", [{"digest": bytes(32)}, {"device_id": "other"}, {"session": b"SESSION!"}, {"seq": 8}], ids=str
)
def test_an_entry_that_differs_in_one_fact_is_named(change):
    assert failed(proof_of(entry=entry_of(envelope_of(), **change))) == [StepName.ENTRY]


def test_an_entry_of_another_kind_is_named():
    assert failed(proof_of(entry=encode_entry(KeyEntry(1, bytes(32), bytes(32))))) == [StepName.ENTRY]


def test_an_envelope_that_is_none_leaves_what_depends_on_it_open():
    outcome = verify(PLAIN._replace(envelope=b"no envelope"), TRUST)
    assert [step.held for step in outcome.steps] == [False, None, None, True, True]


def test_a_signature_by_another_device_is_named():
    envelope = envelope_of(signing_key=STRANGER)
    assert failed(proof_of(envelope=envelope)) == [StepName.DEVICE_SIGNATURE]


def test_an_envelope_of_another_algorithm_than_the_key_is_named():
    envelope = envelope_of(alg=-9)
    outcome = verify(proof_of(envelope=envelope), TRUST)
    assert list(outcome.failed) == [StepName.DEVICE_SIGNATURE]
    assert "another algorithm" in outcome.steps[1].sentence


def test_hints_that_are_not_the_trusted_keys_are_named():
    other_device = PublicKey(Alg.ED25519, bytes(STRANGER.verify_key))
    assert failed(PLAIN._replace(device_key=other_device)) == [StepName.DEVICE_SIGNATURE]
    other_log = VerifierKey(ORIGIN, bytes(STRANGER.verify_key))
    assert failed(PLAIN._replace(log_key=other_log)) == [StepName.CHECKPOINT]
    assert failed(PLAIN, Trust(other_device, LOG_KEY)) == [StepName.DEVICE_SIGNATURE]
    assert failed(PLAIN, Trust(DEVICE_KEY, other_log)) == [StepName.CHECKPOINT]


def test_a_checkpoint_of_another_log_is_named():
    log = Log(PLAIN.entry, 3, 11)
    other = "securenet/fleet-a/gw-2"
    note = log.note(11, origin=other)
    changed = PLAIN._replace(tlog_proof=tlog_proof.prove(log, 3, note))
    outcome = verify(changed, TRUST)
    assert list(outcome.failed) == [StepName.CHECKPOINT]
    assert "another log" in outcome.steps[4].sentence
    named_so = changed._replace(log_key=VerifierKey(other, bytes(LOG_SIGNING_KEY.verify_key)))
    assert failed(named_so) == [StepName.CHECKPOINT]
    assert failed(named_so, Trust(device_key=DEVICE_KEY)) == []


# --- the anchor ---


def anchored_with(**changes):
    return ANCHORED._replace(anchor=ANCHORED.anchor._replace(**changes))


@pytest.mark.parametrize(
    "changed",
    [
        anchored_with(root=bytes(32)),
        anchored_with(size=7),
        anchored_with(size=9),
        anchored_with(size=11),
        anchored_with(size=0),
        anchored_with(size=3),
        ANCHORED._replace(consistency=None),
        ANCHORED._replace(consistency=()),
        ANCHORED._replace(consistency=ANCHORED.consistency[:-1]),
        ANCHORED._replace(consistency=(*ANCHORED.consistency, bytes(32))),
        proof_of(anchored=11)._replace(consistency=()),
        proof_of(anchored=11)._replace(anchor=proof_of(anchored=11).anchor._replace(root=bytes(32))),
        proof_of(anchored=3),
    ],
)
def test_an_anchor_that_contradicts_the_checkpoint_is_named(changed):
    assert failed(changed) == [StepName.ANCHOR_CONSISTENCY]


@pytest.mark.parametrize("anchored", [8, 20])
def test_every_changed_byte_of_the_consistency_proof_is_named(anchored):
    made = proof_of(anchored=anchored)
    for at, node in enumerate(made.consistency):
        for other in flips(node):
            changed = made._replace(consistency=(*made.consistency[:at], other, *made.consistency[at + 1 :]))
            assert failed(changed) == [StepName.ANCHOR_CONSISTENCY]


def test_equal_sizes_need_no_consistency_proof():
    made = proof_of(anchored=11)
    assert made.consistency is None
    assert verify(made, TRUST).result is Result.VALID


def test_the_documents_member_order_and_spacing_prove_nothing():
    document = json.loads(proof.dump(PLAIN))
    shuffled = json.dumps(dict(reversed(document.items())), ensure_ascii=True, indent=None).encode()
    assert verify_file(shuffled, TRUST).result is Result.VALID
    assert base64.b64decode(document["envelope"]) == PLAIN.envelope
    assert bytes(DEVICE_SIGNING_KEY.verify_key) == DEVICE_KEY.data
