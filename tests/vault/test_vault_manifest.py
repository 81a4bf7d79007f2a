import struct

import cbor2
import pytest
import second_reader
from hypothesis import given, settings
from hypothesis import strategies as st
from vault_kit import MODEL_ID, PLAIN, PUBLISHER, SIGNER, SPEC, manifest_of, secret, sign, signed

from gateway import cbor
from gateway.crypto.keys import parse_public_key
from gateway.detection.spec import (
    Column,
    ColumnKind,
    InputSpec,
    ModelSpec,
    OutputKind,
    OutputSpec,
    Record,
    Selector,
    SmokeTest,
    TensorInput,
)
from gateway.message import Alg
from gateway.vault.cipher import ciphertext_size
from gateway.vault.manifest import (
    MANIFEST_BYTES_MAX,
    Ciphertext,
    Manifest,
    Plaintext,
    encode_payload,
    manifest_sha256,
    parse_envelope,
    parse_payload,
    read_manifest,
    sign_manifest,
)
from gateway.vault.manifest_spec import spec_values
from gateway.vault.refusal import ModelRefusal, ModelRefused
from gateway.vault.wrap import Kem, Wrapped

MODEL = b"a model"
MANIFEST = manifest_of(MODEL, secret(MODEL))
PAYLOAD = encode_payload(MANIFEST)
ENVELOPE, NAMED = signed(MANIFEST)


def refused(run, *arguments):
    with pytest.raises(ModelRefused) as caught:
        run(*arguments)
    return caught.value


def malformed(value):
    """What is wrong with this payload, as plain values."""
    refusal = refused(parse_payload, cbor.encode(value))
    assert refusal.reason is ModelRefusal.MANIFEST_MALFORMED
    return refusal.detail


def changed(path, value):
    """The payload as plain values, with one member replaced, or removed when the value is KeyError."""
    payload = cbor2.loads(PAYLOAD)
    at = payload
    *way, last = path
    for step in way:
        at = at[step]
    if value is KeyError:
        del at[last]
    else:
        at[last] = value
    return payload


def sign_payload(payload):
    """An envelope around anything, with a good signature."""
    protected = cbor.encode({1: -19, 3: "securenet.model/1"})
    signature = sign(cbor.encode(["Signature1", protected, b"", payload]))
    return b"\xd2" + cbor.encode([protected, {}, payload, signature])


# Strategies: every manifest that the format can say.
IDS = st.from_regex(r"[A-Za-z0-9_:-][A-Za-z0-9._:-]{0,63}", fullmatch=True).filter(lambda name: name != "gateway")
TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=64)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALES = FLOATS.filter(bool)
DIGESTS = st.binary(min_size=32, max_size=32)
RECORDS = st.one_of(
    st.builds(Record, st.integers(1, 500), st.just(0), st.booleans(), st.integers(502, 65536)),
    st.builds(Record, st.integers(1, 9), st.integers(10, 512), st.just(False), st.integers(513, 65536)),
)
RANGES = st.tuples(FLOATS, FLOATS).map(sorted)


@st.composite
def columns(draw):
    low, high = draw(RANGES)
    kind = draw(st.sampled_from(list(ColumnKind)))
    words = draw(st.lists(TEXTS, min_size=1, max_size=4, unique=True)) if kind is ColumnKind.CATEGORY else ()
    missing = draw(st.none() | FLOATS)
    record = draw(RECORDS) if kind is ColumnKind.RECORD else None
    return Column(
        draw(TEXTS), kind, missing, low, high, draw(st.booleans()), draw(FLOATS), draw(SCALES), tuple(words), record
    )


