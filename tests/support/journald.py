"""A real journald of our own: an instance in a namespace, beside the machine's, with its own socket and store."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_PROGRAMS = (Path("/usr/lib/systemd/systemd-journald"), Path("/lib/systemd/systemd-journald"))


class Journald:
    """``systemd-journald NAME``; needs root, for it makes its folders below /run/systemd and /var/log/journal."""

    def __init__(self, program: Path) -> None:
        self.namespace = f"securenet-test-{os.getpid()}"
        self.folder = Path(f"/run/systemd/journal.{self.namespace}")
        self.socket = self.folder / "socket"
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it listens."""
        self._process = subprocess.Popen(
            [self._program, self.namespace], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while not self.socket.exists():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError("journald does not start in a namespace of its own")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            self._process.wait(10)
            self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def freeze(self) -> None:
        """Let it take nothing, as when its disk hangs."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def records(self, count: int, *matches: str, timeout_s: float = 10.0) -> list[dict[str, Any]]:
        """What it holds, by ``journalctl -o json``, as soon as there are ``count``."""
        command = ["journalctl", f"--namespace={self.namespace}", "--output=json", "--all", "--quiet", *matches]
        deadline = time.monotonic() + timeout_s
        while True:
            done = subprocess.run(command, capture_output=True, check=False)
            found = [json.loads(line) for line in done.stdout.splitlines()]
            if len(found) >= count or time.monotonic() > deadline:
                return found
            time.sleep(0.05)

    def remove(self) -> None:
        """Leave nothing behind."""
        self.stop()
        for root in (Path("/var/log/journal"), Path("/run/log/journal")):
            for folder in root.glob(f"*.{self.namespace}"):
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running_journald() -> Iterator[Journald]:
    """A journald; skips the test where none can run, fails it in CI."""
    program = next((each for each in _PROGRAMS if each.exists()), None)
    if program is None or shutil.which("journalctl") is None or os.geteuid() != 0:
        message = "a journald of our own needs systemd's programs (apt-get install systemd) and root"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    journald = Journald(program)
    try:
        journald.start()
        yield journald
    finally:
        journald.remove()
