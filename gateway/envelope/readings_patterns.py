"""Payloads that differ in their numbers alone, read once and then recognised (pure).

A device sends the same JSON over and over with other numbers in it. What stands between the numbers is the payload's
*pattern*; what the plain reader (``gateway.envelope.readings``) makes of one payload of a pattern tells where the
numbers of every other go. A pattern is learnt only where that is certain, whatever the numbers and whoever the
device; everything else is left to the plain reader, which stays the rule. Of the two, the answers are the same.

Why a number is where it seems to be: between ``":`` and ``,`` or ``}`` a JSON text without a backslash has nothing
but a member's value, since a quotation mark inside a text would need one.
"""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import Final, NamedTuple

from gateway.envelope.readings import Readings, readings

PATTERNS_MAX: Final = 512
PATTERN_BYTES: Final = 1024
"""A longer payload is left to the plain reader."""
OWN_TAIL: Final = 190
"""Characters behind the device's id (64 at most) in a name: no id makes the name longer than SenML's 256."""
TIME_MAX: Final = 1e300
"""Beyond, two times may not add up to a finite one."""

_SENML_JSON: Final = 110
_JSON_FORMATS: Final = frozenset({50, _SENML_JSON})
_SPLIT: Final = re.compile(rb'":( ?-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)(?=[,}])').split
_LEADS: Final = (b'[{"bn":"', b'[{"bn": "')
_SEPARATORS: Final = frozenset(":/._-")
_RECOGNISED: Final = frozenset({"v", "t", "bt"})
_AMBIGUOUS: Final = frozenset({"bv", "bver", "bs", "s", "ut"})
_FIRST_MARK: Final = 7_000_001

_Key = tuple[int, int, tuple[bytes, ...]]


class Pattern(NamedTuple):
    """Where the numbers of a pattern go.

    Args:
        number: its own, never used again.
        names: of the scalars, as ``own_names`` gives them, in the payload's order.
        texts: by their names likewise.
        own: the names began with the device's id, which is taken off.
        places: of the scalars among the numbers; None where the numbers are the scalars.
        times: places of SenML's times.
        zero: a negative zero is to become zero, as SenML's base value makes it.
        listed: all names, each behind a line feed.
    """

    number: int
    names: tuple[str, ...]
    texts: dict[str, str]
    own: bool
    places: tuple[int, ...] | None
    times: tuple[int, ...]
    zero: bool
    listed: str

    def readings(self, values: list[float]) -> Readings:
        """What the plain reader and ``own_names`` make of the payload."""
        return Readings(dict(zip(self.names, values, strict=True)), {}, self.texts)


class Recognised(NamedTuple):
    """A payload of a known pattern: its scalars in the order of ``pattern.names``."""

    pattern: Pattern
    values: list[float]


class Patterns:
    """The patterns that were seen, bounded: beyond the bound all are forgotten and learnt anew.

    One is learnt when it comes for the second time, so that payloads that never repeat cost little.
    """

    def __init__(self, bound: int = PATTERNS_MAX) -> None:
        self._bound = bound
        self._known: dict[_Key, Pattern | None] = {}
        self._seen: set[int] = set()
        self._learnt = 0

    def __len__(self) -> int:
        return len(self._known)

    def read(self, device_id: str, content_format: int, payload: bytes, issued_at: float) -> Recognised | None:
        """Read a payload of a known pattern; None where the plain reader has to be asked.

        Args:
            device_id: of the alphabet of ``gateway.envelope.facts``.
            content_format: the envelope's.
            payload: the envelope's.
            issued_at: the envelope's time, as in ``readings``.
        """
        if content_format not in _JSON_FORMATS or len(payload) > PATTERN_BYTES:
            return None
        body, lead = payload, 0
        if content_format == _SENML_JSON:
            name = device_id.encode()
            at = next(map(len, filter(payload.startswith, _LEADS)), 0)
            if at and payload.startswith(name, at) and name[:1].isalnum():
                body, lead = payload[at + len(name) :], at
        parts = _SPLIT(body)
        key = (content_format, lead, tuple(parts[::2]))
        pattern = self._known.get(key)
        if pattern is None:
            pattern = self._new(key, device_id, issued_at)
            if pattern is None:
                return None
        if not pattern.own and f"\n{device_id}" in pattern.listed:
            return None
        values = list(map(float, parts[1::2]))
        if not isfinite(sum(values)):
            return None
        if pattern.places is not None:
            if any(not -TIME_MAX < values[place] < TIME_MAX for place in pattern.times):
                return None
            values = [values[place] for place in pattern.places]
        # SenML adds a base value of 0: no number is a negative zero.
        return Recognised(pattern, [0.0 + value for value in values] if pattern.zero else values)

    def _new(self, key: _Key, device_id: str, issued_at: float) -> Pattern | None:
        """Learn a pattern that has come before; remember one that has not."""
        if key in self._known:
            return None
        mark = hash(key)
        if mark not in self._seen:
            if len(self._seen) >= 4 * self._bound:
                self._seen.clear()
            self._seen.add(mark)
            return None
        self._seen.discard(mark)
        if len(self._known) >= self._bound:
            self._known.clear()
        self._learnt += 1
        pattern = self._known[key] = _learn(self._learnt, key, device_id, issued_at)
        return pattern


