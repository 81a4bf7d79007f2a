"""docs/spec/detection.md says what the code does."""

import re
from pathlib import Path

import pytest

from gateway.detection.features import Pipeline, own_names
from gateway.detection.port import UnscoredReason
from gateway.detection.records import EXCESS_MAX, REACH_MAX, RecordTable
from gateway.detection.spec import Column, ColumnKind, InputSpec, Record
from gateway.detection.traffic import Statistic
from gateway.envelope.readings import readings

PAGE = (Path(__file__).resolve().parents[2] / "docs/spec/detection.md").read_text()


def test_the_example_gives_the_row_that_the_page_says():
    (payload,) = re.findall(r"```json\n(.*?)\n```", PAGE, re.DOTALL)
    columns = (
        Column("temp", low=-40, high=80, mean=20, scale=10),
        Column("flow", missing=0, low=0, high=1000, log1p=True, scale=2),
        Column("mode", ColumnKind.CATEGORY, vocabulary=("boost", "eco")),
    )
    found = own_names(readings(110, payload.encode()), "pump-1")
    row = Pipeline(InputSpec(columns, None, 1, (4,))).row(found, None)
    assert ", ".join(map(str, row.values)) == "6.0, 0.0, 0.0, 1.0"
    assert f"`{', '.join(map(str, row.values))}`" in PAGE
    assert row.quality == pytest.approx(0.44, abs=0.005)


def test_every_reason_and_statistic_is_on_the_page():
    for name in (*UnscoredReason, *Statistic):
        assert f"`{name.value}`" in PAGE, name


def test_the_example_of_a_record_gives_what_the_page_says():
    said = re.search(
        r"readings ([\d, ]+) came, `short` is (\d), `long` (\d), `after` (\d)\. Then (\d+) gives\n.* = ([\d.]+),",
        PAGE,
    )
    came, short, long, after, reading, answer = said.groups()
    column = Column("a", ColumnKind.RECORD, record=Record(int(short), int(long), False, int(after)))
    table = RecordTable([column], 1 << 20)
    assert [table.push("d", {"a": float(number)}) for number in came.split(", ")][-1] == (None,)
    assert table.push("d", {"a": float(reading)}) == (float(answer),)
    assert table.push("d", {"a": float(reading)}) == (0.0,)
    assert f"{EXCESS_MAX:.0f} at most" in PAGE
    assert f"(1 to {REACH_MAX})" in PAGE
