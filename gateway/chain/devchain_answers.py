"""Blocks, transactions, receipts and events of the development chain, as JSON-RPC spells them (pure)."""

from __future__ import annotations

from typing import Any, Final

from eth.abc import BlockAPI, BlockHeaderAPI, SignedTransactionAPI
from eth_tester.backends.pyevm.serializers import (  # type: ignore[import-untyped]
    serialize_block,
    serialize_transaction,
    serialize_transaction_receipt,
)

from gateway.chain.devchain_evm import LogEntry, Mined
from gateway.chain.devchain_pool import Waiting
from gateway.chain.devchain_values import LogQuery, to_json

_BLOOM_BYTES: Final = 256


def block_json(block: BlockAPI, *, full: bool) -> dict[str, Any]:
    """A mined block, with whole transactions or their hashes."""
    fields = serialize_block(block, False, False)  # noqa: FBT003 -- eth-tester's: hashes, not pending
    del fields["total_difficulty"]
    fields["miner"] = fields.pop("coinbase")
    fields["logs_bloom"] = fields["logs_bloom"].to_bytes(_BLOOM_BYTES, "big")
    fields["extra_data"] = block.header.extra_data
    if full:
        fields["transactions"] = [_mined_fields(block, tx, index) for index, tx in enumerate(block.transactions)]
    return _json(fields)


def next_block_json(header: BlockHeaderAPI, waiting: list[Waiting], *, full: bool) -> dict[str, Any]:
    """The block to come: what will be in it if nothing changes, and no hash yet."""
    return _json(
        {
            "number": header.block_number,
            "hash": None,
            "nonce": None,
            "logs_bloom": None,
            "miner": None,
            "parent_hash": header.parent_hash,
            "timestamp": header.timestamp,
            "gas_limit": header.gas_limit,
            "gas_used": 0,
            "base_fee_per_gas": header.base_fee_per_gas,
            "transactions": [waiting_json(entry) if full else entry.hash for entry in waiting],
            "uncles": [],
        }
    )


def transaction_json(mined: Mined, index: int) -> dict[str, Any]:
    """A transaction that stands in a block."""
    return _json(_mined_fields(mined.block, mined.block.transactions[index], index))


def waiting_json(entry: Waiting) -> dict[str, Any]:
    """A transaction that stands in no block yet."""
    fields = serialize_transaction(None, entry.payload, None, is_pending=True)
    return _json(_tidy(fields, entry.payload))


def receipt_json(mined: Mined, index: int) -> dict[str, Any]:
    """What became of a transaction."""
    tx = mined.block.transactions[index]
    fields = serialize_transaction_receipt(mined.block, mined.receipts, tx, index, False, None)  # noqa: FBT003 -- mined
    del fields["state_root"]
    fields["to"] = fields["to"] or None
    fields["logs_bloom"] = mined.receipts[index].bloom.to_bytes(_BLOOM_BYTES, "big")
    fields["logs"] = [log_fields(log) for log in mined.logs if log.transaction_index == index]
    return _json(fields)


def log_fields(log: LogEntry) -> dict[str, Any]:
    """An event."""
    return {**log._asdict(), "removed": False}


def matches(log: LogEntry, query: LogQuery) -> bool:
    """Whether an event is among those asked for."""
    if query.addresses and log.address not in query.addresses:
        return False
    if len(query.topics) > len(log.topics):
        return False
    return all(not wanted or topic in wanted for wanted, topic in zip(query.topics, log.topics, strict=False))


def _mined_fields(block: BlockAPI, tx: SignedTransactionAPI, index: int) -> dict[str, Any]:
    return _tidy(serialize_transaction(block, tx, index, is_pending=False), tx)


def _tidy(fields: dict[str, Any], tx: SignedTransactionAPI) -> dict[str, Any]:
    fields["input"] = fields.pop("data")
    fields["to"] = fields["to"] or None
    fields["chain_id"] = tx.chain_id
    if "access_list" in fields:
        fields["access_list"] = [
            {"address": address, "storage_keys": [slot.to_bytes(32, "big") for slot in slots]}
            for address, slots in fields["access_list"]
        ]
    return fields


def _json(fields: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = to_json(fields)
    return made
