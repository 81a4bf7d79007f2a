"""Reads small files of /proc and /sys; what is not there, or not readable, is nothing and no error."""

from __future__ import annotations

from pathlib import Path
from typing import Final

MAX_BYTES: Final = 256 << 10


def text_in(path: Path, limit: int = MAX_BYTES) -> str:
    """What the file holds, at most ``limit`` bytes of it; empty when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(limit).decode("utf-8", "replace")
    except OSError:
        return ""


def number_in(path: Path) -> int | None:
    """The whole number that the file holds, decimal or hexadecimal; None for anything else."""
    text = text_in(path, 64).strip()
    try:
        return int(text, 0) if text.startswith("0x") else int(text)
    except ValueError:
        return None


def kilobytes_in(text: str, name: str) -> int | None:
    """A line ``name:  123 kB`` of /proc/meminfo or /proc/PID/status, in bytes."""
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            words = line.split()
            return int(words[1]) * 1024 if len(words) > 1 and words[1].isdigit() else None
    return None
