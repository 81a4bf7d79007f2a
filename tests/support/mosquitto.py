"""A real mosquitto on the configuration that we recommend (config/mosquitto), on free ports, in a temp folder."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

CONFIG = Path(__file__).resolve().parents[2] / "config" / "mosquitto"
ACCOUNTS = {"gateway": "gateway-secret", "monitor": "monitor-secret", "bench": "bench-secret"}
_BENCH_ACL = (
    "\n# Tests alone: one account that speaks for many devices.\nuser bench\ntopic readwrite securenet/v1/#\n"
)


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def mosquitto_path() -> str:
    """The broker's path; skips the test where it is missing, fails it in CI."""
    found = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        message = "mosquitto is not installed (apt-get install mosquitto mosquitto-clients)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


class Mosquitto:
    """A broker process. ``accounts`` join gateway, monitor and bench; ``tls`` names a folder of certificates."""

    def __init__(self, folder: Path, accounts: dict[str, str] | None = None, tls: Path | None = None) -> None:
        self.program = mosquitto_path()
        self.folder = folder
        self.port = free_port()
        self.tls_port = free_port()
        self.tls = tls
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "state").mkdir(exist_ok=True)
        self._write(ACCOUNTS | (accounts or {}))

    def _write(self, accounts: dict[str, str]) -> None:
        passwords = self.folder / "passwd"
        passwords.write_text("".join(f"{name}:{secret}\n" for name, secret in accounts.items()))
        subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True, capture_output=True)
        (self.folder / "acl").write_text((CONFIG / "gateway.acl").read_text() + _BENCH_ACL)
        lines = []
        for line in (CONFIG / "mosquitto.conf").read_text().splitlines():
            word = line.split(" ")[0]
            if line == "listener 8883" and self.tls is None:
                continue
            if word in {"cafile", "certfile", "keyfile", "tls_version"} and self.tls is None:
                continue
            own = {
                "password_file": f"password_file {passwords}",
                "acl_file": f"acl_file {self.folder / 'acl'}",
                "persistence_location": f"persistence_location {self.folder / 'state'}/",
                "cafile": f"cafile {self.tls}/ca.crt",
                "certfile": f"certfile {self.tls}/broker.crt",
                "keyfile": f"keyfile {self.tls}/broker.key",
            }.get(word, line)
            own = own.replace("listener 8883", f"listener {self.tls_port} 127.0.0.1")
            lines.append(own.replace("listener 1883 127.0.0.1", f"listener {self.port} 127.0.0.1"))
        if os.geteuid() == 0:
            lines.append("user root")
        (self.folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")

    def start(self) -> Mosquitto:
        with (self.folder / "mosquitto.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, "-c", str(self.folder / "mosquitto.conf")], stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError((self.folder / "mosquitto.log").read_text())

    def stop(self) -> None:
        """End it as systemd would: it writes its state."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(10)
        self.process = None
