"""A broker, a fleet with a memory, and gateways whose page can be asked."""

from __future__ import annotations

import random

import pytest
from field_kit import HTTP, LOOPBACK, DatedAuthority
from support.custody import UNLIMITED
from support.fleet import Fleet, devices
from support.gateway import Gateway, secret_file
from support.mosquitto import ACCOUNTS, Mosquitto

from firmware_sim.keys import FleetKeys, registry_lines


@pytest.fixture
def records():
    return devices(12)


@pytest.fixture
def broker(tmp_path):
    started = Mosquitto(tmp_path / "broker").start()
    yield started
    started.stop()


@pytest.fixture
async def fleet(records, broker):
    """Leaves the broker in the end, wherever a test stopped."""
    made = Fleet(records, random.Random(5), broker.port, ACCOUNTS["bench"], patience_s=1)
    yield made
    if made.published_s:
        await made.close()


@pytest.fixture
def mqtt(tmp_path, broker):
    """The section of a gateway that is at home on the broker."""
    return {
        "host": "127.0.0.1",
        "port": broker.port,
        "username": "gateway",
        "password_file": secret_file(tmp_path, ACCOUNTS["gateway"]),
        "reconnect_max_s": 2,
    }


@pytest.fixture
def authority(tmp_path):
    made = DatedAuthority(tmp_path / "tls")
    made.issue("broker", "broker", LOOPBACK)
    made.issue("client", "gateway")
    return made


@pytest.fixture
def tls_broker(tmp_path, authority):
    """Over TLS it asks for a certificate; the fleet comes in without."""
    made = Mosquitto(tmp_path / "tls-broker", tls=authority.folder)
    conf = made.folder / "mosquitto.conf"
    conf.write_text(conf.read_text().replace("tls_version tlsv1.2", "tls_version tlsv1.2\nrequire_certificate true"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def over_tls(tmp_path, tls_broker, authority):
    """The section of a gateway that comes by TLS."""
    tls = authority.folder
    (tls / "client.key").chmod(0o600)
    return {
        "host": "127.0.0.1",
        "port": tls_broker.tls_port,
        "tls": True,
        "ca_file": str(tls / "ca.crt"),
        "cert_file": str(tls / "client.crt"),
        "key_file": str(tls / "client.key"),
        "username": "gateway",
        "password_file": secret_file(tmp_path, ACCOUNTS["gateway"]),
        "reconnect_max_s": 2,
    }


@pytest.fixture
async def tls_fleet(records, tls_broker):
    """The fleet at that broker."""
    made = Fleet(records, random.Random(6), tls_broker.port, ACCOUNTS["bench"], patience_s=1)
    yield made
    if made.published_s:
        await made.close()


@pytest.fixture
def gateway_of(tmp_path, records):
    """Makes a gateway of these sections, with the page and without limits of rate; it is ended with the test."""
    made: list[Gateway] = []

    def make(**sections: dict[str, object]) -> Gateway:
        whole = {"http": HTTP, "limits": UNLIMITED, **sections}
        each = Gateway(tmp_path / "gateway", registry_lines(FleetKeys(Gateway.fleet, tuple(records))), whole)
        each.log.touch()
        made.append(each)
        return each

    yield make
    for each in made:
        each.end()
