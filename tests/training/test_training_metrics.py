"""Figures against their definitions, written out row by row."""

from __future__ import annotations

import pytest

np = pytest.importorskip("numpy")

from hypothesis import given  # noqa: E402 -- after the skip
from hypothesis import strategies as st  # noqa: E402 -- likewise

from gateway.training import metrics  # noqa: E402 -- likewise

SCORED = st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=40).filter(
    lambda rows: len({attack for attack, _ in rows}) == 2
)


def test_a_binary_table_gives_the_figures_of_its_four_cells():
    attack = [True] * 10 + [False] * 20
    called = [True] * 8 + [False] * 2 + [True] * 1 + [False] * 19
    found = metrics.binary(attack, called)
    assert found.rows == 30
    assert found.accuracy == pytest.approx(27 / 30)
    assert (found.recall, found.missed) == (pytest.approx(0.8), pytest.approx(0.2))
    assert found.false_alarms == pytest.approx(0.05)
    assert found.precision == pytest.approx(8 / 9)
    assert found.f1 == pytest.approx(16 / 19)
    assert found.macro_f1 == pytest.approx((16 / 19 + 38 / 41) / 2)
    assert found.balanced_accuracy == pytest.approx((0.8 + 0.95) / 2)
    assert found.kappa == pytest.approx((27 / 30 - (9 * 10 + 21 * 20) / 900) / (1 - (9 * 10 + 21 * 20) / 900))


def test_always_saying_attack_finds_all_and_alarms_on_all():
    found = metrics.binary([True, False, False], [True, True, True])
    assert (found.recall, found.false_alarms, found.kappa) == (1.0, 1.0, 0.0)


def test_a_class_without_rows_counts_in_no_mean():
    found = metrics.many([0, 0, 1, 1], [0, 1, 1, 1], 3)
    assert found.accuracy == 0.75
    assert found.balanced_accuracy == pytest.approx(0.75)
    assert found.macro_f1 == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found.specificity == pytest.approx((1.0 + 0.5) / 2)


@given(SCORED)
def test_the_area_is_how_often_an_attack_scores_above_a_normal_row(rows):
    attacks = [score for attack, score in rows if attack]
    normals = [score for attack, score in rows if not attack]
    pairs = [(a > n) + 0.5 * (a == n) for a in attacks for n in normals]
    area = metrics.auc([attack for attack, _ in rows], [score for _, score in rows])
    assert area == pytest.approx(sum(pairs) / len(pairs))


@given(SCORED, st.floats(0, 1))
def test_recall_at_a_rate_is_that_of_the_best_threshold_within_it(rows, rate):
    attack, scores = np.array([a for a, _ in rows]), np.array([s for _, s in rows])
    best = max(
        float((scores[attack] >= limit).mean())
        for limit in [*np.unique(scores), np.inf]
        if (scores[~attack] >= limit).mean() <= rate
    )
    assert metrics.recall_at(attack, scores, rate) == pytest.approx(best)


@given(st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=200), st.floats(0, 0.99))
def test_a_threshold_never_alarms_more_often_than_it_was_set_to(normal, rate):
    scores = np.array(normal, dtype=np.float64)
    limit = metrics.threshold_at(scores, rate)
    assert (scores >= limit).mean() <= rate


def test_a_curve_needs_both_kinds_and_numbers():
    with pytest.raises(ValueError, match="needs attacks and normal rows"):
        metrics.roc([True, True], [1, 2])
    with pytest.raises(ValueError, match="not a number"):
        metrics.roc([True, False], [1, float("nan")])


def test_recall_is_told_by_family_and_runs_by_their_first_row():
    assert metrics.recall_by(["DoS", "R2L", "DoS"], [True, False, False]) == {"DoS": 0.5, "R2L": 0.0}
    assert metrics.first_per_run(np.array([True, True, False, True])).tolist() == [0, 3]
