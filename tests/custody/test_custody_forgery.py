"""What the chain has is not what the gateway wrote: anchoring stops, loudly, and taking messages in goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
from collections.abc import AsyncIterator

import pytest
from kill.kill_check import assert_every_promise_is_kept
from support.custody import custody_gateway, until
from support.custody_check import status_where

from gateway.anchor.holds import HoldReason
from gateway.ops.exitcodes import ExitCode
from gateway.tlog.peer import Kind

RATE = 100.0
FORGED = bytes(31) + b"\x66"

pytestmark = [pytest.mark.slow, pytest.mark.broker, pytest.mark.timeout(180)]


@contextlib.asynccontextmanager
async def anchoring(world, broker, folder, records, fleet) -> AsyncIterator:
    """A gateway under load that has anchored twice; in the end it has to have kept every promise."""
    gateway = custody_gateway(
        world,
        folder,
        broker.port,
        records,
        log={"checkpoint_interval_s": 0.5, "publish_dir": str(folder / "www")},
    )
    world.fund()
    world.register_devices(records)
    world.register_miner(gateway)
    world.block_every(1)
    try:
        gateway.start()
        await gateway.ready()
        async with fleet.publishing(RATE):
            await until(lambda: len(world.anchored(gateway)) >= 2)
            yield gateway
            await intake_goes_on(fleet)
        assert await fleet.drain(60) == 0, "messages were lost"
        assert await gateway.stop() == 0
    finally:
        gateway.end()


async def intake_goes_on(fleet) -> None:
    """New messages are answered while anchoring is held."""
    before = fleet.receipts
    await until(lambda: fleet.receipts >= before + RATE, 15)


async def held(gateway, reason: HoldReason) -> dict:
    """The status once anchoring is held for this reason; the gateway is ready, warns, and said it once and loudly."""
    status = await status_where(
        gateway, lambda status: (status["anchors"]["hold"] or {}).get("reason") == reason and status["ready"]
    )
    assert any(f"held, {reason}" in warning for warning in status["warnings"]), status["warnings"]
    told = [event for event in gateway.events("anchor.held") if event["reason"] == reason]
    assert [event["level"] for event in told] == ["error"], told
    return status


async def peers_verdict(gateway) -> tuple[int, set[str]]:
    """What anyone finds who compares the tiles that the stopped gateway published with the chain."""
    code, said = await gateway.securenet(
        "log", "verify-peer", gateway.folder / "www", "--config", gateway.config, "--finality", "1", "--json"
    )
    return code, {each["kind"] for each in json.loads(said)["findings"]}


async def test_a_second_root_of_the_same_size_freezes_the_log_and_the_gateway_says_so_and_goes_on(
    world, broker, tmp_path, records, fleet
):
    async with anchoring(world, broker, tmp_path / "gateway", records, fleet) as gateway:
        events: list[str] = []

        def strike() -> None:
            size = world.chain.latest(world.log_id(gateway))[0]
            events[:] = world.forge(gateway, size, FORGED)

        await until(lambda: "Equivocation" in events, step=strike)
        assert world.chain.latest(world.log_id(gateway))[2], "the log is not frozen"
        await held(gateway, HoldReason.LOG_FROZEN)
        spent = world.nonce()
        anchors = world.anchored(gateway)
        await asyncio.sleep(3)
        assert world.nonce() == spent, "it goes on to pay for a frozen log"
        assert world.anchored(gateway) == anchors
    await assert_every_promise_is_kept(gateway, fleet.messages, random.Random(1))
    assert FORGED not in {root for _, root in anchors}
    assert await peers_verdict(gateway) == (ExitCode.NEGATIVE, {Kind.TWO_ROOTS})


async def test_an_anchor_that_is_larger_than_the_log_is_not_taken_for_the_gateways_own(
    world, broker, tmp_path, records, fleet
):
    async with anchoring(world, broker, tmp_path / "gateway", records, fleet) as gateway:
        size = 10_000_000
        assert world.forge(gateway, size, FORGED) == ["Anchored"]
        status = await held(gateway, HoldReason.HISTORY_MISMATCH)
        assert str(size) in status["anchors"]["hold"]["detail"]
        spent = world.nonce()
        await asyncio.sleep(3)
        assert world.nonce() == spent, "it goes on to pay for a log that has another head"
        assert (await status_where(gateway, bool))["anchors"]["final_size"] < size
    await assert_every_promise_is_kept(gateway, fleet.messages, random.Random(1))
    with gateway.reader() as reader:
        assert reader.final_size() <= reader.size(), "the journal believes the forged anchor"
    assert await peers_verdict(gateway) == (ExitCode.UNTRUSTED, {Kind.WITHHELD}), "a peer cannot know who lies"


async def test_an_anchor_of_another_history_is_told_when_the_log_has_outgrown_it(
    world, broker, tmp_path, records, fleet
):
    async with anchoring(world, broker, tmp_path / "gateway", records, fleet) as gateway:
        status = await gateway.status()
        size = status["log_size"] + 300
        assert world.forge(gateway, size, FORGED) == ["Anchored"]
        await held(gateway, HoldReason.HISTORY_MISMATCH)
        status = await status_where(
            gateway,
            lambda status: (
                status["log_size"] > size + 100 and "another root" in (status["anchors"]["hold"] or {})["detail"]
            ),
        )
        assert status["ready"], json.dumps(status)
        assert (
            len(gateway.events("anchor.held"))
            == len(
                [event for event in gateway.events("anchor.held") if event["reason"] != HoldReason.HISTORY_MISMATCH]
            )
            + 1
        ), "the same hold was told twice"
    await assert_every_promise_is_kept(gateway, fleet.messages, random.Random(1))


async def test_a_journal_that_was_wiped_does_not_go_on_where_the_chain_ends(world, broker, tmp_path, records, fleet):
    gateway = custody_gateway(world, tmp_path / "gateway", broker.port, records)
    world.fund()
    world.register_devices(records)
    world.register_miner(gateway)
    world.block_every(1)
    try:
        gateway.start()
        await gateway.ready()
        async with fleet.publishing(RATE):
            await until(lambda: len(world.anchored(gateway)) >= 2)
            await gateway.kill()
            world.mine(2)
            anchors, spent = world.anchored(gateway), world.nonce()
            again = fleet.receipts

            shutil.rmtree(gateway.data)
            gateway.start()
            await gateway.ready()
            status = await held(gateway, HoldReason.HISTORY_MISMATCH)
            assert status["anchors"]["hold"]["detail"].startswith("the chain has")
            await intake_goes_on(fleet)
        assert await fleet.drain(30) == 0
        taken = fleet.receipts - again
        assert await gateway.stop() == 0
    finally:
        gateway.end()
    assert (world.anchored(gateway), world.nonce()) == (anchors, spent)
    with gateway.reader() as reader:
        assert reader.size() >= taken
        assert reader.final_size() == 0
