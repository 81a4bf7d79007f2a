"""JSON-RPC answers of an Ethereum node, believed in nothing: bytes in, values of ``gateway.chain.port`` out (pure).

web3's own formatters would do, but they believe the endpoint, and take a hundred microseconds for each event. Here
every member has a type and a bound, and an answer that is about something else than what was asked is an error.

Quantities may have leading zeros: some nodes pad them, and it changes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, NoReturn

from gateway.chain.port import Block, LogFilter, LogRecord, TxReceipt
from gateway.jsontext import require_shallow

MAX_TEXT: Final = 200
"""Characters of an endpoint's own words that are passed on."""
MAX_CODE_BYTES: Final = 256 * 1024
COUNT_BITS: Final = 63
"""Heights, times, nonces, gas and its price: what the journal can hold. No honest chain comes near."""
_MAX_TOPICS: Final = 4
_QUANTITY: Final = re.compile(r"0x[0-9a-fA-F]{1,64}")


class WireError(ValueError):
    """The answer is not one to what was asked; says in what, in our own words."""


class RpcError(NamedTuple):
    """What an endpoint says instead of a result. ``message`` is printable and short; ``data`` is as it came."""

    code: int
    message: str
    data: object = None

    def __str__(self) -> str:
        return f"{self.message or 'no reason'} ({self.code})"


class Answer(NamedTuple):
    """One of the two. A result may be None: that is how a node says that it has no such thing."""

    result: Any
    error: RpcError | None


def printable(text: str, limit: int = MAX_TEXT) -> str:
    """Text from the network, fit for a log: what is not printable is escaped, and it is cut."""
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text[:limit]
    )
    return shown if len(shown) <= limit and len(text) <= limit else shown[:limit] + "…"


def request(request_id: int, method: str, params: Sequence[Any]) -> bytes:
    """A request of one method (JSON-RPC 2.0)."""
    asked = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": list(params)}
    return json.dumps(asked, separators=(",", ":")).encode()


def answer(body: bytes | bytearray, request_id: int) -> Answer:
    """Open the envelope of an answer.

    Raises:
        WireError: it is no JSON, nests too deep, or is no answer to this request.
    """
    try:
        found = json.loads(require_shallow(body.decode()), parse_constant=_refuse_constant)
    except ValueError:
        raise WireError("it is no JSON") from None
    members = _object(found, "the answer")
    if members.get("jsonrpc") != "2.0":
        raise WireError("it is no JSON-RPC 2.0")
    error = members.get("error")
    if error is not None:
        return Answer(None, _error(error))  # before the id: an error for what could not be read has none
    if members.get("id") != request_id or isinstance(members.get("id"), bool):
        raise WireError("it is an answer to another request")
    if "result" not in members:
        raise WireError("it has neither a result nor an error")
    return Answer(members["result"], None)


def quantity(value: object, what: str = "the result", bits: int = 256) -> int:
    """A number: hexadecimal text, of at most so many bits."""
    if not isinstance(value, str) or _QUANTITY.fullmatch(value) is None:
        raise WireError(f"{what} is no quantity")
    number = int(value, 16)
    if number.bit_length() > bits:
        raise WireError(f"{what} has more than {bits} bits")
    return number


def data(value: object, what: str = "the result", limit: int = MAX_CODE_BYTES) -> bytes:
    """Bytes: hexadecimal text, at most ``limit`` bytes of it."""
    if not isinstance(value, str) or value[:2] != "0x":
        raise WireError(f"{what} is no hexadecimal data")
    digits = value[2:]
    if len(digits) > 2 * limit:
        raise WireError(f"{what} is longer than {limit} bytes")
    try:
        found = bytes.fromhex(digits)
    except ValueError:
        raise WireError(f"{what} is no hexadecimal data") from None
    if 2 * len(found) != len(digits):  # fromhex passes over blanks
        raise WireError(f"{what} is no hexadecimal data")
    return found


def fixed(value: object, what: str, size: int = 32) -> bytes:
    """Exactly so many bytes: a hash has 32, an address 20."""
    found = data(value, what, size)
    if len(found) != size:
        raise WireError(f"{what} has {len(found)} bytes instead of {size}")
    return found


def block(value: object, number: int | None = None) -> Block | None:
    """A block's header, None for none; ``number`` is the height that was asked for, None for a tag."""
    if value is None:
        return None
    members = _object(value, "the block")
    fee = members.get("baseFeePerGas")
    found = Block(
        quantity(members.get("number"), "the block's number", COUNT_BITS),
        fixed(members.get("hash"), "the block's hash"),
        fixed(members.get("parentHash"), "the parent's hash"),
        quantity(members.get("timestamp"), "the block's time", COUNT_BITS),
        None if fee is None else quantity(fee, "the base fee"),
    )
    if number is not None and found.number != number:
        raise WireError(f"it is block {found.number}, asked for {number}")
    return found


