"""The demo as a newcomer runs it: another process, nothing but Python and the wheels."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from firmware_sim.scenarios import SCENARIOS
from gateway.cli.demo_kubo import find_kubo
from gateway.cli.demo_papers import MODELS, detector_in, named

SECURENET = (sys.executable, "-m", "gateway", "demo")
DUE = {
    *("sent", "acknowledged", "accepted", "rejected", "honest_rejected", "hostile_accepted", "lost"),
    *("log_size", "root", "p50_ms", "p99_ms", "proofs_verified"),
    *("anchors_final", "gas_per_message", "proof_chain_verified", "revocation_effective"),
    *("digit_correct", "revoked_grant_refused", "anomaly_detected", "publish_to_first_score_s", "scored"),
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


def wait_for(process, *words):
    """Wait until a child has these in its command line; returns all children and theirs."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(process.pid).children(recursive=True)
            if any(set(words) <= set(child.cmdline()) for child in children):
                return children
        time.sleep(0.05)
    raise RuntimeError(process.communicate())


def wait_for_fleet(process):
    """Wait until everything runs."""
    return wait_for(process, "firmware_sim.cli", "run")


def wait_for_leaver(process):
    """Wait until the device that is to be revoked runs, too: it is the last."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        children = wait_for_fleet(process)
        if sum("firmware_sim.cli" in child.cmdline() for child in children if child.is_running()) == 2:
            return children
        time.sleep(0.05)
    raise RuntimeError(process.communicate())


def gone(children, timeout=20):
    return not psutil.wait_procs(children, timeout=timeout)[1]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_short_demo_shows_every_scenario_and_keeps_every_promise(tmp_path):
    report_file = tmp_path / "report.json"
    process = start(tmp_path, "--duration", "12", "--report", str(report_file), "--json")
    out, err = process.communicate(timeout=220)
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
    decided = report["accepted"] + sum(report["rejected"].values()) + report["cut_off"]
    assert decided >= report["sent"]  # more where a device sent something again
    assert len(bytes.fromhex(report["root"])) == 32
    assert report["scenarios"].keys() == {"honest", *SCENARIOS}
    for name, scenario in report["scenarios"].items():
        assert scenario["shown"], (name, scenario)
        assert set(scenario["seen"]) <= set(scenario["expected"]), (name, scenario)
    assert set(report["received"]) == {"mqtt", "coap"}
    assert report["anchors_final"] >= 2
    assert 0 < report["gas_per_message"] < 1000
    assert report["proof_chain_verified"] is True
    assert report["revocation_effective"] is True
    assert 0 <= report["revocation_s"] <= 10
    assert report["rejected"]["device-revoked"] > report["scenarios"]["revoked"]["sent"]
    assert report["digit_correct"] is True
    assert report["revoked_grant_refused"] is True
    assert report["anomaly_detected"] is True
    assert 0 <= report["publish_to_first_score_s"] <= 10
    assert report["scored"] > 28  # the bearing's readings that count, and the images beside them
    assert report["models_by"] == ("kubo" if find_kubo("") else "store")
    assert report["models_missing"] is None
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_without_an_ipfs_node_the_block_store_carries_the_models(tmp_path):
    kept = tmp_path / "kept"
    process = start(tmp_path, "--duration", "3", "--kubo", "none", "--keep", str(kept), "--json")
    out, err = process.communicate(timeout=220)
    assert process.returncode == 0, (out, err)
    report = json.loads(out)
    assert report["models_by"] == "store"
    assert (report["digit_correct"], report["revoked_grant_refused"], report["anomaly_detected"]) == (True,) * 3
    typed = (kept / "operator" / "typed.txt").read_text()
    assert typed.count("securenet model publish ") == 3
    assert "--kubo" not in typed
    assert not (kept / "kubo").exists()
    audit = json.loads(audited(kept))
    assert audit["findings"] == []
    issued = [(line["model"], line["version"]) for line in audit["newest"] if line["event"] == "issue"]
    detector = named(MODELS / f"{detector_in(MODELS)}.tflite")
    assert set(issued) == {("mnist", 1), ("mnist", 2), detector}


def audited(kept):
    """What the authority wrote down, asked of what is left of the demo."""
    where = ("--dir", kept / "models/authority", "--passphrase-file", kept / "models/authority.pass")
    command = [sys.executable, "-m", "gateway", "authority", "audit", *map(str, where), "--json"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_without_a_chain_the_registry_file_says_who_may_speak(tmp_path):
    kept = tmp_path / "kept"
    process = start(tmp_path, "--duration", "3", "--no-chain", "--keep", str(kept), "--json")
    out, err = process.communicate(timeout=160)
    assert process.returncode == 0, (out, err)
    report = json.loads(out)
    chain = ("anchors_final", "gas_per_message", "proof_chain_verified", "revocation_effective", "revocation_s")
    assert [report[name] for name in chain] == [None] * 5
    models = ("digit_correct", "revoked_grant_refused", "anomaly_detected", "publish_to_first_score_s", "scored")
    assert [report[name] for name in models] == [None] * 5
    assert "--no-chain" in report["models_missing"]
    assert report["proofs_verified"] == 1
    assert "[chain]" not in (kept / "gateway.toml").read_text()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_ctrl_c_ends_the_demo_early_and_cleanly(tmp_path):
    process = start(tmp_path, "--duration", "600", "--report", str(tmp_path / "report.json"))
    children = wait_for_fleet(process)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, (out, err)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["interrupted"]
    assert report["problems"] == []
    assert report["anchors_final"] >= 1
    assert report["revocation_effective"] is False  # nobody was revoked yet
    assert report["revoked_grant_refused"] is False  # likewise, and no problem
    assert "Traceback" not in out + err
    assert gone(children)
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.timeout(180)
def test_ctrl_c_ends_the_preparations_at_once(tmp_path):
    process = start(tmp_path, "--duration", "600")
    children = wait_for(process, "gateway", "chain", "deploy")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, (out, err)
    assert "interrupted" in err
    assert "Traceback" not in out + err
    assert gone(children)
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_killed_demo_leaves_no_process_behind(tmp_path):
    process = start(tmp_path, "--duration", "600")
    children = wait_for_leaver(process)
    names = [" ".join(child.cmdline()) for child in children if child.is_running()]
    for part in ("devchain", "gateway.toml", "authority", "firmware_sim.cli", "firmware_sim.solo"):
        assert any(part in name for name in names), (part, names)
    assert any("--offline" in name for name in names) == bool(find_kubo(""))
    process.kill()
    process.communicate(timeout=20)
    assert gone(children)


@pytest.mark.parametrize(
    ("part", "words"),
    [("gateway.toml", "the gateway ended with code -9"), ("devchain", "the chain ended with code -9")],
)
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_part_that_dies_is_told_in_words(tmp_path, part, words):
    process = start(tmp_path, "--duration", "600", *["--no-chain"] * (part == "gateway.toml"))
    children = wait_for_fleet(process)
    victim = next(child for child in children if part in " ".join(child.cmdline()))
    victim.kill()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 71, (out, err)
    assert words in err
    assert "Traceback" not in out + err
    assert gone(children)


def test_a_command_of_the_operator_that_fails_is_told_in_words(tmp_path):
    process = start(tmp_path, "--duration", "600", "--keep", str(tmp_path / "kept"))
    children = wait_for(process, "gateway", "chain", "deploy")
    deploy = next(child for child in children if "deploy" in child.cmdline())
    deploy.kill()
    out, err = process.communicate(timeout=30)
    assert process.returncode == 71, (out, err)
    assert "the command securenet chain deploy ended with code -9" in err
    assert "Traceback" not in out + err
    assert gone(children)
    assert (tmp_path / "kept/operator/typed.txt").read_text().startswith("securenet chain deploy --rpc http://127.")


def test_a_folder_that_is_not_empty_is_not_taken(tmp_path):
    (tmp_path / "mine").write_text("precious")
    process = start(tmp_path, "--keep", str(tmp_path))
    out, err = process.communicate(timeout=30)
    assert process.returncode == 73, (out, err)
    assert "not empty" in err
