"""The feature pipeline against a plain reading of its rules."""

import math
import struct
from array import array

import pytest
from detection_kit import columns, statistic
from hypothesis import given
from hypothesis import strategies as st

from gateway.detection.features import WIDTH_MAX, Pipeline, Row, SpecFault, own_names
from gateway.detection.port import UnscoredReason
from gateway.detection.spec import Column, ColumnKind, InputSpec, TensorInput
from gateway.detection.traffic import DeviceTraffic, Statistic
from gateway.detection.windows import Windows
from gateway.envelope.readings import NotScorable, Readings, readings

NAMES = "abcd"
FINITE = st.floats(allow_nan=False, allow_infinity=False)
SMALL = st.floats(-1e6, 1e6)


def number_columns(kind, names):
    return st.builds(
        lambda name, missing, bounds, log1p, mean, scale: Column(
            name, kind, missing, *sorted(bounds), log1p, mean, scale
        ),
        st.sampled_from(names),
        st.none() | FINITE,
        st.tuples(FINITE, FINITE),
        st.booleans(),
        SMALL,
        SMALL.filter(bool),
    )


COLUMNS = (
    number_columns(ColumnKind.READING, NAMES)
    | number_columns(ColumnKind.STATISTIC, [name.value for name in Statistic])
    | st.builds(
        lambda name, missing, words: Column(name, ColumnKind.CATEGORY, missing, vocabulary=tuple(words)),
        st.sampled_from(NAMES),
        st.none() | st.just(0.0),
        st.lists(st.text("xyz", max_size=2), min_size=1, max_size=4, unique=True),
    )
)
READINGS = st.builds(
    Readings,
    st.dictionaries(st.sampled_from(NAMES), FINITE),
    st.dictionaries(st.sampled_from(NAMES), st.lists(FINITE, max_size=5).map(tuple)),
    st.dictionaries(st.sampled_from(NAMES), st.text("xyz", max_size=2)),
)


def single(number):
    """As a float32, an infinity where it is too great for one."""
    try:
        return struct.unpack("f", struct.pack("f", number))[0]
    except OverflowError:
        return math.inf


def naive(columns, found, traffic):
    """The rules of docs/spec/detection.md, one after the other; None for what is not scored."""
    row = []
    for column in columns:
        if column.kind is ColumnKind.CATEGORY:
            word = found.texts.get(column.name)
            if word is None and column.missing is None:
                return None
            row += [1.0 if word == other else 0.0 for other in column.vocabulary]
            continue
        if column.kind is ColumnKind.READING:
            number = found.scalars.get(column.name)
        else:
            number = traffic.value(Statistic(column.name))
        if number is None:
            number = column.missing
        if number is None:
            return None
        number = max(column.low, min(column.high, number))
        if column.log1p and number >= 0:
            number = math.log1p(number)
        row.append((number - column.mean) / column.scale)
    row = [single(number) for number in row]
    return row if all(map(math.isfinite, row)) else None


@given(st.lists(COLUMNS, min_size=1, max_size=6), READINGS, st.integers(0, 12))
def test_a_row_is_what_a_plain_reading_of_the_rules_gives(columns, found, sent):
    traffic = DeviceTraffic()
    for n in range(sent):
        traffic.accepted(1000 * n, 900 * n, 10 + n)
    pipeline = Pipeline(InputSpec(tuple(columns), None, 1, (sum(column.width for column in columns),)))
    expected = naive(columns, found, traffic)
    row = pipeline.row(found, traffic)
    if expected is None:
        assert isinstance(row, NotScorable)
        assert UnscoredReason(row.reason) in {UnscoredReason.MISSING_READING, UnscoredReason.NOT_FINITE}
    else:
        assert list(row.values) == expected
        assert 0 <= row.quality <= 1


@given(st.integers(1, 6), st.tuples(FINITE, FINITE), SMALL, SMALL.filter(bool), READINGS)
def test_a_tensor_is_clipped_and_normalised_number_by_number(length, bounds, mean, scale, found):
    low, high = sorted(bounds)
    row = Pipeline(InputSpec((), TensorInput("a", length, low, high, mean, scale), 1, (length,))).row(found, None)
    values = found.tensors.get("a")
    if values is None:
        assert row == NotScorable(UnscoredReason.MISSING_READING)
    elif len(values) != length:
        assert row == NotScorable(UnscoredReason.WRONG_SHAPE)
    else:
        expected = [single((max(low, min(high, number)) - mean) / scale) for number in values]
        if all(map(math.isfinite, expected)):
            assert list(row.values) == expected
            assert row.quality == pytest.approx(sum(low <= number <= high for number in values) / length)
        else:
            assert row == NotScorable(UnscoredReason.NOT_FINITE)


