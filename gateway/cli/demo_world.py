"""The demo's world: a folder with keys, registry and configuration, and the three processes that live from it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gateway.cli.demo_parts import (
    READY_S,
    Child,
    DemoError,
    embedded_broker,
    free_ports,
    mosquitto,
    python_child,
    wait_for_port,
)
from gateway.cli.options import write_new
from gateway.cli.output import plain
from gateway.config.load import load_config
from gateway.config.model import Config
from gateway.ops.control import CONTROL_SOCKET, NoGatewayError, RequestRefusedError, request
from gateway.tlog.checkpoint import VerifierKey

FLEET: Final = "demo"
GATEWAY: Final = "demo-gw"
HOSTILE_PER_SCENARIO: Final = 4
DRAIN_S: Final = 15.0
_END_S: Final = 30.0
_KEYS_S: Final = 60.0
_HOSTILE_PER_S: Final = 10.0
_HOSTILE_SHARE_MAX: Final = 0.3
_SETTLED_LOOKS: Final = 3


class DemoOptions(NamedTuple):
    """What the command line asked for."""

    duration_s: float
    devices: int
    rate: float
    seed: int
    broker: str
    coap_share: float


@dataclass(frozen=True, slots=True)
class World:
    """The folder and its files."""

    folder: Path
    options: DemoOptions
    ports: Mapping[str, int]
    log_key: VerifierKey

    @property
    def config_file(self) -> Path:
        """The gateway's configuration."""
        return self.folder / "gateway.toml"

    @property
    def registry_file(self) -> Path:
        """Devices and miner: public facts."""
        return self.folder / "registry.jsonl"

    @property
    def keys_file(self) -> Path:
        """The devices' private keys."""
        return self.folder / "fleet-keys.json"

    @property
    def record_file(self) -> Path:
        """One line for each message of the fleet whose story has ended."""
        return self.folder / "record.jsonl"

    @property
    def fleet_report_file(self) -> Path:
        """The fleet's own sums."""
        return self.folder / "fleet-report.json"

    def config(self) -> Config:
        """The configuration, as the gateway reads it."""
        return load_config(self.config_file)


def make_world(folder: Path, options: DemoOptions) -> World:
    """Fill a folder: log key, configuration, the fleet's keys and the registry that introduces them.

    Raises:
        DemoError: the fleet's key maker failed.
        CliError: a file cannot be written.
    """
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_new(folder / "log-key.pem", pem, mode=0o600)
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    world = World(folder, options, free_ports(), VerifierKey(f"securenet/{FLEET}/{GATEWAY}", public))
    write_new(world.config_file, _config_text(world).encode())
    _make_keys(world, public)
    return world


def _config_text(world: World) -> str:
    """Loopback and a small burst, so that the floods reach the limit within a short run; all else is the default."""
    options, folder = world.options, world.folder
    device_rate = max(20.0, 4 * options.rate / options.devices)
    return f"""# The demo's gateway: everything that is not said here is the default.
[gateway]
id = "{GATEWAY}"
fleet = "{FLEET}"
data_dir = {_quoted(folder / "data")}
log_key_file = {_quoted(folder / "log-key.pem")}
[registry]
file = {_quoted(world.registry_file)}
[mqtt]
port = {world.ports["mqtt"]}
[coap]
host = "127.0.0.1"
port = {world.ports["coap"]}
[limits]
device_rate_per_s = {device_rate}
device_burst = {max(100, round(2 * device_rate))}
mqtt_peer_rate_per_s = {2 * device_rate}
mqtt_peer_burst = {max(200, round(4 * device_rate))}
[log]
checkpoint_interval_s = 1.0
[logging]
format = "json"
"""


def _quoted(path: Path) -> str:
    """A path as a TOML basic string, which is written as JSON is."""
    return json.dumps(str(path))


def _make_keys(world: World, log_public_key: bytes) -> None:
    arguments = ["keys", "--devices", world.options.devices, "--fleet", FLEET, "--gateway-id", GATEWAY]
    arguments += ["--out", world.registry_file, "--private", world.keys_file, "--hostile", HOSTILE_PER_SCENARIO]
    arguments += ["--log-key", b64encode(log_public_key).decode()]
    command = [sys.executable, "-P", "-m", "firmware_sim.cli", *map(str, arguments)]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=_KEYS_S)  # noqa: S603 -- ourselves
    except subprocess.TimeoutExpired:
        raise DemoError(f"the fleet's keys were not made within {_KEYS_S:g} s") from None
    if done.returncode:
        words = plain(done.stderr.decode("utf-8", "replace").strip(), 1000, keep="\n")
        raise DemoError(f"the fleet's keys cannot be made: {words}")


