"""The promise of MQTT: nothing is acknowledged before the reply, and nothing that was not acknowledged is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import mqtt_world as w
import pytest
from mqtt_world import FakeIntake, publish, running, transport_to, until
from support.mosquitto import Mosquitto

from gateway.message import Accepted, Pushback, PushbackReason, Refused, RejectReason
from gateway.transport.port import LinkState

pytestmark = pytest.mark.broker


async def test_a_message_without_a_reply_comes_again_after_a_reconnect(broker: Mosquitto, tmp_path: Path) -> None:
    silent, answering = FakeIntake(prompt=False), FakeIntake()
    async with running(transport_to(broker, tmp_path), silent):
        await publish(broker, 3)
        await until(lambda: len(silent.taken) == 3)
    async with running(transport_to(broker, tmp_path), answering):
        await until(lambda: len(answering.taken) == 3)
        await asyncio.sleep(0.2)
    assert answering.payloads == silent.payloads
    last = FakeIntake()
    async with running(transport_to(broker, tmp_path), last):
        await publish(broker, 1, first=9)
        await until(lambda: last.taken)
    assert last.payloads == [b"00000009"]


async def test_a_reply_to_a_message_of_an_old_connection_acknowledges_nothing_on_the_new_one(
    broker: Mosquitto, tmp_path: Path
) -> None:
    intake = FakeIntake(prompt=False)
    async with w.CutProxy(broker.port) as proxy:
        transport = transport_to(broker, tmp_path, port=proxy.port, keepalive_s=2)
        async with running(transport, intake):
            await publish(broker, 5)
            await until(lambda: len(intake.taken) == 5)
            proxy.cut()
            await until(lambda: len(intake.taken) == 10)
            for raw in intake.taken[:5]:
                raw.reply(Accepted(b"too late"))
            await asyncio.sleep(0.3)
            assert transport.counters()["acknowledged"] == 0
            assert transport.counters()["receipts"] == 0
            for raw in intake.taken[5:]:
                raw.reply(Accepted(b"in time"))
            await until(lambda: transport.counters()["acknowledged"] == 5)
            assert transport.status().state is LinkState.UP


async def test_a_refusal_without_a_receipt_is_acknowledged_in_silence(broker: Mosquitto, tmp_path: Path) -> None:
    intake = FakeIntake(prompt=False)
    async with running(transport_to(broker, tmp_path), intake) as transport:
        await publish(broker, 1)
        await until(lambda: intake.taken)
        intake.taken[0].reply(Refused(RejectReason.BAD_SIGNATURE))
        await until(lambda: transport.counters()["acknowledged"] == 1)
        assert transport.counters()["receipts"] == 0
    again = FakeIntake()
    async with running(transport_to(broker, tmp_path), again):
        await publish(broker, 1, first=1)
        await until(lambda: again.taken)
        assert again.payloads == [b"00000001"]


async def test_a_message_that_is_pushed_back_is_offered_again_and_holds_up_no_later_one_for_ever(
    broker: Mosquitto, tmp_path: Path
) -> None:
    intake = FakeIntake(prompt=False)
    async with running(transport_to(broker, tmp_path, receive_maximum=2), intake) as transport:
        await publish(broker, 4)
        await until(lambda: len(intake.taken) == 2)
        first, second = intake.taken
        first.reply(Pushback(PushbackReason.REGISTRY_STALE, 0))
        second.reply(Accepted(b""))
        await until(lambda: len(intake.taken) == 3)
        assert intake.taken[2].payload == first.payload
        intake.prompt = True
        intake.taken[2].reply(Accepted(b""))
        await until(lambda: transport.counters()["acknowledged"] == 4)


async def test_with_an_intake_that_never_answers_the_broker_stops_at_the_receive_maximum(
    broker: Mosquitto, tmp_path: Path
) -> None:
    intake = FakeIntake(prompt=False)
    async with running(transport_to(broker, tmp_path, receive_maximum=50), intake) as transport:
        await publish(broker, 300)
        await until(lambda: len(intake.taken) == 50)
        await asyncio.sleep(0.3)
        assert transport.counters()["received"] == 50
        intake.prompt = True
        for raw in list(intake.taken):
            raw.reply(Accepted(b""))
        await until(lambda: transport.counters()["acknowledged"] == 300)


async def test_a_backlog_larger_than_the_receive_maximum_is_taken_in_after_a_resume(
    broker: Mosquitto, tmp_path: Path
) -> None:
    """Fails where the client ends a connection whose broker forgets the receive maximum (docs/adr/0041)."""
    async with running(transport_to(broker, tmp_path), FakeIntake()):
        pass
    await publish(broker, 5000)
    intake = FakeIntake()
    async with running(transport_to(broker, tmp_path), intake) as transport:
        await until(lambda: transport.counters()["acknowledged"] == 5000)
        assert transport.counters()["connects"] == 1
    assert len(set(intake.payloads)) == 5000


async def test_a_full_intake_loses_nothing_and_keeps_the_connection_for_longer_than_the_keepalive(
    broker: Mosquitto, tmp_path: Path
) -> None:
    """The client stops reading, PINGRESPs too; neither side may take the other for dead (docs/adr/0042)."""
    async with running(transport_to(broker, tmp_path), FakeIntake()):
        pass
    await publish(broker, 700, size=60_000)
    intake = FakeIntake(prompt=False, room=10)
    transport = transport_to(broker, tmp_path, keepalive_s=2, receive_maximum=1000)
    async with running(transport, intake, up=False):
        await asyncio.sleep(9)
        assert len(intake.taken) == 10
        assert transport.counters()["connects"] == 1
        assert transport.status().state is LinkState.CONNECTING  # the SUBACK lies behind 42 MB
        intake.prompt, intake.room = True, 1 << 30
        for raw in list(intake.taken):
            raw.reply(Accepted(b""))
        await until(lambda: transport.counters()["acknowledged"] == 700)
        await until(lambda: transport.status().state is LinkState.UP)
        assert transport.counters()["connects"] == 1
    assert len(set(intake.payloads)) == 700


async def test_after_stop_intake_nothing_is_handed_over_and_replies_are_still_sent(
    broker: Mosquitto, tmp_path: Path
) -> None:
    intake = FakeIntake(prompt=False)
    transport = transport_to(broker, tmp_path)
    async with running(transport, intake):
        await publish(broker, 2)
        await until(lambda: len(intake.taken) == 2)
        transport.stop_intake()
        await publish(broker, 2, first=2)
        for raw in intake.taken:
            raw.reply(Accepted(b""))
    assert transport.counters()["acknowledged"] == 2
    assert len(intake.taken) == 2
    assert transport.status().state is LinkState.STOPPED
    again = FakeIntake()
    async with running(transport_to(broker, tmp_path), again):
        await until(lambda: len(again.taken) == 2)
    assert again.payloads == [b"00000002", b"00000003"]
