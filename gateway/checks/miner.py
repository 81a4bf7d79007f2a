"""Step 1, VERIFYMINER(M): may this gateway append to its log at all?"""

from __future__ import annotations

from gateway.message import PushbackReason
from gateway.registry.port import Miner, Status


def verify_miner(
    miner: Miner | None, *, fleet: str, origin: str, log_key: bytes, account: bytes | None = None
) -> PushbackReason | None:
    """Ask whether the registered ``miner`` is active and bound to this very log, and to the account that anchors it.

    The answer is about the gateway, never about a message: a failure holds messages back and refuses none, so
    that a lapsed registration loses nobody's data.

    Args:
        miner: what the registry snapshot holds under this gateway's id.
        fleet: the fleet this gateway serves.
        origin: the name of the log it appends to.
        log_key: the log's Ed25519 public key, 32 bytes.
        account: the account that will anchor the log, 20 bytes; None for a gateway that anchors nowhere.
    """
    if miner is None or miner.fleet != fleet or miner.log != origin or miner.key.data != log_key:
        return PushbackReason.MINER_UNKNOWN
    if account is not None and miner.account != account:
        return PushbackReason.MINER_UNKNOWN
    if miner.status is not Status.ACTIVE:
        return PushbackReason.MINER_SUSPENDED
    return None
