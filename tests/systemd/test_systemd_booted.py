"""The Debian package under a real systemd: installed, started, starved, upgraded, removed, purged.

The tests of this file are one story, told in order on one machine.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.booted import Booted, need

ROOT = Path(__file__).resolve().parents[2]
UNIT = "securenet-gateway.service"
PYTHON = "/opt/securenet/bin/python3"
FLEET = "securenet-fleet"
LOG_SIZE = re.compile(r"^log_size +(\d+)$", re.MULTILINE)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

HURRY = """[Service]
TimeoutStartSec=6
WatchdogSec=4
RestartSec=1
"""
DEVICES = f"""
set -e
cd /root
securenet key show log --file /etc/credstore/securenet.log-key --json > log-key.json
{PYTHON} -c 'import json; print(json.load(open("log-key.json"))["verifier_key"])' > log-key.pub
{FLEET} keys --devices 3 --fleet plant-7 --gateway-id gw-1 --log-key-file log-key.pub \\
    --out fleet.jsonl --private keys.json
grep -v '"miner"' fleet.jsonl >> /etc/securenet/registry.jsonl
systemctl reload {UNIT}
{FLEET} run --keys keys.json --coap coap://127.0.0.1:5683 --log-key-file log-key.pub --coap-share 1 \\
    --rate 20 --duration 3 --no-live --json
"""
PROOF = """
set -e
cd /root
for try in 1 2 3 4 5 6 7 8 9 10; do
    securenet proof export --index 1 --out proof.json && break
    sleep 1
done
securenet proof verify proof.json --registry /etc/securenet/registry.jsonl
"""
SCORE = """
import resource
from ai_edge_litert.interpreter import Interpreter
import numpy
resource.setrlimit(resource.RLIMIT_DATA, (1 << 29, 1 << 29))
for name in ("mnist", "nab", "rt-iot2022-normal"):
    interpreter = Interpreter(model_content=open(f"/shared/{name}.tflite", "rb").read(), num_threads=1)
    interpreter.allocate_tensors()
    for wanted in interpreter.get_input_details():
        interpreter.set_tensor(wanted["index"], numpy.zeros(wanted["shape"], wanted["dtype"]))
    interpreter.invoke()
    print("scored", interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).shape)
