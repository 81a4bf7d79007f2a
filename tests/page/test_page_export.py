"""Rows as files: no cell is a formula, and what is written can be read."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ops.page.export import Writer, cell
from gateway.ops.page.shapes import hex_dump, text_of

VALUES = (
    st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.lists(st.text())
)


@given(st.text())
def test_no_text_becomes_a_formula(text):
    shown = cell(text)
    assert not shown.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "|", "%"))
    assert shown.removeprefix("'") == text or shown == text


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "|cmd", "%x"])
def test_what_a_spreadsheet_would_run_is_quoted(text):
    assert cell(text) == f"'{text}"


def test_numbers_stay_numbers():
    assert (cell(-5), cell(0.25), cell(None)) == ("-5", "0.25", "")


@given(
    st.lists(st.lists(st.fixed_dictionaries({"a": VALUES, "b": VALUES}), max_size=4), max_size=4),
    st.none() | st.integers(0),
)
def test_a_json_file_holds_the_rows_of_all_its_pieces(pieces, before):
    writer = Writer("json", ("a", "b"))
    data = writer.start() + b"".join(writer.rows(rows) for rows in pieces) + writer.end(before)
    rows = [row for piece in pieces for row in piece]
    assert json.loads(data) == {"rows": rows, "complete": before is None, "count": len(rows), "before": before}


@given(st.lists(st.fixed_dictionaries({"a": VALUES, "b": st.text()}), max_size=6))
def test_a_csv_file_has_a_line_for_each_row_and_one_that_ends_it(rows):
    writer = Writer("csv", ("a", "b"))
    data = writer.start() + writer.rows(rows) + writer.end(None)
    lines = list(csv.reader(io.StringIO(data.decode(), newline="")))
    assert [line[1] for line in lines[1:-1]] == [cell(row["b"]) for row in rows]
    assert lines[-1] == [f"# complete: {len(rows)} rows"]


@given(st.binary(max_size=100))
def test_a_dump_says_the_bytes_and_nothing_that_acts_on_a_terminal(data):
    lines = hex_dump(data)
    assert bytes.fromhex("".join(line[6:53] for line in lines)) == data
    assert all(line.isascii() and line.isprintable() for line in lines)


@given(st.text(max_size=600))
def test_strangers_text_is_bounded_and_printable(text):
    shown = text_of(text)
    assert len(shown) <= 300
    assert shown.isprintable() or not shown
