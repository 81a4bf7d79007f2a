"""Both contracts on the development chain, through AsyncWeb3 and with signed transactions, as the gateway does it."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import pytest
from devchain_kit import GWEI, Client, RpcFault, artifact, connected, ed25519_key, running
from eth_account import Account
from web3 import AsyncWeb3, Web3
from web3.exceptions import ContractCustomError, ContractLogicError

from gateway.chain.devchain import DevChainOptions

X25519_KEY = bytes(31) + b"\x09"
ROOT = bytes([7]) * 32


@dataclass
class World:
    client: Client
    web3: AsyncWeb3
    registry: Any = None
    log: Any = None

    def address(self, account: int) -> str:
        return self.client.accounts[account].address

    async def send(self, sender: int, call: Any, **fees: int) -> Any:
        """A signed transaction, mined; its receipt."""
        address = self.address(sender)
        nonce = await self.web3.eth.get_transaction_count(address, "pending")
        filled = await call.build_transaction({"from": address, "nonce": nonce} | fees)
        made = Account.sign_transaction(filled, self.client.accounts[sender].private_key)
        sent = await self.web3.eth.send_raw_transaction(made.raw_transaction)
        return await self.web3.eth.wait_for_transaction_receipt(sent, timeout=10, poll_latency=0.02)

    async def deploy(self, name: str, *arguments: Any) -> Any:
        made = artifact(name)
        factory = self.web3.eth.contract(abi=made["abi"], bytecode=made["bytecode"])
        receipt = await self.send(0, factory.constructor(*arguments))
        assert receipt["status"] == 1
        return self.web3.eth.contract(address=receipt["contractAddress"], abi=made["abi"])

    async def deploy_both(self) -> None:
        admin, registrar, suspender = (self.address(account) for account in range(3))
        self.registry = await self.deploy("IdentityRegistry", admin, registrar, suspender)
        self.log = await self.deploy("AnchorLog", self.registry.address)

    def register(self, *devices: tuple[str, int, bytes]) -> Any:
        return self.registry.functions.registerDevices("plant", list(devices))


@pytest.fixture
async def world():
    async with running(DevChainOptions()) as client, connected(client.chain.url) as web3:
        made = World(client, web3)
        await made.deploy_both()
        yield made


async def test_the_life_of_a_device_a_gateway_and_an_anchor(world: World):
    done = await world.send(1, world.register(("pump-1", 1, ed25519_key(1)), ("pump-2", 1, ed25519_key(2))))
    assert (done["status"], len(done["logs"])) == (1, 2)
    miner = ("gw-1", "plant", ed25519_key(9), X25519_KEY, world.address(3))
    await world.send(1, world.registry.functions.registerMiner(miner))
    log_id = Web3.keccak(text="securenet/plant/gw-1")
    await world.send(4, world.log.functions.open(log_id))
    anchored = await world.send(3, world.log.functions.anchor(log_id, 3, ROOT))
    (event,) = world.log.events.Anchored().process_receipt(anchored)
    assert (event["args"]["size"], event["args"]["root"]) == (3, ROOT)
    assert await world.log.functions.latest(log_id).call() == [3, ROOT, False]
    await world.send(2, world.registry.functions.suspend(["pump-1"]))
    status = await world.registry.functions.recordOf(Web3.keccak(text="pump-1")).call()
    assert status[2] == 2


async def test_a_hundred_devices_in_one_transaction_are_registered_in_seconds(world: World):
    devices = [(f"urn:dev:mac:{number:016x}", 1, ed25519_key(number)) for number in range(1, 101)]
    started = time.monotonic()
    done = await world.send(1, world.register(*devices))
    assert (done["status"], len(done["logs"])) == (1, 100)
    assert done["gasUsed"] < 80_000 * 100
    assert time.monotonic() - started < 20  # a second where nothing else runs; docs/adr/0100
    found = await world.registry.events.DeviceRegistered().get_logs(from_block=0)
    assert [event["args"]["id"] for event in found] == [name for name, _, _ in devices]


async def test_a_legacy_transaction_is_taken_as_well(world: World):
    price = await world.web3.eth.gas_price
    done = await world.send(1, world.register(("pump-1", 1, ed25519_key(1))), gasPrice=price)
    assert (done["status"], done["type"], done["effectiveGasPrice"]) == (1, 0, price)
    found = await world.web3.eth.get_transaction(done["transactionHash"])
    assert (found["gasPrice"], found["chainId"], found["blockNumber"]) == (price, 31337, done["blockNumber"])


async def test_the_contracts_own_error_comes_with_its_data_as_geth_gives_it(world: World):
    log_id = bytes(32)
    call = world.log.functions.anchor(log_id, 1, ROOT)
    with pytest.raises(ContractCustomError) as refused:
        await call.call({"from": world.address(5)})
    assert refused.value.data.startswith("0xe8f7ba39")  # NotActiveMiner
    request = {"from": world.address(5), "to": world.log.address, "data": call._encode_transaction_data()}
    for method in ("eth_call", "eth_estimateGas"):
        with pytest.raises(RpcFault) as raw:
            await world.client.ask(method, request)
        assert (raw.value.code, raw.value.message) == (3, "execution reverted")
        assert raw.value.data == refused.value.data


async def test_a_reason_in_words_is_in_the_message_as_well(world: World):
    # revert("no") by hand: Error(string) is copied from the end of the init code and reverted with.
    said = Web3.to_bytes(hexstr="08c379a0" + f"{32:064x}" + f"{2:064x}" + "6e6f".ljust(64, "0"))
    code = bytes.fromhex("6064600c60003960646000fd") + said
    with pytest.raises(ContractLogicError, match="execution reverted: no"):
        await world.web3.eth.call({"data": code})


async def test_a_transaction_that_reverts_is_mined_and_failed(world: World):
    call = world.log.functions.anchor(bytes(32), 1, ROOT)
    done = await world.send(5, call, gas=100_000)
    assert (done["status"], list(done["logs"])) == (0, [])


async def test_what_an_estimate_says_is_enough_and_not_much_more(world: World):
    call = world.register(*[(f"d-{number}", 1, ed25519_key(number)) for number in range(1, 11)])
    estimate = await call.estimate_gas({"from": world.address(1)})
    done = await world.send(1, call, gas=estimate)
    assert done["status"] == 1
    assert done["gasUsed"] <= estimate <= done["gasUsed"] * 1.1


async def test_logs_are_found_by_address_topics_range_and_block(world: World):
    first = await world.send(1, world.register(("a", 1, ed25519_key(1)), ("b", 1, ed25519_key(2))))
    second = await world.send(2, world.registry.functions.suspend(["a"]))
    registered = Web3.keccak(text="DeviceRegistered(bytes32,string,string,uint8,bytes)").to_0x_hex()
    changed = Web3.keccak(text="StatusChanged(bytes32,string,uint8,uint8)").to_0x_hex()
    name_a, name_b = (Web3.keccak(text=name).to_0x_hex() for name in "ab")
    here = {"fromBlock": "earliest", "address": [world.registry.address, world.log.address]}

    async def found(**query: Any) -> list[tuple[int, int]]:
        logs = await world.client.ask("eth_getLogs", query)
        return [(int(log["blockNumber"], 16), int(log["logIndex"], 16)) for log in logs]

    one, two = int(first["blockNumber"]), int(second["blockNumber"])
    assert await found(**here, topics=[[registered, changed]]) == [(one, 0), (one, 1), (two, 0)]
    assert await found(**here, topics=[registered, name_b]) == [(one, 1)]
    assert await found(**here, topics=[None, [name_a]]) == [(one, 0), (two, 0)]
    assert await found(fromBlock=hex(two), toBlock="latest", address=world.registry.address) == [(two, 0)]
    assert await found(blockHash=first["blockHash"].to_0x_hex(), topics=[registered]) == [(one, 0), (one, 1)]
    assert await found(**here, toBlock="0x0") == []
    assert await found(fromBlock=hex(two + 5), toBlock=hex(two + 9)) == []
    assert await found(**(here | {"address": world.address(0)})) == []
    receipt = await world.client.ask("eth_getTransactionReceipt", first["transactionHash"].to_0x_hex())
    assert receipt["logs"] == await world.client.ask("eth_getLogs", here | {"topics": [registered]})


async def test_blocks_come_by_the_timer_and_the_state_of_older_ones_can_be_asked():
    options = DevChainOptions(block_time_s=0.1)
    async with running(options) as client, connected(client.chain.url) as web3:
        world = World(client, web3)
        await asyncio.wait_for(world.deploy_both(), 20)
        done = await world.send(1, world.register(("pump-1", 1, ed25519_key(1))))
        at = done["blockNumber"]
        record = world.registry.functions.recordOf(Web3.keccak(text="pump-1"))
        assert [(await record.call(block_identifier=number))[2] for number in (at - 1, at)] == [0, 1]
        head = await web3.eth.get_block("latest")
        assert abs(head["timestamp"] - time.time()) < 3, "the chain's clock runs with ours, ten blocks a second"


async def test_fees_are_asked_for_as_on_a_real_chain(world: World):
    history = await world.web3.eth.fee_history(4, "latest", [25, 75])
    assert len(history["baseFeePerGas"]) == 1 + len(history["gasUsedRatio"]) == 1 + len(history["reward"])
    assert history["reward"][-1] == [GWEI, GWEI]
    newest = await world.web3.eth.get_block("pending")
    assert history["baseFeePerGas"][-1] == newest["baseFeePerGas"]
    assert await world.web3.eth.max_priority_fee == GWEI
    assert await world.web3.eth.gas_price == newest["baseFeePerGas"] + GWEI
