"""One broker for a test, on the configuration that we recommend."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from mqtt_world import DEVICES
from support.mosquitto import Mosquitto


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    each = Mosquitto(tmp_path / "mosquitto", accounts=DEVICES).start()
    yield each
    each.kill()
