"""The examples of docs/spec/blocks.md are what the code writes, and the page lists every class of failure."""

import re
from pathlib import Path

from gateway.vault import car
from gateway.vault.car import CarRefusal
from gateway.vault.source import SourceFailure
from gateway.vault.unixfs import FileRefusal
from gateway.vault.unixfs_builder import add_file

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "spec" / "blocks.md").read_text()
EXAMPLES = {
    name: body.split()
    for name, body in re.findall(r"^```text example (\S+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
}


def test_the_examples_hold():
    hello, blocks = add_file([b"hello world"])
    assert [str(hello)] == EXAMPLES["cid"]
    assert (car.header([hello]) + car.section(blocks[0])).hex() == "".join(EXAMPLES["car"])
    root, tree = add_file([bytes(1_048_577)])
    assert [str(root), tree[-1].data.hex()] == [EXAMPLES["root"][0], "".join(EXAMPLES["root"][1:])]
    assert len(tree) == 3


def test_every_failure_class_is_on_the_page():
    classes = PAGE[PAGE.index("## Failure classes") :]
    assert [
        each for kind in (FileRefusal, CarRefusal, SourceFailure) for each in kind if f"`{each}`" not in classes
    ] == []
