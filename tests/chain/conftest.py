"""A node with a few identities on it, and a client that reaches it through an endpoint that can be made to lie."""

import pytest
from chain_client_kit import Clocks, chain_of
from support.anvil import Anvil
from support.contracts_kit import Chain, device
from support.scripted_rpc import ScriptedRpc


@pytest.fixture(scope="module")
def node():
    with Anvil("--slots-in-an-epoch", "1") as running:
        yield running


@pytest.fixture(scope="module")
def contracts(node):
    """The contracts, with two transactions that registered five devices each."""
    deployed = Chain(node.web3())
    deployed.register("plant", *[device(f"d{number}", number + 1) for number in range(5)])
    deployed.register("plant", *[device(f"e{number}", number + 11) for number in range(5)])
    return deployed


@pytest.fixture
def rpc(node, contracts):
    with ScriptedRpc(node.url) as endpoint:
        yield endpoint


@pytest.fixture
def clocks():
    return Clocks()


@pytest.fixture
async def chain(rpc, clocks):
    async with chain_of(rpc.url, clocks=clocks) as opened:
        yield opened
