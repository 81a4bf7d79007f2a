"""A link comes back by itself from everything, and says in one line why it is down."""

from __future__ import annotations

import asyncio
import gc
import warnings
from pathlib import Path

import mqtt_world as w
import pytest
import structlog
from mqtt_world import DEVICE, FakeIntake, ScriptedBroker, publish, running, transport_to, until
from support.mosquitto import ACCOUNTS, Mosquitto

from gateway.message import Accepted
from gateway.transport.mqtt_link import end_tasks
from gateway.transport.mqtt_receipts import OwedReceipt
from gateway.transport.port import LinkState
from gateway.transport.subscriptions import HeldFilters

pytestmark = pytest.mark.broker


async def test_the_session_resumes_after_the_broker_restarts_and_after_we_do(
    broker: Mosquitto, tmp_path: Path
) -> None:
    silent, intake = FakeIntake(prompt=False), FakeIntake()
    with structlog.testing.capture_logs() as logs:
        async with running(transport_to(broker, tmp_path), silent) as transport:
            await publish(broker, 3)
            await until(lambda: len(silent.taken) == 3)
            broker.stop()
            await until(lambda: transport.status().state is LinkState.DOWN)
            await asyncio.sleep(0.5)
            broker.start()
            await until(lambda: transport.status().state is LinkState.UP)
            await until(lambda: len(silent.taken) == 6)
        await publish(broker, 1, first=3)
        async with running(transport_to(broker, tmp_path), intake):
            await until(lambda: len(intake.taken) == 4)
    assert [entry["event"] for entry in logs] == ["mqtt.up", "mqtt.down", "mqtt.up", "mqtt.up"]
    assert [entry.get("session_present") for entry in logs] == [False, None, True, True]
    assert logs[1]["detail"] == "the broker closed the connection without a reason"


async def test_the_house_is_told_how_long_nothing_could_come_in(broker: Mosquitto, tmp_path: Path) -> None:
    gaps: list[float | None] = []
    transport = transport_to(broker, tmp_path)
    transport._on_gap = gaps.append
    async with running(transport, FakeIntake()):
        broker.stop()
        await until(lambda: transport.status().state is LinkState.DOWN)
        await asyncio.sleep(1)
        broker.start()
        await until(lambda: transport.status().state is LinkState.UP)
    first, second = gaps
    assert first is None
    assert second is not None
    assert 1 <= second < 20


async def test_a_killed_broker_that_forgot_the_session_is_subscribed_to_anew(
    broker: Mosquitto, tmp_path: Path
) -> None:
    intake = FakeIntake()
    async with running(transport_to(broker, tmp_path), intake) as transport:
        broker.kill()
        await until(lambda: transport.status().state is LinkState.DOWN)
        for state in (broker.folder / "state").iterdir():
            state.unlink()
        broker.start()
        await until(lambda: transport.status().state is LinkState.UP)
        await publish(broker, 2)
        await until(lambda: len(intake.taken) == 2)


async def test_a_filter_of_an_earlier_configuration_is_given_up(broker: Mosquitto, tmp_path: Path) -> None:
    async with running(transport_to(broker, tmp_path, share_group="old"), FakeIntake()):
        pass
    assert HeldFilters(tmp_path / "filters.json").read() == {"$share/old/securenet/v1/f/+/up"}
    with structlog.testing.capture_logs() as logs:
        async with running(transport_to(broker, tmp_path), FakeIntake()):
            await until(lambda: any(entry["event"] == "mqtt.filters_given_up" for entry in logs))
    assert HeldFilters(tmp_path / "filters.json").read() == {"securenet/v1/f/+/up"}
    # A shared subscription that still stood would take a part of these to nobody.
    intake = FakeIntake()
    async with running(transport_to(broker, tmp_path), intake):
        await publish(broker, 10)
        await until(lambda: len(set(intake.payloads)) == 10)
        await asyncio.sleep(0.2)
        assert len(intake.payloads) == 10


async def test_two_workers_share_the_load(broker: Mosquitto, tmp_path: Path) -> None:
    one, two = FakeIntake(), FakeIntake()
    first = transport_to(broker, tmp_path, share_group="g", client_id="worker-1")
    (tmp_path / "2").mkdir()
    second = transport_to(broker, tmp_path / "2", share_group="g", client_id="worker-2")
    async with running(first, one), running(second, two):
        await publish(broker, 100)
        await until(lambda: len(one.taken) + len(two.taken) == 100)
        assert one.taken
        assert two.taken


