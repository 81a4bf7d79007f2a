"""Three devices and a gateway that knows them."""

import pytest
from ingest_world import Sender, World


@pytest.fixture
def lamp():
    return Sender("lamp-1")


@pytest.fixture
def pump():
    return Sender("pump-1", encoding="jws")


@pytest.fixture
def chip():
    return Sender("chip-1", alg="ES256")


@pytest.fixture
def world(tmp_path, lamp, pump, chip):
    return World(tmp_path / "data", [lamp, pump, chip])
