"""The pure parts of the chain client: what the wire says, what the words mean, who may be asked when."""

import ast
import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.chain import heads, pace, provider, wire, words
from gateway.chain.port import Block, LogFilter, LogRecord, SendKind, TxReceipt

HASHES = st.binary(min_size=32, max_size=32)
ADDRESSES = st.binary(min_size=20, max_size=20)
NUMBERS = st.integers(0, 2**64 - 1)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.from_regex(r"0x[0-9a-f]*"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
BLOCKS = st.builds(Block, NUMBERS, HASHES, HASHES, NUMBERS, st.none() | st.integers(0, 2**256 - 1))
EVERYTHING = LogFilter(())
PRICE = 7


@st.composite
def events(draw):
    """Events of a few blocks, in order."""
    found = []
    for number in sorted(draw(st.sets(st.integers(0, 100), max_size=4))):
        block_hash = draw(HASHES)
        for index in sorted(draw(st.sets(st.integers(0, 50), max_size=4))):
            topics = tuple(draw(st.lists(HASHES, max_size=4)))
            data = draw(st.binary(max_size=100))
            found.append(LogRecord(draw(ADDRESSES), topics, data, number, block_hash, draw(HASHES), index))
    return found


def block_json(block, **more):
    fee = {} if block.base_fee_wei is None else {"baseFeePerGas": hex(block.base_fee_wei)}
    return {
        "number": hex(block.number),
        "hash": wire.text(block.hash),
        "parentHash": wire.text(block.parent_hash),
        "timestamp": hex(block.timestamp_s),
        **fee,
        **more,
    }


def log_json(log):
    return {
        "address": wire.text(log.address),
        "topics": [wire.text(topic) for topic in log.topics],
        "data": wire.text(log.data),
        "blockNumber": hex(log.block_number),
        "blockHash": wire.text(log.block_hash),
        "transactionHash": wire.text(log.tx_hash),
        "logIndex": hex(log.log_index),
        "removed": False,
    }


def receipt_json(receipt):
    return {
        "transactionHash": wire.text(receipt.tx_hash),
        "blockNumber": hex(receipt.block_number),
        "blockHash": wire.text(receipt.block_hash),
        "status": hex(receipt.succeeded),
        "gasUsed": hex(receipt.gas_used),
        "effectiveGasPrice": hex(receipt.price_wei),
        "logs": [log_json(log) for log in receipt.logs],
    }


def refused(parse, *args):
    """Whether this is no answer; anything but an answer and WireError fails the test."""
    try:
        parse(*args)
    except wire.WireError as error:
        said = str(error)
    else:
        return False
    assert said.isprintable()
    assert len(said) < 200
    return True


@given(st.integers(0, 2**256 - 1), st.integers(0, 5))
def test_quantities_come_back(number, zeros):
    padded = f"0x{'0' * zeros}{number:x}"
    assert refused(wire.quantity, padded) is (len(padded) > 66)
    assert wire.quantity(hex(number)) == number
    assert refused(wire.quantity, hex(number), "it", 64) is (number >= 2**64)


@given(st.binary(max_size=300))
def test_data_comes_back_within_its_limit(data):
    assert wire.data(wire.text(data)) == data
    assert refused(wire.data, wire.text(data), "it", 100) is (len(data) > 100)
    assert refused(wire.fixed, wire.text(data), "it", 20) is (len(data) != 20)


@given(st.text(alphabet="0123456789abcdefABCDEF x\n_+-", max_size=70).map("0x".__add__))
@example("0x")
@example("0x 1")
@example("0x1_0")
@example("0x٣")
def test_hexadecimal_is_read_as_strictly_as_it_is_written(text):
    digits = text[2:]
    is_hex = all(character in "0123456789abcdefABCDEF" for character in digits)
    assert refused(wire.quantity, text) is not (is_hex and 1 <= len(digits) <= 64)
    assert refused(wire.data, text) is not (is_hex and len(digits) % 2 == 0)


@given(BLOCKS)
def test_blocks_come_back(block):
    assert wire.block(block_json(block, transactions=[], extra="?"), block.number) == block
    assert wire.block(block_json(block)) == block
    assert refused(wire.block, block_json(block), block.number + 1)


@given(events())
def test_events_come_back(found):
    assert wire.logs([log_json(log) for log in found], EVERYTHING, 0, 100) == found


@given(events(), st.integers(0, 100), st.integers(0, 100))
def test_events_out_of_the_range_are_refused(found, start, end):
    expected = any(not start <= log.block_number <= end for log in found)
    assert refused(wire.logs, [log_json(log) for log in found], EVERYTHING, start, end) is expected


@given(events(), st.randoms())
def test_events_in_another_order_or_twice_are_refused(found, random):
    shuffled = random.sample(found, len(found))
    assert refused(wire.logs, [log_json(log) for log in shuffled], EVERYTHING, 0, 100) is (shuffled != found)
    doubled = [log_json(log) for log in found for _ in range(2)]
    assert refused(wire.logs, doubled, EVERYTHING, 0, 100) is bool(found)


@given(events(), st.sets(ADDRESSES, max_size=2), st.lists(st.sets(HASHES, max_size=2), max_size=3), st.data())
def test_only_events_that_were_asked_for_are_taken(found, strange, positions, data):
    addresses = strange | set(data.draw(st.lists(st.sampled_from([log.address for log in found]))) if found else ())
    for position, choices in enumerate(positions):
        there = [log.topics[position] for log in found if len(log.topics) > position]
        if there:
            choices.update(data.draw(st.lists(st.sampled_from(there))))
    wanted = LogFilter(tuple(addresses), tuple(tuple(choices) for choices in positions))

    def matches(log):
        return (not addresses or log.address in addresses) and all(
            position < len(log.topics) and (not choices or log.topics[position] in choices)
            for position, choices in enumerate(positions)
        )

    expected = not all(map(matches, found))
    assert refused(wire.logs, [log_json(log) for log in found], wanted, 0, 100) is expected


def test_a_filter_is_written_as_nodes_read_it():
    wanted = LogFilter((b"\x01" * 20,), ((b"\x02" * 32,), (), (b"\x03" * 32, b"\x04" * 32)))
    assert wire.log_filter(wanted, 0, 255) == {
        "fromBlock": "0x0",
        "toBlock": "0xff",
        "address": ["0x" + 20 * "01"],
        "topics": [["0x" + 32 * "02"], None, ["0x" + 32 * "03", "0x" + 32 * "04"]],
    }
    assert wire.log_filter(EVERYTHING, 1, 2) == {"fromBlock": "0x1", "toBlock": "0x2"}


@given(events(), HASHES, HASHES, NUMBERS, st.booleans())
def test_receipts_come_back(found, tx_hash, block_hash, gas, succeeded):
    logs = tuple(log._replace(tx_hash=tx_hash, block_hash=block_hash, block_number=9) for log in found)
    receipt = TxReceipt(tx_hash, 9, block_hash, succeeded, gas, PRICE, logs)
    said = receipt_json(receipt)
    assert wire.price(said) == PRICE
    assert wire.receipt(said, tx_hash, PRICE) == receipt
    assert refused(wire.receipt, said, bytes(32), PRICE) is (tx_hash != bytes(32))
    if logs:
        said["logs"][0]["transactionHash"] = wire.text(bytes(reversed(tx_hash)))
        assert refused(wire.receipt, said, tx_hash, PRICE) is (tx_hash != tx_hash[::-1])


@given(JSON, JSON)
def test_nothing_but_an_answer_or_an_error_of_ours_comes_of_any_json(value, other):
    """Whole values, and each member of a well-formed one."""
    block = block_json(Block(1, bytes(32), bytes(32), 1, 1))
    log = log_json(LogRecord(bytes(20), (bytes(32),), b"", 1, bytes(32), bytes(32), 0))
    receipt = receipt_json(TxReceipt(bytes(32), 1, bytes(32), True, 1, 1, ()))
    for parse in (wire.block, wire.price, wire.rewards, wire.quantity, wire.data):
        refused(parse, value)
    for name in block:
        refused(wire.block, {**block, name: value})
    for name in log:
        refused(wire.logs, [{**log, name: value}], EVERYTHING, 0, 100)
        refused(wire.receipt, {**receipt, "logs": [{**log, name: value}]}, bytes(32), PRICE)
    for name in receipt:
        refused(wire.receipt, {**receipt, name: value}, bytes(32), PRICE)
    refused(wire.logs, value, EVERYTHING, 0, 100)
    refused(wire.is_transaction, value, bytes(32))
    refused(wire.rewards, {"reward": [value, other]})
    refused(wire.answer, json.dumps(value).encode(), 1)
    refused(wire.answer, json.dumps({"jsonrpc": "2.0", "id": 1, "result": value, "error": other}).encode(), 1)


@given(st.binary(max_size=200))
@example(b"[" * 100000)
@example(b'{"jsonrpc": "2.0", "id": 1, "result": 1e999}')
@example(b'{"jsonrpc": "2.0", "id": true, "result": 1}')
def test_any_bytes_are_an_answer_or_refused(body):
    refused(wire.answer, body, 1)


@given(JSON, st.integers(1, 2**31))
def test_a_result_comes_out_of_its_envelope(value, number):
    body = json.dumps({"jsonrpc": "2.0", "id": number, "result": value}).encode()
    assert wire.answer(body, number) == wire.Answer(value, None)
    assert refused(wire.answer, body, number + 1)


@given(st.text(), JSON)
def test_an_endpoints_own_words_are_printable_and_short(message, data):
    error = {"code": -32000, "message": message, "data": data}
    said = wire.answer(json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode(), 1).error
    assert said is not None
    assert said.message.isprintable()
    assert len(said.message) <= wire.MAX_TEXT + 1
    assert isinstance(words.send_kind(said), SendKind)
    words.revert_data(said)
    words.is_rate_limit(said)
    words.is_too_many_logs(said)


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
            assert 0 < rest.left_s(now) <= pace.LONGEST_REST_S
            assert rest.yields
        elif step == "served":
            rest.served()
        else:
            rest.passed_over()
        assert rest.left_s(now + pace.LONGEST_REST_S) == 0
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
