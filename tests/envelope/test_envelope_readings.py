import json
import math

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.envelope.readings import NotScorable, Readings, readings

JSON, CBOR, SENML_JSON, SENML_CBOR, OCTETS = 50, 60, 110, 112, 42
NOW = 1_320_067_464.0


def from_json(value, **options):
    return readings(JSON, json.dumps(value).encode(), **options)


def senml(*records, issued_at=NOW):
    return readings(SENML_JSON, json.dumps(records).encode(), issued_at=issued_at)


def scalars(found):
    assert isinstance(found, Readings), found
    assert not found.tensors
    return dict(found.scalars)


def test_rfc_8428_section_5_1_2_multiple_datapoints():
    found = senml(
        {"bn": "urn:dev:ow:10e2073a01080063:", "n": "voltage", "u": "V", "v": 120.1},
        {"n": "current", "u": "A", "v": 1.2},
    )
    assert scalars(found) == {
        "urn:dev:ow:10e2073a01080063:voltage": 120.1,
        "urn:dev:ow:10e2073a01080063:current": 1.2,
    }


def test_rfc_8428_section_5_1_2_the_latest_of_a_series():
    first = {"bn": "urn:dev:ow:10e2073a0108006:", "bt": 1.276020076001e09, "bu": "A", "bver": 5}
    found = senml(
        first | {"n": "voltage", "u": "V", "v": 120.1},
        *({"n": "current", "t": t, "v": v} for t, v in ((-5, 1.2), (-4, 1.3), (0, 1.7), (-3, 1.4), (-1, 1.6))),
    )
    assert scalars(found) == {
        "urn:dev:ow:10e2073a0108006:voltage": 120.1,
        "urn:dev:ow:10e2073a0108006:current": 1.7,
    }


def test_rfc_8428_section_6_cbor_example():
    example = bytes.fromhex(
        "87a721781b75726e3a6465763a6f773a3130653230373361303130383030363a"
        "22fb41d303a15b00106223614120050067766f6c7461676501615602fb405e066666666666"
        "a3006763757272656e74062402fb3ff3333333333333"
        "a3006763757272656e74062302fb3ff4cccccccccccd"
        "a3006763757272656e74062202fb3ff6666666666666"
        "a3006763757272656e74062102f93e00"
        "a3006763757272656e74062002fb3ff999999999999a"
        "a3006763757272656e74060002fb3ffb333333333333"
    )
    assert scalars(readings(SENML_CBOR, example)) == {
        "urn:dev:ow:10e2073a0108006:voltage": 120.1,
        "urn:dev:ow:10e2073a0108006:current": 1.7,
    }


def test_base_value_is_added_and_base_fields_may_stand_alone():
    found = senml(
        {"bn": "d/", "bv": 20}, {"n": "a", "v": 1.5}, {"bv": 0, "n": "b", "v": 2}, {"bn": "e/", "n": "a", "v": 3}
    )
    assert scalars(found) == {"d/a": 21.5, "d/b": 2.0, "e/a": 3.0}


def test_a_relative_time_counts_from_the_signed_time():
    absolute = {"n": "a", "t": NOW - 10, "v": 1}
    assert scalars(senml(absolute, {"n": "a", "t": -20, "v": 2})) == {"a": 1.0}
    assert scalars(senml(absolute, {"n": "a", "t": -5, "v": 2})) == {"a": 2.0}
    assert scalars(senml(absolute, {"n": "a", "v": 2})) == {"a": 2.0}


def test_records_without_a_number_are_no_readings():
    found = senml(
        {"n": "a", "v": 1}, {"n": "b", "vs": "on"}, {"n": "c", "vb": True}, {"n": "d", "vd": "AQ"}, {"n": "e", "s": 4}
    )
    assert scalars(found) == {"a": 1.0}


def test_two_at_one_time_collide_only_where_they_are_the_latest():
    twice = ({"n": "a", "t": 1, "v": 1}, {"n": "a", "t": 1, "v": 2})
    assert isinstance(senml(*twice), NotScorable)
    assert scalars(senml(*twice, {"n": "a", "t": 2, "v": 3})) == {"a": 3.0}
    assert isinstance(
        senml({"n": "a", "t": 1, "v": 0}, {"n": "a", "t": 2, "v": 1}, {"n": "a", "t": 2, "v": 1}), NotScorable
    )


