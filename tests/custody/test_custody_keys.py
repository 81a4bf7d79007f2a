"""Keys are replaced under load: what waits meanwhile is taken up, and each key is good for what it signed."""

from __future__ import annotations

import json
import random

import pytest
from support.custody import custody_gateway, until
from support.custody_check import (
    anchored_to_the_end,
    assert_proven_on_the_chain,
    assert_the_chain_agrees,
    status_where,
)

from gateway.crypto.keys import parse_public_key
from gateway.message import Alg, PushbackReason
from gateway.receipt import parse, verify_receipt
from gateway.tlog.entry import KeyEntry, parse_entry
from gateway.tlog.tiles import root_at

RATE = 100.0

pytestmark = [pytest.mark.slow, pytest.mark.broker, pytest.mark.timeout(240)]


@pytest.fixture
def gateway(world, broker, tmp_path, records):
    made = custody_gateway(world, tmp_path / "gateway", broker.port, records)
    world.fund()
    world.register_devices(records)
    world.register_miner(made)
    world.block_every(1)
    yield made
    made.end()


async def rotate(gateway, which: str, *more: str) -> dict:
    code, said = await gateway.securenet("key", "rotate", which, *more, "--json", "--config", gateway.config)
    assert code == 0, said
    return json.loads(said)


def held_back(reason: PushbackReason):
    return lambda status: any(f"({reason})" in problem for problem in status["problems"])


async def test_the_log_key_is_replaced_without_losing_a_message(world, gateway, fleet):
    rng = random.Random(3)
    gateway.start()
    await gateway.ready()
    async with fleet.publishing(RATE):
        await until(lambda: len(world.anchored(gateway)) >= 2)
        begun = await rotate(gateway, "log")
        new_key = bytes.fromhex(begun["public_key"].removeprefix("0x"))
        assert (await gateway.ready())["ready"], "the first step alone changes nothing"

        world.renew_miner(gateway, log_key=new_key)
        await status_where(gateway, held_back(PushbackReason.MINER_UNKNOWN))
        waiting = fleet.open_count
        await until(lambda: fleet.open_count >= waiting + 2 * RATE)

        await rotate(gateway, "log", "--finish")
        assert await gateway.stop() == 0
        before = len(world.anchored(gateway))
        gateway.start()
        await gateway.ready()
        await until(lambda: len(world.anchored(gateway)) >= before + 2)
    assert await fleet.drain(60) == 0, "messages were lost"
    await anchored_to_the_end(gateway)
    assert await gateway.stop() == 0

    old, new = gateway.log_key, parse_public_key(Alg.ED25519, new_key)
    with gateway.reader() as reader:
        assert reader.log_key() == new_key
        told = [
            (row.index, entry)
            for row in reader.entries(0, reader.size())
            if isinstance(entry := parse_entry(row.entry), KeyEntry)
        ]
        ((at, entry),) = told
        first, last = (reader.find(*fleet.messages[number].identity) for number in (0, -1))
    assert (entry.old_key, entry.new_key) == (old.data, new_key)
    assert first is not None
    assert last is not None
    assert first < at < last
    for message in fleet.messages:
        (data,) = message.receipts
        receipt = parse(data)
        assert receipt.log_index is not None, receipt.reason
        assert verify_receipt(receipt, old if receipt.log_index < at else new, gateway.origin)
    assert_the_chain_agrees(world, gateway)
    await assert_proven_on_the_chain(world, gateway, rng.randrange(at + 1, last))


@pytest.mark.parametrize("renewed_first", [True, False], ids=["the-old-one-reverts", "the-old-one-is-mined"])
async def test_the_anchoring_account_is_replaced_while_its_last_transaction_waits(
    world, gateway, fleet, renewed_first
):
    gateway.start()
    await gateway.ready()
    async with fleet.publishing(RATE):
        await until(lambda: len(world.anchored(gateway)) >= 2)
        begun = await rotate(gateway, "anchoring")
        world.anvil_call("anvil_setBalance", begun["address"], hex(10**19))
        world.block_when_told()
        await until(lambda: any(row.state == "broadcast" for row in open_rows(gateway)))

        old_nonce = world.nonce()
        waiting = [row for row in open_rows(gateway) if row.state == "broadcast"]
        assert await gateway.stop() == 0
        if renewed_first:
            world.anvil_call("anvil_dropAllTransactions")
            world.block_each()
        else:
            world.mine()
            world.block_each()
        world.renew_miner(gateway, account=begun["address"])
        await rotate(gateway, "anchoring", "--finish")
        world.block_every(1)
        gateway.start()
        status = await gateway.ready()
        assert status["anchors"]["account"] == begun["address"].lower()
        await until(lambda: sum(each.account == begun["address"] for each in world.on_chain(gateway)) >= 2)
    assert await fleet.drain(60) == 0, "messages were lost"
    status = await anchored_to_the_end(gateway)
    assert status["anchors"]["hold"] is None
    assert await gateway.stop() == 0
    (row,) = waiting
    late = [each for each in world.on_chain(gateway) if each.tx_hash == row.tx_hash]
    assert bool(late) is not renewed_first, "what became of the old account's last transaction?"
    assert world.nonce() <= old_nonce + 1, "the old account went on"
    with gateway.reader() as reader:
        assert reader.open_anchors() == []
        roots = {each.size: each.root == root_at(reader, each.size) for each in world.on_chain(gateway)}
    assert all(roots.values()), roots


def open_rows(gateway) -> list:
    with gateway.reader() as reader:
        return reader.open_anchors()
