"""Whether a model is genuine: who trained it, is it that file, that spec, and does it answer as it should."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.publisher_kit import (
    OPERATORS,
    PUBLISHER,
    TRAINER,
    TRAINER_KEY,
    altered,
    card_of,
    code,
    packed,
    parts,
    spec_of,
    write_model,
)

from gateway.training.export import spec_json
from gateway.vault.manifest import MANIFEST_BYTES_MAX
from gateway.vault.publisher import sizes_of
from gateway.vault.publisher_check import ModelFiles, check_genuine
from gateway.vault.publisher_record import read_record, read_spec_file, sign_record, verify_record
from gateway.vault.publisher_words import PublishRefusal, PublishRefused

GOOD = packed(parts())
CARD = card_of(GOOD, spec_of())
SHIPPED = sorted((Path(__file__).resolve().parents[2] / "models").glob("*.tflite"))


async def refusal_of(files, *about, **limits):
    with pytest.raises(PublishRefused) as refused:
        await check_genuine(files, *about, **limits)
    assert refused.value.hint
    return refused.value.reason


async def test_a_genuine_model_is_let_through_with_the_digests_of_its_pieces(tmp_path):
    genuine = await check_genuine(write_model(tmp_path), "pump", 3)
    assert genuine.pieces == (hashlib.sha256(GOOD).digest(),)
    assert genuine.spec == spec_of()
    assert genuine.record.metrics == {"one row: accuracy": 1.0, "one row: false_alarms": 0.0}
    assert genuine.record.card_sha256 == hashlib.sha256(CARD).digest()


async def test_an_unsigned_record_is_refused(tmp_path):
    assert await refusal_of(write_model(tmp_path, signed=False)) is PublishRefusal.RECORD_UNSIGNED


@pytest.mark.parametrize(
    "signature", [b"", b"!", b"AAAA\n", sign_record(CARD, PUBLISHER.sign), sign_record(CARD, TRAINER.sign) * 2]
)
async def test_a_record_that_its_trainer_did_not_sign_is_refused(tmp_path, signature):
    files = write_model(tmp_path)
    files.signature.write_bytes(signature)
    assert await refusal_of(files) is PublishRefusal.RECORD_SIGNATURE


async def test_a_record_that_was_changed_after_it_was_signed_is_refused(tmp_path):
    files = write_model(tmp_path)
    files.card.write_bytes(altered(CARD, version=4))
    assert await refusal_of(files) is PublishRefusal.RECORD_SIGNATURE


@pytest.mark.parametrize("about", [("other", 3), ("pump", 4), ("", 1)])
async def test_another_id_or_version_than_the_records_is_refused(tmp_path, about):
    assert await refusal_of(write_model(tmp_path), *about) is PublishRefusal.RECORD_MISMATCH


async def test_altered_bytes_are_refused(tmp_path):
    files = write_model(tmp_path)
    files.model.write_bytes(GOOD[:-1] + bytes([GOOD[-1] ^ 1]))
    assert await refusal_of(files) is PublishRefusal.MODEL_DIGEST


async def test_a_file_that_is_not_there_empty_or_too_large_is_refused(tmp_path):
    files = write_model(tmp_path)
    assert await refusal_of(files, most=100) is PublishRefusal.MODEL_FILE
    files.model.write_bytes(b"")
    assert await refusal_of(files) is PublishRefusal.MODEL_FILE
    files.model.unlink()
    assert await refusal_of(files) is PublishRefusal.MODEL_FILE


async def test_a_spec_that_is_not_the_one_of_the_record_is_refused(tmp_path):
    files = write_model(tmp_path)
    files.spec.write_text(spec_json(spec_of(tolerance=1.0)))
    assert await refusal_of(files) is PublishRefusal.RECORD_MISMATCH


async def test_a_forbidden_operator_is_refused_before_anything_runs(tmp_path):
    model = parts()
    model.operatorCodes[1] = code(OPERATORS.CUSTOM, "FlexErase")
    assert await refusal_of(write_model(tmp_path, packed(model))) is PublishRefusal.MODEL_OPERATOR


async def test_a_wrong_shape_is_refused(tmp_path):
    spec = spec_of(inputs=(0.0, 0.0))
    columns = spec.inputs.columns[:2]
    spec = spec._replace(inputs=spec.inputs._replace(columns=columns, shape=(2,)))
    assert await refusal_of(write_model(tmp_path, GOOD, spec)) is PublishRefusal.MODEL_SHAPE


async def test_a_spec_that_no_gateway_would_read_is_refused(tmp_path):
    assert await refusal_of(write_model(tmp_path, GOOD, spec_of(tolerance=-1.0))) is PublishRefusal.SPEC_MALFORMED


async def test_a_failing_smoke_test_is_refused(tmp_path):
    files = write_model(tmp_path, GOOD, spec_of(expected=(0.25,)))
    assert await refusal_of(files) is PublishRefusal.SMOKE_TEST


async def test_a_model_that_litert_does_not_take_is_refused(tmp_path):
    model = parts()
    model.subgraphs[0].operators[0].inputs = [0, 2, 1]  # weights and bias change places
    assert await refusal_of(write_model(tmp_path, packed(model))) is PublishRefusal.SMOKE_TEST


@pytest.mark.parametrize(
    "members",
    [
        {"card": 2},
        {"format": "onnx"},
        {"model_id": "a b"},
        {"version": 0},
        {"version": True},
        {"size": "12"},
        {"sha256": "AB" * 32},
        {"spec_sha256": None},
        {"training": {}},
        {"training": {"licence": "CC0", "digest": "x"}},
        {"figures": []},
        {"figures": [{"on": "x"}]},
        {"figures": [{"on": "x", "protocol": one, "accuracy": 0.9} for one in ("by row", "by vector")]},
        {"figures": [{"on": "x" * 300, "protocol": "y", "accuracy": 1}]},
        {"figures": [{"on": str(n), "protocol": "y", "accuracy": 1} for n in range(65)]},
    ],
)
def test_a_record_without_what_it_has_to_say_is_refused(members):
    with pytest.raises(PublishRefused) as refused:
        read_record(altered(CARD, **members))
    assert refused.value.reason is PublishRefusal.RECORD_MALFORMED


def test_nobody_signs_a_record_that_would_be_refused():
    with pytest.raises(PublishRefused):
        sign_record(b"{}", TRAINER.sign)


@pytest.mark.parametrize("text", [b"[" * 10_000, b"{}", b"[]", b"\xff", b'{"card": NaN}', b" " * (2 << 20)])
def test_json_that_is_no_record_is_refused(text):
    with pytest.raises(PublishRefused) as refused:
        read_record(text)
    assert refused.value.reason is PublishRefusal.RECORD_MALFORMED


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(CARD) - 1), st.integers(1, 255))
def test_every_altered_byte_of_a_record_is_found(at, flip):
    changed = bytearray(CARD)
    changed[at] ^= flip
    with pytest.raises(PublishRefused) as refused:
        verify_record(bytes(changed), sign_record(CARD, TRAINER.sign), TRAINER_KEY)
    assert refused.value.reason is PublishRefusal.RECORD_SIGNATURE


@settings(max_examples=100, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**53), 2**53))
def test_a_spec_comes_back_as_it_was_written_whole_numbers_as_well(number, whole):
    spec = spec_of(inputs=(number, whole, 0, -0.0))
    data = spec_json(spec).encode()
    record = read_record(card_of(GOOD, spec))
    assert read_spec_file(data, record) == spec
    assert all(isinstance(each, float) for each in read_spec_file(data, record).smoke.inputs)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
async def test_the_models_of_the_repository_may_be_published_once_they_are_signed(tmp_path, path):
    card = path.with_suffix(".card.json")
    copied = tmp_path / card.name
    copied.write_bytes(card.read_bytes())
    files = ModelFiles(path, path.with_suffix(".spec.json"), copied, TRAINER_KEY)
    files.signature.write_bytes(sign_record(card.read_bytes(), TRAINER.sign))
    genuine = await check_genuine(files)
    assert genuine.record.model_id == path.stem
    assert sizes_of(genuine, 2048).manifest < MANIFEST_BYTES_MAX
