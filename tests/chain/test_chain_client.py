"""The chain client against a real node: every question, finality, failover, and what is sent."""

import asyncio
import logging

import pytest
from chain_client_kit import CHAIN_ID, Clocks, chain_of, everything_of, raw_address
from eth_account import Account
from support.anvil import Anvil
from support.contracts_kit import Chain, Gateway, artifact, device, error_selector, id_hash
from support.scripted_rpc import Error, ScriptedRpc
from web3 import AsyncWeb3, Web3

from gateway.chain.port import (
    CallReverted,
    ChainMisconfigured,
    ChainUnavailable,
    EndpointFault,
    LogFilter,
    SendKind,
)
from gateway.chain.provider import BoundedProvider
from gateway.chain.web3_provider import Web3Provider

NOBODY = bytes(20)


@pytest.fixture(scope="module")
def contracts(node):
    deployed = Chain(node.web3())
    deployed.register("plant", *[device(f"d{number}", number + 1) for number in range(5)])
    deployed.register_miner(Gateway("gw-1", deployed.miner))
    return deployed


@pytest.fixture
async def chain(node):
    async with chain_of(node.url, timeout_s=5) as opened:
        yield opened


@pytest.fixture
async def view(chain, contracts):
    async with chain.view() as opened:
        yield opened


def signed(node, key, **fields):
    """A transfer to nobody by a fresh account, signed."""
    web3 = node.web3()
    account = Account.from_key(key)
    filled = {
        "to": Web3.to_checksum_address(NOBODY),
        "value": 1,
        "gas": 21000,
        "nonce": web3.eth.get_transaction_count(account.address),
        "chainId": CHAIN_ID,
        "maxFeePerGas": 10**11,
        "maxPriorityFeePerGas": 10**9,
        **fields,
    }
    return account.sign_transaction(filled)


def funded(node, number, wei=10**18):
    account = Account.from_key(number.to_bytes(32, "big"))
    node.web3().provider.make_request("anvil_setBalance", [account.address, hex(wei)])
    return account.key


def legacy_signed(key):
    account = Account.from_key(key)
    filled = {"to": Web3.to_checksum_address(NOBODY), "value": 1, "gas": 21000, "nonce": 0}
    return account.sign_transaction({**filled, "chainId": CHAIN_ID, "gasPrice": 3 * 10**9})


async def receipt_of(view, transaction):
    """The receipt, once it is there: the node mines on its own time."""
    for _ in range(100):
        if (found := await view.receipt(bytes(transaction.hash))) is not None:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError("not mined")


async def test_a_view_has_the_head_and_the_final_block_of_the_node(view, node):
    web3 = node.web3()
    head, final = web3.eth.get_block("latest"), web3.eth.get_block("finalized")
    assert (view.head.number, view.head.hash) == (head["number"], bytes(head["hash"]))
    assert (view.final.number, view.final.hash) == (final["number"], bytes(final["hash"]))
    assert view.head.parent_hash == bytes(head["parentHash"])
    assert (view.head.timestamp_s, view.head.base_fee_wei) == (head["timestamp"], head["baseFeePerGas"])
    assert view.final.number == view.head.number - 2
    assert view.endpoint == node.url


async def test_blocks_are_had_by_height_and_none_where_there_is_none(view):
    first = await view.block(0)
    second = await view.block(1)
    assert first is not None
    assert second is not None
    assert second.parent_hash == first.hash
    assert await view.block(view.head.number + 1000) is None


async def test_events_come_as_the_node_has_them(view, node, contracts):
    found = await view.logs(everything_of(contracts.registry), 0, view.head.number)
    asked = {"address": contracts.registry.address, "fromBlock": 0, "toBlock": "latest"}
    expected = node.web3().eth.get_logs(asked)
    assert len(found) == len(expected) == 3 + 5 + 1
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.address == raw_address(theirs["address"])
        assert ours.topics == tuple(bytes(topic) for topic in theirs["topics"])
        assert ours.data == bytes(theirs["data"])
        assert (ours.block_number, ours.log_index) == (theirs["blockNumber"], theirs["logIndex"])
        assert (ours.block_hash, ours.tx_hash) == (bytes(theirs["blockHash"]), bytes(theirs["transactionHash"]))


