"""What training feeds a model is what its spec says, and what is shipped answers as what was trained."""

from __future__ import annotations

import json
import math

import pytest

np = pytest.importorskip("numpy")

from hypothesis import given  # noqa: E402 -- after the skip
from hypothesis import strategies as st  # noqa: E402 -- likewise

from gateway.detection.spec import (  # noqa: E402 -- likewise
    Column,
    ColumnKind,
    InputSpec,
    ModelSpec,
    OutputKind,
    OutputSpec,
    Selector,
    SmokeTest,
    TensorInput,
)
from gateway.training import card, export  # noqa: E402 -- likewise

COLUMNS = (
    Column("load", low=-2.0, high=50.0, log1p=True, mean=1.0, scale=2.0),
    Column("flag", ColumnKind.CATEGORY, vocabulary=("S0", "SF")),
    Column("rate", missing=0.25, mean=0.5, scale=0.25),
)
SPEC = ModelSpec(
    InputSpec(COLUMNS, None, 1, (4,)),
    OutputSpec(OutputKind.PROBABILITY, 0.5, ()),
    SmokeTest((0.1, 1.0, 0.0, -1.0), (0.75,), 1e-4),
    Selector(("plant/",), (60,), ("load", "flag")),
)


def by_hand(load, flag, rate):
    value = min(max(load, -2.0), 50.0)
    value = math.log1p(value) if value >= 0 else value
    rate = 0.25 if math.isnan(rate) else rate
    return [(value - 1.0) / 2.0, float(flag == "S0"), float(flag == "SF"), (rate - 0.5) / 0.25]


@given(
    st.lists(
        st.tuples(st.floats(-1e6, 1e6), st.sampled_from(["S0", "SF", "new"]), st.floats(0, 1) | st.just(math.nan)),
        min_size=1,
        max_size=9,
    )
)
def test_rows_are_what_the_columns_say(readings):
    load, flag, rate = zip(*readings, strict=True)
    table = {"load": np.array(load), "flag": np.array(flag), "rate": np.array(rate)}
    expected = np.array([by_hand(*reading) for reading in readings], dtype=np.float32)
    np.testing.assert_allclose(export.rows_of(COLUMNS, table), expected, rtol=1e-6, atol=1e-6)


def test_a_missing_value_without_a_replacement_is_refused():
    with pytest.raises(export.ExportRefused, match="load is missing"):
        export.rows_of(COLUMNS[:1], {"load": np.array([1.0, np.nan])})


@given(st.lists(st.floats(0, 1e9), min_size=2, max_size=30), st.booleans())
def test_a_fitted_column_is_finite_for_whatever_comes(values, log1p):
    column = export.fit_column("x", np.array(values), log1p=log1p)
    row = export.rows_of([column], {"x": np.array([-3e38, 0.0, *values, 3e38])})
    assert np.isfinite(row).all()
    assert np.abs(row).max() < 1e6


def test_a_spec_reads_back_as_it_was_written():
    assert export.spec_from_json(export.spec_json(SPEC)) == SPEC
    image = InputSpec((), TensorInput("image", 784, 0.0, 255.0, scale=255.0), 1, (28, 28, 1))
    spec = SPEC._replace(inputs=image, outputs=OutputSpec(OutputKind.CLASSES, None, ("0", "1")))
    assert export.spec_from_json(export.spec_json(spec)) == spec


@pytest.mark.parametrize("text", ["", "[]", "{}", export.spec_json(SPEC).replace('"kind": "reading"', '"kind": "?"')])
def test_what_is_no_spec_is_refused(text):
    with pytest.raises(export.ExportRefused, match="not the JSON of a model spec"):
        export.spec_from_json(text)


def test_the_comparison_refuses_a_difference_another_shape_and_no_number():
    assert export.compare([1.0, 2.0], [1.0, 2.000005]) == pytest.approx(5e-6)
    with pytest.raises(export.ExportRefused, match="differ by"):
        export.compare([1.0], [1.1])
    with pytest.raises(export.ExportRefused, match="the framework"):
        export.compare([1.0], [[1.0]])
    with pytest.raises(export.ExportRefused, match="not a finite number"):
        export.compare([float("nan")], [float("nan")])


TRAINING = card.Training("a set", "somewhere", "CC BY 4.0", "its authors, 2022", "00" * 32)
CARD = card.Card(
    model_id="flows",
    version=1,
    title="Flows",
    use="Finds attacks in flows.",
    training=TRAINING,
    seed=1,
    command="securenet-train flows DATA",
    figures=[card.Figure("held-out rows", "five folds", {"recall": 0.9, "false_alarms": 0.01})],
    limits=["One network, one week."],
)


def test_a_card_tells_people_and_publishers_the_same(tmp_path):
    card.write(tmp_path, CARD, b"model", SPEC)
    told = json.loads((tmp_path / "flows.card.json").read_text(encoding="utf-8"))
    page = (tmp_path / "flows.card.md").read_text(encoding="utf-8")
    assert told["sha256"] in page
    assert told["training"]["licence"] in page
    assert told["figures"] == [{"on": "held-out rows", "protocol": "five folds", "recall": 0.9, "false_alarms": 0.01}]
    assert export.spec_from_json((tmp_path / "flows.spec.json").read_text(encoding="utf-8")) == SPEC
    assert (tmp_path / "flows.tflite").read_bytes() == b"model"


@pytest.mark.parametrize(
    "lacking", [CARD._replace(training=TRAINING._replace(licence="")), CARD._replace(figures=[])]
)
def test_a_card_without_licence_or_figures_is_refused(tmp_path, lacking):
    with pytest.raises(card.CardRefused, match="licence"):
        card.write(tmp_path, lacking, b"model", SPEC)
    assert not list(tmp_path.iterdir())


def test_a_card_that_says_nothing_of_false_alarms_is_refused(tmp_path):
    boasting = CARD._replace(figures=[card.Figure("held-out rows", "five folds", {"recall": 0.9})])
    with pytest.raises(card.CardRefused, match="false_alarms"):
        card.write(tmp_path, boasting, b"model", SPEC)
    assert not list(tmp_path.iterdir())
