"""The demo's world: a folder with keys, registry and configuration, and the processes that live from it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gateway.cli.demo_chain import Office, chain_child, section, wait_for_chain
from gateway.cli.demo_leaver import RATE, Leaver, Phase
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
REGISTRY: Final = "registry.jsonl"
KEYS: Final = "fleet-keys.json"
RECORD: Final = "record.jsonl"
REPORT: Final = "fleet-report.json"
DRAIN_S: Final = 15.0
_END_S: Final = 30.0
_KEYS_S: Final = 60.0
_HOSTILE_PER_S: Final = 10.0
_HOSTILE_SHARE_MAX: Final = 0.3
_SETTLED_LOOKS: Final = 3
_ANCHORED_S: Final = 60.0
_LEAVER: Final = 10_000
"""The leaver's number: the fleet's own are below it."""
_LEAVER_DRAIN_S: Final = 2.0
_FOR_EVER_S: Final = 1_000_000


class DemoOptions(NamedTuple):
    """What the command line asked for."""

    duration_s: float
    devices: int
    rate: float
    seed: int
    broker: str
    coap_share: float
    chain: bool


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
        return self.folder / REGISTRY

    @property
    def keys_file(self) -> Path:
        """The devices' private keys."""
        return self.folder / KEYS

    @property
    def leaver_folder(self) -> Path:
        """All files of the device that is to be revoked."""
        return self.folder / "leaver"

    @property
    def proof_file(self) -> Path:
        """The proof that is exported in the end."""
        return self.folder / "proof.json"

    @property
    def record_file(self) -> Path:
        """One line for each message of the fleet whose story has ended."""
        return self.folder / RECORD

    @property
    def fleet_report_file(self) -> Path:
        """The fleet's own sums."""
        return self.folder / REPORT

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
    arguments = ["--devices", options.devices, "--hostile", HOSTILE_PER_SCENARIO, "--gateway-id", GATEWAY]
    arguments += ["--log-key", b64encode(public).decode()]
    _make_keys(world.registry_file, world.keys_file, arguments)
    if options.chain:
        arguments = ["--devices", 1, "--hostile", 0, "--first", _LEAVER]
        world.leaver_folder.mkdir()
        _make_keys(world.leaver_folder / REGISTRY, world.leaver_folder / KEYS, arguments)
    return world


def _config_text(world: World) -> str:
    """Loopback and a small burst, so that the floods reach the limit within a short run; all else is the default."""
    options, folder = world.options, world.folder
    device_rate = max(20.0, 4 * options.rate / options.devices)
    hpke = f"hpke_key_file = {_quoted(folder / 'hpke-key.pem')}\n" if options.chain else ""
    anchor = section(folder, options.duration_s) if options.chain else ""
    return f"""# The demo's gateway: everything that is not said here is the default.
[gateway]
id = "{GATEWAY}"
fleet = "{FLEET}"
data_dir = {_quoted(folder / "data")}
log_key_file = {_quoted(folder / "log-key.pem")}
{hpke}[registry]
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
{anchor}"""


def _quoted(path: Path) -> str:
    """A path as a TOML basic string, which is written as JSON is."""
    return json.dumps(str(path))


def _make_keys(registry: Path, private: Path, more: Sequence[object]) -> None:
    arguments = ["keys", "--fleet", FLEET, "--out", registry, "--private", private, *more]
    command = [sys.executable, "-P", "-m", "firmware_sim.cli", *map(str, arguments)]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=_KEYS_S)  # noqa: S603 -- ourselves
    except subprocess.TimeoutExpired:
        raise DemoError(f"the fleet's keys were not made within {_KEYS_S:g} s") from None
    if done.returncode:
        words = plain(done.stderr.decode("utf-8", "replace").strip(), 1000, keep="\n")
        raise DemoError(f"the fleet's keys cannot be made: {words}")


