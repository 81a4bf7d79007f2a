"""The same conversation with the development chain and with anvil: what the gateway relies on must not differ."""

import asyncio
from typing import Any

import pytest
from devchain_kit import GWEI, Client, RpcFault, artifact, ed25519_key, running, signed
from support.anvil import Anvil
from web3 import Web3

GAS = 6_000_000


async def conversation(client: Client) -> dict[str, Any]:
    """Deploy, register, be refused, replace: everything that was said."""
    said: dict[str, Any] = {}
    web3 = Web3()
    registry = web3.eth.contract(abi=artifact("IdentityRegistry")["abi"])
    admin = client.accounts[0].address

    async def send(name: str, **fields: Any) -> dict[str, Any]:
        sent = await client.send(**fields)
        for _ in range(100):
            receipt = await client.ask("eth_getTransactionReceipt", sent)
            transaction = await client.ask("eth_getTransactionByHash", sent)
            if receipt is not None and transaction["blockHash"] is not None:
                break
            await asyncio.sleep(0.05)
        said.update({f"{name} receipt": receipt, f"{name} transaction": transaction})
        return receipt

    async def fault(name: str, method: str, *params: Any) -> None:
        with pytest.raises(RpcFault) as refused:
            await client.ask(method, *params)
        said[f"{name} fault"] = (refused.value.code, refused.value.data)

    factory = web3.eth.contract(abi=registry.abi, bytecode=artifact("IdentityRegistry")["bytecode"])
    code = factory.constructor(admin, admin, admin).data_in_transaction
    deployed = await send("deploy", nonce=0, to="", value=0, gas=GAS, data=code)
    address = Web3.to_checksum_address(deployed["contractAddress"])
    devices = [(f"d-{number}", 1, ed25519_key(number)) for number in (1, 2)]
    call = registry.encode_abi("registerDevices", ["plant", devices])
    registered = await send("register", nonce=1, to=address, value=0, gas=GAS, data=call, gasPrice=4 * GWEI)
    await send("failed", nonce=2, to=address, value=0, gas=GAS, data=call)
    request = {"from": admin, "to": address, "data": call}
    await fault("call", "eth_call", request, "latest")
    await fault("estimate", "eth_estimateGas", request)
    with pytest.raises(RpcFault, match="nonce too low"):  # -32000 from geth and here, -32003 from anvil
        await client.ask("eth_sendRawTransaction", signed(client, nonce=0))
    said["logs"] = await client.ask("eth_getLogs", {"address": address, "blockHash": registered["blockHash"]})
    said["block"] = await client.ask("eth_getBlockByHash", registered["blockHash"], False)
    said["code"] = await client.ask("eth_getCode", address, "latest")
    said["count"] = await client.ask("eth_getTransactionCount", admin, "pending")
    said["future"] = await client.ask("eth_getBlockByNumber", "0xffff", False)
    said["unknown"] = await client.ask("eth_getTransactionReceipt", "0x" + "7" * 64)
    said["history"] = await client.ask("eth_feeHistory", "0x2", "latest", [50])
    return said


# Other rules (Osaka there, Prague here), other base fees and clocks, and what only one of the two tells.
DIFFERS = {
    *(
        "hash",
        "blockHash",
        "parentHash",
        "stateRoot",
        "receiptsRoot",
        "mixHash",
        "timestamp",
        "blockTimestamp",
        "size",
    ),
    *("gasUsed", "cumulativeGasUsed", "effectiveGasPrice", "gasPrice", "gasLimit", "baseFeePerGas", "miner"),
    *("difficulty", "nonce", "extraData", "blobGasPrice", "blobGasUsed", "totalDifficulty", "accessList"),
    *("parentBeaconBlockRoot", "gasUsedRatio", "reward", "baseFeePerBlobGas", "blobGasUsedRatio", "excessBlobGas"),
}


def compared(value: Any) -> Any:
    match value:
        case dict():
            return {name: compared(item) for name, item in value.items() if name not in DIFFERS and item is not None}
        case list() | tuple():
            return [compared(item) for item in value]
        case str():
            return value.lower()
        case _:
            return value


async def test_anvil_says_the_same():
    with Anvil() as node:
        async with running() as client:
            here = await conversation(client)
            client.chain.url = node.url
            there = await conversation(client)
    assert compared(here) == compared(there)
    for name in ("register receipt", "register transaction", "block"):
        missing = set(there[name]) - set(here[name]) - DIFFERS
        assert not missing, name
