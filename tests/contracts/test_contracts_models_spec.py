"""docs/spec/contracts.md on ModelRegistry: its lists are the artifact's, its tables complete, its words explained.

Run this file to write the lists into the page.
"""

import re
import sys

import pytest
from contracts_examples import INHERITED, PAGE, lines_of
from support.anvil import CONTRACTS
from support.contracts_kit import artifact, error_selector, publication
from web3 import Web3

NAME = "ModelRegistry"
SOURCES = ("ModelRegistry", "ModelRegistryWords")


def publish_call() -> str:
    """The example's call, a word a line."""
    data = Web3().eth.contract(abi=artifact(NAME)["abi"]).encode_abi("publish", args=publication("anomaly", 3))
    return "\n".join([data[:10], *(data[at : at + 64] for at in range(10, len(data), 64))])


def lists() -> dict[str, str]:
    functions = [line for line in lines_of("function", NAME) if line.split(" ")[1].split("(")[0] not in INHERITED]
    _, version, cid, sha256, until = publication("anomaly", 3)
    facts = [
        ("model id", "anomaly"),
        ("  hash", Web3.keccak(text="anomaly").to_0x_hex()),
        ("version", str(version)),
        ("CID", cid),
        ("SHA-256", Web3.to_hex(sha256)),
        ("valid until", str(until)),
        ("reason", Web3.to_hex(b"manifest-signature".ljust(32, b"\0"))),
    ]
    return {
        "names": "\n".join(f"{label:14}{value}" for label, value in facts),
        "publish": publish_call(),
        "functions": "\n".join(functions),
        "events": "\n".join(lines_of("event", NAME)),
        "errors": "\n".join(lines_of("error", NAME)),
    }


def shown() -> dict[str, str]:
    return dict(re.findall(r"^```text models (\S+)\n(.*?)\n?^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE))


def test_the_page_lists_what_the_artifact_has():
    assert shown() == lists()


def test_every_error_is_explained_on_the_page():
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE))
    assert rows >= {entry["name"] for entry in artifact(NAME)["abi"] if entry["type"] == "error"}


def test_no_two_errors_share_a_selector():
    errors = [error_selector(entry) for entry in artifact(NAME)["abi"] if entry["type"] == "error"]
    assert len(set(errors)) == len(errors) > 10


@pytest.mark.parametrize("source", SOURCES)
def test_everything_public_is_explained_with_every_parameter(source):
    text = (CONTRACTS / "src" / f"{source}.sol").read_text()
    declared = re.findall(
        r"((?:    ///.*\n)*)    (event|error|function|constructor|enum|struct|[\w ]+ public)\b([^;{]*)", text
    )
    public = [
        (comment, kind, rest)
        for comment, kind, rest in declared
        if not re.search(r"\b(private|internal)\b", rest) and "/// @dev" not in comment
    ]
    assert len(public) > 10
    for comment, kind, rest in public:
        assert "/// @notice" in comment, rest
        if kind in {"function", "event"} and "Parameters as in" not in comment:
            names = re.findall(r"(\w+)\s*[,)]", rest.split("external")[0])
            for name in names:
                assert re.search(rf"@param {name}\b", comment), (rest, name)


def main() -> None:
    page = PAGE.read_text()
    for name, text in lists().items():
        pattern = re.compile(rf"^(```text models {name}\n).*?(^```$)", re.DOTALL | re.MULTILINE)
        page = pattern.sub(lambda found, text=text: f"{found[1]}{text}\n{found[2]}", page)
    PAGE.write_text(page)


if __name__ == "__main__":
    sys.exit(main())