class Stage:
    """The processes: brought up in order, looked at while they run, taken down in order.

    Args:
        world: the folder that they live from.
        check: called while something is waited for; ends the waiting by what it raises.
    """

    def __init__(self, world: World, check: Callable[[], None]) -> None:
        self.world = world
        self._check = check
        folder, options = world.folder, world.options
        self.broker = {"embedded": embedded_broker, "mosquitto": mosquitto}[options.broker](
            folder, world.ports["mqtt"]
        )
        self.gateway = python_child(
            "gateway", "gateway", ["run", "--config", world.config_file], folder / "gateway.log"
        )
        self.fleet = python_child("fleet", "firmware_sim.cli", list(_fleet_arguments(world)), folder / "fleet.log")
        self.chain = chain_child(folder) if options.chain else None
        self.office = Office(folder, world.config_file, check)
        self.leaver = _leaver(world, self.office) if options.chain else None

    def open(self, say: Callable[[str], None]) -> None:
        """Start broker, chain, gateway and fleet, each when the one before is ready.

        Args:
            say: told what is being done.

        Raises:
            DemoError: one did not come up.
        """
        self.broker.start()
        if self.chain is not None:
            self.chain.start()
            known = wait_for_chain(self.chain, self.world.folder, self._check)
            self.office.establish(known, (self.world.registry_file, self.world.leaver_folder / REGISTRY), say)
        wait_for_port(self.broker, self.world.ports["mqtt"])
        self.gateway.start()
        self._wait_until_ready()
        self.fleet.start()
        if self.leaver is not None:
            self.leaver.start()

    def look(self) -> dict[str, Any] | None:
        """The gateway's status; None when it does not answer just now.

        Raises:
            DemoError: broker, chain or gateway have ended.
        """
        self.broker.must_run()
        if self.chain is not None:
            self.chain.must_run()
        self.gateway.must_run()
        return self._ask("status")

    def farewell(self, *, ending: bool) -> bool:
        """Move the leaver's story on; whether it is over. Raises as ``Leaver.look``."""
        return self.leaver is None or self.leaver.look(ending=ending) is Phase.GONE

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

    def anchored(self, size: int) -> None:
        """Let the gateway anchor what it has, and wait until so many entries are final, or patience ends.

        Raises:
            DemoError: a part has ended.
        """
        deadline_s = time.monotonic() + _ANCHORED_S
        asked = False
        while time.monotonic() < deadline_s:
            asked = asked or self._ask("anchor-now") is not None
            status = self.look()
            if status is not None and status["anchors"]["final_size"] >= size:
                return
            time.sleep(0.2)

    def results(self) -> list[dict[str, Any]]:
        """The reports of the fleet and of the leaver, after they have ended.

        Raises:
            DemoError: one ended without.
        """
        found = [_report_of(self.fleet, self.world.fleet_report_file)]
        if self.leaver is not None:
            found.append(_report_of(self.leaver.child, self.world.leaver_folder / REPORT))
        return found

    def close(self) -> None:
        """Stop the gateway cleanly, then the broker; the chain goes on until ``abandon``.

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

    def _children(self) -> Iterator[Child]:
        yield self.fleet
        if self.leaver is not None:
            yield self.leaver.child
        yield from self.office.children()
        yield self.gateway
        yield self.broker
        if self.chain is not None:
            yield self.chain

    def _ask(self, command: str) -> dict[str, Any] | None:
        try:
            return asyncio.run(request(self.world.folder / "data" / CONTROL_SOCKET, command))
        except (NoGatewayError, RequestRefusedError):
            return None

    def _wait_until_ready(self) -> None:
        deadline_s = time.monotonic() + READY_S
        problems: list[str] = []
        while time.monotonic() < deadline_s:
            self._check()
            status = self.look()
            if status is not None:
                if status["ready"]:
                    return
                problems = status["problems"]
            time.sleep(0.1)
        said = "; ".join(plain(problem) for problem in problems)
        raise DemoError(f"the gateway is not ready after {READY_S:g} s: {said}. {self.gateway.last_words()}")


def _report_of(child: Child, path: Path) -> dict[str, Any]:
    code = child.ended()
    if code not in {0, 1}:
        raise DemoError(f"the {child.name} ended with code {code}. {child.last_words()}")
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DemoError(f"the {child.name} left no report. {child.last_words()}") from None
    return report


def _fleet_arguments(world: World) -> Iterator[str | Path]:
    options = world.options
    yield from ("run", "--keys", world.keys_file)
    yield from _towards(world)
    yield from ("--mqtt", f"127.0.0.1:{world.ports['mqtt']}")
    yield from ("--devices", str(options.devices), "--rate", f"{options.rate:g}")
    yield from ("--duration", f"{options.duration_s:g}", "--seed", str(options.seed), "--drain", f"{DRAIN_S:g}")
    yield from ("--coap-share", f"{options.coap_share:g}", "--scenario", "all")
    yield from ("--hostile-share", f"{min(_HOSTILE_SHARE_MAX, _HOSTILE_PER_S / options.rate):g}")
    yield from ("--record", world.record_file, "--report", world.fleet_report_file)


def _towards(world: World) -> tuple[str, ...]:
    address = f"coap://127.0.0.1:{world.ports['coap']}"
    return "--fleet", FLEET, "--coap", address, "--log-key", world.log_key.text, "--no-live"


def _leaver(world: World, office: Office) -> Leaver:
    folder = world.leaver_folder
    arguments: list[str | Path] = ["run", "--keys", folder / KEYS, *_towards(world), "--rate", str(RATE)]
    arguments += ["--duration", str(_FOR_EVER_S), "--drain", f"{_LEAVER_DRAIN_S:g}"]
    arguments += ["--record", folder / RECORD, "--report", folder / REPORT]
    child = python_child("device to be revoked", "firmware_sim.cli", arguments, folder / "fleet.log")
    device_id = json.loads((folder / REGISTRY).read_text(encoding="utf-8"))["id"]
    return Leaver(child, folder / RECORD, device_id, office, world.options.duration_s / 2)