class Stage:
    """The three processes: brought up in order, looked at while they run, taken down in order."""

    def __init__(self, world: World) -> None:
        self._world = world
        make = {"embedded": embedded_broker, "mosquitto": mosquitto}[world.options.broker]
        self.broker = make(world.folder, world.ports["mqtt"])
        self.gateway = python_child(
            "gateway", "gateway", ["run", "--config", world.config_file], world.folder / "gateway.log"
        )
        self.fleet = python_child(
            "fleet", "firmware_sim.cli", list(_fleet_arguments(world)), world.folder / "fleet.log"
        )

    def open(self) -> None:
        """Start broker, gateway and fleet, each when the one before is ready.

        Raises:
            DemoError: one did not come up.
        """
        self.broker.start()
        wait_for_port(self.broker, self._world.ports["mqtt"])
        self.gateway.start()
        self._wait_until_ready()
        self.fleet.start()

    def look(self) -> dict[str, Any] | None:
        """The gateway's status; None when it does not answer just now.

        Raises:
            DemoError: broker or gateway have ended.
        """
        self.broker.must_run()
        self.gateway.must_run()
        try:
            return asyncio.run(request(self._world.folder / "data" / CONTROL_SOCKET, "status"))
        except (NoGatewayError, RequestRefusedError):
            return None

    def settled_status(self) -> dict[str, Any]:
        """The gateway's status once nothing moves any more.

        Raises:
            DemoError: it never came to rest, or does not answer.
        """
        deadline_s = time.monotonic() + DRAIN_S
        quiet, last = 0, None
        while time.monotonic() < deadline_s:
            status = self.look()
            if status is not None:
                now = (status["received"], status["answered"], status["waiting"])
                quiet = quiet + 1 if now == last and status["waiting"] == 0 else 0
                if quiet >= _SETTLED_LOOKS:
                    return status
                last = now
            time.sleep(0.1)
        raise DemoError(f"the gateway is still at work {DRAIN_S:g} s after the fleet. {self.gateway.last_words()}")

    def fleet_result(self) -> dict[str, Any]:
        """The fleet's report, after it has ended.

        Raises:
            DemoError: it ended without one.
        """
        code = self.fleet.ended()
        if code not in {0, 1}:
            raise DemoError(f"the fleet ended with code {code}. {self.fleet.last_words()}")
        try:
            report: dict[str, Any] = json.loads(self._world.fleet_report_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise DemoError(f"the fleet left no report. {self.fleet.last_words()}") from None
        return report

    def close(self) -> None:
        """Stop the gateway cleanly, then the broker.

        Raises:
            DemoError: the gateway did not end as it should.
        """
        code = self.gateway.end(_END_S)
        if code:
            raise DemoError(f"the gateway ended with code {code} at its stop. {self.gateway.last_words()}")
        self.broker.end(_END_S)

    def abandon(self) -> None:
        """End whatever still runs, at once."""
        for child in self._children():
            child.kill()

    def _children(self) -> tuple[Child, ...]:
        return self.fleet, self.gateway, self.broker

    def _wait_until_ready(self) -> None:
        deadline_s = time.monotonic() + READY_S
        problems: list[str] = []
        while time.monotonic() < deadline_s:
            status = self.look()
            if status is not None:
                if status["ready"]:
                    return
                problems = status["problems"]
            time.sleep(0.1)
        said = "; ".join(plain(problem) for problem in problems)
        raise DemoError(f"the gateway is not ready after {READY_S:g} s: {said}. {self.gateway.last_words()}")


def _fleet_arguments(world: World) -> Iterator[str | Path]:
    options = world.options
    yield from ("run", "--keys", world.keys_file, "--fleet", FLEET)
    yield from ("--mqtt", f"127.0.0.1:{world.ports['mqtt']}", "--coap", f"coap://127.0.0.1:{world.ports['coap']}")
    yield from ("--log-key", world.log_key.text, "--devices", str(options.devices), "--rate", f"{options.rate:g}")
    yield from ("--duration", f"{options.duration_s:g}", "--seed", str(options.seed), "--drain", f"{DRAIN_S:g}")
    yield from ("--coap-share", f"{options.coap_share:g}", "--scenario", "all", "--no-live")
    yield from ("--hostile-share", f"{min(_HOSTILE_SHARE_MAX, _HOSTILE_PER_S / options.rate):g}")
    yield from ("--record", world.record_file, "--report", world.fleet_report_file)
