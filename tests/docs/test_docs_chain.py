"""Every command of the page about the chain is run as it stands there, in its order."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.mosquitto import free_port

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations" / "chain.md"


def commands(page):
    return "\n".join(re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_page_ends_with_a_gateway_that_follows_the_chain(tmp_path):
    script = commands(PAGE).replace("5683", str(free_port(socket.SOCK_DGRAM))).replace("8545", str(free_port()))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-em", "-c", f"trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}"],
        cwd=tmp_path,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    log = tmp_path / "site" / "gateway.log"
    assert done.returncode == 0, done.stdout + done.stderr + (log.read_text() if log.exists() else "")
    said = done.stdout
    assert "120 devices would be registered in 2 transactions" in said
    assert "120 devices registered in 2 transactions" in said
    assert "0 devices registered; 120 were registered already" in said
    assert "3 of 120 shown, from the chain's registry" in said
    assert "sensor-7: suspended" in said
    assert re.search(r"miner +gw-1, active", said)
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert events[-1] == "gateway.stopped"
    assert "Traceback" not in done.stderr + log.read_text()
