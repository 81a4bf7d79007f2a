"""A bearing's temperature, reading after reading: a long good while, a fault of four readings, good again.

Pure: the n-th reading of a device is the same whenever it is asked for.
"""

import hashlib
import math
from typing import Final, Literal

Stretch = Literal["filling", "before", "fault", "after"]

BEFORE: Final = 12
AFTER: Final = 12
_FAULT: Final = (25.0, -25.0, 3.0, -3.0)
"""The contact is loose: far above what it should read, far below, and then it settles."""
_MIDDLE: Final = 52.0
_SWING: Final = 4.0
_PERIOD: Final = 40
_NOISE: Final = 0.02


def readings(filling: int) -> int:
    """How many readings the story has, when so many come first that a detector only learns from."""
    return filling + BEFORE + len(_FAULT) + AFTER


def stretch(number: int, filling: int) -> Stretch:
    """Which part of the story the n-th reading belongs to, counted from 0."""
    if number < filling:
        return "filling"
    if number < filling + BEFORE:
        return "before"
    return "fault" if number < filling + BEFORE + len(_FAULT) else "after"


def temperature(device_id: str, number: int, filling: int) -> float:
    """The n-th reading in degrees Celsius: the machine's cycle with a little noise, and the fault on top."""
    drawn = hashlib.blake2b(f"{device_id}|bearing|{number}".encode(), digest_size=8).digest()
    noise = 2 * int.from_bytes(drawn, "big") / 2**64 - 1
    good = _MIDDLE + _SWING * math.sin(2 * math.pi * number / _PERIOD) + _NOISE * noise
    place = number - filling - BEFORE
    return round(good + (_FAULT[place] if stretch(number, filling) == "fault" else 0.0), 3)
