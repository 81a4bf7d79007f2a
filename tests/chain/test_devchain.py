"""The development chain over raw JSON-RPC: the pool, the blocks, finality, and what it refuses."""

import asyncio
import io
import json
import os
import signal
import socket
import sys

import pytest
from devchain_kit import GWEI, LAZY, RpcFault, connected, running, signed

from gateway.chain import devchain
from gateway.chain.devchain import BODY_MAX_BYTES, DevChain, DevChainError, DevChainOptions, serve
from gateway.chain.devchain_rpc import BATCH_MAX


@pytest.fixture
async def lazy():
    async with running(LAZY) as client:
        yield client


@pytest.fixture
async def eager():
    async with running() as client:
        yield client


def refused(words: str):
    return pytest.raises(RpcFault, match=words)


async def test_a_chain_says_who_it_is(eager):
    assert await eager.number("eth_chainId") == 31337
    assert await eager.ask("net_version") == "31337"
    assert (await eager.ask("web3_clientVersion")).startswith("SecureNetDevChain/")
    assert await eager.number("eth_blockNumber") == 0
    assert eager.accounts[0].address == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "anvil's first account"
    assert await eager.number("eth_getBalance", eager.accounts[0].address, "latest") == 10_000 * 10**18


async def test_another_chain_id_is_honoured_by_signatures_too():
    async with running(DevChainOptions(chain_id=1337)) as client:
        await client.send(nonce=0)
        with refused("invalid chain id for signer: have 31337 want 1337"):
            await client.send(nonce=1, chainId=31337)


async def test_without_a_timer_every_transaction_makes_a_block(eager):
    sent = await eager.send(nonce=0, value=5)
    receipt = await eager.ask("eth_getTransactionReceipt", sent)
    assert (receipt["blockNumber"], receipt["status"], receipt["gasUsed"]) == ("0x1", "0x1", "0x5208")
    block = await eager.ask("eth_getBlockByHash", receipt["blockHash"], True)
    assert [tx["hash"] for tx in block["transactions"]] == [sent]
    assert block["parentHash"] == (await eager.ask("eth_getBlockByNumber", "0x0", False))["hash"]


async def test_a_gap_in_the_nonces_waits_until_it_is_filled(eager):
    later = await eager.send(nonce=1)
    assert await eager.ask("eth_getTransactionReceipt", later) is None
    assert await eager.number("eth_blockNumber") == 0
    await eager.send(nonce=0)
    assert (await eager.ask("eth_getTransactionReceipt", later))["blockNumber"] == "0x2"


async def test_a_waiting_transaction_is_known_and_counted_as_pending(lazy):
    sender = lazy.accounts[0].address
    sent = await lazy.send(nonce=0)
    assert await lazy.ask("eth_getTransactionReceipt", sent) is None
    waiting = await lazy.ask("eth_getTransactionByHash", sent)
    assert (waiting["hash"], waiting["blockHash"], waiting["nonce"]) == (sent, None, "0x0")
    assert [await lazy.number("eth_getTransactionCount", sender, tag) for tag in ("latest", "pending")] == [0, 1]
    assert (await lazy.ask("eth_getBlockByNumber", "pending", False))["transactions"] == [sent]
    await lazy.ask("evm_mine")
    assert [await lazy.number("eth_getTransactionCount", sender, tag) for tag in ("latest", "pending")] == [1, 1]
    assert (await lazy.ask("eth_getTransactionByHash", sent))["blockNumber"] == "0x1"


async def test_a_higher_bid_with_the_same_nonce_replaces_before_the_block(lazy):
    first = await lazy.send(nonce=0, value=1)
    second = await lazy.send(nonce=0, value=2, maxFeePerGas=4 * GWEI, maxPriorityFeePerGas=2 * GWEI)
    await lazy.ask("evm_mine")
    assert await lazy.ask("eth_getTransactionByHash", first) is None
    assert (await lazy.ask("eth_getTransactionReceipt", second))["status"] == "0x1"
    with refused("nonce too low: next nonce 1, tx nonce 0"):
        await lazy.send(nonce=0, value=3, maxFeePerGas=9 * GWEI, maxPriorityFeePerGas=9 * GWEI)


async def test_a_mined_transaction_is_already_known_as_well(eager):
    raw = signed(eager, nonce=0)
    await eager.ask("eth_sendRawTransaction", raw)
    with refused("already known"):
        await eager.ask("eth_sendRawTransaction", raw)


