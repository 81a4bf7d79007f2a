"""The states of an anchor: a table of legal moves, and nothing else (pure).

A row of the outbox is one attempt: one checkpoint in one transaction. Attempts under the same nonce compete; at most
one of them is ever mined. What a block says is believed for good only when that block is final: ``mined``,
``reverted`` and ``displaced`` are all taken back by a reorg, and end in ``final``, ``failed`` and ``abandoned``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class State(StrEnum):
    """Where an attempt stands."""

    SEALED = "sealed"
    """The checkpoint is chosen; there is no transaction yet, because something holds it."""
    SIGNED = "signed"
    """The raw transaction is in the journal; no endpoint took it yet."""
    BROADCAST = "broadcast"
    """An endpoint took it; it waits for a block."""
    REPLACED = "replaced"
    """A later attempt bids more under the same nonce; this one may still win."""
    MINED = "mined"
    """A block has it, and it anchored; the block is not final yet."""
    REVERTED = "reverted"
    """A block has it, and it anchored nothing; the detail says why. The block is not final yet."""
    DISPLACED = "displaced"
    """Another program's transaction has its nonce; that block is not final yet."""
    REORGED = "reorged"
    """Its block is not of the chain any more: the same bytes are sent again."""
    FINAL = "final"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    ABANDONED = "abandoned"


class Event(StrEnum):
    """What moves an attempt."""

    SIGN = "sign"
    BROADCAST = "broadcast"
    REPLACE = "replace"
    MINE = "mine"
    REVERT = "revert"
    DISPLACE = "displace"
    REORG = "reorg"
    FINALISE = "finalise"
    SUPERSEDE = "supersede"
    ABANDON = "abandon"


BIRTHS: Final = frozenset({State.SEALED, State.SIGNED, State.MINED})
"""How a row begins: chosen; signed at once, as a replacement; or found on the chain, when the outbox was lost."""

ENDS: Final = frozenset({State.FINAL, State.FAILED, State.SUPERSEDED, State.ABANDONED})

WAITING: Final = frozenset({State.SIGNED, State.BROADCAST, State.REPLACED, State.REORGED})
"""Has a transaction, and no block."""

COUNTING: Final = WAITING | {State.MINED}
"""Anchored, or on the way to it."""

IN_BLOCK: Final = frozenset({State.MINED, State.REVERTED, State.DISPLACED})
"""A block decided it; the row has that block's number and hash."""

TABLE: Final[Mapping[tuple[State, Event], State]] = {
    (State.SEALED, Event.SIGN): State.SIGNED,
    (State.SEALED, Event.ABANDON): State.ABANDONED,
    (State.SIGNED, Event.BROADCAST): State.BROADCAST,
    (State.REORGED, Event.BROADCAST): State.BROADCAST,
    (State.MINED, Event.REORG): State.REORGED,
    (State.REVERTED, Event.REORG): State.REORGED,
    (State.DISPLACED, Event.REORG): State.REORGED,
    (State.MINED, Event.FINALISE): State.FINAL,
    (State.REVERTED, Event.FINALISE): State.FAILED,
    (State.DISPLACED, Event.FINALISE): State.ABANDONED,
    **{(state, Event.MINE): State.MINED for state in WAITING},
    **{(state, Event.REVERT): State.REVERTED for state in WAITING},
    **{(state, Event.DISPLACE): State.DISPLACED for state in WAITING},
    **{(state, Event.SUPERSEDE): State.SUPERSEDED for state in WAITING},
    **{(state, Event.ABANDON): State.ABANDONED for state in WAITING | IN_BLOCK},
    **{(state, Event.REPLACE): State.REPLACED for state in WAITING - {State.REPLACED}},
}


class IllegalMove(Exception):
    """A move that the table does not have: a fault of ours."""


def moved(state: State, event: Event) -> State:
    """Where an event leads.

    Raises:
        IllegalMove: nowhere.
    """
    try:
        return TABLE[state, event]
    except KeyError:
        raise IllegalMove(f"an anchor that is {state} has no {event}") from None