async def test_online_and_offline_are_retained_and_the_will_speaks_for_the_dead(
    broker: Mosquitto, tmp_path: Path
) -> None:
    transport = transport_to(broker, tmp_path)
    async with w.client(broker, "monitor") as monitor:
        await monitor.subscribe(w.STATUS, qos=1)
        async with running(transport, FakeIntake()):
            assert (await w.next_message(monitor)).payload == b"online"
        assert (await w.next_message(monitor)).payload == b"offline"
        async with w.CutProxy(broker.port) as proxy:
            dying = transport_to(broker, tmp_path, port=proxy.port)
            task = asyncio.create_task(dying.run(FakeIntake()))
            assert (await w.next_message(monitor)).payload == b"online"
            proxy.abort()
            assert (await w.next_message(monitor)).payload == b"offline"
            await until(lambda: dying.counters()["connects"] == 2)
            assert (await w.next_message(monitor)).payload == b"online"
            await dying.close()
            await task
        assert (await w.next_message(monitor)).payload == b"offline"
    async with w.client(broker, "monitor", "late") as late:
        await late.subscribe(w.STATUS, qos=1)
        last = await w.next_message(late)
        assert (last.payload, last.retain) == (b"offline", True)


async def test_a_stop_while_other_settings_are_taken_up_says_offline_as_well(
    broker: Mosquitto, tmp_path: Path
) -> None:
    transport = transport_to(broker, tmp_path)
    async with w.client(broker, "monitor") as monitor:
        await monitor.subscribe(w.STATUS, qos=1)
        async with running(transport, FakeIntake()):
            assert (await w.next_message(monitor)).payload == b"online"
            changing = asyncio.create_task(transport._reconnected())
            await asyncio.sleep(0)
            await transport.close()
            await changing
        assert (await w.next_message(monitor)).payload == b"offline"


async def test_a_wrong_password_is_named_and_mended_without_a_restart(broker: Mosquitto, tmp_path: Path) -> None:
    async with running(transport_to(broker, tmp_path, password="wrong"), FakeIntake(), up=False) as transport:
        await until(lambda: transport.counters()["connect_failures"] >= 2)
        status = transport.status()
        assert status.state is LinkState.DOWN
        # mosquitto 2.0 says 0x87, newer ones 0x86.
        assert status.detail.startswith("the broker refused the connection: ")
        assert "not authorized (0x87)" in status.detail or "bad user name or password (0x86)" in status.detail
        broker.stop()
        broker._write(ACCOUNTS | {"gateway": "wrong"})
        broker.start()
        await until(lambda: transport.status().state is LinkState.UP)


async def test_a_refused_subscription_is_down_not_up_and_tried_again(tmp_path: Path) -> None:
    async with (
        ScriptedBroker(granted=0x87) as scripted,
        running(transport_to(scripted, tmp_path), FakeIntake(), up=False) as transport,
    ):
        await until(lambda: transport.counters()["connects"] >= 2)
        await until(lambda: transport.status().state is LinkState.DOWN)
        assert transport.status().detail == "the broker refused the subscription: not authorized (0x87)"
        scripted.granted = 1
        await until(lambda: transport.status().state is LinkState.UP)


async def test_a_broker_that_grants_qos_0_only_is_down_for_it_could_lose_messages(tmp_path: Path) -> None:
    async with (
        ScriptedBroker(granted=0) as scripted,
        running(transport_to(scripted, tmp_path), FakeIntake(), up=False) as transport,
    ):
        await until(lambda: transport.status().state is LinkState.DOWN)
        assert "QoS 0" in transport.status().detail


async def test_a_connection_without_a_suback_is_not_up(tmp_path: Path) -> None:
    async with (
        ScriptedBroker(granted=None) as scripted,
        running(transport_to(scripted, tmp_path), FakeIntake(), up=False) as transport,
    ):
        await until(lambda: transport.counters()["connects"] == 1)
        await asyncio.sleep(0.3)
        assert transport.status().state is LinkState.CONNECTING


