"""Questions to an endpoint that was well and now lies, refuses or is slow: nothing is believed."""

import asyncio
import json
import time

import pytest
from chain_client_kit import HASH, NOBODY, chain_of, everything_of, raw_address
from support.scripted_rpc import Answer, Body, Change, Error, Hang, Late, Status, Times

from gateway.chain.port import EndpointFault, TooManyLogs


async def test_another_block_than_asked_is_a_lie(chain, rpc):
    async with chain.view() as view:
        rpc.faults["eth_getBlockByNumber"] = Change(lambda params, result: {**result, "number": "0x2"})
        with pytest.raises(EndpointFault, match="it is block 2, asked for 1"):
            await view.block(1)
        rpc.faults.clear()
        with pytest.raises(EndpointFault, match="asked for 1"):  # the view is spent
            await view.nonce(NOBODY)


def first(**members):
    return Change(lambda params, result: [{**result[0], **members}, *result[1:]])


LOG_LIES = {
    "outside of the range": (first(blockNumber="0xff"), "an event of block 255"),
    "of another contract": (first(address="0x" + 40 * "1"), "a contract that was not asked for"),
    "of another kind": (first(topics=[HASH]), "a kind that was not asked for"),
    "without topics": (first(topics=[]), "a kind that was not asked for"),
    "with five topics": (first(topics=5 * [HASH]), "more than four topics"),
    "removed": (first(removed=True), "removed"),
    "in a block of two hashes": (first(blockHash=HASH), "two hashes of block"),
    "with a huge index": (first(logIndex="0x" + 65 * "1"), "no quantity"),
    "no list": (Answer({}), "no list"),
    "null": (Answer(None), "no list"),
    "twice": (Change(lambda params, result: [result[0], *result]), "twice, or out of order"),
    "out of order": (Change(lambda params, result: result[::-1]), "twice, or out of order"),
}


@pytest.mark.parametrize("case", LOG_LIES)
async def test_events_are_refused_that_are(case, chain, rpc, contracts):
    fault, words = LOG_LIES[case]
    wanted = everything_of(contracts.registry)
    async with chain.view() as view:
        kind = (await view.logs(wanted, 0, view.head.number))[-1].topics[0]
        wanted = wanted._replace(topics=((kind,),))
        rpc.faults["eth_getLogs"] = fault
        with pytest.raises(EndpointFault, match=words):
            await view.logs(wanted, 0, view.head.number)


async def test_events_that_contradict_the_final_block_are_refused(chain, rpc, contracts):
    wanted = everything_of(contracts.registry)
    async with chain.view() as view:
        start = (await view.logs(wanted, 0, view.head.number))[-1].block_number
    contracts.web3.provider.make_request("anvil_mine", [hex(start + 2 - view.head.number)])
    async with chain.view() as view:
        assert view.final.number == start
        rpc.faults["eth_getLogs"] = Change(lambda params, result: [{**log, "blockHash": HASH} for log in result])
        with pytest.raises(EndpointFault, match="two hashes of final block"):
            await view.logs(wanted, start, view.head.number)


TOO_MANY = {
    "by infura": Error(-32005, "query returned more than 10000 results"),
    "by alchemy": Error(
        -32602, "Log response size exceeded. You can make eth_getLogs requests with up to a 2K range"
    ),
    "by quicknode": Error(-32614, "eth_getLogs is limited to a 10,000 range"),
    "by ankr": Error(-32062, "Block range is too large"),
    "by geth": Error(-32000, "query timeout exceeded"),
    "by erigon": Error(-32000, "query block range exceeds the limit"),
    "by besu": Error(-32000, "Requested range exceeds maximum RPC range limit"),
    "by nethermind": Error(-32005, "Too many logs requested. Max logs per response is 20000."),
    "by a proxy": Status(413),
    "by a proxy's time-out": Status(504),
    "by silence": Hang(),
    "by our own bound": Body(b'{"jsonrpc": "2.0", "id": %ID%, "result": "0x' + 9 * 2**20 * b"0" + b'"}'),
}


@pytest.mark.parametrize("case", TOO_MANY)
async def test_too_many_events_at_once_are_told(case, chain, rpc, contracts):
    wanted = everything_of(contracts.registry)
    async with chain.view() as view:
        rpc.faults["eth_getLogs"] = TOO_MANY[case]
        with pytest.raises(TooManyLogs, match="blocks 0 to 2"):
            await view.logs(wanted, 0, 2)
        rpc.faults.clear()
        assert await view.logs(wanted, 0, 1)
        assert not view.spent
        rpc.faults["eth_getLogs"] = TOO_MANY["by infura"]
        with pytest.raises(EndpointFault):  # not even one block
            await view.logs(wanted, 1, 1)


