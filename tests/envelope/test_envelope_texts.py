"""Text readings: SenML's ``vs`` as words beside the numbers."""

import json

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.envelope.readings import NotScorable, Readings, readings
from gateway.envelope.senml import TEXT_CHARACTERS

NOW = 1_320_067_464.0
NUMBER = {"n": "load", "v": 1}


def senml(*records):
    return readings(110, json.dumps(records).encode(), issued_at=NOW)


def texts(*records):
    found = senml(NUMBER, *records)
    assert isinstance(found, Readings), found
    assert found.scalars == {"load": 1.0}
    return dict(found.texts)


def test_a_text_stands_under_its_resolved_name():
    assert texts({"bn": "net/", "n": "protocol", "vs": "tcp"}, {"n": "flag", "vs": "SF"}) == {
        "net/protocol": "tcp",
        "net/flag": "SF",
    }


def test_cbor_says_the_same():
    found = readings(112, cbor2.dumps([{0: "load", 2: 1}, {0: "protocol", 3: "tcp"}]), issued_at=NOW)
    assert found == Readings({"load": 1.0}, {}, {"protocol": "tcp"})


def test_the_base_value_is_for_numbers_alone():
    assert texts({"bv": 5, "n": "mode", "vs": "eco"}) == {"mode": "eco"}


def test_of_a_repeated_text_the_latest_wins():
    assert texts({"n": "a", "t": -5, "vs": "old"}, {"n": "a", "t": -1, "vs": "new"}) == {"a": "new"}


def test_a_contested_text_is_no_reading_and_costs_nothing_else():
    assert texts({"n": "a", "vs": "x"}, {"n": "a", "vs": "y"}, {"n": "b", "vs": "z"}) == {"b": "z"}


def test_a_name_that_has_a_number_has_no_text():
    assert texts({"n": "load", "t": 5, "vs": "high"}) == {}


@pytest.mark.parametrize("length", [TEXT_CHARACTERS, TEXT_CHARACTERS + 1])
def test_a_text_has_at_most_256_characters(length):
    assert len(texts({"n": "a", "vs": "x" * length})) == (length <= TEXT_CHARACTERS)


def test_a_lone_surrogate_is_no_text():
    assert texts({"n": "a", "vs": "\ud800"}) == {}


def test_texts_alone_are_not_scored():
    assert isinstance(senml({"n": "a", "vs": "x"}), NotScorable)


def test_other_payloads_have_no_texts():
    assert not readings(50, b'{"a":1}').texts
    assert isinstance(readings(50, b'{"a":1,"b":"x"}'), NotScorable)


RECORDS = st.lists(
    st.fixed_dictionaries(
        {"n": st.sampled_from("abc")},
        optional={"t": st.integers(-3, 3), "bn": st.sampled_from(["x", "y"])},
    ).flatmap(
        lambda record: (
            st.text(max_size=4).map(lambda text: record | {"vs": text})
            | st.integers(-9, 9).map(lambda number: record | {"v": number})
        )
    ),
    min_size=1,
    max_size=8,
)


@given(RECORDS)
def test_texts_are_the_latest_of_a_plain_reading(records):
    base, seen = "", {}
    for record in records:
        base = record.get("bn", base)
        seen.setdefault(base + record["n"], []).append(record)
    expected = {}
    for name, named in seen.items():
        words = [record for record in named if "vs" in record]
        latest = max((record.get("t", 0) for record in words), default=0)
        last = [record["vs"] for record in words if record.get("t", 0) == latest]
        if len(last) == 1 and len(words) == len(named):
            expected[name] = last[0]
    found = senml(*records)
    if isinstance(found, Readings):
        assert found.texts == expected
        assert not found.texts.keys() & found.scalars.keys()
