"""When a checkpoint is sealed for the chain: arithmetic on sizes and times (pure).

Nothing here sleeps: the answer is to seal now, or until when to wait.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.config.model import AnchorConfig


class Seal(NamedTuple):
    """Seal the newest checkpoint now; ``why`` is for the log."""

    why: str


class Wait(NamedTuple):
    """Nothing to do before ``until_ms``; None: before the log grows or somebody asks."""

    until_ms: int | None


class Standing(NamedTuple):
    """What the decision is about.

    ``newest_size`` is the log's, ``covered_size`` what the chain has or is about to have. ``owed``: the newest
    attempt came to nothing through no fault of its own, so that the interval is not waited for again. ``asked``: a
    person wants it now.
    """

    newest_size: int
    covered_size: int
    last_sealed_ms: int | None
    owed: bool = False
    asked: bool = False


def decide(config: AnchorConfig, standing: Standing, now_ms: int) -> Seal | Wait:
    """Seal when the log has grown, and the interval is over or enough has come."""
    grown = standing.newest_size - standing.covered_size
    if grown <= 0:
        return Wait(None)
    if standing.asked:
        return Seal("asked")
    last_ms = standing.last_sealed_ms
    if last_ms is None or last_ms > now_ms:  # never before, or the clock was set back: do not wait for a past future
        return Seal("first" if last_ms is None else "clock")
    soonest_ms = last_ms + _ms(config.min_interval_s)
    enough = 0 < config.entries <= grown
    due_ms = soonest_ms if standing.owed or enough else max(soonest_ms, last_ms + _ms(config.interval_s))
    if now_ms < due_ms:
        return Wait(due_ms)
    return Seal("again" if standing.owed else "entries" if enough else "interval")


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
