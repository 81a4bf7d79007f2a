"""The chain client against endpoints that hang, lie, flood and refuse: each a clear fault, nothing believed."""

import asyncio
import json
import time

import pytest
from chain_client_kit import Clocks, chain_of, everything_of, raw_address
from support.anvil import Anvil
from support.contracts_kit import Chain, device
from support.scripted_rpc import (
    Answer,
    Body,
    Change,
    Drip,
    Endless,
    Error,
    Hang,
    HangUp,
    Late,
    ScriptedRpc,
    Status,
    Times,
)

from gateway.chain.port import ChainMisconfigured, ChainUnavailable, EndpointFault, TooManyLogs

NOBODY = 20 * b"\x77"
HASH = "0x" + 64 * "a"
BLOCKS = "eth_getBlockByNumber"
DEEP = b'{"jsonrpc": "2.0", "id": %ID%, "result": ' + 3000 * b"[" + 3000 * b"]" + b"}"
BOMB = b'{"jsonrpc": "2.0", "id": %ID%, "result": "0x' + 64 * 2**20 * b"0" + b'"}'


@pytest.fixture(scope="module")
def node():
    with Anvil("--slots-in-an-epoch", "1") as running:
        yield running


@pytest.fixture(scope="module")
def contracts(node):
    deployed = Chain(node.web3())
    deployed.register("plant", *[device(f"d{number}", number + 1) for number in range(5)])
    deployed.register("plant", *[device(f"e{number}", number + 11) for number in range(5)])
    return deployed


@pytest.fixture
def rpc(node, contracts):
    with ScriptedRpc(node.url) as endpoint:
        yield endpoint


@pytest.fixture
def clocks():
    return Clocks()


@pytest.fixture
async def chain(rpc, clocks):
    async with chain_of(rpc.url, clocks=clocks) as opened:
        yield opened


async def fault_of(chain, kind=ChainUnavailable):
    """What is said when no view can be had."""
    with pytest.raises(kind) as caught:
        async with chain.view():
            pass
    return str(caught.value)


def only(asked_tag, change):
    """Changes the block of one tag or height alone."""
    return Change(lambda params, result: change(result) if params[0] == asked_tag else result)


TRANSPORT = {
    "hangs": (Hang(), "no answer within 0.5 s"),
    "drips": (Drip(0.05), "no answer within 0.5 s"),
    "hangs up": (HangUp(), "hung up"),
    "is endless": (Endless(), "larger than"),
    "is a bomb": (Body(BOMB, zipped=True), "larger than|broke off|the request failed"),
    "is not zipped as it says": (Status(200, {"Content-Encoding": "gzip"}, b"no"), "the request failed|broke off"),
    "is garbage": (Body(b"\xff\x00garbage"), "no JSON"),
    "is empty": (Body(b""), "no JSON"),
    "is too deep": (Body(DEEP), "no JSON"),
    "is a huge number": (Body(b'{"jsonrpc": "2.0", "id": %ID%, "result": ' + 9999 * b"9" + b"}"), "no JSON"),
    "is not a number": (Body(b'{"jsonrpc": "2.0", "id": %ID%, "result": NaN}'), "no JSON"),
    "is a list": (Body(b"[]"), "no object"),
    "is to another request": (Body(b'{"jsonrpc": "2.0", "id": 77, "result": "0x1"}'), "another request"),
    "is of another protocol": (Body(b'{"id": %ID%, "result": "0x1"}'), "no JSON-RPC"),
    "says nothing": (Body(b'{"jsonrpc": "2.0", "id": %ID%}'), "neither a result nor an error"),
    "is a redirect": (Status(301, {"Location": "http://127.0.0.1:1/"}), "redirects"),
    "is a 401": (Status(401), "is the key in its URL right"),
    "is a 500": (Status(500), "HTTP 500"),
    "is a 503": (Status(503), "HTTP 503"),
    "is a 429": (Status(429), "fewer requests"),
    "is an error": (Error(-32000, "no\x1b[31m\u202esuch thing"), r"no\\x1b\[31m\\u202esuch thing"),
    "is an error with another status": (Error(-32000, "not today", status=400), "not today"),
    "is a rate limit in words": (
        Error(-32005, "daily request count exceeded, request rate limited"),
        "fewer requests",
    ),
}