async def test_events_are_chosen_by_topic(view, contracts):
    every = await view.logs(everything_of(contracts.registry), 0, view.head.number)
    registered = every[-2].topics[0]
    registry = (raw_address(contracts.registry.address),)
    one = LogFilter(registry, ((registered,), (id_hash("d3"), id_hash("d4"))))
    assert [log.topics[1] for log in await view.logs(one, 0, view.head.number)] == [id_hash("d3"), id_hash("d4")]
    anything_first = LogFilter(registry, ((), (id_hash("d0"),)))
    assert len(await view.logs(anything_first, 0, view.head.number)) == 1
    assert await view.logs(LogFilter(registry, ((bytes(32),),)), 0, view.head.number) == []


async def test_a_range_that_ends_before_it_begins_is_the_callers_mistake(view):
    with pytest.raises(ValueError, match="no range"):
        await view.logs(LogFilter(()), 5, 4)


async def test_a_call_is_asked_at_a_height(view, contracts):
    registry = raw_address(contracts.registry.address)
    asked = bytes.fromhex(contracts.registry.encode_abi("recordOf", [id_hash("d0")])[2:])
    assert (await view.call(registry, asked))[-1] == 1
    before = contracts.web3.eth.get_block_number() - 2
    assert (await view.call(registry, asked, before)) == bytes(96)


async def test_a_revert_comes_with_what_the_contract_said(view, contracts):
    registry = raw_address(contracts.registry.address)
    wrong = bytes.fromhex(contracts.registry.encode_abi("registerDevices", ["plant", [device("d0", 1)]])[2:])
    unauthorised = next(
        entry
        for entry in artifact("IdentityRegistry")["abi"]
        if entry.get("name") == "AccessControlUnauthorizedAccount"
    )
    for asking in (view.call(registry, wrong), view.estimate_gas(NOBODY, registry, wrong)):
        with pytest.raises(CallReverted) as caught:
            await asking
        assert caught.value.data[:4] == error_selector(unauthorised)
    with pytest.raises(CallReverted) as caught:
        await view.call(registry, b"1234")
    assert caught.value.data == b""
    assert (await view.call(NOBODY, b"")) == b""


async def test_code_counts_and_balances_are_the_nodes(view, node, contracts):
    web3 = node.web3()
    assert await view.code(raw_address(contracts.log.address)) == bytes(web3.eth.get_code(contracts.log.address))
    assert await view.code(NOBODY) == b""
    admin = raw_address(contracts.admin)
    assert await view.nonce(admin) == web3.eth.get_transaction_count(contracts.admin)
    assert await view.balance(admin) == web3.eth.get_balance(contracts.admin)


async def test_a_receipt_has_its_status_its_price_and_its_events(view, node, contracts):
    web3 = node.web3()
    every = await view.logs(everything_of(contracts.registry), 0, view.head.number)
    found = await view.receipt(every[-1].tx_hash)
    expected = web3.eth.get_transaction_receipt(every[-1].tx_hash)
    assert found is not None
    assert found.succeeded
    assert (found.gas_used, found.price_wei) == (expected["gasUsed"], expected["effectiveGasPrice"])
    assert (found.block_number, found.block_hash) == (expected["blockNumber"], bytes(expected["blockHash"]))
    assert found.logs == (every[-1],)
    assert await view.knows(every[-1].tx_hash)
    assert await view.receipt(bytes(32)) is None
    assert not await view.knows(bytes(32))


async def test_the_gas_of_a_transaction_is_estimated(view, contracts):
    admin = raw_address(contracts.admin)
    assert await view.estimate_gas(admin, NOBODY, b"") == 21000
    made = artifact("AnchorLog")
    creation = bytes.fromhex(made["bytecode"][2:]) + bytes(12) + raw_address(contracts.registry.address)
    assert 300_000 < await view.estimate_gas(admin, None, creation) < 600_000


async def test_gas_is_quoted_with_base_fee_and_tip(view, node):
    quote = await view.fees()
    assert quote.base_fee_wei == view.head.base_fee_wei
    assert quote.priority_fee_wei == node.web3().eth.max_priority_fee
    assert quote.gas_price_wei > 0


