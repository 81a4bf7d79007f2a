"""SenML (RFC 8428): from a pack of records with base fields to resolved readings.

A reading is a record's ``v`` with the base value added, under the name that ``bn`` and ``n`` make together; a text
(``vs``) is a word under such a name. Boolean and data values are legitimate records and no readings. Of a name that
stands several times the latest time wins; where two numbers share the latest time there is no latest, and the pack is
refused. A text never costs the numbers beside it: one that is too long, contested, or named as a number is, is
passed over.

Both forms of SenML meet here: CBOR's integer labels (§6) are given their names in JSON first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Final, Generic, NamedTuple, TypeVar

_LABELS: Final = ("bver", "bn", "bt", "bu", "bv", "bs", "n", "u", "v", "vs", "vb", "s", "t", "ut", "vd")
JSON_LABELS: Final[Mapping[object, str]] = {label: label for label in _LABELS}
# §6, table 4: base fields count down from -1, the others up from 0.
CBOR_LABELS: Final[Mapping[object, str]] = dict(
    zip((*range(-1, -7, -1), *range(9)), ("bver", "bn", "bt", "bu", "bv", "bs", *_LABELS[6:]), strict=True)
)
_TEXTS: Final = frozenset({"bn", "bu", "n", "u", "vs"})
_NUMBERS: Final = frozenset({"bt", "bv", "bs", "bver", "v", "s", "t", "ut"})
_BASES: Final = frozenset({"bn", "bt", "bv"})
_VALUES: Final = frozenset({"v", "vs", "vb", "vd"})
_OF_A_RECORD: Final = frozenset({"n", "u", "t", "ut", "s", *_VALUES})
_VERSION: Final = 10
NAME_CHARACTERS: Final = 256
"""A longer name is no name: one long base repeated by thousands of short records would cost a hundred megabytes."""
TEXT_CHARACTERS: Final = 256
"""A longer text is no word of any vocabulary."""
# §4.5.1: the first character is a letter or a digit.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9:./_-]*").fullmatch
# §4.5.3: times below are relative to "now".
_ABSOLUTE_TIMES: Final = 2.0**28


class PayloadFault(Exception):
    """A payload that cannot become readings; ``reason`` says why, in our own words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


_Value = TypeVar("_Value", float, str)


@dataclass(slots=True)
class _Latest(Generic[_Value]):
    """The latest value of a name so far, and whether another record claims the same moment."""

    time: float
    value: _Value
    contested: bool = False


@dataclass(slots=True)
class _Base:
    """The base fields in force."""

    name: str = ""
    time: float = 0.0
    value: float = 0.0


class Resolved(NamedTuple):
    """Name → number and name → text, each by its latest record; no name stands in both."""

    numbers: dict[str, float]
    texts: dict[str, str]


def number(value: object) -> float:
    """Take a number as a float64; a boolean is none.

    Raises:
        PayloadFault: not a number, or not a finite one.
    """
    if type(value) is float and isfinite(value):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PayloadFault("a value that is not a number")
    try:
        as_float = float(value)
    except OverflowError:
        raise PayloadFault("a number that is not finite") from None
    if not isfinite(as_float):
        raise PayloadFault("a number that is not finite")
    return as_float


