"""Whatever page names a command of ours: there is one, with those options; and every link leads somewhere."""

import re

import pytest
from docs_commands import checked, commands
from docs_page import ROOT

PATTERNS = ("*.md", "docs/**/*.md", "config/**/*.md", "models/*.md")
PAGES = sorted(page for pattern in PATTERNS for page in ROOT.glob(pattern))
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_of_a_page_exists_with_its_options(page):
    for line in commands(page.read_text(encoding="utf-8").replace("0x…", "0x00")):
        if not re.search(r"…|\.\.\.|[\[<{]", line):  # a line that is cut short on purpose is no command
            checked(line)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_of_a_page_leads_to_a_file(page):
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_a_command_that_does_not_exist_would_be_found():
    for wrong in (
        "securenet stattus",
        "securenet status --wach 2",
        "securenet log shoow",
        "securenet anchor now then",
        "securenet doctor --only dsk",
    ):
        with pytest.raises(AssertionError):
            checked(wrong)
