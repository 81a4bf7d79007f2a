"""What systemd is told of the gateway: sd_notify(3), over the socket that systemd names; nothing where it names none.

Telling never waits and never raises: a manager that does not listen must not stop a gateway that works.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Final, Self

import structlog

from gateway.ops.logging import sanitise

log = structlog.get_logger("systemd")

MAX_MESSAGE_BYTES: Final = 4096
"""systemd reads no more of one message."""

_MAX_ADDRESS_BYTES: Final = 107
_STATUS_CHARACTERS: Final = 400


class Notify:
    """Tells systemd how the service is. ``address`` is a path, or ``@name`` for an abstract socket; empty: nobody.

    ``ready_told`` says whether systemd took READY=1. Once the stop is told, only signs of life follow: the words of
    what is taken down on purpose, or a reload that ends meanwhile, would speak over it.
    """

    def __init__(self, address: str = "") -> None:
        self._address = _address(address)
        self._failing = False
        self.ready_told = False
        self._stops = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """For the socket that ``$NOTIFY_SOCKET`` names."""
        return cls(environ.get("NOTIFY_SOCKET", ""))

    @property
    def wanted(self) -> bool:
        """Whether anybody listens."""
        return self._address is not None

    def ready(self, words: str) -> bool:
        """The service is up: only now may what is ordered after it start. Said once; repeats change the words."""
        taken = not self._stops and self.send("READY=1", status(words))
        self.ready_told = self.ready_told or taken
        return taken

    def status(self, words: str) -> bool:
        """How it is, in a sentence: ``systemctl status`` shows it."""
        return not self._stops and self.send(status(words))

    def alive(self, extend_start_s: float | None = None) -> bool:
        """Every part has answered. While the start takes its time, systemd is asked to wait so much longer."""
        extra = [] if extend_start_s is None or self._stops else [extended(extend_start_s)]
        return self.send("WATCHDOG=1", *extra)

    def starting(self, words: str, within_s: float) -> bool:
        """The start goes on, and needs up to so long from now."""
        return self.send(status(words), extended(within_s))

    def reloading(self, monotonic_us: int) -> bool:
        """A reload begins. Nothing is said before READY=1: the READY=1 that ends it would be a lie."""
        return self.ready_told and not self._stops and self.send("RELOADING=1", f"MONOTONIC_USEC={monotonic_us}")

    def reloaded(self, words: str) -> bool:
        """The reload is over, whatever came of it."""
        return self.ready_told and self.ready(words)

    def stopping(self, within_s: float) -> bool:
        """The stop begins, and ends within so long: what was promised is kept first."""
        self._stops = True
        return self.send("STOPPING=1", status("keeps its promises, and stops"), extended(within_s))

    def send(self, *fields: str) -> bool:
        """Send one message of ``NAME=value`` fields; say whether systemd has it. A failure is logged once."""
        if self._address is None:
            return False
        data = packed(fields)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as out:
                out.sendto(data, self._address)
        except OSError as error:
            if not self._failing:
                log.warning("systemd.not_told", detail=error.strerror or str(error))
            self._failing = True
            return False
        self._failing = False
        return True


def status(words: str) -> str:
    """The field that ``systemctl status`` shows; one line, whatever the words hold."""
    return f"STATUS={sanitise(words, _STATUS_CHARACTERS)}"


def extended(by_s: float) -> str:
    """The field that asks for so much more time to start or stop."""
    return f"EXTEND_TIMEOUT_USEC={int(by_s * 1_000_000)}"


def packed(fields: tuple[str, ...]) -> bytes:
    """One message of fields.

    Raises:
        ValueError: a field has no name or a line break, or they are too long together: a fault of the caller.
    """
    for field in fields:
        name, equals, _value = field.partition("=")
        if not equals or not name or "\n" in field or "\0" in field:
            raise ValueError("a field is NAME=value on one line")
    data = "\n".join(fields).encode("utf-8", "backslashreplace")
    if not data or len(data) > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message has 1 to {MAX_MESSAGE_BYTES} bytes")
    return data


def watchdog_s(environ: Mapping[str, str], pid: int) -> float | None:
    """How long systemd waits for a sign of life (sd_watchdog_enabled(3)), None when it waits for none of ``pid``."""
    microseconds, whose = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not (microseconds.isascii() and microseconds.isdecimal()) or len(microseconds) > 18 or int(microseconds) == 0:  # noqa: PLR2004 -- what fits in 64 bits
        return None
    return int(microseconds) / 1_000_000 if whose in {"", str(pid)} else None


def _address(text: str) -> str | bytes | None:
    data = os.fsencode(text)
    if not data or len(data) > _MAX_ADDRESS_BYTES or b"\0" in data:
        return None
    if data.startswith(b"@") and len(data) > 1:
        return b"\0" + data[1:]
    return text if data.startswith(b"/") else None
