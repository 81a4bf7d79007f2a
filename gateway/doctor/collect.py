"""Gathers what goes into a support bundle. Keys, payloads and what is in quarantine are never read for it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import ipaddress
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from gateway import __version__
from gateway.config.example import effective_toml
from gateway.doctor.bundle import Piece
from gateway.doctor.case import Case, page_port
from gateway.doctor.command import output_of
from gateway.doctor.finding import Finding
from gateway.doctor.readings import text_in
from gateway.doctor.redact import Pseudonyms, redacted, scrubbed
from gateway.doctor.runner import aside
from gateway.doctor.unit_ask import shown
from gateway.journal import JournalError, Reader, open_reader
from gateway.ops.event_sources import EventSourceFault, JournalQuery, file_lines, journal_lines
from gateway.ops.events import Filters, LoggedEvent, read_events
from gateway.ops.exitcodes import ExitCode
from gateway.registry.file import RegistryError, load_registry

MAX_EVENTS: Final = 20_000
MAX_METRICS: Final = 4 << 20
_NEWEST_ANCHORS: Final = 50
_NEWEST_REPORTS: Final = 100
_DEVICE: Final = 1
_ASK_S: Final = 5.0
_FACTS: Final = ("meminfo", "loadavg", "uptime", "vmstat", "mounts", "diskstats", "pressure/io", "pressure/memory")
_ANCHOR_FIELDS: Final = (
    *("id", "chain_id", "size", "state", "sealed_ms", "changed_ms", "nonce", "max_fee_wei", "block_number"),
    *("gas_used", "price_wei", "detail"),
)
_SEEN_FIELDS: Final = ("device", "device_id", "kid", "peer")


class Wanted(NamedTuple):
    """What is to be gathered: events from ``log_file`` or systemd's journal, from ``since_ms`` on."""

    since_ms: int
    log_file: Path | None = None
    tell_devices: bool = False


async def collect(case: Case, findings: Sequence[Finding], wanted: Wanted, salt: bytes) -> list[Piece]:
    """Every piece, the most important first; each without secrets and, unless wanted, without device ids."""
    events, why = await aside(_events, case, wanted)
    ids = set() if wanted.tell_devices else await aside(_device_ids, case)
    ids |= _seen(events)
    names = Pseudonyms(salt, ids, tell=wanted.tell_devices)

    def said(name: str, about: str, value: object) -> Piece:
        text = json.dumps(scrubbed(value, names), indent=2, default=str)
        return Piece(name, about, (text + "\n").encode())

    def text(name: str, about: str, found: str, why_not: str = "it could not be read") -> Piece:
        clean = names.apply(redacted(found)).encode("utf-8", "replace")
        return Piece(name, about, clean, "" if found else why_not)

    journal = await aside(_journal, case)
    lines = [json.dumps(scrubbed(event.as_dict(), names), default=str) for event in events]
    return [
        said("doctor.json", "what securenet doctor found", [each.plain() for each in findings]),
        said("status.json", "what the running gateway said", case.status)
        if case.status is not None
        else Piece("status.json", "what the running gateway said", missing=case.silence),
        *_configuration(case, text),
        Piece(
            "events.jsonl",
            f"events since {_iso(wanted.since_ms)}, at most {MAX_EVENTS}",
            "".join(line + "\n" for line in lines).encode(),
            why if not lines else "",
            newest_last=True,
        ),
        text("metrics.txt", "the metrics, as Prometheus reads them", *await _metrics(case)),
        said("journal.json", "the store: sizes, checkpoint, gaps, anchors, models; no messages", journal),
        said("versions.json", "gateway, Python, packages, kernel, processor", await aside(_versions)),
        text("machine.txt", "memory, load and disks, as /proc says", await aside(_machine, case.root)),
        said(
            "disk.json", "the file system of the data directory, and the sizes of its files", await aside(_disk, case)
        ),
        said("unit.json", "how systemd has the unit", await shown(case.unit)),
        text("unit.txt", "the unit with its drop-ins", await _unit_text(case.unit), "systemd has no such unit"),
    ]


