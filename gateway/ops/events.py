"""Reading events back: from JSON lines or from what ``journalctl -o json`` says. Pure, and cheap to import.

``read_events`` is the one reader: ``securenet logs``, the doctor and the support bundle go through it. What cannot be
read is counted and never fatal, for a log is read when something went wrong.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

MAX_LINE_BYTES: Final = 256 << 10
MAX_FIELDS: Final = 256
LEVELS: Final = ("debug", "info", "warning", "error", "critical")
TEXT: Final = "(text)"
"""The event of a line in the journal that is no event: a traceback's, or systemd's own words about the unit."""

_PREFIX: Final = "SECURENET_"
_BY_PRIORITY: Final = ("critical", "critical", "critical", "error", "warning", "info", "info", "debug")
_NOT_FACTS: Final = frozenset({"event", "level", "timestamp"})
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_AGO: Final = re.compile(r"(\d{1,7})([smhdw])")

Value = str | int | float | bool | None


class LoggedEvent(NamedTuple):
    """One event as it was written. ``facts`` are its other values; those from the journal are all text."""

    time_ms: int
    level: str
    event: str
    facts: Mapping[str, Value]
    cursor: str = ""

    def as_dict(self) -> dict[str, Value]:
        """The event as one JSON object."""
        return {"timestamp": _iso(self.time_ms), "level": self.level, "event": self.event, **self.facts}


class Reading(NamedTuple):
    """What ``read_events`` found, the oldest first; ``cursor`` is the journal's newest place that was read."""

    events: list[LoggedEvent]
    bad_lines: int
    cursor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which events are wanted. ``event`` may have ``*`` in it; ``level`` means at least this one."""

    device: str | None = None
    reason: str | None = None
    event: str | None = None
    level: str = "debug"
    since_ms: int | None = None
    until_ms: int | None = None

    def wants(self, event: LoggedEvent) -> bool:
        """Whether the event passes."""
        return (
            LEVELS.index(event.level) >= LEVELS.index(self.level)
            and (self.since_ms is None or event.time_ms >= self.since_ms)
            and (self.until_ms is None or event.time_ms <= self.until_ms)
            and (self.device is None or event.facts.get("device") == self.device)
            and (self.reason is None or event.facts.get("reason") == self.reason)
            and (self.event is None or fnmatchcase(event.event, self.event))
        )


def read_events(
    source: Iterable[bytes], filters: Filters | None = None, limit: int = 100, *, newest_first: bool = False
) -> Reading:
    """Read the newest ``limit`` events that pass.

    Args:
        source: lines, as ``gateway.ops.event_sources`` gives them.
        filters: which are wanted; all without.
        limit: how many are kept.
        newest_first: the source begins with the newest, and is read no further than needed.
    """
    wanted = Filters() if filters is None else filters
    kept: deque[LoggedEvent] = deque(maxlen=limit)
    bad_lines, cursor = 0, ""
    for line in source:
        event = parse_line(line)
        if event is None:
            bad_lines += 1
            continue
        cursor = cursor if newest_first and cursor else event.cursor
        if not wanted.wants(event):
            continue
        if newest_first:
            kept.appendleft(event)
            if len(kept) == limit:
                break
        else:
            kept.append(event)
    return Reading(list(kept), bad_lines, cursor)


def parse_line(line: bytes) -> LoggedEvent | None:
    """One line of a file or of ``journalctl -o json``; None when it is neither."""
    found = _json_object(line)
    if found is None:
        return None
    return _from_journal(found) if "__REALTIME_TIMESTAMP" in found else _from_json(found)


def parse_moment(text: str, now: datetime) -> int | None:
    """A moment in milliseconds: ``10m``, ``2h``, ``3d`` ago, or ISO 8601 (local without an offset)."""
    if (ago := _AGO.fullmatch(text)) is not None:
        return int(now.timestamp() * 1000) - int(ago[1]) * _SECONDS[ago[2]] * 1000
    return _moment_ms(text)


def _json_object(line: bytes | str) -> dict[str, Any] | None:
    if len(line) > MAX_LINE_BYTES:
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and len(found) <= MAX_FIELDS else None


def _from_json(found: Mapping[str, Any]) -> LoggedEvent | None:
    event, level, stamp = found.get("event"), found.get("level"), found.get("timestamp")
    if not isinstance(event, str) or level not in LEVELS or not isinstance(stamp, str):
        return None
    time_ms = _moment_ms(stamp)
    facts = {name: _value(value) for name, value in found.items() if name not in _NOT_FACTS}
    return None if time_ms is None else LoggedEvent(time_ms, str(level), event, facts)


def _from_journal(found: Mapping[str, Any]) -> LoggedEvent | None:
    """A record of the journal: with our fields, with one of our JSON lines as its message, or plain text."""
    try:
        time_ms = int(_text(found.get("_SOURCE_REALTIME_TIMESTAMP") or found["__REALTIME_TIMESTAMP"])) // 1000
        level = _BY_PRIORITY[int(_text(found.get("PRIORITY", "6"))) & 7]
    except ValueError:
        return None
    cursor, message = _text(found.get("__CURSOR", "")), _text(found.get("MESSAGE", ""))
    event = _text(found.get(f"{_PREFIX}EVENT", ""))
    if event:
        ours = {name: _text(value) for name, value in found.items() if name.startswith(_PREFIX)}
        facts: dict[str, Value] = {name.removeprefix(_PREFIX).lower(): value for name, value in ours.items()}
        del facts["event"]
        return LoggedEvent(time_ms, level, event, facts, cursor)
    inner = _json_object(message) if message.startswith("{") else None
    told = None if inner is None else _from_json(inner)
    if told is not None:
        return told._replace(cursor=cursor)
    return LoggedEvent(time_ms, level, TEXT, {"detail": message}, cursor)


def _text(value: object) -> str:
    """A journal's value: text, a list of bytes where it is not UTF-8, or several of them."""
    if isinstance(value, list):
        if value and all(isinstance(byte, int) and 0 <= byte < 256 for byte in value):  # noqa: PLR2004 -- a byte
            return bytes(value).decode("utf-8", "backslashreplace")
        return ", ".join(map(_text, value))
    return value if isinstance(value, str) else ""


def _value(value: object) -> Value:
    return value if value is None or isinstance(value, (str, int, float)) else json.dumps(value)


def _moment_ms(text: str) -> int | None:
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        return None


def _iso(time_ms: int) -> str:
    try:
        moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return str(time_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
