"""Opening a view of an endpoint that hangs, lies, floods or refuses: each a clear fault, and another is asked."""

import time

import pytest
from chain_client_kit import BLOCKS, HASH, NOBODY, Clocks, chain_of, everything_of
from support.anvil import Anvil
from support.scripted_rpc import (
    Answer,
    Body,
    Change,
    Drip,
    Endless,
    Error,
    Hang,
    HangUp,
    ScriptedRpc,
    Status,
)

from gateway.chain.port import ChainMisconfigured, ChainUnavailable, EndpointFault

DEEP = b'{"jsonrpc": "2.0", "id": %ID%, "result": ' + 3000 * b"[" + 3000 * b"]" + b"}"
BOMB = b'{"jsonrpc": "2.0", "id": %ID%, "result": "0x' + 64 * 2**20 * b"0" + b'"}'


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
    "a huge number": ({"number": "0x" + 64 * "f"}, "more than 63 bits"),
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


def rpc_block(node, number):
    return node.web3().provider.make_request(BLOCKS, [hex(number), False])["result"]
