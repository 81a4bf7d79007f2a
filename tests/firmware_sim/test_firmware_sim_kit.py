"""The conformance kit itself: its cases are many, named apart, and what they claim to be."""

import hashlib
import time

import pytest
from cryptography.exceptions import InvalidSignature
from firmware_sim_fake_gateway import holds

from firmware_sim.conformance import all_cases, judge
from firmware_sim.device import SimulatedDevice
from firmware_sim.envelope import open_envelope
from firmware_sim.keys import LogKey, generate, new_key
from firmware_sim.kit_coap import CODES
from firmware_sim.kit_model import Bench, Case, KitError, Step
from firmware_sim.kit_signature import ED25519, ED25519_ORDER, other_s
from firmware_sim.ledger import SIGNED_REASONS, UNSIGNED_REASONS, Ledger, Outgoing, is_expected
from firmware_sim.receipt import Receipt, ReceiptVerifier, issue_receipt
from firmware_sim.report import report_of
from firmware_sim.scenarios import KIT_ROLES, SCENARIOS, Actor

KEYS = generate("villa", 400, (*SCENARIOS, *KIT_ROLES), 4, b"test")
OUTCOMES = {"accepted", "duplicate", "code-4.15"} | UNSIGNED_REASONS | SIGNED_REASONS
CASES = list(all_cases())


@pytest.fixture(scope="module")
def steps():
    bench = Bench(KEYS, "coap", 65_536)
    return {case.name: list(case.make(bench)) for case in CASES}


def test_there_are_many_cases_and_each_has_a_name_of_its_own():
    names = [case.name for case in CASES]
    assert len(names) > 900
    assert len(set(names)) == len(names)


def test_every_reason_of_the_page_that_a_message_can_cause_is_asked_for_over_coap(steps):
    asked = {step.expected[0] for case in CASES if "coap" in case.over for step in steps[case.name]}
    assert asked == OUTCOMES - {"identity-mismatch", "rate-limited"}


def test_only_unclear_cases_allow_two_outcomes(steps):
    for case in CASES:
        assert any(len(step.expected) > 1 for step in steps[case.name]) == bool(case.unclear), case.name
        assert {each for step in steps[case.name] for each in step.expected} <= OUTCOMES


def test_what_must_be_accepted_is_well_formed_and_its_signature_holds(steps):
    devices = {device.device_id: device.key for device in KEYS.devices}
    checked = 0
    for case in CASES:
        for step in steps[case.name]:
            if step.expected == ("accepted",):
                opened = open_envelope(step.data)
                assert holds(devices[opened.facts.device_id], opened), case.name
                assert hashlib.sha256(opened.signing_input).digest() == step.digest
                assert len(step.data) <= 65_536
                checked += 1
    assert checked > 300


def test_what_must_fail_by_its_signature_does_not_hold(steps):
    devices = {device.device_id: device.key for device in KEYS.devices}
    for name, made in steps.items():
        for step in made:
            if step.expected == ("bad-signature",):
                opened = open_envelope(step.data)
                broken = len(opened.signature) != 64
                # OpenSSL takes a neutral R, which the page refuses.
                assert broken or "R neutral" in name or not _openssl_holds(devices[opened.facts.device_id], opened), (
                    name
                )


def _openssl_holds(key, opened):
    try:
        return holds(key, opened)
    except (InvalidSignature, ValueError):
        return False


def test_what_must_be_malformed_is_signed_all_the_same_so_that_nothing_else_is_wrong(steps):
    made = [step for case in CASES if "/header/" in case.name for step in steps[case.name]]
    assert len(made) > 350
    assert all(step.digest for step in made)


def test_the_largest_message_is_as_large_as_the_limit_allows(steps):
    assert len(steps["cose/size/the largest message"][0].data) == 65_536
    assert 65_536 - len(steps["jws/size/the largest message"][0].data) < 4


def test_crafted_nonce_points_satisfy_the_equation_they_are_made_for():
    crafted = dict(ED25519)
    key, message = new_key("Ed25519", b"s"), b"message"
    for name in ("R neutral", "R with a part of order eight"):
        signature = crafted[name](key, message)
        assert len(signature) == 64
        assert int.from_bytes(signature[32:], "little") < ED25519_ORDER
    plain, shifted = key.sign(message), crafted["S plus the order"](key, message)
    assert plain[:32] == shifted[:32]
    assert int.from_bytes(shifted[32:], "little") - int.from_bytes(plain[32:], "little") == ED25519_ORDER