def logs(value: object, wanted: LogFilter, start: int, end: int) -> list[LogRecord]:
    """The events of a range: all of them asked for, in the order of the chain, one block hash to a height."""
    found = [_log(entry) for entry in _list(value, "the events")]
    addresses = frozenset(wanted.addresses)
    topics = [frozenset(choices) for choices in wanted.topics]
    last = (-1, -1)
    last_hash = b""
    for log in found:
        if not start <= log.block_number <= end:
            raise WireError(f"an event of block {log.block_number}, asked for {start} to {end}")
        if addresses and log.address not in addresses:
            raise WireError("an event of a contract that was not asked for")
        if not _has_topics(log, topics):
            raise WireError("an event of a kind that was not asked for")
        place = (log.block_number, log.log_index)
        if place <= last:
            raise WireError(f"an event twice, or out of order, in block {log.block_number}")
        if log.block_number == last[0] and log.block_hash != last_hash:
            raise WireError(f"two hashes of block {log.block_number}")
        last, last_hash = place, log.block_hash
    return found


def log_filter(wanted: LogFilter, start: int, end: int) -> dict[str, Any]:
    """The parameter of eth_getLogs."""
    asked: dict[str, Any] = {"fromBlock": hex(start), "toBlock": hex(end)}
    if wanted.addresses:
        asked["address"] = [text(address) for address in wanted.addresses]
    if wanted.topics:
        asked["topics"] = [[text(topic) for topic in choices] or None for choices in wanted.topics]
    return asked


def price(value: object) -> int | None:
    """What a unit of gas cost by a receipt or, for nodes before EIP-1559, by its transaction; None if not said."""
    members = _object(value, "the receipt")
    paid = members.get("effectiveGasPrice", members.get("gasPrice"))
    return None if paid is None else quantity(paid, "the gas price", COUNT_BITS)


def receipt(value: object, tx_hash: bytes, price_wei: int) -> TxReceipt | None:
    """The receipt of this transaction; None for none, or for one that is in no block yet."""
    if value is None:
        return None
    members = _object(value, "the receipt")
    if fixed(members.get("transactionHash"), "the transaction's hash") != tx_hash:
        raise WireError("it is the receipt of another transaction")
    if members.get("blockHash") is None:
        return None
    status = quantity(members.get("status"), "the status")
    if status not in {0, 1}:
        raise WireError("the status is neither 0 nor 1")
    found = TxReceipt(
        tx_hash,
        quantity(members.get("blockNumber"), "the block's number", COUNT_BITS),
        fixed(members.get("blockHash"), "the block's hash"),
        status == 1,
        quantity(members.get("gasUsed"), "the gas used", COUNT_BITS),
        price_wei,
        tuple(_log(entry) for entry in _list(members.get("logs"), "the events")),
    )
    for log in found.logs:
        if (log.tx_hash, log.block_hash, log.block_number) != (tx_hash, found.block_hash, found.block_number):
            raise WireError("an event of another transaction in the receipt")
    return found


def is_transaction(value: object, tx_hash: bytes) -> bool:
    """Whether there is such a transaction."""
    if value is None:
        return False
    if fixed(_object(value, "the transaction").get("hash"), "the transaction's hash") != tx_hash:
        raise WireError("it is another transaction")
    return True


def rewards(value: object) -> list[int]:
    """The tips of recent blocks, from eth_feeHistory with one percentile."""
    rows = _list(_object(value, "the fee history").get("reward"), "the tips")
    return [quantity(_list(row, "a block's tips")[0], "a tip") for row in rows if _list(row, "a block's tips")]


def text(value: bytes) -> str:
    """Bytes as the wire has them."""
    return "0x" + value.hex()


def _log(value: object) -> LogRecord:
    members = _object(value, "an event")
    topics = _list(members.get("topics"), "an event's topics")
    if len(topics) > _MAX_TOPICS:
        raise WireError("an event has more than four topics")
    if members.get("removed", False) is not False:
        raise WireError("an event that was removed")
    return LogRecord(
        fixed(members.get("address"), "an event's contract", 20),
        tuple([fixed(topic, "an event's topic") for topic in topics]),
        data(members.get("data"), "an event's data", 2**24),
        quantity(members.get("blockNumber"), "an event's block", COUNT_BITS),
        fixed(members.get("blockHash"), "an event's block hash"),
        fixed(members.get("transactionHash"), "an event's transaction"),
        quantity(members.get("logIndex"), "an event's index", COUNT_BITS),
    )


def _has_topics(log: LogRecord, wanted: Sequence[frozenset[bytes]]) -> bool:
    if len(log.topics) < len(wanted):
        return False
    return all(not choices or topic in choices for topic, choices in zip(log.topics, wanted, strict=False))


def _error(value: object) -> RpcError:
    members = _object(value, "the error")
    code, message = members.get("code"), members.get("message")
    return RpcError(
        code if isinstance(code, int) and abs(code) < 2**31 else 0,
        printable(message) if isinstance(message, str) else "",
        members.get("data"),
    )


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise WireError(f"{what} is no object")
    return value


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise WireError(f"{what} are no list")
    return value


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError("no JSON")
