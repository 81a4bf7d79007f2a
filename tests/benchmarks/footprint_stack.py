"""What footprint.py measures: the stack of stack.py with every process told apart, and with models from the chain."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import psutil
from benchmarks.stack import BLOCK_S, FLEET, GATEWAY, HERE, BenchChain, Stack
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from support.contracts_kit import Models, ed25519_key
from support.mosquitto import ACCOUNTS

from gateway.crypto.keys import PublicKey
from gateway.message import Alg
from gateway.training.export import spec_from_json
from gateway.vault.blocks import BlockStore
from gateway.vault.cipher import encrypt, model_context
from gateway.vault.ipfs import FetchTimes
from gateway.vault.ipfs_add import add
from gateway.vault.manifest import Ciphertext, Manifest, Plaintext, sign_manifest
from gateway.vault.wrap import parse_recipient, wrap_for

MODELS_FOLDER = HERE.parents[1] / "models"
MODELS = ("mnist", "nab", "rt-iot2022-normal")
OURS = ("gateway", "signatures", "scoring")
_WORKERS = {"gateway.crypto.worker": "signatures", "gateway.detection.worker": "scoring"}
_PUBLISHER = 800
_YEAR_MS = 365 * 86_400_000


class FootprintStack(Stack):
    """A broker, a gateway with its children, and a node where ``on_chain``.

    Args:
        folder: of all of them.
        devices: how many are registered.
        models: three of models/, published on the chain, granted, and brought by the gateway's own delivery.
    """

    def __init__(self, folder: Path, devices: int, *, on_chain: bool = False, models: bool = False) -> None:
        super().__init__(folder, devices, on_chain=on_chain)
        self.log = folder / "gateway.log"
        if models:
            assert self.chain is not None
            log_key = load_pem_private_key((folder / "log-key.pem").read_bytes(), None).public_key()
            assert isinstance(log_key, Ed25519PublicKey)
            publish_models(self.chain, folder, log_key.public_bytes_raw())

    def processes(self) -> dict[str, psutil.Process]:
        assert self.gateway is not None
        assert self.broker.process is not None
        gateway = psutil.Process(self.gateway.pid)
        found = {"gateway": gateway}
        for child in gateway.children():
            module = next((word for word in child.cmdline() if word in _WORKERS), None)
            if module is not None:
                found[_WORKERS[module]] = child
        found["broker"] = psutil.Process(self.broker.process.pid)
        if self.chain is not None:
            found["node"] = psutil.Process(self.chain.node.pid)
        return found

    def memory(self) -> dict[str, Any]:
        """Megabytes of each of the gateway's processes, resident and proportional, and their sums.

        ``once_mb`` counts what is their own, and each file once, however many of them map it. Unlike PSS it does not
        depend on what else runs on the machine with the same libraries.
        """
        found: dict[str, Any] = {}
        files: dict[str, int] = {}
        own = 0
        for name, process in self.processes().items():
            if name in OURS:
                maps = process.memory_maps(grouped=True)
                for each in maps:
                    shared = each.rss - each.anonymous
                    files[each.path] = max(files.get(each.path, 0), shared)
                    own += each.anonymous
                rss, pss = (sum(getattr(each, kind) for each in maps) for kind in ("rss", "pss"))
                found[name] = {"rss_mb": round(rss / 1e6, 1), "pss_mb": round(pss / 1e6, 1)}
        sums = {key: round(sum(each[key] for each in found.values()), 1) for key in ("rss_mb", "pss_mb")}
        return found | {"sum": sums | {"once_mb": round((own + sum(files.values())) / 1e6, 1)}}

    def wait_for_models(self, timeout_s: float = 120) -> None:
        """Until the scoring process has all of them.

        Raises:
            RuntimeError: it does not.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            models = self.status()["models"]["models"]
            if all(models[name]["running"] for name in MODELS):
                return
            time.sleep(0.5)
        raise RuntimeError(f"the models do not come: {json.dumps(models)}\n{self.log.read_text()[-4000:]}")

    def disk(self) -> dict[str, int]:
        """Bytes on the disk below data_dir, by the name of the file or its folder."""
        data = self.folder / "data"
        found: dict[str, int] = defaultdict(int)
        for path in data.rglob("*"):
            if path.is_file():
                found[path.relative_to(data).parts[0]] += path.stat().st_blocks * 512
        return dict(found)

    def flood(self, rate: int, seconds: int) -> dict[str, Any]:
        """So many messages a second that are all refused."""
        done = subprocess.run(
            [sys.executable, str(HERE / "footprint_flood.py"), "--port", str(self.broker.port), "--username", "bench",
             "--password", ACCOUNTS["bench"], "--keys", str(self.keys), "--fleet", FLEET, "--rate", str(rate),
             "--messages", str(rate * seconds), "--devices", "1000"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr)
        report: dict[str, Any] = json.loads(done.stdout)
        return report


def publish_models(chain: BenchChain, folder: Path, log_key: bytes) -> None:
    """Three models on the chain, granted to the gateway, their blocks in its store; and its configuration says so."""
    private = X25519PrivateKey.generate()
    key_file, store = folder / "hpke.pem", folder / "blocks"
    key_file.touch(mode=0o600)
    key_file.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = private.public_key().public_bytes_raw()
    world = chain.world
    world.block_each()
    miner = (GATEWAY, FLEET, log_key, public, world.account)
    world.chain.send(world.chain.registrar, world.chain.registry, "renewMiner", miner)
    models = Models(world.chain)
    models.register(number=_PUBLISHER)
    for name in MODELS:
        cid, named = asyncio.run(_bundle(name, store, public))
        models.publish(name, 1, cid=cid, sha256=named)
        models.send(models.granter, "grant", name, [GATEWAY])
    world.mine(3)
    world.block_every(BLOCK_S)
    config = folder / "gateway.toml"
    text = config.read_text().replace("[chain]\n", f'[chain]\nmodel_registry = "{models.contract.address}"\n')
    text = text.replace("[gateway]\n", f'[gateway]\nhpke_key_file = "{key_file}"\n')
    config.write_text(
        f'{text}\n[models]\nenabled = {json.dumps(MODELS)}\n[ipfs]\nsources = ["store"]\nblock_store = "{store}"\n'
    )


async def _bundle(name: str, folder: Path, recipient: bytes) -> tuple[str, bytes]:
    """Encipher a model and put it into the block store; the address and the hash of its manifest."""
    plain = (MODELS_FOLDER / f"{name}.tflite").read_bytes()
    key, salt, now_ms = os.urandom(32), os.urandom(24), time.time_ns() // 1_000_000
    secret = b"".join(encrypt([plain], key, model_context(name, 1), salt))
    digest = hashlib.sha256(secret).digest()
    store = BlockStore(folder, 1 << 30)
    manifest = Manifest(
        name, 1,
        Ciphertext(await _add(store, secret), len(secret), digest),
        Plaintext(len(plain), hashlib.sha256(plain).digest()),
        spec_from_json((MODELS_FOLDER / f"{name}.spec.json").read_text()),
        hashlib.sha256(name.encode()).digest(), {"accuracy": 0.9}, None,
        wrap_for({GATEWAY: parse_recipient(recipient)}, key, name, 1, digest),
        now_ms - 1000, now_ms + _YEAR_MS,
    )  # fmt: skip
    signer = Ed25519PrivateKey.from_private_bytes(_PUBLISHER.to_bytes(32, "big"))
    envelope = sign_manifest(manifest, PublicKey(Alg.ED25519, ed25519_key(_PUBLISHER)), signer.sign)
    return await _add(store, envelope), hashlib.sha256(envelope).digest()


async def _add(store: BlockStore, data: bytes) -> str:
    async def chunks() -> Any:
        yield data

    return str((await add(chunks(), store, times=FetchTimes(), monotonic_s=time.monotonic)).root)
