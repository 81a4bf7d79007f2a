"""The follower on a real node, through the real client, into a real journal."""

import asyncio
import time

import pytest
from chain_client_kit import CHAIN_ID, Clocks, chain_of, raw_address
from registry_world import contents
from structlog.testing import capture_logs
from support.anvil import Anvil
from support.contracts_kit import Alg, Chain, Gateway, device, ed25519_key, p256_key
from support.scripted_rpc import Answer, Change, Error, Hang, ScriptedRpc, Times

from gateway import message
from gateway.chain.port import ChainMisconfigured, ChainUnavailable, EndpointFault
from gateway.chain.registry import ChainRegistry
from gateway.chain.registry_status import FollowerState
from gateway.chain.watch import ChainWatch
from gateway.config.model import ChainConfig, JournalConfig
from gateway.crypto.keys import PublicKey
from gateway.journal import open_journal, open_reader
from gateway.registry.port import Device, Miner, Status

LOGS = "eth_getLogs"
FINAL_BLOCKS = 2
"""So many blocks on top make a block final on this node."""


class Site:
    """A gateway's part of the world: the node, the contracts on it, an endpoint before it, journal and follower."""

    def __init__(self, rpc, deployed, directory):
        self.rpc = rpc
        self.deployed = deployed
        self.directory = directory
        self.clocks = Clocks()
        self.changes = 0
        self.settings = {
            "chain_id": CHAIN_ID,
            "registry": deployed.registry.address,
            "anchor_log": deployed.log.address,
            "deploy_block": 1,
        }

    async def start(self, **settings):
        self.settings |= settings
        self.chain = chain_of(self.rpc.url, clocks=self.clocks, timeout_s=5.0, max_head_age_s=86400, **self.settings)
        self.journal = open_journal(self.directory, JournalConfig(), origin="securenet/plant/gw-1").journal
        self.registry = ChainRegistry(
            ChainConfig(rpc=(self.rpc.url,), **self.settings),
            max_age_s=3600.0,
            store=self.journal,
            monotonic_s=self.clocks.monotonic_s,
            wall_ms=self.clocks.wall_ms,
            on_change=self._changed,
        )
        with open_reader(self.directory) as reader:
            await self.registry.restore(reader)
        return self

    def _changed(self):
        self.changes += 1

    async def stop(self):
        await self.journal.close()
        await self.chain.close()

    async def restart(self, **settings):
        await self.stop()
        await self.start(**settings)

    async def look(self):
        async with self.chain.view() as view:
            await self.registry.look(view)
        return self.contents()

    def contents(self):
        return contents(self.registry.snapshot)

    def status_of(self, name):
        return self.contents()[name].status

    def mine(self, blocks=FINAL_BLOCKS):
        self.ask("anvil_mine", hex(blocks))

    def ask(self, method, *params):
        said = self.deployed.web3.provider.make_request(method, list(params))
        assert "error" not in said, said
        return said["result"]

    def ranges(self):
        """The ranges of blocks that were asked for events, since the last time."""
        asked = [(int(one["fromBlock"], 16), int(one["toBlock"], 16)) for name, (one,) in self.logs_asked()]
        self.rpc.calls.clear()
        return asked

    def logs_asked(self):
        return [call for call in self.rpc.calls if call[0] == LOGS]


@pytest.fixture(scope="module")
def node():
    with Anvil("--slots-in-an-epoch", "1") as running:
        yield running


@pytest.fixture
async def site(node, tmp_path):
    with ScriptedRpc(node.url) as rpc:
        opened = await Site(rpc, Chain(node.web3()), tmp_path / "data").start(
            deploy_block=node.web3().eth.block_number + 1
        )
        yield opened
        await opened.stop()


