"""Asks the kernel, the RTC and the journal for the time (adjtimex(2), rtc(4))."""

from __future__ import annotations

from pathlib import Path

import gateway
from gateway.doctor import clock
from gateway.doctor.case import Case
from gateway.doctor.finding import Finding
from gateway.doctor.readings import number_in, text_in
from gateway.doctor.runner import aside
from gateway.journal import JournalError, open_reader
from gateway.ops.clock_kernel import find_keeper, read_kernel
from gateway.tlog.entry import EntryError, parse_entry


async def ask_clock(case: Case) -> list[Finding]:
    """The kernel, the RTC, who keeps the time, and what is past for certain."""
    return clock.judge(case.config, await aside(_facts, case))


def _facts(case: Case) -> clock.Facts:
    kernel = read_kernel(case.root / "run")
    rtc = case.root / "sys/class/rtc/rtc0"
    seconds = number_in(rtc / "since_epoch")
    return clock.Facts(
        now_ms=case.now_ms,
        synchronised=kernel.synchronised,
        error_s=None if kernel.max_error_ms is None else kernel.max_error_ms / 1000,
        source=find_keeper(case.root / "run"),
        past=tuple(_past(case)),
        rtc_ms=None if seconds is None else seconds * 1000,
        has_rtc=rtc.exists(),
        virtual="hypervisor" in text_in(case.root / "proc/cpuinfo") or (case.root / "run/.containerenv").exists(),
    )


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
