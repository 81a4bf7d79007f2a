"""What the development chain refuses, and in which words: its methods on one chain, without HTTP."""

from typing import Any

import pytest
from devchain_kit import GWEI, RpcFault, signed_by
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.devchain import BLOCK_GAS_LIMIT, CHAIN_ID, DevAccount
from gateway.chain.devchain_evm import Evm, TxRefused
from gateway.chain.devchain_methods import dispatch
from gateway.chain.devchain_node import Node, Rules
from gateway.chain.devchain_pool import Pool
from gateway.chain.devchain_rpc import Call

NOW_S = 1_800_000_000


class Asked:
    """One node, asked as a client asks; blocks come when they are asked for."""

    def __init__(self) -> None:
        evm = Evm(CHAIN_ID, 10, BLOCK_GAS_LIMIT, NOW_S)
        self.node = Node(evm, Pool(), Rules(finality_blocks=2, mine_at_once=False), lambda: NOW_S)
        self.accounts = [DevAccount(address, "0x" + key.hex()) for address, key in evm.accounts()]

    def ask(self, method: str, *params: Any) -> Any:
        said = dispatch(self.node, Call(1, method, list(params), silent=False))
        if "error" in said:
            raise RpcFault(said["error"])
        return said["result"]

    def number(self, method: str, *params: Any) -> int:
        return int(self.ask(method, *params), 16)

    def signed(self, **fields: Any) -> str:
        return signed_by(self.accounts[0], {"to": self.accounts[9].address, "chainId": CHAIN_ID} | fields)

    def send(self, **fields: Any) -> str:
        return self.ask("eth_sendRawTransaction", self.signed(**fields))


@pytest.fixture(scope="module")
def chain() -> Asked:
    return Asked()


@pytest.fixture
def node(chain: Asked):
    """The chain as it was born; what the test did is undone."""
    snapshot = chain.node.take_snapshot()
    yield chain
    chain.node.revert_to(snapshot)


def refused(words: str):
    return pytest.raises(RpcFault, match=words)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"value": 2}, "^-32000: replacement transaction underpriced$"),
        ({"value": 2, "maxFeePerGas": 9 * GWEI}, "replacement transaction underpriced"),
        (
            {"value": 2, "maxFeePerGas": int(3.2 * GWEI), "maxPriorityFeePerGas": 2 * GWEI},
            "replacement .* underpriced",
        ),
        ({}, "^-32000: already known$"),
        ({"nonce": 1, "value": 10**23}, "insufficient funds for gas \\* price \\+ value: balance"),
        ({"nonce": 1, "value": 10**22 - 21_000 * 3 * GWEI}, "queued cost 63000000000001"),
        ({"nonce": 1, "gas": 20_999}, "intrinsic gas too low: gas 20999, minimum needed 21000"),
        ({"nonce": 1, "gas": 30_000_001}, "exceeds block gas limit"),
        ({"nonce": 1, "data": b"x" * 131_072, "gas": 9_000_000}, "oversized data: transaction size .*, limit 131072"),
        ({"nonce": 1, "data": b"x" * 5_000, "gas": 110_000}, "insufficient gas for floor data gas cost"),
        ({"nonce": 1, "chainId": 1}, "invalid chain id for signer: have 1 want 31337"),
        ({"nonce": 1, "chainId": 1, "gasPrice": GWEI}, "invalid chain id for signer: have 1 want 31337"),
        ({"nonce": 1, "maxPriorityFeePerGas": 4 * GWEI}, "max priority fee per gas higher than max fee per gas"),
    ],
)
def test_a_transaction_is_refused_in_the_words_of_geth(node, fields, words):
    node.send(nonce=0)
    with refused(words):
        node.send(**({"nonce": 0} | fields))
    node.ask("evm_mine")
    assert node.number("eth_getTransactionCount", node.accounts[0].address, "pending") == 1


def test_calls_are_held_to_the_senders_money_where_a_fee_is_named(node):
    poor, to = "0x" + "11" * 20, node.accounts[0].address
    assert node.ask("eth_call", {"from": poor, "to": to}) == "0x"
    with refused("insufficient funds for gas \\* price \\+ value: address 0x1111"):
        node.ask("eth_call", {"from": poor, "to": to, "value": "0x1"})
    with refused("gas required exceeds allowance \\(0\\)"):
        node.ask("eth_estimateGas", {"from": poor, "to": to, "maxFeePerGas": hex(5 * GWEI)})
    with refused("max fee per gas less than block base fee"):
        node.ask("eth_estimateGas", {"from": to, "to": poor, "maxFeePerGas": "0x1"})
    assert node.number("eth_estimateGas", {"from": to, "to": poor}) == 21_000
    with refused("intrinsic gas too low"):
        node.ask("eth_call", {"to": to, "gas": "0x1"})


def test_endless_work_ends_with_the_gas(node):
    loop = {"data": "0x5b600056", "gas": hex(200_000)}
    with refused("^-32000: out of gas$"):
        node.ask("eth_call", loop)
    with refused("gas required exceeds allowance \\(200000\\)"):
        node.ask("eth_estimateGas", loop)


