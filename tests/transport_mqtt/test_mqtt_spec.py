"""The commands of docs/spec/mqtt.md do what the page says."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path

import pytest
from mqtt_world import FakeIntake, running, transport_to, until
from support.mosquitto import Mosquitto

from gateway.message import Encoding
from gateway.transport.mqtt import MqttTransport
from gateway.transport.subscriptions import HeldFilters

pytestmark = pytest.mark.broker
PAGE = Path(__file__).resolve().parents[2] / "docs" / "spec" / "mqtt.md"


async def test_the_commands_of_the_page_do_what_it_says(broker: Mosquitto, tmp_path: Path) -> None:
    for tool in ("mosquitto_pub", "mosquitto_sub"):
        assert shutil.which(tool), f"{tool} is part of mosquitto-clients, as mosquitto_passwd is"
    commands = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (answer,) = re.findall(r"```text\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "envelope.cose").write_bytes(b"\xd2\x84envelope")
    base = transport_to(broker, tmp_path)
    transport = MqttTransport(
        base._config,
        fleet="plant-7",
        gateway_id="gw-1",
        max_message_bytes=65536,
        password=base._password,
        tls_key_file="",
        held_filters=HeldFilters(tmp_path / "filters.json"),
    )
    intake = FakeIntake()
    async with running(transport, intake):
        await until(lambda: transport.counters()["connects"])
        outputs = []
        for command in commands:
            local = command.replace("-h broker.example", f"-h 127.0.0.1 -p {broker.port}")
            assert local != command
            process = await asyncio.create_subprocess_shell(local, cwd=tmp_path, stdout=asyncio.subprocess.PIPE)
            outputs.append((await process.communicate())[0].decode())
            assert process.returncode == 0
    assert intake.payloads == [b"\xd2\x84envelope"]
    assert outputs == ["", answer]
    assert (tmp_path / "receipt.cose").read_bytes() == b"receipt of \xd2\x84envelo"
    assert [(raw.device, raw.fleet, raw.declared) for raw in intake.taken] == [("pump-7", "plant-7", Encoding.COSE)]
