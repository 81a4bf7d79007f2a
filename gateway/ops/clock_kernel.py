"""What the kernel says of the wall clock (adjtimex(2)), and its word when somebody sets it (timerfd_create(2)).

No library: two calls by ctypes. Where the kernel may not be asked (a unit with ProtectClock, another libc), what
systemd-timesyncd left in /run is asked instead, and a clock that is set is noticed with the next message.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

_STA_UNSYNC: Final = 0x0040
_STA_NANO: Final = 0x2000
_TIMEX_BYTES: Final = 512  # the kernel's structure has 208
_CLOCK_REALTIME: Final = 0
_TFD_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC
_TFD_ABSTIME_CANCEL_ON_SET: Final = 3
_FAR_S: Final = (1 << 31) - 1 if ctypes.sizeof(ctypes.c_long) == ctypes.sizeof(ctypes.c_int32) else 1 << 34

_TIMESYNC_DONE: Final = "systemd/timesync/synchronized"
_KEEPERS: Final = (
    ("systemd/timesync", "systemd-timesyncd"),
    ("chrony", "chronyd"),
    ("chronyd.pid", "chronyd"),
    ("ntpd.pid", "ntpd"),
    ("ntpd.sock", "ntpd"),
    ("ntpsec", "ntpd"),
)


class KernelWord(NamedTuple):
    """``synchronised`` is None when the kernel could not be asked; the times then, too."""

    synchronised: bool | None
    offset_ms: float | None = None
    max_error_ms: float | None = None


class _Timex(ctypes.Structure):
    """The beginning of ``struct timex``."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * _TIMEX_BYTES),
    )


def read_kernel(run: Path = Path("/run")) -> KernelWord:
    """Ask the kernel whether the clock is synchronised. Reads only; needs no privilege."""
    state = _Timex()
    try:
        asked = ctypes.CDLL(None).adjtimex(ctypes.byref(state))
    except (OSError, AttributeError):
        asked = -1
    if asked < 0:
        return KernelWord(True if (run / _TIMESYNC_DONE).exists() else None)
    offset_ms = state.offset / (1e6 if state.status & _STA_NANO else 1e3)
    return KernelWord(not state.status & _STA_UNSYNC, offset_ms, state.maxerror / 1e3)


def find_keeper(run: Path = Path("/run")) -> str:
    """Return the name of the service that keeps this machine's clock; empty for none that is known."""
    for mark, name in _KEEPERS:
        if (run / mark).exists():
            return name
    return ""


class SetNotice:
    """Calls ``on_set`` on the event loop whenever the wall clock is set. ``start`` is False where it cannot."""

    def __init__(self, on_set: Callable[[], None]) -> None:
        self._on_set = on_set
        self._fd = -1

    def start(self) -> bool:
        """Ask the kernel for its word; False when it gives none."""
        try:
            self._fd = ctypes.CDLL(None).timerfd_create(_CLOCK_REALTIME, _TFD_FLAGS)
        except (OSError, AttributeError):
            return False
        if self._fd < 0:
            return False
        if not self._arm():
            self.close()
            return False
        asyncio.get_running_loop().add_reader(self._fd, self._readable)
        return True

    def close(self) -> None:
        """Listen no more. May be called twice."""
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _arm(self) -> bool:
        never = (ctypes.c_long * 4)(0, 0, _FAR_S, 0)
        return bool(ctypes.CDLL(None).timerfd_settime(self._fd, _TFD_ABSTIME_CANCEL_ON_SET, never, None) == 0)

    def _readable(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        except OSError as error:
            was_set = error.errno == errno.ECANCELED
        else:
            was_set = False  # it expired: the clock is past the far end, and would be for ever
        if not (was_set and self._arm()):
            with contextlib.suppress(OSError):
                self.close()
        self._on_set()
