import pytest
from anchor_world import Node, World
from support.anvil import Checkpoint


@pytest.fixture(scope="module")
def shared_node():
    with Node() as node:
        yield node


@pytest.fixture
def node(shared_node):
    """The module's node, as it was before the test."""
    before = Checkpoint(shared_node.web3)
    yield shared_node
    before.restore()


@pytest.fixture
async def world(node, tmp_path):
    async with World(node, tmp_path / "data").register() as made:
        yield made
