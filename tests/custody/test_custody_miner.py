"""Step 1 of Algorithm 1 on a chain: a gateway that may not append takes nothing, says so, and loses nothing."""

from __future__ import annotations

import asyncio
import random

import pytest
from support.custody import until
from support.fleet import Fleet, devices
from support.gateway import Gateway, secret_file
from support.libcoap import coap_client
from support.mosquitto import ACCOUNTS, free_port

from gateway.message import PushbackReason

RATE = 100.0

pytestmark = [pytest.mark.slow, pytest.mark.broker, pytest.mark.timeout(180)]


def gateway_of(world, broker, folder, coap_port) -> Gateway:
    password = secret_file(folder, ACCOUNTS["gateway"])
    sections = {
        **world.sections(),
        "mqtt": {"port": broker.port, "username": "gateway", "password_file": password},
        "coap": {"host": "127.0.0.1", "port": coap_port},
        "limits": {"device_burst": 1_000_000, "mqtt_peer_burst": 1_000_000},
        "log": {"checkpoint_interval_s": 0.5},
    }
    return Gateway(folder, (), sections)


async def held_back(gateway, reason: PushbackReason) -> dict:
    """The status once it says why nothing is taken."""
    status = {}
    for _ in range(400):
        status = await gateway.status() or {}
        if any(f"({reason})" in problem for problem in status.get("problems", ())):
            return status
        await asyncio.sleep(0.05)
    raise AssertionError(f"never {reason}: {status.get('problems')} {gateway.log.read_text()[-3000:]}")


async def coap_answer(port, message) -> str:
    return (await coap_client("-m", "post", "-t", "18", "-f", message, f"coap://127.0.0.1:{port}/v1/up"))[1]


async def test_a_gateway_that_is_no_active_miner_accepts_nothing_and_takes_up_all_of_it_when_it_is(
    world, broker, tmp_path
):
    records = devices(20)
    world.fund()
    world.register_devices(records)
    coap_port = free_port()
    gateway = gateway_of(world, broker, tmp_path / "gateway", coap_port)
    fleet = Fleet(records, random.Random(4), broker.port, ACCOUNTS["bench"], patience_s=30)
    try:
        gateway.start()
        await held_back(gateway, PushbackReason.MINER_UNKNOWN)
        async with fleet.publishing(RATE):
            await asyncio.sleep(2)
            status = await held_back(gateway, PushbackReason.MINER_UNKNOWN)
            assert (status["accepted"], status["ready"], fleet.receipts) == (0, False, 0)
            assert any("securenet miner" in problem for problem in status["problems"])
            envelope = tmp_path / "envelope.cbor"
            envelope.write_bytes(next(each.envelope for each in fleet.messages if each.encoding == "cose"))
            assert "5.03" in await coap_answer(coap_port, envelope)

            world.register_miner(gateway)
            world.mine()
            await gateway.ready()
            await until(lambda: fleet.receipts >= 200)

            world.chain.suspend(gateway.id)
            await held_back(gateway, PushbackReason.MINER_SUSPENDED)
            await asyncio.sleep(0.5)
            before = fleet.receipts
            await asyncio.sleep(1)
            assert fleet.receipts == before, "a suspended miner went on"

            world.chain.reinstate(gateway.id)
            world.mine()
            await gateway.ready()
        assert await fleet.drain(60) == 0, "messages were lost"
        assert await gateway.stop() == 0
    finally:
        gateway.end()
        await fleet.close()
    told = [event["reason"] for event in gateway.events("gateway.holds_back")]
    assert told[-2:] == ["miner-unknown", "miner-suspended"]
    assert len(gateway.events("gateway.takes_in")) == 2
    with gateway.reader() as reader:
        assert reader.size() >= len(fleet.messages)


async def test_a_miner_that_is_registered_with_another_account_is_not_this_gateway(world, broker, tmp_path):
    gateway = gateway_of(world, broker, tmp_path / "gateway", free_port())
    world.register_miner(gateway, account=world.chain.stranger)
    world.mine()
    try:
        gateway.start()
        await held_back(gateway, PushbackReason.MINER_UNKNOWN)
        with gateway.reader() as reader:
            assert reader.size() == 0
    finally:
        gateway.end()


async def test_a_chain_that_was_never_reached_lets_nobody_in_and_says_which_endpoint(world, broker, tmp_path):
    gateway = gateway_of(world, broker, tmp_path / "gateway", free_port())
    world.anvil.__exit__()
    try:
        gateway.start()
        status = await held_back(gateway, PushbackReason.REGISTRY_STALE)
        await until(lambda: bool(gateway.events("chain.down")))
        status = await gateway.status()
        assert status["chain"]["state"] == "down"
        assert any("chain is down" in warning for warning in status["warnings"])
        assert len(gateway.events("chain.down")) == 1
    finally:
        gateway.end()
