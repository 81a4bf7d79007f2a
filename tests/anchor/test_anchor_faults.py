"""Endpoints that fail, lie and are away while anchoring is under way: nothing is lost, nothing is done twice."""

import pytest
from anchor_world import World
from support.contracts_kit import Gateway
from support.scripted_rpc import Answer, Change, HangUp, ScriptedRpc, Status, Times
from web3 import Web3

from gateway.chain.port import ChainError
from gateway.crypto.anchoring_key import AnchoringKey

METHODS = (
    "eth_getTransactionCount",
    "eth_getTransactionReceipt",
    "eth_getTransactionByHash",
    "eth_getBlockByNumber",
    "eth_getBalance",
    "eth_gasPrice",
    "eth_call",
    "eth_estimateGas",
    "eth_sendRawTransaction",
)


@pytest.fixture
def rpc(node):
    with ScriptedRpc(node.url) as made:
        yield made


@pytest.fixture
async def world(node, rpc, tmp_path):
    async with World(node, tmp_path / "data", url=rpc.url, timeout_s=0.5).register() as made:
        yield made


async def try_to_look(world):
    """Look; after a fault come again when the endpoint has rested."""
    try:
        await world.look()
    except ChainError:
        world.clock.ahead_s += 100


async def settle(world):
    for _ in range(20):
        await try_to_look(world)
        world.node.mine(2)
        world.advance(11)
        if world.anchoring.status().final_size == world.journal.size():
            return
    raise AssertionError(await world.rows())


@pytest.mark.parametrize("method", METHODS)
async def test_an_endpoint_that_fails_at_any_question_is_asked_again(world, rpc, method):
    await world.grow(5)
    for fault in (Times(1, HangUp()), Times(2, Status(503)), Times(1, Answer("garbage"))):
        rpc.faults[method] = fault
        for _ in range(4):
            await try_to_look(world)
            world.node.mine()
        await world.grow(2)
        world.advance(11)
    rpc.faults.clear()
    await settle(world)
    await settle(world)
    await world.assert_custody()


async def test_an_answer_that_was_lost_on_the_way_is_found_by_its_hash(world, rpc):
    await world.grow(5)
    rpc.faults["eth_sendRawTransaction"] = Times(1, Change(lambda params, result: "0x00"))
    with pytest.raises(ChainError):
        await world.look()
    assert await world.states() == ["signed"]  # and it is mined already
    world.clock.ahead_s += 100
    await world.look()
    assert await world.states() == ["mined"]
    await settle(world)
    await world.assert_custody()


async def test_a_chain_that_was_away_while_the_log_grew_gets_one_anchor_for_all_of_it(world, rpc):
    await world.anchor(5)
    await settle(world)
    rpc.down()
    for _ in range(20):
        await world.grow(100)
        world.advance(30)
        with pytest.raises(ChainError) as fault:
            await world.look()
        world.anchoring.unavailable(str(fault.value))
        assert await world.states() == ["final"]
    assert world.hold == "chain-unavailable"
    assert "nothing is lost meanwhile" in world.anchoring.status().state
    rpc.up()
    world.clock.ahead_s += 100
    await settle(world)
    assert world.hold is None
    assert [event.size for event in await world.events()] == [5, 2005]
    await world.assert_custody()


async def test_a_receipt_that_lies_about_its_status_is_found_out_when_its_block_is_final(world, rpc):
    await world.grow(5)
    await world.look()
    rpc.faults["eth_getTransactionReceipt"] = Times(2, Change(lambda params, result: {**result, "status": "0x0"}))
    await world.look(2)
    assert await world.states() == ["reverted"]
    rpc.faults.clear()
    world.advance(11)
    await settle(world)
    assert [event.size for event in await world.events()] == [5]
    assert [row.state for row in await world.rows()] == ["final"]


