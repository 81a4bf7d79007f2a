"""Many messages at once give what each gives alone, bit by bit."""

import json
import random
import struct

import numpy as np
import pytest
from detection_kit import class_model, columns, mean_model, message, statistic, window_model
from hypothesis import given, settings
from hypothesis import strategies as st
from test_detection_features import COLUMNS, FINITE

from gateway.detection import columnar, detector, frames
from gateway.detection.columnar import Columnar, judge_all
from gateway.detection.detector import Bounds, Detector
from gateway.detection.features import Pipeline
from gateway.detection.port import UnscoredReason
from gateway.detection.spec import ColumnKind, InputSpec, OutputKind, OutputSpec, Selector
from gateway.detection.traffic import DeviceTraffic, TrafficTable
from gateway.detection.verdict import judge
from gateway.envelope.readings import NotScorable, Readings


@settings(max_examples=200)
@given(
    st.lists(COLUMNS, min_size=1, max_size=6),
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True),
    st.dictionaries(st.sampled_from("abcd"), st.text("xyz", max_size=2)),
    st.data(),
)
def test_rows_of_many_are_the_rows_of_each(wanted, names, texts, data):
    pipeline = Pipeline(InputSpec(tuple(wanted), None, 1, (sum(column.width for column in wanted),)))
    made = Columnar.of(pipeline, names, texts)
    numbers = data.draw(st.lists(st.lists(FINITE, min_size=len(names), max_size=len(names)), min_size=1, max_size=5))
    traffic = DeviceTraffic()
    for n in range(data.draw(st.integers(0, 12))):
        traffic.accepted(1000 * n, 900 * n, 10 + n)
    alone = [pipeline.row(Readings(dict(zip(names, values, strict=True)), {}, texts), traffic) for values in numbers]
    if made is None:
        categories = {column.kind for column in wanted} == {ColumnKind.CATEGORY}
        assert categories or all(isinstance(row, NotScorable) for row in alone)
        return
    together = made.rows([[*values, *pipeline.kept(traffic, None)] for values in numbers])
    for one, row in zip(together, alone, strict=True):
        if isinstance(row, NotScorable):
            assert one is None
        else:
            assert (one.inputs, one.quality) == (row.values.tobytes(), row.quality)


SINGLES = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.floats(-2, 2, width=32)
OUTPUTS = st.one_of(
    st.builds(OutputSpec, st.just(OutputKind.PROBABILITY), SINGLES, st.just(())),
    st.builds(OutputSpec, st.just(OutputKind.RECONSTRUCTION), SINGLES, st.just(())),
    st.just(OutputSpec(OutputKind.CLASSES, None, ("x", "y", "z"))),
)


@given(OUTPUTS, st.integers(1, 40), st.integers(1, 9), st.randoms(use_true_random=False), st.booleans())
def test_verdicts_of_many_are_the_verdicts_of_each(outputs, count, width, generator, whole):
    size = {OutputKind.PROBABILITY: 1, OutputKind.CLASSES: 3}.get(outputs.kind, width)
    pool = [0.0, 0.1, -1.5, 1e-30, 3e38, -3e38, 0.25] + ([] if whole else [float("nan"), float("inf")])
    answers = np.array([[generator.choice(pool) for _ in range(size)] for _ in range(count)], np.float32)
    inputs = np.array([[generator.choice(pool[:7]) for _ in range(width)] for _ in range(count)], np.float32)
    found = judge_all(outputs, 3, answers, inputs.tobytes())
    alone = [judge(outputs, *pair) for pair in zip(answers.tolist(), inputs.tolist(), strict=True)]
    if found is None:
        reconstructed = outputs.kind is OutputKind.RECONSTRUCTION and count == 1
        assert reconstructed or any(isinstance(one, NotScorable) for one in alone)
        return
    for one, judged in zip(found, alone, strict=True):
        expected = frames.scored(judged.verdict, 3, judged.score, judged.label)
        assert one._replace(score=0.0) == expected._replace(score=0.0)
        assert struct.pack("d", one.score) == struct.pack("d", judged.score)


