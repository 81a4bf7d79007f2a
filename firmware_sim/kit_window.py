"""Conformance cases for sessions and the replay window (the formats page §3, the replay window)."""

import os
from collections.abc import Iterable, Iterator
from typing import Final

from firmware_sim.keys import Encoding
from firmware_sim.kit_model import ENCODINGS, Bench, Case, Make, Speaker, Step
from firmware_sim.kit_order import FUTURE_S, LATE_S, REUSED, WINDOW, Simple, spoil
from firmware_sim.ledger import ACCEPTED, DUPLICATE

SESSIONS: Final = 8
# Sessions that are filled and forgotten begin this long ago, so that the kit can soon be run again.
RECENT_S: Final = 10
HIGH: Final = 10_000
BELOW: Final = "out-of-window"
STALE: Final = "stale-session"


def _jumps(bench: Bench, encoding: Encoding) -> Iterable[Step]:
    speaker = bench.solo()
    for seq in (5, 6, 7, 1_000, 1_000_000, 2**40, 2**63 - 1):
        yield speaker.says(encoding, ACCEPTED, seq=seq)


def _below(offset: int, *expected: str) -> Simple:
    def make(bench: Bench, encoding: Encoding) -> Iterable[Step]:
        speaker = bench.solo()
        yield speaker.says(encoding, ACCEPTED, seq=HIGH)
        yield speaker.says(encoding, *expected, seq=HIGH - offset)

    return make


def _below_and(shift_s: float) -> Simple:
    def make(bench: Bench, encoding: Encoding) -> Iterable[Step]:
        speaker = bench.solo()
        yield speaker.says(encoding, ACCEPTED, seq=HIGH)
        yield speaker.says(encoding, BELOW, seq=5, issued_at=round(bench.now() + shift_s, 3))

    return make


def _reordered(bench: Bench, encoding: Encoding) -> Iterable[Step]:
    speaker = bench.solo()
    for seq in (100, 50, 75, 51, 99, 1):
        yield speaker.says(encoding, ACCEPTED, seq=seq)
    yield speaker.says(encoding, REUSED, seq=75)


def _known_below_the_window(bench: Bench, encoding: Encoding) -> Iterable[Step]:
    speaker = bench.solo()
    facts = speaker.facts(seq=7)
    first = speaker.sealed(encoding, facts)
    yield speaker.step(encoding, first, ACCEPTED)
    yield speaker.says(encoding, ACCEPTED, seq=HIGH)
    yield speaker.step(encoding, first, DUPLICATE)
    yield speaker.step(encoding, speaker.sealed(encoding, facts, b"{}"), REUSED)
    yield speaker.says(encoding, BELOW, seq=8)


def _top_of_the_range(bench: Bench, encoding: Encoding) -> Iterable[Step]:
    speaker = bench.solo()
    yield speaker.says(encoding, ACCEPTED, seq=2**63 - 1)
    yield speaker.says(encoding, ACCEPTED, seq=2**63 - 2)
    yield speaker.says(encoding, BELOW, seq=0)
    yield speaker.says(encoding, "malformed", seq=2**63)


def _not_fed(kind: str) -> Simple:
    def make(bench: Bench, encoding: Encoding) -> Iterable[Step]:
        speaker = bench.solo()
        yield speaker.says(encoding, ACCEPTED, seq=10)
        if kind == "bad signature":
            sealed = speaker.sealed(encoding, speaker.facts(seq=HIGH))
            yield speaker.step(encoding, spoil(encoding, sealed), "bad-signature")
        elif kind == "too old":
            yield speaker.says(encoding, "too-old", seq=HIGH, issued_at=bench.now() - LATE_S)
        else:
            yield speaker.says(encoding, "in-future", seq=HIGH, issued_at=bench.now() + FUTURE_S)
        yield speaker.says(encoding, ACCEPTED, seq=11)
        yield speaker.says(encoding, ACCEPTED, seq=HIGH)

    return make


def _rejected_number_is_free(bench: Bench, encoding: Encoding) -> Iterable[Step]:
    speaker = bench.solo()
    old = speaker.sealed(encoding, speaker.facts(seq=1, issued_at=bench.now() - LATE_S))
    yield speaker.step(encoding, old, "too-old")
    yield speaker.step(encoding, old, "too-old")
    yield speaker.says(encoding, ACCEPTED, seq=1)


def _boot(speaker: Speaker) -> bytes:
    speaker.session = os.urandom(8)
    return speaker.session


def _eight_sessions(bench: Bench, encoding: Encoding) -> Iterable[Step]:
    speaker = bench.solo()
    sessions = [_boot(speaker) for _ in range(SESSIONS)]
    for seq in range(3):
        for session in sessions:
            yield speaker.says(encoding, ACCEPTED, session=session, seq=seq)
    for session in sessions:
        yield speaker.says(encoding, REUSED, session=session, seq=1)


def _sessions_apart(bench: Bench, encoding: Encoding) -> Iterable[Step]:
    speaker = bench.solo()
    yield speaker.says(encoding, ACCEPTED, seq=HIGH)
    _boot(speaker)
    yield speaker.says(encoding, ACCEPTED, seq=HIGH)
    yield speaker.says(encoding, BELOW, seq=0)
    _boot(speaker)
    yield speaker.says(encoding, ACCEPTED, seq=0)