async def test_what_the_broker_says_when_it_closes_is_named_by_its_code_alone(tmp_path: Path) -> None:
    async with ScriptedBroker(granted=1) as scripted:
        with structlog.testing.capture_logs() as logs:
            async with running(transport_to(scripted, tmp_path), FakeIntake()):
                scripted.disconnect(0x8E, b"\x1b[31mlook here\n")
                await until(lambda: len(logs) == 3)
    assert [entry["event"] for entry in logs] == ["mqtt.up", "mqtt.down", "mqtt.up"]
    assert logs[1]["detail"] == (
        "the broker closed the connection: session taken over; does another gateway use this client id? (0x8e)"
    )


async def test_other_settings_do_not_wait_for_receipts_that_the_broker_does_not_take(tmp_path: Path) -> None:
    intake = FakeIntake()
    async with ScriptedBroker(granted=1, room=1) as scripted:
        transport = transport_to(scripted, tmp_path)
        for _ in range(10_050):  # more than the client library keeps unconfirmed
            transport._receipts.wait(OwedReceipt(w.RECEIPT, b"receipt", None))
        async with running(transport, intake):
            await until(lambda: len(transport._receipts.waiting) < 100)
            async with asyncio.timeout(10):
                await transport.change(transport._config, password=b"other", tls_key_file="")
            assert transport.counters()["connects"] == 2
            scripted.publish(w.UP, b"one")
            await until(lambda: intake.payloads == [b"one"])
            transport._receipts.waiting.clear()  # a stop waits for the broker to take them


async def test_a_link_that_is_cut_in_silence_is_noticed_within_one_and_a_half_keepalives(
    broker: Mosquitto, tmp_path: Path
) -> None:
    intake = FakeIntake()
    async with w.CutProxy(broker.port) as proxy:
        transport = transport_to(broker, tmp_path, port=proxy.port, keepalive_s=2)
        async with running(transport, intake):
            with structlog.testing.capture_logs() as logs:
                proxy.cut()
                # 1.5 x 2 s, and as much again for a busy machine; without a keepalive it would stay up for ever.
                await until(lambda: any(entry["event"] == "mqtt.down" for entry in logs), 6)
            assert "does not answer" in logs[0]["detail"]
            await publish(broker, 3)
            await until(lambda: len(intake.taken) == 3)
            assert transport.counters()["connects"] == 2


async def test_a_broker_that_never_answers_connect_does_not_hold_up_a_stop(tmp_path: Path) -> None:
    async with ScriptedBroker(granted=1, answers_connect=False) as scripted:
        async with asyncio.timeout(10):
            async with running(transport_to(scripted, tmp_path), FakeIntake(), up=False) as transport:
                await asyncio.sleep(0.1)
                assert transport.status().state is LinkState.CONNECTING


async def test_a_stop_at_any_moment_of_connecting_leaves_no_socket_behind(tmp_path: Path) -> None:
    async with ScriptedBroker(granted=1) as scripted:
        with warnings.catch_warnings(record=True) as unclosed:
            warnings.simplefilter("always", ResourceWarning)
            for steps in range(12):
                transport = transport_to(scripted, tmp_path)
                task = asyncio.create_task(transport.run(FakeIntake()))
                for _ in range(steps):
                    await asyncio.sleep(0)
                await transport.close()
                await task
                gc.collect()
        assert [str(each.message) for each in unclosed] == []


async def test_a_task_that_swallows_one_cancellation_is_ended_all_the_same() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(60)

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await end_tasks([task])
    assert task.cancelled()


async def test_the_receive_maximum_that_we_loosen_still_stands_where_we_reach_for_it(
    broker: Mosquitto, tmp_path: Path
) -> None:
    """mqttium has no public setting for it (docs/adr/0041); this fails when a new version moves it."""
    client = transport_to(broker, tmp_path)._new_client()
    await client.connect("127.0.0.1", broker.port)
    assert client._engine.inbound._receive_maximum == 100
    await client.disconnect()


async def test_what_was_in_hand_when_the_broker_was_killed_is_lost_by_nobody(
    broker: Mosquitto, tmp_path: Path
) -> None:
    intake = FakeIntake(prompt=False)
    async with running(transport_to(broker, tmp_path), intake) as transport:
        await publish(broker, 20)
        await until(lambda: len(intake.taken) == 20)
        broker.stop()
        await until(lambda: transport.status().state is LinkState.DOWN)
        for raw in intake.taken:
            raw.reply(Accepted(b"owed to nobody"))
        broker.start()
        await until(lambda: len(intake.taken) == 40)
        assert transport.counters()["acknowledged"] == 0
        assert {raw.device for raw in intake.taken} == {DEVICE}
