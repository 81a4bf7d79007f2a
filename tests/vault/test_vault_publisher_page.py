"""The page for operators names every refusal, and exactly the operators that are let in."""

import re
from pathlib import Path

from gateway.vault.genuine_operators import ALLOWED
from gateway.vault.publisher_words import PublishRefusal

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "operations" / "models.md").read_text()


def test_the_page_names_every_refusal():
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall("`([a-z-]+)`", row.split("|")[1])} == set(PublishRefusal)


def test_the_page_lists_the_operators():
    section = PAGE.partition("## Operators")[2]
    assert [name for name in re.findall("`([A-Z0-9_]+)`", section) if name != "LSTM"] == list(ALLOWED.values())