async def test_an_endpoint_that_hangs_at_everything_is_not_asked_for_ever_fewer_blocks(chain, rpc, contracts):
    async with chain.view() as view:
        rpc.faults["*"] = Hang()
        with pytest.raises(EndpointFault, match="no answer within"):
            await view.logs(everything_of(contracts.registry), 0, 2)


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ({"transactionHash": HASH}, "another transaction"),
        ({"status": "0x2"}, "neither 0 nor 1"),
        ({"status": None}, "no quantity"),
        ({"gasUsed": "0x8" + 15 * "0"}, "the gas used has more than 63 bits"),
        ({"effectiveGasPrice": "0x8" + 15 * "0"}, "the gas price has more than 63 bits"),
        ({"logs": None}, "no list"),
        ({"blockNumber": "0x1"}, "an event of another transaction"),
    ],
)
async def test_a_receipt_is_refused_that_lies(lie, words, chain, rpc, contracts):
    async with chain.view() as view:
        mined = (await view.logs(everything_of(contracts.registry), 2, view.head.number))[-1].tx_hash
        assert await view.receipt(mined) is not None
        rpc.faults["eth_getTransactionReceipt"] = Change(lambda params, result: {**result, **lie})
        with pytest.raises(EndpointFault, match=words):
            await view.receipt(mined)


async def test_a_receipt_of_a_block_that_is_not_canonical_is_none(chain, rpc, contracts):
    def orphaned(params, result):
        logs = [{**log, "blockHash": HASH} for log in result["logs"]]
        return {**result, "blockHash": HASH, "logs": logs}

    async with chain.view() as view:
        mined = (await view.logs(everything_of(contracts.registry), 2, view.head.number))[-1].tx_hash
        rpc.faults["eth_getTransactionReceipt"] = Change(orphaned)
        assert await view.receipt(mined) is None
        rpc.faults["eth_getTransactionReceipt"] = Change(lambda params, result: {**result, "blockHash": None})
        assert await view.receipt(mined) is None


async def test_a_pushed_transaction_must_be_the_one_that_is_confirmed(chain, rpc):
    async with chain.view() as view:
        rpc.faults["eth_sendRawTransaction"] = Answer(HASH)
        with pytest.raises(EndpointFault, match="another transaction than was sent"):
            await view.send(b"\x02\x01")


async def test_counts_that_are_too_large_are_refused(chain, rpc):
    rpc.faults["eth_getTransactionCount"] = Answer("0x1" + 16 * "0")
    async with chain.view() as view:
        with pytest.raises(EndpointFault, match="more than 63 bits"):
            await view.nonce(NOBODY)


async def test_without_a_tip_of_its_own_the_endpoints_history_or_price_is_taken(chain, rpc):
    rpc.faults["eth_maxPriorityFeePerGas"] = Error(-32601, "the method does not exist")
    rpc.faults["eth_feeHistory"] = Answer({"reward": [["0x3"], ["0x1"], ["0x2"], []]})
    async with chain.view() as view:
        assert (await view.fees()).priority_fee_wei == 2
        rpc.faults["eth_feeHistory"] = Error(-32601, "the method does not exist")
        rpc.faults["eth_gasPrice"] = Answer(hex(view.head.base_fee_wei + 7))
        assert (await view.fees()).priority_fee_wei == 7
        rpc.faults["eth_feeHistory"] = Answer({"reward": "none"})
        with pytest.raises(EndpointFault, match="the tips are no list"):
            await view.fees()


async def test_an_error_that_is_no_revert_is_the_endpoints_fault(chain, rpc):
    async with chain.view() as view:
        rpc.faults["eth_call"] = Error(-32000, "missing trie node")
        with pytest.raises(EndpointFault, match="missing trie node"):
            await view.call(NOBODY, b"")


async def test_a_slow_answer_within_its_time_is_an_answer(chain, rpc):
    rpc.faults["eth_getBalance"] = Late(0.2)
    async with chain.view() as view:
        assert await view.balance(NOBODY) == 0


async def test_a_question_that_is_given_up_leaves_the_view_as_it_was(chain, rpc):
    rpc.faults["eth_getBalance"] = Times(1, Hang())
    async with chain.view() as view:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await view.balance(NOBODY)
        assert await view.balance(NOBODY) == 0


async def test_many_events_leave_the_loop_free(rpc, contracts):
    """5,000 events of some 8 MB: parsed off the loop, which is never held up for long."""
    wanted = everything_of(contracts.registry)
    async with chain_of(rpc.url) as chain, chain.view() as view:
        one = (await view.logs(wanted, 0, view.head.number))[-1]
    entry = {
        "address": "0x" + raw_address(contracts.registry.address).hex(),
        "topics": ["0x" + topic.hex() for topic in one.topics],
        "data": "0x" + one.data.hex(),
        "blockHash": HASH,
        "blockNumber": "0x2",
        "transactionHash": HASH,
        "removed": False,
    }
    many = json.dumps([{**entry, "logIndex": hex(index)} for index in range(5000)], separators=(",", ":"))
    rpc.faults["eth_getLogs"] = Body(b'{"jsonrpc":"2.0","id":%ID%,"result":' + many.encode() + b"}")
    longest = 0.0

    async def beat():
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - before)

    async with chain_of(rpc.url, timeout_s=20) as patient, patient.view() as view:
        beating = asyncio.create_task(beat())
        started = time.monotonic()
        found = await view.logs(wanted, 0, 3)
        took = time.monotonic() - started
        beating.cancel()
    assert len(found) == 5000
    assert took < 3
    assert longest < 0.25
