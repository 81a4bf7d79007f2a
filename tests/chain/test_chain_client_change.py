"""Other endpoints while the gateway runs: the next view is one of theirs, and an open one goes on."""

import pytest
from chain_client_kit import chain_of
from support.anvil import Anvil
from support.scripted_rpc import ScriptedRpc


@pytest.fixture(scope="module")
def node():
    with Anvil("--slots-in-an-epoch", "1") as running:
        yield running


async def test_the_next_view_asks_the_new_endpoint_and_an_open_one_goes_on_with_the_old(node):
    with ScriptedRpc(node.url) as old, ScriptedRpc(node.url) as new:
        async with chain_of(old.url) as chain:
            async with chain.view() as view:
                await chain.become(chain_of(new.url))
                assert await view.block(0) is not None
            async with chain.view():
                pass
            assert [each[0] for each in chain.health()] == [new.url.rstrip("/")]
            await chain.become(chain_of(old.url))
            async with chain.view():
                pass
