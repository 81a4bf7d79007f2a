"""Why anchoring does not go on: a name, and words for who has to do something about it (pure).

A hold is no error: it is looked at again with every look at the chain, and ends by itself when its reason is gone.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple


class HoldReason(StrEnum):
    """What holds; the names are stable."""

    OUT_OF_FUNDS = "out-of-funds"
    FEE_CAPPED = "fee-capped"
    UNDERPRICED = "underpriced"
    MINER_NOT_ACTIVE = "miner-not-active"
    LOG_FROZEN = "log-frozen"
    HISTORY_MISMATCH = "history-mismatch"
    HISTORY_UNREADABLE = "history-unreadable"
    NONCE_GAP = "nonce-gap"
    REFUSED = "refused"
    ENDPOINT_BEHIND = "endpoint-behind"
    CHAIN_UNAVAILABLE = "chain-unavailable"
    JOURNAL_FAULT = "journal-fault"


LOUD: Final = frozenset(
    {
        HoldReason.LOG_FROZEN,
        HoldReason.HISTORY_MISMATCH,
        HoldReason.HISTORY_UNREADABLE,
        HoldReason.MINER_NOT_ACTIVE,
        HoldReason.OUT_OF_FUNDS,
    }
)
"""A person has to act; the others may pass by themselves."""

HINTS: Final = {
    HoldReason.OUT_OF_FUNDS: "send funds to the account",
    HoldReason.FEE_CAPPED: "it goes on when gas is cheaper, or with a higher anchor.max_fee_gwei",
    HoldReason.UNDERPRICED: "a higher bid follows after anchor.replace_after_s",
    HoldReason.MINER_NOT_ACTIVE: "the registrar registers or reinstates this gateway with this account",
    HoldReason.LOG_FROZEN: "nobody can thaw it: find out who held the key, and give the gateway another id",
    HoldReason.HISTORY_MISMATCH: (
        "stop the gateway that is not the right one, put back its newest data directory, or give it a new id "
        "(docs/operations/backup.md)"
    ),
    HoldReason.HISTORY_UNREADABLE: "run securenet log fsck",
    HoldReason.NONCE_GAP: "the account's earlier transaction is not ours: use the account for nothing else",
    HoldReason.REFUSED: "the endpoint's words say why",
    HoldReason.ENDPOINT_BEHIND: "it goes on when the endpoint has caught up",
    HoldReason.CHAIN_UNAVAILABLE: "it goes on when an endpoint answers; nothing is lost meanwhile",
    HoldReason.JOURNAL_FAULT: "it goes on when the disk takes writes again",
}


class Hold(NamedTuple):
    """What holds anchoring, since when, and in words."""

    reason: HoldReason
    detail: str
    since_ms: int


class Held(Exception):
    """Nothing more can be done in this look; without a reason: for this look only, and not worth a word."""

    def __init__(self, reason: HoldReason | None, detail: str = "") -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
