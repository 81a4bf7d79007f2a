"""The page is what its results say, and a command line never writes over results."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

np = pytest.importorskip("numpy")

from click.testing import CliRunner  # noqa: E402 -- after the skip

from gateway.training import report  # noqa: E402 -- likewise
from gateway.training.cli import cli  # noqa: E402 -- likewise

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_and_its_plots_are_what_the_results_say():
    for path, text in report.documents(DOCS).items():
        assert path.read_text(encoding="utf-8") == text, "bring it up to date: securenet-train report docs"


def test_every_table_has_its_place_on_the_page():
    page = (DOCS / report.PAGE).read_text(encoding="utf-8")
    for name in report.TABLES:
        assert page.count(f"<!-- computed: {name} -->") == 1


def test_every_plot_is_described_and_shown():
    page = (DOCS / report.PAGE).read_text(encoding="utf-8")
    for name in report.PLOTS:
        path = DOCS / report.RESULTS / name
        assert f"({report.RESULTS}/{name})" in page
        title, description = ET.parse(path).getroot()[:2]
        assert title.text
        assert description.text
        assert path.stat().st_size < 60_000


def test_an_unknown_block_is_an_error(tmp_path):
    (tmp_path / report.PAGE).write_text("<!-- computed: nothing -->\n<!-- end -->\n")
    with pytest.raises(KeyError):
        report.documents(tmp_path)


def test_results_are_never_written_over(tmp_path):
    held = tmp_path / "held.json"
    held.write_text("{}")
    sets = ("skab", "nsl-kdd", "nsl-kdd-random", "rt-iot2022-normal", "rt-iot2022-networks")
    for command in (["choose"], *(["evaluate", name] for name in sets)):
        answer = CliRunner().invoke(cli, [*command, str(tmp_path), "--out", str(held)])
        assert answer.exit_code == 1
        assert "holds results" in answer.output
    assert held.read_text() == "{}"


def test_what_is_not_there_is_told_in_one_line(tmp_path):
    answer = CliRunner().invoke(cli, ["evaluate", "nsl-kdd", str(tmp_path), "--out", str(tmp_path / "new.json")])
    assert answer.exit_code == 1
    assert "holds no KDDTrain+.txt" in answer.output
    assert "Traceback" not in answer.output