@st.composite
def specs(draw):
    if draw(st.booleans()):
        low, high = draw(RANGES)
        tensor = TensorInput(draw(TEXTS), draw(st.integers(1, 9)), low, high, draw(FLOATS), draw(SCALES))
        inputs = InputSpec((), tensor, 1, (tensor.length, 1))
        size = tensor.length
    else:
        row = tuple(draw(st.lists(columns(), min_size=1, max_size=4)))
        window, width = draw(st.integers(1, 3)), sum(column.width for column in row)
        inputs = InputSpec(row, None, window, (window, width))
        size = window * width
    kind = draw(st.sampled_from(list(OutputKind)))
    labels = tuple(draw(st.lists(TEXTS, min_size=1, max_size=4, unique=True))) if kind is OutputKind.CLASSES else ()
    threshold = None if labels else draw(FLOATS)
    answer = {OutputKind.PROBABILITY: 1, OutputKind.RECONSTRUCTION: size, OutputKind.CLASSES: len(labels)}[kind]
    smoke = SmokeTest(
        tuple(draw(st.lists(FLOATS, min_size=size, max_size=size))),
        tuple(draw(st.lists(FLOATS, min_size=answer, max_size=answer))),
        abs(draw(FLOATS)),
    )
    chosen = st.lists(TEXTS, max_size=3, unique=True).map(tuple)
    selector = Selector(draw(chosen), tuple(draw(st.lists(st.integers(0, 65535), max_size=3))), draw(chosen))
    return ModelSpec(inputs, OutputSpec(kind, threshold, labels), smoke, selector)


@st.composite
def manifests(draw):
    size = draw(st.integers(1, 1 << 40))
    created = draw(st.integers(0, (1 << 63) - 2))
    kem = draw(st.sampled_from(list(Kem)))
    wrapped = Wrapped(kem, bytes(kem.enc_bytes), bytes(48))
    cid = draw(st.from_regex(r"b[a-z2-7]{1,127}", fullmatch=True))
    return Manifest(
        draw(IDS),
        draw(st.integers(1, (1 << 63) - 1)),
        Ciphertext(cid, ciphertext_size(size), draw(DIGESTS)),
        Plaintext(size, draw(DIGESTS)),
        draw(specs()),
        draw(DIGESTS),
        draw(st.dictionaries(TEXTS, FLOATS, max_size=4)),
        draw(st.none() | DIGESTS),
        dict.fromkeys(draw(st.lists(IDS, max_size=3)), wrapped),
        created,
        draw(st.integers(created + 1, (1 << 63) - 1)),
    )


@settings(max_examples=150)
@given(manifests())
def test_what_a_manifest_says_comes_back(manifest):
    payload = encode_payload(manifest)
    assert parse_payload(payload) == manifest
    assert encode_payload(parse_payload(payload)) == payload
    assert cbor2.loads(payload)["model"] == manifest.model_id


@given(st.data())
def test_an_edited_payload_is_the_same_manifest_again_or_malformed(data):
    at = data.draw(st.integers(0, len(PAYLOAD)))
    edited = PAYLOAD[:at] + data.draw(st.binary(max_size=3)) + PAYLOAD[at + data.draw(st.integers(0, 3)) :]
    try:
        manifest = parse_payload(edited)
    except ModelRefused as refusal:
        reason = refusal.reason
    else:
        reason = ModelRefusal.MANIFEST_MALFORMED
        assert encode_payload(manifest) == edited
    assert reason is ModelRefusal.MANIFEST_MALFORMED


def test_a_signed_manifest_is_read_with_the_publishers_key_alone():
    assert read_manifest(ENVELOPE, PUBLISHER) == MANIFEST
    other = parse_public_key(Alg.ED25519, bytes(type(SIGNER)(b"\x22" * 32).verify_key))
    assert refused(read_manifest, ENVELOPE, other).reason is ModelRefusal.MANIFEST_SIGNATURE


def test_the_envelope_is_a_cose_sign1_for_everyone_else():
    tagged = cbor2.loads(ENVELOPE)
    protected, unprotected, payload, signature = tagged.value
    assert (tagged.tag, unprotected) == (18, {})
    assert cbor2.loads(protected) == {1: -19, 3: "securenet.model/1"}
    assert payload == PAYLOAD
    SIGNER.verify_key.verify(cbor2.dumps(["Signature1", protected, b"", payload]), signature)


def test_a_manifest_is_named_by_the_whole_envelope():
    assert NAMED.manifest_sha256 == manifest_sha256(ENVELOPE) != manifest_sha256(ENVELOPE[:-1])


def test_every_byte_of_the_envelope_counts():
    for at in range(len(ENVELOPE)):
        for change in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            altered = bytearray(ENVELOPE)
            altered[at] ^= change
            reason = refused(read_manifest, bytes(altered), PUBLISHER).reason
            assert reason in {ModelRefusal.MANIFEST_MALFORMED, ModelRefusal.MANIFEST_SIGNATURE}


