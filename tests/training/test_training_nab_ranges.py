"""The detector of records behind the gateway's pipeline is the detector of records; its model in the repository."""

import hashlib
import json
import math
import random
from pathlib import Path

import pytest

from gateway.detection.detector import Bounds, Detector
from gateway.detection.frames import Message, unscored
from gateway.detection.port import LoadedModel, UnscoredReason
from gateway.detection.spec import ColumnKind, OutputKind

np = pytest.importorskip("numpy", reason="training needs the extra train")

from gateway.training.export import litert, spec_from_json, spec_json  # noqa: E402 -- likewise
from gateway.training.nab_ranges import answers, columns, inputs_of, network, rows  # noqa: E402 -- likewise
from gateway.training.nab_records import CANDIDATES, SETTLED, Part, novelty, scores  # noqa: E402 -- likewise

MODELS = Path(__file__).resolve().parents[2] / "models"
RULE = {Part(1, 48): 0.12, Part(1, steps=True): 0.3, Part(4, 48): 0.2}
ROWS = 400


def wave(count=ROWS, seed=1):
    generator = random.Random(seed)
    values = [50.0 + 10.0 * math.sin(row / 20.0) + generator.gauss(0, 1) for row in range(count)]
    values[count - 90] += 40.0
    values[count - 40] -= 55.0
    return values


@pytest.mark.parametrize("rule", [RULE, dict.fromkeys(CANDIDATES, 1.0)])
@pytest.mark.parametrize("seed", range(3))
def test_the_gateways_pipeline_makes_what_the_detector_says(rule, seed):
    values = wave(seed=seed)
    found = novelty(values, rule)
    places, made = rows(inputs_of(rule), values)
    assert places == list(range(SETTLED, ROWS))
    expected = [[found[part][place] / allowance for part, allowance in rule.items()] for place in places]
    assert np.array_equal(made, np.array(expected, dtype=np.float32))


def test_the_columns_are_the_rule():
    assert all(column.kind is ColumnKind.RECORD and column.record.after == SETTLED for column in columns(RULE))
    assert [column.scale for column in columns(RULE)] == list(RULE.values())


def test_the_network_says_what_the_detector_says():
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    values = wave()
    answered = np.asarray(network()(rows(inputs_of(RULE), values)[1]))[:, 0]
    found = np.array(scores(novelty(values, RULE), RULE))[SETTLED:]
    assert np.allclose(answered, found / (1 + found), atol=1e-6)
    assert (found >= 1).sum() >= 2


class TestTheModelInTheRepository:
    """What a gateway can run."""

    model = property(lambda self: (MODELS / "nab-records.tflite").read_bytes())
    spec = property(lambda self: spec_from_json((MODELS / "nab-records.spec.json").read_text()))
    record = property(lambda self: json.loads((MODELS / "nab-records.card.json").read_text()))

    def test_it_is_small_and_the_one_that_its_record_names(self):
        assert len(self.model) < 300_000
        assert hashlib.sha256(self.model).hexdigest() == self.record["sha256"]
        assert (
            hashlib.sha256((MODELS / "nab-records.spec.json").read_bytes()).hexdigest()
            == (self.record["spec_sha256"])
        )
        assert spec_json(self.spec) == (MODELS / "nab-records.spec.json").read_text()
        assert self.record["figures"][0]["greatest_difference_to_the_framework"] <= 1e-5

    def test_its_card_tells_the_corpus_from_files_it_was_not_chosen_on(self):
        corpus, others, strict = (figure["standard"] for figure in self.record["figures"])
        assert corpus > others >= 58 > strict
        assert "Only with NAB's own rule of the threshold" in " ".join(self.record["limits"])

    def test_its_spec_wants_ranges_of_one_reading(self):
        assert {column.kind for column in self.spec.inputs.columns} == {ColumnKind.RECORD}
        assert (self.spec.inputs.window, self.spec.selector.readings) == (1, ("value",))
        assert self.spec.outputs.kind is OutputKind.PROBABILITY
        assert 0 < self.spec.outputs.threshold < 1

    def test_it_passes_its_smoke_test(self):
        pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
        row = np.array(self.spec.smoke.inputs, np.float32)[None]
        assert np.allclose(litert(self.model, row)[0], self.spec.smoke.expected, atol=self.spec.smoke.tolerance)

    def test_it_is_the_detector_and_sees_faults_once(self):
        pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
        rule = {
            Part(column.record.short, column.record.long, column.record.steps): column.scale
            for column in self.spec.inputs.columns
        }
        values = wave()
        answered = answers(self.model, self.spec.inputs, values)
        found = np.array(scores(novelty(values, rule), rule))
        assert np.allclose(answered, found / (1 + found), atol=1e-6)
        called = set(np.flatnonzero(answered >= self.spec.outputs.threshold))
        assert {ROWS - 90, ROWS - 40} <= called
        assert len(called) < ROWS / 20

    def test_the_gateways_scoring_says_the_same(self):
        pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
        values = wave()
        running = Detector(Bounds(10, 1 << 20), lambda place: None)
        assert running.load([LoadedModel(b"d" * 32, "nab-records", 1, self.spec, self.model)]) == [None]
        messages = [
            Message("pump-1", 110, 1.7e9, 0, json.dumps([{"bn": "pump-1:", "n": "value", "v": value}]).encode())
            for value in values
        ]
        results = [one for start in range(0, ROWS, 64) for one in running.score(messages[start : start + 64])[0]]
        assert results[:SETTLED] == [unscored(UnscoredReason.WINDOW_SHORT)] * SETTLED
        expected = answers(self.model, self.spec.inputs, values)[SETTLED:]
        assert np.allclose([one.score for one in results[SETTLED:]], expected, atol=1e-6)

    def test_a_sensor_that_never_moves_is_normal(self):
        pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
        assert not answers(self.model, self.spec.inputs, [21.5] * 300).any()