@pytest.mark.parametrize("case", TRANSPORT)
async def test_an_endpoint_is_passed_over_whose_answer(case, chain, rpc):
    fault, words = TRANSPORT[case]
    rpc.faults["eth_chainId"] = fault
    with pytest.raises(ChainUnavailable, match=words) as caught:
        async with chain.view():
            pass
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 700
    assert chain.health()[0].fault


BLOCK_LIES = {
    "nothing": (None, "it has no latest block"),
    "text": ("0x1", "no object"),
    "no hash": ({"hash": None}, "block's hash"),
    "a short hash": ({"hash": "0x1234"}, "2 bytes instead of 32"),
    "a hash with blanks": ({"hash": "0x" + 62 * "a" + "  "}, "no hexadecimal"),
    "a huge number": ({"number": "0x" + 64 * "f"}, "more than 64 bits"),
    "a number in decimal": ({"number": 12}, "no quantity"),
    "an underlined number": ({"number": "0x1_0"}, "no quantity"),
    "a base fee that is none": ({"baseFeePerGas": "many"}, "base fee"),
    "a block from the year 2500": ({"timestamp": "0x3e4b1a200"}, "ahead of this machine's clock"),
    "a block of 1970": ({"timestamp": "0x1"}, "it has stopped, or this machine's clock is wrong"),
}


@pytest.mark.parametrize("case", BLOCK_LIES)
async def test_a_head_is_refused_that_is(case, chain, rpc):
    lie, words = BLOCK_LIES[case]
    rpc.faults[BLOCKS] = only("latest", lambda block: {**block, **lie} if isinstance(lie, dict) else lie)
    assert words in await fault_of(chain)


async def test_without_a_finalized_tag_the_way_out_is_named(chain, rpc, clocks):
    rpc.faults[BLOCKS] = only("finalized", lambda block: None)
    assert 'set chain.finality = "confirmations"' in await fault_of(chain)
    clocks.monotonic_ahead_s += 100
    rpc.faults[BLOCKS] = Error(-39001, "unknown block")
    assert 'set chain.finality = "confirmations"' in await fault_of(chain)


async def test_another_chain_is_for_a_person_to_correct(chain, rpc, clocks):
    rpc.faults["eth_chainId"] = Answer("0x1")
    for _ in range(2):  # while it rests, too
        assert "it serves chain 1, and chain.chain_id is 31337" in await fault_of(chain, ChainMisconfigured)
    del rpc.faults["eth_chainId"]
    clocks.monotonic_ahead_s += 100
    async with chain.view():
        pass


async def test_one_endpoint_of_another_chain_is_out_and_the_others_serve(rpc, node, capsys):
    rpc.faults["eth_chainId"] = Answer("0x1")
    async with chain_of(rpc.url, node.url) as chain:
        for _ in range(3):
            async with chain.view() as view:
                assert view.endpoint == node.url
        assert "it serves chain 1" in chain.health()[0].fault
    assert capsys.readouterr().out.count("chain.endpoint_down") == 1


async def test_the_chain_id_is_asked_again_after_a_fault(chain, rpc, clocks):
    for _ in range(3):
        async with chain.view():
            pass
    assert rpc.asked("eth_chainId") == 1
    rpc.faults[BLOCKS] = Status(502)
    await fault_of(chain)
    rpc.faults = {"eth_chainId": Answer("0x1")}
    clocks.monotonic_ahead_s += 100
    await fault_of(chain, ChainMisconfigured)


async def test_a_head_that_stands_still_is_stale_in_the_end(chain, clocks, node):
    async with chain.view():
        pass
    clocks.wall_ahead_s += 1000
    assert "s old, 900 s are allowed" in await fault_of(chain)
    head = chain.health()[0]
    assert head.head_age_s is not None
    assert head.head_age_s > 900


