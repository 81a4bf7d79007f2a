"""Every command of the first hour is run as it stands there, in its order, by a new user in an empty folder."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from docs_page import OPERATIONS, ROOT, blocks
from support.mosquitto import free_port

PAGE = OPERATIONS / "first-hour.md"
TEN_MINUTES = 600.0


@pytest.mark.slow
def test_the_first_hour_ends_with_a_valid_proof_and_a_backup(tmp_path):
    script = "\n".join(blocks(PAGE))
    script = script.replace("5683", str(free_port(socket.SOCK_DGRAM))).replace("8470", str(free_port()))
    began = time.monotonic()
    done = subprocess.run(
        ["bash", "-em", "-c", f"trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}"],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    folder = tmp_path / "first-hour"
    log = folder / "gateway.log"
    assert done.returncode == 0, done.stdout + done.stderr + (log.read_text() if log.exists() else "")
    assert time.monotonic() - began < TEN_MINUTES
    assert "refused, as it must be" in done.stdout
    assert "The backup is whole" in done.stdout
    assert "The log holds." in done.stdout
    verdicts = [line for line in done.stdout.splitlines() if "valid" in line]
    assert verdicts, done.stdout
    assert "Traceback" not in done.stderr + log.read_text()
