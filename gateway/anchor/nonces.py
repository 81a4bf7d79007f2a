"""What became of a nonce: from an endpoint's answers to moves of the attempts that share it (pure).

The account's nonce is asked before the receipts. So when it is at or below an attempt's nonce, no attempt is in a
block; when it is above and no attempt has a receipt, and the endpoint knows none of them, somebody else used it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from gateway.anchor.lifecycle import IN_BLOCK, WAITING, Event, State


class Attempt(Protocol):
    """A row of the outbox, as far as this file cares."""

    @property
    def id(self) -> int:
        """Rises with each attempt."""
        ...

    @property
    def state(self) -> str:
        """A ``State``."""
        ...

    @property
    def block_number(self) -> int | None:
        """The block that decided it."""
        ...

    @property
    def block_hash(self) -> bytes | None:
        """The hash of that block."""
        ...


class Place(NamedTuple):
    """A block."""

    number: int
    hash: bytes


class Included(NamedTuple):
    """An attempt that is in a canonical block; ``anchored``: it did what it was for."""

    id: int
    place: Place
    anchored: bool


class Sight(NamedTuple):
    """What one endpoint says about one nonce, all in one view.

    ``used``: the account has mined a transaction of this nonce. ``known``: the endpoint has one of the attempts, in
    a block or waiting. ``displaced_stands``: the block in which the displacement was seen is canonical.
    """

    used: bool
    included: Included | None
    known: bool
    head: Place
    final_number: int
    displaced_stands: bool = False


class Fate(Enum):
    """What became of a nonce."""

    WAITING = "waiting"
    INCLUDED = "included"
    DISPLACED = "displaced"
    UNCLEAR = "unclear"


class Move(NamedTuple):
    """An attempt's next event."""

    id: int
    event: Event


def fate(sight: Sight) -> Fate:
    """Say what became of a nonce."""
    if sight.included is not None:
        return Fate.INCLUDED
    if not sight.used:
        return Fate.WAITING
    return Fate.UNCLEAR if sight.known else Fate.DISPLACED


def moves(attempts: Sequence[Attempt], sight: Sight) -> list[Move]:
    """The moves of all attempts of one nonce, in order; none when nothing changed.

    Args:
        attempts: of one nonce, the oldest first.
        sight: what the endpoint says.
    """
    found = fate(sight)
    if found is Fate.WAITING:
        return list(_undone(attempts, attempts[-1].id))
    if found is Fate.INCLUDED and sight.included is not None:
        return list(_included(attempts, sight.included, sight.final_number))
    if found is Fate.DISPLACED:
        return list(_displaced(attempts, sight))
    return []


def in_flight(attempts: Iterable[Attempt]) -> bool:
    """Whether a nonce still waits for a block: it has attempts, and none is in one."""
    states = [State(attempt.state) for attempt in attempts]
    return any(state in WAITING for state in states) and not any(state in IN_BLOCK for state in states)


def replacement_due(now_ms: int, changed_ms: int, replace_after_s: float, *, passed_over: bool) -> bool:
    """Whether a transaction waited long enough, and a block that could have had it left it out."""
    waited_ms = now_ms - changed_ms
    return passed_over and (waited_ms >= replace_after_s * 1000 or waited_ms < 0)


def _undone(attempts: Sequence[Attempt], newest_id: int) -> Iterator[Move]:
    """No attempt is in a block: whichever was, is not any more. The newest is the one to be sent again."""
    for attempt in attempts:
        if State(attempt.state) in IN_BLOCK:
            yield Move(attempt.id, Event.REORG)
            if attempt.id != newest_id:
                yield Move(attempt.id, Event.REPLACE)


def _included(attempts: Sequence[Attempt], included: Included, final_number: int) -> Iterator[Move]:
    """One attempt is in a block; when that is final, so is everything about this nonce."""
    wanted = State.MINED if included.anchored else State.REVERTED
    final = included.place.number <= final_number
    for attempt in attempts:
        state = State(attempt.state)
        if attempt.id == included.id:
            stands = state is wanted and (attempt.block_number, attempt.block_hash) == included.place
            if state in IN_BLOCK and not stands:
                yield Move(attempt.id, Event.REORG)
            if not stands:
                yield Move(attempt.id, Event.MINE if included.anchored else Event.REVERT)
            if final:
                yield Move(attempt.id, Event.FINALISE)
        else:
            if state in IN_BLOCK:
                yield Move(attempt.id, Event.REORG)
            if final:
                yield Move(attempt.id, Event.SUPERSEDE)


def _displaced(attempts: Sequence[Attempt], sight: Sight) -> Iterator[Move]:
    """The nonce went to a transaction that is not ours."""
    for attempt in attempts:
        state = State(attempt.state)
        if state is State.DISPLACED and sight.displaced_stands:
            if attempt.block_number is not None and attempt.block_number <= sight.final_number:
                yield Move(attempt.id, Event.FINALISE)
            continue
        if state in IN_BLOCK:
            yield Move(attempt.id, Event.REORG)
        yield Move(attempt.id, Event.DISPLACE)
