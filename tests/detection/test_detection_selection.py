"""Which model a message is given to, and what the answer becomes."""

import math
from array import array

import pytest
from detection_kit import PROBABILITY, RECONSTRUCTION, columns
from hypothesis import given
from hypothesis import strategies as st

from gateway.detection.features import Pipeline, Row, SpecFault
from gateway.detection.port import UnscoredReason
from gateway.detection.selection import ENOUGH, Candidate, Choice, choose, rank
from gateway.detection.spec import InputSpec, OutputKind, OutputSpec, Selector
from gateway.detection.verdict import LABEL_BYTES_MAX, Judged, check_outputs, judge
from gateway.envelope.readings import NotScorable
from gateway.message import Verdict
from gateway.tlog import entry


def candidate(number, names="ab", *, missing=None, **selector):
    pipeline = Pipeline(InputSpec(columns(*names, missing=missing), None, 1, (len(names),)))
    return Candidate(bytes([number]) * 32, Selector(**selector), pipeline)


def first(candidates, device="pump:7", content_format=110, names="ab"):
    ranked = rank(candidates, device, content_format, set(names))
    return candidates[ranked[0]].manifest_sha256[0] if ranked else None


def test_what_a_selector_names_must_be_there():
    assert first([candidate(1, domains=("lamp:",))]) is None
    assert first([candidate(1, domains=("lamp:", "pump:"))]) == 1
    assert first([candidate(1, content_formats=(50,))]) is None
    assert first([candidate(1, content_formats=(50, 110))]) == 1
    assert first([candidate(1, readings=("c",))]) is None
    assert first([candidate(1, readings=("a",))]) == 1


def test_the_more_particular_model_comes_first():
    for particular, general in (
        ({"domains": ("pump:",)}, {}),
        ({"domains": ("pump:7",)}, {"domains": ("pump:",)}),
        ({"domains": ("pump:",)}, {"content_formats": (110,), "readings": ("a", "b")}),
        ({"content_formats": (110,)}, {"readings": ("a", "b")}),
        ({"readings": ("a", "b")}, {"readings": ("a",)}),
    ):
        assert first([candidate(1, **general), candidate(2, **particular)]) == 2
        assert first([candidate(2, **particular), candidate(1, **general)]) == 2


def test_a_model_that_lacks_nothing_comes_before_one_that_lacks_a_reading():
    assert first([candidate(1, "abc", domains=("pump:",)), candidate(2, "ab")]) == 2
    assert first([candidate(1, "abc", missing=0.0, domains=("pump:",)), candidate(2, "ab")]) == 1


def test_more_of_its_readings_and_then_more_readings_come_first():
    assert first([candidate(1, "abcd", missing=0.0), candidate(2, "abc", missing=0.0)]) == 2
    assert first([candidate(1, "a"), candidate(2, "ab")]) == 2


def test_equals_are_told_apart_by_their_digest():
    assert first([candidate(9), candidate(3), candidate(5)]) == 3


CANDIDATES = st.lists(
    st.builds(
        lambda names, missing, selector: (names, missing, selector),
        st.text("abcd", min_size=1, max_size=4),
        st.none() | st.just(0.0),
        st.fixed_dictionaries(
            {},
            optional={
                "domains": st.lists(st.sampled_from(["pump:", "pump:7", "lamp:"]), max_size=2).map(tuple),
                "content_formats": st.sampled_from([(50,), (110,), (50, 110)]),
                "readings": st.lists(st.sampled_from("abcd"), max_size=2).map(tuple),
            },
        ),
    ),
    min_size=1,
    max_size=5,
)


@given(CANDIDATES, st.sampled_from(["pump:7", "lamp:1", "x"]), st.sets(st.sampled_from("abcd")), st.randoms())
def test_the_choice_does_not_depend_on_the_order_of_the_models(made, device, names, random):
    candidates = [
        candidate(number, found, missing=missing, **selector)
        for number, (found, missing, selector) in enumerate(made)
    ]
    shuffled = list(candidates)
    random.shuffle(shuffled)

    def order(models):
        return [models[place].manifest_sha256 for place in rank(models, device, 110, names)]

    assert order(candidates) == order(shuffled)


@given(st.lists(st.none() | st.floats(0, 1), max_size=6))
def test_the_first_good_row_is_taken_else_the_best(qualities):
    def row_of(place):
        quality = qualities[place]
        return NotScorable(f"{place}") if quality is None else Row(array("f"), quality)

    chosen = choose(range(len(qualities)), row_of)
    rows = [(place, quality) for place, quality in enumerate(qualities) if quality is not None]
    good = [place for place, quality in rows if quality >= ENOUGH]
    if good:
        assert chosen.place == good[0]
    elif rows:
        assert isinstance(chosen, Choice)
        assert chosen.place == max(rows, key=lambda row: (row[1], -row[0]))[0]
    elif qualities:
        assert chosen == NotScorable("0")
    else:
        assert chosen == NotScorable(UnscoredReason.NO_FITTING_MODEL)


def test_a_threshold_is_reached_at_the_threshold():
    assert judge(PROBABILITY, [0.5], [0, 0]) == Judged(Verdict.ANOMALOUS, 0.5, None)
    assert judge(PROBABILITY, [math.nextafter(0.5, 0)], [0, 0]).verdict is Verdict.NORMAL


@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=1, max_size=9))
def test_a_reconstruction_is_scored_by_its_mean_squared_difference(pairs):
    answer, inputs = zip(*pairs, strict=True)
    expected = sum((one - other) ** 2 for one, other in pairs) / len(pairs)
    judged = judge(RECONSTRUCTION, answer, inputs)
    assert judged.score == pytest.approx(expected)
    assert (judged.verdict is Verdict.ANOMALOUS) == (judged.score >= 0.5)


@given(st.lists(st.floats(-9, 9), min_size=2, max_size=2))
def test_the_greatest_number_names_the_class_and_the_first_of_equals(answer):
    judged = judge(OutputSpec(OutputKind.CLASSES, None, ("x", "y")), answer, [])
    assert judged == Judged(Verdict.CLASSIFIED, max(answer), 0 if answer[0] >= answer[1] else 1)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("outputs", [PROBABILITY, RECONSTRUCTION, OutputSpec(OutputKind.CLASSES, None, ("x", "y"))])
def test_an_answer_that_is_not_finite_is_no_verdict(outputs, number):
    assert judge(outputs, [0.0, number], [0.0, 0.0]) == NotScorable(UnscoredReason.ANSWER_NOT_FINITE)


@pytest.mark.parametrize(
    "outputs",
    [
        OutputSpec(OutputKind.PROBABILITY, None, ()),
        OutputSpec(OutputKind.RECONSTRUCTION, math.nan, ()),
        OutputSpec(OutputKind.CLASSES, None, ()),
        OutputSpec(OutputKind.CLASSES, None, ("x", "x")),
        OutputSpec(OutputKind.CLASSES, None, ("",)),
        OutputSpec(OutputKind.CLASSES, None, ("x" * 257,)),
    ],
)
def test_an_output_that_could_not_be_judged_is_refused(outputs):
    with pytest.raises(SpecFault):
        check_outputs(outputs)


def test_a_label_is_at_most_what_a_log_entry_takes():
    assert LABEL_BYTES_MAX == entry.LABEL_BYTES_MAX