def _configuration(case: Case, text: Callable[..., Piece]) -> list[Piece]:
    """As it is written, and as it is in force."""
    about = "the configuration as it is written, without keys in URLs"
    written = text("gateway.toml", about, text_in(case.config_path))
    if case.config is None:
        missing = "; ".join(case.config_faults) or "it is refused"
        return [written, Piece("effective.toml", "every value in force", missing=missing)]
    return [written, text("effective.toml", "every value in force", effective_toml(case.config))]


def _events(case: Case, wanted: Wanted) -> tuple[list[LoggedEvent], str]:
    """The events, and why there are none."""
    filters = Filters(since_ms=wanted.since_ms)
    try:
        if wanted.log_file is not None:
            return read_events(file_lines(wanted.log_file), filters, MAX_EVENTS).events, "the file has none so new"
        query = JournalQuery(unit=case.unit, since_ms=wanted.since_ms, newest_first=True)
        with journal_lines(query) as lines:
            found = read_events(lines, filters, MAX_EVENTS, newest_first=True).events
    except EventSourceFault as fault:
        return [], str(fault)
    return found, "systemd's journal has none of the unit"


def _seen(events: Sequence[LoggedEvent]) -> set[str]:
    """Devices that the events name, registered or not. An address is replaced only where it is named a peer."""
    named = {str(event.facts[name]) for event in events for name in _SEEN_FIELDS if event.facts.get(name)}
    return {each for each in named if not _is_address(each)}


def _is_address(text: str) -> bool:
    """Whether it is an IP address, with or without a port."""
    for host in (text, text.rpartition(":")[0]):
        try:
            ipaddress.ip_address(host.strip("[]").partition("%")[0])
        except ValueError:
            continue
        return True
    return False


def _device_ids(case: Case) -> set[str]:
    """Whom the registry or the journal knows."""
    config = case.config
    if config is None:
        return set()
    ids: set[str] = set()
    if not config.chain.rpc:
        with contextlib.suppress(RegistryError):
            ids |= {device.id for device in load_registry(config.registry.file).devices()}
    with contextlib.suppress(JournalError, OSError), open_reader(config.gateway.data_dir) as reader:
        ids |= {row.id for row in reader.identities() if row.kind == _DEVICE}
    ids |= {each.device for each in config.coap.observe}
    return ids


def _journal(case: Case) -> dict[str, Any]:
    if case.config is None:
        return {"why": "without a configuration nobody knows where it is"}
    try:
        with open_reader(case.config.gateway.data_dir) as reader:
            return _journal_facts(reader)
    except (JournalError, OSError) as fault:
        return {"why": str(fault)}


def _journal_facts(reader: Reader) -> dict[str, Any]:
    checkpoint, cursor = reader.latest_checkpoint(), reader.identity_cursor()
    stats = reader.stats()._asdict()
    stats["usage"] = stats["usage"]._asdict()
    stats["gaps"] = [gap._asdict() for gap in stats["gaps"]]
    key = reader.log_key()
    return {
        "stats": stats,
        "checkpoint": None if checkpoint is None else checkpoint.text,
        "checkpoint_ms": None if checkpoint is None else checkpoint.time_ms,
        "log_key": None if key is None else key.hex(),
        "quarantined": reader.quarantine_counts(),
        "anchors": reader.anchor_counts(),
        "newest_anchors": [
            {name: value for name, value in row._asdict().items() if name in _ANCHOR_FIELDS}
            | {"tx_hash": None if row.tx_hash is None else row.tx_hash.hex()}
            for row in reader.newest_anchors(_NEWEST_ANCHORS)
        ],
        "registry": None if cursor is None else {"block": cursor.block, "as_of_ms": cursor.as_of_ms},
        "models": [
            {
                "id": row.model_id,
                "highest": row.highest,
                "versions": [(v.version, v.state.value) for v in row.versions],
            }
            for row in reader.models()
        ],
        "model_reports": [row._asdict() for row in reader.model_reports(_NEWEST_REPORTS)],
    }


