"""Step 4, VERIFYSIG(T). The arithmetic is done in batches by ``gateway.crypto``; here stands what it means."""

from __future__ import annotations

from gateway.message import Rejected, RejectReason

_BAD = Rejected(RejectReason.BAD_SIGNATURE, "the signature does not hold under the registered key")


def verify_signature(*, held: bool) -> Rejected | None:
    """Step 4: the signature held under the key that the registry binds to the device."""
    return None if held else _BAD
