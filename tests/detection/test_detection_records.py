"""Running ranges: what a record column says, how it is kept, and that a model behind it runs."""

import json
import math

import make_models
import pytest
from detection_kit import PROBABILITY, loaded, message, spec
from hypothesis import given
from hypothesis import strategies as st

from gateway.detection.detector import Bounds, Detector
from gateway.detection.features import Pipeline, SpecFault
from gateway.detection.frames import Message, unscored
from gateway.detection.port import UnscoredReason
from gateway.detection.records import EXCESS_MAX, REACH_MAX, RecordTable
from gateway.detection.spec import Column, ColumnKind, InputSpec, Record
from gateway.envelope.readings import NotScorable, Readings

BUDGET = 1 << 20


def record(name="a", short=1, long=0, *, steps=False, after=5, **rules):
    return Column(name, ColumnKind.RECORD, record=Record(short, long, steps, after), **rules)


def naive(values, record):
    """The rules of docs/spec/detection.md, from the whole past each time."""
    quantities = []
    for end in range(record.reach, len(values) + 1):
        last = values[:end]
        if record.steps:
            steps = [abs(last[at] - last[at - 1]) for at in range(end - record.short, end)]
            quantities.append(sum(steps) / record.short)
        else:
            quantity = sum(last[-record.short :]) / record.short
            quantities.append(quantity - sum(last[-record.long :]) / record.long if record.long else quantity)
    before, readings = quantities[:-1], values[:-1]
    if len(readings) < record.after:
        return None
    low = min(readings)
    least = max(max(readings) - low, 1e-5 * max(abs(low), 1e-3)) / 100
    excess = max(quantities[-1] - max(before), min(before) - quantities[-1])
    return min(excess / max(max(before) - min(before), least), EXCESS_MAX)


RECORDS = st.one_of(
    st.tuples(st.integers(1, 4), st.just(0), st.booleans()),
    st.tuples(st.integers(1, 3), st.integers(4, 6), st.just(False)),
).flatmap(lambda shape: st.integers(7, 9).map(lambda after: Record(*shape, after)))
VALUES = st.lists(st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0, 21.5]), min_size=1, max_size=30)


@given(st.lists(RECORDS, min_size=1, max_size=3), VALUES)
def test_a_record_is_what_the_whole_past_says(records, values):
    columns = [Column("a", ColumnKind.RECORD, record=one) for one in records]
    table = RecordTable(columns, BUDGET)
    for end in range(1, len(values) + 1):
        found = table.push("d", {"a": values[end - 1]})
        expected = [naive(values[:end], one) for one in records]
        assert list(found) == [one if one is None else pytest.approx(one, rel=1e-9, abs=1e-9) for one in expected]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=40))
def test_no_reading_makes_it_anything_but_a_number(values):
    table = RecordTable([record(), record(short=3, steps=True), record(short=1, long=4)], BUDGET)
    for value in values:
        for answer in table.push("d", {"a": value}):
            assert answer is None or -1 <= answer <= EXCESS_MAX


def test_a_reading_that_did_not_come_leaves_its_range_as_it_was():
    table = RecordTable([record("a"), record("b")], BUDGET)
    for value in range(6):
        table.push("d", {"a": value / 5, "b": 1.0})
    assert table.push("d", {"b": 1.0}) == (None, 0.0)
    assert table.push("d", {"a": 2.0})[0] == pytest.approx(1.0)
    assert table.push("d", {"a": 2.0, "b": 2.0})[0] == 0.0


def test_the_table_is_bounded_and_forgets_who_was_silent_longest():
    columns = [record(short=3, long=48, after=100)]
    device_bytes = RecordTable(columns, 0).device_bytes
    table = RecordTable(columns, 3 * device_bytes)
    for device in "abcad":
        table.push(device, {"a": 1.0})
    assert (len(table), table.forgotten) == (3, 1)
    assert [table.push(device, {"a": 1.0}) and table.forgotten for device in "acd"] == [1, 1, 1]
    assert len(RecordTable(columns, 0)._devices) == 0