@given(st.sampled_from([50, 60, 110, 112]), st.binary(max_size=60))
def test_noise_never_raises(content_format, payload):
    pipeline = Pipeline(InputSpec(columns("a", missing=0.0), None, 1, (1,)))
    found = readings(content_format, payload)
    if isinstance(found, Readings):
        assert isinstance(pipeline.row(found, None), Row | NotScorable)


def test_quality_is_the_share_that_came_times_the_share_that_needed_no_clipping():
    pipeline = Pipeline(InputSpec(columns("a", "b", "c", "d", missing=0.0, low=-1.0, high=1.0), None, 1, (4,)))
    assert pipeline.row(Readings({"a": 1, "b": 0, "c": 9}, {}), None).quality == 0.75 * 0.75


def test_without_kept_statistics_a_statistic_is_missing():
    pipeline = Pipeline(InputSpec((statistic("bytes", missing=7.0),), None, 1, (1,)))
    assert list(pipeline.row(Readings({"x": 1}, {}), None).values) == [7.0]


A = Column("a")
T = TensorInput("t", 4, 0.0, 1.0)
REFUSED = {
    "nothing": InputSpec((), None, 1, (1,)),
    "columns and a tensor": InputSpec((A,), T, 1, (4,)),
    "a window of nothing": InputSpec((A,), None, 0, (1,)),
    "a window of tensors": InputSpec((), T, 2, (8,)),
    "another shape": InputSpec((A,), None, 2, (3,)),
    "no shape": InputSpec((A,), None, 1, ()),
    "a negative shape": InputSpec((A, A), None, 2, (-2, -2)),
    "too wide": InputSpec((A,), None, WIDTH_MAX + 1, (WIDTH_MAX + 1,)),
    "no words": InputSpec((Column("a", ColumnKind.CATEGORY),), None, 1, (1,)),
    "a word twice": InputSpec((Column("a", ColumnKind.CATEGORY, vocabulary=("x", "x")),), None, 1, (2,)),
    "an unknown statistic": InputSpec((statistic("shoe_size"),), None, 1, (1,)),
    "a scale of 0": InputSpec((A._replace(scale=0.0),), None, 1, (1,)),
    "a mean that is not finite": InputSpec((A._replace(mean=math.nan),), None, 1, (1,)),
    "a replacement that is not finite": InputSpec((A._replace(missing=math.inf),), None, 1, (1,)),
    "bounds that cross": InputSpec((A._replace(low=1.0, high=0.0),), None, 1, (1,)),
    "an empty tensor": InputSpec((), T._replace(length=0), 1, (0,)),
    "a tensor's scale of 0": InputSpec((), T._replace(scale=0.0), 1, (4,)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_spec_is_refused_for(name):
    with pytest.raises(SpecFault):
        Pipeline(REFUSED[name])


OWN_NAMES = [
    ({"pump-1:t": 1.0, "pump-1/u": 2.0, "pump-1v": 3.0, "w": 4.0}, {"t": 1.0, "u": 2.0, "v": 3.0, "w": 4.0}),
    ({"pump-1::t": 1.0}, {":t": 1.0}),
    ({"pump-2:t": 1.0, "xpump-1:t": 2.0}, {"pump-2:t": 1.0, "xpump-1:t": 2.0}),
    ({"pump-1": 1.0, "pump-1:": 2.0}, {"pump-1": 1.0, "pump-1:": 2.0}),
    ({"pump-1:t": 1.0, "t": 2.0}, {"pump-1:t": 1.0, "t": 2.0}),
    ({"pump-1:t": 1.0, "pump-1/t": 2.0}, {"pump-1:t": 1.0, "pump-1/t": 2.0}),
]


@pytest.mark.parametrize(("sent", "meant"), OWN_NAMES)
def test_the_devices_id_is_taken_off_the_names(sent, meant):
    assert own_names(Readings(sent, {}), "pump-1") == Readings(meant, {})


def test_names_of_numbers_tensors_and_texts_stay_apart():
    found = Readings({"d:a": 1.0}, {"d:b": (1.0,)}, {"d:c": "x"})
    assert own_names(found, "d") == Readings({"a": 1.0}, {"b": (1.0,)}, {"c": "x"})
    found = Readings({"d:a": 1.0}, {}, {"a": "x"})
    assert own_names(found, "d") == found


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.floats(-9, 9, width=32)), max_size=40),
    st.integers(2, 4),
    st.integers(1, 3),
)
def test_windows_are_the_last_rows_of_each_device_while_it_is_remembered(sent, window, bound):
    windows = Windows(window, 1, bound * (4 * window + 300))
    known = {}
    for device, number in sent:
        rows = known.pop(device, [])
        if len(known) >= bound:
            del known[next(iter(known))]
        known[device] = [*rows, number][-window:]
        expected = array("f", known[device]).tobytes() if len(known[device]) == window else None
        assert windows.push(device, array("f", [number]).tobytes()) == expected
    assert len(windows) == len(known) <= bound
