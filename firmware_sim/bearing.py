"""A bearing's temperature, reading after reading: a long good while, a fault of four readings, good again.

Pure: the n-th reading of a device is the same whenever it is asked for.
"""

import hashlib
import math
from typing import Final, Literal

Stretch = Literal["filling", "before", "fault", "after"]

WINDOW: Final = 512
"""A detector that looks at so many readings says nothing before it has them."""
BEFORE: Final = 12
AFTER: Final = 12
_PEAKS: Final = (75.0, 49.0, 78.0, 45.0)
"""The fault: the contact is loose. Far outside what was ever read, and back, and out again."""
READINGS: Final = WINDOW - 1 + BEFORE + len(_PEAKS) + AFTER
_MIDDLE: Final = 52.0
_SWING: Final = 4.0
_PERIOD: Final = 40
_NOISE: Final = 0.3


def stretch(number: int) -> Stretch:
    """Which part of the story the n-th reading belongs to, counted from 0."""
    if number < WINDOW - 1:
        return "filling"
    if number < WINDOW - 1 + BEFORE:
        return "before"
    return "fault" if number < WINDOW - 1 + BEFORE + len(_PEAKS) else "after"


def temperature(device_id: str, number: int) -> float:
    """The n-th reading in degrees Celsius: the machine's cycle with a little noise, or the fault."""
    if stretch(number) == "fault":
        return _PEAKS[number - (WINDOW - 1 + BEFORE)]
    drawn = hashlib.blake2b(f"{device_id}|bearing|{number}".encode(), digest_size=8).digest()
    noise = 2 * int.from_bytes(drawn, "big") / 2**64 - 1
    return round(_MIDDLE + _SWING * math.sin(2 * math.pi * number / _PERIOD) + _NOISE * noise, 3)
