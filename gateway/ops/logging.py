"""What the technician reads: one event a line, on standard error, as JSON for journald or in colour for a terminal.

Events have stable names (``mqtt.connected``); everything else is a named value. Before anything is written, values
are made harmless: control characters and bidirectional marks are escaped, long text is cut, whatever is named like a
secret is withheld, and a storm of like events is folded into a count. Nothing here is configured at import.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import MutableMapping
from typing import Any, Final, TextIO

import structlog

from gateway.config.model import LoggingConfig
from gateway.ops.folding import EventFolder

MAX_VALUE_CHARACTERS: Final = 256
MAX_TRACEBACK_CHARACTERS: Final = 16384
_SECRET_NAMES: Final = ("password", "passphrase", "secret", "seed", "token", "private", "credential")
_FOLDED_EVENT: Final = "log.folded"

Event = MutableMapping[str, Any]


def sanitise(text: str, limit: int = MAX_VALUE_CHARACTERS, *, keep: str = "") -> str:
    """Make text from anywhere fit for a log: whatever is not printable is escaped, the backslash too, and cut.

    Args:
        text: anything, also lone surrogates.
        limit: characters that are kept; the rest becomes "… (+N)".
        keep: characters that stay as they are although they are not printable.
    """
    rest = len(text) - limit
    shown = text[:limit] if rest > 0 else text
    if not shown.isprintable() or "\\" in shown:
        shown = "".join(
            character
            if (character.isprintable() and character != "\\") or character in keep
            else character.encode("unicode_escape").decode("ascii")
            for character in shown
        )
    return f"{shown}… (+{rest})" if rest > 0 else shown


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
    """Processor: storms of like events (same level, logger and name) become one event with a ``folded`` count."""

    def __init__(self, folder: EventFolder) -> None:
        self.folder = folder

    def __call__(self, _logger: object, _method: str, event: Event) -> Event:
        """Pass the event on, or drop it."""
        if event.get("event") == _FOLDED_EVENT:
            return event
        kind = f"{event.get('level', '')} {event.get('event', '')}"
        if event.get("event") == "library":
            kind += f" {event.get('library', '')}"
        folded = self.folder.admit(kind, time.monotonic())
        if folded is None:
            raise structlog.DropEvent
        if folded:
            event["folded"] = folded
        return event


class LibraryHandler(logging.Handler):
    """Brings what libraries say through ``logging`` onto the same line format, as event ``library``."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):
            message = str(record.msg)
        logger = structlog.get_logger()
        logger.log(min(record.levelno, logging.ERROR), "library", library=record.name, message=message)


class Logging:
    """What ``configure_logging`` set up. ``flush`` writes the counts of storms that are over."""

    def __init__(self, folder: EventFolder) -> None:
        self._folder = folder

    def flush(self, *, everything: bool = False) -> None:
        """Write one ``log.folded`` for each kind whose window is over; ``everything`` at the end of the process."""
        logger = structlog.get_logger()
        for kind, count in self._folder.flush(time.monotonic(), everything=everything):
            level, _space, name = kind.partition(" ")
            logger.log(getattr(logging, level.upper(), logging.INFO), _FOLDED_EVENT, kind=name, folded=count)


def configure_logging(config: LoggingConfig, stream: TextIO | None = None) -> Logging:
    """Set up structlog and ``logging`` for the process; ``stream`` is standard error unless given."""
    out = sys.stderr if stream is None else stream
    level = getattr(logging, config.level.upper())
    pretty = config.format == "pretty" or (config.format == "auto" and out.isatty())
    folder = EventFolder()
    render: Any
    if pretty:
        render = structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
    else:
        render = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            Folding(folder),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            sanitise_values,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [LibraryHandler()]
    root.setLevel(max(level, logging.WARNING))
    return Logging(folder)
