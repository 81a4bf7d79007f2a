"""What is measured: a real mosquitto on the recommended configuration, a real gateway process, registered devices.

With a chain, a real node (anvil) has the devices, and the gateway anchors to it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from support.custody import CustodyWorld, LastingAnvil
from support.mosquitto import ACCOUNTS, Mosquitto

from gateway.chain.contracts import ChainAlg, DeviceFacts, log_id, register_devices_call
from gateway.ops.control import NoGatewayError, request

FLEET = "plant-7"
GATEWAY = "gw-1"
ORIGIN = f"securenet/{FLEET}/{GATEWAY}"
HERE = Path(__file__).resolve().parent
BLOCK_S = 2
ANCHOR_S = 10
_BATCH = 256
_X25519_KEY = bytes(31) + b"\x09"


def raw_ed25519_rate(seconds: float = 1.5) -> float:
    """Signatures of 250 bytes that one core verifies a second, by the same libsodium call as the gateway's worker."""
    public, secret = crypto_sign_seed_keypair(os.urandom(32))
    signed = crypto_sign(os.urandom(250), secret)
    start, count = time.process_time(), 0
    while time.process_time() - start < seconds:
        for _ in range(200):
            crypto_sign_open(signed, public)
        count += 200
    return count / (time.process_time() - start)


class BenchChain:
    """A node with the contracts, the devices and the miner: a block every two seconds."""

    def __init__(self, folder: Path, log_key: bytes, device_keys: dict[str, bytes]) -> None:
        pruned = ("--prune-history", "16")  # otherwise it keeps 100,000 slots for each block: gigabytes
        self.node = LastingAnvil(folder / "chain.json", "--slots-in-an-epoch", "1", *pruned)
        self.node.start()
        self.world = CustodyWorld(self.node, folder / "keys")
        self.world.fund(1000)
        self._register(device_keys)
        chain = self.world.chain
        miner = (GATEWAY, FLEET, log_key, _X25519_KEY, self.world.account)
        chain.send(chain.registrar, chain.registry, "registerMiner", miner)
        chain.send(chain.stranger, chain.log, "open", log_id(ORIGIN))
        self.world.mine(3)
        self.world.block_every(BLOCK_S)

    def _register(self, device_keys: dict[str, bytes]) -> None:
        facts = [DeviceFacts(name, ChainAlg.ED25519, key) for name, key in device_keys.items()]
        chain = self.world.chain
        for start in range(0, len(facts), _BATCH):
            data = register_devices_call(FLEET, facts[start : start + _BATCH])
            call = {"from": chain.registrar, "to": chain.registry.address, "gas": hex(16_000_000)}
            sent = self.world.anvil_call("eth_sendTransaction", call | {"data": f"0x{data.hex()}"})
        if facts:
            assert self.world.web3.eth.wait_for_transaction_receipt(sent)["status"] == 1

    def toml(self) -> str:
        """[chain] and [anchor]: everything as it is by default but the interval and where things are."""
        sections = self.world.sections()
        chosen = {
            "chain": ["rpc", "chain_id", "registry", "anchor_log"],
            "anchor": ["key_file", "passphrase_file"],
        }
        lines = []
        for section, keys in chosen.items():
            lines += [f"[{section}]", *(f"{key} = {json.dumps(sections[section][key])}" for key in keys)]
        return "\n".join([*lines, f"interval_s = {ANCHOR_S}", f"min_interval_s = {ANCHOR_S}", ""])


