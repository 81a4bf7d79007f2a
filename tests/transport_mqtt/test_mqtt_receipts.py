"""Where receipts go, and what the broker's ACL lets a device do."""

from __future__ import annotations

import asyncio
from pathlib import Path

import mqtt_world as w
import pytest
from mqtt_world import DEVICE, OTHER, RECEIPT, UP, FakeIntake, asking, next_message, running, transport_to, until
from mqttium.errors import PublishRejectedError
from support.mosquitto import Mosquitto

from gateway.message import Encoding
from gateway.transport.port import LinkState

pytestmark = pytest.mark.broker


async def test_a_receipt_goes_to_the_device_with_its_correlation_data(broker: Mosquitto, tmp_path: Path) -> None:
    intake = FakeIntake()
    async with running(transport_to(broker, tmp_path), intake), w.client(broker, DEVICE) as device:
        await device.subscribe(RECEIPT + "/#", qos=1)
        await device.publish(UP, b"m", qos=1, properties=asking(correlation_data=b"\x00\xff7"))
        message = await next_message(device)
    assert (message.topic, message.payload, message.qos, message.retain) == (RECEIPT, b"receipt of m", 1, False)
    assert message.properties.get("correlation_data") == b"\x00\xff7"
    raw = intake.taken[0]
    assert (raw.fleet, raw.device, raw.peer, raw.transport, raw.declared) == (w.FLEET, DEVICE, DEVICE, "mqtt", None)


@pytest.mark.parametrize(
    ("asked", "goes_to", "ignored"),
    [
        (RECEIPT, RECEIPT, 0),
        (RECEIPT + "/7/x", RECEIPT + "/7/x", 0),
        (RECEIPT + "s", RECEIPT, 1),
        (UP, RECEIPT, 1),
        (f"securenet/v1/f/{OTHER}/receipt", RECEIPT, 1),
        ("securenet/v1/f/gateway/gw/status", RECEIPT, 1),
    ],
)
async def test_a_response_topic_is_followed_at_or_below_the_receipt_topic_alone(
    broker: Mosquitto, tmp_path: Path, asked: str, goes_to: str, ignored: int
) -> None:
    transport = transport_to(broker, tmp_path)
    async with running(transport, FakeIntake()), w.client(broker) as watcher:
        await watcher.subscribe("securenet/v1/+/+/receipt/#", qos=1)
        await watcher.subscribe(RECEIPT + "s", qos=1)
        await watcher.publish(UP, b"m", qos=1, properties=asking(response_topic=asked))
        message = await next_message(watcher)
        assert message.topic == goes_to
        assert transport.counters()["response_topics_ignored"] == ignored


async def test_content_type_qos_0_retained_and_ill_named_messages_are_handed_over(
    broker: Mosquitto, tmp_path: Path
) -> None:
    intake = FakeIntake()
    transport = transport_to(broker, tmp_path)
    async with w.client(broker) as device:
        await device.publish(UP, b"kept", qos=1, retain=True)
        async with running(transport, intake):
            await until(lambda: intake.payloads == [b"kept"])
            await device.publish(UP, b"zero", qos=0)
            await until(lambda: len(intake.taken) == 2)
            await device.publish(UP, b"jose", qos=1, properties=asking(content_type="application/jose+json"))
            await device.publish("securenet/v1/f/" + "x" * 3000 + "/up", b"long", qos=1)
            await device.publish("securenet/v1/f//up", b"none", qos=1)
            await until(lambda: len(intake.taken) == 5)
            await until(lambda: transport.counters()["acknowledged"] == 5)
    assert intake.taken[2].declared is Encoding.JWS
    assert [raw.device for raw in intake.taken[3:]] == ["", ""]


async def test_a_receipt_that_the_broker_cannot_take_is_the_devices_loss_alone(
    broker: Mosquitto, tmp_path: Path
) -> None:
    """Correlation Data near 64 KiB and a long topic make a receipt larger than what was published."""
    broker.stop()
    conf = broker.folder / "mosquitto.conf"
    conf.write_text(conf.read_text().replace("max_packet_size 200000", "max_packet_size 60400"))
    broker.start()
    intake = FakeIntake()
    transport = transport_to(broker, tmp_path)
    async with running(transport, intake), w.client(broker) as device:
        properties = asking(correlation_data=b"c" * 60_000, response_topic=RECEIPT + "/" + "t" * 40)
        await device.publish(UP, b"", qos=1, properties=properties)
        await until(lambda: transport.counters()["acknowledged"] == 1)
        properties = asking(correlation_data=b"c" * 60_200)
        await device.publish(UP, b"", qos=1, properties=properties)
        await until(lambda: transport.counters()["acknowledged"] == 2)
        await w.publish(broker, 1)
        await until(lambda: transport.counters()["acknowledged"] == 3)
        assert transport.status().state is LinkState.UP
        assert transport.counters()["connects"] == 1
        assert transport.counters()["receipts"] + transport.counters()["receipts_dropped"] == 3


