"""Asks systemd, the page, and looks at the configuration's file."""

from __future__ import annotations

import asyncio
import contextlib
import re
import stat
from pathlib import Path
from typing import Final

from gateway.doctor.case import Case, page_port
from gateway.doctor.command import output_of
from gateway.doctor.finding import Finding
from gateway.doctor.readings import text_in
from gateway.doctor.redact import has_secret
from gateway.doctor.runner import aside
from gateway.doctor.unit import (
    ConfigFacts,
    PageFacts,
    UnitFacts,
    judge_config,
    judge_gateway,
    judge_page,
    judge_unit,
)

PROPERTIES: Final = (
    *("LoadState", "ActiveState", "SubState", "Result", "NRestarts", "UnitFileState", "WatchdogUSec", "DropInPaths"),
    *("FragmentPath", "NeedDaemonReload", "ActiveEnterTimestamp", "MemoryCurrent", "MainPID", "ExecMainStatus"),
)
_ANSWER_S: Final = 3.0
_MAX_HEAD: Final = 4096
_LISTEN: Final = "0A"
_LOOPBACK: Final = re.compile(r"0100007F|00000000000000000000000001000000|[0-9A-F]{6}7F")


async def ask_unit(case: Case) -> list[Finding]:
    """What systemd says of the unit."""
    facts = UnitFacts(booted=False, shown={})
    if (case.root / "run/systemd/system").is_dir():
        facts = UnitFacts(booted=True, shown=await shown(case.unit))
        if facts.shown.get("LoadState") == "loaded":
            facts = facts._replace(exposure=await _exposure(case.unit))
    return judge_unit(facts, case.unit, str(case.config_path))


async def shown(unit: str) -> dict[str, str]:
    """``systemctl show``, as names and values; empty when it cannot be asked."""
    said = await output_of(["systemctl", "show", "--no-pager", f"--property={','.join(PROPERTIES)}", "--", unit])
    if said is None or said.code:
        return {}
    return dict(line.split("=", 1) for line in said.text.splitlines() if "=" in line)


async def _exposure(unit: str) -> float | None:
    """The overall exposure level of ``systemd-analyze security``."""
    said = await output_of(["systemd-analyze", "security", "--no-pager", "--", unit])
    return None if said is None else exposure_in(said.text)


def exposure_in(said: str) -> float | None:
    """The last line of ``systemd-analyze security``: → Overall exposure level for NAME: 1.6 OK."""
    found = re.search(r"exposure level for [^:]+: (\d+(?:\.\d+)?)", said)
    return float(found[1]) if found else None


async def ask_gateway(case: Case) -> list[Finding]:
    """What the running gateway said before the checks began."""
    return judge_gateway(case.status, case.silence)


async def ask_page(case: Case) -> list[Finding]:
    """Who listens on the page's port, and what it answers."""
    http, running = case.sound.http, case.status is not None
    told = (case.status or {}).get("http") or {}
    down = str(told.get("detail")) if told.get("state") == "down" else ""
    facts = PageFacts(listening=False, status=None, running=running, down=down)
    port = page_port(case)
    if http.enabled and port:
        listening, wide = bound(text_in(case.root / "proc/net/tcp") + text_in(case.root / "proc/net/tcp6"), port)
        status = await _status(http.host, port) if listening else None
        facts = facts._replace(listening=listening, status=status, bound_open=listening and wide and not down)
    return judge_page(case.sound, facts)


def bound(table: str, port: int) -> tuple[bool, bool]:
    """Whether a TCP socket listens on ``port``, and one of them beyond loopback (/proc/net/tcp)."""
    listening = wide = False
    for line in table.splitlines():
        words = line.split()
        if len(words) > 3 and words[3] == _LISTEN and words[1].endswith(f":{port:04X}"):  # noqa: PLR2004 -- its columns
            listening = True
            wide = wide or not _LOOPBACK.fullmatch(words[1].partition(":")[0])
    return listening, wide


async def _status(host: str, port: int) -> int | None:
    """The status of GET /healthz; None when no HTTP comes back."""
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- compared, not bound
    try:
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await asyncio.open_connection(address, port, limit=_MAX_HEAD)
            try:
                name = f"[{address}]" if ":" in address else address
                writer.write(f"GET /healthz HTTP/1.1\r\nHost: {name}:{port}\r\nConnection: close\r\n\r\n".encode())
                await writer.drain()
                head = await reader.readline()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError, ValueError):
        return None
    found = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    return int(found[1]) if found else 0


async def ask_config(case: Case) -> list[Finding]:
    """The configuration's file."""
    facts = await aside(_config_facts, case.config_path, tuple(case.config_faults))
    return judge_config(facts, str(case.config_path))


def _config_facts(path: Path, faults: tuple[str, ...]) -> ConfigFacts:
    try:
        mode = path.stat().st_mode
    except OSError:
        return ConfigFacts(faults)
    return ConfigFacts(
        faults,
        writable_by_others=bool(mode & stat.S_IWOTH),
        readable_by_others=bool(mode & stat.S_IROTH),
        has_key_in_url=has_secret(text_in(path)),
    )
