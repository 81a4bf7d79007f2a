"""The detector of records: against a plain reference, causal, blind to the scale, and calm after an event."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.training.nab_records import (
    CANDIDATES,
    CAP,
    FLOOR,
    SETTLED,
    Extreme,
    Judge,
    Part,
    choose,
    least_span,
    novelty,
    scores,
)
from gateway.training.nab_scoring import STANDARD, Series, normalised, score_corpus

readings = st.lists(st.integers(-50, 50).map(float), min_size=1, max_size=160)
parts = st.sampled_from(CANDIDATES)


def values_of(part, series):
    """What a part says of every reading, the long way; None before it says anything."""
    told = []
    for end in range(1, len(series) + 1):
        seen = series[:end]
        if end <= part.warm:
            told.append(None)
        elif part.steps:
            pairs = list(zip(seen[-part.short - 1 :], seen[-part.short :], strict=False))
            told.append(sum(abs(after - before) for before, after in pairs) / part.short)
        else:
            long = sum(seen[-part.long :]) / part.long if part.long else 0.0
            told.append(sum(seen[-part.short :]) / part.short - long)
    return told


def reference(part, series, reach):
    """The same as ``novelty`` with every range looked for anew."""
    told, found = values_of(part, series), []
    for index in range(len(series)):
        start = 0 if reach is None else max(0, index - (reach - 1))
        before = [value for value in told[start + part.warm if reach else 0 : index] if value is not None]
        if index < (SETTLED if reach is None else reach - 1) or not before or told[index] is None:
            found.append(-1.0)
            continue
        level = series[start:index]
        floor = FLOOR * max(max(level) - min(level), least_span(min(level)))
        span = max(max(before) - min(before), floor)
        found.append(min(max(told[index] - max(before), min(before) - told[index]) / span, CAP))
    return found


@given(parts, readings)
def test_with_everything_seen_it_says_what_a_search_of_the_past_says(part, series):
    assert novelty(series, [part])[part] == pytest.approx(reference(part, series, None))


@given(parts, readings, st.integers(110, 140))
def test_with_a_reach_it_says_what_a_search_of_the_window_says(part, series, reach):
    assert novelty(series, [part], reach)[part] == pytest.approx(reference(part, series, reach))


@given(parts, readings, st.integers(0, 160))
def test_what_comes_later_changes_nothing(part, series, cut):
    assert novelty(series[:cut], [part])[part] == novelty(series, [part])[part][:cut]


@given(parts, readings, st.integers(-8, 8))
def test_the_scale_of_a_sensor_plays_no_part(part, series, power):
    # Powers of two alone: they round nothing. A series that never varied has a range by its level, left out here.
    series = [0.0, 64.0, *series]
    scaled = [value * 2.0**power for value in series]
    assert novelty(scaled, [part])[part] == pytest.approx(novelty(series, [part])[part])


def test_a_record_is_an_event_once():
    series = [float(index % 7) for index in range(200)] + [20.0, 1.0, 20.0]
    found = novelty(series, [Part(1)])[Part(1)]
    assert found[200] == pytest.approx(14 / 6)
    assert max(found[SETTLED:200]) <= 0
    assert found[202] <= 0


def test_with_a_reach_a_record_is_forgotten():
    series = [float(index % 7) for index in range(120)] + [20.0] + [float(index % 7) for index in range(120)] + [20.0]
    assert novelty(series, [Part(1)], 100)[Part(1)][-1] > 1
    assert novelty(series, [Part(1)])[Part(1)][-1] <= 0


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=60), st.none() | st.integers(1, 20))
def test_the_greatest_is_that_of_what_is_remembered(values, reach):
    extreme = Extreme(reach)
    for index, value in enumerate(values):
        extreme.add(value)
        assert extreme.value == max(values[max(0, index + 1 - reach) if reach else 0 : index + 1])


def test_the_greatest_of_nothing_is_less_than_anything():
    assert Extreme(None).value == Extreme(3).value == -math.inf


def test_a_rule_is_met_when_one_of_its_parts_is():
    found = {Part(1): [0.1, -1.0, 0.0], Part(4): [-1.0, 0.6, 0.0]}
    assert scores(found, {Part(1): 0.2, Part(4): 0.3}) == pytest.approx([0.5, 2.0, 0.0])


@st.composite
def judged(draw):
    cuts = sorted(draw(st.lists(st.integers(20, 119), min_size=2, max_size=6, unique=True)))
    file = Series("file", (0.0,) * 120, tuple(zip(cuts[0::2], cuts[1::2], strict=False)))
    return file, draw(st.sets(st.integers(0, 119)))


@given(judged())
def test_the_judge_of_detections_agrees_with_the_rules_of_nab(drawn):
    file, detections = drawn
    judge = Judge((file,), STANDARD)
    answers = {"file": [float(index in detections) for index in range(120)]}
    expected = score_corpus((file,), answers, STANDARD, 0.5).score
    assert normalised(judge({"file": detections}), STANDARD, judge.windows) == pytest.approx(expected)


def test_choosing_finds_the_part_that_meets_the_windows():
    quiet = [float(index % 5) for index in range(300)]
    files = []
    for number, place in enumerate((180, 220, 260)):
        values = list(quiet)
        values[place] = 30.0
        files.append(Series(f"file-{number}", tuple(values), ((place, place + 10),)))
    found = {file.name: novelty(file.values, [Part(1), Part(12)]) for file in files}
    rule = choose(files, found, STANDARD)
    assert set(rule) == {Part(1)}
    answered = {file.name: scores(found[file.name], rule) for file in files}
    assert score_corpus(files, answered, STANDARD, 1.0).score == pytest.approx(100.0)


def test_choosing_from_what_never_helps_gives_an_empty_rule_and_silence():
    files = [Series("file", (0.0,) * 300, ((200, 210),))]
    found = {"file": novelty(files[0].values, [Part(1)])}
    assert choose(files, found, STANDARD) == {}
