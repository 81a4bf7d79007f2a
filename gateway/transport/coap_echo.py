"""Who is really there? The Echo challenge of RFC 9175 and the estimate that decides when to ask.

A UDP source address proves nothing. Bucket A is charged by that address, so a forger could spend a victim's budget;
FORMATS.md §3 therefore asks a peer that is over half its budget to send back a value it can only have received at
its address. The value is a time and a MAC over address and time: nothing is stored until it comes back.
Time is an argument everywhere (milliseconds or seconds of one monotonic clock).
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict

FRESH_MS = 60_000
TIME_BYTES = 6
MAC_BYTES = 16
ECHO_BYTES = TIME_BYTES + MAC_BYTES
KEY_BYTES = 32


def make_echo(key: bytes, peer: str, now_ms: int) -> bytes:
    """The Echo value for ``peer`` at ``now_ms``: 6 bytes of time, 16 of MAC (RFC 9175 §2.3, appendix A item 2)."""
    when = now_ms.to_bytes(TIME_BYTES, "big")
    return when + _mac(key, peer, when)


def is_fresh_echo(key: bytes, peer: str, now_ms: int, echo: bytes) -> bool:
    """Whether ``echo`` was made for ``peer`` with ``key`` in the last 60 s; the MAC is compared in constant time."""
    if len(echo) != ECHO_BYTES:
        return False
    when = echo[:TIME_BYTES]
    holds = hmac.compare_digest(echo[TIME_BYTES:], _mac(key, peer, when))
    age_ms = now_ms - int.from_bytes(when, "big")
    return holds and 0 <= age_ms <= FRESH_MS


def _mac(key: bytes, peer: str, when: bytes) -> bytes:
    return hashlib.blake2s(when + peer.encode(), key=key, digest_size=MAC_BYTES).digest()


class PeerLoad:
    """An estimate of bucket A, peer by peer: the same rate and burst, charged for what was handed on.

    It decides nothing but when an Echo is asked for. The table holds ``most_peers`` (least recently seen go first);
    a forgotten peer starts again with a full budget, as in bucket A itself.
    """

    def __init__(self, rate_per_s: float, burst: int, most_peers: int) -> None:
        self._rate_per_s = rate_per_s
        self._burst = float(burst)
        self._most_peers = most_peers
        self._peers: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def retune(self, rate_per_s: float, burst: int) -> None:
        """Follow bucket A to another rate and burst; what was charged stays charged."""
        self._rate_per_s, self._burst = rate_per_s, float(burst)

    def __len__(self) -> int:
        return len(self._peers)

    def is_over_half(self, peer: str, now_s: float) -> bool:
        """Whether less than half of the peer's budget is left."""
        entry = self._peers.get(peer)
        if entry is None:
            return False
        left, since_s = entry
        return left + (now_s - since_s) * self._rate_per_s < self._burst / 2

    def charge(self, peer: str, now_s: float) -> None:
        """One message of ``peer`` was handed on."""
        entry = self._peers.get(peer)
        if entry is None:
            left = self._burst
            if len(self._peers) >= self._most_peers:
                self._peers.popitem(last=False)
        else:
            left = min(self._burst, entry[0] + (now_s - entry[1]) * self._rate_per_s)
            self._peers.move_to_end(peer)
        self._peers[peer] = (max(left - 1.0, 0.0), now_s)
