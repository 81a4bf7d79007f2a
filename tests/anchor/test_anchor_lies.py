"""An endpoint that lies for a while, about anything but what is final: afterwards all is anchored and reported."""

from contextlib import suppress

from anchor_world import World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.anvil import Checkpoint
from support.scripted_rpc import Answer, Change, Error, ScriptedRpc
from test_anchor_access import LOADED, Reporting

from gateway.chain.port import ChainError

NOTHING_ANCHORED = "0x" + 64 * "0" + "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" + 64 * "0"
LIES = (
    ("eth_getTransactionCount", Change(lambda params, count: hex(int(count, 16) + 3))),
    ("eth_getTransactionCount", Change(lambda params, count: hex(int(count, 16) + 50))),
    ("eth_getTransactionCount", Answer("0x0")),
    ("eth_getTransactionReceipt", Answer(None)),
    ("eth_getTransactionReceipt", Change(lambda params, found: found and {**found, "logs": []})),
    ("eth_getTransactionByHash", Answer(None)),
    ("eth_getBalance", Answer("0x0")),
    ("eth_gasPrice", Answer(hex(10**18))),
    ("eth_maxPriorityFeePerGas", Answer(hex(10**18))),
    ("eth_estimateGas", Answer(hex(10**7))),
    ("eth_estimateGas", Error(3, "execution reverted", "0x")),
    ("eth_call", Change(lambda params, found: NOTHING_ANCHORED if len(found) == len(NOTHING_ANCHORED) else found)),
    ("eth_sendRawTransaction", Error(-32000, "nonce too low")),
    ("eth_sendRawTransaction", Error(-32000, "already known")),
    ("eth_sendRawTransaction", Error(-32000, "replacement transaction underpriced")),
    ("eth_getBlockByNumber", Change(lambda params, found: None if params[0].startswith("0x") else found)),
    ("eth_getLogs", Answer([])),
)
STEPS = st.sampled_from(["grow", "report", "look", "mine", "late", "hold", "die", *LIES])


async def look(world):
    """Look; after a fault the endpoint has rested when it is asked again."""
    with suppress(ChainError):
        await world.look()
    world.clock.ahead_s += 100


async def is_home(world):
    journal = world.journal
    if await journal.owed_reports() or await journal.open_accesses() or await journal.open_anchors():
        return False
    return world.anchoring.status().final_size == journal.size()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=20))
async def test_whatever_an_endpoint_said_all_is_anchored_and_reported_when_it_is_honest_again(
    node, tmp_path_factory, steps
):
    before = Checkpoint(node.web3)
    with ScriptedRpc(node.url) as rpc:
        async with Reporting(node, tmp_path_factory.mktemp("log") / "data", url=rpc.url).register() as world:
            reports = await live_through(world, rpc, steps)
            rpc.faults.clear()
            node.automine(True)
            node.mine()
            await world.grow(1)
            for _ in range(40):
                await look(world)
                node.mine(3)
                world.advance(6)
                if await is_home(world):
                    break
            else:
                raise AssertionError((await world.journal.newest_accesses(10), await world.rows(), world.hold))
            assert len(await world.reported()) >= reports
            sizes = [event.size for event in await world.events()]
            assert sizes == sorted(set(sizes))
            assert sizes[-1] == world.journal.size()
    before.restore()


async def live_through(world: World, rpc: ScriptedRpc, steps) -> int:
    """Do the steps; return how many reports there are."""
    reports = 0
    for step in steps:
        match step:
            case "grow":
                await world.grow(2)
            case "report":
                reports += 1
                await world.report(LOADED._replace(time_ms=reports))
            case "look":
                await look(world)
            case "mine":
                world.node.mine()
            case "late":
                world.advance(7)
            case "hold":
                world.node.automine(False)
            case "die":
                await world.reopen()
            case (method, lie):
                rpc.faults[method] = lie
                await look(world)
    return reports
