"""What a check found: a stable name, how bad it is, what it is, and what to do about it (pure).

The findings of a check stand in a table, its ``Sheet``: severity and remedy by name. So the remedies can be read,
documented and tested without a machine that has the fault.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any, Final, NamedTuple

from gateway.ops.exitcodes import ExitCode
from gateway.ops.sanitising import sanitise

MAX_TEXT: Final = 500


class Severity(IntEnum):
    """How bad it is; the greater, the worse."""

    OK = 0
    NOTE = 1
    """Nothing is wrong; somebody may want to know."""
    WARNING = 2
    """It works, and will not for ever, or is not as safe as it should be."""
    ERROR = 3
    """Messages, proofs, anchors or models do not come through, or are not safe."""

    @property
    def word(self) -> str:
        """The name in small letters."""
        return self.name.lower()


EXIT: Final[Mapping[Severity, ExitCode]] = {
    Severity.OK: ExitCode.OK,
    Severity.NOTE: ExitCode.OK,
    Severity.WARNING: ExitCode.NEGATIVE,
    Severity.ERROR: ExitCode.UNAVAILABLE,
}
"""How ``securenet doctor`` ends, by the worst finding."""


class Kind(NamedTuple):
    """What is known of a finding before it is made. ``remedy`` has commands in backticks, and places for details."""

    severity: Severity
    remedy: str


def note(remedy: str) -> Kind:
    """A kind that is a note."""
    return Kind(Severity.NOTE, remedy)


def warning(remedy: str) -> Kind:
    """A kind that is a warning."""
    return Kind(Severity.WARNING, remedy)


def error(remedy: str) -> Kind:
    """A kind that is an error."""
    return Kind(Severity.ERROR, remedy)


class Finding(NamedTuple):
    """One answer. ``name`` is stable and has the check before the dot; ``details`` are what JSON can hold."""

    check: str
    name: str
    severity: Severity
    what: str
    remedy: str
    details: Mapping[str, Any]

    def plain(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**self._asdict(), "severity": self.severity.word, "details": dict(self.details)}


class Sheet:
    """The findings that one check can make."""

    def __init__(self, check: str, kinds: Mapping[str, Kind]) -> None:
        self.check = check
        self.kinds = dict(kinds)

    def found(self, name: str, what: str, /, **details: Any) -> Finding:  # noqa: ANN401 -- whatever JSON can hold
        """A finding by its name in the table; what is in ``details`` is put into the remedy, quoted for a shell."""
        kind = self.kinds[name]
        quoted = {key: shlex.quote(sanitise(str(value), MAX_TEXT)) for key, value in details.items()}
        return Finding(
            self.check,
            f"{self.check}.{name}",
            kind.severity,
            sanitise(what, MAX_TEXT),
            kind.remedy.format_map(quoted),
            {key: _plain(value) for key, value in details.items()},
        )

    def fine(self, what: str, **details: Any) -> Finding:  # noqa: ANN401 -- likewise
        """The answer that there is nothing to do."""
        plain = {key: _plain(value) for key, value in details.items()}
        return Finding(self.check, f"{self.check}.ok", Severity.OK, sanitise(what, MAX_TEXT), "", plain)


def worst(findings: Iterable[Finding]) -> Severity:
    """The severity of the worst finding."""
    return max((each.severity for each in findings), default=Severity.OK)


def _plain(value: object) -> object:
    """What JSON can hold, and a terminal can bear."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {sanitise(str(name), MAX_TEXT): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(each) for each in value]
    return sanitise(str(value), MAX_TEXT)
