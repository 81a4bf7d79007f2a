"""A whole gateway reloads: by signal and by command, with its broker, its limits, its certificates, its clock."""

import asyncio
import ipaddress
import signal
import socket

import pytest
from cryptography import x509
from support.certificates import Authority
from support.gateway import Gateway, secret_file
from support.mosquitto import ACCOUNTS, Mosquitto, free_port

from gateway.ops.clock import STRETCH_FILE
from gateway.ops.exitcodes import ExitCode
from gateway.ops.last_good import LAST_GOOD
from gateway.tlog.entry import ClockEntry, parse_entry


@pytest.fixture
def authority(tmp_path):
    made = Authority(tmp_path / "tls")
    made.issue("broker", "broker", x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    made.issue("client", "gateway")
    (made.folder / "client.key").chmod(0o600)
    return made


@pytest.fixture
def broker(tmp_path, authority):
    each = Mosquitto(tmp_path / "mosquitto", tls=authority.folder).start()
    yield each
    each.kill()


@pytest.fixture
def gateway(tmp_path, broker, authority):
    tls = authority.folder
    mqtt = {
        "port": broker.tls_port,
        "tls": True,
        "ca_file": str(tls / "ca.crt"),
        "cert_file": str(tls / "client.crt"),
        "key_file": str(tls / "client.key"),
        "username": "gateway",
        "password_file": secret_file(tmp_path, ACCOUNTS["gateway"]),
    }
    coap = {"host": "127.0.0.1", "port": free_port(socket.SOCK_DGRAM)}
    made = Gateway(tmp_path / "gateway", [], {"mqtt": mqtt, "coap": coap, "http": {"enabled": False}, "clock": {}})
    yield made
    made.end()


async def until(condition, seconds=20):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)


@pytest.mark.broker
async def test_a_gateway_reloads_all_or_nothing_and_keeps_what_was_good(gateway, authority, tmp_path):
    gateway.start()
    status = await gateway.ready()
    assert {each["name"] for each in status["certificates"]} >= {"mqtt-ca", "mqtt-client"}
    assert status["clock"]["trusted"] in {True, False}
    await until((gateway.data / LAST_GOOD).exists)
    good = gateway.config.read_text()
    assert (gateway.data / LAST_GOOD).read_text() == good

    gateway.config.write_text(good.replace("[clock]", "[limits]\ndevice_burst = 7\n[clock]") + "step_s = 0\n")
    code, said = await gateway.securenet("reload", "--data-dir", gateway.data)
    assert code == ExitCode.CONFIG
    assert "clock.step_s" in said
    assert (await gateway.status())["configuration"]["refused"]

    live = good.replace("[clock]", "[limits]\ndevice_burst = 7\nmessage_bytes = 4096\n[clock]")
    gateway.config.write_text(live)
    code, said = await gateway.securenet("reload", "--data-dir", gateway.data)
    assert (code, said) == (0, "In force: limits.device_burst\nAfter a restart: limits.message_bytes\n")
    status = await gateway.status()
    assert status["configuration"]["needs_restart"] == ["limits.message_bytes"]
    assert any("limits.message_bytes" in each for each in status["warnings"])

    wrong = tmp_path / "wrong"
    wrong.touch(0o600)
    wrong.write_text("wrong")
    gateway.config.write_text(good.replace(str(tmp_path / "mqtt-password"), str(wrong)))
    gateway.process.send_signal(signal.SIGHUP)
    await until(lambda: len(gateway.events("config.refused")) == 2)
    await gateway.ready()

    gateway.config.write_text(good)
    authority.issue("client", "gateway")
    gateway.process.send_signal(signal.SIGHUP)
    await until(lambda: gateway.events("mqtt.tls_renewed"))
    await gateway.ready()
    assert ACCOUNTS["gateway"] not in gateway.log.read_text()
    assert await gateway.stop() == 0


@pytest.mark.broker
async def test_a_gateway_that_does_not_believe_its_clock_says_so_in_its_log(gateway):
    kernel = gateway.config.read_text().replace("[clock]", '[clock]\ntrust = "kernel"')
    gateway.config.write_text(kernel)
    gateway.start()
    status = await gateway.ready()
    believed = status["clock"]["trusted"]  # as this machine is
    gateway.config.write_text(kernel.replace('"kernel"', '"always"'))
    await gateway.securenet("reload", "--data-dir", gateway.data)
    assert (await gateway.status())["clock"]["trusted"]
    assert await gateway.stop() == 0
    with gateway.reader() as reader:
        entries = [parse_entry(row.entry) for row in reader.entries(0, reader.size())]
    events = [entry.event for entry in entries if isinstance(entry, ClockEntry)]
    assert events == ([] if believed else ["untrusted", "trusted"])
    assert not (gateway.data / STRETCH_FILE).exists()
