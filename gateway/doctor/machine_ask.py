"""Reads the kernel's figures, and loads each compiled module in a process of its own, where it may crash."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import resource
import struct
import sys
from pathlib import Path

from gateway.doctor.case import Case
from gateway.doctor.command import output_of
from gateway.doctor.finding import Finding
from gateway.doctor.machine import (
    OPTIONAL,
    REQUIRED,
    Import,
    MachineFacts,
    PythonFacts,
    judge_machine,
    judge_python,
)
from gateway.doctor.readings import kilobytes_in, number_in, text_in
from gateway.doctor.runner import aside

_IMPORT_S = 20.0


async def ask_machine(case: Case) -> list[Finding]:
    """Limits, memory, random numbers."""
    return judge_machine(case.config, await aside(machine_facts, case.root, case.pid))


async def ask_python(_: Case) -> list[Finding]:
    """The interpreter and its modules."""
    imports = [await _load(module) for module in (*REQUIRED, *OPTIONAL)]
    version = (sys.version_info.major, sys.version_info.minor, sys.version_info.micro)
    return judge_python(PythonFacts(version, platform.machine(), 8 * struct.calcsize("P"), tuple(imports)))


def machine_facts(root: Path, pid: int | None) -> MachineFacts:
    """What /proc says, of the gateway's process where it is known."""
    memory, process = text_in(root / "proc/meminfo"), "" if pid is None else f"proc/{pid}"
    oom = re.search(r"^oom_kill (\d+)$", text_in(root / "proc/vmstat"), re.MULTILINE)
    return MachineFacts(
        files=_files(text_in(root / process / "limits")) if process else None,
        rmem_max=number_in(root / "proc/sys/net/core/rmem_max"),
        udp_lost=udp_lost(text_in(root / "proc/net/snmp")),
        somaxconn=number_in(root / "proc/sys/net/core/somaxconn"),
        available_bytes=kilobytes_in(memory, "MemAvailable"),
        total_bytes=kilobytes_in(memory, "MemTotal"),
        swap_bytes=kilobytes_in(memory, "SwapTotal") or 0,
        gateway_bytes=kilobytes_in(text_in(root / process / "status"), "VmRSS") if process else None,
        oom_kills=int(oom[1]) if oom else 0,
        random_ready=random_is_ready(),
    )


def udp_lost(snmp: str) -> int:
    """RcvbufErrors of /proc/net/snmp: two lines, names and figures."""
    lines = [line.split() for line in snmp.splitlines() if line.startswith("Udp:")]
    if len(lines) != 2 or "RcvbufErrors" not in lines[0]:  # noqa: PLR2004 -- names and figures
        return 0
    figures = dict(zip(*lines, strict=False))
    return int(figures["RcvbufErrors"]) if figures.get("RcvbufErrors", "").isdigit() else 0


def random_is_ready() -> bool:
    """Whether the kernel gives random numbers without a wait (getrandom(2))."""
    try:
        return len(os.getrandom(16, os.GRND_NONBLOCK)) == 16  # noqa: PLR2004 -- as many as were asked for
    except BlockingIOError:
        return False
    except OSError:
        return True  # an old kernel or a filter: it has no such call, and nothing is known


def _files(limits: str) -> int:
    found = re.search(r"^Max open files +(\d+)", limits, re.MULTILINE)
    return int(found[1]) if found else resource.getrlimit(resource.RLIMIT_NOFILE)[0]


async def _load(module: str) -> Import:
    try:
        there = importlib.util.find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):
        there = False
    if not there:
        return Import(module, None)
    said = await output_of([sys.executable, "-I", "-c", f"import {module}"], _IMPORT_S)
    if said is None:
        return Import(module, 0)  # too slow to say
    lines = said.text.strip().splitlines()
    return Import(module, said.code, lines[-1][:200] if lines else "")
