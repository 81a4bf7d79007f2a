"""The demo's world: a folder with keys, registry and configuration, and the processes that live from it."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gateway.cli.demo_chain import section
from gateway.cli.demo_kubo import find_kubo
from gateway.cli.demo_papers import MODELS, READER, detector_in, named, why_no_models
from gateway.cli.demo_parts import DemoError, free_ports
from gateway.cli.options import write_new
from gateway.cli.output import plain
from gateway.config.load import load_config
from gateway.config.model import Config
from gateway.tlog.checkpoint import VerifierKey

FLEET: Final = "demo"
GATEWAY: Final = "demo-gw"
HOSTILE_PER_SCENARIO: Final = 4
REGISTRY: Final = "registry.jsonl"
KEYS: Final = "fleet-keys.json"
RECORD: Final = "record.jsonl"
REPORT: Final = "fleet-report.json"
DRAIN_S: Final = 15.0
_KEYS_S: Final = 60.0
LEAVER: Final = 10_000
"""The leaver's number: the fleet's own are below it."""
SOLOISTS: Final = ("camera", "sensor")
DEVICE_RATE: Final = 20.0
"""The least that a device may send in a second."""


class DemoOptions(NamedTuple):
    """What the command line asked for."""

    duration_s: float
    devices: int
    rate: float
    seed: int
    broker: str
    coap_share: float
    chain: bool
    kubo: str = ""


@dataclass(frozen=True, slots=True)
class World:
    """The folder and its files."""

    folder: Path
    options: DemoOptions
    ports: Mapping[str, int]
    log_key: VerifierKey
    kubo: str
    """The program of the IPFS node; empty: bundles stay in the block store."""
    no_models: str
    """Why there are none; empty when there are."""

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
    def models_folder(self) -> Path:
        """Models, the publisher's and the trainer's keys, the authority."""
        return self.folder / "models"

    @property
    def soloists_folder(self) -> Path:
        """All files of the two devices that the models are for."""
        return self.folder / "soloists"

    @property
    def store(self) -> Path:
        """The publisher's block store."""
        return self.folder / "blocks"

    @property
    def car_file(self) -> Path:
        """What is carried to the gateway where no IPFS node does it."""
        return self.folder / "bundles.car"

    @property
    def kubo_url(self) -> str:
        """The RPC of the IPFS node; empty when there is none."""
        return f"http://127.0.0.1:{self.ports['kubo']}" if self.kubo else ""

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
    no_models = why_no_models(chain=options.chain)
    kubo = "" if no_models else find_kubo(options.kubo)
    log_key = VerifierKey(f"securenet/{FLEET}/{GATEWAY}", public)
    world = World(folder, options, free_ports(), log_key, kubo, no_models)
    write_new(world.config_file, _config_text(world).encode())
    arguments = ["--devices", options.devices, "--hostile", HOSTILE_PER_SCENARIO, "--gateway-id", GATEWAY]
    arguments += ["--log-key", b64encode(public).decode()]
    _make_keys(world.registry_file, world.keys_file, arguments)
    if options.chain:
        arguments = ["--devices", 1, "--hostile", 0, "--first", LEAVER]
        world.leaver_folder.mkdir()
        _make_keys(world.leaver_folder / REGISTRY, world.leaver_folder / KEYS, arguments)
    if not no_models:
        _make_soloists(world)
    return world


def _config_text(world: World) -> str:
    """Loopback and a small burst, so that the floods reach the limit within a short run; all else is the default."""
    options, folder = world.options, world.folder
    device_rate = max(DEVICE_RATE, 4 * options.rate / options.devices)
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
[http]
port = 0
{anchor}{_models_text(world)}"""


def _models_text(world: World) -> str:
    """Which models run, and the one way on which their blocks come; the gateway's own block store is another one."""
    if world.no_models:
        return ""
    source = f"kubo:{world.kubo_url}" if world.kubo else f"car:{world.car_file}"
    enabled = [named(MODELS / f"{name}.tflite").model_id for name in (READER, detector_in(MODELS))]
    return f"""[models]
enabled = {json.dumps(enabled)}
[ipfs]
sources = [{json.dumps(source)}]
"""


def _make_soloists(world: World) -> None:
    """Keys of the camera and of the bearing's sensor: each its own file, one registry for both."""
    world.soloists_folder.mkdir()
    lines = []
    for number, name in enumerate(SOLOISTS, start=1):
        folder = world.soloists_folder / name
        folder.mkdir()
        _make_keys(folder / REGISTRY, folder / KEYS, ["--devices", 1, "--hostile", 0, "--first", LEAVER + number])
        lines.append((folder / REGISTRY).read_text(encoding="utf-8"))
    write_new(world.soloists_folder / REGISTRY, "".join(lines).encode())


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
