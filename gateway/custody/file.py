"""Custody without a chain: the registry is a file, and the log's roots are published or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from gateway.registry.file import FileRegistry

log = structlog.get_logger("gateway")


class FileCustody:
    """Implements ``gateway.custody.port.Custody`` over a registry file that is loaded.

    Args:
        registry: the file, loaded.
        on_change: called after a reload: what may be accepted may have changed.
    """

    account = None

    def __init__(self, registry: FileRegistry, on_change: Callable[[], None]) -> None:
        self.registry = registry
        self._on_change = on_change

    def is_stale(self) -> bool:
        """Never: a file in force is in force."""
        return False

    async def run(self) -> None:
        """Nothing to keep up with."""

    async def reload(self) -> None:
        """Read the file anew, off the event loop; one bad line keeps the registry in force."""
        result = await asyncio.to_thread(self.registry.reload)
        if result.error is None:
            log.info("registry.reloaded", **result.snapshot.counts._asdict())
        else:
            log.error("registry.refused", detail=str(result.error))
        self._on_change()

    async def close(self) -> None:
        """Nothing is open."""

    def anchor_now(self) -> Mapping[str, Any]:
        """There is no chain."""
        return {"state": "chain.rpc names no endpoint: nothing is anchored"}

    def status(self) -> dict[str, Any]:
        """There is no chain."""
        return {"chain": None, "anchors": None, "models": None}

    def warnings(self) -> list[str]:
        """A file is as it is."""
        return []
