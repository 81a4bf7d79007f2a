"""What a gateway is linked to goes away or does not hold any more: the broker, its certificate, our own; a port."""

from __future__ import annotations

import contextlib
import datetime as dt
import random
import re
import signal
import socket
import time
from pathlib import Path

import pytest
from field_faults import FAULTS
from field_kit import HTTP, LOOPBACK, assert_status, doctor, event_after, status_of, told, under, until
from kill.kill_check import assert_every_promise_is_kept
from support.mosquitto import free_port

RATE = 60.0
PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations" / "faults.md"


async def heals(gateway, name) -> None:
    """The cause is gone: it is up again by itself, and says so in its log and its status."""
    back, began = FAULTS[name].back, time.monotonic()
    await event_after(gateway, back)
    await gateway.ready()
    print(f"{name}: {back} after {time.monotonic() - began:.1f} s")


async def nothing_was_lost(gateway, fleet) -> None:
    assert await fleet.drain(30) == 0
    assert await gateway.stop() == 0
    await assert_every_promise_is_kept(gateway, fleet.messages, random.Random(2))


@pytest.mark.broker
async def test_a_broker_that_is_away(gateway_of, mqtt, broker, fleet):
    gateway = gateway_of(mqtt=mqtt)
    gateway.start()
    await gateway.ready()
    async with fleet.publishing(RATE):
        await until(lambda: fleet.receipts > 20)
        ups = len(gateway.events("mqtt.up"))
        broker.stop()
        await told(gateway, "broker")
        broker.start()
        await event_after(gateway, FAULTS["broker"].back, ups)
        await gateway.ready()
    await nothing_was_lost(gateway, fleet)
    assert len(gateway.events("mqtt.down")) == 1, "it is told once"


@pytest.mark.broker
async def test_a_broker_that_refuses_the_account(gateway_of, mqtt, broker, fleet):
    passwords = broker.folder / "passwd"
    good = passwords.read_text()
    passwords.write_text("".join(line for line in good.splitlines(keepends=True) if not line.startswith("gateway:")))
    broker.process.send_signal(signal.SIGHUP)
    gateway = gateway_of(mqtt=mqtt)
    gateway.start()
    await told(gateway, "broker-account")
    passwords.write_text(good)
    broker.process.send_signal(signal.SIGHUP)
    await heals(gateway, "broker-account")
    async with fleet.publishing(RATE):
        await until(lambda: fleet.receipts > 20)
    await nothing_was_lost(gateway, fleet)


@pytest.mark.broker
async def test_a_broker_whose_certificate_has_ended(gateway_of, over_tls, tls_broker, authority, tls_fleet):
    gateway = gateway_of(mqtt=over_tls, clock={"trust": "always"})
    authority.ends_in = dt.timedelta(hours=-1)
    authority.issue("broker", "broker", LOOPBACK)
    tls_broker.process.send_signal(signal.SIGHUP)
    gateway.start()
    await told(gateway, "broker-certificate")
    assert "certificate" in gateway.events("mqtt.down")[0]["detail"]
    authority.ends_in = dt.timedelta(days=60)
    authority.issue("broker", "broker", LOOPBACK)
    tls_broker.process.send_signal(signal.SIGHUP)
    await heals(gateway, "broker-certificate")
    async with tls_fleet.publishing(RATE):
        await until(lambda: tls_fleet.receipts > 20)
    await nothing_was_lost(gateway, tls_fleet)


@pytest.mark.broker
async def test_a_certificate_of_ours_that_has_ended(gateway_of, over_tls, authority, tls_fleet):
    gateway = gateway_of(mqtt=over_tls, clock={"trust": "always"})
    authority.ends_in = dt.timedelta(hours=-1)
    authority.issue("client", "gateway")
    gateway.start()
    await event_after(gateway, "mqtt.down")
    await told(gateway, "client-certificate")
    (ended,) = gateway.events("certificate.expires")
    assert (ended["name"], ended["days"]) == ("mqtt-client", 0)
    assert any("has expired" in each for each in (await status_of(gateway))["warnings"])
    authority.ends_in = dt.timedelta(days=60)
    authority.issue("client", "gateway")
    await heals(gateway, "client-certificate")
    async with tls_fleet.publishing(RATE):
        await until(lambda: tls_fleet.receipts > 20)
    assert not [each for each in (await status_of(gateway))["warnings"] if "certificate" in each], "told, and mended"
    await nothing_was_lost(gateway, tls_fleet)


async def test_a_port_of_the_page_that_is_taken(gateway_of):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        gateway = gateway_of(
            coap={"host": "127.0.0.1", "port": free_port(socket.SOCK_DGRAM)}, http=HTTP | {"port": port}
        )
        gateway.start()
        fault = FAULTS["http-port"]
        await gateway.ready()
        await event_after(gateway, fault.event)
        await assert_status(gateway, fault, over_http=False)
        await doctor(gateway, fault.finding)
    await heals(gateway, "http-port")
    assert not [each for each in (await status_of(gateway))["warnings"] if str(fault.status) in each]
    assert len(gateway.events(fault.event)) == 1, "it is told once"
    assert await gateway.stop() == 0


async def test_a_port_of_coap_that_is_taken(gateway_of):
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as other:
        other.bind(("127.0.0.1", 0))
        gateway = gateway_of(coap={"host": "127.0.0.1", "port": other.getsockname()[1]})
        gateway.start()
        await told(gateway, "coap-port")
        commands = re.findall(r"^    securenet (.+)$", PAGE.read_text(), re.MULTILINE)
        assert len(commands) == 2
        for words in commands:
            _, said = await under(("env", f"SECURENET_CONFIG={gateway.config}"), gateway, *words.split())
            assert "coap" in said.lower(), said
    await heals(gateway, "coap-port")
    assert len(gateway.events("coap.down")) == 1, "it is told once"
    assert await gateway.stop() == 0
