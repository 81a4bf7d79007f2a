"""journald's native protocol: one datagram an event, one field a value, large events by a sealed file in memory.

The encoding is pure. The socket never waits and never raises: an event that journald does not take at once goes
elsewhere, and that is the caller's to decide. The protocol: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import socket
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

JOURNAL_SOCKET: Final = Path("/run/systemd/journal/socket")
IDENTIFIER: Final = "securenet"
PREFIX: Final = "SECURENET_"
PRIORITIES: Final[Mapping[str, int]] = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
MESSAGE_IDS: Final = uuid.UUID("6f4d6f0e-5d0c-5b0e-9a53-2f7b3f9a4f55")
"""The namespace of our MESSAGE_IDs: ``uuid5`` of it and the event's name. It never changes."""

_NAME_CHARACTERS: Final = 64
_FIRST: Final = ("device", "session", "seq", "reason", "transport", "peer")
_ELSEWHERE: Final = frozenset({"event", "level", "timestamp"})
_TOO_LARGE: Final = frozenset({errno.EMSGSIZE, errno.ENOBUFS})
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def message_id(event: str) -> str:
    """The MESSAGE_ID of an event: the same in every version, for ``journalctl MESSAGE_ID=…``."""
    return uuid.uuid5(MESSAGE_IDS, event).hex


def message_of(event: Mapping[str, Any]) -> str:
    """One readable line: the event, who and why, the other facts, and last the detail."""
    names = [name for name in _FIRST if name in event]
    names += [name for name in event if name not in _FIRST and name not in {*_ELSEWHERE, "detail", "exception"}]
    words = [str(event.get("event", ""))]
    words += [f"{name}={_quoted(event[name])}" for name in names if event[name] is not None]
    if event.get("detail"):
        words.append(f"({event['detail']})")
    return " ".join(words)


def field_name(name: str) -> str:
    """The journal's name of one of our fields: SECURENET_ and upper case, as journald accepts it."""
    return (PREFIX + re.sub(r"[^A-Z0-9_]", "_", name.upper()))[:_NAME_CHARACTERS]


def journal_fields(event: Mapping[str, Any], identifier: str = IDENTIFIER) -> list[tuple[str, str]]:
    """What an event is in the journal. The time is journald's own."""
    name, level = str(event.get("event", "")), str(event.get("level", "info"))
    fields = [
        ("MESSAGE", message_of(event)),
        ("MESSAGE_ID", message_id(name)),
        ("PRIORITY", str(PRIORITIES.get(level, 6))),
        ("SYSLOG_IDENTIFIER", identifier),
        (field_name("event"), name),
    ]
    fields += [
        (field_name(key), _text(value)) for key, value in event.items() if key not in _ELSEWHERE and value is not None
    ]
    return fields


def encode_fields(fields: Iterable[tuple[str, str]]) -> bytes:
    """The datagram: ``NAME=value`` a line, and a length before every value that has line ends in it."""
    parts: list[bytes] = []
    for name, text in fields:
        value = text.encode("utf-8", "backslashreplace")
        if b"\n" in value:
            parts.append(b"%b\n%b%b\n" % (name.encode(), len(value).to_bytes(8, "little"), value))
        else:
            parts.append(b"%b=%b\n" % (name.encode(), value))
    return b"".join(parts)


def is_journal_stream(descriptor: int, journal_stream: str) -> bool:
    """Whether systemd connected ``descriptor`` to the journal: ``$JOURNAL_STREAM`` is its device and inode."""
    device, _colon, inode = journal_stream.partition(":")
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


class JournaldSocket:
    """The way to journald. ``send`` says whether it took the event; it never waits, and connects again by itself."""

    def __init__(self, path: Path = JOURNAL_SOCKET) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def send(self, datagram: bytes) -> bool:
        """Hand one event to journald: False when it is away, or has no room."""
        for _attempt in range(2):  # the second: journald was started anew, and our socket leads nowhere
            try:
                self._hand_over(self._connected(), datagram)
            except BlockingIOError:
                return False
            except OSError:
                self.close()
            else:
                return True
        return False

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        if self._socket is None:
            opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            opened.settimeout(0)
            try:
                opened.connect(str(self._path))
            except OSError:
                opened.close()
                raise
            self._socket = opened
        return self._socket

    @staticmethod
    def _hand_over(connected: socket.socket, datagram: bytes) -> None:
        try:
            connected.send(datagram)
        except OSError as error:
            if error.errno not in _TOO_LARGE:
                raise
            file = os.memfd_create("securenet-event", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            with contextlib.closing(os.fdopen(file, "wb", buffering=0)) as memory:
                memory.write(datagram)
                fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
                socket.send_fds(connected, [b""], [memory.fileno()])


def _quoted(value: object) -> str:
    text = _text(value)
    return f'"{text}"' if " " in text or not text else text


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
