"""The operator's transactions: what is asked before, what is bid, and what ends the waiting."""

import asyncio
import time
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
import rlp
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st
from support.anvil import Anvil, Checkpoint
from support.scripted_rpc import Error, ScriptedRpc, Status, Times

from gateway.chain.client import EvmChain
from gateway.chain.contracts import (
    ChainAlg,
    ChainStatus,
    Contracts,
    Kind,
    artifact,
    creation_code,
    register_devices_call,
    status_call,
    topic_of,
)
from gateway.chain.events import DeviceRegistered, MinerRegistered, StatusChanged
from gateway.chain.operator import (
    TX_GAS_MAX,
    NotSent,
    NotSettled,
    Operator,
    Refused,
    Terms,
    Tx,
    created_address,
    gas_limit_of,
    price_of,
)
from gateway.chain.port import EndpointFault, FeeQuote
from gateway.chain.refusals import explain, known_errors, role_name
from gateway.chain.rollcall import Applicant, Source, call_the_roll, fold, make_plan
from gateway.config.model import ChainConfig
from gateway.crypto.anchoring_key import AnchoringKey, keccak256

TERMS = Terms(timeout_s=3.0, poll_s=0.05)
OPERATOR = AnchoringKey(bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"))
TOO_MANY = Error(-32005, "query returned more than 10000 results")
STRANGER = AnchoringKey(bytes.fromhex("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"))


class Clock(NamedTuple):
    monotonic_s = staticmethod(time.monotonic)
    wall_ms = staticmethod(lambda: time.time_ns() // 1_000_000)


@pytest.fixture(scope="module")
def node():
    with Anvil("--slots-in-an-epoch", "1") as running:
        yield running


@pytest.fixture
def web3(node):
    web3 = node.web3()
    before = Checkpoint(web3)
    yield web3
    before.restore()


@asynccontextmanager
async def chain_at(url):
    config = ChainConfig(rpc=(url,), chain_id=31337, requests_per_s=1000.0, timeout_s=2.0)
    async with EvmChain(config, Clock()) as chain:
        yield chain


async def deployed(chain):
    operator = Operator(chain, OPERATOR, TERMS)
    roles = [f"0x{OPERATOR.address.hex()}"] * 3
    registry, _ = await operator.create(creation_code("IdentityRegistry", *roles), "deploying")
    log, _ = await operator.create(creation_code("AnchorLog", f"0x{registry.hex()}"), "deploying")
    return operator, Contracts(registry, log)


def suspend(contracts, name):
    return Tx(contracts.registry, status_call("suspend", [name]), f"suspending {name}")


# --- pure ---


@given(st.binary(min_size=20, max_size=20), st.integers(0, 2**64 - 1))
def test_a_created_contract_is_where_the_chain_puts_it(sender, nonce):
    assert created_address(sender, nonce) == keccak256(rlp.encode([sender, nonce]))[12:]


@given(st.integers(21_000, 2**40))
def test_the_gas_limit_has_a_margin_and_stays_within_what_a_transaction_may_take(gas):
    limit = gas_limit_of(gas)
    assert limit >= gas
    assert limit <= max(gas, TX_GAS_MAX)


QUOTES = st.builds(FeeQuote, st.none() | st.integers(0, 10**12), st.integers(0, 10**11), st.integers(0, 10**12))


@given(QUOTES, st.integers(0, 10**12), st.booleans())
def test_never_more_is_bid_than_allowed_and_never_less_than_is_asked(quote, limit, legacy):
    terms = Terms(max_fee_wei=limit, legacy=legacy)
    asked = quote.gas_price_wei
    if quote.base_fee_wei is not None and not legacy:
        asked = quote.base_fee_wei + quote.priority_fee_wei
    if limit and asked > limit:
        with pytest.raises(NotSent, match="--max-fee-gwei"):
            price_of(quote, terms)
        return
    price = price_of(quote, terms)
    assert price.now_wei == asked
    assert price.now_wei <= price.most_wei
    assert not limit or price.most_wei <= limit
    assert (price.tip_wei is None) == (legacy or quote.base_fee_wei is None)


def test_every_error_of_the_contracts_has_words():
    in_abi = {
        entry["name"] for name in ("IdentityRegistry", "AnchorLog", "ModelRegistry")
        for entry in artifact(name)["abi"] if entry["type"] == "error"
    }  # fmt: skip
    assert set(known_errors()) == in_abi


@given(st.binary(max_size=200))
def test_any_revert_has_a_problem_and_a_hint(data):
    refusal = explain(data)
    assert refusal.problem
    assert refusal.hint


def test_roles_go_by_their_names():
    assert role_name(bytes(32)) == "DEFAULT_ADMIN_ROLE"
    assert role_name(topic_of("SUSPENDER_ROLE")) == "SUSPENDER_ROLE"
    assert role_name(b"\x01" * 32).startswith("role 0x01")


NAMES = st.integers(0, 15).map(lambda n: f"dev-{n}")
FLEETS = st.sampled_from(["plant", "yard"])
KEYS = st.sampled_from([b"a" * 32, b"b" * 32])


@st.composite
def applicants(draw):
    names = draw(st.lists(NAMES, unique=True))
    return [Applicant(n, name, draw(FLEETS), ChainAlg.ED25519, draw(KEYS)) for n, name in enumerate(names)]


@given(applicants(), applicants(), st.sets(NAMES), st.integers(1, 256))
def test_a_plan_sends_what_is_missing_once_and_names_what_contradicts(wanted, registered, silent, size):
    known = {}
    for each in registered:
        fold(known, DeviceRegistered(each.id, each.fleet, each.alg, each.public_key), 1)
        if each.id in silent:
            fold(known, StatusChanged(each.id, Kind.DEVICE, ChainStatus.SUSPENDED), 2)
    plan = make_plan(wanted, known, size)
    sent = [(device.id, batch.fleet, device.public_key) for batch in plan.batches for device in batch.devices]
    assert sorted(sent) == sorted((each.id, each.fleet, each.public_key) for each in wanted if each.id not in known)
    assert all(1 <= len(batch.devices) <= size for batch in plan.batches)
    same = {each.id for each in wanted if any(each[1:] == other[1:] for other in registered)}
    assert plan.already == len(same)
    assert set(plan.silent) == same & silent
    assert {each.id for each in plan.conflicts} == {each.id for each in wanted if each.id in known} - same


def test_a_renewed_miner_keeps_its_status():
    known = {}
    miner = MinerRegistered("gw", "plant", b"l" * 32, b"k" * 32, b"h" * 32, b"a" * 20, renewed=False)
    fold(known, miner, 1)
    fold(known, StatusChanged("gw", Kind.MINER, ChainStatus.SUSPENDED), 2)
    fold(known, miner._replace(account=b"b" * 20, renewed=True), 3)
    assert (known["gw"].status, known["gw"].account, known["gw"].block) == (ChainStatus.SUSPENDED, b"b" * 20, 3)


def test_a_status_of_nobody_means_that_events_are_missing():
    with pytest.raises(EndpointFault, match="deploy_block"):
        fold({}, StatusChanged("dev", Kind.DEVICE, ChainStatus.SUSPENDED), 1)


# --- against a node ---


async def test_a_refusal_is_told_in_words_before_anything_is_sent(node, web3):
    async with chain_at(node.url) as chain:
        _, contracts = await deployed(chain)
        sent = []
        stranger = Operator(chain, STRANGER, TERMS, sent.append)
        with pytest.raises(Refused, match="has not the SUSPENDER_ROLE") as caught:
            await stranger.send(suspend(contracts, "dev-1"))
        assert caught.value.refusal.name == "AccessControlUnauthorizedAccount"
        assert sent == []
    assert web3.eth.get_transaction_count(STRANGER.address) == 0


async def test_a_transaction_that_no_block_takes_is_told_with_its_hash(node, web3):
    async with chain_at(node.url) as chain:
        _, contracts = await deployed(chain)
        web3.provider.make_request("evm_setAutomine", [False])
        hasty = Operator(chain, OPERATOR, TERMS._replace(timeout_s=0.3))
        with pytest.raises(NotSettled) as caught:
            await hasty.send(granting(contracts))
        assert f"0x{caught.value.tx_hash.hex()}" in str(caught.value)
        assert web3.eth.get_transaction(caught.value.tx_hash)["blockNumber"] is None
        # the same again is known already, or underpriced: never a second one
        with pytest.raises((NotSettled, NotSent)):
            await hasty.send(granting(contracts))
        web3.provider.make_request("evm_mine", [])
        assert web3.eth.get_transaction_receipt(caught.value.tx_hash)["status"] == 1


def granting(contracts):
    """A transaction that the registry takes and that changes nothing: a role for who has it."""
    selector = keccak256(b"grantRole(bytes32,address)")[:4]
    return Tx(contracts.registry, selector + topic_of("REGISTRAR_ROLE") + bytes(12) + OPERATOR.address, "granting")


async def test_a_nonce_that_another_program_took_is_told(node, web3):
    async with chain_at(node.url) as chain:
        _, contracts = await deployed(chain)
        web3.provider.make_request("evm_setAutomine", [False])
        sent = []
        operator = Operator(chain, OPERATOR, TERMS, sent.append)
        sending = asyncio.create_task(operator.send(granting(contracts)))
        while not sent or not web3.eth.get_block("pending")["transactions"]:
            await asyncio.sleep(0.02)
        nonce = web3.eth.get_transaction(sent[0])["nonce"]
        rival = Account.sign_transaction(
            {
                "to": "0x" + "11" * 20, "value": 1, "nonce": nonce, "gas": 21_000, "chainId": 31337,
                "maxFeePerGas": 10**11, "maxPriorityFeePerGas": 10**10,
            },
            OPERATOR._private,
        )  # fmt: skip
        web3.eth.send_raw_transaction(rival.raw_transaction)
        web3.provider.make_request("evm_mine", [])
        with pytest.raises(NotSent, match="took the nonce"):
            await sending


async def test_a_broadcast_whose_answer_was_lost_is_found_and_not_sent_twice(node, web3):
    with ScriptedRpc(node.url) as rpc:
        async with chain_at(rpc.url) as chain:
            operator, contracts = await deployed(chain)
            before = web3.eth.get_transaction_count(OPERATOR.address)
            rpc.faults["eth_sendRawTransaction"] = Times(1, Status(503))
            receipt = await operator.send(granting(contracts))
    assert receipt.succeeded
    assert web3.eth.get_transaction_count(OPERATOR.address) == before + 1


async def test_an_endpoint_that_fails_while_waiting_is_waited_for(node, web3):
    with ScriptedRpc(node.url) as rpc:
        async with chain_at(rpc.url) as chain:
            operator, contracts = await deployed(chain)
            rpc.faults["eth_getTransactionReceipt"] = Times(1, Status(503))
            assert (await operator.send(granting(contracts))).succeeded


async def test_many_events_are_read_in_smaller_ranges_and_a_full_block_is_given_up(node, web3):
    with ScriptedRpc(node.url) as rpc:
        async with chain_at(rpc.url) as chain:
            operator, contracts = await deployed(chain)
            key = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
            start = web3.eth.block_number
            for name in ("dev-1", "dev-2", "dev-3"):
                data = register_devices_call("plant", [(name, 1, key)])
                await operator.send(Tx(contracts.registry, data, name))
            await operator.send(suspend(contracts, "dev-2"))
            source = Source(contracts.registry, start, 50)
            heard = []
            rpc.faults["eth_getLogs"] = Times(2, TOO_MANY)
            async with chain.view() as view:
                known = await call_the_roll(view, source, told=lambda done, of: heard.append((done, of)))
                one = await call_the_roll(view, source, "dev-2")
            assert {name: each.status.name for name, each in known.items()} == {
                "dev-1": "ACTIVE", "dev-2": "SUSPENDED", "dev-3": "ACTIVE",
            }  # fmt: skip
            assert list(one) == ["dev-2"]
            assert heard[-1][0] == heard[-1][1]
            rpc.faults["eth_getLogs"] = TOO_MANY
            async with chain.view() as view:
                with pytest.raises(EndpointFault, match="more than 10000"):
                    await call_the_roll(view, source)
