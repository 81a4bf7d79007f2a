"""What a transport is to the rest of the house: bytes in, acknowledgement out."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, Protocol

from gateway.message import RawMessage


class Intake(Protocol):
    """Where a transport hands its messages over. Called on the event loop only; never blocks."""

    def offer(self, raw: RawMessage) -> bool:
        """Take ``raw`` and promise to call ``raw.reply`` once; False when full or stopping: nothing was taken."""
        ...


class LinkState(Enum):
    """Where a transport stands. Only ``UP`` is healthy: connected *and* subscribed, bound *and* serving."""

    STOPPED = "stopped"
    CONNECTING = "connecting"
    UP = "up"
    DOWN = "down"


class LinkStatus(NamedTuple):
    """The state, since when (monotonic seconds), and why in our own words."""

    state: LinkState
    since_s: float
    detail: str


class Transport(Protocol):
    """A transport owns its connection for the life of the process; ``run`` is its one supervised task."""

    name: str

    async def run(self, intake: Intake) -> None:
        """Serve until ``close`` was called; reconnects by itself. A fault of ours propagates to the supervisor."""
        ...

    def stop_intake(self) -> None:
        """Hand over nothing more; replies to what was handed over are still sent."""
        ...

    async def close(self) -> None:
        """Send what is owed, take leave of the peer, release the socket. The caller holds the deadline."""
        ...

    def status(self) -> LinkStatus:
        """Where the link stands now."""
        ...

    def counters(self) -> dict[str, int]:
        """Monotonic counts by name, for metrics."""
        ...