def test_a_byte_more_or_less_anywhere_counts():
    for at in range(len(ENVELOPE)):
        for altered in (ENVELOPE[:at] + ENVELOPE[at + 1 :], ENVELOPE[:at] + b"\x00" + ENVELOPE[at:], ENVELOPE[:at]):
            reason = refused(read_manifest, altered, PUBLISHER).reason
            assert reason in {ModelRefusal.MANIFEST_MALFORMED, ModelRefusal.MANIFEST_SIGNATURE}
    assert refused(read_manifest, ENVELOPE + b"\x00", PUBLISHER).reason is ModelRefusal.MANIFEST_MALFORMED


@pytest.mark.parametrize("size", [0, 1, 23, 24, 255, 256, 65535, 65536])
def test_a_payload_of_any_length_is_framed_in_its_shortest_form(size):
    payload = bytes(size)
    envelope = sign_payload(payload)
    assert parse_envelope(envelope).payload == payload
    start = envelope.index(b"\xa0") + 1
    for head in (b"\x58", b"\x59", b"\x5a", b"\x5b"):
        width = 1 << (head[0] - 0x58)
        if size < 1 << (8 * width):
            longer = envelope[:start] + head + size.to_bytes(width, "big") + payload + envelope[-66:]
            if longer != envelope:
                assert refused(parse_envelope, longer).reason is ModelRefusal.MANIFEST_MALFORMED


def test_nothing_is_read_of_more_bytes_than_a_manifest_has():
    assert "at most" in refused(parse_envelope, sign_payload(bytes(MANIFEST_BYTES_MAX))).detail
    assert len(parse_envelope(sign_payload(bytes(MANIFEST_BYTES_MAX - 200))).payload) == MANIFEST_BYTES_MAX - 200


def test_the_payload_is_not_decoded_before_the_signature_held(monkeypatch):
    monkeypatch.setattr(cbor, "decode", None)
    altered = ENVELOPE[:-1] + bytes([ENVELOPE[-1] ^ 1])
    assert refused(read_manifest, altered, PUBLISHER).reason is ModelRefusal.MANIFEST_SIGNATURE


def test_a_good_signature_does_not_make_a_manifest():
    assert refused(read_manifest, sign_payload(b"\xa0"), PUBLISHER).reason is ModelRefusal.MANIFEST_MALFORMED


def test_signing_is_refused_where_a_gateway_would_refuse_to_read():
    for wrong in (
        MANIFEST._replace(metrics={"accuracy": float("nan")}),
        MANIFEST._replace(model_id="gateway"),
        MANIFEST._replace(version=0),
        MANIFEST._replace(expires_ms=MANIFEST.created_ms),
        MANIFEST._replace(format="onnx"),
        MANIFEST._replace(model_id="\ud800"),
    ):
        assert refused(sign_manifest, wrong, PUBLISHER, sign).reason is ModelRefusal.MANIFEST_MALFORMED
    assert refused(sign_manifest, MANIFEST, PUBLISHER, lambda _: bytes(64)).reason is ModelRefusal.MANIFEST_SIGNATURE
    assert (
        refused(sign_manifest, MANIFEST, PUBLISHER, lambda data: sign(data)[:63]).reason
        is ModelRefusal.MANIFEST_MALFORMED
    )


def test_integers_where_floats_belong_are_written_as_floats():
    manifest = MANIFEST._replace(metrics={"epochs": 3})
    assert b"fepochs\xfb" + struct.pack(">d", 3) in encode_payload(manifest)


MEMBERS = sorted(cbor2.loads(PAYLOAD))


@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_that_is_missing_or_of_another_type_is_malformed(name):
    malformed(changed([name], KeyError))
    for wrong in (-1, 1.5, True, "x\x00", b"x", [1], {"x": 1}):
        malformed(changed([name], wrong))
    if name != "card":
        malformed(changed([name], None))


@pytest.mark.parametrize(
    "path", [(), ("ciphertext",), ("plaintext",), ("inputs",), ("inputs", "columns", 0), ("outputs",), ("smoke",)]
)
def test_a_member_that_the_format_does_not_know_is_malformed(path):
    assert "is a map of" in malformed(changed([*path, "x"], 1)) or path


