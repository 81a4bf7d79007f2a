"""A broker, a fleet with a memory, and gateways whose page can be asked."""

from __future__ import annotations

import random

import pytest
from field_kit import HTTP
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
