"""docs/spec/contracts.md shows what the contracts do: its examples are made anew, its tables are complete."""

import json
import re
from pathlib import Path

import pytest
from contracts_examples import NAMES, PAGE, blocks, examples
from support.contracts_kit import artifact

GAS = json.loads(Path(__file__).with_name("gas.json").read_text())


@pytest.mark.parametrize("name", sorted(examples()))
def test_an_example_of_the_page_is_what_the_artifacts_give(name):
    assert blocks(PAGE.read_text())[name] == examples()[name]


def test_the_page_has_no_example_that_nothing_makes():
    assert set(blocks(PAGE.read_text())) == set(examples())


@pytest.mark.parametrize("contract", NAMES)
def test_every_error_is_explained_as_a_failure(contract):
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE))
    for entry in artifact(contract)["abi"]:
        if entry["type"] == "error":
            assert entry["name"] in rows


def test_the_figures_of_the_page_are_the_committed_ones():
    rows = dict(re.findall(r"^\| ([^|`]+?) \| ([\d,]+) \|$", PAGE.read_text(), re.MULTILINE))
    assert {call: int(figure.replace(",", "")) for call, figure in rows.items()} == GAS
