"""NAB's rules: its own examples, the ends of its scale, and what must hold for any detector."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.training.nab_scoring import (
    PROFILES,
    STANDARD,
    Profile,
    Row,
    Series,
    Tally,
    best,
    normalised,
    probation_rows,
    scaled_sigmoid,
    score_corpus,
    sweep,
    tally_at,
    worths,
)

EVEN = Profile("even", 1.0, 1.0, 1.0)


def series(rows, *windows, name="file"):
    return Series(name, (0.0,) * rows, windows)


def scored(rows, windows, detections, profile=EVEN):
    """Score one file without probation, as NAB's own tests do."""
    answers = [1.0 if index in detections else 0.0 for index in range(rows)]
    tallies = sweep(zip(worths(series(rows, *windows), profile, 0), answers, strict=True), profile)
    return tally_at(tallies, 0.5)


@st.composite
def corpora(draw):
    files = []
    for number in range(draw(st.integers(1, 3))):
        cuts = sorted(draw(st.lists(st.integers(0, 119), max_size=6, unique=True)))
        windows = tuple(zip(cuts[0::2], cuts[1::2], strict=False))
        files.append(series(120, *windows, name=f"file-{number}"))
    return tuple(files)


def answers(draw, corpus):
    level = st.integers(0, 8).map(lambda n: n / 8)
    return {file.name: draw(st.lists(level, min_size=120, max_size=120)) for file in corpus}


@pytest.mark.parametrize(("position", "worth"), [(-1.0, 0.98661), (-0.5, 0.84828), (0.0, 0.0), (1.0, -0.98661)])
def test_the_sigmoid_has_the_values_that_nab_names(position, worth):
    assert scaled_sigmoid(position) == pytest.approx(worth, abs=5e-6)


def test_far_behind_a_window_a_false_alarm_costs_its_whole_weight():
    assert scaled_sigmoid(3.01) == -1.0


@pytest.mark.parametrize(("rows", "skipped"), [(100, 15), (4032, 604), (5000, 750), (22695, 750)])
def test_probation_is_fifteen_percent_of_at_most_five_thousand_rows(rows, skipped):
    assert probation_rows(rows) == skipped


def test_a_detection_at_the_first_row_of_a_window_earns_its_whole_weight():
    assert scored(10, [(4, 5)], {4}) == Tally(1.0, 1.0, 1, 8, 0, 1)


def test_only_the_first_detection_of_a_window_counts():
    assert scored(10, [(4, 5)], {4, 5}).score == scored(10, [(4, 5)], {4}).score


def test_an_earlier_detection_is_worth_more():
    assert scored(10, [(4, 5)], {4}).score > scored(10, [(4, 5)], {5}).score


def test_the_right_edge_of_a_window_and_the_row_behind_it_weigh_almost_nothing():
    edge, behind = scored(1000, [(500, 599)], {599}), scored(1000, [(500, 599)], {600})
    assert edge.score + behind.score + 1 == pytest.approx(0.0, abs=5e-4)
    assert (behind.tp, behind.fp) == (0, 1)


def test_missed_windows_cost_their_weight_each():
    assert scored(2000, [(200, 209), (600, 609), (1000, 1009), (1400, 1409)], set()).score == -4.0


def test_a_false_alarm_without_a_window_costs_its_weight():
    assert scored(1000, [], {0}).score == -1.0


def test_two_windows_one_met_one_missed_and_a_false_alarm_score_as_nab_publishes():
    tally = scored(100, [(30, 34), (65, 69)], {30, 31, 37})
    assert tally.score == pytest.approx(-0.9540, abs=5e-5)
    assert (tally.tp, tally.tn, tally.fp, tally.fn) == (2, 89, 1, 8)


def test_the_sweep_meets_every_threshold_once_as_nab_publishes():
    profile = Profile("five", 1.0, 5.0, 1.0)
    a, b = ("file", 1), ("file", 2)
    rows = [
        (None, 0.5),
        (Row(-3, None), 0.0),
        (Row(20, a), 0.2),
        (Row(10, a), 0.3),
        (Row(5, b), 0.5),
        (Row(-3, None), 0.5),
    ]
    assert sweep(rows, profile) == [
        Tally(1.1, -10, 0, 2, 0, 3),
        Tally(0.5, -3, 1, 1, 1, 2),
        Tally(0.3, 12, 2, 1, 1, 1),
        Tally(0.2, 22, 3, 1, 1, 0),
        Tally(0.0, 19, 3, 0, 2, 0),
    ]


def test_normalising_puts_silence_at_nought_and_perfection_at_a_hundred():
    assert normalised(2.0, STANDARD, 5) == 70.0
    assert normalised(57.66075157860638, STANDARD, 116) == pytest.approx(74.85377223215792)


@given(corpora())
def test_silence_scores_nought_under_every_profile(corpus):
    corpus = tuple(file for file in corpus if file.windows) or (series(120, (60, 70)),)
    corpus = tuple(file._replace(windows=tuple(w for w in file.windows if w[1] >= 18)) for file in corpus)
    corpus = tuple(file for file in corpus if file.windows) or (series(120, (60, 70)),)
    silent = {file.name: [0.0] * 120 for file in corpus}
    for profile in PROFILES:
        assert score_corpus(corpus, silent, profile, 0.5).score == pytest.approx(0.0)


@given(st.integers(18, 60), st.integers(1, 50))
def test_meeting_every_window_at_its_first_row_scores_a_hundred(first, width):
    corpus = (series(120, (first, first + width)),)
    perfect = {"file": [float(index == first) for index in range(120)]}
    for profile in PROFILES:
        assert score_corpus(corpus, perfect, profile).score == pytest.approx(100.0)


@given(st.data(), corpora())
def test_the_sweep_agrees_with_counting_at_each_threshold(data, corpus):
    scores = answers(data.draw, corpus)
    rows = [
        (row, score)
        for file in corpus
        for row, score in zip(worths(file, STANDARD), scores[file.name], strict=True)
        if row is not None
    ]
    for tally in sweep(rows, STANDARD):
        total = sum(row.worth for row, score in rows if row.window is None and score >= tally.threshold)
        for window in {row.window for row, _ in rows if row.window is not None}:
            hits = [row.worth for row, score in rows if row.window == window and score >= tally.threshold]
            total += max(hits, default=-STANDARD.fn_weight)
        assert math.isclose(tally.score, total, abs_tol=1e-9)
        assert tally.tp + tally.fp == sum(score >= tally.threshold for _, score in rows)
        assert tally.tp + tally.fn == sum(row.window is not None for row, _ in rows)


@given(st.data(), corpora())
def test_the_chosen_threshold_is_the_best_of_all(data, corpus):
    scores = answers(data.draw, corpus)
    rows = [p for file in corpus for p in zip(worths(file, STANDARD), scores[file.name], strict=True)]
    tallies = sweep(rows, STANDARD)
    assert best(tallies).score == max(tally.score for tally in tallies)


def test_scores_that_do_not_fit_a_file_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        score_corpus((series(10, (4, 5)),), {"file": [0.0] * 9}, STANDARD)


def test_scores_above_one_are_detections_at_one():
    answers = {"file": [650.0 if index == 60 else 0.5 for index in range(120)]}
    assert score_corpus((series(120, (60, 70)),), answers, STANDARD, 1.0).score == pytest.approx(100.0)
