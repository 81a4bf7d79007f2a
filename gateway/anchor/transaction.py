"""A transaction of the anchoring account: its fields, its signature, its row (pure; the signer is given)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from gateway.anchor.fees import Bid
from gateway.anchor.past import Head
from gateway.chain.contracts import anchor_call
from gateway.chain.models import Result, report_access_call
from gateway.crypto.anchoring_key import keccak256
from gateway.journal import AccessRow


class Signer(Protocol):
    """The anchoring account (``gateway.crypto.anchoring_key.AnchoringKey``)."""

    @property
    def address(self) -> bytes:
        """20 bytes."""
        ...

    def sign_transaction(self, fields: Mapping[str, Any]) -> bytes:
        """The raw transaction; the same fields give the same bytes."""
        ...


class Target(NamedTuple):
    """Where anchors go."""

    chain_id: int
    contract: bytes
    log_id: bytes


class Offer(NamedTuple):
    """A transaction before it is signed."""

    head: Head
    nonce: int
    gas: int
    bid: Bid


class Call(NamedTuple):
    """What a transaction does: which contract it calls on which chain, and how."""

    chain_id: int
    contract: bytes
    data: bytes


def signed_call(call: Call, signer: Signer, nonce: int, gas: int, bid: Bid) -> dict[str, Any]:
    """Sign a call; return what a row of an outbox keeps of it. The chain's id is in the signature (EIP-155)."""
    fields: dict[str, Any] = {
        "chainId": call.chain_id,
        "nonce": nonce,
        "to": call.contract,
        "data": call.data,
        "value": 0,
        "gas": gas,
    }
    if bid.tip is None:
        fields["gasPrice"] = bid.max_fee
    else:
        fields |= {"maxFeePerGas": bid.max_fee, "maxPriorityFeePerGas": bid.tip}
    raw = signer.sign_transaction(fields)
    return {
        "account": signer.address,
        "nonce": nonce,
        "max_fee_wei": bid.max_fee,
        "priority_fee_wei": bid.tip,
        "raw": raw,
        "tx_hash": keccak256(raw),
    }


def report_call(row: AccessRow) -> bytes:
    """The call that a row of the access outbox makes.

    Raises:
        ValueError: it holds what no call can: it was salvaged, or is from another version.
    """
    return report_access_call(row.model_id, row.version, Result(row.result), row.reason)


def signed_fields(target: Target, signer: Signer, offer: Offer) -> dict[str, Any]:
    """Sign what carries a checkpoint; return what a row of the outbox keeps of it."""
    head = offer.head
    call = Call(target.chain_id, target.contract, anchor_call(target.log_id, head.size, head.root))
    return {"size": head.size, "root": head.root, **signed_call(call, signer, offer.nonce, offer.gas, offer.bid)}
