"""What the technician reads: one event at a time, to journald with its fields, as a JSON line, or for a terminal.

Events have stable names (``mqtt.up``; docs/operations/events.md has them all); everything else is a named value.
Before anything is written, values are made harmless: control characters and bidirectional marks are escaped, long
text is cut, whatever is named like a secret is withheld, a storm of like events is folded into a count, and no hour
has more than ``logging.bytes_per_hour``. Nothing here is configured at import.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, MutableMapping
from enum import Enum
from pathlib import Path
from typing import Any, Final, TextIO

from gateway.config.model import LoggingConfig
from gateway.ops.bytebudget import ByteBudget
from gateway.ops.folding import WINDOW_S, EventFolder
from gateway.ops.journald import IDENTIFIER, JOURNAL_SOCKET, is_journal_stream
from gateway.ops.lean import structlog
from gateway.ops.linesink import LineSink
from gateway.ops.output import FOLDED, FORGOTTEN, JournaldRoute, LineRoute, Output, Route
from gateway.ops.sanitising import MAX_VALUE_CHARACTERS, sanitise
from gateway.ops.tending import Tending

__all__ = ["MAX_VALUE_CHARACTERS", "Folding", "LibraryHandler", "Logging", "configure_logging", "sanitise"]

MAX_TRACEBACK_CHARACTERS: Final = 16384
_SECRET_NAMES: Final = ("password", "passphrase", "secret", "seed", "token", "private", "credential")

Event = MutableMapping[str, Any]


def sanitise_values(_logger: object, _method: str, event: Event) -> Event:
    """Processor: every value harmless and short, nothing named like a secret."""
    for name, value in event.items():
        if any(word in name for word in _SECRET_NAMES):
            event[name] = "(withheld)"
        elif name == "exception":
            event[name] = sanitise(str(value), MAX_TRACEBACK_CHARACTERS, keep="\n")
        elif isinstance(value, (bytes, bytearray, memoryview)):
            event[name] = sanitise(bytes(value).hex())
        elif value is not None and not isinstance(value, (bool, int, float)):
            event[name] = sanitise(str(value))
    return event


class Folding:
    """Processor: storms of like events become one event with a ``folded`` count.

    Alike are events of the same level and name, and of the same ``reason`` where that is one of a list: what the
    network may choose freely makes no kind of its own.
    """

    def __init__(
        self, folder: EventFolder, monotonic_s: Callable[[], float], on_fold: Callable[[float], None]
    ) -> None:
        self.folder = folder
        self.folded = 0
        self._monotonic_s = monotonic_s
        self._on_fold = on_fold
        self._lock = threading.Lock()

    def __call__(self, _logger: object, _method: str, event: Event) -> Event:
        """Pass the event on, or drop it."""
        if event.get("event") == FOLDED:
            return event
        kind = f"{event.get('level', '')} {event.get('event', '')}"
        if event.get("event") == "library":
            kind += f" {event.get('library', '')}"
        elif isinstance(reason := event.get("reason"), Enum):
            kind += f" {reason.value}"
        with self._lock:
            folded = self.folder.admit(kind, self._monotonic_s())
            self.folded += folded is None
        if folded is None:
            self._on_fold(WINDOW_S)
            raise structlog.DropEvent
        if folded:
            event["folded"] = folded
        return event

    def take(self, *, everything: bool) -> list[tuple[str, int]]:
        """The kinds whose window is over, and how many events of each were folded."""
        with self._lock:
            taken = self.folder.flush(self._monotonic_s(), everything=everything)
            forgotten = self.folder.take_forgotten()
        return [*taken, (f"info {FORGOTTEN}", forgotten)] if forgotten else taken

    def due_s(self) -> float | None:
        """In how many seconds there is something to take; None when nothing is folded."""
        with self._lock:
            return self.folder.due_s(self._monotonic_s())


class LibraryHandler(logging.Handler):
    """Brings what libraries say through ``logging`` onto the same line format, as event ``library``."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):
            message = str(record.msg)
        facts: dict[str, Any] = {"library": record.name, "message": message}
        if record.name == "asyncio" and record.exc_info and record.exc_info[0] is not None:
            facts["exc_info"] = record.exc_info  # of a task that nobody waits for: a fault of ours, told nowhere else
        structlog.get_logger().log(min(record.levelno, logging.ERROR), "library", **facts)


