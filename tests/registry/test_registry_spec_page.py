import re
from pathlib import Path

from gateway.registry.file import load_registry

PAGE = Path(__file__).parents[2] / "docs" / "spec" / "registry.md"


def test_the_example_of_the_page_loads(tmp_path):
    example = re.search(r"```text example registry\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "registry.jsonl"
    path.write_text(example[1], encoding="utf-8")
    counts = load_registry(path).counts
    assert (counts.devices, counts.suspended, counts.miners) == (2, 1, 1)
