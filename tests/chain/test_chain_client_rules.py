"""The pure rules of the chain client: what nodes' words mean, who may be asked when, which heads are believed."""

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain import heads, pace, provider, wire, words
from gateway.chain.port import Block, SendKind

HASHES = st.binary(min_size=32, max_size=32)
NUMBERS = st.integers(0, 2**64 - 1)
BLOCKS = st.builds(Block, NUMBERS, HASHES, HASHES, NUMBERS, st.none())


SENT = {
    SendKind.ALREADY_KNOWN: [
        "already known",
        "ALREADY_EXISTS: already known",
        "Known transaction",
        "known transaction: 0x1234",
        "AlreadyKnown",
        "transaction already imported",
        "Transaction with the same hash was already imported.",
    ],
    SendKind.NONCE_TOO_LOW: [
        "nonce too low",
        "nonce too low: next nonce 5, tx nonce 3",
        "Nonce too low",
        "NONCE_TOO_LOW",
        "OldNonce, Current nonce: 5, nonce of rejected tx: 3",
        "Transaction nonce is too low. Try incrementing the nonce.",
        "invalid transaction nonce: expected 7, got 6",
    ],
    SendKind.UNDERPRICED: [
        "replacement transaction underpriced",
        "transaction underpriced",
        "transaction underpriced: gas tip cap 1, minimum needed 1000000",
        "Gas price below configured minimum gas price",
        "NOT_REPLACED: could not replace existing tx",
        "FEE_TOO_LOW",
        "FeeTooLowToCompete",
        "FeeTooLow, MaxFeePerGas too low",
        "ReplacementNotAllowed",
        "max fee per gas less than block base fee: address 0x1, maxFeePerGas: 1, baseFee: 7",
        "max fee per gas less than block base fee",
    ],
    SendKind.OUT_OF_FUNDS: [
        "insufficient funds for gas * price + value",
        "insufficient funds for gas * price + value: balance 0, tx cost 100, overshot 100",
        "Insufficient funds for gas * price + value",
        "INSUFFICIENT_FUNDS",
        "InsufficientFunds, Account balance: 0, cumulative cost: 1",
        "Upfront cost exceeds account balance",
        "transaction up-front cost 0x5 exceeds transaction sender account balance 0x0",
        "sender doesn't have enough funds to send tx",
    ],
    SendKind.REFUSED: [
        "",
        "nonce too high",
        "txpool is full",
        "intrinsic gas too low",
        "exceeds block gas limit",
        "invalid sender",
        "unknown transaction type: 9",
        "tx fee (1.50 ether) exceeds the configured cap (1.00 ether)",
        "max priority fee per gas higher than max fee per gas",
        "only replay-protected (EIP-155) transactions allowed over RPC",
        "invalid transaction nonce: expected 6, got 7",
    ],
}

_ROUNDING_S = 1e-6
"""A sum of floats less one of its terms is the other one but for the last bit."""


@pytest.mark.parametrize(("kind", "said"), [(kind, said) for kind, every in SENT.items() for said in every])
def test_the_words_of_a_node_about_a_transaction_are_known(kind, said):
    assert words.send_kind(wire.RpcError(-32000, said)) is kind
    if kind is not SendKind.REFUSED:
        assert words.send_kind(wire.RpcError(-32010, "rejected", said)) is kind


REVERTS = [
    (wire.RpcError(3, "execution reverted: custom error", "0x08c379a0"), b"\x08\xc3\x79\xa0"),
    (wire.RpcError(3, "execution reverted", "0x"), b""),
    (wire.RpcError(-32000, "execution reverted"), b""),
    (wire.RpcError(-32000, "Execution reverted", "0x1234"), b"\x12\x34"),
    (wire.RpcError(-32015, "VM execution error.", "Reverted 0x1234"), b"\x12\x34"),
    (wire.RpcError(-32603, "VM Exception while processing transaction", {"data": "0x1234"}), b"\x12\x34"),
    (wire.RpcError(-32000, "VM Exception: revert", {"result": "0x1234"}), b"\x12\x34"),
    (wire.RpcError(3, "execution reverted", "0x123"), b""),
    (wire.RpcError(3, "execution reverted", ["0x12"]), b""),
    (wire.RpcError(3, "quota exceeded: too many requests", "0x12"), b"\x12"),
    (wire.RpcError(-32000, "invalid opcode: INVALID"), b""),
    (wire.RpcError(-32000, "gas required exceeds allowance (30000000)"), b""),
    (wire.RpcError(-32000, "missing trie node"), None),
    (wire.RpcError(-32000, "header not found"), None),
    (wire.RpcError(-32602, "invalid argument 0"), None),
]


@pytest.mark.parametrize(("error", "data"), REVERTS)
def test_a_revert_is_told_from_a_fault(error, data):
    assert words.revert_data(error) == data
    if data is not None:
        assert not words.is_rate_limit(error)


@pytest.mark.parametrize(
    ("code", "said", "rate", "many"),
    [
        (-32005, "limit exceeded", False, True),
        (-32005, "daily request count exceeded, request rate limited", True, True),
        (429, "Your app has exceeded its compute units per second capacity", True, False),
        (-32000, "too many requests", True, True),
        (-32000, "exceed maximum block range: 50000", False, True),
        (-32000, "block range extends beyond current head block", False, False),
        (-32000, "One of the blocks specified in filter cannot be found.", False, False),
        (-32000, "no", False, False),
    ],
)
def test_a_wish_for_fewer_requests_is_told_from_one_for_fewer_blocks(code, said, rate, many):
    assert words.is_rate_limit(wire.RpcError(code, said)) is rate
    assert words.is_too_many_logs(wire.RpcError(code, said)) is many