"""


def build(folder, suffix):
    done = subprocess.run(
        ["packaging/build-deb", "--out", str(folder), "--compress", "none", "--suffix", suffix],
        cwd=ROOT,
        env={**os.environ, "PYTHON": sys.executable, "SOURCE_DATE_EPOCH": "1780000000"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(done.stdout.split()[-1])


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    need(shutil.which("dpkg-deb") is not None, "dpkg-deb is not installed (apt-get install dpkg)", from_apt=False)
    system = Path("/usr/bin/python3")
    need(system.exists(), "Debian's python3 is not installed (apt-get install python3)", from_apt=True)
    version = subprocess.run([system, "-V"], capture_output=True, text=True, check=True).stdout.split()[1]
    mine = f"{sys.version_info.major}.{sys.version_info.minor}."
    need(version.startswith(mine), f"Debian's Python is {version}, these tests' {mine}", from_apt=False)
    folder = tmp_path_factory.mktemp("packages")
    yield build(folder, "+1"), build(folder, "+2")
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def booted(tmp_path_factory, packages):
    shared = packages[0].parent
    shared.chmod(0o755)
    for model in (ROOT / "models").glob("*.tflite"):
        shutil.copy(model, shared)
    (shared / "score.py").write_text(SCORE)
    booted = Booted(tmp_path_factory.mktemp("booted"), shared)
    try:
        yield booted.start()
    finally:
        booted.end()


def log_size(booted):
    return int(LOG_SIZE.search(booted.run("securenet", "log", "fsck").replace("size ", "log_size "))[1])


def test_the_same_tree_gives_the_same_package(packages):
    trees = [
        subprocess.run(
            ["sh", "-c", f"dpkg-deb --fsys-tarfile {package} | sha256sum"], capture_output=True, check=True
        )
        for package in packages
    ]
    assert trees[0].stdout == trees[1].stdout


def test_an_installed_package_is_enabled_and_waits_to_be_told_who_it_is(booted, packages):
    said = booted.run("dpkg", "-i", f"/shared/{packages[0].name}")
    assert "securenet install --id ID --fleet FLEET" in said
    assert booted.show(UNIT, "ActiveState", "UnitFileState") == {
        "ActiveState": "inactive",
        "UnitFileState": "enabled",
    }
    assert "securenet" in booted.run("id", "securenet")
    assert booted.run("dpkg", "--verify", "securenet-gateway") == ""
    said = booted.run("securenet", "install", "--id", "gw-1", "--fleet", "plant-7")
    assert "done   make the log key" in said
    modes = booted.run("stat", "-c", "%a %U:%G %n", "/etc/securenet/gateway.toml", "/etc/credstore/securenet.log-key")
    assert modes.splitlines() == [
        "640 root:securenet /etc/securenet/gateway.toml",
        "600 root:root /etc/credstore/securenet.log-key",
    ]


def test_while_the_broker_is_away_it_starts_on_and_takes_coap_and_is_ready_when_the_broker_is_there(booted):
    need(shutil.which("mosquitto", path="/usr/sbin:/usr/bin") is not None, "mosquitto is missing", from_apt=True)
    drop_in = f"/run/systemd/system/{UNIT}.d"
    booted.run(
        "sh", "-c", f"mkdir -p {drop_in}; printf '%s' \"$0\" > {drop_in}/hurry.conf; systemctl daemon-reload", HURRY
    )
    booted.run("systemctl", "start", "--no-block", UNIT)
    time.sleep(9)  # longer than TimeoutStartSec: only what it says itself keeps it alive
    seen = booted.show(UNIT, "ActiveState", "StatusText", "NRestarts")
    assert seen["ActiveState"] == "activating"
    assert seen["NRestarts"] == "0"
    assert seen["StatusText"].startswith("waits: mqtt is ")
    assert json.loads(booted.run("securenet", "status", "--json"))["transports"]["coap"]["state"] == "up"
    booted.run("systemd-run", "--unit=broker", "--property=User=nobody", "mosquitto", "-p", "1883")
    booted.until(UNIT, ActiveState="active", StatusText="takes messages over coap, mqtt")


def test_devices_are_let_in_by_a_reload_and_their_messages_are_taken_and_proved(booted):
    booted.run("sh", "-c", DEVICES)
    said = booted.run("sh", "-c", PROOF)
    assert "valid" in said
    assert booted.show(UNIT, "ActiveState")["ActiveState"] == "active"
    assert json.loads(booted.run("securenet", "status", "--json"))["accepted"] > 10
    assert log_size(booted) > 10
    booted.run("systemctl", "start", "securenet-fsck.service")
    assert booted.show("securenet-fsck.service", "Result")["Result"] == "success"


def test_models_score_in_the_same_sandbox(booted):
    text = booted.run("cat", f"/usr/lib/systemd/system/{UNIT}")
    probe = re.sub(
        r"^(Type|ExecStart|ExecReload|Restart\w*|WatchdogSec|NotifyAccess)=.*\n", "", text, flags=re.MULTILINE
    )
    probe = probe.replace("[Service]", f"[Service]\nType=oneshot\nExecStart={PYTHON} /shared/score.py\n")
    booted.run("sh", "-c", 'printf "%s" "$0" > /run/systemd/system/score.service; systemctl daemon-reload', probe)
    booted.complete("systemctl", "start", "score.service")
    said = booted.run("journalctl", "-u", "score.service", "-o", "cat", "--no-pager")
    assert said.count("scored (") == 3, said
    for line in ("MemoryDenyWriteExecute=yes", "SystemCallFilter=@system-service"):
        assert line in probe


def test_a_gateway_whose_worker_hangs_is_killed_and_started_anew_and_loses_nothing(booted):
    before = log_size(booted)
    booted.run("pkill", "-STOP", "-f", "gateway.crypto.worker")
    booted.until(UNIT, timeout_s=40, NRestarts="1")
    booted.until(UNIT, ActiveState="active", StatusText="takes messages over coap, mqtt")
    said = booted.run("journalctl", "-u", UNIT, "-o", "cat", "--no-pager")
    assert "watchdog.part_silent" in said
    assert log_size(booted) >= before


def test_an_upgrade_restarts_what_ran_and_keeps_what_is_the_operators(booted, packages):
    before = log_size(booted)
    config = booted.run("cat", "/etc/securenet/gateway.toml", "/etc/credstore/securenet.log-key")
    booted.run("dpkg", "-i", f"/shared/{packages[1].name}")
    booted.until(UNIT, ActiveState="active", StatusText="takes messages over coap, mqtt")
    assert booted.run("dpkg-query", "-W", "-f", "${Version}", "securenet-gateway").endswith("+2")
    assert booted.run("cat", "/etc/securenet/gateway.toml", "/etc/credstore/securenet.log-key") == config
    assert log_size(booted) >= before


def test_a_broken_configuration_ends_it_once_with_its_own_code(booted):
    booted.run(
        "sh", "-c", "cp -a /etc/securenet/gateway.toml /root/; echo 'nonsense = 1' >> /etc/securenet/gateway.toml"
    )
    booted.run("systemctl", "reset-failed", UNIT, check=False)
    booted.complete("systemctl", "restart", UNIT)
    time.sleep(2)
    seen = booted.show(UNIT, "ActiveState", "ExecMainStatus", "NRestarts")
    assert (seen["ActiveState"], seen["ExecMainStatus"], seen["NRestarts"]) == ("failed", "78", "0")
    booted.run("cp", "-a", "/root/gateway.toml", "/etc/securenet/gateway.toml")
    booted.run("systemctl", "start", UNIT)


def test_removed_it_is_stopped_and_the_log_stays_and_purged_nothing_of_it_is_left(booted):
    booted.run("dpkg", "-r", "securenet-gateway")
    assert booted.show(UNIT, "ActiveState")["ActiveState"] == "inactive"
    assert booted.run("pgrep", "-fa", "gateway.crypto", check=False) == ""
    booted.run("test", "-f", "/var/lib/securenet/journal.db")
    booted.run("test", "-f", "/etc/securenet/gateway.toml")
    booted.run("test", "!", "-e", "/opt/securenet")
    booted.run("dpkg", "-P", "securenet-gateway")
    left = "/var/lib/securenet /etc/securenet /etc/credstore/securenet.log-key"
    assert booted.run("sh", "-c", f"ls -d {left} 2>/dev/null", check=False) == ""
    wants = "/etc/systemd/system/*/securenet-*"
    assert booted.run("sh", "-c", f"ls -d {wants} 2>/dev/null", check=False) == ""


def test_without_the_package_install_and_uninstall_do_the_same(booted, packages):
    booted.run("dpkg", "-x", f"/shared/{packages[0].name}", "/")
    booted.run("sh", "-c", "rm -r /usr/lib/systemd/system/securenet-* /usr/lib/*.d/securenet.conf /usr/bin/securenet")
    program = "/opt/securenet/bin/securenet"
    install = (program, "install", "--id", "gw-2", "--fleet", "plant-7", "--program", program)
    booted.run(*install)
    again = json.loads(booted.run(*install, "--json"))["steps"]
    assert {step["words"] for step in again if step["changed"]} == {
        "run systemd-sysusers securenet.conf",
        "run systemctl daemon-reload",
    }
    booted.run("systemctl", "start", UNIT)
    booted.until(UNIT, ActiveState="active", StatusText="takes messages over coap, mqtt")
    assert json.loads(booted.run(program, "status", "--json"))["gateway"] == "gw-2"
    booted.run(program, "uninstall")
    assert booted.show(UNIT, "ActiveState", "LoadState") == {"ActiveState": "inactive", "LoadState": "not-found"}
    booted.run("test", "-f", "/var/lib/securenet/journal.db")
    booted.run(program, "uninstall", "--purge")
    booted.run("test", "!", "-e", "/var/lib/securenet")
    booted.run("rm", "-r", "/opt/securenet")


def test_every_command_of_the_page_for_the_package_runs_in_its_order(booted, packages):
    page = (ROOT / "docs/operations/install.md").read_text()
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```$", page, re.DOTALL | re.MULTILINE))
    for named, package in (("0.1.0", packages[0]), ("0.1.1", packages[1])):
        script = script.replace(f"./securenet-gateway_{named}_amd64.deb", f"/shared/{package.name}")
    assert script.count("/shared/") == 2
    said = booted.run("sh", "-ec", script)
    assert "gw-1" in said
    assert booted.run("sh", "-c", "ls -d /etc/securenet /opt/securenet 2>/dev/null", check=False) == ""
