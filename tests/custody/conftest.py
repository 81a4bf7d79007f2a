"""A chain, a broker and a fleet for the tests of a whole gateway on a chain."""

from __future__ import annotations

import random

import pytest
from support.anvil import Anvil
from support.custody import CustodyWorld
from support.fleet import Fleet, devices
from support.mosquitto import ACCOUNTS, Mosquitto


@pytest.fixture
def world(tmp_path):
    with Anvil() as anvil:
        yield CustodyWorld(anvil, tmp_path / "keys")


@pytest.fixture
def broker(tmp_path):
    started = Mosquitto(tmp_path / "broker").start()
    yield started
    started.stop()


@pytest.fixture
def records():
    return devices(20)


@pytest.fixture
async def fleet(records, broker):
    """Leaves the broker in the end, wherever a test stopped."""
    made = Fleet(records, random.Random(4), broker.port, ACCOUNTS["bench"], patience_s=5)
    yield made
    if made.published_s:
        await made.close()