async def test_a_transaction_is_sent_known_and_mined(view, node):
    transaction = signed(node, funded(node, 1001))
    node.web3().provider.make_request("evm_setAutomine", [False])
    try:
        assert await view.send(transaction.raw_transaction) == (SendKind.ACCEPTED, "")
        assert (await view.send(transaction.raw_transaction)).kind is SendKind.ALREADY_KNOWN
        assert await view.knows(bytes(transaction.hash))
        assert await view.receipt(bytes(transaction.hash)) is None
        cheaper = signed(node, funded(node, 1001), value=2)
        assert (await view.send(cheaper.raw_transaction)).kind is SendKind.UNDERPRICED
        node.web3().provider.make_request("evm_mine", [])
    finally:
        node.web3().provider.make_request("evm_setAutomine", [True])
    assert (await receipt_of(view, transaction)).succeeded
    low = signed(node, funded(node, 1001), nonce=0, value=3)
    assert (await view.send(low.raw_transaction)).kind is SendKind.NONCE_TOO_LOW


async def test_what_is_wrong_with_a_transaction_has_a_name(view, node):
    poor = signed(node, funded(node, 1002, wei=1))
    assert (await view.send(poor.raw_transaction)).kind is SendKind.OUT_OF_FUNDS
    cheap = signed(node, funded(node, 1003), maxFeePerGas=1, maxPriorityFeePerGas=1)
    assert (await view.send(cheap.raw_transaction)).kind is SendKind.UNDERPRICED
    foreign = signed(node, funded(node, 1004), chainId=1)
    refused = await view.send(foreign.raw_transaction)
    assert refused.kind is SendKind.REFUSED
    assert refused.detail
    assert (await view.send(b"\x12\x34")).kind is SendKind.REFUSED


async def test_an_orphaned_transaction_has_no_receipt(node, chain):
    transaction = signed(node, funded(node, 1005))
    async with chain.view() as view:
        await view.send(transaction.raw_transaction)
        await receipt_of(view, transaction)
    reorg = node.web3().provider.make_request("anvil_reorg", [1, []])
    assert "error" not in reorg
    async with chain.view() as view:
        assert await view.receipt(bytes(transaction.hash)) is None


async def test_with_confirmations_a_block_so_deep_is_final(node, contracts):
    async with chain_of(node.url, finality="confirmations", confirmations=3) as chain, chain.view() as view:
        assert view.final.number == view.head.number - 3
        assert view.final == await view.block(view.head.number - 3)
    async with chain_of(node.url, finality="confirmations", confirmations=10**6) as chain, chain.view() as view:
        assert view.final == await view.block(0)


async def test_what_was_final_stays_final_when_the_head_falls_back():
    with Anvil() as node:
        web3 = node.web3()
        web3.provider.make_request("anvil_mine", ["0x6"])
        snapshot = web3.provider.make_request("evm_snapshot", [])["result"]
        web3.provider.make_request("anvil_mine", ["0x2"])
        async with chain_of(node.url, finality="confirmations", confirmations=4) as chain:
            async with chain.view() as view:
                final = view.final
                assert final.number == 4
            web3.provider.make_request("evm_revert", [snapshot])
            async with chain.view() as view:
                assert (view.head.number, view.final) == (6, final)


async def test_a_chain_without_base_fees_is_quoted_and_read_as_legacy():
    node = Anvil()
    node._command[node._command.index("osaka")] = "berlin"
    node._command.remove("--enable-tx-gas-limit")
    with node:
        key = funded(node, 1006)
        legacy = legacy_signed(key)
        async with chain_of(node.url) as chain, chain.view() as view:
            assert view.head.base_fee_wei is None
            quote = await view.fees()
            assert (quote.base_fee_wei, quote.priority_fee_wei) == (None, 0)
            assert quote.gas_price_wei == node.web3().eth.gas_price
            assert (await view.send(legacy.raw_transaction)).kind is SendKind.ACCEPTED
            mined = await receipt_of(view, legacy)
            assert mined.price_wei == 3 * 10**9


