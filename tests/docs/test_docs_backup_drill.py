"""The drills of backup.md on whole gateways under load: what is lost is what came after the backup, no more."""

from __future__ import annotations

import contextlib
import json
import random
import shutil

import pytest
from kill.kill_check import assert_every_promise_is_kept
from kill.kill_world import mqtt_gateway
from support.anvil import Anvil
from support.custody import CustodyWorld, custody_gateway, until
from support.custody_check import status_where
from support.fleet import Fleet, devices
from support.mosquitto import ACCOUNTS, Mosquitto

from firmware_sim.keys import log_origin
from gateway.anchor.holds import HoldReason
from gateway.journal import open_reader
from gateway.receipt import parse
from gateway.tlog.merkle import leaf_hash

RATE = 200.0
NEW_ID = "gw-1b"

pytestmark = [pytest.mark.slow, pytest.mark.broker, pytest.mark.timeout(240)]


@pytest.fixture
def broker(tmp_path):
    started = Mosquitto(tmp_path / "broker").start()
    yield started
    started.stop()


@pytest.fixture
def records():
    return devices(20)


@pytest.fixture
async def fleet(records, broker):
    made = Fleet(records, random.Random(4), broker.port, ACCOUNTS["bench"], patience_s=3)
    yield made
    if made.published_s:
        await made.close()


@pytest.fixture
def world(tmp_path):
    with Anvil() as anvil:
        yield CustodyWorld(anvil, tmp_path / "keys")


async def answered(gateway, *words):
    """Run a command on this gateway's configuration; it has to succeed."""
    code, said = await gateway.securenet(*words, "--config", gateway.config, "--json")
    assert code == 0, said
    return json.loads(said)


def rename(gateway, **changes):
    """Write the new id into the configuration, and what else changes as text."""
    text = gateway.config.read_text().replace(f'id = "{gateway.id}"', f'id = "{NEW_ID}"', 1)
    for before, after in changes.values():
        assert before in text
        text = text.replace(before, after)
    gateway.config.write_text(text)
    gateway.id, gateway.origin = NEW_ID, log_origin(gateway.fleet, NEW_ID)


def promised(messages, origin):
    """Every place that a receipt of this log names, with the leaf hash that is promised there."""
    receipts = [parse(data) for message in messages for data in message.receipts]
    return [
        (receipt.log_index, receipt.leaf_hash)
        for receipt in receipts
        if receipt.log_index is not None and receipt.origin == origin
    ]


async def test_a_gateway_that_is_stopped_backed_up_and_moved_goes_on_as_if_nothing_had_happened(
    tmp_path, broker, records, fleet
):
    gateway = mqtt_gateway(tmp_path / "gateway", records, {"port": broker.port})
    out = tmp_path / "backup.tar"
    try:
        async with fleet.publishing(RATE):
            gateway.start()
            await gateway.ready()
            await until(lambda: fleet.receipts > 300)
            assert await gateway.stop() == 0
            made = await answered(gateway, "backup", "--out", out)
            shutil.rmtree(gateway.data)
            restored = await answered(gateway, "restore", out, "--nothing-since")
            assert restored["entries"] == made["entries"] > 300
            gateway.start()
            await gateway.ready()
            before = fleet.receipts
            await until(lambda: fleet.receipts > before + 300)
        assert await fleet.drain(60) == 0
        assert await gateway.stop() == 0
    finally:
        gateway.end()
    await assert_every_promise_is_kept(gateway, fleet.messages, random.Random(1))


async def test_when_the_disk_is_lost_under_load_exactly_what_came_after_the_backup_is_lost(
    tmp_path, broker, records, fleet
):
    gateway = mqtt_gateway(tmp_path / "gateway", records, {"port": broker.port})
    out, old_origin = tmp_path / "backup.tar", gateway.origin
    try:
        async with fleet.publishing(RATE):
            gateway.start()
            await gateway.ready()
            await until(lambda: fleet.receipts > 300)
            made = await answered(gateway, "backup", "--out", out)
            cut = made["entries"]
            await until(lambda: fleet.receipts > cut + 500)
            await gateway.kill()
            acknowledged = promised(fleet.messages, old_origin)

            shutil.rmtree(gateway.data)
            rename(gateway, mqtt=("[mqtt]\n", f'[mqtt]\nclient_id = "securenet-{gateway.id}"\n'))
            restored = await answered(gateway, "restore", out, "--new-id", NEW_ID)
            line = (await answered(gateway, "key", "show", "log"))["registry_line"]
            lines = gateway.registry.read_text().splitlines()
            gateway.registry.write_text("\n".join([json.dumps(line), *lines[1:]]) + "\n")
            gateway.start()
            await gateway.ready()
            before = fleet.receipts
            await until(lambda: fleet.receipts > before + 300)
        assert await fleet.drain(60) == 0, "what the broker still held was lost"
        assert await gateway.stop() == 0
    finally:
        gateway.end()

    assert restored["lost_from"] == cut
    (told,) = gateway.events("journal.set_aside")
    assert told["reason"] == "other-log"
    assert any(index >= cut for index, _ in acknowledged), "nothing came after the backup: the drill shows nothing"
    only_what_came_after_is_lost(gateway, fleet.messages, old_origin, cut)
    code, said = await gateway.securenet("log", "fsck", "--config", gateway.config)
    assert code == 0, said