@pytest.mark.parametrize(
    ("method", "params", "code", "words"),
    [
        ("eth_nothing", [], -32601, "does not exist"),
        ("__init__", [], -32601, "does not exist"),
        ("eth_chainId", [1], -32602, "too many arguments, want at most 0"),
        ("eth_getBalance", [], -32602, "missing value for required argument 0"),
        ("eth_getBalance", ["0x12"], -32602, "invalid argument 0: hex string has length 2, want 40"),
        ("eth_getBalance", [None], -32602, "missing value"),
        ("eth_getBlockByNumber", ["newest", False], -32602, "hex string without 0x prefix"),
        ("eth_getBlockByNumber", ["0x01", False], -32602, "leading zero"),
        ("eth_getBlockByNumber", ["0x1", 1], -32602, "invalid argument 1: not a boolean"),
        ("eth_getBlockByNumber", ["0x" + "f" * 65, False], -32602, "> 256 bits"),
        ("eth_getBlockByHash", [7, False], -32602, "not a string"),
        ("eth_getTransactionCount", ["0x" + "1" * 40, "0x99"], -32000, "header not found"),
        ("eth_getTransactionCount", ["0x" + "1" * 40, {"blockHash": "0x" + "1" * 64}], -32000, "header not found"),
        ("eth_getTransactionCount", ["0x" + "1" * 40, {}], -32602, "need blockHash or blockNumber"),
        ("eth_call", ["0x"], -32602, "not an object"),
        ("eth_call", [{"data": "0x1"}], -32602, "data: hex string of odd length"),
        ("eth_call", [{"data": "0x01", "input": "0x02"}], -32602, "not equal"),
        ("eth_call", [{"data": "0xfe"}], -32000, "execution failed: InvalidInstruction"),
        ("eth_getLogs", [{"topics": [None] * 5}], -32602, "exceed max topics"),
        ("eth_getLogs", [{"blockHash": "0x" + "1" * 64}], -32000, "unknown block"),
        ("eth_getLogs", [{"blockHash": "0x" + "1" * 64, "toBlock": "0x1"}], -32602, "cannot specify both"),
        ("eth_getLogs", [{"fromBlock": "0x5", "toBlock": "0x4"}], -32000, "invalid block range"),
        ("eth_getLogs", [{"address": ["0x" + "1" * 40] * 1001}], -32602, "more than 1000 alternatives"),
        ("eth_feeHistory", ["0x1", "latest", [50, 10]], -32602, "no rising numbers"),
        ("eth_feeHistory", ["0x1", "latest", [101]], -32602, "not within 0 and 100"),
        ("eth_feeHistory", ["0x1", "0x9"], -32000, "request beyond head block"),
        ("eth_sendRawTransaction", ["0x"], -32000, "invalid transaction"),
        ("eth_sendRawTransaction", ["0x02"], -32000, "rlp"),
        ("eth_sendRawTransaction", ["0x7f00"], -32000, "invalid transaction"),
        ("eth_sendRawTransaction", ["0xc0"], -32000, "rlp"),
        ("evm_mine", ["0xffff"], -32005, "at most 256 blocks"),
        ("evm_revert", ["0x9"], None, None),
    ],
)
def test_a_bad_call_gets_a_named_error(node, method, params, code, words):
    if code is None:
        assert node.ask(method, *params) is False
        return
    with refused(words) as fault:
        node.ask(method, *params)
    assert fault.value.code == code


def test_nobody_snapshots_without_end(node):
    for _ in range(63):  # the fixture has one
        node.ask("evm_snapshot")
    with refused("at most 64 snapshots"):
        node.ask("evm_snapshot")


@given(
    start=st.sampled_from(["legacy", "dynamic", "access list"]),
    cut=st.integers(0, 180),
    change=st.binary(min_size=1, max_size=3),
)
def test_a_changed_transaction_is_refused_by_name_or_is_another_one(chain: Asked, start, cut, change):
    fields = {
        "legacy": {"gasPrice": GWEI},
        "dynamic": {},
        "access list": {"gasPrice": GWEI, "accessList": [{"address": chain.accounts[1].address, "storageKeys": [7]}]},
    }[start]
    good = bytes.fromhex(chain.signed(nonce=0, **fields)[2:])
    changed = good[:cut] + change + good[cut + len(change) :]
    try:
        entry = chain.node.evm.decode(changed)
    except TxRefused:
        return
    assert (entry.payload.encode(), entry.hash == chain.node.evm.decode(good).hash) == (changed, changed == good)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_transaction_are_refused_by_name(chain: Asked, raw):
    with pytest.raises(TxRefused):
        chain.node.evm.decode(raw)


def test_no_depth_of_lists_ends_the_process(chain: Asked):
    nested = b"\xc0"
    while len(nested) < 20_000:
        size = len(nested)
        width = (size.bit_length() + 7) // 8
        nested = (bytes([0xC0 + size]) if size < 56 else bytes([0xF7 + width]) + size.to_bytes(width, "big")) + nested
    for raw in (nested, b"\x02" + nested):
        with pytest.raises(TxRefused, match="rlp"):
            chain.node.evm.decode(raw)