WRONG = [
    (["model"], "", "1 to 64 characters"),
    (["model"], "a" * 65, "1 to 64 characters"),
    (["model"], "..", "1 to 64 characters"),
    (["version"], 0, "integer of 1"),
    (["version"], 1 << 63, "integer of 1"),
    (["version"], 3.0, "integer of 1"),
    (["ciphertext", "cid"], "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG", "CIDv1 in base32"),
    (["ciphertext", "cid"], "b" + "a" * 128, "CIDv1 in base32"),
    (["ciphertext", "size"], 80, "what a plaintext of that size has"),
    (["ciphertext", "sha256"], bytes(31), "32 bytes"),
    (["plaintext", "size"], 0, "integer of 1"),
    (["plaintext", "size"], 1 << 41, "integer of 1"),
    (["plaintext", "sha256"], bytes(33), "32 bytes"),
    (["training_data"], bytes(31), "32 bytes"),
    (["card"], bytes(31), "32 bytes"),
    (["metrics"], {"": 1.0}, "texts of 1 to 256"),
    (["metrics"], {"a": 1}, "floats"),
    (["metrics"], {"a\n": 1.0}, "control characters"),
    (["metrics"], {7: 1.0}, "texts"),
    (["metrics"], {str(number): 1.0 for number in range(65)}, "at most 64"),
    (["keys"], {"gw 1": [32, bytes(32), bytes(48)]}, "1 to 64 characters"),
    (["keys"], {str(number): None for number in range(2049)}, "at most 2048"),
    (["keys", PLAIN], [32, bytes(32)], "a wrapped key is"),
    (["keys", PLAIN], [16, bytes(65), bytes(48)], "a wrapped key is"),
    (["keys", PLAIN], [32.0, bytes(32), bytes(48)], "the KEM"),
    (["keys", PLAIN], [32, bytes(1120), bytes(48)], "an encapsulated key has 32"),
    (["keys", PLAIN], [25722, bytes(32), bytes(48)], "an encapsulated key has 1120"),
    (["keys", PLAIN], [32, bytes(32), bytes(47)], "a wrapped key has 48"),
    (["expires"], 1732165200000, "expires is after created"),
    (["inputs", "columns"], [], "columns or one tensor"),
    (["inputs", "columns"], [None] * 1025, "at most 1024"),
    (["inputs", "columns", 0, "kind"], "code", "kinds reading, category, statistic"),
    (["inputs", "columns", 0, "kind"], "category", "exactly when they are categories"),
    (["inputs", "columns", 1, "kind"], "reading", "exactly when they are categories"),
    (["inputs", "columns", 1, "vocabulary"], ["idle", "idle"], "a text twice"),
    (["inputs", "columns", 1, "vocabulary"], ["idle"], "filled by"),
    (["inputs", "columns", 0, "low"], 51.0, "low up to high"),
    (["inputs", "columns", 0, "scale"], 0.0, "not zero"),
    (["inputs", "columns", 0, "scale"], -0.0, "not zero"),
    (["inputs", "columns", 0, "log1p"], 1, "true or false"),
    (["inputs", "columns", 0, "name"], "é" * 129, "1 to 256 bytes"),
    (["inputs", "window"], 0, "integer of 1"),
    (["inputs", "window"], 2, "filled by"),
    (["inputs", "shape"], [], "filled by"),
    (["inputs", "shape"], [2, 2, 1, 1, 1, 1, 1, 1, 1], "at most 8"),
    (["inputs", "shape"], [5], "filled by"),
    (["inputs", "shape"], [0], "integer of 1"),
    (["inputs", "tensor"], {}, "inputs.tensor is a map of"),
    (["outputs", "kind"], "guess", "outputs.kind is one of"),
    (["outputs", "labels"], ["a"], "labels when it is classes"),
    (["outputs", "threshold"], None, "labels when it is classes"),
    (["outputs", "kind"], "classes", "labels when it is classes"),
    (["outputs", "kind"], "reconstruction", "as many numbers as the model answers"),
    (["smoke", "inputs"], [0.0] * 3, "as many numbers as inputs.shape"),
    (["smoke", "inputs"], [0.0] * 65537, "at most 65536"),
    (["smoke", "inputs"], [0.0, 0.0, 0.0, 1], "floats"),
    (["smoke", "expected"], [], "as many numbers as the model answers"),
    (["smoke", "tolerance"], -0.5, "not below zero"),
    (["selector", "content_formats"], [65536], "integer of 0"),
    (["selector", "domains"], ["a"] * 2, "a text twice"),
    (["selector", "domains"], [""], "texts of 1"),
]