def only_what_came_after_is_lost(gateway, messages, old_origin, cut):
    """Below the cut every promise holds in the log that was kept, behind it in the new one; no message is in both."""
    (aside,) = gateway.data.glob("set-aside-*-other-log")
    with open_reader(aside) as old:
        assert old.size() == cut
        leaves = {row.index: leaf_hash(row.entry) for row in old.entries(0, cut)}
        in_old = {message.identity for message in messages if old.find(*message.identity) is not None}
    for index, leaf in promised(messages, old_origin):
        assert leaves.get(index) == leaf if index < cut else index not in leaves, "a promise before the cut is broken"
    with gateway.reader() as reader:
        fresh = {row.index: leaf_hash(row.entry) for row in reader.entries(0, reader.size())}
        in_new = {message.identity for message in messages if reader.find(*message.identity) is not None}
    assert all(fresh.get(index) == leaf for index, leaf in promised(messages, gateway.origin))
    assert in_new
    assert not in_old & in_new, "taken twice: the replay state is lost"
    for message in messages:
        if message.identity not in in_old | in_new:
            places = [index for index, _ in promised([message], old_origin)]
            assert places, "a message is lost that nobody acknowledged"
            assert min(places) >= cut, "a message of before the backup is lost"


@contextlib.asynccontextmanager
async def anchoring(world, broker, folder, records, fleet):
    """A gateway on a chain, under load, that has anchored once."""
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
            await until(lambda: len(world.anchored(gateway)) >= 1)
            yield gateway
        assert await fleet.drain(60) == 0
        assert await gateway.stop() == 0
    finally:
        gateway.end()


async def test_an_old_backup_under_the_old_name_is_told_loudly_anchors_nothing_and_the_new_id_is_the_way_out(
    tmp_path, world, broker, records, fleet
):
    out = tmp_path / "backup.tar"
    async with anchoring(world, broker, tmp_path / "gateway", records, fleet) as gateway:
        cut = (await answered(gateway, "backup", "--out", out))["entries"]
        await until(lambda: world.anchored(gateway)[-1][0] > cut + 100)
        await gateway.kill()
        world.mine(2)
        old, spent = world.anchored(gateway), world.nonce()

        shutil.rmtree(gateway.data)
        await answered(gateway, "restore", out, "--nothing-since")  # which is not so
        gateway.start()
        await gateway.ready()
        status = await status_where(
            gateway, lambda status: (status["anchors"]["hold"] or {}).get("reason") == HoldReason.HISTORY_MISMATCH
        )
        assert any("history-mismatch" in warning for warning in status["warnings"])
        told = [event for event in gateway.events("anchor.held") if event["reason"] == HoldReason.HISTORY_MISMATCH]
        assert [event["level"] for event in told] == ["error"]
        before = fleet.receipts
        await until(lambda: fleet.receipts > before + 100)
        assert (world.anchored(gateway), world.nonce()) == (old, spent)

        assert await gateway.stop() == 0
        keystore = tmp_path / "keys" / "anchoring.json"
        keystore.rename(keystore.with_name("anchoring.json.gw-1"))
        rename(gateway)
        await answered(gateway, "key", "create", "anchoring")
        account = (await answered(gateway, "key", "show", "anchoring"))["anchoring"]["address"]
        world.anvil_call("anvil_setBalance", account, hex(10**19))
        world.register_miner(gateway, account)
        gateway.start()
        await gateway.ready()
        await until(lambda: len(world.anchored(gateway)) >= 2, 60)
    assert [each["reason"] for each in gateway.events("journal.set_aside")] == ["other-log"]
    (aside,) = gateway.data.glob("set-aside-*-other-log")
    with open_reader(aside) as reader:
        assert reader.size() >= cut
    assert not [each for each in gateway.events("anchor.held") if each["reason"] == "log-frozen"]


async def test_a_log_that_was_published_to_its_end_goes_on_under_its_name_and_is_anchored_further(
    tmp_path, world, broker, records, fleet
):
    out = tmp_path / "backup.tar"
    async with anchoring(world, broker, tmp_path / "gateway", records, fleet) as gateway:
        cut = (await answered(gateway, "backup", "--out", out))["entries"]
        await until(lambda: world.anchored(gateway)[-1][0] > cut + 100)
        assert await gateway.stop() == 0  # the last checkpoint is published: nothing is promised beyond it
        published = int((gateway.folder / "www" / "checkpoint").read_text().splitlines()[1])
        shutil.copytree(gateway.folder / "www", tmp_path / "mirror")
        shutil.rmtree(gateway.data)
        restored = await answered(gateway, "restore", out, "--tail", tmp_path / "mirror")
        assert restored["entries_without_bytes"] == published - cut
        gateway.start()
        await gateway.ready()
        anchors = len(world.anchored(gateway))
        await until(lambda: len(world.anchored(gateway)) > anchors, 60)
        status = await gateway.status()
        assert status["anchors"]["hold"] is None
    (lost,) = gateway.events("journal.entries_lost")
    assert (lost["start"], lost["end"]) == (cut, published)
    assert world.anchored(gateway)[-1][0] > published
    code, said = await gateway.securenet("log", "fsck", "--config", gateway.config)
    assert code == 0, said
    with gateway.reader() as reader:
        size = reader.size()
        leaves = [leaf for start in range(0, size, 256) for leaf in reader.leaf_hashes(start, min(size, start + 256))]
    assert all(leaves[index] == leaf for index, leaf in promised(fleet.messages, gateway.origin))
