"""The spellings that the log's text formats share: base64 and decimal numbers, one spelling for one value."""

from __future__ import annotations

import base64
import binascii

NUMBER_MAX = (1 << 63) - 1
"""Sizes and indexes stay below 2^63, so that every database and language can hold them."""


def to_base64(data: bytes) -> str:
    """Return standard base64 with padding (RFC 4648 section 4)."""
    return base64.b64encode(data).decode()


def from_base64(text: str) -> bytes:
    """Read standard base64 with padding, in its one canonical spelling.

    Raises:
        ValueError: other characters, missing padding, or padding bits that are not zero.
    """
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise ValueError("not base64") from None
    if to_base64(data) != text:
        raise ValueError("not canonical base64")
    return data


def parse_decimal(text: str) -> int | None:
    """Return a number below 2^63 that is written in ASCII digits without leading zeroes, None for anything else."""
    if not text.isascii() or not text.isdigit() or len(text) > len(str(NUMBER_MAX)):
        return None
    number = int(text)
    return number if number <= NUMBER_MAX and str(number) == text else None
