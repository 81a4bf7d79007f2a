"""Step 3, EXCEEDSRATELIMIT: token buckets that cost one float a key.

A bucket is kept as its *theoretical arrival time* (the generic cell rate algorithm, ITU-T I.371): the moment at which
it will be full again. A full bucket needs no memory at all, which is what makes the table easy to bound.

After an outage the senders are owed what they could not send: a *credit* lets every bucket hold, for a while, what
it would have been refilled with in the meantime. Without it a device that was patient for an hour would be refused.

Two tables are in use. Bucket A, per transport peer, is taken from before the signature is looked at and protects
the processor. Bucket B, per device, is looked at before and taken from after the signature held, so that a forger
cannot spend a victim's budget.
"""

from __future__ import annotations

import math

from gateway.message import Rejected, RejectReason

_CREDIT_LEAST_S = 60.0


class TokenBuckets:
    """Token buckets by key: ``burst`` tokens at most, ``rate_per_s`` new ones a second, ``capacity`` keys.

    ``now_s`` is any monotonic clock. When the table is full, full buckets are forgotten first, then the one that
    was touched least recently: its owner starts anew with a full bucket, which errs towards the sender.
    """

    __slots__ = ("_capacity", "_credit_s", "_credit_until_s", "_full_at", "_interval", "_tolerance")

    def __init__(self, rate_per_s: float, burst: int, capacity: int) -> None:
        if rate_per_s <= 0 or burst < 1 or capacity < 1:
            raise ValueError("rate, burst and capacity must be positive")
        self._interval = 1.0 / rate_per_s
        # Sums of intervals are rounded: a thousandth of a token is forgiven, or the burst would be one short.
        self._tolerance = (burst - 1 + 1e-3) / rate_per_s
        self._capacity = capacity
        self._credit_s = 0.0
        self._credit_until_s = 0.0
        self._full_at: dict[str, float] = {}

    def retune(self, rate_per_s: float, burst: int, capacity: int) -> None:
        """Change the limits. Every key starts anew with a full bucket, which errs towards the senders.

        Raises:
            ValueError: as from the constructor; nothing is changed.
        """
        fresh = TokenBuckets(rate_per_s, burst, capacity)
        self._interval, self._tolerance, self._capacity = fresh._interval, fresh._tolerance, fresh._capacity
        self._full_at = {}

    def credit(self, gap_s: float, now_s: float) -> None:
        """Owe every key what ``gap_s`` seconds refill, for as long again (a minute at least) from ``now_s``.

        A short gap while a longer credit is in force takes nothing of it away: a link that flaps while a backlog
        drains is the usual end of an outage.
        """
        in_force = now_s < self._credit_until_s
        self._credit_s = max(gap_s, self._credit_s if in_force else 0.0, 0.0)
        self._credit_until_s = max(self._credit_until_s, now_s + max(_CREDIT_LEAST_S, gap_s))

    def wait_s(self, key: str, now_s: float) -> float:
        """Seconds until a token is there; 0.0 when one is there now. Takes nothing."""
        return max(0.0, self._full_at_of(key, now_s) - now_s - self._tolerance)

    def take(self, key: str, now_s: float) -> float:
        """Take a token and return 0.0; or take none and return the seconds until one is there."""
        full_at = self._full_at_of(key, now_s)
        wait_s = full_at - now_s - self._tolerance
        if wait_s > 0:
            return wait_s
        # Taken out and put back: the order of the table is that of the last use.
        self._full_at.pop(key, None)
        if len(self._full_at) >= self._capacity:
            self._make_room(now_s)
        self._full_at[key] = full_at + self._interval
        return 0.0

    def _full_at_of(self, key: str, now_s: float) -> float:
        """When the bucket is full: never longer ago than the credit that is in force."""
        earliest = now_s - self._credit_s if now_s < self._credit_until_s else now_s
        return max(self._full_at.get(key, earliest), earliest)

    def __len__(self) -> int:
        return len(self._full_at)

    def _make_room(self, now_s: float) -> None:
        """Forget every full bucket; where that frees no sixteenth of the table, the least recently touched as well.

        A sixteenth each time, for the whole table is looked at: with one place a time, each take would do it.
        """
        earliest = now_s - self._credit_s if now_s < self._credit_until_s else now_s
        kept = {key: full_at for key, full_at in self._full_at.items() if full_at > earliest}
        most = self._capacity - max(1, self._capacity // 16)
        for key in list(kept)[: max(0, len(kept) - most)]:
            del kept[key]
        self._full_at = kept


def verify_rate(wait_s: float) -> Rejected | None:
    """Step 3: the bucket that was asked had a token."""
    if wait_s > 0:
        return Rejected(RejectReason.RATE_LIMITED, f"the next message is welcome in {math.ceil(wait_s)} s")
    return None
