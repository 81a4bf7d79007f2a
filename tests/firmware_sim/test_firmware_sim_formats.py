"""What a device writes can be read back, and means what it meant."""

import base64
import hashlib
import json

import cbor2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_sim import coap_packets, mqtt_packets
from firmware_sim.envelope import (
    CONTENT_TYPES,
    Facts,
    base64url,
    cbor_number,
    from_base64url,
    open_envelope,
    seal,
    sig_structure,
)
from firmware_sim.keys import (
    KeyFileError,
    LogKey,
    dump,
    format_log_key,
    generate,
    load,
    miner_line,
    new_key,
    parse_log_key,
    registry_lines,
    write_private,
)
from firmware_sim.payload import encode_payload
from firmware_sim.receipt import Receipt, ReceiptError, ReceiptVerifier, fake_leaf_hash, issue_receipt
from firmware_sim.scenarios import KIT_ROLES, SCENARIOS
from firmware_sim.signals import SIGNALS, fault, noise, readings
from firmware_sim.signals import Source as SignalSource

IDS = st.text("ABCxyz019._:-", min_size=1, max_size=64).filter(lambda text: text not in {".", ".."})
FACTS = st.builds(
    Facts,
    device_id=IDS,
    fleet=IDS.map(lambda text: "f" + text[:31]),
    content_type=st.sampled_from(sorted(CONTENT_TYPES)),
    issued_at=st.one_of(st.integers(0, 2**53 - 1), st.floats(0, 2**53 - 1)),
    session=st.binary(min_size=8, max_size=8),
    seq=st.integers(0, 2**63 - 1),
)
KEYS = {alg: new_key(alg, b"test", "one") for alg in ("Ed25519", "ES256")}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["cose", "jws"]), st.sampled_from(sorted(KEYS)), FACTS, st.binary(max_size=300))
def test_an_envelope_opens_to_what_was_sealed_and_its_signature_holds(encoding, alg, facts, payload):
    key = KEYS[alg]
    sealed = seal(encoding, key, facts, payload)
    opened = open_envelope(sealed.data)
    assert (opened.encoding, opened.facts, opened.payload) == (encoding, facts, payload)
    assert hashlib.sha256(opened.signing_input).digest() == sealed.digest
    if alg == "Ed25519":
        ed25519.Ed25519PublicKey.from_public_bytes(key.public_key).verify(opened.signature, opened.signing_input)
    else:
        r, s = (int.from_bytes(part, "big") for part in (opened.signature[:32], opened.signature[32:]))
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.public_key)
        point.verify(encode_dss_signature(r, s), opened.signing_input, ec.ECDSA(hashes.SHA256()))


def test_a_cose_envelope_is_the_one_that_a_cbor_library_would_write():
    facts = Facts("home-1", "villa", 112, 1_760_000_000.5, bytes(range(8)), 7)
    sealed = seal("cose", KEYS["Ed25519"], facts, b"\x80")
    protected = cbor2.dumps(
        {1: -8, 3: 112, 4: b"home-1", 15: {3: "villa", 6: 1_760_000_000.5, 7: facts.session + bytes(7) + b"\7"}}
    )
    structure = cbor2.dumps(["Signature1", protected, b"", b"\x80"])
    signature = KEYS["Ed25519"].sign(structure)
    assert sealed.data == cbor2.dumps(cbor2.CBORTag(18, [protected, {}, b"\x80", signature]))
    assert sealed.digest == hashlib.sha256(structure).digest()


@given(st.integers(-(2**64), 2**64 - 1))
def test_numbers_are_written_in_their_shortest_form(value):
    assert cbor_number(value) == cbor2.dumps(value)


@given(st.binary(max_size=50))
def test_base64url_has_no_padding_and_reads_back(value):
    assert "=" not in base64url(value)
    assert from_base64url(base64url(value)) == value


# Receipts

LOG_KEY = new_key("Ed25519", b"test", "log")
ORIGIN = "securenet/villa/gw"
RECEIPTS = st.builds(
    lambda digest, index, time_ms, reason: Receipt(
        digest, None if reason else index, time_ms, reason is None, reason, None if reason else fake_leaf_hash(digest)
    ),
    st.binary(min_size=32, max_size=32),
    st.integers(0, 2**63),
    st.integers(0, 2**53),
    st.one_of(st.none(), st.sampled_from(["too-old", "sequence-reused"])),
)


def verifier(origin=ORIGIN):
    return ReceiptVerifier(LogKey(LOG_KEY.public_key, origin))


@given(RECEIPTS)
def test_a_receipt_reads_back(receipt):
    assert verifier().verify(issue_receipt(LOG_KEY, ORIGIN, receipt)) == receipt