async def test_devices_and_miners_come_in_when_final_with_everything_that_was_registered(site):
    gateway = Gateway("gw-1", site.deployed.miner)
    site.deployed.register("plant", device("d1", 1), device("d2", 2, Alg.ES256))
    site.deployed.register("ward", *(device(f"w{number}", number + 10) for number in range(100)))
    site.deployed.register_miner(gateway)
    assert list(await site.look()) == ["d1", "d2"]  # two blocks ago
    site.mine()
    found = await site.look()
    assert len(found) == 103
    assert found["d1"] == Device("d1", "plant", PublicKey(message.Alg.ED25519, ed25519_key(1)), Status.ACTIVE)
    assert found["d2"] == Device("d2", "plant", PublicKey(message.Alg.ES256, p256_key(2)), Status.ACTIVE)
    assert found["gw-1"] == Miner(
        "gw-1",
        "plant",
        PublicKey(message.Alg.ED25519, gateway.log_key),
        Status.ACTIVE,
        "securenet/plant/gw-1",
        raw_address(gateway.account),
        gateway.hpke_key,
    )
    assert site.registry.status().state is FollowerState.FOLLOWING


async def test_a_suspension_counts_at_the_head_and_a_reinstatement_when_it_is_final(site):
    site.deployed.register("plant", device("d", 1))
    site.mine()
    await site.look()
    site.deployed.suspend("d")
    await site.look()
    assert site.status_of("d") is Status.SUSPENDED
    site.deployed.reinstate("d")
    await site.look()
    assert site.status_of("d") is Status.SUSPENDED
    site.mine()
    await site.look()
    assert site.status_of("d") is Status.ACTIVE
    site.deployed.revoke("d")
    await site.look()
    assert site.status_of("d") is Status.REVOKED


async def test_a_reorganisation_takes_a_suspension_away_with_its_block(site):
    site.deployed.register("plant", device("d", 1))
    site.mine()
    await site.look()
    site.deployed.suspend("d")
    await site.look()
    assert site.status_of("d") is Status.SUSPENDED
    site.ask("anvil_reorg", 1, [])
    await site.look()
    assert site.status_of("d") is Status.ACTIVE
    assert site.registry.status().rewrites == 0


async def test_a_registration_in_a_block_that_was_replaced_never_counted(site):
    site.deployed.register("plant", device("d", 1))
    await site.look()
    site.ask("anvil_reorg", 1, [])
    site.mine(5)
    assert await site.look() == {}


async def test_a_renewed_miner_has_its_new_account_when_that_is_final(site):
    site.deployed.register_miner(Gateway("gw-1", site.deployed.miner))
    site.mine()
    await site.look()
    site.deployed.renew_miner(Gateway("gw-1", site.deployed.other))
    assert (await site.look())["gw-1"].account == raw_address(site.deployed.miner)
    site.mine()
    assert (await site.look())["gw-1"].account == raw_address(site.deployed.other)


async def test_a_restart_knows_all_and_asks_only_for_what_is_new(site):
    site.deployed.register("plant", *(device(f"d{number}", number + 1) for number in range(20)))
    site.mine(50)
    before = await site.look()
    final = site.registry.status().final_block
    await site.restart()
    assert site.contents() == before
    assert not site.registry.is_stale()
    site.ranges()
    site.deployed.suspend("d3")
    site.mine()
    await site.look()
    assert min(start for start, _ in site.ranges()) == final + 1
    assert site.status_of("d3") is Status.SUSPENDED


async def test_a_chain_that_was_begun_anew_behind_the_same_id_is_told_and_followed_from_its_beginning(tmp_path):
    with Anvil("--slots-in-an-epoch", "1") as first, ScriptedRpc(first.url) as rpc:
        site = await Site(rpc, Chain(first.web3()), tmp_path / "data").start()
        site.deployed.register("plant", device("d", 1))
        site.mine(20)
        await site.look()
        await site.stop()
        with Anvil("--slots-in-an-epoch", "1", "--timestamp", str(int(time.time()) - 1000)) as second:
            before, site.deployed = site.deployed, Chain(second.web3())
            assert site.deployed.registry.address == before.registry.address
            site.mine(5)
            site.rpc.upstream_url = second.url
            await site.start()
            assert list(site.contents()) == ["d"]
            with capture_logs() as lines:
                assert await site.look() == {}
            assert "registry.rewritten" in [line["event"] for line in lines]
            site.deployed.register("plant", device("e", 2))
            site.mine()
            assert list(await site.look()) == ["e"]
            assert site.registry.status().rewrites == 1
            await site.stop()


async def test_another_registry_on_the_same_chain_is_another_source(site):
    site.deployed.register("plant", device("d", 1))
    site.mine()
    await site.look()
    second = Chain(site.deployed.web3)
    second.register("plant", device("e", 2))
    site.mine()
    await site.restart(registry=second.registry.address, anchor_log=second.log.address)
    assert site.contents() == {}
    assert list(await site.look()) == ["e"]


