"""The artifacts that the gateway carries: what the sources compile to, and no more than they say."""

import hashlib
import json
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest
from support.anvil import CONTRACTS, node_path
from support.contracts_kit import ARTIFACTS, Chain, Models, artifact, error_selector

NAMES = ["IdentityRegistry", "AnchorLog", "ModelRegistry"]


def build(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [node_path(), str(folder / "build.mjs"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The sources in a place of their own, with the installed compiler and the committed artifacts beside them."""
    node_path()
    folder = tmp_path / "contracts"
    shutil.copytree(CONTRACTS, folder, ignore=shutil.ignore_patterns("node_modules"))
    (folder / "node_modules").symlink_to(CONTRACTS / "node_modules")
    shutil.copytree(ARTIFACTS, tmp_path / "gateway" / "chain" / "artifacts")
    return folder


def test_the_artifacts_are_what_the_sources_compile_to_wherever_they_lie(copy: Path):
    done = build(copy, "--check")
    assert done.returncode == 0, done.stderr


def test_one_altered_byte_of_an_artifact_is_noticed_and_not_mended(copy: Path):
    path = copy.parent / "gateway" / "chain" / "artifacts" / "AnchorLog.json"
    altered = path.read_text().replace("securenet.contract-artifact/1", "securenet.contract-artifact/2")
    path.write_text(altered)
    done = build(copy, "--check")
    assert done.returncode == 1
    assert "AnchorLog.json is not what the sources compile to" in done.stderr
    assert path.read_text() == altered


def test_an_altered_comment_of_a_source_is_noticed(copy: Path):
    with (copy / "src" / "PublicKeys.sol").open("a") as source:
        source.write("// a word more\n")
    assert build(copy, "--check").returncode == 1


def test_the_compiler_may_not_even_warn(copy: Path):
    source = copy / "src" / "AnchorLog.sol"
    source.write_text(source.read_text().replace("Head storage head = _heads[logId];", "uint256 unused;", 1))
    assert build(copy).returncode == 1


def test_the_build_knows_no_other_option(copy: Path):
    done = build(copy, "--chekc")
    assert done.returncode == 1
    assert "usage" in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_an_artifact_says_what_it_was_made_from(name):
    made = artifact(name)
    pinned = json.loads((CONTRACTS / "package.json").read_text())["devDependencies"]
    assert made["compiler"].startswith(f"solc-js {pinned['solc']}+commit.")
    assert made["settings"] == {
        "evmVersion": "paris",
        "optimizer": {"enabled": True, "runs": 10000},
        "viaIR": True,
    }
    ours = {source: digest for source, digest in made["sources_sha256"].items() if source.startswith("src/")}
    assert f"src/{name}.sol" in ours
    for source, digest in ours.items():
        assert hashlib.sha256((CONTRACTS / source).read_bytes()).hexdigest() == digest


def test_versions_are_pinned_exactly_and_the_lock_names_no_host():
    package = json.loads((CONTRACTS / "package.json").read_text())
    wanted = package["devDependencies"] | package["optionalDependencies"]
    lock = json.loads((CONTRACTS / "package-lock.json").read_text())["packages"]
    for name, version in wanted.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
        assert lock[f"node_modules/{name}"]["version"] == version
    for name, entry in lock.items():
        assert "resolved" not in entry
        assert name == "" or entry["integrity"].startswith("sha512-")


def test_the_artifacts_travel_with_the_package():
    names = {entry.name for entry in resources.files("gateway.chain").joinpath("artifacts").iterdir()}
    assert names == {f"{name}.json" for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_everything_public_is_explained_and_no_two_errors_share_a_selector(name):
    source = (CONTRACTS / "src" / f"{name}.sol").read_text()
    abi = artifact(name)["abi"]
    errors = [error_selector(entry) for entry in abi if entry["type"] == "error"]
    assert len(set(errors)) == len(errors) > 0
    explained = source.split("\n")
    public = re.compile(r"    (function \w+\(|event |error |constructor\(|enum |struct |.* public )")
    for at, line in enumerate(explained):
        signature = line + " ".join(explained[at + 1 : at + 9]).split("{", 1)[0]
        if public.match(line) and not re.search(r"\b(private|internal)\b", signature) and "struct Head" not in line:
            assert explained[at - 1].strip().startswith("///"), line


@pytest.mark.parametrize("name", NAMES)
def test_the_deployed_code_is_the_code_of_the_artifact(chain: Chain, name):
    made = {"IdentityRegistry": chain.registry, "AnchorLog": chain.log, "ModelRegistry": Models(chain).contract}
    contract = made[name]
    code = bytearray(chain.web3.eth.get_code(contract.address))
    deployed = artifact(name)["deployed"]
    for hole in deployed["immutables"]:
        code[hole["start"] : hole["start"] + hole["length"]] = bytes(hole["length"])
    assert (len(code), hashlib.sha256(code).hexdigest()) == (deployed["bytes"], deployed["sha256"])
    assert len(code) <= 24_576
