"""Which filters the persistent session holds, remembered across restarts, for the broker cannot be asked."""

from __future__ import annotations

import json
from pathlib import Path

import structlog

from gateway.transport.topics import is_up_filter

log = structlog.get_logger("mqtt")

_MAX_BYTES = 4096


class HeldFilters:
    """One small JSON file, written atomically. Losing it costs an unused subscription: its faults are only told."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> set[str]:
        """The filters of the last subscription; empty when none is known. What is no filter of ours is left out."""
        try:
            filters = json.loads(self._path.read_bytes()[:_MAX_BYTES])
        except FileNotFoundError:
            return set()
        except (OSError, ValueError):
            log.warning("mqtt.filters_unreadable", path=str(self._path))
            return set()
        if not isinstance(filters, list):
            return set()
        return {item for item in filters if isinstance(item, str) and is_up_filter(item)}

    def write(self, filters: set[str]) -> None:
        """Remember what the session holds now."""
        if self.read() == filters:
            return
        temporary = self._path.with_suffix(".new")
        try:
            temporary.write_text(json.dumps(sorted(filters)))
            temporary.replace(self._path)
        except OSError as error:
            log.warning("mqtt.filters_unwritable", path=str(self._path), detail=error.strerror)