RECORD = {"short": 1, "long": 48, "steps": False, "after": 100}
WRONG_RECORDS = [
    ({"short": 0}, "integer of 1"),
    ({"short": 1.0}, "integer of 1"),
    ({"long": -1}, "integer of 0"),
    ({"steps": 0}, "true or false"),
    ({"steps": True}, "steps have none"),
    ({"short": 48}, "the longer mean at more"),
    ({"long": 513, "after": 600}, "1 to 512 readings"),
    ({"after": 48}, "more readings than it looks at"),
    ({"after": 65537}, "65536 at most"),
    ({"x": 1}, "a map of short, long, steps, after"),
]


def with_record(record, kind="record"):
    """The payload as plain values, its first column of that kind."""
    payload = cbor2.loads(PAYLOAD)
    column = payload["inputs"]["columns"][0] | {"kind": kind}
    payload["inputs"]["columns"][0] = column if record is None else column | {"record": record}
    return payload


def test_a_record_column_has_a_member_that_no_other_column_has():
    payload = cbor.encode(with_record(RECORD))
    manifest = parse_payload(payload)
    assert manifest.spec.inputs.columns[0].record == Record(1, 48, False, 100)
    assert encode_payload(manifest) == payload
    assert b"record" not in PAYLOAD
    assert "a map of" in malformed(with_record(None))
    for kind in ("reading", "statistic"):
        assert "a map of" in malformed(with_record(RECORD, kind))


@pytest.mark.parametrize(("change", "detail"), WRONG_RECORDS, ids=[f"{change}" for change, _ in WRONG_RECORDS])
def test_a_record_that_could_not_be_kept_is_named(change, detail):
    payload = with_record(RECORD | change)
    assert detail in malformed(payload)
    with pytest.raises(second_reader.Refused, match="manifest-malformed"):
        second_reader.check_columns(payload["inputs"]["columns"])


@given(st.lists(columns(), max_size=4))
def test_the_second_reader_takes_the_columns_that_are_written(made):
    written = [spec_values(SPEC._replace(inputs=InputSpec((column,), None, 1, (1,))))["inputs"] for column in made]
    second_reader.check_columns([column for inputs in written for column in inputs["columns"]])


@pytest.mark.parametrize(
    ("path", "value", "detail"), WRONG, ids=[f"{path[-1]}-{at}" for at, (path, *_) in enumerate(WRONG)]
)
def test_a_value_that_the_format_does_not_allow_is_named(path, value, detail):
    assert detail in malformed(changed(path, value))


def test_columns_and_a_tensor_together_are_malformed():
    tensor = {"name": "image", "length": 4, "low": 0.0, "high": 1.0, "mean": 0.0, "scale": 1.0}
    assert "never both" in malformed(changed(["inputs", "tensor"], tensor))


def test_a_tensor_has_no_window():
    tensor = TensorInput("image", 4, 0.0, 1.0)
    spec = SPEC._replace(inputs=InputSpec((), tensor, 2, (2, 4)), smoke=SmokeTest((0.0,) * 8, (0.5,), 0.0))
    assert "window is 1" in refused(encode_payload, MANIFEST._replace(spec=spec)).detail


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x00",
        b"\xff",
        PAYLOAD[:-1],
        PAYLOAD + b"\x00",
        b"\x81" * 5000,
        b"\xbf\xff",
        PAYLOAD.replace(b"\xfb", b"\xfa"),
    ],
    ids=["empty", "integer", "break", "cut", "more", "deep", "indefinite", "float32"],
)
def test_bytes_that_are_no_deterministic_cbor_are_malformed(payload):
    assert refused(parse_payload, payload).reason is ModelRefusal.MANIFEST_MALFORMED


def test_another_order_of_the_members_is_malformed():
    values = cbor2.loads(PAYLOAD)
    assert "no deterministic CBOR" in refused(parse_payload, cbor2.dumps(dict(reversed(values.items())))).detail


def test_a_refusal_repeats_nothing_of_what_a_stranger_wrote():
    for detail in (
        malformed(changed(["metrics"], {"EVIL\x1b[31m": 1})),
        malformed(changed(["keys"], {"EVIL ": [1]})),
    ):
        assert "EVIL" not in detail


def test_the_manifest_is_of_the_model_that_was_asked_for():
    assert (MANIFEST.model_id, NAMED.version) == (MODEL_ID, 3)
