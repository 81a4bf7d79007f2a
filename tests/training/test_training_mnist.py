"""The digits: what is read, what is drawn, and that the model in the repository reads what is drawn."""

import gzip
import hashlib
import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.detection.spec import OutputKind

np = pytest.importorskip("numpy", reason="training needs the extra train")

from gateway.training import mnist  # noqa: E402 -- only where NumPy is
from gateway.training.data import DataRefused  # noqa: E402 -- likewise
from gateway.training.export import litert, spec_from_json  # noqa: E402 -- likewise

MODELS = Path(__file__).resolve().parents[2] / "models"


def idx(array):
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return head + array.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path):
    images = np.stack([mnist.drawn(digit).reshape(28, 28) for digit in range(10)])
    for (image_name, label_name), count in zip(mnist._FILES, (10, 4), strict=True):
        (tmp_path / f"{image_name}.gz").write_bytes(gzip.compress(idx(images[:count])))
        (tmp_path / label_name).write_bytes(idx(np.arange(count)))
    return tmp_path


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_what_is_written_as_idx_is_read_again(shape, random):
    array = np.array([random.randrange(256) for _ in range(int(np.prod(shape)))], np.uint8).reshape(shape)
    assert np.array_equal(mnist.idx(idx(array)), array)


@given(st.binary(max_size=40))
def test_any_bytes_are_an_array_or_refused(content):
    try:
        array = mnist.idx(content)
    except DataRefused:
        return
    assert array.size + 4 + 4 * array.ndim == len(content)


@pytest.mark.parametrize(
    "content", [b"", b"\0\0\x08", b"\0\0\x08\0", b"\0\0\x0d\x01\0\0\0\0", b"\0\0\x08\x01\0\0\0\x02a"]
)
def test_other_types_and_wrong_lengths_are_refused(content):
    with pytest.raises(DataRefused):
        mnist.idx(content)


def test_both_parts_are_read_packed_or_not(folder):
    learn, test = mnist.read_digits(folder)
    assert (learn.images.shape, test.images.shape) == ((10, 784), (4, 784))
    assert learn.labels.tolist() == list(range(10))


def test_images_of_another_size_are_refused(folder):
    (folder / "train-images-idx3-ubyte.gz").unlink()
    (folder / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((10, 27, 28))))
    with pytest.raises(DataRefused, match="28 x 28"):
        mnist.read_digits(folder)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataRefused, match="train-images"):
        mnist.read_digits(tmp_path)


def test_shifting_loses_nothing_of_a_digit_in_the_middle():
    inputs = mnist.to_input(np.stack([mnist.drawn(digit) for digit in range(10)]))
    moved = mnist.shifted(inputs, np.random.default_rng(1))
    assert moved.shape == inputs.shape
    assert np.allclose(moved.sum(axis=(1, 2, 3)), inputs.sum(axis=(1, 2, 3)), rtol=1e-5)
    assert not np.array_equal(moved, inputs)


def test_the_same_seed_shifts_the_same_way():
    inputs = mnist.to_input(np.stack([mnist.drawn(3)] * 20))
    once, again = (mnist.shifted(inputs, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(once, again)


def test_figures_name_the_digit_that_is_read_worst():
    digits = mnist.Digits(np.zeros((4, 784), np.uint8), np.array([0, 0, 1, 1]))
    figures = mnist.figures_of(np.eye(10)[[0, 0, 1, 0]], digits)
    assert (figures["accuracy"], figures["worst_digit_recall"]) == (0.75, 0.5)


class TestTheModelInTheRepository:
    """What the demo delivers."""

    model = property(lambda self: (MODELS / "mnist.tflite").read_bytes())
    spec = property(lambda self: spec_from_json((MODELS / "mnist.spec.json").read_text()))
    record = property(lambda self: json.loads((MODELS / "mnist.card.json").read_text()))

    def test_it_is_small_and_the_one_that_its_record_names(self):
        assert len(self.model) < 100_000
        assert hashlib.sha256(self.model).hexdigest() == self.record["sha256"]
        spec = (MODELS / "mnist.spec.json").read_bytes()
        assert hashlib.sha256(spec).hexdigest() == self.record["spec_sha256"]

    def test_its_record_claims_what_the_demo_needs(self):
        figures = {figure["on"]: figure for figure in self.record["figures"]}
        test = figures["10,000 test images"]
        assert test["accuracy"] >= 0.99
        assert test["greatest_difference_to_the_framework"] <= 1e-5

    def test_its_spec_wants_one_image_and_names_ten_digits(self):
        assert self.spec.inputs.tensor == ("image", 784, 0.0, 255.0, 0.0, 255.0)
        assert self.spec.inputs.shape == (28, 28, 1)
        assert self.spec.outputs == (OutputKind.CLASSES, None, tuple("0123456789"))

    def test_it_passes_its_smoke_test(self):
        pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
        row = np.array(self.spec.smoke.inputs, np.float32).reshape(1, 28, 28, 1)
        assert np.allclose(litert(self.model, row)[0], self.spec.smoke.expected, atol=self.spec.smoke.tolerance)

    def test_it_reads_all_ten_drawn_digits_alone_and_together(self):
        pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
        inputs = mnist.to_input(np.stack([mnist.drawn(digit) for digit in range(10)]))
        assert litert(self.model, inputs).argmax(axis=1).tolist() == list(range(10))
        assert litert(self.model, inputs, batch=1).argmax(axis=1).tolist() == list(range(10))
