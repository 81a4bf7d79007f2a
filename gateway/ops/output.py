"""The last step of an event: it passes the byte budget and takes the first route that is open."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

from gateway.ops.bytebudget import ByteBudget
from gateway.ops.journald import JournaldSocket, encode_fields, journal_fields
from gateway.ops.linesink import LineSink

FOLDED: Final = "log.folded"
FORGOTTEN: Final = "(others)"
_ERRORS: Final = frozenset({"error", "critical"})
_OVER: Final = "logging.bytes_per_hour is spent: only errors are written for a while; find what is so loud"

Event = Mapping[str, Any]


class Route(Protocol):
    """A way out: an event as bytes, and whether they were taken."""

    def encode(self, event: Event) -> bytes:
        """The event as this route carries it."""
        ...

    def send(self, data: bytes) -> bool:
        """Send it without waiting."""
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...


class LineRoute:
    """One line an event, on standard error."""

    def __init__(self, render: Callable[[Any, str, dict[str, Any]], str | bytes], sink: LineSink) -> None:
        self._render = render
        self._sink = sink

    def encode(self, event: Event) -> bytes:
        """The line."""
        line = self._render(None, "", dict(event))
        return line if isinstance(line, bytes) else line.encode("utf-8", "backslashreplace")

    def send(self, data: bytes) -> bool:
        """Write the line."""
        return self._sink.send(data)

    def close(self) -> None:
        """The stream is the process's own."""


class JournaldRoute:
    """One datagram an event, to journald."""

    def __init__(self, path: Path, identifier: str) -> None:
        self._socket = JournaldSocket(path)
        self._identifier = identifier

    def encode(self, event: Event) -> bytes:
        """The event by journald's native protocol."""
        return encode_fields(journal_fields(event, self._identifier))

    def send(self, data: bytes) -> bool:
        """Hand the datagram over."""
        return self._socket.send(data)

    def close(self) -> None:
        """Close the socket; another event opens it again."""
        self._socket.close()


class Output:
    """What structlog takes for the logger that writes.

    Args:
        routes: the first that takes an event has it.
        budget: which events there is room for.
        monotonic_s: the budget's clock.
        on_over: called when the budget is spent, with the seconds until there may be something to tell.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        budget: ByteBudget,
        monotonic_s: Callable[[], float],
        on_over: Callable[[float], None],
    ) -> None:
        self._routes = routes
        self._budget = budget
        self._monotonic_s = monotonic_s
        self._on_over = on_over
        self._lock = threading.RLock()
        self._counts = {"written": 0, "bytes": 0, "diverted": 0, "lost": 0}
        self._untold = {"diverted": 0, "lost": 0}

    def msg(self, event: Event) -> None:
        """Write one event, or count it."""
        with self._lock:
            data = self._routes[0].encode(event)
            events = event.get("folded", 0) + (event.get("event") != FOLDED)
            is_error = event.get("level") in _ERRORS
            fits = self._budget.spend(len(data), self._monotonic_s(), is_error=is_error, events=events)
            self.tell()
            if fits:
                self._send(event, data)

    debug = info = warning = warn = error = exception = critical = fatal = msg

    def tell(self, *, at_the_end: bool = False) -> None:
        """Tell what is due of the budget."""
        with self._lock:
            notice = self._budget.notice(self._monotonic_s(), at_the_end=at_the_end)
            if notice is None:
                return
            counts = {
                "withheld": notice.withheld,
                "withheld_bytes": notice.withheld_bytes,
                "withheld_errors": notice.errors,
            }
            if notice.is_over:
                self._say("warning", "log.over_budget", **counts, detail=_OVER)
                self._on_over(self._budget.due_s(self._monotonic_s()) or 0.0)
            else:
                self._say("info", "log.within_budget", **counts)

    def change_budget(self, bytes_per_hour: int) -> None:
        """Another budget from now on."""
        with self._lock:
            self._budget.change(bytes_per_hour)

    def due_s(self) -> float | None:
        """In how many seconds ``tell`` may have something to tell; None when not before another event."""
        with self._lock:
            return self._budget.due_s(self._monotonic_s())

    def status(self) -> dict[str, int]:
        """Events and bytes written, events that took the second route, were withheld by the budget, or lost."""
        with self._lock:
            return {**self._counts, "withheld": self._budget.withheld}

    def close(self) -> None:
        """Close every route."""
        with self._lock:
            for route in self._routes:
                route.close()

    def _send(self, event: Event, data: bytes) -> None:
        """Try the routes in turn; what was missed meanwhile is told by the first event that gets through again."""
        if self._routes[0].send(data):
            self._written(data)
            if self._untold["diverted"]:
                missed, self._untold["diverted"] = self._untold["diverted"], 0
                self._say("info", "log.journald_up", diverted=missed)
        elif any(self._divert(route, event) for route in self._routes[1:]):
            self._counts["diverted"] += 1
            self._untold["diverted"] += 1
        else:
            self._counts["lost"] += 1
            self._untold["lost"] += 1
            return
        if self._untold["lost"]:
            missed, self._untold["lost"] = self._untold["lost"], 0
            self._say("warning", "log.lost", lost=missed)

    def _divert(self, route: Route, event: Event) -> bool:
        if not self._untold["diverted"]:
            down = {"detail": "journald takes nothing; events come on standard error until it does"}
            route.send(route.encode(self._own("warning", "log.journald_down", **down)))
        data = route.encode(event)
        return route.send(data) and self._written(data)

    def _written(self, data: bytes) -> bool:
        self._counts["written"] += 1
        self._counts["bytes"] += len(data)
        return True

    def _say(self, level: str, name: str, **facts: object) -> None:
        """Write an event of our own; the budget has set room apart for it."""
        event = self._own(level, name, **facts)
        self._send(event, self._routes[0].encode(event))

    @staticmethod
    def _own(level: str, name: str, **facts: object) -> Event:
        stamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        return {**facts, "event": name, "level": level, "timestamp": stamp}