def test_the_other_s_is_another_signature_and_the_way_back():
    signature = new_key("ES256", b"s").sign(b"m")
    assert other_s(signature) != signature
    assert other_s(other_s(signature)) == signature


def test_too_few_devices_are_named_as_the_fault():
    bench = Bench(generate("villa", 8, (), 0, b"s"), "mqtt", 65_536)
    bench.solo()
    with pytest.raises(KitError, match="too few devices"):
        [bench.solo() for _ in range(9)]


def test_judging_knows_right_wrong_silent_and_the_second_reading():
    case = Case("n", "§", lambda _: ())
    step, unclear = Step(b"", ("malformed",)), Step(b"", ("accepted", "malformed"))

    def verdict(expected, outcome):
        return judge(case, [expected], [outcome], "mqtt").verdict

    assert verdict(step, "malformed") == verdict(step, "silent") == verdict(unclear, "accepted") == "passed"
    assert verdict(step, "accepted") == verdict(step, "bad-signature") == "failed"
    assert verdict(unclear, "malformed") == verdict(unclear, "silent") == "second reading"


def test_every_reason_of_the_page_has_its_code():
    assert set(CODES) >= UNSIGNED_REASONS - {"identity-mismatch"} | SIGNED_REASONS


# The scenarios of `run`


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("index", range(4))
def test_every_move_of_a_scenario_expects_only_outcomes_of_the_page(name, index):
    records = KEYS.by_role(name)
    actor = Actor(
        name, SimulatedDevice(records[index], 1), [each for each in records if each != records[index]], 65_536
    )
    seen = list(SCENARIOS[name].move(actor, time.time()))
    for message in seen:
        seen += message.then
    assert all(message.expected <= OUTCOMES and message.sender == records[index].device_id for message in seen)
    assert any(message.kind == name for message in seen)
    assert all(message.expected == {"accepted"} for message in seen if message.kind != name)


def outgoing(expected, via="mqtt", kind="forged"):
    return Outgoing("d", "d", b"", 0, b"x", b"", "cose", kind, frozenset(expected), via)


def test_silence_is_right_only_where_the_page_is_silent():
    assert is_expected(outgoing({"bad-signature"}), "silent")
    assert not is_expected(outgoing({"bad-signature"}, "coap"), "silent")
    assert not is_expected(outgoing({"too-old"}), "silent")
    assert not is_expected(outgoing({"accepted"}, kind="honest"), "silent")


def test_a_broker_may_refuse_an_attack_but_not_an_honest_message():
    assert is_expected(outgoing({"device-unknown"}), "refused-by-broker")
    assert not is_expected(outgoing({"accepted"}, kind="honest"), "refused-by-broker")


def test_a_ledger_counts_an_accepted_forgery_and_noise_for_a_receipt():

    log_key, settled = new_key("Ed25519", b"log"), []
    ledger = Ledger(ReceiptVerifier(LogKey(log_key.public_key, None)), settled.append)
    message = outgoing({"bad-signature"})
    message.digest = bytes(32)
    ledger.enter(message, 1, 1.0)
    ledger.on_receipt(issue_receipt(log_key, "o", Receipt(bytes(32), 3, 1, True, None, bytes(32))), 2.0)
    ledger.on_receipt(b"noise", 2.0)
    assert ledger.open_count == 1
    ledger.on_puback(message, 0, 2)
    assert ledger.open_count == 0
    report = report_of(ledger, 1.0)
    assert report["hostile_accepted"] == report["receipts_bad"] == report["unexpected"] == 1
    assert settled == [message]


def test_one_digest_with_two_receipts_is_a_bad_receipt():

    log_key = new_key("Ed25519", b"log")
    ledger = Ledger(ReceiptVerifier(LogKey(log_key.public_key, None)), lambda _: None)
    for index in (3, 4):
        message = outgoing({"duplicate"} if index == 4 else {"accepted"}, kind="replayed")
        message.digest = bytes(32)
        ledger.enter(message, 1, 1.0)
        ledger.on_receipt(issue_receipt(log_key, "o", Receipt(bytes(32), index, 1, True, None, bytes(32))), 2.0)
    assert ledger.receipts_bad == 1
    assert ledger.tallies["replayed"].outcomes["accepted"] == 2
