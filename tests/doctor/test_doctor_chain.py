"""The checks of chain, anchors, models and their sources, against a real node and real servers of blocks."""

import json
import time
from dataclasses import replace
from http import HTTPStatus

import pytest
from aiohttp import web
from support.anvil import Anvil
from support.custody import PASSPHRASE, CustodyWorld
from support.gateway import Gateway
from support.ipfs_gateway import IpfsGateway
from support.mosquitto import free_port

from gateway.config.load import load_config
from gateway.doctor.case import Case
from gateway.doctor.models_ask import EMPTY_DIRECTORY
from gateway.vault.cid import Codec, block_of


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with Anvil() as anvil:
        yield CustodyWorld(anvil, tmp_path_factory.mktemp("keys"))


@pytest.fixture
def on_chain(world, tmp_path):
    """A case on the chain, and the gateway's files; ``changes`` by section."""

    def make(**changes):
        sections = world.sections() | {"coap": {"port": free_port()}}
        sections = {name: sections.get(name, {}) | changes.get(name, {}) for name in {*sections, *changes}}
        gateway = Gateway(tmp_path / f"gw-{time.monotonic_ns()}", [], sections)
        case = Case(
            config=load_config(gateway.config), config_path=gateway.config, now_ms=time.time_ns() // 1_000_000
        )
        return case, gateway

    return make


async def test_a_gateway_from_nothing_to_registered_and_funded(world, on_chain, ask):
    case, gateway = on_chain()
    found = await ask(case, "chain")
    assert {"chain.miner-unknown", "chain.unfunded", "chain.single"} <= set(found)
    assert "securenet miner register" in found["chain.miner-unknown"].remedy
    world.register_miner(gateway)
    world.fund()
    found = await ask(case, "chain")
    assert set(found) == {"chain.ok", "chain.single"}
    assert PASSPHRASE.decode() not in str(found)
    world.anvil_call("anvil_setBalance", world.account, hex(1))
    assert "chain.unfunded" in await ask(case, "chain")
    world.chain.suspend(gateway.id)
    assert "chain.miner-inactive" in await ask(case, "chain")


async def test_another_endpoint_serves_when_one_is_away(world, on_chain, ask):
    case, _gateway = on_chain(chain={"rpc": [f"http://127.0.0.1:{free_port()}", world.anvil.url]})
    found = await ask(case, "chain")
    assert "chain.endpoint-down" in found
    assert not {"chain.unreachable", "chain.single"} & set(found)


async def test_no_endpoint_answers_and_its_key_is_not_told(on_chain, ask):
    case, _gateway = on_chain(chain={"rpc": [f"http://127.0.0.1:{free_port()}/v3/0123456789secret"]})
    found = await ask(case, "chain")
    assert set(found) == {"chain.unreachable"}
    assert "0123456789secret" not in json.dumps([each.plain() for each in found.values()])


async def test_another_chain_than_ours(on_chain, ask):
    case, _gateway = on_chain(chain={"chain_id": 5})
    assert "chain.misconfigured" in await ask(case, "chain")


async def test_an_address_without_our_contracts(on_chain, ask):
    case, _gateway = on_chain(chain={"registry": "0x" + "4" * 40})
    assert "chain.contracts" in await ask(case, "chain")


async def test_a_chain_that_stands_still(world, on_chain, ask):
    case, _gateway = on_chain(chain={"max_head_age_s": 5})
    world.mine()
    head = world.web3.eth.get_block("latest")["timestamp"]
    if time.time() - head <= 6:
        time.sleep(max(0.0, 6.5 - (time.time() - head)))
    found = await ask(case, "chain")
    assert "chain.old-head" in found
    assert "clock" in found["chain.old-head"].remedy


async def test_anchors_without_a_journal_are_not_judged(on_chain, ask):
    case, _gateway = on_chain()
    assert set(await ask(case, "anchors")) == {"anchors.not-read"}
    assert set(await ask(case, "registry")) == {"registry.never"}


# --- sources of blocks ---


@pytest.fixture
def sources_of(case_of):
    def make(*sources):
        chain = '[chain]\nrpc = ["http://127.0.0.1:1"]\nchain_id = 1\n' + "".join(
            f'{name} = "0x{digit * 40}"\n'
            for name, digit in (("registry", "1"), ("anchor_log", "2"), ("model_registry", "3"))
        )
        listed = ", ".join(f'"{each}"' for each in sources)
        return case_of(
            chain + f'[ipfs]\nsources = [{listed}]\n[models]\nenabled = ["m"]\n', 'hpke_key_file = "h.pem"'
        )

    return make


async def test_sources_that_answer(sources_of, ask):
    async with IpfsGateway([block_of(Codec.DAG_PB, EMPTY_DIRECTORY)]) as peer:
        found = await ask(sources_of("store", f"kubo:{peer.url}", f"gateway:{peer.url}"), "ipfs")
        assert set(found) == {"ipfs.ok"}
        assert {str(cid) for _kind, cid in peer.asked} == {
            "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"
        }


async def test_a_source_that_has_not_the_block_answers_as_well(sources_of, ask):
    async with IpfsGateway() as peer:
        assert set(await ask(sources_of(f"gateway:{peer.url}"), "ipfs")) == {"ipfs.ok"}


async def test_a_source_that_gives_other_bytes(sources_of, ask):
    async def other(peer, request, cid):
        return web.Response(body=b"other", content_type="application/vnd.ipld.raw")

    async with IpfsGateway() as peer:
        peer.fault = other
        assert set(await ask(sources_of(f"gateway:{peer.url}"), "ipfs")) == {"ipfs.wrong"}


async def test_sources_that_are_away(sources_of, ask, tmp_path):
    away = f"kubo:http://127.0.0.1:{free_port()}"
    assert set(await ask(sources_of(away, f"car:{tmp_path}/none.car"), "ipfs")) == {"ipfs.all-down"}
    assert set(await ask(sources_of("store", away), "ipfs")) == {"ipfs.down"}
    assert set(await ask(replace(sources_of("store", away), offline=True), "ipfs")) == {"ipfs.ok"}


async def test_a_source_that_is_broken(sources_of, ask):
    async def broken(peer, request, cid):
        return web.Response(status=HTTPStatus.INTERNAL_SERVER_ERROR)

    async with IpfsGateway() as peer:
        peer.fault = broken
        assert set(await ask(sources_of(f"gateway:{peer.url}"), "ipfs")) == {"ipfs.all-down"}


async def test_models_that_never_ran(sources_of, ask):
    assert "models.never-ran" in await ask(sources_of("store"), "models")