@settings(max_examples=150)
@given(RECEIPTS, st.data())
def test_a_receipt_with_any_bit_changed_is_refused(receipt, data):
    good = issue_receipt(LOG_KEY, ORIGIN, receipt)
    position = data.draw(st.integers(0, len(good) * 8 - 1))
    bad = bytearray(good)
    bad[position // 8] ^= 1 << position % 8
    with pytest.raises(ReceiptError):
        verifier().verify(bytes(bad))


def test_a_receipt_of_another_key_or_another_log_is_refused():
    receipt = Receipt(bytes(32), 0, 1, True, None, bytes(32))
    with pytest.raises(ReceiptError, match="signature"):
        verifier().verify(issue_receipt(new_key("Ed25519"), ORIGIN, receipt))
    with pytest.raises(ReceiptError, match="another log"):
        verifier().verify(issue_receipt(LOG_KEY, "securenet/villa/other", receipt))


def test_a_verifier_without_an_origin_holds_on_to_the_first_one():
    careful = verifier(None)
    receipt = Receipt(bytes(32), 0, 1, True, None, bytes(32))
    careful.verify(issue_receipt(LOG_KEY, ORIGIN, receipt))
    with pytest.raises(ReceiptError, match="another log"):
        careful.verify(issue_receipt(LOG_KEY, "securenet/villa/other", receipt))


@pytest.mark.parametrize(
    "receipt",
    [
        Receipt(bytes(31), 0, 1, True, None, bytes(32)),
        Receipt(bytes(32), None, 1, True, None, bytes(32)),
        Receipt(bytes(32), 0, 1, True, None, None),
        Receipt(bytes(32), 0, 1, True, "too-old", bytes(32)),
        Receipt(bytes(32), 0, 1, False, "too-old", None),
        Receipt(bytes(32), None, 1, False, None, None),
        Receipt(bytes(32), None, -1, False, "too-old", None),
        Receipt(bytes(32), None, 1, False, "Too old!", None),
        Receipt(bytes(32), None, 1, False, "", None),
        Receipt(bytes(32), None, 1, False, "x" * 65, None),
    ],
)
def test_a_signed_receipt_of_the_wrong_shape_is_refused(receipt):
    with pytest.raises(ReceiptError):
        verifier().verify(issue_receipt(LOG_KEY, ORIGIN, receipt))


@pytest.mark.parametrize("verdict", [[], {}, 5, None, "perhaps"])
def test_a_signed_verdict_of_any_type_is_refused_in_words(verdict):
    payload = cbor2.dumps({1: bytes(32), 2: 0, 3: 1, 4: verdict, 5: None, 6: bytes(32)})
    protected = cbor2.dumps({1: -19, 4: ORIGIN.encode(), 16: "securenet.receipt/1"})
    signature = LOG_KEY.sign(sig_structure(protected, payload))
    sealed = cbor2.dumps(cbor2.CBORTag(18, [protected, {}, payload, signature]))
    with pytest.raises(ReceiptError, match="verdict unknown"):
        verifier().verify(sealed)


def test_a_receipt_longer_than_any_is_refused_before_it_is_read():
    receipt = Receipt(bytes(32), 0, 1, True, None, bytes(32))
    long = "securenet/" + "f" * 1_000
    with pytest.raises(ReceiptError, match="longer"):
        verifier(long).verify(issue_receipt(LOG_KEY, long, receipt))


# Keys and the registry

ROLES = (*SCENARIOS, *KIT_ROLES)


def test_a_key_file_reads_back_and_is_for_its_owner_only(tmp_path):
    keys = generate("villa", 20, ROLES, 2)
    path = tmp_path / "keys.json"
    write_private(path, dump(keys))
    assert load(path) == keys
    assert path.stat().st_mode & 0o777 == 0o600


def test_half_of_a_fleet_speaks_jws_and_a_part_signs_with_p256():
    honest = generate("villa", 80, (), 0).by_role("honest")
    assert sum(device.encoding == "jws" for device in honest) == 40
    assert sum(device.key.alg == "ES256" for device in honest) == 20
    assert {device.domain for device in honest} == set(SIGNALS)
    assert len({device.device_id for device in honest}) == 80


def test_two_key_files_can_name_different_devices():
    low, high = (generate("villa", 20, ROLES, 2, first=first).devices for first in (0, 1_000))
    assert not {device.device_id for device in low} & {device.device_id for device in high}


def test_registry_lines_name_every_registered_device_once_and_no_secret():
    keys = generate("villa", 10, ROLES, 2)
    rows = [json.loads(line) for line in registry_lines(keys)]
    assert len({row["id"] for row in rows}) == len(rows)
    assert not any(row["id"].startswith("sybil") for row in rows)
    assert {row["status"] for row in rows} == {"active", "revoked", "suspended"}
    for row in rows:
        assert set(row) == {"kind", "id", "fleet", "alg", "public_key", "status"}
        assert len(base64.b64decode(row["public_key"])) == (32 if row["alg"] == "Ed25519" else 65)


def test_the_miner_line_binds_gateway_key_and_log():
    assert json.loads(miner_line("villa", "gw", bytes(32))) == {
        "kind": "miner",
        "id": "gw",
        "fleet": "villa",
        "alg": "Ed25519",
        "public_key": base64.b64encode(bytes(32)).decode(),
        "status": "active",
        "log": ORIGIN,
    }


@pytest.mark.parametrize("text", ["", "{}", '{"type": "securenet.fleet-keys/1", "fleet": "f", "devices": [{}]}'])
def test_a_broken_key_file_is_refused_with_its_name(tmp_path, text):
    path = tmp_path / "keys.json"
    path.write_text(text)
    with pytest.raises(KeyFileError, match=r"keys\.json"):
        load(path)


@given(st.binary(min_size=32, max_size=32))
def test_a_log_key_reads_in_both_forms(key):
    assert parse_log_key(format_log_key(ORIGIN, key)) == LogKey(key, ORIGIN)
    assert parse_log_key(base64.b64encode(key).decode() + "\n") == LogKey(key, None)


@pytest.mark.parametrize(
    "text", ["", "AAAA", "securenet/villa/gw+00000000+" + base64.b64encode(b"\1" * 33).decode(), "é"]
)
def test_a_log_key_that_does_not_hold_is_refused(text):
    with pytest.raises(KeyFileError):
        parse_log_key(text)


# Signals and payloads

MOMENTS = st.floats(1.6e9, 2.0e9)


@settings(max_examples=50)
@given(st.sampled_from(sorted(SIGNALS)), st.integers(0, 99), MOMENTS)
def test_a_measurement_is_a_pure_function_and_finite(domain, seed, at_s):
    first = readings(domain, seed, "d", at_s)
    assert first == readings(domain, seed, "d", at_s)
    assert all(abs(reading.value) < 1e7 for reading in first)


@given(MOMENTS)
def test_noise_is_bounded_and_smooth(at_s):
    source = SignalSource(1, "d", "x")
    assert -1 <= noise(source, at_s, 60) <= 1
    assert abs(noise(source, at_s, 60) - noise(source, at_s + 0.01, 60)) < 0.01


def test_faults_are_rare_and_do_occur():
    hours = [fault(1, f"d{device}", 1.7e9 + 3_600 * hour) for device in range(20) for hour in range(50)]
    kinds = {kind for kind in hours if kind}
    assert 2 <= sum(kind is not None for kind in hours) <= 60
    assert kinds <= {"stuck", "spike", "drift", "dropout"}


def test_days_differ_from_nights():
    noon, night = (readings("smart-home", 1, "d", 1_759_968_000 + hour * 3_600) for hour in (16, 4))
    assert noon[0].value > night[0].value


def test_every_content_type_can_be_written_and_senml_names_its_device():
    values = readings("healthcare", 1, "d", 1.7e9)
    payloads = {number: encode_payload(number, "d", 1.7e9, values) for number in CONTENT_TYPES}
    assert json.loads(payloads[110])[0]["bn"] == "d:"
    assert cbor2.loads(payloads[112])[0][-2] == "d:"
    assert json.loads(payloads[50]) == cbor2.loads(payloads[60])
    assert len(payloads[42]) == 8 * len(values)
    with pytest.raises(ValueError, match="41"):
        encode_payload(41, "d", 1.7e9, values)


# Packets


@given(st.binary(max_size=40), st.lists(st.integers(1, 7), max_size=12), st.binary(max_size=9))
def test_packets_come_out_whole_however_the_stream_is_cut(payload, cuts, correlation):
    properties = mqtt_packets.publish_properties("a/b", "t", correlation)
    stream = mqtt_packets.publish("topic", payload, 9, properties=properties) * 3 + mqtt_packets.puback(7)
    reader, packets, at = mqtt_packets.PacketReader(), [], 0
    for cut in [*cuts, len(stream)]:
        packets += reader.feed(stream[at : at + cut])
        at += cut
    assert [kind for kind, _, _ in packets] == [mqtt_packets.PUBLISH] * 3 + [mqtt_packets.PUBACK]
    _, flags, body = packets[0]
    delivery = mqtt_packets.read_publish(flags, body, mqtt_packets.V5)
    assert (delivery.topic, delivery.payload, delivery.correlation) == ("topic", payload, correlation)
    assert mqtt_packets.read_puback(packets[3][2]) == (7, 0)


@given(
    st.integers(0, 3),
    st.integers(0, 255),
    st.integers(0, 65_535),
    st.binary(max_size=8),
    st.lists(st.tuples(st.integers(0, 3_000), st.binary(max_size=300)), max_size=5),
    st.binary(max_size=50),
)
def test_coap_messages_read_back(kind, code, message_id, token, options, payload):
    ordered = tuple(sorted(options, key=lambda option: option[0]))
    message = coap_packets.CoapMessage(kind, code, message_id, token, ordered, payload)
    assert coap_packets.decode(coap_packets.encode(message)) == message


@given(st.binary(max_size=60))
def test_noise_is_a_coap_message_or_refused(data):
    try:
        coap_packets.decode(data)
    except coap_packets.CoapPacketError:
        return
    assert data[0] >> 6 == 1