async def test_the_next_endpoint_serves_while_the_first_is_away(node, contracts):
    clocks = Clocks()
    with ScriptedRpc(node.url) as first, ScriptedRpc(node.url) as second:
        async with chain_of(first.url, second.url, clocks=clocks) as chain:
            async with chain.view() as view:
                assert view.endpoint == first.url
            first.down()
            await asyncio.sleep(0.05)  # to see that its connection is gone
            for _ in range(3):
                async with chain.view() as view:
                    assert view.endpoint == second.url
            one, two = chain.health()
            assert (one.endpoint, two.endpoint) == (first.url, second.url)
            assert "no connection" in one.fault
            assert two.fault == ""
            assert two.head == one.head
            first.up()
            clocks.monotonic_ahead_s += 61
            async with chain.view() as view:
                assert view.endpoint == first.url
            assert chain.health()[0].fault == ""


async def test_a_fault_ends_the_view_and_the_next_view_is_of_another_endpoint(node, contracts):
    with ScriptedRpc(node.url) as first, ScriptedRpc(node.url) as second:
        async with chain_of(first.url, second.url) as chain:
            async with chain.view() as view:
                first.down()
                with pytest.raises(EndpointFault, match=r"hung up|no connection"):
                    await view.block(1)
                first.up()
                with pytest.raises(EndpointFault, match=r"hung up|no connection"):
                    await view.block(1)
            async with chain.view() as view:
                assert view.endpoint == second.url


async def test_a_closed_view_answers_no_more(chain, contracts):
    async with chain.view() as view:
        pass
    with pytest.raises(EndpointFault, match="closed"):
        await view.block(1)


async def test_with_no_endpoint_left_each_is_named_with_its_fault(node):
    with ScriptedRpc(node.url) as first:
        first.down()
        async with chain_of(first.url, "http://127.0.0.1:1/v3/0123456789abcdef") as chain:
            with pytest.raises(ChainUnavailable) as caught:
                async with chain.view():
                    pass
            said = str(caught.value)
            assert first.url in said
            assert "http://127.0.0.1:1:" in said
            assert "0123456789abcdef" not in said


async def test_an_endpoint_comes_from_a_credential_and_its_key_is_shown_nowhere(node, contracts, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    secret = "0123456789abcdef"
    with ScriptedRpc(node.url) as rpc:
        named = {"credential:rpc": f"{rpc.url}/v3/{secret}\n"}
        async with chain_of("credential:rpc", resolve=named.__getitem__) as chain:
            assert chain.health()[0].endpoint == "credential:rpc"
            async with chain.view() as view:
                assert view.endpoint == rpc.url
                rpc.faults["*"] = Error(-32000, f"project {secret} is unknown")
                with pytest.raises(EndpointFault, match="project … is unknown") as caught:
                    await view.block(1)
                assert secret not in repr((view, caught.value, chain.health()))
    shown = capsys.readouterr()
    assert secret not in caplog.text + shown.out + shown.err


async def test_an_entry_that_is_no_url_is_for_a_person_to_correct():
    for entry in ("ws://127.0.0.1:8545", "localhost:8545", "http://", "http://[::1", "http://x:99999/"):
        with pytest.raises(ChainMisconfigured, match="no http or https URL"):
            chain_of(entry)
    async with chain_of("credential:rpc") as chain:
        for _ in range(2):
            with pytest.raises(ChainMisconfigured, match="credential:rpc"):
                async with chain.view():
                    pass
    async with chain_of() as chain:
        with pytest.raises(ChainMisconfigured, match="names no endpoint"):
            async with chain.view():
                pass


async def test_web3_works_on_the_same_bounded_transport(node, contracts):
    provider = Web3Provider(BoundedProvider(node.url, timeout_s=5, wall_s=lambda: 0.0))
    try:
        web3 = AsyncWeb3(provider)
        assert await web3.eth.chain_id == CHAIN_ID
        log = web3.eth.contract(address=contracts.log.address, abi=artifact("AnchorLog")["abi"])
        assert (await log.functions.latest(bytes(32)).call())[0] == 0
        assert node.url not in str(provider)
    finally:
        await provider.disconnect()


async def test_several_may_ask_at_once(chain, contracts):
    async def look():
        async with chain.view() as view:
            return await view.nonce(NOBODY)

    assert await asyncio.gather(*(look() for _ in range(20))) == 20 * [0]