class Stack:
    """Broker and gateway in ``folder``, with ``devices`` registered Ed25519 devices, by file or on a chain."""

    def __init__(self, folder: Path, devices: int, *, on_chain: bool = False) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.broker = Mosquitto(folder / "mosquitto")
        self.keys = folder / "keys.json"
        self.gateway: subprocess.Popen[bytes] | None = None
        self.chain: BenchChain | None = None
        self._write(devices, on_chain=on_chain)

    def _write(self, devices: int, *, on_chain: bool) -> None:
        log_key = Ed25519PrivateKey.generate()
        pem = log_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        public = log_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        for name, data in (("log-key.pem", pem), ("password", ACCOUNTS["gateway"].encode())):
            (self.folder / name).write_bytes(data)
            (self.folder / name).chmod(0o600)
        seeds = {f"urn:dev:mac:{number:016x}": os.urandom(32) for number in range(devices)}
        self.keys.write_text(json.dumps({device: seed.hex() for device, seed in seeds.items()}))
        rows: list[dict[str, str]] = [
            {"kind": "miner", "id": GATEWAY, "public_key": base64.b64encode(public).decode(),
             "log": ORIGIN}
        ]  # fmt: skip
        keys = {device: crypto_sign_seed_keypair(seed)[0] for device, seed in seeds.items()}
        rows += [
            {"kind": "device", "id": device, "public_key": base64.b64encode(key).decode()}
            for device, key in keys.items()
        ]
        common = {"fleet": FLEET, "alg": "Ed25519", "status": "active"}
        with (self.folder / "registry.jsonl").open("w") as registry:
            registry.writelines(json.dumps(row | common) + "\n" for row in rows)
        if on_chain:
            self.chain = BenchChain(self.folder, public, keys)
        (self.folder / "gateway.toml").write_text(
            f"""
[gateway]
id = "{GATEWAY}"
fleet = "{FLEET}"
data_dir = "{self.folder}/data"
log_key_file = "{self.folder}/log-key.pem"
[registry]
file = "{self.folder}/registry.jsonl"
[mqtt]
port = {self.broker.port}
username = "gateway"
password_file = "{self.folder}/password"
[coap]
enabled = false
[http]
port = 0
[limits]
# The load comes from few devices at a high rate; the buckets are asked all the same.
device_rate_per_s = 10000.0
device_burst = 100000
mqtt_peer_rate_per_s = 10000.0
mqtt_peer_burst = 100000
"""
            + ("" if self.chain is None else self.chain.toml())
        )

    def start(self) -> float:
        """Start broker and gateway; returns the seconds from the gateway's start to ready."""
        if self.broker.process is None:
            self.broker.start()
        start = time.perf_counter()
        log = (self.folder / "gateway.log").open("ab")
        self.gateway = subprocess.Popen(
            [sys.executable, "-m", "gateway", "run", "--config", str(self.folder / "gateway.toml")],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        while time.perf_counter() - start < 60:
            if self.gateway.poll() is not None:
                break
            try:
                if self.status()["ready"]:
                    return time.perf_counter() - start
            except NoGatewayError:
                pass
            time.sleep(0.05)
        raise RuntimeError((self.folder / "gateway.log").read_text()[-4000:])

    def status(self) -> dict[str, Any]:
        return asyncio.run(request(self.folder / "data" / "control.sock", "status"))

    def stop_gateway(self) -> None:
        """End the gateway alone."""
        if self.gateway is not None:
            self.gateway.terminate()
            self.gateway.wait(30)
            self.gateway = None

    def stop(self) -> None:
        """End everything."""
        self.stop_gateway()
        self.broker.stop()
        if self.chain is not None:
            self.chain.node.__exit__()

    def processes(self) -> dict[str, psutil.Process]:
        """The gateway, its signature worker, the broker, and the node where there is one."""
        assert self.gateway is not None
        assert self.broker.process is not None
        gateway = psutil.Process(self.gateway.pid)
        (worker,) = gateway.children()
        found = {"gateway": gateway, "worker": worker, "broker": psutil.Process(self.broker.process.pid)}
        if self.chain is not None:
            found["node"] = psutil.Process(self.chain.node.pid)
        return found

    def cpu_s(self) -> dict[str, float]:
        """Processor seconds used so far, user and system."""
        times = {name: process.cpu_times() for name, process in self.processes().items()}
        return {name: used.user + used.system for name, used in times.items()}

    def resident_mb(self) -> dict[str, float]:
        """Resident memory; pages shared between gateway and worker are counted in both."""
        return {name: round(process.memory_info().rss / 1e6, 1) for name, process in self.processes().items()}

    def proportional_mb(self) -> dict[str, float]:
        """The same with shared pages divided among those that map them: what a process takes from the machine."""
        return {name: round(process.memory_full_info().pss / 1e6, 1) for name, process in self.processes().items()}

    def load(self, *options: str) -> dict[str, Any]:
        """Run the load generator in a process of its own; returns its report and the processor time a message."""
        before = self.cpu_s()
        done = subprocess.run(
            [sys.executable, str(HERE / "load.py"), "--port", str(self.broker.port), "--username", "bench",
             "--password", ACCOUNTS["bench"], "--keys", str(self.keys), "--fleet", FLEET, *options],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr)
        report: dict[str, Any] = json.loads(done.stdout)
        used = self.cpu_s()
        report["cpu_us_per_message"] = {
            name: round((used[name] - before[name]) * 1e6 / max(1, report["receipts"]), 1) for name in used
        }
        return report