async def test_a_burst_of_receipts_is_sent_to_the_last_one(broker: Mosquitto, tmp_path: Path) -> None:
    transport = transport_to(broker, tmp_path, receive_maximum=5000)
    intake = FakeIntake(prompt=False)
    async with running(transport, intake):
        await w.publish(broker, 3000)
        await until(lambda: len(intake.taken) == 3000)
        for raw in intake.taken:
            raw.reply(w.Accepted(b"r" * 2000))
        await until(lambda: transport.counters()["acknowledged"] == 3000)
        await until(lambda: transport.counters()["receipts"] == 3000)
        assert transport.counters()["receipts_dropped"] == 0


async def test_a_device_can_neither_publish_for_another_nor_read_its_receipts(
    broker: Mosquitto, tmp_path: Path
) -> None:
    intake = FakeIntake()
    async with (
        running(transport_to(broker, tmp_path), intake),
        w.client(broker, DEVICE) as device,
        w.client(broker, OTHER) as other,
        w.client(broker, "monitor") as monitor,
    ):
        await other.subscribe([f"securenet/v1/+/{DEVICE}/receipt/#", UP, "securenet/v1/f/+/up", "#"], qos=1)
        await monitor.subscribe("#", qos=1)
        for topic in (UP, RECEIPT, w.STATUS, f"securenet/v1/f/{OTHER}/receipt"):
            async with w.client(broker, OTHER, "forger") as forger:  # mosquitto 2.0.11 closes at the second refusal
                receipt = await forger.publish(topic, b"forged", qos=1)
                with pytest.raises(PublishRejectedError):
                    await receipt.wait()
        await device.subscribe(RECEIPT, qos=1)
        await device.publish(UP, b"honest", qos=1)
        assert (await next_message(device)).payload == b"receipt of honest"
        assert (await next_message(monitor)).topic == w.STATUS
        with pytest.raises(TimeoutError):
            await next_message(other, 0.5)
        with pytest.raises(TimeoutError):
            await next_message(monitor, 0.2)
    assert intake.payloads == [b"honest"]
    await asyncio.sleep(0)


async def test_receipts_that_no_broker_confirmed_are_sent_again_on_the_next_connection(
    broker: Mosquitto, tmp_path: Path
) -> None:
    """Their messages are acknowledged, so the broker would not send those again (docs/adr/0043)."""
    intake = FakeIntake(prompt=False)
    expected = {b"receipt of %08d" % number for number in range(1500)}
    async with w.CutProxy(broker.port) as proxy, w.client(broker, name="listener") as device:
        await device.subscribe(RECEIPT, qos=1)
        transport = transport_to(broker, tmp_path, port=proxy.port, keepalive_s=2, receive_maximum=2000)
        async with running(transport, intake):
            await w.publish(broker, 1500)
            await until(lambda: len(intake.taken) == 1500)
            proxy.deafen()
            for raw in intake.taken:
                raw.reply(w.Accepted(b"receipt of " + raw.payload))
            await until(lambda: transport.counters()["connects"] == 2)
            got: set[bytes] = set()
            async with asyncio.timeout(20):
                async for message in device.messages():
                    got.add(message.payload)
                    if got == expected:
                        break
            assert len(intake.taken) == 1500  # the broker sent nothing again: every PUBACK had reached it
            assert transport.counters()["receipts_again"] > 1500 - 1024
            assert transport.counters()["receipts_dropped"] == 0


async def test_a_receipt_that_the_broker_refuses_counts_as_dropped(broker: Mosquitto, tmp_path: Path) -> None:
    acl = broker.folder / "acl"
    acl.write_text(acl.read_text().replace("topic write securenet/v1/+/+/receipt/#\n", ""))
    broker.stop()
    broker.start()
    transport = transport_to(broker, tmp_path)
    async with running(transport, FakeIntake()):
        await w.publish(broker, 1)
        await until(lambda: transport.counters()["acknowledged"] == 1)
        await asyncio.sleep(0.3)
        await w.publish(broker, 1, first=1)
        await until(lambda: transport.counters()["receipts_dropped"] >= 1)
