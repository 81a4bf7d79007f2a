"""What the wire says is read strictly: values come back, and everything else is an error of ours."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.chain import wire, words
from gateway.chain.port import Block, LogFilter, LogRecord, SendKind, TxReceipt

HASHES = st.binary(min_size=32, max_size=32)
ADDRESSES = st.binary(min_size=20, max_size=20)
NUMBERS = st.integers(0, 2**wire.COUNT_BITS - 1)
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


@given(st.integers(2**wire.COUNT_BITS, 2**256 - 1), st.sampled_from(["gasUsed", "blockNumber"]))
def test_a_receipt_with_a_number_that_the_journal_cannot_hold_is_refused(number, member):
    said = receipt_json(TxReceipt(bytes(32), 9, bytes(32), True, 21_000, PRICE, ()))
    assert refused(wire.receipt, said | {member: hex(number)}, bytes(32), PRICE)
    assert refused(wire.price, said | {"effectiveGasPrice": hex(number)})


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