async def test_an_address_without_the_contract_is_for_a_person_to_mend(site):
    await site.restart(registry="0x" + "77" * 20)
    with pytest.raises(ChainMisconfigured, match="has no code"):
        await site.look()
    await site.restart(registry=site.settings["anchor_log"])
    with pytest.raises(ChainMisconfigured, match="not the contract"):
        await site.look()
    assert site.registry.is_stale()


def without_key(_params, logs):
    return [{**one, "data": "0x" + "00" * 32} for one in logs]


def of_somebody_else(_params, logs):
    return [{**one, "topics": [one["topics"][0], "0x" + "cd" * 32]} for one in logs]


@pytest.mark.parametrize(
    "lie",
    [
        Change(without_key),
        Change(of_somebody_else),
        Answer("garbage"),
        Answer([{}]),
        Error(-32000, "the database is closed"),
    ],
)
async def test_an_endpoint_that_lies_about_events_is_not_believed_and_the_next_look_makes_up_for_it(site, lie):
    site.deployed.register("plant", device("d", 1))
    site.mine()
    site.rpc.faults[LOGS] = lie
    with pytest.raises(EndpointFault):
        await site.look()
    assert site.contents() == {}
    assert site.registry.is_stale()
    assert site.registry.status().last_fault
    site.rpc.faults.clear()
    site.clocks.monotonic_ahead_s += 120  # the endpoint has rested
    assert list(await site.look()) == ["d"]


async def test_an_endpoint_that_lies_about_a_final_block_lets_nobody_in(site):
    site.deployed.register("plant", device("d", 1))
    site.mine()
    await site.look()
    site.mine(1)
    asked = hex(site.registry.status().final_block)
    site.rpc.faults["eth_getBlockByNumber"] = Change(
        lambda params, block: {**block, "hash": "0x" + "ab" * 32} if params[0] == asked else block
    )
    await site.look()
    assert site.registry.status().rewrites == 1
    assert list(site.contents()) == ["d"]  # read anew: the events were not lied about
    site.rpc.faults.clear()
    await site.look()
    assert list(site.contents()) == ["d"]


async def test_an_endpoint_that_answers_for_few_blocks_is_asked_for_few(site):
    site.mine(60)
    await site.look()
    for number in range(4):
        site.deployed.register("plant", device(f"d{number}", number + 1))
    site.mine(40)
    site.ranges()
    site.rpc.faults[LOGS] = Times(2, Error(-32005, "query returned more than 10000 results"))
    assert len(await site.look()) == 4
    first, second, third = [end - start + 1 for start, end in site.ranges()[:3]]
    assert (second, third) == (first // 2, first // 4)


async def test_when_the_chain_is_away_for_too_long_the_registry_is_stale_until_it_is_back(site):
    site.deployed.register("plant", device("d", 1))
    site.mine()
    await site.look()
    site.rpc.down()
    watch = ChainWatch(site.chain, [site.registry], poll_s=3600, wall_ms=site.clocks.wall_ms)
    assert isinstance(await watch.look(), (ChainUnavailable, EndpointFault))
    assert not site.registry.is_stale()
    site.clocks.monotonic_ahead_s += 3600
    assert site.registry.status().state is FollowerState.STALE
    assert list(site.contents()) == ["d"]
    site.rpc.up()
    site.deployed.revoke("d")
    assert await watch.look() is None
    assert site.registry.status().state is FollowerState.FOLLOWING
    assert site.status_of("d") is Status.REVOKED


async def test_an_endpoint_that_hangs_holds_up_nothing_but_the_look(site):
    site.deployed.register("plant", device("d", 1))
    site.mine()
    await site.look()
    site.deployed.suspend("d")
    site.rpc.faults[LOGS] = Hang()
    look = asyncio.create_task(site.look())
    await asyncio.sleep(0.3)
    assert site.registry.snapshot.device("d").status is Status.ACTIVE
    look.cancel()
    with pytest.raises(asyncio.CancelledError):
        await look
    site.rpc.faults.clear()
    await site.look()
    assert site.status_of("d") is Status.SUSPENDED
