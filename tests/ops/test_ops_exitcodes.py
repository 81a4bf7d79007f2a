import re
from pathlib import Path

from gateway.ops.exitcodes import ExitCode

PAGE = Path(__file__).parents[2] / "docs" / "operations" / "cli.md"


def test_the_page_lists_every_exit_code_by_its_name():
    listed = dict(re.findall(r"^\| (\d+) \| (\w+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert {int(code): name for code, name in listed.items()} == {int(code): code.name.lower() for code in ExitCode}