class Logging:
    """What ``configure_logging`` set up: kept tidy while the process lives, changed by a reload."""

    def __init__(self, folding: Folding, output: Output, tending: Tending) -> None:
        self._folding = folding
        self._output = output
        self._tending = tending

    def flush(self, *, everything: bool = False) -> None:
        """Write one ``log.folded`` for each kind whose window is over; ``everything`` at the end of the process."""
        logger = structlog.get_logger()
        for kind, count in self._folding.take(everything=everything):
            level, _space, name = kind.partition(" ")
            logger.log(getattr(logging, level.upper(), logging.INFO), FOLDED, kind=name, folded=count)
        self._output.tell(at_the_end=everything)

    async def keep_flushing(self) -> None:
        """Flush what is due until cancelled. Sleeps without a timer while nothing is folded and nothing withheld."""
        await self._tending.run(self._due_s, self.flush)

    def close(self) -> None:
        """Write every count, and let go of journald; for the end of the process."""
        self.flush(everything=True)
        self._output.close()

    def change(self, config: LoggingConfig) -> None:
        """Take level and budget of another configuration from now on. The format stays: it needs a restart."""
        _set_level(config.level)
        self._output.change_budget(config.bytes_per_hour)

    def status(self) -> dict[str, int]:
        """What became of the events of this process, for status and metrics."""
        return {**self._output.status(), "folded": self._folding.folded}

    def _due_s(self) -> float | None:
        due = [seconds for seconds in (self._folding.due_s(), self._output.due_s()) if seconds is not None]
        return min(due, default=None)


def configure_logging(
    config: LoggingConfig,
    stream: TextIO | None = None,
    *,
    identifier: str = IDENTIFIER,
    journal_socket: Path = JOURNAL_SOCKET,
    monotonic_s: Callable[[], float] = time.monotonic,
) -> Logging:
    """Set up structlog and ``logging`` for the process.

    Args:
        config: section [logging].
        stream: where lines go; standard error unless given.
        identifier: SYSLOG_IDENTIFIER in the journal.
        journal_socket: journald's socket.
        monotonic_s: what folding and budget go by.
    """
    out = sys.stderr if stream is None else stream
    sink = LineSink(out)
    json_lines = LineRoute(structlog.processors.JSONRenderer(), sink)
    routes: list[Route] = [json_lines]
    chosen = _format(config.format, out)
    if chosen == "journald":
        routes.insert(0, JournaldRoute(journal_socket, identifier))
    elif chosen == "pretty":
        render = structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
        routes = [LineRoute(render, sink)]
    tending = Tending()
    output = Output(routes, ByteBudget(config.bytes_per_hour, monotonic_s()), monotonic_s, tending.wake)
    folding = Folding(EventFolder(), monotonic_s, tending.wake)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            folding,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            sanitise_values,
            lambda _logger, _method, event: ((event,), {}),
        ],
        logger_factory=lambda *_names: output,
        cache_logger_on_first_use=False,
    )
    logging.getLogger().handlers[:] = [LibraryHandler()]
    _set_level(config.level)
    return Logging(folding, output, tending)


def _format(wanted: str, out: TextIO) -> str:
    """What ``auto`` means here: journald when it reads our standard error, pretty for a person, else JSON."""
    if wanted != "auto":
        return wanted
    if out.isatty():
        return "pretty"
    try:
        descriptor = out.fileno()
    except (OSError, ValueError):
        return "json"
    return "journald" if is_journal_stream(descriptor, os.environ.get("JOURNAL_STREAM", "")) else "json"


def _set_level(name: str) -> None:
    level = getattr(logging, name.upper())
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
    logging.getLogger().setLevel(max(level, logging.WARNING))
