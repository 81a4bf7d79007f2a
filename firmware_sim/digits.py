"""What a camera over a counter sees: one digit, drawn with a soft pen, never twice at quite the same place."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

SIDE: Final = 28
PIXELS: Final = SIDE * SIDE
GREY: Final = 255
PEN: Final = 1.3
STEPS: Final = (-1, 0, 1)
"""How far, in pixels, a digit may stand beside the middle; both ways."""

_Stroke = tuple[tuple[int, int], ...]
_STROKES: Final[tuple[tuple[_Stroke, ...], ...]] = (
    (((14, 5), (10, 7), (8, 11), (8, 17), (10, 21), (14, 23), (18, 21), (20, 17), (20, 11), (18, 7), (14, 5)),),
    (((14, 5), (14, 23)),),
    (((9, 9), (11, 6), (14, 5), (18, 7), (18, 11), (14, 16), (9, 22), (20, 22)),),
    (((9, 7), (13, 5), (18, 7), (18, 11), (13, 13), (18, 16), (18, 20), (14, 23), (9, 21)),),
    (((10, 6), (8, 14), (19, 14)), ((18, 6), (17, 23))),
    (((19, 6), (11, 6), (10, 13), (15, 12), (19, 15), (18, 20), (14, 23), (9, 21)),),
    (((16, 5), (11, 10), (9, 16), (10, 21), (14, 23), (18, 21), (19, 17), (16, 14), (12, 15), (9, 18)),),
    (((8, 7), (20, 7), (16, 14), (13, 23)),),
    (((14, 5), (10, 8), (12, 12), (17, 16), (18, 20), (14, 23), (10, 20), (11, 16), (16, 12), (18, 8), (14, 5)),),
    (((18, 10), (14, 13), (10, 11), (10, 7), (14, 5), (18, 7), (18, 13), (16, 23)),),
)


def image(digit: int, right: int = 0, down: int = 0) -> list[int]:
    """Draw a digit: 784 grey values, 0 to 255, row by row, white on black.

    Args:
        digit: 0 to 9.
        right: how far it stands to the right of the middle, in pixels.
        down: how far below.
    """
    strokes = _STROKES[digit]
    return [_ink(strokes, x - right, y - down) for y in range(SIDE) for x in range(SIDE)]


def shown(number: int) -> tuple[int, list[int]]:
    """What the camera sees at its n-th look: every digit in ten looks, each time at another place."""
    digit = number * 7 % 10
    round_ = number // 10 + digit
    return digit, image(digit, STEPS[round_ % len(STEPS)], STEPS[round_ // len(STEPS) % len(STEPS)])


def _ink(strokes: Sequence[_Stroke], x: int, y: int) -> int:
    nearest = min(_distance(x, y, start, end) for stroke in strokes for start, end in pairwise(stroke))
    return round(GREY * min(1.0, max(0.0, PEN + 0.5 - nearest)))


def _distance(x: int, y: int, start: tuple[int, int], end: tuple[int, int]) -> float:
    (x0, y0), (dx, dy) = start, (end[0] - start[0], end[1] - start[1])
    along = min(1.0, max(0.0, ((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy)))
    return math.hypot(x - x0 - along * dx, y - y0 - along * dy)
