"""A model from its publication to its first verdict, and back: the whole gateway, a real node, a real broker."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from pathlib import Path

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.contracts_kit import Models, ed25519_key
from support.custody import until
from support.fleet import devices
from support.gateway import Gateway
from support.libcoap import coap_client
from support.mosquitto import free_port

from firmware_sim.envelope import Facts, seal
from gateway.crypto.keys import PublicKey
from gateway.message import Alg
from gateway.tlog.entry import MessageEntry, ModelEntry, parse_entry
from gateway.training.export import spec_from_json
from gateway.training.mnist import drawn
from gateway.vault.blocks import BlockStore
from gateway.vault.cipher import encrypt, model_context
from gateway.vault.ipfs import FetchTimes
from gateway.vault.ipfs_add import add
from gateway.vault.manifest import Ciphertext, Manifest, Plaintext, sign_manifest
from gateway.vault.wrap import parse_recipient, wrap_for

MODELS = Path(__file__).resolve().parents[2] / "models"
MODEL, PUBLISHER = "mnist", 800
CBOR = 60
BUDGET_S = 10.0

pytestmark = [pytest.mark.slow, pytest.mark.libcoap, pytest.mark.timeout(180)]


class Publisher:
    """Enciphers, stores and publishes, as ``securenet model publish`` does, with a key that the chain knows."""

    def __init__(self, world, store: Path, gateway: str, recipient: bytes) -> None:
        self.models = Models(world.chain)
        self.models.register(number=PUBLISHER)
        self._world = world
        self._store = BlockStore(store, 1 << 30)
        self._recipients = {gateway: parse_recipient(recipient)}
        self._key = Ed25519PrivateKey.from_private_bytes(PUBLISHER.to_bytes(32, "big"))

    @property
    def address(self) -> str:
        return self.models.contract.address

    async def publish(self, version: int, *, expires_ms: int | None = None) -> bytes:
        """Publish the committed reader of digits; returns the SHA-256 of the manifest."""
        plain = (MODELS / "mnist.tflite").read_bytes()
        key, salt = os.urandom(32), os.urandom(24)
        secret = b"".join(encrypt([plain], key, model_context(MODEL, version), salt))
        digest = hashlib.sha256(secret).digest()
        now_ms = time.time_ns() // 1_000_000
        manifest = Manifest(
            MODEL,
            version,
            Ciphertext(await self._add(secret), len(secret), digest),
            Plaintext(len(plain), hashlib.sha256(plain).digest()),
            spec_from_json((MODELS / "mnist.spec.json").read_text()),
            hashlib.sha256(b"MNIST").digest(),
            {"accuracy": 0.9914},
            None,
            wrap_for(self._recipients, key, MODEL, version, digest),
            now_ms - 1000,
            expires_ms or now_ms + 86_400_000,
        )
        public = PublicKey(Alg.ED25519, ed25519_key(PUBLISHER))
        envelope = sign_manifest(manifest, public, self._key.sign)
        named = hashlib.sha256(envelope).digest()
        self.models.publish(MODEL, version, cid=await self._add(envelope), sha256=named)
        self._world.mine(2)
        return named

    def accesses(self) -> list[tuple[int, int]]:
        """What the gateways reported to the chain: version and result (1: loaded)."""
        found = self.models.contract.events.AccessReported.get_logs(from_block=0)
        return [(each["args"]["version"], each["args"]["result"]) for each in found]

    async def _add(self, data: bytes) -> str:
        async def chunks():
            yield data

        added = await add(chunks(), self._store, times=FetchTimes(), monotonic_s=time.monotonic)
        return str(added.root)


class Camera:
    """A device that sends images."""

    def __init__(self, record, port: int, folder: Path) -> None:
        self._record, self._port, self._folder, self._seq = record, port, folder, 0

    async def send(self, digit: int) -> None:
        """Sign an image of a digit and wait for the receipt."""
        self._seq += 1
        record = self._record
        payload = cbor2.dumps({"image": [int(grey) for grey in drawn(digit).ravel()]})
        facts = Facts(record.device_id, record.fleet, CBOR, round(time.time(), 3), b"cameras!", self._seq)
        file = self._folder / f"image-{self._seq}.cbor"
        file.write_bytes(seal("cose", record.key, facts, payload).data)
        _, said = await coap_client(
            *("-m", "post", "-t", "18", "-b", "1024", "-f", file), f"coap://127.0.0.1:{self._port}/v1/up"
        )
        assert "4." not in said, said
        assert "5." not in said, said


@pytest.fixture
def delivered(world, tmp_path):
    """A gateway that wants the model, registered with its HPKE key; a publisher; and a device with a camera."""
    folder, port = tmp_path / "gateway", free_port()
    private = X25519PrivateKey.generate()
    folder.mkdir(parents=True)
    key_file = folder / "hpke.pem"
    key_file.touch(mode=0o600)
    key_file.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = private.public_key().public_bytes_raw()
    publisher = Publisher(world, tmp_path / "blocks", Gateway.id, public)
    (record,) = devices(1)
    sections = world.sections()
    sections["chain"]["model_registry"] = publisher.address
    gateway = Gateway(
        folder,
        (),
        {
            **sections,
            "gateway": {"hpke_key_file": str(key_file)},
            "coap": {"host": "127.0.0.1", "port": port},
            "models": {"enabled": [MODEL]},
            "ipfs": {"sources": ["store"], "block_store": str(tmp_path / "blocks")},
            "log": {"checkpoint_interval_s": 0.5},
        },
    )
    world.fund()
    world.register_devices([record])
    world.register_miner(gateway, hpke_key=public)
    world.mine()
    gateway.start()
    yield gateway, publisher, Camera(record, port, tmp_path)
    gateway.end()


def entries(gateway) -> list:
    with gateway.reader() as reader:
        return [parse_entry(row.entry) for row in reader.entries(0, reader.size())]


def verdicts(gateway) -> list[tuple[str, str | None, bytes | None]]:
    return [(each.verdict, each.label, each.model) for each in entries(gateway) if isinstance(each, MessageEntry)]


def model_events(gateway) -> list[tuple[int, str, str | None]]:
    return [(each.version, each.event, each.reason) for each in entries(gateway) if isinstance(each, ModelEntry)]


async def test_a_published_model_reads_digits_and_goes_when_the_grant_goes(world, delivered):
    gateway, publisher, camera = delivered
    await gateway.ready()
    await camera.send(3)
    assert verdicts(gateway) == [("unscored", None, None)], "no model runs yet"

    named = await publisher.publish(1)
    publisher.models.send(publisher.models.granter, "grant", MODEL, [gateway.id])
    world.mine(2)
    final_s = time.monotonic()
    await until(lambda: (1, "loaded", None) in model_events(gateway), 60)
    for digit in (7, 0, 4):
        await camera.send(digit)
    took_s = time.monotonic() - final_s
    assert verdicts(gateway)[1:] == [("classified", label, named) for label in "704"]
    print(f"finality to three scored messages: {took_s:.1f} s")
    assert took_s < BUDGET_S

    await until(lambda: world.mine() or publisher.accesses() == [(1, 1)], 60)

    publisher.models.send(publisher.models.granter, "ungrant", MODEL, [gateway.id])
    await publisher.publish(2)
    told = {}
    for _ in range(200):
        told = (await gateway.status() or {})["models"]["models"][MODEL]
        if told["refused"] == 2:
            break
        await asyncio.sleep(0.1)
    assert (told["refused"], told["reason"], told["running"]) == (2, "not-granted", 1), told
    assert (2, "loaded", None) not in model_events(gateway)


async def test_a_gateway_that_starts_again_brings_its_model_back_by_itself(world, delivered):
    gateway, publisher, camera = delivered
    await gateway.ready()
    await publisher.publish(1)
    publisher.models.send(publisher.models.granter, "grant", MODEL, [gateway.id])
    world.mine(2)
    await until(lambda: (1, "loaded", None) in model_events(gateway), 60)
    assert await gateway.stop() == 0
    gateway.start()
    await gateway.ready()
    await until(lambda: len(model_events(gateway)) >= 2, 60)
    await camera.send(9)
    assert [label for _, label, _ in verdicts(gateway)] == ["9"]
