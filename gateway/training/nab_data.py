"""The corpus of NAB as its repository has it, csv files plain or packed: read, with limits."""

from __future__ import annotations

import json
import math
from datetime import datetime
from pathlib import Path
from typing import Final

from gateway.training.data import DataRefused, find, read_bytes, rows
from gateway.training.nab_scoring import Series

_LABELS: Final = "labels/combined_windows.json"
_MAX_LABEL_BYTES: Final = 1 << 20
_MAX_FILES: Final = 200


def read_corpus(folder: Path) -> tuple[Series, ...]:
    """Read ``data/*/*.csv`` and the windows of ``labels`` below ``folder``.

    Raises:
        DataRefused: A file is missing, too large or not as NAB writes it.
    """
    labels = read_bytes(find(folder, _LABELS), _MAX_LABEL_BYTES)
    try:
        windows = json.loads(labels)
        if len(windows) > _MAX_FILES:
            raise DataRefused(f"{_LABELS} names more than {_MAX_FILES} files")
        return tuple(_series(folder / "data", name, windows[name]) for name in sorted(windows))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DataRefused(f"{folder} does not hold NAB's data and labels: {error}") from error


def _series(data: Path, name: str, windows: list[tuple[str, str]]) -> Series:
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise DataRefused(f"{name!r} does not lie in the corpus")
    lines = rows(find(data, name))
    if next(lines, None) != ["timestamp", "value"]:
        raise DataRefused(f"{name} does not begin with timestamp,value")
    stamps: list[datetime] = []
    values: list[float] = []
    for stamp, value in lines:
        stamps.append(datetime.fromisoformat(stamp))
        values.append(float(value))
    if not all(map(math.isfinite, values)):
        raise DataRefused(f"{name} has a value that is not a number")
    # A stamp that comes twice (the hour that a clock is set back) means its first row, as in NAB.
    limits = [
        (stamps.index(datetime.fromisoformat(first)), stamps.index(datetime.fromisoformat(last)))
        for first, last in windows
    ]
    return Series(name, tuple(values), tuple(sorted(limits)))
