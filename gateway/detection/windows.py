"""The last rows of each device, for models that look at more than one (pure)."""

from __future__ import annotations

from typing import Final

from gateway.detection.features import FLOAT_BYTES

_OVERHEAD_BYTES: Final = 300
"""Beside the rows: the id, the buffer's head, the place in the table."""


class Windows:
    """For each device the last ``window`` rows of ``width`` numbers, bounded in bytes.

    Beyond the bound the device that was silent longest is forgotten, and fills its window anew. Rows stand in the
    order in which their messages were accepted, whatever lies between them in time.
    """

    def __init__(self, window: int, width: int, budget_bytes: int) -> None:
        self._row_bytes = FLOAT_BYTES * width
        self._full_bytes = self._row_bytes * window
        self._bound = max(1, budget_bytes // (self._full_bytes + _OVERHEAD_BYTES))
        self._devices: dict[str, bytes] = {}
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._devices)

    def push(self, device_id: str, row: bytes) -> bytes | None:
        """Add a row of float32; return the whole window, the oldest row first, or None while it is not full."""
        devices = self._devices
        before = devices.pop(device_id, None)
        if before is None:
            before = b""
            if len(devices) >= self._bound:
                del devices[next(iter(devices))]
                self.forgotten += 1
        rows = (before + row)[-self._full_bytes :]
        devices[device_id] = rows
        return rows if len(rows) == self._full_bytes else None