def _devices_apart(bench: Bench, encoding: Encoding) -> Iterable[Step]:
    first, second = bench.solo(), bench.solo()
    second.session = first.session
    yield first.says(encoding, ACCEPTED, seq=1)
    yield second.says(encoding, ACCEPTED, seq=1)


def _evicted(shift_s: float, *expected: str) -> Simple:
    """A session is forgotten; then an unknown one speaks, issued `shift_s` after the forgotten one's last word."""

    def make(bench: Bench, encoding: Encoding) -> Iterable[Step]:
        speaker = bench.solo()
        base_s = round(bench.now() - RECENT_S, 3)
        for number in range(SESSIONS + 1):
            _boot(speaker)
            yield speaker.says(encoding, ACCEPTED, issued_at=round(base_s + number / 10, 3))
        _boot(speaker)
        yield speaker.says(encoding, *expected, issued_at=round(base_s + shift_s, 3))

    return make


def _evicted_speaks_again(bench: Bench, encoding: Encoding) -> Iterable[Step]:
    speaker = bench.solo()
    base_s = round(bench.now() - RECENT_S, 3)
    first_session = _boot(speaker)
    facts = speaker.facts(issued_at=base_s)
    first = speaker.sealed(encoding, facts)
    yield speaker.step(encoding, first, ACCEPTED)
    for number in range(SESSIONS):
        _boot(speaker)
        yield speaker.says(encoding, ACCEPTED, issued_at=round(base_s + 1 + number / 10, 3))
    yield speaker.step(encoding, first, DUPLICATE)
    yield speaker.step(encoding, speaker.sealed(encoding, facts, b"{}"), REUSED)
    yield speaker.says(encoding, STALE, session=first_session, issued_at=round(base_s - 1, 3))


def _by_first_acceptance(bench: Bench, encoding: Encoding) -> Iterable[Step]:
    """The oldest session goes although it spoke last; its greatest time is kept, not its first."""
    speaker = bench.solo()
    base_s = round(bench.now() - RECENT_S, 3)
    sessions = [_boot(speaker) for _ in range(SESSIONS)]
    for number, session in enumerate(sessions):
        yield speaker.says(encoding, ACCEPTED, session=session, issued_at=round(base_s + number / 10, 3))
    yield speaker.says(encoding, ACCEPTED, session=sessions[0], issued_at=round(base_s + 5, 3))
    _boot(speaker)
    yield speaker.says(encoding, ACCEPTED, issued_at=round(base_s + 5.1, 3))
    yield speaker.says(encoding, STALE, session=sessions[0], issued_at=round(base_s + 4.9, 3))
    _boot(speaker)
    yield speaker.says(encoding, STALE, issued_at=round(base_s + 4, 3))
    yield speaker.says(encoding, ACCEPTED, session=sessions[1], issued_at=round(base_s + 0.2, 3))


WINDOW_ROWS: Final[tuple[tuple[str, Simple, str], ...]] = (
    ("any jump forward", _jumps, ""),
    ("one below the highest", _below(1, ACCEPTED), ""),
    ("1023 below the highest", _below(WINDOW - 1, ACCEPTED), ""),
    (
        "1024 below the highest",
        _below(WINDOW, ACCEPTED, BELOW),
        "whether the bitmap of 1,024 numbers below the highest counts the highest",
    ),
    ("1025 below the highest", _below(WINDOW + 1, BELOW), ""),
    ("far below the highest", _below(HIGH, BELOW), ""),
    ("below and too old", _below_and(-LATE_S), ""),
    ("below and in future", _below_and(FUTURE_S), ""),
    ("out of order within the window", _reordered, ""),
    ("known numbers below the window", _known_below_the_window, ""),
    ("top of the range", _top_of_the_range, ""),
    *((f"not fed by {kind}", _not_fed(kind), "") for kind in ("bad signature", "too old", "in future")),
    ("a rejected number is free", _rejected_number_is_free, ""),
    ("eight sessions side by side", _eight_sessions, ""),
    ("sessions count apart", _sessions_apart, ""),
    ("devices with one session count apart", _devices_apart, ""),
    ("unknown session at the evicted time", _evicted(0, STALE), ""),
    ("unknown session below the evicted time", _evicted(-500, STALE), ""),
    ("unknown session above the evicted time", _evicted(0.05, ACCEPTED), ""),
    ("unknown session below and too old", _evicted(-LATE_S, STALE), ""),
    ("an evicted session speaks again", _evicted_speaks_again, ""),
    ("eviction by first acceptance", _by_first_acceptance, ""),
)


def _with_encoding(make: Simple, encoding: Encoding) -> Make:
    return lambda bench: make(bench, encoding)


def window_cases() -> Iterator[Case]:
    """Every case about sessions and the window."""
    for encoding in ENCODINGS:
        for name, make, unclear in WINDOW_ROWS:
            yield Case(
                f"{encoding}/window/{name}", "§3 replay window", _with_encoding(make, encoding), unclear=unclear
            )
