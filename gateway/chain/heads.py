"""Does an endpoint's newest block fit what it said before, and what the clock says? Time is an argument (pure).

What is checked, in this order: the head is of today, or, by a machine whose wall clock is not believed, it moves on;
the head did not fall back further than a reorganisation goes;
the final block is not above the head; it did not fall back at all; and a height that was final keeps its hash.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from gateway.chain.port import Block

REORG_BLOCKS: Final = 64
"""A head may be so far below the highest that was seen: reorganisations, and replicas that lag."""


class Seen(NamedTuple):
    """What one endpoint has said: its highest head, since when (monotonic seconds), and its highest final block."""

    head_number: int = -1
    final: Block | None = None
    since_s: float = 0.0

    def with_(self, head: Block, final: Block, monotonic_s: float = 0.0) -> Seen:
        """The memory after a look that held."""
        if head.number <= self.head_number:
            return Seen(self.head_number, final, self.since_s)
        return Seen(head.number, final, monotonic_s)


class HeadRule(NamedTuple):
    """How old a head may be, and how far it may fall back."""

    max_age_s: float
    reorg_blocks: int = REORG_BLOCKS


def stands_still(seen: Seen, head: Block, monotonic_s: float, rule: HeadRule) -> str:
    """Whether a chain has stopped, asked without a wall clock, in words; nothing: empty."""
    still_s = monotonic_s - seen.since_s
    if head.number > seen.head_number or still_s <= rule.max_age_s:
        return ""
    return f"its newest block is {head.number} for {still_s:.0f} s, {rule.max_age_s:g} s are allowed: it has stopped"


def head_fault(seen: Seen, head: Block, now_s: float | None, rule: HeadRule, monotonic_s: float = 0.0) -> str:
    """What is wrong with this head, in words; nothing: empty.

    Args:
        seen: what the endpoint said before.
        head: what it says now.
        now_s: seconds since 1970; None when the wall clock is not believed.
        rule: what is allowed.
        monotonic_s: monotonic seconds, which count when the wall clock does not.
    """
    late = stands_still(seen, head, monotonic_s, rule) if now_s is None else age_fault(head, now_s, rule)
    return late or fall_fault(seen, head, rule)


def age_fault(head: Block, now_s: float, rule: HeadRule) -> str:
    """Whether a head is of today by a wall clock that is believed, in words; nothing: empty."""
    age_s = now_s - head.timestamp_s
    if age_s > rule.max_age_s:
        return (
            f"its newest block {head.number} is {age_s:.0f} s old, {rule.max_age_s:g} s are allowed: "
            "it has stopped, or this machine's clock is wrong"
        )
    if -age_s > rule.max_age_s:
        return f"its newest block {head.number} is {-age_s:.0f} s ahead of this machine's clock: set the clock"
    return ""


def fall_fault(seen: Seen, head: Block, rule: HeadRule) -> str:
    """Whether a head fell back further than a reorganisation goes, in words; nothing: empty."""
    if head.number < seen.head_number - rule.reorg_blocks:
        return (
            f"it goes back in time: its newest block is {head.number}, and was {seen.head_number}; "
            "if the chain was begun anew, restart the gateway"
        )
    return ""


def final_fault(seen: Seen, head: Block, final: Block) -> str:
    """What is wrong with this final block, in words; nothing: empty."""
    if final.number > head.number:
        return f"it contradicts itself: block {final.number} is final, and its newest is {head.number}"
    if final.number == head.number and final.hash != head.hash:
        return f"it contradicts itself: two hashes of block {final.number}"
    if seen.final is None:
        return ""
    if final.number < seen.final.number:
        return f"it goes back in time: its final block is {final.number}, and was {seen.final.number}"
    if final.number == seen.final.number and final.hash != seen.final.hash:
        return f"it contradicts itself: final block {final.number} has another hash than before"
    return ""
