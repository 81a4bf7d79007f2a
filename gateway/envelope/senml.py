"""SenML (RFC 8428): from a pack of records with base fields to resolved readings.

A reading is a record's ``v`` with the base value added, under the name that ``bn`` and ``n`` make together. Text,
boolean and data values are legitimate records and no readings. Of a name that stands several times the latest time
wins; where two share the latest time there is no latest, and the pack is refused.

Both forms of SenML meet here: CBOR's integer labels (§6) are given their names in JSON first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_LABELS: Final = ("bver", "bn", "bt", "bu", "bv", "bs", "n", "u", "v", "vs", "vb", "s", "t", "ut", "vd")
JSON_LABELS: Final[Mapping[object, str]] = {label: label for label in _LABELS}
# §6, table 4: base fields count down from -1, the others up from 0.
CBOR_LABELS: Final[Mapping[object, str]] = dict(
    zip((*range(-1, -7, -1), *range(9)), ("bver", "bn", "bt", "bu", "bv", "bs", *_LABELS[6:]), strict=True)
)
_TEXTS: Final = ("bn", "bu", "n", "u", "vs")
_NUMBERS: Final = ("bt", "bv", "bs", "bver", "v", "s", "t", "ut")
_VALUES: Final = ("v", "vs", "vb", "vd")
_OF_A_RECORD: Final = frozenset({"n", "u", "t", "ut", "s", *_VALUES})
_VERSION: Final = 10
NAME_CHARACTERS: Final = 256
"""A longer name is no name: one long base repeated by thousands of short records would cost a hundred megabytes."""
# §4.5.1: the first character is a letter or a digit.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9:./_-]*").fullmatch
# §4.5.3: times below are relative to "now".
_ABSOLUTE_TIMES: Final = 2.0**28


class PayloadFault(Exception):
    """A payload that cannot become readings; ``reason`` says why, in our own words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class _Latest:
    """The latest value of a name so far, and whether another record claims the same moment."""

    time: float
    value: float
    contested: bool = False


def number(value: object) -> float:
    """Take a number as a float64; a boolean is none.

    Raises:
        PayloadFault: not a number, or not a finite one.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PayloadFault("a value that is not a number")
    try:
        as_float = float(value)
    except OverflowError:
        raise PayloadFault("a number that is not finite") from None
    if not math.isfinite(as_float):
        raise PayloadFault("a number that is not finite")
    return as_float


def resolve(pack: object, labels: Mapping[object, str], *, issued_at: float) -> dict[str, float]:
    """Resolve a pack (§4.6).

    Args:
        pack: what the JSON or CBOR parser made of the payload.
        labels: ``JSON_LABELS`` or ``CBOR_LABELS``.
        issued_at: the "now" that relative times count from, seconds since 1970: the signed time of the message.

    Returns:
        Name → value, each by its latest record; empty when no record carries a number.

    Raises:
        PayloadFault: not a SenML pack, or one whose readings are ambiguous or not finite.
    """
    if not isinstance(pack, list) or not pack:
        raise PayloadFault("not a SenML array of records")
    base: dict[str, object] = {}
    latest: dict[str, _Latest] = {}
    for item in pack:
        record = _record(item, labels)
        for label in ("bn", "bt", "bv"):
            if label in record:
                base[label] = record[label]
        if _OF_A_RECORD.isdisjoint(record):
            continue
        _note(latest, _name(base, record), _time(base, record, issued_at), _value(base, record))
    if any(one.contested for one in latest.values()):
        raise PayloadFault("colliding names: two values of one name at one time")
    return {name: one.value for name, one in latest.items()}


def _note(latest: dict[str, _Latest], name: str, time: float, value: float | None) -> None:
    """Keep the value if no later one of its name is known."""
    if value is None:
        return
    known = latest.get(name)
    if known is None or time > known.time:
        latest[name] = _Latest(time, value)
    elif time == known.time:
        known.contested = True


def _record(item: object, labels: Mapping[object, str]) -> dict[str, object]:
    """Check one record's labels and types (§4.1 to §4.4)."""
    if not isinstance(item, Mapping) or not item:
        raise PayloadFault("a SenML record that is not a map, or is empty")
    record = {_label(key, labels): value for key, value in item.items()}
    for label in _TEXTS:
        if not isinstance(record.get(label, ""), str):
            raise PayloadFault("a SenML name, unit or text of another type")
    for label in _NUMBERS:
        if label in record:
            record[label] = number(record[label])
    if not isinstance(record.get("vb", False), bool) or not isinstance(record.get("vd", b""), str | bytes):
        raise PayloadFault("a SenML boolean or data value of another type")
    if record.get("bver", _VERSION) not in range(1, _VERSION + 1):
        raise PayloadFault("a SenML version that is not known here")
    values = sum(label in record for label in _VALUES)
    if values > 1 or (values == 0 and "s" not in record and not _OF_A_RECORD.isdisjoint(record)):
        raise PayloadFault("a SenML record with no value, or with several")
    return record


def _label(key: object, labels: Mapping[object, str]) -> str:
    """Name a label as JSON does; unknown ones pass unless they say that they must be understood (§4.4)."""
    known = labels.get(key)
    if known is not None:
        return known
    if isinstance(key, str) and (key.endswith("_") or key in _LABELS):
        raise PayloadFault("a SenML label that is in the wrong form, or must be understood and is not")
    return f"#{key!r}"


def _name(base: Mapping[str, object], record: Mapping[str, object]) -> str:
    """Join base name and name (§4.5.1)."""
    base_name, name = str(base.get("bn", "")), str(record.get("n", ""))
    if len(base_name) + len(name) > NAME_CHARACTERS:
        raise PayloadFault("a name that is too long")
    name = base_name + name
    if _NAME(name) is None:
        raise PayloadFault("a SenML name outside its alphabet")
    return name


def _time(base: Mapping[str, object], record: Mapping[str, object], issued_at: float) -> float:
    """Add base time and time, and make a relative time absolute (§4.5.3)."""
    time = number(number(base.get("bt", 0)) + number(record.get("t", 0)))
    return time if time >= _ABSOLUTE_TIMES else number(issued_at + time)


def _value(base: Mapping[str, object], record: Mapping[str, object]) -> float | None:
    """Add base value and value (§4.5.4); None for a record whose value is not a number."""
    if "v" not in record:
        return None
    return number(number(base.get("bv", 0)) + number(record["v"]))