async def test_a_fee_below_the_base_fee_waits(lazy):
    sent = await lazy.send(nonce=0, maxFeePerGas=GWEI // 2, maxPriorityFeePerGas=1)
    await lazy.ask("evm_mine")
    assert await lazy.ask("eth_getTransactionReceipt", sent) is None
    await lazy.ask("evm_mine", "0x8")  # empty blocks bring the base fee down by an eighth each
    assert (await lazy.ask("eth_getTransactionReceipt", sent))["status"] == "0x1"


async def test_the_pool_is_bounded_for_one_and_for_all():
    async with running(DevChainOptions(block_time_s=3600, pool_max=3)) as client:
        for nonce in range(3):
            await client.send(nonce=nonce)
        with refused("txpool is full"):
            await client.send(sender=1, nonce=0)
        await client.send(nonce=2, maxFeePerGas=4 * GWEI, maxPriorityFeePerGas=2 * GWEI)  # a replacement fits
        await client.ask("evm_mine")
        await client.send(sender=1, nonce=0)


async def test_finality_trails_the_head():
    async with running(DevChainOptions(block_time_s=3600, finality_blocks=3)) as client:

        async def heights():
            tags = ("latest", "safe", "finalized", "earliest")
            return [int((await client.ask("eth_getBlockByNumber", tag, False))["number"], 16) for tag in tags]

        assert await heights() == [0, 0, 0, 0]
        sent = await client.send(nonce=0)
        await client.ask("evm_mine", "0x2")
        assert await heights() == [2, 0, 0, 0]
        assert await client.number("eth_getTransactionCount", client.accounts[0].address, "finalized") == 0
        await client.ask("evm_mine", "0x2")
        assert await heights() == [4, 2, 1, 0]
        assert (await client.ask("eth_getTransactionReceipt", sent))["blockNumber"] == "0x1"
        assert await client.number("eth_getTransactionCount", client.accounts[0].address, "finalized") == 1


async def test_a_snapshot_undoes_blocks_and_brings_the_pool_back(lazy):
    waiting = await lazy.send(nonce=0)
    snapshot = await lazy.ask("evm_snapshot")
    await lazy.ask("evm_mine")
    gone = await lazy.ask("eth_getBlockByNumber", "0x1", False)
    await lazy.ask("evm_mine", "0x3")
    assert await lazy.ask("evm_revert", snapshot) is True
    assert await lazy.number("eth_blockNumber") == 0
    assert await lazy.ask("eth_getBlockByHash", gone["hash"], False) is None
    assert await lazy.ask("eth_getTransactionReceipt", waiting) is None
    assert (await lazy.ask("eth_getTransactionByHash", waiting))["blockHash"] is None
    await lazy.ask("evm_mine")
    again = await lazy.ask("eth_getBlockByNumber", "0x1", False)
    assert again["hash"] != gone["hash"], "a block mined anew is another block: a reorg is seen"
    assert (await lazy.ask("eth_getTransactionReceipt", waiting))["blockHash"] == again["hash"]
    assert await lazy.ask("evm_revert", snapshot) is False, "a snapshot is spent"


async def test_state_below_a_revert_is_not_the_state_above(lazy):
    snapshot = await lazy.ask("evm_snapshot")
    await lazy.send(nonce=0, value=7)
    await lazy.ask("evm_mine")
    to = lazy.accounts[9].address
    assert await lazy.number("eth_getBalance", to, "latest") == 10**22 + 7
    await lazy.ask("evm_revert", snapshot)
    assert await lazy.number("eth_getBalance", to, "latest") == 10**22
    await lazy.send(nonce=0, value=9)
    await lazy.ask("evm_mine", "0x5")
    assert await lazy.number("eth_getBalance", to, {"blockNumber": "0x1"}) == 10**22 + 9


async def test_a_batch_is_answered_in_order_and_notifications_are_not(eager):
    calls = [
        {"jsonrpc": "2.0", "id": "a", "method": "eth_chainId"},
        {"jsonrpc": "2.0", "method": "evm_mine"},
        17,
        {"jsonrpc": "2.0", "id": "b", "method": "eth_blockNumber", "params": []},
    ]
    status, said = await eager.post(json.dumps(calls).encode())
    assert (status, [one["id"] for one in said]) == (200, ["a", None, "b"])
    assert (said[1]["error"]["code"], said[2]["result"]) == (-32600, "0x1")
    assert await eager.post(json.dumps(calls[1]).encode()) == (200, None)
    status, said = await eager.post(json.dumps(calls[:1] * (BATCH_MAX + 1)).encode())
    assert (status, said["error"]["code"]) == (200, -32600)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b'{"id":NaN}', b"[" * 100_000, b'"x"', b'{"id":{}}'])
