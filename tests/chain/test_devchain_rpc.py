"""The JSON-RPC of the development chain, under any bytes and any JSON."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.devchain_rpc import (
    BATCH_MAX,
    METHOD_MAX_CHARACTERS,
    Broken,
    Call,
    RpcError,
    answer,
    encode,
    parse_body,
)
from gateway.chain.devchain_values import (
    Params,
    Tag,
    camel,
    data,
    parse_block_id,
    parse_call,
    parse_data,
    parse_log_query,
    parse_quantity,
    quantity,
    to_json,
)

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
IDS = st.none() | st.integers(-(2**64) + 1, 2**64 - 1) | st.text(max_size=128)
METHODS = st.text(min_size=1, max_size=METHOD_MAX_CHARACTERS)
PARAMS = st.lists(st.none() | st.booleans() | st.integers(-100, 100) | st.text(max_size=10), max_size=4)


def request(identity, method, params):
    return {"jsonrpc": "2.0", "id": identity, "method": method, "params": params}


@given(IDS, METHODS, PARAMS)
def test_a_request_is_read_as_it_was_written(identity, method, params):
    body = parse_body(json.dumps(request(identity, method, params)).encode())
    assert body == ((Call(identity, method, params, silent=False),), False)


@given(st.lists(st.tuples(IDS, METHODS, PARAMS), min_size=1, max_size=5))
def test_a_batch_keeps_its_order(calls):
    body = parse_body(encode([request(*call) for call in calls]))
    assert body.batch
    assert [(item.id, item.method, item.params) for item in body.items] == calls


@given(st.binary(max_size=300))
def test_any_bytes_are_requests_or_named_faults(raw):
    assert_answerable(raw)


@given(ANY_JSON)
def test_any_json_is_requests_or_named_faults(value):
    assert_answerable(json.dumps(value).encode())


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("jsonrpc", "id", "method", "params"), ANY_JSON)))
def test_almost_requests_are_requests_or_named_faults(value):
    assert_answerable(json.dumps({"jsonrpc": "2.0"} | value).encode())


def assert_answerable(raw: bytes) -> None:
    body = parse_body(raw)
    assert body.items
    for item in body.items:
        if isinstance(item, Broken):
            said = json.loads(encode(answer(item, error=item.error)))
            assert said["error"]["code"] in {-32700, -32600, -32602}
        else:
            assert isinstance(item.params, list)
            assert json.loads(encode(answer(item, result=True)))["id"] == item.id


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"[" * 500_000, -32700),
        (b'{"a":' * 100 + b"1" + b"}" * 100, -32700),
        (b"1" * 10_000, -32700),
        (b'{"jsonrpc":"2.0","id":Infinity,"method":"a"}', -32700),
        (b"\xef\xbb\xbf{}", -32700),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"a"}', -32600),
        (b'{"jsonrpc":"2.0","id":true,"method":"a"}', -32600),
        (b'{"jsonrpc":"2.0","id":' + b"9" * 30 + b',"method":"a"}', -32600),
        (b'{"jsonrpc":"2.0","id":"' + b"x" * 129 + b'","method":"a"}', -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"a"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"' + b"m" * 65 + b'"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"a","params":{"by":"name"}}', -32602),
        (b"[" + b"1," * BATCH_MAX + b"1]", -32600),
    ],
)
def test_what_is_no_request_is_told_why(raw, code):
    (item,) = parse_body(raw).items
    assert item.error.code == code


def test_lone_surrogates_come_back_as_they_came():
    (item,) = parse_body(b'{"jsonrpc":"2.0","id":"\\ud800","method":"\\ud800"}').items
    assert b"\\ud800" in encode(answer(item, result="x"))


@given(st.integers(0, 2**256 - 1))
def test_quantities_come_back(value):
    assert parse_quantity(quantity(value)) == value == to_back(to_json(value))


def to_back(text: str) -> int:
    return int(text, 16)


@given(st.binary(max_size=100))
def test_data_come_back(value):
    assert parse_data(data(value)) == value
    assert to_json({"some_field": [value, None, True, "text"]}) == {"someField": [data(value), None, True, "text"]}


@given(ANY_JSON)
def test_no_argument_breaks_a_parser(value):
    for parse in (parse_quantity, parse_data, parse_block_id, parse_call, parse_log_query):
        with contextlib.suppress(RpcError):
            Params([value], 1).take(parse)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: ANY_JSON | st.sampled_from(["0x", "0x1", "0x" + "ab" * 20, "0x" + "cd" * 32, "latest"])
            for name in (
                "from",
                "to",
                "data",
                "input",
                "gas",
                "value",
                "gasPrice",
                "maxFeePerGas",
                "address",
                "topics",
            )
        },
    )
)
def test_no_object_breaks_a_parser(value):
    for parse in (parse_call, parse_log_query):
        with contextlib.suppress(ValueError):
            parse(value)


def test_arguments_are_taken_in_order_and_missing_ones_are_named():
    params = Params(["0x1", None], 3)
    assert (params.take(parse_quantity), params.take_or(parse_quantity, 9)) == (1, 9)
    with pytest.raises(RpcError, match="missing value for required argument 2"):
        params.take(parse_quantity)
    assert Params(["finalized"], 1).take(parse_block_id) is Tag.FINALIZED


def test_names_are_spelled_as_nodes_spell_them():
    assert [camel(name) for name in ("hash", "sha3_uncles", "max_fee_per_gas")] == [
        "hash",
        "sha3Uncles",
        "maxFeePerGas",
    ]
