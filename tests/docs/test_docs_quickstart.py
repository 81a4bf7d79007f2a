"""Every command of the quick start is run as it stands there, in its order."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.mosquitto import free_port

from gateway.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "operations" / "quickstart.md"


def commands(page):
    return "\n".join(re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE))


@pytest.mark.slow
def test_the_quick_start_ends_with_a_valid_proof(tmp_path):
    script = commands(PAGE).replace("5683", str(free_port(socket.SOCK_DGRAM)))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-em", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "valid" in done.stdout
    report = json.loads((tmp_path / "gw" / "fleet.json").read_text())
    assert report["accepted"] > 0
    assert report["honest_rejected"] == report["hostile_accepted"] == 0


GROUPS = {"key", "proof", "log", "quarantine", "device", "chain", "miner", "anchor", "model", "authority"}


def test_the_readme_names_no_command_that_does_not_exist():
    named = re.findall(r"^    securenet ([a-z-]+)(?: ([a-z-]+))?", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(named) > 5
    for command, sub in named:
        words = [command, sub] if command in GROUPS else [command]
        result = CliRunner().invoke(cli, [*words, "--help"])
        assert result.exit_code == 0, words