NOT_SENML = {
    "no array": {"n": "a", "v": 1},
    "empty": [],
    "a number": [1],
    "an empty record": [{}],
    "no name": [{"v": 1}],
    "a name outside the alphabet": [{"n": "a b", "v": 1}],
    "a name that begins with a dot": [{"n": ".a", "v": 1}],
    "a name of another type": [{"n": 1, "v": 1}],
    "a base name of another type": [{"bn": None, "n": "a", "v": 1}],
    "a value of another type": [{"n": "a", "v": "1"}],
    "a true value": [{"n": "a", "v": True}],
    "a null value": [{"n": "a", "v": None}],
    "no value": [{"n": "a"}],
    "two values": [{"n": "a", "v": 1, "vs": "x"}],
    "a time of another type": [{"n": "a", "v": 1, "t": "now"}],
    "a boolean of another type": [{"n": "a", "vb": 1}],
    "a label to be understood": [{"n": "a", "v": 1, "x_": 1}],
    "a version to come": [{"bver": 11, "n": "a", "v": 1}],
    "version 0": [{"bver": 0, "n": "a", "v": 1}],
    "half a version": [{"bver": 9.5, "n": "a", "v": 1}],
    "only text": [{"n": "a", "vs": "x"}],
    "a sum that is not finite": [{"bv": 1e308, "n": "a", "v": 1e308}],
    "a time that is not finite": [{"bt": 1e308, "n": "a", "v": 1, "t": 1e308}],
}


@pytest.mark.parametrize("name", NOT_SENML)
def test_senml_is_not_scored_for(name):
    assert isinstance(readings(SENML_JSON, json.dumps(NOT_SENML[name]).encode()), NotScorable)


def test_unknown_labels_are_passed_over():
    assert scalars(senml({"n": "a", "v": 1, "x": [], "y": None})) == {"a": 1.0}
    assert scalars(readings(SENML_CBOR, cbor2.dumps([{0: "a", 2: 1, 77: "x", "y": 1}]))) == {"a": 1.0}


@pytest.mark.parametrize("record", [{"n": "a", "v": 1}, {0: "a", "v": 1, 2: 1}, {0: "a", 2: 1, "z_": 0}])
def test_cbor_labels_are_the_integers(record):
    assert isinstance(readings(SENML_CBOR, cbor2.dumps([record])), NotScorable)


def test_nested_names_are_joined_and_arrays_are_tensors():
    expected = Readings({"a.b": 1.0, "a.c.d": -2.5, "e": 3.0}, {"a.x": (1.0, 2.0), "y": (0.5,), "z": ()})
    value = {"a": {"b": 1, "c": {"d": -2.5}, "x": [1, 2]}, "e": 3, "y": [0.5], "z": []}
    assert from_json(value) == expected
    assert readings(CBOR, cbor2.dumps(value)) == expected


MAPS = {
    "a number": 1,
    "an array": [1, 2],
    "null": None,
    "empty": {},
    "nothing but empty maps": {"a": {"b": {}}},
    "text": {"a": 1, "b": "x"},
    "true": {"a": True},
    "null in a map": {"a": None},
    "true in an array": {"a": [1, True]},
    "an array in an array": {"a": [[1]]},
    "a map in an array": {"a": [{"b": 1}]},
    "colliding names": {"a.b": 1, "a": {"b": 2}},
    "colliding tensor": {"a.b": [1], "a": {"b": 2}},
    "colliding tensors": {"a.b": [1], "a": {"b": [2]}},
    "infinity": {"a": math.inf},
    "NaN": {"a": math.nan},
    "NaN in an array": {"a": [1, math.nan]},
}


@pytest.mark.parametrize("name", MAPS)
def test_a_map_is_not_scored_for(name):
    assert isinstance(from_json(MAPS[name]), NotScorable)
    assert isinstance(readings(CBOR, cbor2.dumps(MAPS[name])), NotScorable)


JSON_TEXTS = {
    "nothing": b"",
    "cut": b'{"a":1',
    "trailing": b'{"a":1} x',
    "not UTF-8": b'{"a\xff":1}',
    "byte order mark": b'\xef\xbb\xbf{"a":1}',
    "member twice": b'{"a":1,"a":2}',
    "member twice, escaped": b'{"a":1,"\\u0061":2}',
    "lone surrogate": b'{"\\ud800":1}',
    "too great": b'{"a":1e400}',
    "too many digits": b'{"a":' + b"9" * 60000 + b"}",
    "deep arrays": b"[" * 60000,
    "deep objects": b'{"a":' * 10000 + b"1" + b"}" * 10000,
    "nine deep": b'{"a":' * 9 + b"1" + b"}" * 9,
    "nine deep with arrays": b'{"a":' + b"[" * 8 + b"1" + b"]" * 8 + b"}",
}


