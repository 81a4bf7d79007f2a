"""The transaction that carries a checkpoint: its fields, its signature, its row (pure; the signer is given)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from gateway.anchor.fees import Bid
from gateway.anchor.past import Head
from gateway.chain.contracts import anchor_call
from gateway.crypto.anchoring_key import keccak256


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


def signed_fields(target: Target, signer: Signer, offer: Offer) -> dict[str, Any]:
    """Sign it; return what a row of the outbox keeps of it. The chain's id is in the signature (EIP-155)."""
    fields: dict[str, Any] = {
        "chainId": target.chain_id,
        "nonce": offer.nonce,
        "to": target.contract,
        "data": anchor_call(target.log_id, offer.head.size, offer.head.root),
        "value": 0,
        "gas": offer.gas,
    }
    if offer.bid.tip is None:
        fields["gasPrice"] = offer.bid.max_fee
    else:
        fields |= {"maxFeePerGas": offer.bid.max_fee, "maxPriorityFeePerGas": offer.bid.tip}
    raw = signer.sign_transaction(fields)
    return {
        "size": offer.head.size,
        "root": offer.head.root,
        "account": signer.address,
        "nonce": offer.nonce,
        "max_fee_wei": offer.bid.max_fee,
        "priority_fee_wei": offer.bid.tip,
        "raw": raw,
        "tx_hash": keccak256(raw),
    }
