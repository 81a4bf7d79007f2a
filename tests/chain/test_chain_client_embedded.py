"""The chain client against the embedded development chain: another node, with another machine behind it."""

import pytest
from chain_client_kit import chain_of
from eth_account import Account
from support.contracts_kit import artifact

from gateway.chain.devchain import DevChain, DevChainOptions
from gateway.chain.port import CallReverted, LogFilter, SendKind

GWEI = 10**9
NOBODY = 20 * b"\x77"


@pytest.fixture
async def node():
    async with DevChain(DevChainOptions(block_time_s=3600)) as running:
        yield running


def signed(node, number, **fields):
    account = Account.from_key(node.accounts[number].private_key)
    filled = {
        "value": 0,
        "gas": 4_000_000,
        "nonce": 0,
        "chainId": node.chain_id,
        "maxFeePerGas": 20 * GWEI,
        "maxPriorityFeePerGas": GWEI,
        **fields,
    }
    return account.sign_transaction(filled)


async def test_a_contract_is_deployed_asked_and_reverts(node):
    creation = bytes.fromhex(artifact("AnchorLog")["bytecode"][2:])
    async with chain_of(node.url, chain_id=node.chain_id, timeout_s=20) as chain:
        async with chain.view() as view:
            assert view.final.number == 0
            with pytest.raises(CallReverted) as caught:
                await view.estimate_gas(NOBODY, None, creation + bytes(12) + NOBODY)
            assert caught.value.data[:4].hex() == "ec4813be"  # NotARegistry
            registry = bytes.fromhex(artifact("IdentityRegistry")["bytecode"][2:])
            arguments = b"".join(bytes(12) + 19 * b"\x01" + bytes([one]) for one in range(3))
            deploy = signed(node, 0, data=registry + arguments)
            assert (await view.send(deploy.raw_transaction)).kind is SendKind.ACCEPTED
            assert await view.knows(bytes(deploy.hash))
            assert await view.receipt(bytes(deploy.hash)) is None
        await node.mine(3)
        async with chain.view() as view:
            assert view.head.number - view.final.number == 2
            receipt = await view.receipt(bytes(deploy.hash))
            assert receipt is not None
            assert receipt.succeeded
            assert receipt.price_wei > 0
            found = await view.logs(LogFilter((receipt.logs[0].address,)), 0, view.head.number)
            assert tuple(found) == receipt.logs
            assert await view.code(receipt.logs[0].address)
            with pytest.raises(CallReverted):
                await view.call(receipt.logs[0].address, b"1234")
            assert (await view.fees()).base_fee_wei == view.head.base_fee_wei


async def test_what_is_wrong_with_a_transaction_has_the_same_names(node):
    to = {"to": "0x" + NOBODY.hex(), "gas": 21000}
    async with chain_of(node.url, chain_id=node.chain_id, timeout_s=20) as chain, chain.view() as view:
        one = signed(node, 1, value=1, **to)
        assert (await view.send(one.raw_transaction)).kind is SendKind.ACCEPTED
        assert (await view.send(one.raw_transaction)).kind is SendKind.ALREADY_KNOWN
        assert (await view.send(signed(node, 1, value=2, **to).raw_transaction)).kind is SendKind.UNDERPRICED
        assert (await view.send(signed(node, 1, value=10**30, nonce=1, **to).raw_transaction)).kind is (
            SendKind.OUT_OF_FUNDS
        )
        await node.mine()
        assert (await view.send(signed(node, 1, value=3, **to).raw_transaction)).kind is SendKind.NONCE_TOO_LOW
        assert (await view.send(b"\x02\x01")).kind is SendKind.REFUSED
