"""Anchoring against anvil: a real journal, a real client, real blocks."""

from dataclasses import replace

from anchor_world import SOON, World


async def test_a_checkpoint_is_sealed_signed_sent_mined_and_final(world):
    await world.grow(5)
    await world.look()
    assert await world.states() == ["broadcast"]
    await world.look()
    assert await world.states() == ["mined"]
    await world.look(3)
    assert await world.states() == ["mined"]
    await world.settle()
    assert await world.states() == ["final"]
    await world.assert_custody()
    status = world.anchoring.status()
    assert (status.final_size, status.unanchored, status.transactions) == (5, 0, 1)
    assert "size 5 is final; the next anchor is sealed when the log grows" in status.state


async def test_further_anchors_wait_for_the_interval_and_cover_what_came(world):
    await world.anchor(5)
    await world.grow(3)
    await world.look()
    assert "the next anchor is sealed in" in world.anchoring.status().state
    assert len(await world.rows()) == 1
    await world.anchor(300)
    await world.settle()
    assert [row.size for row in await world.rows()] == [5, 308]
    await world.assert_custody()


async def test_a_stuck_transaction_is_replaced_by_the_newest_checkpoint_under_the_same_nonce(world):
    first = await world.send_without_a_block()
    await world.grow(4)
    world.node.next_base_fee(50)
    world.node.mine()  # a block that could have had it, were its fee not too low
    world.advance(2)
    await world.look()
    assert await world.states() == ["broadcast"]  # not yet
    world.advance(4)
    await world.look()
    assert await world.states() == ["replaced", "broadcast"]
    second = (await world.rows())[1]
    assert (second.nonce, second.size) == (first.nonce, 9)
    assert second.max_fee_wei >= first.max_fee_wei * 1.125
    assert second.priority_fee_wei >= first.priority_fee_wei * 1.125
    world.node.mine()
    await world.look()
    assert await world.states() == ["replaced", "mined"]
    world.node.mine(3)
    await world.look()
    assert await world.states() == ["superseded", "final"]
    await world.assert_custody()


async def test_a_chain_that_makes_no_blocks_is_not_bid_more(world):
    await world.send_without_a_block()
    world.advance(600)
    await world.look(3)
    assert await world.states() == ["broadcast"]
    world.node.mine()
    await world.settle()
    await world.assert_custody()


async def test_whichever_attempt_is_mined_counts(world):
    first = await world.send_without_a_block()
    await world.grow(4)
    world.node.drop(first)
    world.node.mine()
    await world.look()  # forgotten: sent again, the same bytes
    world.node.mine()
    await world.look()
    assert [(row.state, row.tx_hash) for row in await world.rows()] == [("mined", first.tx_hash)]
    world.advance(11)
    await world.look()
    world.node.mine()
    await world.settle()
    assert [row.size for row in await world.rows()] == [5, 9]
    await world.assert_custody()


async def test_an_older_attempt_that_wins_leaves_the_rest_to_the_next_anchor(world):
    first = await world.send_without_a_block()
    await world.grow(4)
    world.node.next_base_fee(50)
    world.node.mine()
    world.advance(6)
    await world.look()
    second = (await world.rows())[1]
    assert second.size == 9
    world.node.drop(second)
    world.node.next_base_fee(1)
    world.node.ask("eth_sendRawTransaction", "0x" + first.raw.hex())
    world.node.next_base_fee(1)
    world.node.mine()
    await world.look()
    assert await world.states() == ["mined", "broadcast"]
    world.advance(11)
    await world.look()
    world.node.mine()
    await world.settle()
    assert await world.states() == ["final", "superseded", "final"]
    assert [event.size for event in await world.events()] == [5, 9]


async def test_a_nonce_taken_by_another_program_is_told_and_the_log_is_sealed_anew(world):
    ours = await world.send_without_a_block()
    world.node.drop(ours)
    world.let_another_program_use(ours.nonce)
    world.node.mine()
    world.advance(2)
    await world.look()
    assert await world.states() == ["displaced", "broadcast"]
    rows = await world.rows()
    assert [row.nonce for row in rows] == [0, 1]
    assert "another program uses the anchoring account" in rows[0].detail
    world.node.mine()
    await world.settle()
    assert await world.states() == ["abandoned", "final"]
    assert [event.size for event in await world.events()] == [5]


