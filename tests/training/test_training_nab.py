"""The corpus as it is read, and the network against the arithmetic it stands for; the model in the repository."""

import hashlib
import json
import lzma
import math
import random
from pathlib import Path

import pytest

from gateway.detection.spec import OutputKind

np = pytest.importorskip("numpy", reason="training needs the extra train")

from gateway.training import nab_choice  # noqa: E402 -- only where NumPy is
from gateway.training.data import DataRefused  # noqa: E402 -- likewise
from gateway.training.export import litert, spec_from_json  # noqa: E402 -- likewise
from gateway.training.nab_data import read_corpus  # noqa: E402 -- likewise
from gateway.training.nab_network import WINDOW, network, windows  # noqa: E402 -- likewise
from gateway.training.nab_records import Part, novelty, scores  # noqa: E402 -- likewise
from gateway.training.nab_scoring import Series  # noqa: E402 -- likewise

MODELS = Path(__file__).resolve().parents[2] / "models"
RULE = {Part(1, 48): 0.12, Part(1, steps=True): 0.3, Part(4, 48): 0.2}


def corpus(folder, rows=("00:00:00,1.5", "01:00:00,2", "02:00:00,3", "02:00:00,4"), window=("01:00:00", "02:00:00")):
    (folder / "data" / "group").mkdir(parents=True)
    (folder / "labels").mkdir()
    lines = ["timestamp,value", *(f"2014-01-01 {row}" for row in rows)]
    (folder / "data" / "group" / "file.csv.xz").write_bytes(lzma.compress("\n".join(lines).encode()))
    windows = {"group/file.csv": [[f"2014-01-01 {stamp}.000000" for stamp in window]]}
    (folder / "labels" / "combined_windows.json").write_text(json.dumps(windows))
    return folder


def test_files_and_windows_are_read_and_a_repeated_stamp_means_its_first_row(tmp_path):
    assert read_corpus(corpus(tmp_path)) == (Series("group/file.csv", (1.5, 2.0, 3.0, 4.0), ((1, 2),)),)


@pytest.mark.parametrize(
    "broken",
    [
        {"rows": ("00:00:00,nan", "01:00:00,1", "02:00:00,1")},
        {"rows": ("00:00:00,1", "01:00:00", "02:00:00,1")},
        {"window": ("03:00:00", "04:00:00")},
    ],
)
def test_a_corpus_that_is_not_whole_is_refused(tmp_path, broken):
    with pytest.raises(DataRefused):
        read_corpus(corpus(tmp_path, **broken))


def test_labels_that_lead_out_of_the_corpus_are_refused(tmp_path):
    corpus(tmp_path)
    (tmp_path / "labels" / "combined_windows.json").write_text('{"../../secret.csv": []}')
    with pytest.raises(DataRefused, match="does not lie"):
        read_corpus(tmp_path)


def test_folds_hold_every_file_once_and_do_not_depend_on_the_order():
    files = [Series(f"group/{number}.csv", (), ()) for number in range(12)]
    assert nab_choice.folds(files) == nab_choice.folds(files[::-1])
    assert sorted(nab_choice.folds(files).values()) == sorted([*range(5), *range(5), 0, 1])


def wave(rows=WINDOW + 40, seed=1):
    generator = random.Random(seed)
    values = [50.0 + 10.0 * math.sin(row / 20.0) + generator.gauss(0, 1) for row in range(rows)]
    values[WINDOW + 10] += 40.0
    values[WINDOW + 25] -= 35.0
    return values


def test_the_network_says_what_the_detector_says():
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    values = wave()
    rows = windows(np.array(values, dtype=np.float32))
    answered = np.asarray(network(RULE)(np.ascontiguousarray(rows)))[:, 0]
    least = min(RULE.values())
    found = np.array(scores(novelty(values, RULE, WINDOW), RULE))[WINDOW - 1 :] * least
    assert np.allclose(answered, found / (1 + found), atol=1e-4)
    assert (found >= least).sum() >= 2


class TestTheModelInTheRepository:
    """What a gateway can run."""

    model = property(lambda self: (MODELS / "nab.tflite").read_bytes())
    spec = property(lambda self: spec_from_json((MODELS / "nab.spec.json").read_text()))
    record = property(lambda self: json.loads((MODELS / "nab.card.json").read_text()))

    def test_it_is_small_and_the_one_that_its_record_names(self):
        assert len(self.model) < 300_000
        assert hashlib.sha256(self.model).hexdigest() == self.record["sha256"]
        assert hashlib.sha256((MODELS / "nab.spec.json").read_bytes()).hexdigest() == self.record["spec_sha256"]
        assert self.record["figures"][0]["greatest_difference_to_the_framework"] <= 1e-5

    def test_its_spec_wants_a_window_of_one_reading(self):
        assert (self.spec.inputs.window, self.spec.inputs.shape) == (WINDOW, (WINDOW,))
        assert self.spec.outputs.kind is OutputKind.PROBABILITY
        assert 0 < self.spec.outputs.threshold < 1

    def test_it_passes_its_smoke_test(self):
        pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
        row = np.array(self.spec.smoke.inputs, np.float32)[None]
        assert np.allclose(litert(self.model, row)[0], self.spec.smoke.expected, atol=self.spec.smoke.tolerance)

    def test_it_sees_a_spike_and_not_the_wave_before_it(self):
        pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
        answered = litert(self.model, windows(np.array(wave(), dtype=np.float32)))[:, 0]
        called = np.flatnonzero(answered >= self.spec.outputs.threshold) + WINDOW - 1
        assert WINDOW + 10 in called
        assert called.min() == WINDOW + 10

    def test_a_sensor_that_never_moves_is_normal(self):
        pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
        still = np.full((1, WINDOW), 21.5, dtype=np.float32)
        assert litert(self.model, still)[0, 0] == 0.0