@pytest.mark.parametrize("name", JSON_TEXTS)
@pytest.mark.parametrize("content_format", [JSON, SENML_JSON])
def test_json_is_not_scored_for(content_format, name):
    assert isinstance(readings(content_format, JSON_TEXTS[name]), NotScorable)


def test_eight_deep_is_scored():
    assert from_json({"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": 1}}}}}}}}).scalars == {"a.a.a.a.a.a.a.a": 1.0}
    assert from_json({"a": {"a": {"a": {"a": {"a": {"a": {"a": [1]}}}}}}}).tensors == {"a.a.a.a.a.a.a": (1.0,)}


CBOR_BYTES = {
    "nothing": b"",
    "cut": cbor2.dumps({"a": 1})[:-1],
    "trailing": cbor2.dumps({"a": 1}) + b"\x00",
    "integer key": cbor2.dumps({1: 1}),
    "bytes key": cbor2.dumps({b"a": 1}),
    "true key": b"\xa1\xf5\x01",
    "key twice": b"\xa2\x61a\x01\x61a\x02",
    "a tag": b"\xa1\x61a\xc1\x01",
    "bytes": cbor2.dumps({"a": b"1"}),
    "deep": b"\x9f" * 60000,
    "nine deep": b"\xa1\x61a" * 9 + b"\x01",
    "a great length": b"\x9b" + b"\xff" * 8,
}


@pytest.mark.parametrize("name", CBOR_BYTES)
@pytest.mark.parametrize("content_format", [CBOR, SENML_CBOR])
def test_cbor_is_not_scored_for(content_format, name):
    assert isinstance(readings(content_format, CBOR_BYTES[name]), NotScorable)


def test_cbor_of_any_form_is_read():
    assert readings(CBOR, bytes.fromhex("bf6161f93c0061629f1801fa3f800000ffff")) == Readings(
        {"a": 1.0}, {"b": (1.0, 1.0)}
    )


@pytest.mark.parametrize("length", [256, 257])
def test_a_joined_name_has_at_most_256_characters(length):
    # Otherwise one long name above thousands of short ones would be copied for each of them.
    prefix = "a" * (length - 2)
    expected = Readings if length == 256 else NotScorable
    assert isinstance(from_json({prefix: {"b": 1}}), expected)
    assert isinstance(senml({"bn": prefix + ":", "n": "b", "v": 1}), expected)
    assert isinstance(from_json({"a" * length: 1}), expected)


def test_octets_have_no_readings():
    assert isinstance(readings(OCTETS, b'{"a":1}'), NotScorable)
    assert isinstance(readings(0, b'{"a":1}'), NotScorable)


NAMES = st.text("abcdefghij", min_size=1, max_size=5)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)


@given(st.dictionaries(NAMES, NUMBERS | st.lists(NUMBERS, max_size=4), min_size=1, max_size=6))
def test_json_and_cbor_say_the_same(value):
    found = from_json(value)
    assert found == readings(CBOR, cbor2.dumps(value))
    assert dict(found.scalars) == {name: item for name, item in value.items() if not isinstance(item, list)}
    assert {name: list(item) for name, item in found.tensors.items()} == {
        name: item for name, item in value.items() if isinstance(item, list)
    }


@given(st.sampled_from([JSON, CBOR, SENML_JSON, SENML_CBOR]), st.binary(max_size=80))
def test_noise_is_never_an_exception(content_format, payload):
    assert isinstance(readings(content_format, payload), Readings | NotScorable)


@given(
    st.sampled_from([JSON, SENML_JSON]),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["n", "v", "t", "bn", "bt", "bv", "vs", "a", "x_"]), inner, max_size=4)
        ),
        max_leaves=12,
    ),
)
def test_any_json_is_scored_or_not_and_never_an_exception(content_format, value):
    found = readings(content_format, json.dumps(value).encode())
    if isinstance(found, Readings):
        numbers = [*found.scalars.values(), *(item for tensor in found.tensors.values() for item in tensor)]
        assert all(math.isfinite(number) for number in numbers)
