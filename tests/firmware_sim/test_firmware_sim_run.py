"""A whole run: the fleet, a real broker, and a fake gateway."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import time
from contextlib import asynccontextmanager

import pytest
from firmware_sim_fake_gateway import FakeCoapServer, FakeGateway

from firmware_sim import mqtt_packets
from firmware_sim.carriers import CarrierError, MqttOptions
from firmware_sim.coap_link import parse_address
from firmware_sim.conformance import ConformanceOptions, run_kit
from firmware_sim.fleet import Fleet, RunOptions
from firmware_sim.keys import LogKey, generate
from firmware_sim.mqtt_link import BrokerAddress, MqttLink, Publication
from firmware_sim.receipt import ReceiptVerifier
from firmware_sim.report import Recorder
from firmware_sim.scenarios import KIT_ROLES, SCENARIOS

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
pytestmark = pytest.mark.broker


@pytest.fixture
def broker_port():
    if MOSQUITTO is None:
        if os.environ.get("CI") == "true":
            pytest.fail("mosquitto is not installed")
        pytest.skip("mosquitto is not installed")
    return free_port()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Broker:
    def __init__(self, port, folder):
        self.port = port
        self.config = folder / "mosquitto.conf"
        self.config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [MOSQUITTO, "-c", str(self.config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        pytest.fail("mosquitto did not start")

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def broker(broker_port, tmp_path):
    running = Broker(broker_port, tmp_path)
    running.start()
    yield running
    running.kill()


@asynccontextmanager
async def fake_gateway(keys, port):
    gateway = FakeGateway(keys)

    def on_delivery(delivery):
        answer = gateway.on_mqtt(delivery.topic, delivery.payload)
        if answer is not None:
            link.publish(Publication(answer[0], answer[1], None, correlation=delivery.correlation))

    link = MqttLink(
        BrokerAddress("127.0.0.1", port),
        mqtt_packets.ConnectOptions("gateway"),
        [f"securenet/v1/{keys.fleet}/+/up"],
        lambda _token, _code: None,
        on_delivery,
    )
    task = asyncio.create_task(link.run())
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: FakeCoapServer(gateway), local_addr=("127.0.0.1", 0))
    gateway.coap = parse_address("127.0.0.1:{}".format(transport.get_extra_info("sockname")[1]))
    async with asyncio.timeout(10):
        await link.connected.wait()
    try:
        yield gateway
    finally:
        link.stop()
        transport.close()
        await task
        await asyncio.sleep(0)


def keys_of(count):
    return generate("villa", count, (*SCENARIOS, *KIT_ROLES), 4, b"test")


async def run_fleet(gateway, port, tmp_path, **options):
    record = tmp_path / "record.jsonl"
    mqtt = MqttOptions("127.0.0.1", port, connections=options.pop("connections", "shared"))
    defaults = {"rate": 200, "duration_s": 3, "coap": gateway.coap, "drain_s": 8, "mqtt": mqtt}
    with Recorder(record) as recorder:
        fleet = Fleet(
            RunOptions(**{**defaults, **options}),
            gateway.keys,
            ReceiptVerifier(LogKey(gateway.log_key.public_key, gateway.origin)),
            recorder,
        )
        await fleet.run()
    return fleet.report(), [json.loads(line) for line in record.read_text().splitlines()]


async def test_every_scenario_gets_what_it_expects_over_both_transports(broker, tmp_path):
    async with fake_gateway(keys_of(24), broker.port) as gateway:
        report, records = await run_fleet(
            gateway, broker.port, tmp_path, scenarios=tuple(SCENARIOS), coap_share=0.5, hostile_share=0.5, rate=150
        )
    assert report["honest_rejected"] == report["hostile_accepted"] == report["receipts_bad"] == 0
    assert report["unanswered"] == report["unexpected"] == 0, report["by_scenario"]
    assert set(SCENARIOS) <= set(report["by_scenario"])
    assert report["sent"] == len(records)
    assert report["rejected"]["sequence-reused"] > 0
    assert report["duplicates"] > 0
    assert {"mqtt", "coap"} == {row["via"] for row in records}
    honest = [row for row in records if row["kind"] == "honest"]
    assert all(row["acked_ms"] >= row["sent_ms"] and row["receipt"] for row in honest)
    assert all(row["expected"] == ["accepted"] for row in honest)


async def test_each_device_may_have_a_connection_of_its_own(broker, tmp_path):
    async with fake_gateway(keys_of(12), broker.port) as gateway:
        report, _ = await run_fleet(
            gateway, broker.port, tmp_path, connections="device", coap_share=0, scenarios=("cloned",), duration_s=1
        )
    assert report["honest_sent"] > 0
    assert report["unanswered"] == report["unexpected"] == 0


async def test_what_the_broker_lost_is_sent_again_in_the_same_bytes(broker, tmp_path):
    async def kill_and_restart():
        await asyncio.sleep(1)
        broker.kill()
        await asyncio.sleep(0.5)
        await asyncio.to_thread(broker.start)

    async with fake_gateway(keys_of(12), broker.port) as gateway:
        killer = asyncio.create_task(kill_and_restart())
        report, _ = await run_fleet(
            gateway, broker.port, tmp_path, coap_share=0, duration_s=4, resend_after_s=1.0, drain_s=20
        )
        await killer
    assert report["reconnects"] > 0
    assert report["unanswered"] == report["honest_rejected"] == report["receipts_bad"] == 0
    assert len(gateway.identities) == report["honest_sent"]


async def test_silence_of_the_gateway_is_reported_as_unanswered(broker, tmp_path):
    async with fake_gateway(keys_of(6), broker.port) as gateway:
        gateway.deaf = True
        report, records = await run_fleet(gateway, broker.port, tmp_path, coap_share=0, duration_s=0.5, drain_s=0.5)
    assert report["unanswered"] == report["sent"] > 0
    assert report["acknowledged"] == report["sent"]
    assert all(row["receipt"] is None and row["acked_ms"] for row in records)


async def test_a_broker_that_is_not_there_is_named(broker_port, tmp_path):
    keys = keys_of(2)
    fleet = Fleet(
        RunOptions(rate=1, duration_s=1, mqtt=MqttOptions("127.0.0.1", broker_port)),
        keys,
        ReceiptVerifier(LogKey(bytes(32), None)),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("firmware_sim.carriers.MqttCarrier.start.__defaults__", (0.5,))
        with pytest.raises(CarrierError, match=f"mqtt://127.0.0.1:{broker_port}"):
            await fleet.run()


async def test_the_kit_passes_what_the_fake_gets_right_and_fails_what_it_gets_wrong(broker):
    keys = keys_of(300)
    async with fake_gateway(keys, broker.port) as gateway:
        verifier = ReceiptVerifier(LogKey(gateway.log_key.public_key, gateway.origin))

        async def kit(only):
            options = ConformanceOptions(MqttOptions("127.0.0.1", broker.port), gateway.coap, only, quiet_s=0.5)
            return await run_kit(options, keys, verifier, lambda _text: None)

        window = await kit("cose/window")
        assert window["failed"] == 0, window["failures"]
        assert window["passed"] > 40
        replays = await kit("cose/replay")
        assert replays["failed"] == 0, replays["failures"]
        # The fake reads unprotected headers and does not mind them: the kit must see that on both transports.
        sloppy = await kit("cose/envelope/unprotected kid")
        assert sloppy["failed"] == 2
        assert {tuple(row["outcome"]) for row in sloppy["failures"]} == {("accepted",), ("receipt accepted",)}


async def test_a_gateway_that_skips_signatures_is_found_out(broker, tmp_path, monkeypatch):
    monkeypatch.setattr("firmware_sim_fake_gateway.holds", lambda _key, _opened: True)
    async with fake_gateway(keys_of(8), broker.port) as gateway:
        report, _ = await run_fleet(
            gateway, broker.port, tmp_path, scenarios=("forged", "tampered"), hostile_share=0.5, rate=40, duration_s=2
        )
    for name in ("forged", "tampered"):
        row = report["by_scenario"][name]
        assert row["outcomes"] == {"accepted": row["sent"]}
    assert report["hostile_accepted"] == report["unexpected"] > 0