@pytest.mark.parametrize("finality", ["finalized", "confirmations"])
async def test_a_head_may_fall_back_a_little_and_not_far(finality):
    with Anvil("--slots-in-an-epoch", "1") as node, ScriptedRpc(node.url) as rpc:
        web3 = node.web3()
        web3.provider.make_request("anvil_mine", ["0x64"])
        clocks = Clocks()
        async with chain_of(rpc.url, clocks=clocks, finality=finality, confirmations=70) as chain:
            async with chain.view():
                pass
            rpc.faults[BLOCKS] = only("latest", lambda _: rpc_block(node, 98))
            async with chain.view() as view:
                assert view.head.number == 98
            rpc.faults[BLOCKS] = Change(lambda params, result: rpc_block(node, 20))
            assert "goes back in time: its newest block is 20, and was 100" in await fault_of(chain)


async def test_a_final_block_never_falls_back(chain, rpc):
    async with chain.view() as view:
        final = view.final.number
    rpc.faults[BLOCKS] = only("finalized", lambda block: {**block, "number": hex(final - 1)})
    assert f"its final block is {final - 1}, and was {final}" in await fault_of(chain)


async def test_a_final_block_keeps_its_hash(chain, rpc):
    async with chain.view():
        pass
    rpc.faults[BLOCKS] = only("finalized", lambda block: {**block, "hash": HASH})
    assert "contradicts itself" in await fault_of(chain)


async def test_a_final_block_is_not_above_the_head(chain, rpc):
    rpc.faults[BLOCKS] = only("finalized", lambda block: {**block, "number": "0xffff"})
    assert "contradicts itself: block 65535 is final" in await fault_of(chain)


async def test_an_endpoint_rests_longer_each_time_and_as_long_as_it_wishes(chain, rpc, clocks):
    rpc.faults["*"] = Status(503)
    for asked, rest_s in enumerate((1, 2, 4, 8, 16, 32, 60, 60), start=1):
        await fault_of(chain)
        assert rpc.asked("eth_chainId") == asked
        clocks.monotonic_ahead_s += rest_s - 0.5
        assert "asked again in" in await fault_of(chain)
        assert rpc.asked("eth_chainId") == asked
        clocks.monotonic_ahead_s += 0.6
    rpc.faults["*"] = Status(429, {"Retry-After": "300"})
    await fault_of(chain)
    clocks.monotonic_ahead_s += 290
    rpc.faults.clear()
    await fault_of(chain)
    clocks.monotonic_ahead_s += 11
    async with chain.view():
        pass


async def test_an_endpoint_that_only_knows_its_head_does_not_keep_the_others_from_serving(rpc, node, contracts):
    """Whatever the time between two looks: here it is longer than any rest."""
    rpc.faults["eth_getLogs"] = Error(-32601, "not on this plan")
    clocks = Clocks()
    served = 0
    async with chain_of(rpc.url, node.url, clocks=clocks) as chain:
        for _ in range(20):
            clocks.monotonic_ahead_s += 100
            async with chain.view() as view:
                try:
                    await view.logs(everything_of(contracts.registry), 0, 1)
                except EndpointFault:
                    continue
                served += 1
    assert served >= 15


async def test_requests_are_paced(rpc):
    async with chain_of(rpc.url, requests_per_s=20.0) as chain, chain.view() as view:
        started = time.monotonic()
        for _ in range(90):
            await view.nonce(NOBODY)
        assert 0.4 < time.monotonic() - started < 4


async def test_another_block_than_asked_is_a_lie(chain, rpc):
    async with chain.view() as view:
        rpc.faults[BLOCKS] = Change(lambda params, result: {**result, "number": "0x2"})
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
        ({"gasUsed": "0x" + 60 * "f"}, "more than 64 bits"),
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
        with pytest.raises(EndpointFault, match="more than 64 bits"):
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


def rpc_block(node, number):
    return node.web3().provider.make_request(BLOCKS, [hex(number), False])["result"]
