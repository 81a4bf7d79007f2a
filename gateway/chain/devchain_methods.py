"""The methods of the development chain: a table from name to function, over one node."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final

from eth.exceptions import PyEVMError
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_typing import Address
from eth_utils.exceptions import ValidationError

from gateway.chain.devchain_answers import (
    block_json,
    log_fields,
    matches,
    next_block_json,
    receipt_json,
    transaction_json,
    waiting_json,
)
from gateway.chain.devchain_evm import CallFailed, CallRevertedError, LogEntry, Mined, TxRefused
from gateway.chain.devchain_node import LimitReached, Node
from gateway.chain.devchain_pool import PoolRefusal
from gateway.chain.devchain_rpc import (
    INTERNAL_ERROR,
    LIMIT_EXCEEDED,
    METHOD_NOT_FOUND,
    REVERTED,
    SERVER_ERROR,
    Broken,
    Call,
    RpcError,
    answer,
)
from gateway.chain.devchain_values import (
    Params,
    Tag,
    data,
    parse_address,
    parse_block_id,
    parse_bool,
    parse_call,
    parse_data,
    parse_hash,
    parse_log_query,
    parse_number_or_tag,
    parse_quantity,
    parse_slot,
    quantity,
    to_json,
)

LOGS_MAX: Final = 10_000
MINE_MAX: Final = 256
FEE_HISTORY_MAX: Final = 1024
PERCENTILES_MAX: Final = 100
TIP_WEI: Final = 10**9
_ERROR_SELECTOR: Final = bytes.fromhex("08c379a0")
_REASON_MAX_CHARACTERS: Final = 256
_PERCENT: Final = 100


def dispatch(node: Node, request: Call | Broken) -> dict[str, Any] | None:
    """The response to one request; None to a notification."""
    if isinstance(request, Broken):
        return answer(request, error=request.error)
    try:
        said = answer(request, _result(node, request))
    except RpcError as error:
        said = answer(request, error=error)
    return None if request.silent else said


def _result(node: Node, request: Call) -> Any:  # noqa: ANN401 -- any JSON
    found = _METHODS.get(request.method)
    if found is None:
        raise RpcError(f"the method {request.method} does not exist/is not available", METHOD_NOT_FOUND)
    method, at_most = found
    try:
        return method(node, Params(request.params, at_most))
    except CallRevertedError as reverted:
        raise RpcError(_revert_message(reverted.data), REVERTED, data(reverted.data)) from None
    except (CallFailed, TxRefused, PoolRefusal, LimitReached) as error:
        raise RpcError(str(error), LIMIT_EXCEEDED if isinstance(error, LimitReached) else SERVER_ERROR) from None
    except (PyEVMError, ValidationError) as error:  # nothing that a request does should end here
        raise RpcError(f"internal error: {type(error).__name__}", INTERNAL_ERROR) from None


# The chain


def _chain_id(node: Node, _: Params) -> str:
    return quantity(node.evm.chain_id)


def _net_version(node: Node, _: Params) -> str:
    return str(node.evm.chain_id)


def _client_version(_node: Node, _: Params) -> str:
    return f"SecureNetDevChain/py-evm-{version('py-evm')}"


def _accounts(_node: Node, _: Params) -> list[str]:
    return []  # this node signs for nobody


def _syncing(_node: Node, _: Params) -> bool:
    return False


def _block_number(node: Node, _: Params) -> str:
    return quantity(node.evm.head.block.number)


def _block_by_number(node: Node, params: Params) -> Any:  # noqa: ANN401 -- any JSON
    place, full = params.take(parse_number_or_tag), params.take_or(parse_bool, default=False)
    if place is Tag.PENDING:
        header = node.evm.next_header
        waiting = node.pool.choose(node.nonce, header.base_fee_per_gas or 0, header.gas_limit)
        return next_block_json(header, waiting, full=full)
    found = node.find(place)
    return None if found is None else block_json(found.block, full=full)


def _block_by_hash(node: Node, params: Params) -> Any:  # noqa: ANN401 -- any JSON
    found, full = node.evm.by_hash(params.take(parse_hash)), params.take_or(parse_bool, default=False)
    return None if found is None else block_json(found.block, full=full)


# Accounts and calls


def _transaction_count(node: Node, params: Params) -> str:
    address, block = params.take(parse_address), params.take_or(parse_block_id, Tag.LATEST)
    nonce = node.evm.state(node.header(block)).get_nonce(Address(address))
    return quantity(node.pool.next_nonce(address, nonce) if block is Tag.PENDING else nonce)


def _balance(node: Node, params: Params) -> str:
    address, block = params.take(parse_address), params.take_or(parse_block_id, Tag.LATEST)
    return quantity(node.evm.state(node.header(block)).get_balance(Address(address)))


def _code(node: Node, params: Params) -> str:
    address, block = params.take(parse_address), params.take_or(parse_block_id, Tag.LATEST)
    return data(node.evm.state(node.header(block)).get_code(Address(address)))


def _storage(node: Node, params: Params) -> str:
    address, slot = params.take(parse_address), params.take(parse_slot)
    state = node.evm.state(node.header(params.take_or(parse_block_id, Tag.LATEST)))
    return data(state.get_storage(Address(address), slot).to_bytes(32, "big"))


def _call(node: Node, params: Params) -> str:
    request, block = params.take(parse_call), params.take_or(parse_block_id, Tag.LATEST)
    return data(node.evm.call(request, node.header(block)))


def _estimate_gas(node: Node, params: Params) -> str:
    request, block = params.take(parse_call), params.take_or(parse_block_id, Tag.LATEST)
    return quantity(node.evm.estimate(request, node.header(block)))


# Fees


def _gas_price(node: Node, _: Params) -> str:
    return quantity((node.evm.next_header.base_fee_per_gas or 0) + TIP_WEI)


def _tip(_node: Node, _: Params) -> str:
    return quantity(TIP_WEI)


def _fee_history(node: Node, params: Params) -> Any:  # noqa: ANN401 -- any JSON
    count, newest = params.take(parse_quantity), node.number(params.take(parse_number_or_tag))
    percentiles = params.take_or(_parse_percentiles, [])
    if newest > node.evm.head.block.number:
        raise RpcError(f"request beyond head block: requested {newest}, head {node.evm.head.block.number}")
    oldest = max(0, newest - min(count, FEE_HISTORY_MAX) + 1)
    blocks = node.evm.blocks(oldest, newest)
    following = node.evm.by_number(newest + 1)
    last = node.evm.next_header if following is None else following.header
    history = {
        "oldest_block": oldest,
        "base_fee_per_gas": [*(block.header.base_fee_per_gas for block in blocks), last.base_fee_per_gas],
    }
    told = {"gasUsedRatio": [block.header.gas_used / block.header.gas_limit for block in blocks]}
    if percentiles:
        told["reward"] = [to_json(_rewards(block, percentiles)) for block in blocks]
    return to_json(history) | told


# Transactions and events


def _send_raw(node: Node, params: Params) -> str:
    return data(node.send(params.take(parse_data)))


def _transaction(node: Node, params: Params) -> Any:  # noqa: ANN401 -- any JSON
    tx_hash = params.take(parse_hash)
    found = node.evm.place(tx_hash)
    if found is not None:
        return transaction_json(*found)
    waiting = node.pool.get(tx_hash)
    return None if waiting is None else waiting_json(waiting)


def _receipt(node: Node, params: Params) -> Any:  # noqa: ANN401 -- any JSON
    found = node.evm.place(params.take(parse_hash))
    return None if found is None else receipt_json(*found)


def _logs(node: Node, params: Params) -> Any:  # noqa: ANN401 -- any JSON
    query = params.take(parse_log_query)
    if query.block_hash is not None:
        found = node.evm.by_hash(query.block_hash)
        if found is None:
            raise RpcError("unknown block")
        blocks = [found]
    else:
        start, end = node.number(query.start), node.number(query.end)
        if start > end:
            raise RpcError("invalid block range params")
        blocks = node.evm.blocks(start, end)
    logs: list[LogEntry] = []
    for mined in blocks:
        logs += [log for log in mined.logs if matches(log, query)]
        if len(logs) > LOGS_MAX:
            raise RpcError(f"query returned more than {LOGS_MAX} results", LIMIT_EXCEEDED)
    return to_json([log_fields(log) for log in logs])


# What tests and demos ask of a development chain


def _evm_mine(node: Node, params: Params) -> str:
    blocks = params.take_or(parse_quantity, 1)
    if blocks > MINE_MAX:
        raise RpcError(f"at most {MINE_MAX} blocks at once", LIMIT_EXCEEDED)
    for _ in range(blocks):
        node.mine()
    return quantity(node.evm.head.block.number)


def _evm_snapshot(node: Node, _: Params) -> str:
    return quantity(node.take_snapshot())


def _evm_revert(node: Node, params: Params) -> bool:
    return node.revert_to(params.take(parse_quantity))


Method = Callable[[Node, Params], Any]

_METHODS: Final[dict[str, tuple[Method, int]]] = {
    "web3_clientVersion": (_client_version, 0),
    "net_version": (_net_version, 0),
    "eth_chainId": (_chain_id, 0),
    "eth_accounts": (_accounts, 0),
    "eth_syncing": (_syncing, 0),
    "eth_blockNumber": (_block_number, 0),
    "eth_getBlockByNumber": (_block_by_number, 2),
    "eth_getBlockByHash": (_block_by_hash, 2),
    "eth_getTransactionCount": (_transaction_count, 2),
    "eth_getBalance": (_balance, 2),
    "eth_getCode": (_code, 2),
    "eth_getStorageAt": (_storage, 3),
    "eth_call": (_call, 2),
    "eth_estimateGas": (_estimate_gas, 2),
    "eth_gasPrice": (_gas_price, 0),
    "eth_maxPriorityFeePerGas": (_tip, 0),
    "eth_feeHistory": (_fee_history, 3),
    "eth_sendRawTransaction": (_send_raw, 1),
    "eth_getTransactionByHash": (_transaction, 1),
    "eth_getTransactionReceipt": (_receipt, 1),
    "eth_getLogs": (_logs, 1),
    "evm_mine": (_evm_mine, 1),
    "evm_snapshot": (_evm_snapshot, 0),
    "evm_revert": (_evm_revert, 1),
}


def _parse_percentiles(value: object) -> list[float]:
    if not isinstance(value, list) or len(value) > PERCENTILES_MAX:
        raise ValueError(f"not a list of at most {PERCENTILES_MAX} percentiles")
    numbers = [float(item) for item in value if isinstance(item, int | float) and not isinstance(item, bool)]
    if len(numbers) != len(value) or numbers != sorted(numbers):
        raise ValueError("percentiles are no rising numbers")
    if numbers and not (numbers[0] >= 0 and numbers[-1] <= _PERCENT):
        raise ValueError("percentiles are not within 0 and 100")
    return numbers


def _rewards(mined: Mined, percentiles: list[float]) -> list[int]:
    """The tips at these percentiles of the block's gas."""
    base_fee = mined.header.base_fee_per_gas or 0
    paid = []
    before = 0
    for tx, receipt in zip(mined.block.transactions, mined.receipts, strict=True):
        paid.append((min(tx.max_priority_fee_per_gas, tx.max_fee_per_gas - base_fee), receipt.gas_used - before))
        before = receipt.gas_used
    paid.sort()
    rewards = []
    for percentile in percentiles:
        left = mined.header.gas_used * percentile / _PERCENT
        tip = 0
        for tip, gas in paid:  # noqa: B007 -- the last tip stays when the percentile is at the end
            left -= gas
            if left <= 0:
                break
        rewards.append(tip)
    return rewards


def _revert_message(said: bytes) -> str:
    """Geth's words: with the reason, where the contract gave one as text."""
    if said[:4] != _ERROR_SELECTOR:
        return "execution reverted"
    try:
        (reason,) = decode(["string"], said[4:])
    except (DecodingError, UnicodeDecodeError):
        return "execution reverted"
    return f"execution reverted: {reason[:_REASON_MAX_CHARACTERS]}"
