"""A password that was wrong, and is right after a reload."""

import asyncio
import sys
from pathlib import Path

import pytest
from support.mosquitto import Mosquitto

from gateway.config.load import parse_config
from gateway.ops.last_good import Source
from gateway.ops.reload import Reloader
from gateway.ops.reload_rooms import mqtt_room
from gateway.transport.port import LinkState

sys.path.insert(0, str(Path(__file__).parents[1] / "transport_mqtt"))

import mqtt_world as w


@pytest.mark.broker
async def test_a_reload_after_the_password_file_was_corrected_brings_the_link_up(tmp_path):
    """No key changed: the name of the file is the same."""
    broker = Mosquitto(tmp_path / "mosquitto", accounts=w.DEVICES).start()
    try:
        secret = tmp_path / "password"
        secret.touch(0o600)
        secret.write_text("wrong")
        path = tmp_path / "gateway.toml"
        path.write_text(
            f'[gateway]\nid = "gw-1"\nfleet = "f"\ndata_dir = "{tmp_path}"\n[mqtt]\nport = {broker.port}\n'
            f'username = "gateway"\npassword_file = "{secret}"\nreconnect_max_s = 1\n'
        )
        config = parse_config(path.read_text(), path)
        transport = w.transport_to(broker, tmp_path, password="wrong")
        reloader = Reloader(config, Source(path, path.read_text()), [mqtt_room(transport)], check_files=lambda _: [])
        async with w.running(transport, w.FakeIntake(), up=False):
            await w.until(lambda: transport.status().state is LinkState.DOWN)
            assert not (await reloader.reload()).faults
            await asyncio.sleep(0.3)
            assert transport.status().state is LinkState.DOWN
            secret.write_text(w.ACCOUNTS["gateway"])
            assert not (await reloader.reload()).faults
            await w.until(lambda: transport.status().state is LinkState.UP)
    finally:
        broker.kill()