@given(
    st.floats(0.1, 1000),
    st.lists(st.floats(0, 5), min_size=1, max_size=200),
)
def test_a_pace_is_kept_whatever_the_burst(per_s, gaps):
    """In no stretch of time are there more turns than a burst and the rate."""
    keeper, now, turns = pace.Pace(per_s), 0.0, []
    for gap in gaps:
        now += gap
        wait_s = keeper.wait_s(now)
        assert wait_s >= 0
        turns.append(now + wait_s)
    assert turns == sorted(turns)
    burst = max(1.0, pace.BURST * per_s)
    for index, begin in enumerate(turns):
        for count, end in enumerate(turns[index:], start=1):
            assert count <= burst + (end - begin) * per_s + 1e-3


def test_a_burst_costs_no_wait_and_an_idle_time_saves_no_more_than_one():
    keeper = pace.Pace(10.0)
    assert [keeper.wait_s(0.0) for _ in range(41)] == pytest.approx([*(40 * [0.0]), 0.1])
    assert [keeper.wait_s(1000.0) for _ in range(41)] == pytest.approx([*(40 * [0.0]), 0.1])


@given(st.lists(st.tuples(st.sampled_from(["failed", "served", "passed"]), st.floats(0, 100)), max_size=60))
def test_a_rest_is_never_longer_than_a_minute_and_never_without_end(steps):
    rest, now = pace.Rest(), 0.0
    for step, gap in steps:
        now += gap
        if step == "failed":
            rest.failed(now)
            assert 0 < rest.left_s(now) <= pace.LONGEST_REST_S + _ROUNDING_S
            assert rest.yields
        elif step == "served":
            rest.served()
        else:
            rest.passed_over()
        assert rest.left_s(now + pace.LONGEST_REST_S + _ROUNDING_S) == 0
    for _ in range(pace.FORGIVEN_AFTER):
        rest.served()
        rest.passed_over()
    assert not rest.yields
    rest.failed(now + 100)
    assert rest.left_s(now + 100) == pytest.approx(pace.FIRST_REST_S)


@given(BLOCKS, BLOCKS)
def test_a_final_block_is_kept_and_never_above_the_head(head, final):
    fault = heads.final_fault(heads.Seen(), head, final)
    agrees = final.number < head.number or (final.number == head.number and final.hash == head.hash)
    assert (fault == "") is agrees
    if agrees:
        seen = heads.Seen().with_(head, final)
        assert heads.final_fault(seen, head, final) == ""
        assert heads.final_fault(seen, head, final._replace(hash=bytes(reversed(final.hash)))) or (
            final.hash == final.hash[::-1]
        )
        if final.number:
            assert "back in time" in heads.final_fault(seen, head, final._replace(number=final.number - 1))


@given(st.integers(-5000, 5000), st.integers(0, 500), st.integers(0, 500))
def test_a_head_is_of_today_and_falls_back_no_further_than_a_reorganisation(age_s, highest, number):
    rule = heads.HeadRule(max_age_s=900)
    head = Block(number, bytes(32), bytes(32), 10_000, None)
    fault = heads.head_fault(heads.Seen(highest), head, 10_000 + age_s, rule)
    assert (fault == "") is (abs(age_s) <= 900 and number >= highest - heads.REORG_BLOCKS)
    assert "clock" in fault or abs(age_s) <= 900


@given(st.integers(0, 5000), st.integers(0, 500), st.integers(-(10**9), 10**9))
def test_by_a_clock_that_is_not_believed_a_chain_is_late_only_when_its_head_stands_still(still_s, ahead, timestamp_s):
    rule = heads.HeadRule(max_age_s=900)
    first = Block(100, bytes(32), bytes(32), timestamp_s, None)
    assert heads.head_fault(heads.Seen(), first, None, rule, 7.0) == ""
    seen = heads.Seen().with_(first, first, 7.0)
    later = first._replace(number=100 + ahead)
    fault = heads.head_fault(seen, later, None, rule, 7.0 + still_s)
    assert ("it has stopped" in fault) is (ahead == 0 and still_s > 900)
    if not fault:
        assert seen.with_(later, first, 7.0 + still_s).since_s == (7.0 + still_s if ahead else 7.0)


@pytest.mark.parametrize(
    ("header", "wish_s"),
    [
        ("3", 3),
        (" 30 ", 30),
        ("99999999", 600),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 40),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 600),
        ("", 0),
        ("soon", 0),
        ("-5", 0),
        ("٣", 0),
        ("1e9", 0),
        (99999 * "9", 600),
    ],
)
def test_a_wish_to_be_left_alone_is_heard_within_limits(header, wish_s):
    assert provider.wish(header, 60.0) == wish_s


def test_the_port_and_the_pure_parts_import_no_web3():
    """What a gateway without a chain imports costs it no second."""
    for module in (wire, words, pace, heads):
        tree = ast.parse(Path(str(module.__file__)).read_text())
        names = {
            name
            for node in ast.walk(tree)
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [str(node.module)]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        assert not {name for name in names if name.startswith(("web3", "eth_", "aiohttp", "asyncio", "time"))}