async def test_garbage_is_answered_by_an_error_and_the_chain_lives_on(eager, body):
    status, said = await eager.post(body)
    assert (status, said["id"]) == (200, None)
    assert said["error"]["code"] in {-32700, -32600}
    assert await eager.number("eth_chainId") == 31337


async def test_a_body_that_is_too_long_is_refused(eager):
    status, said = await eager.post(io.BytesIO(b" " * (BODY_MAX_BYTES + 1)))
    assert (status, said["error"]["message"]) == (413, f"content length too large: limit {BODY_MAX_BYTES}")


async def test_a_web_page_cannot_ask(eager):
    assert (await eager.post(b"{}", Host="evil.example"))[0] == 403
    assert (await eager.post(b"{}", Content_Type="text/plain"))[0] == 415
    for host in ("localhost", "127.0.0.1:99", "[::1]:8545"):
        assert (await eager.post(b"{}", Host=host))[0] == 200
    async with eager.session.get(eager.chain.url) as response:
        assert response.status == 405


async def test_more_than_so_many_requests_do_not_wait(eager, monkeypatch):
    monkeypatch.setattr(devchain, "WAITING_MAX", 0)
    status, said = await eager.post(b"{}")
    assert (status, said["error"]["code"]) == (503, -32005)


async def test_a_body_that_does_not_come_is_given_up(eager, monkeypatch):
    monkeypatch.setattr(devchain, "_BODY_S", 0.05)

    async def slow():
        yield b"{"
        await asyncio.sleep(0.5)
        yield b"}"

    async with eager.session.post(eager.chain.url, data=slow(), headers={"Content-Type": "application/json"}) as said:
        assert said.status == 408


async def test_the_port_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(DevChainError, match=f"port {taken.getsockname()[1]} of 127.0.0.1 cannot be used"):
            async with DevChain(DevChainOptions(port=taken.getsockname()[1])):
                pass


async def test_serve_says_when_it_is_ready_and_ends_when_cancelled():
    ready = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(DevChainOptions(block_time_s=0.05), ready.set_result))
    chain = await asyncio.wait_for(ready, 20)
    async with connected(chain.url) as web3:
        while await web3.eth.block_number < 2:
            await asyncio.sleep(0.02)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


async def test_a_timer_that_fails_is_heard_of():
    options = DevChainOptions(block_time_s=0.01)

    async def serve_with_a_broken_clock():
        async with DevChain(options) as chain:
            chain._node._now_s = lambda: 1 // 0
            await asyncio.wait_for(chain.wait_broken(), 20)

    with pytest.raises(ZeroDivisionError):
        await serve_with_a_broken_clock()


async def test_the_module_runs_as_a_child_and_ends_on_sigterm(tmp_path):
    ready = tmp_path / "ready.json"
    command = (sys.executable, "-m", "gateway.chain.devchain", "--port", "0", "--block-time", "0.05")
    child = await asyncio.create_subprocess_exec(
        *command, *("--accounts", "3", "--ready-file", str(ready)), stdout=asyncio.subprocess.PIPE
    )
    said = json.loads(await asyncio.wait_for(child.stdout.readline(), 30))
    assert (said["event"], said["pid"]) == ("devchain-ready", child.pid)
    facts = json.loads(ready.read_text())
    assert (facts["url"], facts["chain_id"], len(facts["accounts"])) == (said["url"], 31337, 3)
    async with connected(facts["url"]) as web3:
        assert await web3.eth.chain_id == 31337
    os.kill(child.pid, signal.SIGTERM)
    rest, _ = await asyncio.wait_for(child.communicate(), 20)
    assert ([json.loads(line)["event"] for line in rest.splitlines()], child.returncode) == (["devchain-stopped"], 0)


async def test_the_gateway_needs_none_of_this_to_start():
    code = (
        "import gateway.cli.main, sys;"
        "sys.exit(any(name.split('.')[0] in ('eth', 'web3', 'eth_tester') for name in sys.modules))"
    )
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await child.wait() == 0


@pytest.mark.parametrize(
    ("prepare", "code", "words"),
    [("sys.modules['eth_tester'] = None", 69, "pip install"), ("", 71, "cannot be used")],
)
async def test_a_child_that_cannot_start_says_what_to_do(prepare, code, words):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        script = f"import sys; {prepare or 'pass'}; from gateway.chain.devchain import main; main()"
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", script, "--port", str(taken.getsockname()[1])),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, errors = await asyncio.wait_for(child.communicate(), 30)
    line = json.loads(said)
    assert (child.returncode, line["event"], errors) == (code, "devchain-failed", b"")
    assert words in line["reason"]