def test_what_is_kept_of_a_device_does_not_grow_and_is_no_more_than_is_reckoned():
    table = RecordTable([record(short=1, long=48, after=100), record("b", short=REACH_MAX, after=600)], BUDGET)
    for value in range(5000):
        table.push("d", {"a": float(value % 7), "b": float(value)})
    (watched,) = table._devices.values()
    held = sum(one._last.buffer_info()[1] * one._last.itemsize for one in watched.values())
    assert held <= 16 * (48 + REACH_MAX) + 32 <= table.device_bytes


REFUSED = {
    "no record": Column("a", ColumnKind.RECORD),
    "a record of another kind": Column("a", record=Record(1, 0, False, 5)),
    "nothing to look at": record(short=0),
    "a longer mean that is not": record(short=4, long=4, after=9),
    "steps with a longer mean": record(short=1, long=4, steps=True, after=9),
    "too far back": record(short=REACH_MAX + 1, after=2000),
    "steps too far back": record(short=REACH_MAX, steps=True, after=2000),
    "an answer before there is one": record(short=5, after=5),
    "an answer that never comes": record(after=1 << 20),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_column_is_refused_for(name):
    with pytest.raises(SpecFault):
        Pipeline(InputSpec((REFUSED[name],), None, 1, (1,)))


def test_a_row_says_what_is_missing():
    pipeline = Pipeline(InputSpec((record("a"),), None, 1, (1,)))
    assert pipeline.row(Readings({"b": 1.0}, {}), None, (None,)) == NotScorable(UnscoredReason.MISSING_READING)
    assert pipeline.row(Readings({"a": 1.0}, {}), None, (None,)) == NotScorable(UnscoredReason.WINDOW_SHORT)
    assert list(pipeline.row(Readings({"a": 1.0}, {}), None, (0.5,)).values) == [0.5]
    patient = Pipeline(InputSpec((record("a", missing=0.0),), None, 1, (1,)))
    assert list(patient.row(Readings({"a": 1.0}, {}), None, (None,)).values) == [0.0]


def record_model(name="records", *, version=1, **rules):
    """Answers the excess."""
    data = make_models.dense_model([([[1.0]], [0.0])])
    return loaded(
        data, spec(data, InputSpec((record(**rules),), None, 1, (1,)), PROBABILITY), name=name, version=version
    )


def sent(values, device="pump-1"):
    texts = [json.dumps([{"bn": f"{device}:", "n": "a", "v": value}]).encode() for value in values]
    made = [message(device, text) for text in texts]
    return [
        Message(one.envelope.device_id, 110, one.envelope.issued_at, one.raw.received_ms, one.envelope.payload)
        for one in made
    ]


def detector(*models):
    found = Detector(Bounds(100, BUDGET), lambda place: None)
    assert not any(found.load(models))
    return found


WAVE = [math.sin(n) for n in range(60)] + [3.0, 3.0, -4.0, 0.5]


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_a_model_is_given_the_same_in_batches_of_any_size(batch):
    model = detector(record_model())
    messages = sent(WAVE)
    scores = []
    for start in range(0, len(messages), batch):
        scores += model.score(messages[start : start + batch])[0]
    assert scores[:5] == [unscored(UnscoredReason.WINDOW_SHORT)] * 5
    table = RecordTable([record()], BUDGET)
    expected = [table.push("d", {"a": value})[0] for value in WAVE]
    assert [one.score for one in scores[5:]] == pytest.approx(expected[5:], abs=1e-6)
    assert [one.score >= 0.5 for one in scores[60:]] == [True, False, True, False]


def test_a_new_version_goes_on_with_the_ranges_and_two_models_have_their_own():
    model = detector(record_model(), record_model("other"))
    model.score(sent(WAVE[:30]))
    assert not any(model.load([record_model(version=2)]))
    (first, *_), _ = model.score(sent([9.0, 9.0]))
    assert first.score > 1
    assert not any(model.load([record_model(version=3, after=6)]))
    (first,), _ = model.score(sent([9.0]))
    assert first == unscored(UnscoredReason.WINDOW_SHORT)


def test_devices_do_not_share_their_ranges():
    model = detector(record_model())
    model.score(sent(WAVE, "a") + sent([10 * value for value in WAVE], "b"))
    (one, other), _ = model.score([*sent([9.0], "a"), *sent([9.0], "b")])
    assert one.score > 0 > other.score