def is_unicode(text: str) -> bool:
    """Whether a text has no lone surrogate, which JSON's escapes can smuggle in."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def resolve(pack: object, labels: Mapping[object, str], *, issued_at: float) -> Resolved:
    """Resolve a pack (§4.6).

    Args:
        pack: what the JSON or CBOR parser made of the payload.
        labels: ``JSON_LABELS`` or ``CBOR_LABELS``.
        issued_at: the "now" that relative times count from, seconds since 1970: the signed time of the message.

    Returns:
        The latest of each name; empty where no record carries a number, or a text.

    Raises:
        PayloadFault: not a SenML pack, or one whose numbers are ambiguous or not finite.
    """
    if not isinstance(pack, list) or not pack:
        raise PayloadFault("not a SenML array of records")
    base = _Base()
    numbers: dict[str, _Latest[float]] = {}
    texts: dict[str, _Latest[str]] = {}
    for item in pack:
        record = _record(item, labels)
        _rebase(base, record)
        if _OF_A_RECORD.isdisjoint(record):
            continue
        name, time = _name(base, record), _time(base, record, issued_at)
        value = record.get("v")
        if isinstance(value, float):
            _note(numbers, name, time, number(base.value + value))
        elif isinstance(text := record.get("vs"), str) and len(text) <= TEXT_CHARACTERS and is_unicode(text):
            _note(texts, name, time, text)
    if any(one.contested for one in numbers.values()):
        raise PayloadFault("colliding names: two values of one name at one time")
    return Resolved(
        {name: one.value for name, one in numbers.items()},
        {name: one.value for name, one in texts.items() if not one.contested and name not in numbers},
    )


def _note(latest: dict[str, _Latest[_Value]], name: str, time: float, value: _Value) -> None:
    """Keep the value if no later one of its name is known."""
    known = latest.get(name)
    if known is None or time > known.time:
        latest[name] = _Latest(time, value)
    elif time == known.time:
        known.contested = True


def _record(item: object, labels: Mapping[object, str]) -> dict[str, object]:
    """Check one record's labels and types (§4.1 to §4.4); its numbers become float64."""
    if not isinstance(item, Mapping) or not item:
        raise PayloadFault("a SenML record that is not a map, or is empty")
    record: dict[str, object] = {}
    values = 0
    for key, value in item.items():
        label = labels.get(key)
        if label is None:
            _pass_over(key)
        elif label in _NUMBERS:
            record[label] = number(value)
            values += label == "v"
        elif label in _TEXTS:
            if not isinstance(value, str):
                raise PayloadFault("a SenML name, unit or text of another type")
            record[label] = value
            values += label == "vs"
        else:
            if not isinstance(value, bool if label == "vb" else str | bytes):
                raise PayloadFault("a SenML boolean or data value of another type")
            record[label] = value
            values += 1
    if "bver" in record and record["bver"] not in range(1, _VERSION + 1):
        raise PayloadFault("a SenML version that is not known here")
    if values > 1 or (values == 0 and "s" not in record and not _OF_A_RECORD.isdisjoint(record)):
        raise PayloadFault("a SenML record with no value, or with several")
    return record


def _pass_over(key: object) -> None:
    """Unknown labels pass unless they say that they must be understood (§4.4)."""
    if isinstance(key, str) and (key.endswith("_") or key in _LABELS):
        raise PayloadFault("a SenML label that is in the wrong form, or must be understood and is not")


def _rebase(base: _Base, record: Mapping[str, object]) -> None:
    """Take the base fields that a record brings; they hold until others come."""
    if record.keys().isdisjoint(_BASES):
        return
    if isinstance(name := record.get("bn"), str):
        base.name = name
    if isinstance(time := record.get("bt"), float):
        base.time = time
    if isinstance(value := record.get("bv"), float):
        base.value = value


def _name(base: _Base, record: Mapping[str, object]) -> str:
    """Join base name and name (§4.5.1)."""
    own = record.get("n")
    own = own if isinstance(own, str) else ""
    if len(base.name) + len(own) > NAME_CHARACTERS:
        raise PayloadFault("a name that is too long")
    name = base.name + own
    if _NAME(name) is None:
        raise PayloadFault("a SenML name outside its alphabet")
    return name


def _time(base: _Base, record: Mapping[str, object], issued_at: float) -> float:
    """Add base time and time, and make a relative time absolute (§4.5.3)."""
    own = record.get("t")
    time = number(base.time + own) if isinstance(own, float) else base.time
    return time if time >= _ABSOLUTE_TIMES else number(issued_at + time)
