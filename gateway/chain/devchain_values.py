"""What stands in the parameters of a call, and how a result is written: hexadecimal, as Ethereum's nodes do (pure).

A ``Params`` hands out one checked argument after the other; whatever is not as it must be is an ``RpcError`` that
says which argument and why. Quantities are integers without leading zeros, data are whole bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeVar

from gateway.chain.devchain_rpc import INVALID_PARAMS, RpcError

ADDRESS_BYTES: Final = 20
HASH_BYTES: Final = 32
QUANTITY_MAX_BITS: Final = 256
TOPICS_MAX: Final = 4
FILTER_LIST_MAX: Final = 1000
_HEX: Final = frozenset("0123456789abcdefABCDEF")

T = TypeVar("T")
D = TypeVar("D")


class Tag(StrEnum):
    """A block by its place instead of its number."""

    LATEST = "latest"
    PENDING = "pending"
    EARLIEST = "earliest"
    SAFE = "safe"
    FINALIZED = "finalized"


_TAGS: Final = frozenset(tag.value for tag in Tag)
BlockId = Tag | int | bytes
"""A place, a number, or a hash of 32 bytes."""


class CallRequest(NamedTuple):
    """The transaction-like object of eth_call and eth_estimateGas; None where the caller left it open."""

    sender: bytes
    to: bytes
    data: bytes
    value: int
    gas: int | None
    fee: int | None


class LogQuery(NamedTuple):
    """The filter of eth_getLogs: any of the addresses; at each position, any of the topics. Empty means all."""

    start: Tag | int
    end: Tag | int
    block_hash: bytes | None
    addresses: frozenset[bytes]
    topics: tuple[frozenset[bytes], ...]


class Params:
    """The arguments of one call, taken in order."""

    def __init__(self, values: Sequence[Any], at_most: int) -> None:
        if len(values) > at_most:
            raise RpcError(f"too many arguments, want at most {at_most}", INVALID_PARAMS)
        self._values = values
        self._next = 0

    def take(self, parse: Callable[[object], T]) -> T:
        """The next argument, which must be there."""
        index, value = self._pass()
        if value is None:
            raise RpcError(f"missing value for required argument {index}", INVALID_PARAMS)
        return _parse(index, value, parse)

    def take_or(self, parse: Callable[[object], T], default: D) -> T | D:
        """The next argument, or ``default`` where it is missing or null."""
        index, value = self._pass()
        return default if value is None else _parse(index, value, parse)

    def _pass(self) -> tuple[int, object]:
        index, self._next = self._next, self._next + 1
        return index, self._values[index] if index < len(self._values) else None


def parse_quantity(value: object) -> int:
    """An integer: ``0x0``, ``0x41``; no sign, no leading zero."""
    digits = _digits(value)
    if not digits:
        raise ValueError("hex string has no digits")
    if len(digits) > 1 and digits[0] == "0":
        raise ValueError("hex number with leading zero digits")
    if len(digits) > QUANTITY_MAX_BITS // 4:
        raise ValueError(f"hex number > {QUANTITY_MAX_BITS} bits")
    return int(digits, 16)


def parse_data(value: object) -> bytes:
    """Bytes of any length."""
    digits = _digits(value)
    if len(digits) % 2:
        raise ValueError("hex string of odd length")
    return bytes.fromhex(digits)


def parse_address(value: object) -> bytes:
    """An account's address; its checksum, if it has one, is not looked at."""
    return _sized(value, ADDRESS_BYTES)


def parse_hash(value: object) -> bytes:
    """A hash, a topic, a word."""
    return _sized(value, HASH_BYTES)


def parse_slot(value: object) -> int:
    """A storage slot, as a quantity or as a word."""
    digits = _digits(value)
    if not 0 < len(digits) <= QUANTITY_MAX_BITS // 4:
        raise ValueError("a storage slot has 1 to 64 digits")
    return int(digits, 16)


def parse_bool(value: object) -> bool:
    """True or false, nothing that is like it."""
    if not isinstance(value, bool):
        raise ValueError("not a boolean")  # noqa: TRY004 -- parsers raise ValueError alone
    return value


def parse_number_or_tag(value: object) -> Tag | int:
    """A block by number or place."""
    if isinstance(value, str) and value in _TAGS:
        return Tag(value)
    return parse_quantity(value)


