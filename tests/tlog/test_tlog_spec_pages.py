"""The pages of docs/spec show what the code does: examples are made anew, failure classes are all there."""

import pytest
from tlog_examples import BLOCK, PAGES, examples, filled

from gateway.tlog.checkpoint import CheckpointFailure
from gateway.tlog.proof import ProofFailure
from gateway.tlog.verification import StepName

MADE = examples()
OURS = ["log.md", "checkpoint.md", "proof.md", "receipt.md"]


@pytest.mark.parametrize("name", OURS)
def test_the_examples_of_a_page_are_what_the_code_makes(name):
    page = (PAGES / name).read_text()
    assert BLOCK.search(page), "a page begins with an example"
    assert filled(page, MADE) == page


def test_every_example_stands_on_a_page():
    shown = {match[2] for name in OURS for match in BLOCK.finditer((PAGES / name).read_text())}
    assert shown == set(MADE)


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("log.md", ["entry-malformed"]),
        ("receipt.md", ["receipt-malformed"]),
        ("checkpoint.md", CheckpointFailure),
        ("proof.md", [*ProofFailure, *StepName]),
    ],
)
def test_every_failure_class_is_explained(name, classes):
    page = (PAGES / name).read_text()
    assert [failure for failure in classes if f"`{failure}`" not in page] == []
