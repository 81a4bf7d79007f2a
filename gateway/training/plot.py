"""ROC curves as SVG: on light and on dark, described in words, without a plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

import numpy as np

from gateway.training.metrics import Roc

WIDTH: Final = 760
HEIGHT: Final = 440
LEFT: Final = 76
RIGHT: Final = 210
TOP: Final = 46
BOTTOM: Final = 56
DASHES: Final = ("", "9 4", "3 3", "12 3 3 3", "1 4", "7 7")
MOST_CURVES: Final = len(DASHES)
_POINTS: Final = 240
_READ_OUT: Final = 'role="img" aria-labelledby="title desc"'
_STYLE: Final = """
  svg { font: 13px system-ui, sans-serif }
  .paper { fill: #fff } .ink { fill: #1b1f24 } .faint { fill: #57606a } .grid { stroke: #d0d7de }
  .middle { text-anchor: middle } .end { text-anchor: end }
  .line { fill: none; stroke-width: 2.25 } .dot { stroke: none }
  .s0 { stroke: #0550ae; fill: #0550ae } .s1 { stroke: #a40e26; fill: #a40e26 } .s2 { stroke: #116329; fill: #116329 }
  .s3 { stroke: #8250df; fill: #8250df } .s4 { stroke: #953800; fill: #953800 } .s5 { stroke: #57606a; fill: #57606a }
  .line { fill: none }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117 } .ink { fill: #f0f6fc } .faint { fill: #9da7b3 } .grid { stroke: #30363d }
    .s0 { stroke: #79c0ff; fill: #79c0ff } .s1 { stroke: #ff7b72; fill: #ff7b72 }
    .s2 { stroke: #56d364; fill: #56d364 } .s3 { stroke: #d2a8ff; fill: #d2a8ff }
    .s4 { stroke: #ffa657; fill: #ffa657 } .s5 { stroke: #9da7b3; fill: #9da7b3 }
    .line { fill: none }
  }
"""


class Curve(NamedTuple):
    """A curve, its name, and the point (false alarms, recall) at which its detector works."""

    name: str
    roc: Roc
    works_at: tuple[float, float]


def thin(roc: Roc, right: float) -> list[tuple[float, float]]:
    """A curve's points up to ``right`` false alarms, few enough for a small file: the last recall at each step."""
    steps = np.linspace(0.0, right, _POINTS)
    last = np.searchsorted(roc.false_alarms, steps, side="right") - 1
    points = [(float(step), float(roc.recall[at])) for step, at in zip(steps, last, strict=True)]
    kept = points[:1]
    for before, point in pairwise(points):
        if point[1] != before[1]:
            kept += [before, point] if kept[-1] != before else [point]
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def draw(title: str, description: str, curves: Sequence[Curve], right: float = 0.3) -> str:
    """One plot: false alarms from 0 to ``right`` across, recall up, a dot where each detector works.

    Raises:
        ValueError: more curves than can be told apart.
    """
    if len(curves) > MOST_CURVES:
        raise ValueError(f"{len(curves)} curves cannot be told apart; at most {MOST_CURVES}")
    floor, edge = HEIGHT - BOTTOM, WIDTH - RIGHT
    middle, height = (LEFT + edge) // 2, (TOP + floor) // 2

    def place(alarms: float, recall: float) -> tuple[float, float]:
        return LEFT + alarms / right * (edge - LEFT), floor - recall * (floor - TOP)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {_READ_OUT}>',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="desc">{escape(description)}</desc>',
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text class="ink" x="{LEFT}" y="26" font-weight="600">{escape(title)}</text>',
        f'<text class="faint middle" x="{middle}" y="{HEIGHT - 14}">false alarms, % of normal rows</text>',
        f'<text class="faint middle" transform="translate(20 {height}) rotate(-90)">found, % of attacks</text>',
    ]
    for step in range(7):
        x, _ = place(right * step / 6, 0)
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{floor}"/>')
        parts.append(f'<text class="faint middle" x="{x:.1f}" y="{floor + 18}">{100 * right * step / 6:.3g}</text>')
    for step in range(6):
        _, y = place(0, step / 5)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{edge}"/>')
        parts.append(f'<text class="faint end" x="{LEFT - 8}" y="{y + 4:.1f}">{20 * step}</text>')
    for number, curve in enumerate(curves):
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in thin(curve.roc, right)))
        dash = f' stroke-dasharray="{DASHES[number]}"' if DASHES[number] else ""
        parts.append(f'<polyline class="line s{number}"{dash} points="{line}"/>')
        if curve.works_at[0] <= right:
            x, y = place(*curve.works_at)
            parts.append(f'<circle class="dot s{number}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>')
        height = TOP + 16 + 26 * number
        parts.append(f'<path class="line s{number}"{dash} d="M{edge + 14} {height - 4}h30"/>')
        parts.append(f'<text class="ink" x="{edge + 50}" y="{height}">{escape(curve.name)}</text>')
    return "\n".join([*parts, "</svg>", ""])
