"""Detectors and forests against naive references; in tensors too, where TensorFlow is installed."""

from __future__ import annotations

import pytest

np = pytest.importorskip("numpy")

from hypothesis import given, settings  # noqa: E402 -- after the skip
from hypothesis import strategies as st  # noqa: E402 -- likewise

from gateway.training import detectors, neural  # noqa: E402 -- likewise
from gateway.training.export import compare, litert, to_tflite  # noqa: E402 -- likewise
from gateway.training.forest import Forest, flatten, probability  # noqa: E402 -- likewise


class _Tree:
    """The members of a scikit-learn tree that are read: node 0 splits on feature 1, its right child on feature 0."""

    children_left = np.array([1, -1, 3, -1, -1])
    children_right = np.array([2, -1, 4, -1, -1])
    feature = np.array([1, -2, 0, -2, -2])
    threshold = np.array([0.5, -2.0, 0.1, -2.0, -2.0])
    value = np.array([[[5.0, 5.0]], [[4.0, 0.0]], [[1.0, 5.0]], [[1.0, 1.0]], [[0.0, 4.0]]])
    max_depth = 2


class _Estimator:
    tree_ = _Tree


class _Ensemble:
    estimators_ = [_Estimator, _Estimator]  # noqa: RUF012 -- a stand-in's constant


def by_hand(row):
    if row[1] <= 0.5:
        return 0.0
    return 0.5 if row[0] <= 0.1 else 1.0


ROWS = st.lists(
    st.tuples(st.floats(-1, 1, width=32), st.floats(-1, 1, width=32)) | st.just((0.1, 0.5)), min_size=1, max_size=20
)


@given(ROWS)
def test_a_flat_forest_answers_as_its_trees(rows):
    inputs = np.array(rows, dtype=np.float32)
    expected = [by_hand(row) for row in inputs.astype(np.float64)]
    np.testing.assert_array_equal(probability(flatten(_Ensemble), inputs), np.array(expected, dtype=np.float32))


def test_children_stand_side_by_side_and_leaves_stay():
    forest = flatten(_Ensemble)
    assert forest.roots.tolist() == [0, 5]
    assert forest.left.tolist() == [1, 1, 3, 3, 4, 6, 6, 8, 8, 9]
    assert (forest.threshold[[1, 3, 4]] > 1e38).all()


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_a_residual_is_what_the_components_leave(seed, count):
    generator = np.random.default_rng(seed)
    normal = generator.normal(size=(60, 4)).astype(np.float32)
    fitted = detectors.fit_residual(normal, count)
    centred = normal.astype(np.float64) - normal.mean(axis=0, dtype=np.float64)
    _u, values, _v = np.linalg.svd(centred, full_matrices=False)
    assert fitted.scores(normal).sum() * 4 == pytest.approx((values[count:] ** 2).sum(), rel=1e-3)


def test_the_nearest_prototype_counts():
    fitted = detectors.Prototypes(np.array([[0.0, 0.0], [10.0, 0.0]], dtype=np.float32))
    found = fitted.scores(np.array([[0.0, 0.0], [9.0, 1.0], [0.0, 4.0]], dtype=np.float32))
    assert found.tolist() == pytest.approx([0.0, 1.0, 8.0])


def test_either_alarms_exactly_when_a_part_does():
    near = detectors.Prototypes(np.zeros((1, 1), dtype=np.float32))
    far = detectors.Prototypes(np.full((1, 1), 10.0, dtype=np.float32))
    both = detectors.Either([near, far], [4.0, 36.0])
    rows = np.array([[0.0], [1.0], [2.0], [5.0], [12.0]], dtype=np.float32)
    parts = (near.scores(rows) >= 4.0) | (far.scores(rows) >= 36.0)
    assert (both.scores(rows) >= 1.0).tolist() == parts.tolist()
    squashed = detectors.Squashed(both, 1.0).scores(rows)
    assert (squashed >= 0.5).tolist() == parts.tolist()
    assert squashed.max() < 1.0


def test_what_is_exported_answers_as_what_was_trained():
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed: the extra `train`")
    generator = np.random.default_rng(3)
    inputs = generator.normal(size=(700, 2)).astype(np.float32)
    whole = detectors.Squashed(
        detectors.Either(
            [
                detectors.fit_residual(inputs, 1),
                detectors.Prototypes(inputs[:5]),
                detectors.Grown(flatten(_Ensemble)),
            ],
            [0.5, 0.5, 0.25],
        ),
        1.5,
    )
    model = to_tflite(whole.tensors, (2,))
    assert compare(litert(model, inputs).reshape(-1), whole.scores(inputs)) < 1e-5


def test_forests_of_the_library_answer_as_their_tensors():
    ensemble = pytest.importorskip("sklearn.ensemble", reason="scikit-learn is not installed: the extra `train`")
    generator = np.random.default_rng(4)
    inputs = generator.normal(size=(900, 6)).astype(np.float32)
    attack = inputs[:, 0] * inputs[:, 1] > inputs[:, 2]
    for kind in (ensemble.RandomForestClassifier, ensemble.ExtraTreesClassifier):
        fitted = kind(20, max_depth=8, random_state=1).fit(inputs, attack)
        grown = detectors.Grown(flatten(fitted))
        compare(grown.scores(inputs), fitted.predict_proba(inputs)[:, 1], 1e-6)
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed: the extra `train`")
    assert compare(litert(to_tflite(grown.tensors, (6,)), inputs).reshape(-1), grown.scores(inputs)) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cnn", "cnn-lstm"])
def test_a_network_keeps_its_weights_when_it_is_exported(kind):
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed: the extra `train`")
    generator = np.random.default_rng(5)
    inputs = generator.normal(size=(600, 24)).astype(np.float32)
    classes = (inputs[:, 3] > 0).astype(np.int64)
    model = neural.fit(kind, neural.Task(inputs, classes, neural.class_weights(classes, 2)), epochs=2, seed=1)
    exported = to_tflite(neural.frozen(model, 24), (24,))
    assert compare(litert(exported, inputs), neural.answers(model, inputs)) < 1e-5


def test_an_empty_forest_part_is_no_trap():
    assert isinstance(flatten(_Ensemble), Forest)
    assert len(detectors.Grown(flatten(_Ensemble)).scores(np.zeros((0, 2), np.float32))) == 0
