"""docs/sizing.md says what was measured: its tables are the committed results, its commands are the programs' own."""

import json
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from benchmarks import sizing_page as page  # noqa: E402 -- the folder tests is not on the path before
from benchmarks import wheels  # noqa: E402 -- likewise

TEXT = page.PAGE.read_text(encoding="utf-8")
PYTHON = "tests/benchmarks"


@pytest.fixture(scope="module")
def footprint():
    return json.loads(page.FOOTPRINT.read_text())


def test_the_page_says_what_the_committed_results_say():
    filled = page.filled(TEXT, page.tables())
    assert filled == TEXT, "run `python tests/benchmarks/sizing_page.py --write`"


def test_every_table_has_its_place_in_the_page():
    assert sorted(match["name"] for match in page.BLOCK.finditer(TEXT)) == sorted(page.tables())


def test_a_block_that_nothing_fills_is_an_error():
    with pytest.raises(KeyError, match="no-such"):
        page.filled("<!-- measured: no-such -->\n<!-- end -->", {"other": []})


def test_every_configuration_was_measured_whole(footprint):
    """A look with fewer devices or messages is not committed."""
    assert {"plain", "models"} <= set(footprint) <= set(page.CONFIGURATIONS)
    for one in footprint.values():
        assert (one["devices"], one["million"]["messages"]) == (100_000, 1_000_000)
        assert set(one["start"]) == {str(devices) for devices in page.FLEETS}
        assert one["flat_out"]["lost"] == 0
        assert [one[f"at_{rate}"]["receipts"] for rate in page.RATES] == [
            one[f"at_{rate}"]["messages"] for rate in page.RATES
        ]
    assert all("scoring" in sample for sample in footprint["models"]["million"]["memory"])


def test_the_budgets_that_do_not_depend_on_the_machine_hold(footprint):
    for name, one in footprint.items():
        samples = one["million"]["memory"]
        growth = samples[-1]["sum"]["rss_mb"] - samples[len(samples) // 2]["sum"]["rss_mb"]
        assert growth < 10, f"{name}: memory is not flat over the second half of a million messages"
        if name != "models":
            assert samples[-1]["sum"]["rss_mb"] <= page.BUDGET_MB, name
        assert one["idle"]["cores"]["sum"] < 0.01, name
        hourly = one["flood"]["log_bytes"][1] * 3600 / one["flood"]["seconds"]
        assert hourly < 20e6, name


def test_the_pages_commands_are_known_to_their_programs():
    commands = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
    programs = {shlex.split(line)[1]: line for line in commands if line.startswith("python ")}
    assert {f"{PYTHON}/footprint.py", f"{PYTHON}/wheels.py"} <= set(programs)
    for program in programs:
        helped = subprocess.run(
            [sys.executable, program, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        used = {word for line in commands if program in line for word in shlex.split(line) if word.startswith("--")}
        assert all(option in helped for option in used), (program, used)


def test_the_aarch64_script_says_how_it_is_called():
    done = subprocess.run([ROOT / "tests/aarch64/run"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "tests/aarch64/run FOLDER" in done.stdout
    assert "tests/aarch64/run" in TEXT


def test_wheels_are_asked_for_everything_that_the_gateway_imports():
    environment = wheels.TARGETS[0].environment()
    found = wheels.needed_by(environment)
    wanted = {"aiocoap": "gateway", "cryptography": "gateway", "eth-abi": "chain", "numpy": "litert"}
    assert wanted.items() <= found.items()
    assert found["lakers-python"] == "oscore"
    assert set(found) <= set(wheels.TARGETS[0].locked(wheels.LOCK.read_text())), "something is not in the lock"


def test_the_lock_asks_an_aarch64_machine_for_nothing_without_a_wheel():
    for target in wheels.TARGETS:
        missing = json.loads(wheels.WHEELS.read_text())[target.name]["missing"]
        asked = wheels.pins(wheels.LOCK.read_text(), target.environment())
        assert target.glibc < 28 or not set(missing) & set(asked)


def test_a_closure_follows_extras_and_markers():
    needs = {
        "securenet-gateway": ['a>=1; extra == "x"', "b", 'win; sys_platform == "win32"'],
        "a": ["c[fast]"],
        "b": [],
        "c": ['d; extra == "fast"', 'e; extra == "slow"', "A"],
        "d": ['old; python_version < "3.12"'],
    }
    environment = wheels.Target("3.13", 28).environment()
    assert wheels.closure((), environment, lambda name: needs.get(name, [])) == {"b"}
    assert wheels.closure(("x",), environment, lambda name: needs.get(name, [])) == {"a", "b", "c", "d"}


def test_a_lock_is_read_for_the_python_that_is_meant():
    old, new = "numpy==2.4.6 ; python_full_version < '3.12'", "numpy==2.5.5 ; python_full_version >= '3.12'"
    lock = f"{old} \\\n    --hash=sha256:00\n{new} \\\n    --hash=sha256:01\n"
    assert wheels.pins(lock, wheels.Target("3.11", 28).environment()) == {"numpy": "2.4.6"}
    assert wheels.pins(lock, wheels.Target("3.13", 28).environment()) == {"numpy": "2.5.5"}


@given(st.integers(17, 60))
def test_a_glibc_takes_wheels_for_every_older_one(glibc):
    platforms = wheels.Target("3.11", glibc).platforms()
    assert platforms[0] == f"manylinux_2_{glibc}_aarch64"
    assert platforms[-2:] == ["manylinux_2_17_aarch64", "manylinux2014_aarch64"]
    assert wheels.glibc_of(f"a-1-cp311-cp311-{platforms[0]}.whl") == glibc


def test_a_wheel_runs_on_the_oldest_glibc_that_it_names():
    assert wheels.glibc_of("a-1-cp311-cp311-manylinux2014_aarch64.manylinux_2_28_aarch64.whl") == 17
    assert wheels.glibc_of("a-1-py3-none-any.whl") is None


def test_an_index_that_does_not_answer_is_no_missing_wheel(monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{closed.getsockname()[1]}/simple")
        monkeypatch.setenv("PIP_RETRIES", "0")
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        with pytest.raises(wheels.IndexAway):
            wheels.resolve(wheels.TARGETS[0], {"click": "8.5.1"})


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "target", [target for target in wheels.TARGETS if target.glibc == 28], ids=lambda one: one.name
)
def test_every_dependency_has_an_aarch64_wheel_but_those_that_the_page_names(target):
    try:
        found = wheels.ask([target])[target.name]
    except wheels.IndexAway as away:
        pytest.skip(f"the package index does not answer: {str(away)[-200:]}")
    known = json.loads(wheels.WHEELS.read_text())[target.name]
    assert not found["unpinned"]
    assert set(found["missing"]) <= set(known["missing"]), "run `python tests/benchmarks/wheels.py --write`"