def _versions() -> dict[str, Any]:
    packages = {
        str(found.metadata["Name"]): found.version
        for found in importlib.metadata.distributions()
        if found.metadata["Name"]
    }
    release = text_in(Path("/etc/os-release")).splitlines()
    return {
        "gateway": __version__,
        "python": sys.version,
        "executable": sys.executable,
        "kernel": f"{platform.system()} {platform.release()} {platform.version()}",
        "machine": platform.machine(),
        "libc": " ".join(platform.libc_ver()),
        "os": next((line.partition("=")[2].strip('"') for line in release if line.startswith("PRETTY_NAME=")), ""),
        "packages": dict(sorted(packages.items())),
        "exit_codes": {code.name.lower(): code.value for code in ExitCode},
    }


def _machine(root: Path) -> str:
    """Figures of the whole machine; nothing of other processes."""
    parts = [f"== /proc/{name}\n{text_in(root / 'proc' / name, 1 << 16)}\n" for name in _FACTS]
    processor = [
        line
        for line in text_in(root / "proc/cpuinfo", 1 << 16).splitlines()
        if line.startswith(("model name", "flags", "Features", "Hardware", "Model"))
    ]
    return "".join(parts) + "== /proc/cpuinfo\n" + "\n".join(dict.fromkeys(processor)) + "\n"


def _disk(case: Case) -> dict[str, Any]:
    if case.config is None:
        return {}
    folder = case.config.gateway.data_dir
    try:
        found = os.statvfs(folder)
        names = sorted(entry.name for entry in os.scandir(folder))
    except OSError as fault:
        return {"why": f"{folder}: {fault.strerror}"}
    sizes = {}
    for name in names[:200]:
        with contextlib.suppress(OSError):
            status = (folder / name).lstat()
            sizes[name] = {"bytes": status.st_size, "mode": oct(status.st_mode & 0o7777), "uid": status.st_uid}
    return {
        "path": str(folder),
        "free_bytes": found.f_bavail * found.f_frsize,
        "total_bytes": found.f_blocks * found.f_frsize,
        "inodes_free": found.f_favail,
        "files": sizes,
    }


async def _unit_text(unit: str) -> str:
    said = await output_of(["systemctl", "cat", "--no-pager", "--", unit])
    return said.text if said is not None and not said.code else ""


async def _metrics(case: Case) -> tuple[str, str]:
    """What /metrics says, and why it says nothing."""
    if case.config is None or not case.config.http.enabled:
        return "", "http.enabled is false"
    host, port = case.config.http.host, page_port(case)
    if not port:
        return "", "nobody knows the port of the page"
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- compared, not bound
    try:
        async with asyncio.timeout(_ASK_S):
            reader, writer = await asyncio.open_connection(address, port, limit=MAX_METRICS)
            try:
                name = f"[{address}]" if ":" in address else address
                writer.write(f"GET /metrics HTTP/1.0\r\nHost: {name}:{port}\r\n\r\n".encode())
                await writer.drain()
                answer = await _read(reader)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError) as fault:
        return "", f"the page does not answer ({type(fault).__name__})"
    head, _, body = answer.partition(b"\r\n\r\n")
    return (body.decode("utf-8", "replace"), "") if b" 200 " in head.partition(b"\r\n")[0] else ("", "it is refused")


async def _read(reader: asyncio.StreamReader) -> bytes:
    answer = bytearray()
    while len(answer) < MAX_METRICS and (chunk := await reader.read(1 << 16)):
        answer += chunk
    return bytes(answer)


def _iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds")
