"""The independent devices' conformance kit against a real gateway on a real mosquitto, with the default limits.

Every MUST of the formats page is a named case; every case must end in the reason that the page names, over MQTT and
over CoAP. The kit was written from the page alone.
"""

import json
import socket
import subprocess
import sys

import pytest
from support.gateway import Gateway
from support.mosquitto import ACCOUNTS, Mosquitto, free_port

from firmware_sim import keys as fleet_keys
from firmware_sim.scenarios import KIT_ROLES, SCENARIOS

DEVICES = 500
FLEET_COMMAND = (sys.executable, "-m", "firmware_sim.cli", "conformance")


@pytest.fixture
async def stage(tmp_path):
    """Broker, gateway and the files of the fleet."""
    made = fleet_keys.generate(Gateway.fleet, DEVICES, (*SCENARIOS, *KIT_ROLES), 4)
    fleet_keys.write_private(tmp_path / "keys.json", fleet_keys.dump(made))
    broker = Mosquitto(tmp_path / "mosquitto").start()
    password = tmp_path / "password"
    password.write_text(ACCOUNTS["gateway"])
    password.chmod(0o600)
    sections = {
        "mqtt": {"port": broker.port, "username": "gateway", "password_file": str(password)},
        "coap": {"host": "127.0.0.1", "port": free_port(socket.SOCK_DGRAM)},
    }
    gateway = Gateway(tmp_path / "gateway", fleet_keys.registry_lines(made), sections)
    gateway.start()
    try:
        await gateway.ready()
        yield broker, gateway, sections["coap"]["port"]
    finally:
        await gateway.kill()
        broker.stop()


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_every_input_of_the_kit_gets_the_outcome_that_the_page_names(stage, tmp_path, version):
    broker, gateway, coap_port = stage
    (tmp_path / "bench").write_text(ACCOUNTS["bench"])
    (tmp_path / "log.pub").write_text(fleet_keys.format_log_key(gateway.origin, gateway.log_key.data))
    command = [
        *(*FLEET_COMMAND, "--keys", tmp_path / "keys.json", "--log-key-file", tmp_path / "log.pub"),
        *("--mqtt", f"127.0.0.1:{broker.port}", "--mqtt-username", "bench", "--mqtt-version", version),
        *("--mqtt-password-file", tmp_path / "bench", "--coap", f"coap://127.0.0.1:{coap_port}"),
        *("--report", tmp_path / "report.json"),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=110)
    assert (tmp_path / "report.json").is_file(), done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["failures"] == []
    assert report["stray_receipts"] == []
    assert report["skipped"] == 0
    assert report["failed"] == 0
    assert report["passed"] + report["second_reading"] == report["total"] > 2000
    assert done.returncode == 0, done.stdout + done.stderr