def parse_block_id(value: object) -> BlockId:
    """A block by number or place, or by an object that names number or hash (EIP-1898)."""
    if isinstance(value, dict):
        if "blockHash" in value and "blockNumber" not in value:
            return parse_hash(value["blockHash"])
        if "blockNumber" in value and "blockHash" not in value:
            return parse_quantity(value["blockNumber"])
        raise ValueError("need blockHash or blockNumber, and not both")
    return parse_number_or_tag(value)


def parse_call(value: object) -> CallRequest:
    """The object of eth_call. Nonce, access list, type and chain id change no answer here, and are passed over."""
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 -- parsers raise ValueError alone
    data, alias = _field(value, "data", parse_data), _field(value, "input", parse_data)
    if data is not None and alias is not None and data != alias:
        raise ValueError('both "data" and "input" are set and not equal')
    price, cap = _field(value, "gasPrice", parse_quantity), _field(value, "maxFeePerGas", parse_quantity)
    if price is not None and cap is not None:
        raise ValueError("both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified")
    return CallRequest(
        sender=_field(value, "from", parse_address) or bytes(ADDRESS_BYTES),
        to=_field(value, "to", parse_address) or b"",
        data=data or alias or b"",
        value=_field(value, "value", parse_quantity) or 0,
        gas=_field(value, "gas", parse_quantity),
        fee=price if cap is None else cap,
    )


def parse_log_query(value: object) -> LogQuery:
    """The object of eth_getLogs."""
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 -- parsers raise ValueError alone
    block_hash = _field(value, "blockHash", parse_hash)
    start, end = (_field(value, name, parse_number_or_tag) for name in ("fromBlock", "toBlock"))
    if block_hash is not None and (start is not None or end is not None):
        raise ValueError("cannot specify both BlockHash and FromBlock/ToBlock, choose one or the other")
    topics = value.get("topics")
    if topics is None:
        topics = []
    if not isinstance(topics, list) or len(topics) > TOPICS_MAX:
        raise ValueError("exceed max topics" if isinstance(topics, list) else "topics are no list")
    return LogQuery(
        start=Tag.LATEST if start is None else start,
        end=Tag.LATEST if end is None else end,
        block_hash=block_hash,
        addresses=_one_or_many(value.get("address"), parse_address),
        topics=tuple(_one_or_many(topic, parse_hash) for topic in topics),
    )


def quantity(value: int) -> str:
    """An integer as nodes write it."""
    return hex(value)


def data(value: bytes) -> str:
    """Bytes as nodes write them."""
    return f"0x{value.hex()}"


def to_json(value: object) -> Any:  # noqa: ANN401 -- any JSON
    """Integers to quantities, bytes to data, names to camelCase; text, booleans and None as they are."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return quantity(value)
        case bytes():
            return data(value)
        case Mapping():
            return {camel(str(name)): to_json(item) for name, item in value.items()}
        case Sequence():
            return [to_json(item) for item in value]
        case _:
            raise TypeError(f"a {type(value).__name__} has no spelling in JSON-RPC")


def camel(name: str) -> str:
    """``block_hash`` becomes ``blockHash``."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _parse(index: int, value: object, parse: Callable[[object], T]) -> T:
    try:
        return parse(value)
    except ValueError as error:
        raise RpcError(f"invalid argument {index}: {error}", INVALID_PARAMS) from None


def _digits(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not a string")  # noqa: TRY004 -- parsers raise ValueError alone
    if not value.startswith("0x"):
        raise ValueError("hex string without 0x prefix")
    if not _HEX.issuperset(value[2:]):
        raise ValueError("invalid hex string")
    return value[2:]


def _sized(value: object, size: int) -> bytes:
    found = parse_data(value)
    if len(found) != size:
        raise ValueError(f"hex string has length {2 * len(found)}, want {2 * size}")
    return found


def _field(value: Mapping[str, object], name: str, parse: Callable[[object], T]) -> T | None:
    if value.get(name) is None:
        return None
    try:
        return parse(value[name])
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _one_or_many(value: object, parse: Callable[[object], bytes]) -> frozenset[bytes]:
    if value is None:
        return frozenset()
    if not isinstance(value, list):
        return frozenset({parse(value)})
    if len(value) > FILTER_LIST_MAX:
        raise ValueError(f"more than {FILTER_LIST_MAX} alternatives")
    if None in value:
        return frozenset()  # as geth: null among the alternatives is anything
    return frozenset(parse(item) for item in value)
