"""ModelRegistry is deployed beside the two others, verified, and named in the section that is printed."""

import tomllib
from pathlib import Path

import pytest
from chain_client_kit import chain_of, raw_address
from support.anvil import Anvil

from gateway.chain.contracts import has_role
from gateway.chain.models import GRANTER_ROLE, PUBLISHER_ROLE, verify_model_contract
from gateway.chain.operator import Terms
from gateway.chain.port import ChainMisconfigured
from gateway.cli import chain_deploy as work
from gateway.config.fault import ConfigError
from gateway.config.load import parse_config
from gateway.config.model import ChainConfig
from gateway.crypto.anchoring_key import AnchoringKey

KEY = AnchoringKey(bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"))
TERMS = Terms(timeout_s=5.0, poll_s=0.05)
ROLES = work.Roles(KEY.address, b"\x21" * 20, b"\x22" * 20)
HEAD = '[gateway]\nid = "gw-1"\nfleet = "plant"\n'


@pytest.fixture(scope="module")
def node():
    with Anvil("--slots-in-an-epoch", "1") as running:
        yield running


async def deployed(node, standing=None):
    async with chain_of(node.url, timeout_s=3.0) as chain:
        return await work.deploy(chain, KEY, ROLES, TERMS, standing)


async def test_three_contracts_are_deployed_and_the_admin_and_the_registrar_rule_the_models(node):
    made = await deployed(node)
    async with chain_of(node.url) as chain, chain.view() as view:
        await verify_model_contract(view, made.model_registry, made.contracts.registry)
        assert await has_role(view, made.model_registry, "DEFAULT_ADMIN_ROLE", ROLES.admin)
        assert await has_role(view, made.model_registry, GRANTER_ROLE, ROLES.registrar)
        assert not await has_role(view, made.model_registry, GRANTER_ROLE, ROLES.admin)
        assert not await has_role(view, made.model_registry, PUBLISHER_ROLE, ROLES.admin)


async def test_the_printed_section_names_it_and_holds(node):
    made = await deployed(node)
    section = work.section(ChainConfig(rpc=(node.url,)), made)
    assert raw_address(tomllib.loads(section)["chain"]["model_registry"]) == made.model_registry
    assert raw_address(made.facts()["model_registry"]) == made.model_registry
    config = parse_config(HEAD + section, Path("x"))
    assert raw_address(config.chain.model_registry) == made.model_registry


async def test_what_an_estimate_says_is_what_it_takes(node):
    async with chain_of(node.url, timeout_s=3.0) as chain:
        cost = await work.estimated(chain, KEY.address, ROLES, TERMS)
    made = await deployed(node)
    assert made.gas_used <= cost["gas"] <= 1.01 * made.gas_used


async def test_what_is_there_already_is_not_deployed_again(node):
    first, web3 = await deployed(node), node.web3()
    registry, log = first.contracts
    before = web3.eth.get_transaction_count(web3.eth.accounts[0])
    alone = await deployed(node, work.Standing(registry, first.deploy_block, log))
    assert (alone.contracts, alone.deploy_block) == (first.contracts, first.deploy_block)
    assert alone.model_registry != first.model_registry
    assert web3.eth.get_transaction_count(web3.eth.accounts[0]) == before + 1
    both = await deployed(node, work.Standing(registry, first.deploy_block))
    assert both.contracts.registry == registry
    assert both.contracts.anchor_log != log
    assert web3.eth.get_transaction_count(web3.eth.accounts[0]) == before + 3


async def test_a_log_of_another_registry_does_not_go_with_it(node):
    first, second = await deployed(node), await deployed(node)
    with pytest.raises(ChainMisconfigured, match="REGISTRY"):
        await deployed(node, work.Standing(first.contracts.registry, 1, second.contracts.anchor_log))


@pytest.mark.parametrize(
    ("transactions", "words"), [(1, "IdentityRegistry is there"), (2, "IdentityRegistry and AnchorLog are there")]
)
async def test_a_deployment_that_ends_in_the_middle_says_how_to_go_on(node, monkeypatch, transactions, words):
    create, left = work.Operator.create, [transactions]

    async def running_dry(self, code, what):
        if not left[0]:
            raise work.NotSent("no more money")
        left[0] -= 1
        return await create(self, code, what)

    monkeypatch.setattr(work.Operator, "create", running_dry)
    with pytest.raises(
        work.HalfDeployed, match=rf"no more money\. {words}.*--registry-address 0x.*--deploy-block \d"
    ):
        await deployed(node)
    left[0] = 0
    with pytest.raises(work.NotSent) as caught:
        await deployed(node)
    assert not isinstance(caught.value, work.HalfDeployed)


def faults(section):
    try:
        parse_config(f"{HEAD}[chain]\n{section}", Path("x"))
    except ConfigError as error:
        return {fault.key: fault.problem for fault in error.faults}
    return {}


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("0x" + 20 * "33", ""),
        ("", ""),
        ("0x" + 20 * "Ab", "another contract"),
        ("0x" + 20 * "22", "another contract"),
        ("0x12", "0x12"),
    ],
)
def test_the_address_is_one_of_its_own_or_none(address, problem):
    found = faults(
        f'rpc = ["http://a:8545"]\nchain_id = 1\nregistry = "0x{20 * "aB"}"\nanchor_log = "0x{20 * "22"}"\n'
        f'model_registry = "{address}"\n'
    )
    assert list(found) == (["chain.model_registry"] if problem else [])
    assert problem in found.get("chain.model_registry", "")


def test_the_address_without_an_endpoint_is_a_fault():
    assert "no endpoint" in faults(f'model_registry = "0x{20 * "33"}"\n')["chain.model_registry"]
