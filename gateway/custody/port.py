"""What the gateway sees of its custody: the registry in force, whether it may be relied on, and how it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from gateway.registry.port import Registry


class Custody(Protocol):
    """Where the registry comes from, and where the log's roots go. ``run`` is a task; ``close`` ends it all."""

    @property
    def registry(self) -> Registry:
        """The registry in force."""
        ...

    @property
    def account(self) -> bytes | None:
        """The account that anchors, which the registered miner must have; None when nothing is anchored."""
        ...

    def is_stale(self) -> bool:
        """Whether the registry is too old to let anybody in."""
        ...

    async def run(self) -> None:
        """Keep up with the source until cancelled."""
        ...

    async def reload(self) -> None:
        """SIGHUP: look at the source now."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...

    def anchor_now(self) -> Mapping[str, Any]:
        """Anchor at once; returns how anchoring is."""
        ...

    def status(self) -> dict[str, Any]:
        """The part of ``securenet status`` that is about custody."""
        ...

    def warnings(self) -> list[str]:
        """What a person should know although messages are taken, in words."""
        ...
