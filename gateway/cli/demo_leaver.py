"""The demo's leaver: an honest device of its own, which the operator revokes while it speaks.

It is no part of the fleet that is counted. It speaks CoAP, where a refusal is answered, so that both sides have it on
record: the device what it was told and when, the gateway what it logged and when. ``judge_revocation`` holds the one
against the other and against the time of the block that revoked it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from time import monotonic
from typing import Any, Final, NamedTuple

from gateway.cli.demo_chain import Command, Office
from gateway.cli.demo_parts import Child, DemoError

RATE: Final = 4
IN_FORCE_S: Final = 10.0
"""A revocation that takes longer, from its block to the first refusal, is a promise not kept."""
REVOKED: Final = "device-revoked"
ACCEPTED: Final = "accepted"
_CLOCKS_S: Final = 2.0
"""Blocks have whole seconds, and each a later one than the block before."""
_AFTER_S: Final = 2.0
_PATIENCE_S: Final = 30.0
_UNTOLD: Final = frozenset({"unanswered", "duplicate"})


class Phase(Enum):
    """Where its story stands, in words."""

    SPEAKING = "one device will be revoked at half-time"
    REVOKING = "one device is being revoked"
    MINED = "the revocation is in a block"
    REFUSED = "the revoked device is refused"
    LEAVING = "the revoked device leaves"
    GONE = "the revoked device is gone"


class Seen(NamedTuple):
    """What moves it on."""

    ending: bool = False
    due: bool = False
    mined: bool = False
    refused: bool = False
    waited: bool = False
    gone: bool = False


_MOVES: Final[Mapping[Phase, tuple[tuple[str, Phase], ...]]] = {
    Phase.SPEAKING: (("ending", Phase.LEAVING), ("due", Phase.REVOKING)),
    Phase.REVOKING: (("mined", Phase.MINED),),
    Phase.MINED: (("refused", Phase.REFUSED), ("waited", Phase.LEAVING)),
    Phase.REFUSED: (("waited", Phase.LEAVING),),
    Phase.LEAVING: (("gone", Phase.GONE),),
    Phase.GONE: (),
}


def next_phase(phase: Phase, seen: Seen) -> Phase:
    """The phase that follows, or the same (pure)."""
    return next((following for cause, following in _MOVES[phase] if getattr(seen, cause)), phase)


class Heard(NamedTuple):
    """One message of its record: when it was sent, when it was answered, and how."""

    sent_ms: int
    answered_ms: int | None
    outcome: str
    digest: bytes


def heard_in(lines: Sequence[str]) -> tuple[Heard, ...]:
    """Read the record of the fleet's program.

    Raises:
        DemoError: it is none.
    """
    try:
        rows = [json.loads(line) for line in lines]
        return tuple(
            Heard(int(row["sent_ms"]), row["acked_ms"], str(row["outcome"]), bytes.fromhex(row["digest"]))
            for row in rows
        )
    except (ValueError, KeyError, TypeError):
        raise DemoError("the record of the device that is revoked cannot be read") from None


class Leaver:
    """The device's process and its story; ``look`` moves it on.

    Args:
        child: the process, which ends when it is asked to.
        record: where it writes what became of its messages.
        device_id: its name.
        office: who revokes it.
        half_s: when, after ``start``.
    """

    def __init__(self, child: Child, record: Path, device_id: str, office: Office, half_s: float) -> None:
        self.child = child
        self.device_id = device_id
        self.phase = Phase.SPEAKING
        self.block: int | None = None
        self._record = record
        self._office = office
        self._half_s = half_s
        self._began_s = 0.0
        self._since_s = 0.0
        self._command: Command | None = None
        self._read = 0
        self._outcomes: set[str] = set()

    def start(self) -> None:
        """Let it speak. Raises as ``Child.start``."""
        self._began_s = self._since_s = monotonic()
        self.child.start()

    def look(self, *, ending: bool) -> Phase:
        """See what happened, do what is due.

        Args:
            ending: the demo is to end early, so that nobody is revoked any more.

        Raises:
            DemoError: the device or the command failed.
        """
        if self.phase in {Phase.SPEAKING, Phase.REVOKING, Phase.MINED, Phase.REFUSED}:
            self.child.must_run()
        following = next_phase(self.phase, self._seen(ending=ending))
        if following is not self.phase:
            self.phase, self._since_s = following, monotonic()
            if following is Phase.REVOKING:
                self._command = self._office.revoke(self.device_id)
            elif following is Phase.LEAVING:
                self.child.ask_to_end()
        return self.phase

    def heard(self) -> tuple[Heard, ...]:
        """The whole record, after its end.

        Raises:
            DemoError: it left none.
        """
        code = self.child.ended()
        try:
            lines = self._record.read_text(encoding="utf-8").splitlines()
        except OSError:
            raise DemoError(f"the revoked device ended with code {code}. {self.child.last_words()}") from None
        return heard_in(lines)

    def _seen(self, *, ending: bool) -> Seen:
        if self.phase in {Phase.SPEAKING, Phase.MINED}:
            self._read_on()
        passed_s = monotonic() - self._since_s
        half = monotonic() - self._began_s >= self._half_s
        patience_s = {Phase.REFUSED: _AFTER_S, Phase.MINED: _PATIENCE_S}.get(self.phase, 0.0)
        return Seen(
            ending=ending,
            due=half and (ACCEPTED in self._outcomes or passed_s >= self._half_s + _PATIENCE_S),
            mined=self._is_mined(),
            refused=REVOKED in self._outcomes,
            waited=passed_s >= patience_s,
            gone=self.child.ended() is not None,
        )

    def _is_mined(self) -> bool:
        said = None if self._command is None else self._office.answer(self._command)
        if said is None:
            return False
        self.block = int(said["transactions"][0]["block"])
        return True

    def _read_on(self) -> None:
        """Take up what the record has more by now; the last line may be half."""
        try:
            with self._record.open("rb") as file:
                file.seek(self._read)
                whole, newline, _half = file.read().rpartition(b"\n")
        except OSError:
            return  # it has written nothing yet
        if newline:
            self._read += len(whole) + 1
            self._outcomes |= {each.outcome for each in heard_in(whole.decode("utf-8", "replace").splitlines())}


# --- the judge ---


class Revocation(NamedTuple):
    """What came of it: ``seconds`` from the block's time to the first refusal in the device's hands."""

    effective: bool
    seconds: float | None
    problems: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """For the report."""
        return {"revocation_effective": self.effective, "revocation_s": self.seconds}


def judge_revocation(heard: Sequence[Heard], logged: Mapping[bytes, int], revoked_s: int | None) -> Revocation:
    """Whether the revocation took effect (pure).

    Args:
        heard: the device's record.
        logged: of its messages in the log: digest → when, in milliseconds.
        revoked_s: the time of the block that revoked it; None when it never was in one.
    """
    refused = [each for each in heard if each.outcome == REVOKED and each.answered_ms is not None]
    first_ms = min((each.answered_ms or 0 for each in refused), default=None)
    seconds = None if first_ms is None or revoked_s is None else round(first_ms / 1000 - revoked_s, 3)
    problems = tuple(dict.fromkeys(_faults(heard, logged, first_ms, revoked_s, seconds)))
    return Revocation(not problems, None if seconds is None else max(0.0, seconds), problems)


def _faults(
    heard: Sequence[Heard],
    logged: Mapping[bytes, int],
    first_ms: int | None,
    revoked_s: int | None,
    seconds: float | None,
) -> Iterator[str]:
    if revoked_s is None:
        yield "no device was revoked"
    accepted = [each for each in heard if each.outcome == ACCEPTED]
    if not accepted:
        yield "the revoked device was never accepted before"
    if first_ms is None:
        yield "the revoked device was never refused"
    else:
        late = sum(each.sent_ms > first_ms for each in accepted)
        stored = sum(each > first_ms for each in logged.values())
        if late or stored:
            yield f"of the revoked device {max(late, stored)} messages were accepted after the first refusal"
    if seconds is not None and seconds > IN_FORCE_S:
        yield f"the revocation took {seconds:g} s to be in force, and {IN_FORCE_S:g} s are allowed"
    if seconds is not None and seconds < -_CLOCKS_S:
        yield f"the revoked device was refused {-seconds:g} s before its revocation was in a block"
    for each in heard:
        if each.outcome not in _UNTOLD | {ACCEPTED, REVOKED}:
            yield f"the device that was revoked was refused otherwise: {each.outcome}"
        if each.outcome == REVOKED and each.digest in logged:
            yield "a message of the revoked device was refused, and is in the log"
        if each.outcome == ACCEPTED and each.digest not in logged:
            yield "a message of the revoked device was accepted, and is not in the log"