def test_sums_of_wide_rows_are_added_as_python_adds():
    generator = np.random.default_rng(1)
    answers = generator.normal(size=(64, 300)).astype(np.float32)
    inputs = generator.normal(size=(64, 300)).astype(np.float32)
    outputs = OutputSpec(OutputKind.RECONSTRUCTION, 0.5, ())
    for count in (2, 3, 64):
        found = judge_all(outputs, 0, answers[:count], inputs[:count].tobytes())
        alone = [
            judge(outputs, *pair) for pair in zip(answers[:count].tolist(), inputs[:count].tolist(), strict=True)
        ]
        assert [one.score for one in found] == [judged.score for judged in alone]


MODELS = [
    mean_model(low=-5.0, high=5.0),
    mean_model(("a", "c"), name="replaced", missing=1.0, high=2.0, selector=Selector(domains=("d1",))),
    window_model(),
    class_model(),
]


def traffic_model():
    """Answers the mean of a reading and a statistic of the device."""
    model = mean_model(("a", "b"), name="traffic", selector=Selector(domains=("d2", "d3")))
    wanted = (*columns("a"), statistic("bytes_mean", missing=0.5, scale=100.0))
    return model._replace(spec=model.spec._replace(inputs=InputSpec(wanted, None, 1, (2,))))


def stream(count, generator):
    """Messages of some devices in some forms, most of them alike."""
    for n in range(count):
        device = f"d{generator.randrange(5)}"
        names = generator.choice(["ab", "ab", "ab", "a", "xyz", "abc"])
        pack = [{"n": name, "v": generator.choice([round(generator.gauss(0, 4), 2), 1e300, 7])} for name in names]
        pack[0]["bn"] = generator.choice([f"{device}:", ""])
        payload = generator.choice([json.dumps(pack).encode()] * 9 + [b"junk", b'{"a":1,"b":2}'])
        one = message(device, payload, received_ms=1_700_000_000_000 + 100 * n)
        kind = 50 if payload.startswith(b"{") else 110
        yield frames.Message(device, kind, one.envelope.issued_at, one.raw.received_ms, payload)


@pytest.mark.parametrize("seed", range(6))
def test_a_batch_gives_what_its_messages_give_one_by_one_by_the_plain_way(seed, monkeypatch):
    messages = list(stream(400, random.Random(seed)))
    models = [*MODELS, traffic_model()]

    def run(size):
        made = Detector(Bounds(100, 1 << 20), lambda place: None)
        assert not any(made.load(models))
        results = []
        for start in range(0, len(messages), size):
            found, faults = made.score(messages[start : start + size], ["d1"] if start == 0 else [])
            assert not faults
            results += found
        return results

    used = []
    rows = Columnar.rows
    monkeypatch.setattr(detector, "_WORTH_AN_ARRAY", 1)
    monkeypatch.setattr(Columnar, "rows", lambda self, values: used.append(len(values)) or rows(self, values))
    together = run(100)
    assert sum(used) > 100
    monkeypatch.setattr(detector.Patterns, "read", lambda *_: None)
    monkeypatch.setattr(detector, "judge_all", lambda *_: None)
    used.clear()
    alone = run(1)
    assert not used
    assert [one._replace(score=0.0) for one in together] == [one._replace(score=0.0) for one in alone]
    # Kernels add in another order for another batch; nothing else differs.
    assert [one.score for one in together] == pytest.approx([one.score for one in alone], rel=1e-5, abs=1e-5)
    assert {one.model for one in together} == {*range(len(models)), frames.NO_MODEL_RAN}
    reasons = {UnscoredReason.NO_READINGS, UnscoredReason.WINDOW_SHORT}
    assert {frames.unscored(reason) for reason in reasons} <= set(together)


def test_statistics_of_a_message_take_no_notice_of_those_behind_it():
    table = TrafficTable(2)
    table.use("d").accepted(0, 0, 10)
    kept = table.use("d").copy()
    table.use("d").accepted(1000, 1000, 20)
    assert (kept.latest(0, 1), table.use("d").latest(0, 1)) == (10, 20)
    assert columnar.Columnar is Columnar
