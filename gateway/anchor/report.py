"""Anchoring in words and figures: what is, what happens next, and when (pure)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol

from gateway.anchor.holds import HINTS, Hold
from gateway.anchor.lifecycle import WAITING, State


class Newest(Protocol):
    """The newest attempt that matters."""

    @property
    def size(self) -> int:
        """The checkpoint's."""
        ...

    @property
    def state(self) -> str:
        """A ``State``."""
        ...

    @property
    def nonce(self) -> int | None:
        """The transaction's."""
        ...

    @property
    def block_number(self) -> int | None:
        """The block that has it."""
        ...


class AnchorStatus(NamedTuple):
    """How anchoring is.

    ``state`` is in words, with what happens next. ``final_ms`` is when the last anchor was seen to be final,
    ``nonce`` the account's next one, None before the first look. ``counts`` has the attempts by state,
    ``transactions`` those that are in blocks, ``gas_used_total`` what they took: of the attempts that the journal
    still has.
    """

    state: str
    final_size: int
    final_ms: int | None
    sealed_size: int
    unanchored: int
    hold: Hold | None
    account: str
    balance_wei: int | None
    nonce: int | None
    transactions: int
    gas_used_total: int
    counts: Mapping[str, int]
    next_at_ms: int | None


def _sealed(row: Newest) -> str:
    return f"size {row.size} is sealed; it is signed and broadcast with the next look at the chain"


def _signed(row: Newest) -> str:
    return f"size {row.size} is signed (nonce {row.nonce}); it is sent with the next look at the chain"


def _broadcast(row: Newest) -> str:
    return f"size {row.size} waits for a block (nonce {row.nonce})"


def _mined(row: Newest) -> str:
    return f"size {row.size} is in block {row.block_number}; it is final when that block is"


def _reverted(row: Newest) -> str:
    return f"the transaction for size {row.size} anchored nothing; the next one is sealed"


def _displaced(row: Newest) -> str:
    return f"nonce {row.nonce} went to another program's transaction; size {row.size} is sealed anew"


def _reorged(row: Newest) -> str:
    return f"size {row.size} lost its block; the same transaction is sent with the next look at the chain"


_WORDS: Final[Mapping[State, Callable[[Newest], str]]] = {
    State.SEALED: _sealed,
    State.SIGNED: _signed,
    State.BROADCAST: _broadcast,
    State.REPLACED: _broadcast,
    State.MINED: _mined,
    State.REVERTED: _reverted,
    State.DISPLACED: _displaced,
    State.REORGED: _reorged,
}


def words(
    newest: Newest | None, *, final_size: int, unanchored: int, hold: Hold | None, next_in_s: int | None
) -> str:
    """Say where anchoring stands and what happens next, and when."""
    if hold is not None:
        return f"held, {hold.reason}: {hold.detail}; {HINTS[hold.reason]}; asked again with each look at the chain"
    if newest is not None:
        said = _WORDS[State(newest.state)](newest)
    elif final_size:
        said = f"size {final_size} is final"
    else:
        said = "nothing was anchored yet"
    if newest is not None and State(newest.state) in WAITING:
        return said if next_in_s is None else f"{said}; a higher bid follows if no block has it in {next_in_s} s"
    if next_in_s is not None:
        return f"{said}; the next anchor is sealed in {next_in_s} s"
    return said if unanchored else f"{said}; the next anchor is sealed when the log grows"
