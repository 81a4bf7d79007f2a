"""How old the registry's state is, what is told about it, and what its follower needs of the journal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from gateway.journal.identities import IdentityCursor, IdentityRow

NOT_CONFIRMED_MS: Final = 0
"""The time of a state that was read in part: the chain confirmed it at no time."""


class FollowerState(StrEnum):
    """How the registry is, seen from here. Only while it is ``FOLLOWING`` is anything accepted."""

    NEVER_SYNCED = "never-synced"
    SYNCING = "syncing"
    FOLLOWING = "following"
    STALE = "stale"


class FollowerStatus(NamedTuple):
    """For the status page. ``as_of_ms`` is 0 and ``age_s`` None when the chain never confirmed what is held."""

    state: FollowerState
    final_block: int | None
    head_block: int | None
    as_of_ms: int
    age_s: float | None
    devices: int
    head_suspensions: int
    rewrites: int
    skipped_events: int
    last_fault: str


class IdentityStore(Protocol):
    """Where the final state is kept (``gateway.journal.Journal``)."""

    async def apply_identities(self, rows: Sequence[IdentityRow], cursor: IdentityCursor) -> None:
        """Write rows and cursor, both or neither."""
        ...

    async def forget_identities(self) -> None:
        """Drop all of it."""
        ...


class IdentityReader(Protocol):
    """How it is read again at the start (``gateway.journal.Reader``)."""

    def identities(self) -> Iterable[IdentityRow]:
        """Every row."""
        ...

    def identity_cursor(self) -> IdentityCursor | None:
        """Up to which block."""
        ...


class Moment(NamedTuple):
    """A time by both clocks. When a look began: what it finds is at least as new."""

    monotonic_s: float
    wall_ms: int


class Freshness:
    """How long ago the chain confirmed the state. Time is an argument.

    Within a process the monotonic clock counts. A state from before a restart has but the wall clock's word: one
    that lies in the future, by a clock that went back, is as good as none.
    """

    def __init__(self, max_age_s: float) -> None:
        self._max_age_s = max_age_s
        self._confirmed_s: float | None = None
        self._restored: Moment | None = None

    def restored(self, as_of_ms: int, now: Moment) -> None:
        """A state was taken up that the chain confirmed at ``as_of_ms``."""
        if as_of_ms != NOT_CONFIRMED_MS:
            self._restored = Moment(now.monotonic_s, as_of_ms)

    def confirmed(self, now: Moment) -> bool:
        """The chain confirmed the state. True when it had not done so yet since the start."""
        first = self._confirmed_s is None
        self._confirmed_s = now.monotonic_s
        return first

    def forget(self) -> None:
        """There is no state any more."""
        self._confirmed_s = self._restored = None

    def age_s(self, now: Moment) -> float | None:
        """Seconds since the chain confirmed the state; None when it never did, or the clock contradicts it."""
        if self._confirmed_s is not None:
            return now.monotonic_s - self._confirmed_s
        if self._restored is None:
            return None
        by_wall_s = (now.wall_ms - self._restored.wall_ms) / 1000
        return None if by_wall_s < 0 else max(by_wall_s, now.monotonic_s - self._restored.monotonic_s)

    def is_stale(self, now: Moment) -> bool:
        """Whether the state is too old to be acted on."""
        age_s = self.age_s(now)
        return age_s is None or age_s >= self._max_age_s
