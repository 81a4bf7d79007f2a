"""What the operator's side may see of a running gateway, and the few things it may ask of it.

The page, the metrics, the health answers and the watchdog all look through this one port; none of them knows a room
of the gateway.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from gateway.config.model import Config
from gateway.ingest.counters import Counters
from gateway.journal.reader import Reader
from gateway.registry.port import RegistrySnapshot

Action = Callable[[], Awaitable[Mapping[str, Any]]]
"""Something an operator may ask for: returns what became of it, as JSON can hold it."""


class GatewayView(Protocol):
    """The running gateway as its operator sees it. Reading it costs nothing on the way of a message."""

    @property
    def config(self) -> Config:
        """The configuration in force."""
        ...

    @property
    def counters(self) -> Counters:
        """What was counted since the start of the process."""
        ...

    @property
    def registry(self) -> RegistrySnapshot:
        """Who is registered, as of now."""
        ...

    def status(self) -> dict[str, Any]:
        """The state of every room, as ``securenet status`` shows it."""
        ...

    def open_log(self) -> AbstractContextManager[Reader]:
        """A read-only connection to the journal, for one thread."""
        ...


class Probe(NamedTuple):
    """One live part of the gateway, and a round trip through it.

    ``ask`` returns when the part has answered, and raises what it raises when it cannot; one that does not answer in
    time hangs.
    """

    name: str
    ask: Callable[[], Awaitable[None]]
