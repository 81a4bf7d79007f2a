"""What the tests of faults share: asking a gateway where a person would ask, and disks and brokers that fail."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from field_faults import FAULTS, NOT_STARTED, Fault
from support.anvil import skip_or_fail
from support.certificates import Authority
from support.gateway import Gateway

from gateway.ops.exitcodes import ExitCode

UNIT = Path(__file__).resolve().parents[2] / "gateway/ops/systemd/units/securenet-gateway.service"
HTTP: dict[str, object] = {"host": "127.0.0.1", "port": 0}
LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
WITHOUT_ROOTS_POWER = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner,-chown", "--")
"""Prefix of a command that root runs, and to whom modes of files are to say something."""
WITHIN_S = 15.0
"""What heals by itself does so in this time; so much because a machine that is tested on is busy."""


class DatedAuthority(Authority):
    """Issues certificates that end when it is told; its own lasts."""

    ends_in = dt.timedelta(days=60)

    def _builder(self, subject, key):
        now = dt.datetime.now(dt.UTC)
        ends = now + (dt.timedelta(days=90) if subject == self.name else self.ends_in)
        begins = min(now, ends) - dt.timedelta(days=2)
        return x509.CertificateBuilder(
            self.name, subject, key.public_key(), x509.random_serial_number(), begins, ends
        )


async def until(true: Callable[[], Any], timeout_s: float = WITHIN_S) -> None:
    """Wait for something that the test sees.

    Raises:
        TimeoutError: it did not come.
    """
    async with asyncio.timeout(timeout_s):
        while not true():
            await asyncio.sleep(0.05)


async def event_after(gateway: Gateway, name: str, before: int = 0, timeout_s: float = WITHIN_S) -> dict[str, Any]:
    """Wait for one more event of this name than there were, and return the newest."""
    try:
        await until(lambda: len(gateway.events(name)) > before, timeout_s)
    except TimeoutError:
        raise AssertionError(f"{name} did not come: {gateway.log.read_text()[-3000:]}") from None
    return gateway.events(name)[-1]


async def status_of(gateway: Gateway) -> dict[str, Any]:
    """What ``securenet status --json`` says, asked as a person would."""
    code, said = await gateway.securenet("status", "--json", "--data-dir", gateway.data)
    assert code == 0, said
    return dict(json.loads(said))


async def readyz(gateway: Gateway) -> tuple[int, dict[str, Any]]:
    """Code and body of ``/readyz``."""
    status = await gateway.status() or {}
    return await asyncio.to_thread(_get, f"{status['http']['address']}/readyz")


def _get(url: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)


async def doctor(gateway: Gateway, finding: str, *, prefix: tuple[str, ...] = ()) -> dict[str, Any]:
    """The finding of this name, with its remedy; the doctor has to end as badly as it says."""
    check = finding.partition(".")[0]
    asked = ("doctor", "--json", "--only", check, "--config", str(gateway.config))
    code, said = await gateway.securenet(*asked) if not prefix else await under(prefix, gateway, *asked)
    answer = json.loads(said[said.index("{") :])
    found = [each for each in answer["findings"] if each["name"] == finding]
    assert found, f"the doctor does not find {finding}: {said}"
    assert found[0]["remedy"]
    expected = {"ok": 0, "note": 0, "warning": ExitCode.NEGATIVE, "error": ExitCode.UNAVAILABLE}[answer["severity"]]
    assert code == expected, said
    return dict(found[0])


async def under(prefix: tuple[str, ...], gateway: Gateway, *arguments: str) -> tuple[int, str]:
    """A command of the command line, run under another one; its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *prefix, *gateway.program, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode(errors="replace")


async def told(gateway: Gateway, name: str, before: int = 0) -> None:
    """A running gateway tells the fault in its log, its status, its health, and the doctor finds it.

    ``before``: how many events of the name there were before the fault.
    """
    fault = FAULTS[name]
    await event_after(gateway, fault.event, before)
    await assert_status(gateway, fault)
    await doctor(gateway, fault.finding)


async def assert_status(gateway: Gateway, fault: Fault, *, over_http: bool = True) -> None:
    """``securenet status --json`` and ``/readyz`` say it, by a reason or by a warning."""
    status = await status_of(gateway)
    if fault.status in {each["reason"] for each in status["reasons"]}:
        assert not status["ready"]
        code, body = await readyz(gateway) if over_http else (503, status)
        assert code == 503
        assert fault.status in {each["reason"] for each in body["reasons"]}, body
        return
    assert any(str(fault.status) in each for each in status["warnings"]), (status["reasons"], status["warnings"])
    if over_http:
        _, body = await readyz(gateway)
        assert any(str(fault.status) in each for each in body["warnings"]), body


async def refuses_to_start(gateway: Gateway, name: str, *, prefix: tuple[str, ...] = ()) -> str:
    """Start it: it ends with its code, one event and one error without a traceback, and the doctor knows why.

    Returns the error.
    """
    fault = FAULTS[name]
    assert fault.event == NOT_STARTED
    begun = len(gateway.log.read_text()) if gateway.log.exists() else 0
    gateway.start()
    code = await asyncio.to_thread(gateway.process.wait, 60)  # type: ignore[union-attr] # it was started
    gateway.process = None
    said = gateway.log.read_text()[begun:]
    assert code == fault.status, said
    assert "Traceback" not in said
    lines = said.splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{")]
    (event,) = [each for each in events if each["event"] == NOT_STARTED]
    assert event["exit_code"] == code
    error = [line for line in lines if not line.startswith("{")]
    assert error[0].startswith("securenet: "), said
    assert [line for line in error[1:] if not line.startswith("  ")] == [], f"one error, a line a fault: {said}"
    assert (code in never_started_again()) is (code != ExitCode.UNAVAILABLE)
    await doctor(gateway, fault.finding, prefix=prefix)
    return "\n".join(error)


def never_started_again() -> set[int]:
    """After which codes systemd leaves the gateway where it is, by our unit."""
    (line,) = [each for each in UNIT.read_text().splitlines() if each.startswith("RestartPreventExitStatus=")]
    return {int(word) for word in line.partition("=")[2].split()}


def mount(*arguments: str | Path) -> None:
    """Mount; a machine that does not allow it skips the test, and fails it in CI."""
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        skip_or_fail(f"mounting needs root on a machine that allows it: {done.stderr.strip()}")


def unmount(path: Path) -> None:
    """Undo it."""
    subprocess.run(["umount", str(path)], check=True, capture_output=True)


def fill(folder: Path, leave: int = 0) -> Path:
    """Fill the file system with a file of somebody else's, but for ``leave`` bytes; returns the file."""
    path = folder / "somebody-elses"
    with path.open("wb") as file:
        while True:
            found = os.statvfs(folder)
            room = found.f_bavail * found.f_frsize - leave
            if room <= 0:
                return path
            try:
                file.write(bytes(min(room, 1 << 20)))
                file.flush()
            except OSError:
                return path
