"""The rules that the signed facts obey in both encodings (FORMATS.md §1 and §2)."""

from __future__ import annotations

import re
from typing import Final

CONTENT_FORMATS: Final = {
    "application/octet-stream": 42,
    "application/json": 50,
    "application/cbor": 60,
    "application/senml+json": 110,
    "application/senml+cbor": 112,
}
"""Media type → CoAP content-format: what a payload may be, and nothing else."""

SESSION_BYTES: Final = 8

_DEVICE_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,64}").fullmatch
_FLEET_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,32}").fullmatch
_RESERVED: Final = frozenset({b".", b"..", b"gateway"})
_ISSUED_AT_END: Final = 2.0**53
_SEQ_END: Final = 2**63


class Malformed(Exception):
    """The bytes are not an envelope; ``detail`` says why in our own words. Never leaves ``gateway.envelope``."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


def device_id(octets: bytes) -> str:
    """Check a device id.

    Raises:
        Malformed: outside the alphabet, too long, empty or reserved.
    """
    if _DEVICE_ID(octets) is None or octets in _RESERVED:
        raise Malformed("the device id is outside the alphabet or reserved")
    return octets.decode("ascii")


def fleet_id(octets: bytes) -> str:
    """Check a fleet id.

    Raises:
        Malformed: outside the alphabet, too long, empty or reserved.
    """
    if _FLEET_ID(octets) is None or octets in _RESERVED:
        raise Malformed("the fleet id is outside the alphabet or reserved")
    return octets.decode("ascii")


def issued_at(seconds: float) -> float:
    """Check a time, seconds since 1970; the comparison is false for NaN.

    Raises:
        Malformed: not finite, or outside 0 ≤ iat < 2^53.
    """
    if not 0 <= seconds < _ISSUED_AT_END:
        raise Malformed("iat is outside 0 to 2^53")
    return float(seconds)


def sequence(number: int) -> int:
    """Check a sequence number, which is never negative here.

    Raises:
        Malformed: 2^63 or more.
    """
    if number >= _SEQ_END:
        raise Malformed("seq is 2^63 or more")
    return number
