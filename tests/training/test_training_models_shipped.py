"""Every model that is committed runs in LiteRT, is small, and is the one that its card and spec speak of."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed: the extra `litert`")

from gateway.detection.spec import OutputKind  # noqa: E402 -- after the skip
from gateway.training.export import compare, litert, spec_from_json, spec_json  # noqa: E402 -- likewise

MODELS = Path(__file__).resolve().parents[2] / "models"
MINE = ("nsl-kdd-intrusion", "rt-iot2022-classes", "rt-iot2022-normal")
FOUND = [name for name in MINE if (MODELS / f"{name}.tflite").exists()]


@pytest.fixture(params=FOUND)
def shipped(request):
    name = request.param
    spec = spec_from_json((MODELS / f"{name}.spec.json").read_text(encoding="utf-8"))
    card = json.loads((MODELS / f"{name}.card.json").read_text(encoding="utf-8"))
    return name, (MODELS / f"{name}.tflite").read_bytes(), spec, card


def test_a_shipped_model_is_small_and_is_the_one_its_card_names(shipped):
    name, model, spec, card = shipped
    assert len(model) < 300_000
    assert card["model_id"] == name
    assert card["sha256"] == hashlib.sha256(model).hexdigest()
    assert card["spec_sha256"] == hashlib.sha256(spec_json(spec).encode()).hexdigest()
    assert card["training"]["licence"]
    assert all({"false_alarms", "attack_false_alarms"} & set(figure) for figure in card["figures"])
    assert card["sha256"] in (MODELS / f"{name}.card.md").read_text(encoding="utf-8")


def test_a_shipped_model_passes_its_smoke_test(shipped):
    _name, model, spec, _card = shipped
    row = np.array(spec.smoke.inputs, dtype=np.float32).reshape(1, *spec.inputs.shape)
    compare(litert(model, row).reshape(-1), spec.smoke.expected, spec.smoke.tolerance)


def test_a_shipped_model_answers_batches_as_it_answers_rows(shipped):
    _name, model, spec, _card = shipped
    inputs = np.random.default_rng(1).normal(size=(33, *spec.inputs.shape)).astype(np.float32)
    whole, single = litert(model, inputs, batch=33), litert(model, inputs, batch=1)
    assert np.abs(whole - single).max() < 1e-5
    wide = len(spec.outputs.labels) if spec.outputs.kind is OutputKind.CLASSES else 1
    assert whole.size == 33 * wide
    assert sum(column.width for column in spec.inputs.columns) == spec.inputs.shape[0]
