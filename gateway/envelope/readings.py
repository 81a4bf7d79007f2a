"""What a payload says in numbers: readings by name, for detection (FORMATS.md §2, "Payloads").

A payload that cannot be read so is never a reason to refuse a message: it is stored and not scored, and
``NotScorable`` says why. Readings belong to the device that signed, whatever names the payload uses.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, NoReturn

from gateway import cbor
from gateway.envelope import senml
from gateway.envelope.senml import NAME_CHARACTERS, PayloadFault, is_unicode, number
from gateway.jsontext import is_shallow

MAX_DEPTH: Final = 8
"""Arrays and maps nest this deep at most, the outermost counting 1."""

_JSON, _CBOR, _SENML_JSON, _SENML_CBOR = 50, 60, 110, 112
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class Readings(NamedTuple):
    """Numbers by name; nested names are joined by ``.``. All are finite float64. No name stands in two of the three.

    ``texts`` are the words of SenML's ``vs``, of at most 256 characters each.
    """

    scalars: Mapping[str, float]
    tensors: Mapping[str, tuple[float, ...]]
    texts: Mapping[str, str] = _NONE


class NotScorable(NamedTuple):
    """The payload is stored as it is; ``reason`` says in our own words why no number was taken from it."""

    reason: str


def readings(content_format: int, payload: bytes, *, issued_at: float = 0.0) -> Readings | NotScorable:
    """Read a payload.

    Args:
        content_format: the envelope's CoAP content-format.
        payload: the envelope's payload.
        issued_at: the envelope's time, seconds since 1970; SenML's relative times count from it.

    Returns:
        The readings, or why there are none. Never raises for what a device sent.
    """
    reader = _READERS.get(content_format)
    if reader is None:
        return NotScorable("the content type has no readings")
    try:
        found = reader(payload, issued_at)
    except PayloadFault as fault:
        return NotScorable(fault.reason)
    if not found.scalars and not found.tensors:
        return NotScorable("no numbers")
    return found


def _unique(members: list[tuple[str, object]]) -> dict[str, object]:
    """Make an object of its members."""
    unique = dict(members)
    if len(unique) != len(members):
        raise PayloadFault("colliding names: a member stands twice")
    return unique


def _no_constant(_name: str) -> NoReturn:
    """Refuse NaN, Infinity and -Infinity."""
    raise PayloadFault("a number that is not finite")


# A JSON number is a float64 here, an integer too: a million digits become infinity, not a million-digit integer.
_PARSE_JSON: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_int=float, parse_constant=_no_constant).decode


def _from_json(payload: bytes) -> object:
    """Parse JSON in UTF-8 (RFC 8259)."""
    try:
        text = payload.decode()
        if not is_shallow(text, MAX_DEPTH):
            raise PayloadFault("nested too deep")
        value: object = _PARSE_JSON(text)
    except ValueError:
        raise PayloadFault("not JSON in UTF-8") from None
    return value


def _from_cbor(payload: bytes) -> object:
    """Parse CBOR, in any well-formed encoding."""
    try:
        return cbor.decode(payload, max_depth=MAX_DEPTH, deterministic=False)
    except cbor.CborError as fault:
        raise PayloadFault(f"not CBOR that is read here: {fault}") from None


def _numbers(value: object) -> Readings:
    """Flatten a map of numbers, of arrays of numbers, and of such maps."""
    if not isinstance(value, dict):
        raise PayloadFault("not a map of numbers")
    scalars: dict[str, float] = {}
    tensors: dict[str, tuple[float, ...]] = {}
    for name, item in _leaves("", value):
        if name in scalars or name in tensors:
            raise PayloadFault("colliding names")
        if isinstance(item, list):
            tensors[name] = tuple(map(number, item))
        else:
            scalars[name] = number(item)
    return Readings(scalars, tensors)


def _leaves(prefix: str, members: Mapping[object, object]) -> Iterator[tuple[str, object]]:
    """Name what is not a map; the parser has bounded how deep this goes."""
    for key, value in members.items():
        if not isinstance(key, str) or not is_unicode(key):
            raise PayloadFault("a key that is not text")
        if len(prefix) + len(key) > NAME_CHARACTERS:
            raise PayloadFault("a name that is too long")
        if isinstance(value, dict):
            yield from _leaves(f"{prefix}{key}.", value)
        else:
            yield prefix + key, value


def _resolved(pack: object, labels: Mapping[object, str], issued_at: float) -> Readings:
    numbers, texts = senml.resolve(pack, labels, issued_at=issued_at)
    return Readings(numbers, {}, texts)


def _senml_json(payload: bytes, issued_at: float) -> Readings:
    return _resolved(_from_json(payload), senml.JSON_LABELS, issued_at)


def _senml_cbor(payload: bytes, issued_at: float) -> Readings:
    return _resolved(_from_cbor(payload), senml.CBOR_LABELS, issued_at)


_READERS: Final[dict[int, Callable[[bytes, float], Readings]]] = {
    _JSON: lambda payload, _: _numbers(_from_json(payload)),
    _CBOR: lambda payload, _: _numbers(_from_cbor(payload)),
    _SENML_JSON: _senml_json,
    _SENML_CBOR: _senml_cbor,
}
