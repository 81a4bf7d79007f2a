"""The demo as a newcomer runs it: another process, nothing but Python and the wheels."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from firmware_sim.scenarios import SCENARIOS

SECURENET = (sys.executable, "-m", "gateway", "demo")
DUE = {
    *("sent", "acknowledged", "accepted", "rejected", "honest_rejected", "hostile_accepted", "lost"),
    *("log_size", "root", "p50_ms", "p99_ms", "proofs_verified"),
}


def start(tmp_path, *arguments):
    """The demo in a folder of its own for temporary files, so that the test sees what is left behind."""
    (tmp_path / "tmp").mkdir(exist_ok=True)
    return subprocess.Popen(
        [*SECURENET, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path / "tmp")},
    )


def wait_for_fleet(process):
    """Wait until broker, gateway and fleet run; returns them and theirs."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        children = psutil.Process(process.pid).children(recursive=True)
        if any(
            "firmware_sim.cli" in part and "run" in child.cmdline() for child in children for part in child.cmdline()
        ):
            return children
        time.sleep(0.05)
    raise RuntimeError(process.communicate())


def gone(children, timeout=20):
    return not psutil.wait_procs(children, timeout=timeout)[1]


@pytest.mark.slow
def test_a_short_demo_shows_every_scenario_and_keeps_every_promise(tmp_path):
    report_file = tmp_path / "report.json"
    process = start(tmp_path, "--duration", "12", "--report", str(report_file), "--json")
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, (out, err)
    report = json.loads(report_file.read_text())
    assert json.loads(out) == report
    assert report.keys() >= DUE
    assert (report["hostile_accepted"], report["honest_rejected"], report["lost"]) == (0, 0, 0)
    assert report["problems"] == []
    assert report["doubled"] == report["receipts_bad"] == report["unanswered"] == 0
    assert report["proofs_verified"] == 1
    assert report["accepted"] >= report["scenarios"]["honest"]["sent"] > 500
    assert report["log_size"] > report["accepted"]  # at least one summary of the rejections
    assert report["sent"] == report["acknowledged"]
    assert len(bytes.fromhex(report["root"])) == 32
    assert report["scenarios"].keys() == {"honest", *SCENARIOS}
    for name, scenario in report["scenarios"].items():
        assert scenario["shown"], (name, scenario)
        assert set(scenario["seen"]) <= set(scenario["expected"]), (name, scenario)
    assert set(report["received"]) == {"mqtt", "coap"}
    assert list((tmp_path / "tmp").iterdir()) == []


def test_ctrl_c_ends_the_demo_early_and_cleanly(tmp_path):
    process = start(tmp_path, "--duration", "600", "--report", str(tmp_path / "report.json"))
    children = wait_for_fleet(process)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (out, err)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["interrupted"]
    assert report["problems"] == []
    assert "Traceback" not in out + err
    assert gone(children)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_killed_demo_leaves_no_process_behind(tmp_path):
    process = start(tmp_path, "--duration", "600")
    children = wait_for_fleet(process)
    assert len(children) >= 4  # broker, gateway, its worker, fleet
    process.kill()
    process.communicate(timeout=20)
    assert gone(children)


def test_a_gateway_that_dies_is_told_in_words(tmp_path):
    process = start(tmp_path, "--duration", "600")
    children = wait_for_fleet(process)
    gateway = next(child for child in children if "gateway.toml" in " ".join(child.cmdline()))
    gateway.kill()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 71, (out, err)
    assert "the gateway ended with code -9" in err
    assert "Traceback" not in out + err
    assert gone(children)


def test_a_folder_that_is_not_empty_is_not_taken(tmp_path):
    (tmp_path / "mine").write_text("precious")
    process = start(tmp_path, "--keep", str(tmp_path))
    out, err = process.communicate(timeout=30)
    assert process.returncode == 73, (out, err)
    assert "not empty" in err
