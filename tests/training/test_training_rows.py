"""The rows that a model is trained on are those that a gateway makes, number by number."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

np = pytest.importorskip("numpy", reason="training needs the extra train")

from gateway.detection.features import Pipeline  # noqa: E402 -- only where NumPy is
from gateway.detection.spec import Column, ColumnKind, InputSpec  # noqa: E402 -- likewise
from gateway.envelope.readings import NotScorable, Readings  # noqa: E402 -- likewise
from gateway.training.export import ExportRefused, rows_of, spec_from_json  # noqa: E402 -- likewise

MODELS = Path(__file__).resolve().parents[2] / "models"
COMMITTED = [
    path.name
    for path in sorted(MODELS.glob("*.spec.json"))
    if {column["kind"] for column in json.loads(path.read_text())["inputs"]["columns"]} & {"reading", "category"}
]
NUMBERS = st.floats(-1e9, 1e9) | st.sampled_from([0.0, -0.0, 1.0, -1.0])
SCALES = st.floats(1e-3, 1e3) | st.floats(-1e3, -1e-3)
WORDS = st.sampled_from(["tcp", "udp", "icmp", "other"])


def number_columns(name):
    return st.builds(
        lambda missing, bounds, log1p, mean, scale: Column(
            name, ColumnKind.READING, missing, *sorted(bounds), log1p, mean, scale
        ),
        st.none() | NUMBERS,
        st.tuples(NUMBERS, NUMBERS),
        st.booleans(),
        st.floats(-1e6, 1e6),
        SCALES,
    )


COLUMNS = st.tuples(
    *map(number_columns, "abc"),
    st.lists(WORDS, min_size=1, unique=True).map(
        lambda words: Column("protocol", ColumnKind.CATEGORY, 0.0, vocabulary=tuple(words))
    ),
)


def by_the_gateway(columns, table):
    """The rows one message after the other; None where one is not scored."""
    pipeline = Pipeline(InputSpec(tuple(columns), None, 1, (sum(column.width for column in columns),)))
    words = {column.name for column in columns if column.kind is ColumnKind.CATEGORY}
    rows = []
    for at in range(len(next(iter(table.values())))):
        scalars = {name: float(values[at]) for name, values in table.items() if name not in words}
        there = {name: value for name, value in scalars.items() if not np.isnan(value)}
        rows.append(pipeline.row(Readings(there, {}, {name: str(table[name][at]) for name in words}), None))
    return rows


def are_the_same(columns, table):
    """Compare, to the last rounding of a logarithm; everything else is bit by bit."""
    here = rows_of(columns, table)
    there = np.array([row.values for row in by_the_gateway(columns, table)], dtype=np.float32)
    assert here.shape == there.shape
    logged = np.concatenate([[column.log1p] * column.width for column in columns])
    assert np.array_equal(here[:, ~logged], there[:, ~logged])
    # NumPy's and C's log1p may differ in the last bit of a float64; so may then, rarely, that of a float32.
    assert np.allclose(here[:, logged], there[:, logged], rtol=3e-7, atol=1e-9)


@given(COLUMNS, st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS | st.just(float("nan")), WORDS), min_size=1, max_size=8))
def test_training_and_gateway_make_the_same_rows(columns, records):
    numbers = {name: np.array([record[at] for record in records]) for at, name in enumerate("abc")}
    table = {**numbers, "protocol": np.array([record[3] for record in records])}
    if columns[2].missing is None and np.isnan(table["c"]).any():
        with pytest.raises(ExportRefused):
            rows_of(columns, table)
        assert any(isinstance(row, NotScorable) for row in by_the_gateway(columns, table))
        return
    are_the_same(columns, table)


@pytest.mark.parametrize("name", COMMITTED)
def test_by_the_columns_of_a_committed_model_too(name):
    columns = spec_from_json((MODELS / name).read_text(encoding="utf-8")).inputs.columns
    generator = np.random.default_rng(1)
    table = {}
    for column in columns:
        if column.kind is ColumnKind.CATEGORY:
            table[column.name] = generator.choice([*column.vocabulary, "never seen"], 200)
        else:
            # Within the bounds mostly, and beyond them sometimes.
            table[column.name] = generator.uniform(-0.2, 1.2, 200) * (column.high - column.low) + column.low
    are_the_same(columns, table)


def test_there_are_committed_models_to_compare():
    assert len(COMMITTED) >= 2
