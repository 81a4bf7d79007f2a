"""What a request may ask for: every parameter has a form and a limit (pure)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

from gateway.anchor.lifecycle import State
from gateway.journal.queries import KINDS, LogQuestion, RefusedQuestion
from gateway.message import RejectReason, Verdict
from gateway.registry.port import Status

PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 500
EXPORT_MAX: Final = 50_000
TEXT_MAX: Final = 64
_TIME_MAX: Final = 1 << 53
_INDEX_MAX: Final = (1 << 63) - 1
_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_WORD: Final = re.compile(r"[a-z0-9-]{1,64}")
_DIGITS: Final = re.compile(r"[0-9]{1,19}")

Params = Mapping[str, str]


class BadParameterError(ValueError):
    """A parameter is not of its form; the text names it, ``hint`` says what it may be."""

    def __init__(self, name: str, hint: str) -> None:
        super().__init__(f"the parameter {name} is not understood")
        self.hint = f"{name} is {hint}"


def only(params: Params, known: Collection[str]) -> None:
    """A misspelt parameter, or one that is given twice, is refused: nobody is to take the answer for what they asked.

    Raises:
        BadParameterError: there is one that this address does not have, or the same twice.
    """
    twice = len(params) != len(set(params))  # a query string has a name as often as it is written
    if twice or any(name not in known for name in params):
        raise BadParameterError("name", f"one of {', '.join(sorted(known))}, once")


def whole(params: Params, name: str, *, low: int = 0, high: int = _INDEX_MAX) -> int | None:
    """A number in decimal digits, None when it is not given.

    Raises:
        BadParameterError: it is none, or outside of its bounds.
    """
    text = params.get(name, "")
    if not text:
        return None
    value = int(text) if _DIGITS.fullmatch(text) else -1
    if not low <= value <= high:
        raise BadParameterError(name, f"a whole number from {low} to {high}")
    return value


def required(params: Params, name: str) -> int:
    """A number that has to be there.

    Raises:
        BadParameterError: it is not.
    """
    value = whole(params, name)
    if value is None:
        raise BadParameterError(name, "a whole number, and has to be given")
    return value


def limit_of(params: Params, default: int = PAGE_DEFAULT, most: int = PAGE_MAX) -> int:
    """How many rows.

    Raises:
        BadParameterError: more than is allowed, or none.
    """
    return whole(params, "limit", low=1, high=most) or default


def time_of(params: Params, name: str) -> int | None:
    """Milliseconds since 1970.

    Raises:
        BadParameterError: it is no such number.
    """
    return whole(params, name, high=_TIME_MAX)


def one_of(params: Params, name: str, words: Collection[str]) -> str | None:
    """A word of a list, None when it is not given.

    Raises:
        BadParameterError: it is another one.
    """
    text = params.get(name, "")
    if text and text not in words:
        raise BadParameterError(name, f"one of {', '.join(words)}")
    return text or None


def word(params: Params, name: str) -> str | None:
    """A stable name in small letters, None when it is not given.

    Raises:
        BadParameterError: it cannot be one.
    """
    text = params.get(name, "")
    if text and not _WORD.fullmatch(text):
        raise BadParameterError(name, "small letters, digits and hyphens, at most 64")
    return text or None


def device_of(params: Params, name: str = "device") -> str | None:
    """A device's id, None when it is not given.

    Raises:
        BadParameterError: no device can have it.
    """
    text = params.get(name, "")
    if text and not _ID.fullmatch(text):
        raise BadParameterError(name, "an id: 1 to 64 of A-Z a-z 0-9 . _ : -")
    return text or None


def search_of(params: Params) -> str:
    """What is looked for in ids: any text, of a length that an id can have.

    Raises:
        BadParameterError: it is longer.
    """
    text = params.get("q", "").strip()
    if len(text) > TEXT_MAX:
        raise BadParameterError("q", f"at most {TEXT_MAX} characters of an id")
    return text


def status_of(params: Params) -> Status | None:
    """Where a registration stands.

    Raises:
        BadParameterError: it is no such word.
    """
    found = one_of(params, "status", [status.value for status in Status])
    return None if found is None else Status(found)


def anchor_state_of(params: Params) -> str | None:
    """Where an anchor stands.

    Raises:
        BadParameterError: it is no such word.
    """
    return one_of(params, "state", [state.value for state in State])


LOG_NAMES: Final = frozenset({"device", "from_ms", "to_ms", "kind", "verdict", "reason", "before", "limit"})
REFUSED_NAMES: Final = frozenset({"device", "from_ms", "to_ms", "reason", "before", "limit"})
ANCHOR_NAMES: Final = frozenset({"state", "before", "limit"})
DEVICE_NAMES: Final = frozenset({"q", "status", "page", "limit"})


def log_question(params: Params) -> LogQuestion:
    """What is asked of the log.

    Raises:
        BadParameterError: a parameter is not of its form.
    """
    only(params, LOG_NAMES)
    return LogQuestion(
        device_of(params),
        time_of(params, "from_ms"),
        time_of(params, "to_ms"),
        one_of(params, "kind", list(KINDS)),
        one_of(params, "verdict", [verdict.value for verdict in Verdict]),
        word(params, "reason"),
    )


def refused_question(params: Params) -> RefusedQuestion:
    """What is asked of the quarantine.

    Raises:
        BadParameterError: a parameter is not of its form.
    """
    only(params, REFUSED_NAMES)
    return RefusedQuestion(
        device_of(params),
        time_of(params, "from_ms"),
        time_of(params, "to_ms"),
        one_of(params, "reason", [reason.value for reason in RejectReason]),
    )
