"""The two plots of docs/scaling.md as SVG: lines on logarithmic axes, on light and on dark, described in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

from .model import Assumptions, Gas, chains, gas_a_message, shortest_interval_s
from .tables import figure, span

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 92, 150, 46, 52
DASHES = ("", "9 4", "3 3", "12 3 3 3", "1 4", "7 7")
READ_OUT = 'role="img" aria-labelledby="title desc"'
STYLE = """
  svg { font: 13px system-ui, sans-serif }
  .paper { fill: #fff } .ink { fill: #1b1f24 } .faint { fill: #57606a } .grid { stroke: #d0d7de }
  .middle { text-anchor: middle } .end { text-anchor: end }
  .line { fill: none; stroke-width: 2.25 }
  .s0 { stroke: #0550ae } .s1 { stroke: #a40e26 } .s2 { stroke: #116329 }
  .s3 { stroke: #8250df } .s4 { stroke: #953800 } .s5 { stroke: #1b1f24 }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117 } .ink { fill: #f0f6fc } .faint { fill: #9da7b3 } .grid { stroke: #30363d }
    .s0 { stroke: #79c0ff } .s1 { stroke: #ff7b72 } .s2 { stroke: #56d364 }
    .s3 { stroke: #d2a8ff } .s4 { stroke: #ffa657 } .s5 { stroke: #f0f6fc }
  }
"""

Point = tuple[float, float]


class Axis(NamedTuple):
    """A logarithmic axis: what it says, its ends, where it is marked and how marks are written."""

    title: str
    low: float
    high: float
    marks: tuple[float, ...]
    word: Callable[[float], str]

    def at(self, value: float) -> float:
        """Where a value lies, from 0 to 1."""
        return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))


class Line(NamedTuple):
    """One line and the word at its end."""

    name: str
    points: Sequence[Point]


def draw(title: str, description: str, across: Axis, up: Axis, lines: Sequence[Line]) -> str:
    """One plot. Lines differ by dashes as well as by colour, and each carries its name."""

    def place(point: Point) -> tuple[float, float]:
        width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        return LEFT + across.at(point[0]) * width, HEIGHT - BOTTOM - up.at(point[1]) * height

    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    middle = (TOP + bottom) // 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {READ_OUT}>',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="desc">{escape(description)}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text class="ink" x="{LEFT}" y="26" font-weight="600">{escape(title)}</text>',
        f'<text class="faint middle" x="{(LEFT + right) / 2:.0f}" y="{HEIGHT - 12}">{escape(across.title)}</text>',
        f'<text class="faint middle" transform="translate(18 {middle}) rotate(-90)">{escape(up.title)}</text>',
    ]
    for mark in across.marks:
        x, _ = place((mark, up.low))
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{bottom}"/>')
        parts.append(f'<text class="faint middle" x="{x:.1f}" y="{bottom + 18}">{across.word(mark)}</text>')
    for mark in up.marks:
        _, y = place((across.low, mark))
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{right}"/>')
        parts.append(f'<text class="faint end" x="{LEFT - 8}" y="{y + 4:.1f}">{up.word(mark)}</text>')
    for number, line in enumerate(lines):
        path = "L".join("{:.1f} {:.1f}".format(*place(point)) for point in line.points)
        _, y = place(line.points[-1])
        dashes = f' stroke-dasharray="{DASHES[number]}"' if DASHES[number] else ""
        parts.append(f'<path class="line s{number}"{dashes} d="M{path}"/>')
        parts.append(f'<text class="ink" x="{right + 8}" y="{y + 4:.1f}">{escape(line.name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _steps(low: float, high: float, count: int = 60) -> list[float]:
    return [low * (high / low) ** (step / count) for step in range(count + 1)]


def gas_plot(_: Assumptions, gas: Gas) -> str:
    """Gas a message over the interval, a line a rate."""
    across = Axis("interval between anchors", 10, 86_400, (10, 60, 600, 3_600, 21_600, 86_400), span)
    up = Axis("gas a message", 0.001, 100_000, tuple(10.0**power for power in range(-3, 6)), figure)
    lines = [
        Line(f"{figure(rate)} messages/s", [(at, gas_a_message(gas, rate, at)) for at in _steps(10, 86_400)])
        for rate in (0.01, 0.1, 1.0, 10.0, 100.0)
    ]
    fast, slow = (figure(gas_a_message(gas, 1, at)) for at in (10, 86_400))
    description = (
        "Both axes are logarithmic. Gas a message falls in proportion to rate and interval: at 1 message a "
        f"second from {fast} gas every 10 seconds to {slow} once a day."
    )
    return draw("Gas a message, by interval and rate", description, across, up, lines)


def interval_plot(given: Assumptions, gas: Gas) -> str:
    """The shortest interval over the size of the fleet, a line a chain."""
    across = Axis("gateways", 1, 10_000, (1, 10, 100, 1_000, 10_000), figure)
    up = Axis("shortest interval", 1, 10_000, (1, 10, 60, 600, 3_600), span)
    every = chains(given, gas)
    lines = [
        Line(
            f"{chain.name}, {figure(chain.share * 100)} %",
            [(at, shortest_interval_s(at, chain)) for at in _steps(1, 10_000)],
        )
        for chain in every
    ]
    ends = ", ".join(f"{chain.name} {span(shortest_interval_s(10_000, chain))}" for chain in every)
    description = (
        "Both axes are logarithmic. Each line is level at the chain's block time until the fleet reaches its share "
        f"of the chain, then rises in proportion to the fleet. At 10,000 gateways: {ends}."
    )
    return draw("Shortest interval within a fleet's share of the chain", description, across, up, lines)


PLOTS: dict[str, Callable[[Assumptions, Gas], str]] = {
    "gas-a-message.svg": gas_plot,
    "shortest-interval.svg": interval_plot,
}
"""By the name of the file beside this module."""
