import pytest
from anchor_world import Node, World


@pytest.fixture(scope="module")
def shared_node():
    with Node() as node:
        yield node


@pytest.fixture
def node(shared_node):
    """The module's node, as it was before the test."""
    snapshot = shared_node.ask("evm_snapshot")
    yield shared_node
    shared_node.automine(True)
    shared_node.ask("evm_revert", snapshot)


@pytest.fixture
async def world(node, tmp_path):
    async with World(node, tmp_path / "data").register() as made:
        yield made
