"""A real gateway process: its configuration, registry and log key in a folder; started, killed, stopped, asked."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from firmware_sim.keys import log_origin, miner_line
from gateway.crypto.keys import PublicKey, parse_public_key
from gateway.journal import Reader, open_reader
from gateway.message import Alg
from gateway.ops.control import CONTROL_SOCKET, NoGatewayError, RequestRefusedError, request

ROOT = Path(__file__).resolve().parents[2]
SECURENET = (sys.executable, "-m", "gateway")
_LOG_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


class GatewayEndedError(RuntimeError):
    """The process ended, or was not ready in time; the text is the end of its log."""


class Gateway:
    """A gateway process on ``folder``.

    Args:
        folder: gets gateway.toml, registry.jsonl, log.pem, gateway.log and data/.
        registry: the registry's device lines; the miner's is added.
        sections: further TOML, by section: ``{"mqtt": {"port": 1883}}``. A transport that is not named is off.
        prefix: what the command is run under, for instance ``ip netns exec NAME``.
        program: another program than the gateway's, for mutants of it.
    """

    fleet = "plant-7"
    id = "gw-1"

    def __init__(
        self,
        folder: Path,
        registry: Iterable[str],
        sections: dict[str, dict[str, object]],
        *,
        prefix: Sequence[str] = (),
        program: Sequence[str] = SECURENET,
    ) -> None:
        self.folder = folder
        self.prefix = prefix
        self.program = program
        self.process: subprocess.Popen[bytes] | None = None
        self.config = folder / "gateway.toml"
        self.registry = folder / "registry.jsonl"
        self.data = folder / "data"
        self.log = folder / "gateway.log"
        self.origin = log_origin(self.fleet, self.id)
        folder.mkdir(parents=True, exist_ok=True)
        public = _LOG_KEY.public_key().public_bytes_raw()
        self.log_key: PublicKey = parse_public_key(Alg.ED25519, public)
        self.registry.write_text("\n".join([miner_line(self.fleet, self.id, public), *registry]) + "\n")
        key_file = folder / "log.pem"
        key_file.write_bytes(_LOG_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        key_file.chmod(0o600)
        known: dict[str, dict[str, object]] = {
            "gateway": {
                "id": self.id,
                "fleet": self.fleet,
                "data_dir": str(self.data),
                "log_key_file": str(key_file),
            },
            "registry": {"file": str(self.registry)},
            "mqtt": {"enabled": "mqtt" in sections},
            "coap": {"enabled": "coap" in sections},
            "http": {"enabled": "http" in sections, "port": 0},
            "logging": {"format": "json"},
        }
        self.config.write_text(
            _toml({name: known.get(name, {}) | sections.get(name, {}) for name in known | sections})
        )

    def start(self) -> None:
        """Start the process; it is not ready yet."""
        if self.process is not None:
            raise RuntimeError("it runs already")
        command = [*self.prefix, *self.program, "run", "--config", str(self.config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)

    async def ready(self, timeout_s: float = 30.0) -> dict[str, Any]:
        """Wait until it says that it is ready: every transport is up and nothing holds them back."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self.process is not None and self.process.poll() is None:
            status = await self.status()
            if status is not None and status["ready"]:
                return status
            await asyncio.sleep(0.02)
        raise GatewayEndedError(self.log.read_text()[-4000:])

    async def status(self) -> dict[str, Any] | None:
        """What ``securenet status`` would show, None when nobody answers."""
        try:
            return await request(self.data / CONTROL_SOCKET, "status")
        except (NoGatewayError, RequestRefusedError):
            return None

    async def kill(self) -> None:
        """End it as a power cut would: no handler runs. Its signature worker has to go with it.

        Raises:
            RuntimeError: it had ended by itself before, or a worker outlived it.
        """
        process = self.process
        if process is None or process.poll() is not None:
            raise GatewayEndedError(self.log.read_text()[-4000:])
        workers = _children(process.pid)
        process.kill()
        await asyncio.to_thread(process.wait)
        self.process = None
        deadline = time.monotonic() + 10
        while left := [pid for pid in workers if _is_alive(pid)]:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the gateway is dead, and its workers {left} live on")
            await asyncio.sleep(0.005)

    async def stop(self, timeout_s: float = 30.0) -> int:
        """End it as systemd would, and return its exit code."""
        process = self.process
        if process is None:
            raise RuntimeError("it does not run")
        process.terminate()
        code = await asyncio.to_thread(process.wait, timeout_s)
        self.process = None
        return code

    def end(self) -> None:
        """For ``finally``: nothing stays behind, whatever went wrong."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log's lines with this event."""
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [event for event in map(json.loads, lines) if event.get("event") == name]

    def reader(self) -> Reader:
        """The journal, to read."""
        return open_reader(self.data)

    async def securenet(self, *arguments: str | Path) -> tuple[int, str]:
        """Run another command of the command line on this configuration; its exit code and what it said."""
        command = [*SECURENET, *map(str, arguments)]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=ROOT
        )
        said, _ = await process.communicate()
        return process.returncode or 0, said.decode(errors="replace")


def secret_file(folder: Path, secret: str) -> str:
    """A password file as the gateway wants it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "mqtt-password"
    path.touch(mode=0o600)
    path.write_text(secret)
    return str(path)


def _toml(sections: dict[str, dict[str, object]]) -> str:
    """TOML of strings, numbers and booleans, whose spelling is JSON's."""
    return "".join(
        f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        for name, keys in sections.items()
    )


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _is_alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z" and os.path.exists(f"/proc/{pid}")  # noqa: PTH110 -- a process, not a file
