"""A gateway's files without the gateway: configuration, registry, keys, and a journal with messages in it."""

import asyncio
import json
from base64 import b64encode

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from nacl.signing import SigningKey

from gateway import cbor
from gateway.config.model import JournalConfig
from gateway.envelope.decoding import decode
from gateway.journal import CheckpointRow, EntryRow, Group, MessageRow, QuarantineRow, TileRow, open_journal
from gateway.message import Score
from gateway.tlog.checkpoint import VerifierKey, checkpoint_body, note
from gateway.tlog.entry import MessageEntry, message_entry
from gateway.tlog.merkle import leaf_hash
from gateway.tlog.tiles import TileWriter

ORIGIN = "securenet/plant/gw-1"
DEVICE = "urn:dev:mac:0024befffe804ff1"
SESSION = b"session!"
NOW_MS = 1_732_165_200_123
DEVICE_SIGNING_KEY = SigningKey(b"\x0d" * 32)
LOG_SEED = b"\x10" * 32
LOG_SIGNING_KEY = SigningKey(LOG_SEED)
LOG_KEY = VerifierKey(ORIGIN, bytes(LOG_SIGNING_KEY.verify_key))


def b64(data):
    return b64encode(bytes(data)).decode()


def device_line(device_id=DEVICE, key=None, **changes):
    public = bytes((DEVICE_SIGNING_KEY if key is None else key).verify_key)
    line = {"kind": "device", "id": device_id, "fleet": "plant", "alg": "Ed25519", "public_key": b64(public)}
    return {**line, "status": "active", **changes}


def miner_line(**changes):
    line = {"kind": "miner", "id": "gw-1", "fleet": "plant", "alg": "Ed25519", "public_key": b64(LOG_KEY.public_key)}
    return {**line, "status": "active", "log": ORIGIN, **changes}


def envelope_of(seq):
    claims = {3: "plant", 6: NOW_MS // 1000, 7: SESSION + seq.to_bytes(8, "big")}
    protected = cbor.encode({1: -19, 3: 50, 4: DEVICE.encode(), 15: claims})
    payload = b'{"temperature":21.5}'
    signature = DEVICE_SIGNING_KEY.sign(cbor.encode(["Signature1", protected, b"", payload])).signature
    return b"\xd2" + cbor.encode([protected, {}, payload, signature])


class World:
    """Everything below ``root``. ``messages`` go into the log; a checkpoint covers the first ``covered``."""

    def __init__(self, root):
        self.root = root
        self.data_dir = root / "data"
        self.config = root / "gateway.toml"
        self.registry = root / "registry.jsonl"
        self.log_key_file = root / "log-key.pem"
        key = Ed25519PrivateKey.from_private_bytes(LOG_SEED)
        self.log_key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.log_key_file.chmod(0o600)
        self.write_registry(device_line(), device_line("dev-2", status="suspended"), miner_line())
        self.config.write_text(
            f'[gateway]\nid = "gw-1"\nfleet = "plant"\ndata_dir = "{self.data_dir}"\n'
            f'log_key_file = "{self.log_key_file}"\n[registry]\nfile = "{self.registry}"\n[mqtt]\nenabled = false\n',
            encoding="utf-8",
        )

    def write_registry(self, *lines):
        self.registry.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    def fill(self, messages=3, covered=None, quarantine=()):
        asyncio.run(self._fill(messages, messages if covered is None else covered, quarantine))
        return self

    async def _fill(self, messages, covered, quarantine):
        journal = open_journal(self.data_dir, JournalConfig(), origin=ORIGIN).journal
        tree = TileWriter()
        entries, rows, tiles, checkpoint = [], [], [], None
        for index in range(messages):
            data = envelope_of(index)
            known = decode(data, None, max_bytes=1 << 20)
            entry = message_entry(MessageEntry(NOW_MS, known.digest, DEVICE, SESSION, index, *Score()))
            entries.append(EntryRow(index, entry))
            rows.append(MessageRow(index, DEVICE, SESSION, index, data, b"s" * 64))
            tiles += [TileRow(tile.level, tile.index, tile.data) for tile in tree.append(leaf_hash(entry))]
            if index + 1 == covered:
                body = checkpoint_body(ORIGIN, covered, tree.root())
                text = note(body, ORIGIN, LOG_SIGNING_KEY.sign(body).signature, LOG_KEY.public_key).decode()
                checkpoint = CheckpointRow(covered, tree.root(), text, NOW_MS)
        refused = [
            QuarantineRow(NOW_MS, reason, "mqtt", "dev-x", device, "our words", payload)
            for reason, device, payload in quarantine
        ]
        await journal.commit(Group(entries, rows, (), refused, tiles, checkpoint))
        await journal.close()