async def test_a_lie_about_the_log_holds_anchoring_until_it_is_over(world, rpc):
    await world.anchor(5)
    await settle(world)
    await world.grow(5)
    world.advance(11)
    rpc.faults["eth_call"] = Change(lambda params, result: "0x" + f"{900:064x}" + 64 * "1" + f"{0:064x}")
    await world.look(2)
    assert world.hold == "history-mismatch"
    rpc.faults.clear()
    await settle(world)
    assert world.hold is None
    await world.assert_custody()


async def test_the_same_fault_is_told_once(world, rpc, capsys):
    world.node.fund(world.key.address, 0)
    await world.grow(5)
    await world.look(5)
    world.node.fund(world.key.address, 10**18)
    await world.look()
    said = capsys.readouterr().out
    assert said.count("anchor.held") == said.count("anchor.resumed") == 1


async def test_another_contract_in_the_configuration_ends_what_was_for_the_one_before(node, tmp_path):
    async with World(node, tmp_path / "data").register() as world:
        node.automine(False)
        await world.grow(5)
        await world.look()
        node.automine(True)
        another = node.chain.deploy("AnchorLog", node.chain.registry.address)
        world.contract = bytes.fromhex(another.address[2:])
        await world.reopen()
        await world.look()
        await world.settle()
        assert await world.states() == ["abandoned", "final"]
        assert [event.size for event in await world.events()] == [5]


async def test_a_renewed_account_goes_on_where_the_one_before_ended(node, tmp_path):
    async with World(node, tmp_path / "data").register() as world:
        await world.anchor(5)
        node.automine(False)
        await world.grow(3)
        world.advance(11)
        await world.look()
        waiting = (await world.rows())[-1]
        node.drop(waiting)
        node.automine(True)
        world.key = AnchoringKey((5000).to_bytes(32, "big"))
        account = Web3.to_checksum_address(world.key.address)
        node.chain.renew_miner(Gateway(world.name, account, number=900))
        node.fund(world.key.address, 10**19)
        await world.grow(3)
        await world.reopen()
        world.advance(11)
        await world.look()
        await world.settle()
        states = [(row.size, row.state) for row in await world.rows()]
        assert states == [(5, "final"), (8, "failed"), (11, "final")]
        assert [event.size for event in await world.events()] == [5, 11]


async def test_a_chain_whose_blocks_have_no_base_fee_gets_legacy_transactions(world, rpc):
    def without(params, block):
        return {name: value for name, value in block.items() if name != "baseFeePerGas"} if block else block

    rpc.faults["eth_getBlockByNumber"] = Change(without)
    await world.anchor(5)
    row = (await world.rows())[0]
    assert row.priority_fee_wei is None
    assert world.node.web3.eth.get_transaction(row.tx_hash)["type"] == 0
    await settle(world)
    await world.assert_custody()


async def test_a_nonce_that_was_too_high_by_a_thousand_costs_one_transaction_and_stops_nothing(world, rpc):
    await world.grow(5)
    rpc.faults["eth_getTransactionCount"] = Change(lambda params, result: hex(int(result, 16) + 1000))
    await world.look()
    rpc.faults.clear()
    assert [row.nonce for row in await world.rows()] == [1000]
    world.node.mine()
    await world.look()
    assert world.hold == "nonce-gap"
    await settle(world)
    await world.grow(5)
    await settle(world)
    assert [event.size for event in await world.events()] == [5, 10]
    states = [(row.nonce, row.state) for row in await world.rows()]
    assert states == [(1000, "superseded"), (0, "final"), (1, "final")]
    await world.assert_custody()


async def test_a_receipt_with_a_price_that_no_journal_holds_is_a_fault_and_no_end(world, rpc):
    await world.grow(5)
    await world.look()
    rpc.faults["eth_getTransactionReceipt"] = Change(
        lambda params, result: {**result, "effectiveGasPrice": hex(2**63)}
    )
    with pytest.raises(ChainError, match="the gas price has more than 63 bits"):
        await world.look()
    rpc.faults.clear()
    world.clock.ahead_s += 100
    await settle(world)
    await world.assert_custody()
