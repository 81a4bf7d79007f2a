"""What can be wrong with a configuration: one ``Fault`` each, all of them in one ``ConfigError``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Fault(NamedTuple):
    """One thing that is wrong. ``line`` counts from 1, 0 when no line is to blame; ``key`` is dotted."""

    line: int
    key: str
    problem: str
    hint: str

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        key = f"{self.key}: " if self.key else ""
        return f"{where}{key}{self.problem}; {self.hint}"


class ConfigError(Exception):
    """The configuration is refused, for all of ``faults`` (at least one, in the order of their lines)."""

    def __init__(self, path: Path, faults: Sequence[Fault]) -> None:
        self.path = path
        self.faults = tuple(sorted(faults, key=lambda fault: (fault.line, fault.key)))
        super().__init__("\n".join([f"{path} is refused:", *(f"  {fault}" for fault in self.faults)]))
