"""Receipts: deterministic bytes, strict reading, and a signature that binds every one of them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from firmware_sim.keys import LogKey as DeviceLogKey
from firmware_sim.receipt import ReceiptVerifier as DeviceVerifier
from gateway import cbor, receipt
from gateway.crypto.keys import PublicKey
from gateway.message import Alg, RejectReason
from gateway.receipt import ReceiptError, ReceiptWriter

ORIGIN = "securenet/fleet-a/gw-1"
SIGNING_KEY = SigningKey(bytes(range(32)))
LOG_KEY = PublicKey(Alg.ED25519, bytes(SIGNING_KEY.verify_key))
DIGEST, LEAF = b"\xd1" * 32, b"\x1e" * 32
NOW = 1_732_165_200_123

COUNTS = st.one_of(
    st.sampled_from([0, 23, 24, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**63 - 1]), st.integers(0, 2**63 - 1)
)
DIGESTS = st.binary(min_size=32, max_size=32)
FACTS = st.one_of(
    st.tuples(DIGESTS, COUNTS, COUNTS, st.none(), DIGESTS),
    st.tuples(DIGESTS, st.none(), COUNTS, st.sampled_from(RejectReason), st.none()),
)
ORIGINS = st.builds(
    "securenet/{}/{}".format, st.text("aZ0._:-", min_size=1, max_size=32), st.text("b", min_size=1, max_size=64)
)


def signed(facts=(DIGEST, 5, NOW, None, LEAF), origin=ORIGIN, key=SIGNING_KEY):
    payload = receipt.receipt_payload(*facts)
    return receipt.assemble(origin, payload, key.sign(receipt.signing_input(origin, payload)).signature)


ACCEPTED = signed()
REJECTED = signed((DIGEST, None, NOW, RejectReason.TOO_OLD, None))


@given(FACTS)
def test_the_payload_is_that_of_the_general_encoder(facts):
    digest, index, received_ms, reason, leaf = facts
    status = "accepted" if reason is None else "rejected"
    text = None if reason is None else str(reason)
    fields = {1: digest, 2: index, 3: received_ms, 4: status, 5: text, 6: leaf}
    assert receipt.receipt_payload(*facts) == cbor.encode(fields)


@given(ORIGINS, FACTS)
def test_the_signing_input_is_the_sig_structure(origin, facts):
    payload = receipt.receipt_payload(*facts)
    protected = cbor.encode({1: -19, 4: origin.encode(), 16: "securenet.receipt/1"})
    structure = cbor.encode(["Signature1", protected, b"", payload])
    assert ReceiptWriter(origin).signing_input(payload) == structure
    assert receipt.assemble(origin, payload, bytes(64)) == b"\xd2" + cbor.encode([protected, {}, payload, bytes(64)])


@given(ORIGINS, FACTS)
def test_a_receipt_is_read_back_and_holds(origin, facts):
    read = receipt.parse(signed(facts, origin))
    assert (read.digest, read.log_index, read.received_ms, read.reason, read.leaf_hash) == facts
    assert read.origin == origin
    assert read.accepted is (facts[3] is None)
    assert receipt.verify_receipt(read, LOG_KEY, origin)


def test_a_receipt_of_another_log_or_key_does_not_hold():
    read = receipt.parse(ACCEPTED)
    assert receipt.verify_receipt(read, LOG_KEY, ORIGIN)
    assert not receipt.verify_receipt(read, LOG_KEY, "securenet/fleet-a/gw-2")
    other = PublicKey(Alg.ED25519, bytes(SigningKey(bytes(32)).verify_key))
    assert not receipt.verify_receipt(read, other, ORIGIN)


@pytest.mark.parametrize("whole", [ACCEPTED, REJECTED], ids=["accepted", "rejected"])
def test_no_byte_of_a_receipt_can_be_changed(whole):
    for at in range(len(whole)):
        for flip in (0x01, 0x80, 0xFF):
            changed = whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :]
            try:
                read = receipt.parse(changed)
            except ReceiptError:
                continue
            assert not receipt.verify_receipt(read, LOG_KEY, read.origin), (at, flip)


@pytest.mark.parametrize("whole", [ACCEPTED, REJECTED], ids=["accepted", "rejected"])
def test_a_receipt_cut_short_or_continued_is_refused(whole):
    for cut in range(len(whole)):
        with pytest.raises(ReceiptError):
            receipt.parse(whole[:cut])
    with pytest.raises(ReceiptError):
        receipt.parse(whole + b"\x00")


@given(st.binary(max_size=300))
@example(b"\xd2\x84")
@example(b"\xd2\x84\x40\xa0\x40\x58\x40" + bytes(64))
@example(bytes(5000))
def test_arbitrary_bytes_never_raise_anything_but_receipt_error(data):
    with pytest.raises(ReceiptError):
        receipt.parse(data)


@pytest.mark.parametrize(
    "facts",
    [
        (DIGEST, None, NOW, None, LEAF),
        (DIGEST, 5, NOW, None, None),
        (DIGEST, None, NOW, None, None),
        (DIGEST, 5, NOW, "too-old", None),
        (DIGEST, None, NOW, "too-old", LEAF),
        (DIGEST, 5, NOW, "too-old", LEAF),
        (DIGEST[1:], 5, NOW, None, LEAF),
        (DIGEST, 5, NOW, None, LEAF[1:]),
    ],
)
def test_index_and_leaf_hash_are_null_exactly_when_rejected(facts):
    with pytest.raises(ValueError, match="receipt"):
        receipt.receipt_payload(*facts)
    digest, index, received_ms, reason, leaf = facts
    status = "accepted" if reason is None else "rejected"
    payload = cbor.encode({1: digest, 2: index, 3: received_ms, 4: status, 5: reason, 6: leaf})
    with pytest.raises(ReceiptError):
        receipt.parse(receipt.assemble(ORIGIN, payload, bytes(64)))


GOOD = {1: DIGEST, 2: 5, 3: NOW, 4: "accepted", 5: None, 6: LEAF}
WRONG_PAYLOADS = {
    "a text as digest": {**GOOD, 1: "d" * 32},
    "a negative index": {**GOOD, 2: -1},
    "an index of 64 bits": {**GOOD, 2: 1 << 63},
    "an index that is true": {**GOOD, 2: True},
    "no time": {**GOOD, 3: None},
    "a float time": {**GOOD, 3: 1.5},
    "another status": {**GOOD, 4: "perhaps"},
    "accepted with a reason": {**GOOD, 5: "too-old"},
    "rejected without a reason": {**GOOD, 2: None, 4: "rejected", 6: None},
    "a reason in capitals": {**GOOD, 2: None, 4: "rejected", 5: "TOO OLD", 6: None},
    "a reason that is a number": {**GOOD, 2: None, 4: "rejected", 5: 7, 6: None},
    "a text as leaf hash": {**GOOD, 6: "l" * 32},
    "a label too many": {**GOOD, 7: 0},
    "a label too few": {label: GOOD[label] for label in (1, 2, 3, 4, 5)},
    "an array": [1, 2, 3, 4, 5, 6],
}


@pytest.mark.parametrize("name", WRONG_PAYLOADS)
def test_a_payload_that_breaks_the_format_is_refused_even_when_signed(name):
    payload = cbor.encode(WRONG_PAYLOADS[name])
    signature = SIGNING_KEY.sign(receipt.signing_input(ORIGIN, payload)).signature
    with pytest.raises(ReceiptError):
        receipt.parse(receipt.assemble(ORIGIN, payload, signature))


HEADER = {1: -19, 4: ORIGIN.encode(), 16: "securenet.receipt/1"}
WRONG_HEADERS = {
    "EdDSA": {**HEADER, 1: -8},
    "an algorithm that is a text": {**HEADER, 1: "Ed25519"},
    "a text as kid": {**HEADER, 4: ORIGIN},
    "a kid that is no UTF-8": {**HEADER, 4: b"\xff"},
    "an empty kid": {**HEADER, 4: b""},
    "a kid of 108 bytes": {**HEADER, 4: b"a" * 108},
    "another type": {**HEADER, 16: "securenet.receipt/2"},
    "a label too many": {**HEADER, 3: 0},
    "a label too few": {1: -19, 4: ORIGIN.encode()},
}


@pytest.mark.parametrize("name", WRONG_HEADERS)
def test_a_header_that_breaks_the_format_is_refused(name):
    payload = cbor.encode(GOOD)
    for header, refused in ((HEADER, False), (WRONG_HEADERS[name], True)):
        data = b"\xd2" + cbor.encode([cbor.encode(header), {}, payload, bytes(64)])
        if refused:
            with pytest.raises(ReceiptError):
                receipt.parse(data)
        else:
            assert receipt.parse(data).log_index == 5


def test_an_unprotected_header_is_refused():
    data = b"\xd2" + cbor.encode([cbor.encode(HEADER), {1: 2}, cbor.encode(GOOD), bytes(64)])
    with pytest.raises(ReceiptError, match="unprotected"):
        receipt.parse(data)


@pytest.mark.parametrize("origin", ["", "a" * 108])
def test_a_writer_needs_an_origin_that_can_be_read_back(origin):
    with pytest.raises(ValueError, match="origin"):
        ReceiptWriter(origin)


def test_a_signature_of_another_length_is_not_assembled():
    with pytest.raises(ValueError, match="64 bytes"):
        receipt.assemble(ORIGIN, receipt.receipt_payload(DIGEST, 5, NOW, None, LEAF), bytes(63))


@given(FACTS)
def test_a_device_that_knows_the_pages_only_reads_the_same_receipt(facts):
    device = DeviceVerifier(DeviceLogKey(LOG_KEY.data, ORIGIN))
    read = device.verify(signed(facts))
    assert (read.digest, read.index, read.received_ms, read.reason, read.leaf_hash) == facts