async def test_without_funds_it_waits_and_says_how_much_is_missing(world):
    world.node.fund(world.key.address, 1000)
    await world.grow(5)
    await world.look(3)
    status = world.anchoring.status()
    assert world.hold == "out-of-funds"
    assert f"0x{world.key.address.hex()} has 1000 wei" in status.state
    assert await world.states() == ["sealed"]
    await world.grow(5)
    world.node.fund(world.key.address, 10**18)
    await world.look()
    assert world.hold is None
    await world.settle()
    assert [row.size for row in await world.rows()] == [10]  # one anchor for all that came meanwhile
    await world.assert_custody()


async def test_gas_above_the_cap_is_waited_for(node, tmp_path):
    config = replace(SOON, max_fee_gwei=20.0)
    async with World(node, tmp_path / "data", config=config).register() as world:
        node.next_base_fee(30)
        node.mine()
        await world.grow(5)
        await world.look(2)
        assert world.hold == "fee-capped"
        assert "anchor.max_fee_gwei is 20" in world.anchoring.status().state
        node.next_base_fee(3)
        node.mine()
        await world.settle()
        assert world.hold is None
        await world.assert_custody()


async def test_a_replacement_above_the_cap_is_not_sent_and_the_first_bid_stands(node, tmp_path):
    config = replace(SOON, max_fee_gwei=20.0)
    async with World(node, tmp_path / "data", config=config).register() as world:
        node.automine(False)
        await world.grow(5)
        await world.look()
        node.next_base_fee(40)
        node.mine()
        world.advance(6)
        await world.look(2)
        assert (world.hold, await world.states()) == ("fee-capped", ["broadcast"])
        node.next_base_fee(1)
        node.mine()
        await world.look()
        assert world.hold is None
        await world.settle()
        await world.assert_custody()


async def test_legacy_transactions_where_the_configuration_wants_them(node, tmp_path):
    config = replace(SOON, legacy_gas="always")
    async with World(node, tmp_path / "data", config=config).register() as world:
        await world.anchor(5)
        row = (await world.rows())[0]
        assert row.priority_fee_wei is None
        sent = node.web3.eth.get_transaction(row.tx_hash)
        assert (sent["type"], sent["chainId"]) == (0, 31337)
        await world.settle()
        await world.assert_custody()


async def test_a_miner_that_is_not_active_anchors_nothing_until_it_is(world):
    world.node.chain.suspend(world.name)
    await world.grow(5)
    await world.look(2)
    assert world.hold == "miner-not-active"
    assert world.node.nonce(world.key.address) == 0  # asked first: no gas was spent
    world.node.chain.reinstate(world.name)
    await world.settle()
    assert world.hold is None
    await world.assert_custody()


async def test_a_transaction_that_reverts_is_told_with_the_contracts_reason_and_sealed_anew(world):
    sent = await world.send_without_a_block()
    world.node.drop(sent)
    world.node.automine(True)
    world.node.chain.suspend(world.name)
    await world.look(2)
    row = (await world.rows())[0]
    assert row.state == "reverted"
    assert "is not that of this log's active miner" in row.detail
    world.node.chain.reinstate(world.name)
    world.advance(11)
    await world.look()
    await world.settle()
    assert await world.states() == ["failed", "final"]
    await world.assert_custody()


async def test_anchor_now_does_not_wait_for_the_interval(world):
    await world.anchor(5)
    await world.grow(1)
    await world.look()
    assert len(await world.rows()) == 1
    world.anchoring.wake()
    await world.look()
    assert [row.size for row in await world.rows()] == [5, 6]
    await world.settle()
    await world.assert_custody()


async def test_a_restart_goes_on_with_the_same_bytes(world):
    before = await world.send_without_a_block()
    world.node.drop(before)
    await world.reopen()
    await world.look(2)
    assert await world.rows() == [before]
    world.node.mine()
    await world.settle()
    await world.assert_custody()
