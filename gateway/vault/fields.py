"""What a manifest may hold, field by field: each reader takes a decoded value and returns it with a type, or refuses.

A refusal names the field, in our words; nothing of what a stranger wrote goes into it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Final, TypeVar

from gateway.config.ids import is_id
from gateway.vault.refusal import ModelRefusal, ModelRefused

TEXT_BYTES_MAX: Final = 256
COUNT_MAX: Final = (1 << 63) - 1
DIGEST_BYTES: Final = 32

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")

T = TypeVar("T")


def malformed(detail: str) -> ModelRefused:
    """Return the refusal of a manifest whose bytes or values are not what the format says."""
    return ModelRefused(ModelRefusal.MANIFEST_MALFORMED, detail)


def members(value: object, what: str, names: tuple[str, ...]) -> list[object]:
    """Return the values of a map that has exactly these members, in the order of ``names``."""
    if not isinstance(value, dict) or value.keys() != set(names):
        raise malformed(f"{what} is a map of {', '.join(names)}")
    return [value[name] for name in names]


def items(value: object, what: str, most: int, read: Callable[[object, str], T]) -> tuple[T, ...]:
    """Return the items of an array of at most ``most``, each read by ``read``."""
    if not isinstance(value, list) or len(value) > most:
        raise malformed(f"{what} is an array of at most {most}")
    return tuple([read(item, what) for item in value])


def texts(value: object, what: str, most: int) -> tuple[str, ...]:
    """Return an array of texts, none of them twice."""
    found = items(value, what, most, text)
    if len(set(found)) != len(found):
        raise malformed(f"{what} has a text twice")
    return found


def text(value: object, what: str) -> str:
    """Return a text of 1 to 256 bytes of UTF-8 without control characters."""
    if not isinstance(value, str) or not 0 < len(value.encode()) <= TEXT_BYTES_MAX or _CONTROL.search(value):
        raise malformed(f"{what} has texts of 1 to {TEXT_BYTES_MAX} bytes, without control characters")
    return value


def identifier(value: object, what: str) -> str:
    """Return an id of FORMATS.md §1."""
    if not isinstance(value, str) or not is_id(value):
        raise malformed(f"{what} is 1 to 64 characters of [A-Za-z0-9._:-]")
    return value


def number(value: object, what: str) -> float:
    """Return a float; that it is finite, deterministic CBOR has seen to."""
    if not isinstance(value, float) or not math.isfinite(value):
        raise malformed(f"{what} has floats, finite ones")
    return value


def optional_number(value: object, what: str) -> float | None:
    """Return a float or None."""
    return None if value is None else number(value, what)


def count(value: object, what: str, least: int = 0, most: int = COUNT_MAX) -> int:
    """Return an integer of ``least`` to ``most``."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise malformed(f"{what} is an integer of {least} to {most}")
    return value


def flag(value: object, what: str) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise malformed(f"{what} is true or false")
    return value


def octets(value: object, what: str, size: int) -> bytes:
    """Return a byte string of this size."""
    if not isinstance(value, bytes) or len(value) != size:
        raise malformed(f"{what} has {size} bytes")
    return value


def digest(value: object, what: str) -> bytes:
    """Return a SHA-256."""
    return octets(value, what, DIGEST_BYTES)
