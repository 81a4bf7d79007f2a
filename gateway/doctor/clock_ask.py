"""Asks the kernel, the RTC and the journal for the time (adjtimex(2), rtc(4))."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Final

import gateway
from gateway.doctor import clock
from gateway.doctor.case import Case
from gateway.doctor.finding import Finding
from gateway.doctor.readings import number_in, text_in
from gateway.doctor.runner import aside
from gateway.journal import JournalError, open_reader
from gateway.tlog.entry import EntryError, parse_entry

_STA_UNSYNC: Final = 0x40
_TIME_ERROR: Final = 5
_MAX_PROCESSES: Final = 8192


class _Timex(ctypes.Structure):
    """``struct timex`` of <sys/timex.h>, as far as it is read; the rest is room for the kernel to write."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def kernel_clock() -> tuple[bool, float] | None:
    """Whether the kernel calls the clock synchronised, and its estimate of the error in seconds; None: it is mute."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        timex = _Timex()
        state = libc.adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):
        return None
    if state < 0:
        return None
    return state != _TIME_ERROR and not timex.status & _STA_UNSYNC, timex.esterror / 1e6


async def ask_clock(case: Case) -> list[Finding]:
    """The kernel, the RTC, who keeps the time, and what is past for certain."""
    return clock.judge(case.config, await aside(_facts, case))


def _facts(case: Case) -> clock.Facts:
    kernel = kernel_clock()
    rtc = case.root / "sys/class/rtc/rtc0"
    seconds = number_in(rtc / "since_epoch")
    return clock.Facts(
        now_ms=case.now_ms,
        synchronised=None if kernel is None else kernel[0],
        error_s=None if kernel is None else kernel[1],
        source=_source(case.root),
        past=tuple(_past(case)),
        rtc_ms=None if seconds is None else seconds * 1000,
        has_rtc=rtc.exists(),
        virtual="hypervisor" in text_in(case.root / "proc/cpuinfo") or (case.root / "run/.containerenv").exists(),
    )


def _source(root: Path) -> str:
    """Which process keeps the clock, by its name."""
    for number, folder in enumerate((root / "proc").glob("[0-9]*")):
        if number >= _MAX_PROCESSES:
            break
        name = clock.SOURCES.get(text_in(folder / "comm", 64).strip())
        if name:
            return name
    return ""


def _past(case: Case) -> list[tuple[str, int]]:
    """This version's files, and what the journal wrote last."""
    past = []
    try:
        built = Path(gateway.__file__).stat().st_mtime_ns // 1_000_000
        past.append(("this version was installed or built", built))
    except OSError:
        pass
    if case.config is None:
        return past
    try:
        with open_reader(case.config.gateway.data_dir) as reader:
            size = reader.size()
            rows = list(reader.entries(max(0, size - 1), size))
            if rows:
                past.append(("the newest entry of the log", parse_entry(rows[0].entry).time_ms))
            checkpoint = reader.latest_checkpoint()
            if checkpoint is not None:
                past.append(("the newest checkpoint", checkpoint.time_ms))
            cursor = reader.identity_cursor()
            if cursor is not None:
                past.append(("the chain was last seen", cursor.as_of_ms))
    except (OSError, JournalError, EntryError):
        pass  # the check of the journal says so
    return past