def _learn(number: int, key: _Key, device_id: str, issued_at: float) -> Pattern | None:
    """Ask the plain reader about a payload of this pattern with numbers that can be told apart."""
    content_format, lead, parts = key
    if any(b"\\" in part for part in parts) or (lead and any(b'"bn"' in part for part in parts)):
        return None
    marks = [_FIRST_MARK + place for place in range(len(parts) - 1)]
    body = b"".join(b'%b":%d' % pair for pair in zip(parts, marks, strict=False)) + parts[-1]
    head = next(known for known in _LEADS if len(known) == lead) + device_id.encode() if lead else b""
    found = readings(content_format, head + body, issued_at=issued_at)
    if not isinstance(found, Readings) or found.tensors:
        return None
    place_of = {float(mark): place for place, mark in enumerate(marks)}
    if any(value not in place_of for value in found.scalars.values()):
        return None
    places = tuple(place_of[value] for value in found.scalars.values())
    labels = [part.rpartition(b'"')[2].decode() for part in parts[:-1]]
    senml = content_format == _SENML_JSON
    if senml and not _plain_pack(head + body, labels, found, len(device_id)):
        return None
    times = tuple(place for place, label in enumerate(labels) if senml and label != "v")
    if len(places) + len(times) != len(marks):
        return None
    names, texts = list(found.scalars), dict(found.texts)
    if lead:
        own = [_behind(name, device_id) for name in (*names, *texts)]
        if not all(own) or len(set(own)) < len(own):
            return None
        names, texts = own[: len(names)], dict(zip(own[len(names) :], texts.values(), strict=True))
    listed = "".join(f"\n{name}" for name in (*names, *texts))
    taken = None if places == tuple(range(len(marks))) else places
    return Pattern(number, tuple(names), texts, bool(lead), taken, times, senml, listed)


def _behind(name: str, device_id: str) -> str:
    """The name without the device's id and the separator behind it, as ``own_names`` has it; empty if not so."""
    if not name.startswith(device_id):
        return ""
    tail = name[len(device_id) :]
    return tail[tail[:1] in _SEPARATORS :]


def _plain_pack(payload: bytes, labels: list[str], found: Readings, id_characters: int) -> bool:
    """Whether a pack is one of flat records, each number in it a value or a time, each value with a name of its own.

    Then no time decides anything, and each number is taken as it stands. Nor is a name too long under any id.
    """
    pack = json.loads(payload)
    members = [member for record in pack for member in record.items()]
    if any(isinstance(value, dict | list) for _, value in members):
        return False
    names = [label for label, _ in members]
    base, own = (max((len(value) for label, value in members if label == kind), default=0) for kind in ("bn", "n"))
    return (
        set(labels) <= _RECOGNISED
        and not _AMBIGUOUS & set(names)
        and sum(label in _RECOGNISED for label in names) == len(labels)
        and sum(label in {"v", "vs"} for label in names) == len(found.scalars) + len(found.texts)
        and base + own - id_characters <= OWN_TAIL
    )
