"""Blocks that vanish: what was mined comes back, once, and nothing was called final too early."""

import pytest
from anchor_world import Node, World

from gateway.journal import open_reader


def final_size(world):
    with open_reader(world.directory) as reader:
        return reader.final_size()


@pytest.fixture
def node():
    """A node for each test: a reorg below a snapshot is the snapshot's end."""
    with Node() as made:
        yield made


@pytest.fixture
async def patient(node, tmp_path):
    """A world whose blocks are final under ten others."""
    async with World(node, tmp_path / "data", finality="confirmations", confirmations=10).register() as made:
        node.mine(10)  # the contracts and the registration are out of the reorgs' reach
        yield made


async def test_a_reorg_of_one_block_after_mined(patient):
    world = patient
    await world.anchor(5)
    assert await world.states() == ["mined"]
    before = (await world.rows())[0]
    world.node.automine(False)
    world.node.ask("anvil_reorg", 1, [])
    await world.look()
    assert final_size(world) == 0
    row = (await world.rows())[0]
    assert (row.state, row.raw) == ("broadcast", before.raw)  # sent again, the same bytes
    world.node.mine()
    await world.look()
    assert await world.states() == ["mined"]
    await world.settle()
    await world.assert_custody()


async def test_a_reorg_of_eight_blocks_takes_three_anchors_back_and_all_return_in_order(patient):
    world = patient
    for _ in range(3):
        await world.anchor(4)
        world.node.mine()
    assert await world.states() == ["mined"] * 3
    before = [row.tx_hash for row in await world.rows()]
    world.node.automine(False)
    world.node.ask("anvil_reorg", 8, [])
    await world.look()
    assert await world.states() == ["broadcast"] * 3
    assert final_size(world) == 0
    world.node.mine()
    await world.look()
    assert await world.states() == ["mined"] * 3
    await world.settle()
    assert [row.tx_hash for row in await world.rows()] == before
    await world.assert_custody()


async def test_what_is_replaced_below_a_younger_nonce_keeps_its_own_checkpoint(patient):
    world = patient
    for _ in range(2):
        await world.anchor(4)
    world.node.automine(False)
    world.node.ask("anvil_reorg", 2, [])
    await world.grow(4)
    await world.look()
    for row in await world.rows():
        world.node.drop(row)
    world.node.next_base_fee(50)
    world.node.mine()
    world.advance(6)
    await world.look()
    rows = await world.rows()
    assert [(row.nonce, row.size, row.state) for row in rows] == [
        (0, 4, "replaced"),
        (1, 8, "broadcast"),
        (0, 4, "broadcast"),
    ]
    world.node.mine()
    world.advance(11)
    await world.look()  # nonce 0 is mined: nonce 1 is the lowest now, and is replaced by the newest
    world.node.mine()
    await world.settle()
    assert [event.size for event in await world.events()] == [4, 12]
    assert all(row.state in {"final", "superseded"} for row in await world.rows())


async def test_a_chain_that_falls_back_below_the_block_is_believed_after_a_while(patient):
    world = patient
    await world.grow(5)
    snapshot = world.node.ask("evm_snapshot")
    await world.look(2)
    assert await world.states() == ["mined"]
    world.node.ask("evm_revert", snapshot)
    world.node.automine(False)
    await world.look()
    assert await world.states() == ["mined"]  # an endpoint that lags looks the same
    world.advance(6)
    await world.look()
    assert await world.states() == ["broadcast"]
    world.node.automine(True)
    world.node.mine()
    await world.settle()
    await world.assert_custody()


async def test_final_is_never_early(patient):
    world = patient
    await world.anchor(5)
    mined_at = (await world.rows())[0].block_number
    while world.node.height < mined_at + 9:
        await world.look()
        assert (await world.states(), final_size(world)) == (["mined"], 0)
        world.node.mine()
    await world.look()
    assert (await world.states(), final_size(world)) == (["mined"], 0)
    world.node.mine()
    await world.look()
    assert (await world.states(), final_size(world)) == (["final"], 5)


async def test_mined_again_in_another_block_counts_from_there(patient):
    world = patient
    await world.anchor(5)
    first = (await world.rows())[0]
    world.node.ask("anvil_reorg", 1, [["0x" + first.raw.hex(), 0]])
    world.node.mine()
    await world.look(2)
    again = (await world.rows())[0]
    assert (again.state, again.tx_hash) == ("mined", first.tx_hash)
    assert again.block_hash != first.block_hash
    await world.settle()
    await world.assert_custody()
