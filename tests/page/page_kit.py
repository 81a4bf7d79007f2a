"""A gateway as its page sees it: a real journal full of records, a real registry, a status in the gateway's shape."""

import asyncio
import math
import time
from contextlib import closing
from pathlib import Path

from nacl.signing import SigningKey

from gateway import cbor
from gateway.cli.proof_export import build_proof
from gateway.config.load import parse_config
from gateway.config.model import JournalConfig
from gateway.crypto.keys import parse_public_key
from gateway.envelope.decoding import decode
from gateway.ingest.counters import Counters
from gateway.journal import (
    AnchorRow,
    CheckpointRow,
    EntryRow,
    Group,
    MessageRow,
    ModelEnvelope,
    ModelRow,
    QuarantineRow,
    RanState,
    RanVersion,
    ReportRow,
    TileRow,
    open_journal,
    open_reader,
)
from gateway.message import Alg, RejectReason, Verdict
from gateway.ops.http.server import make_app
from gateway.ops.page import mount
from gateway.registry.port import Device, Miner, SnapshotBuilder, Status
from gateway.tlog.checkpoint import checkpoint_body, note
from gateway.tlog.entry import KeyEntry, MessageEntry, ModelEntry, RejectionsEntry, ResponseEntry, encode_entry
from gateway.tlog.merkle import leaf_hash
from gateway.tlog.proof import dump
from gateway.tlog.tiles import TileWriter
from gateway.vault.manifest import manifest_sha256

VECTORS = Path(__file__).parents[1] / "vectors"
FLEET, GATEWAY = "plant-7", "gw-1"
ORIGIN = f"securenet/{FLEET}/{GATEWAY}"
NOW_MS = time.time_ns() // 10**9 * 1000
STEP_MS = 1_000
TOKEN = b"a-token-of-the-tests-32-characters"
XSS = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>'
PUMPS = tuple(f"urn:dev:pump-{number:02d}" for number in range(12))
MODEL = "pump-vibration"
MANIFEST = (VECTORS / "model-bundle" / "small" / "manifest.cose").read_bytes()
DEVICE_KEY = SigningKey(b"\x0d" * 32)
LOG_KEY = SigningKey(b"\x10" * 32)
HEADERS = {"X-SecureNet-Request": "test", "Sec-Fetch-Site": "same-origin"}


def public_key(signing_key):
    return parse_public_key(Alg.ED25519, bytes(signing_key.verify_key))


def registry_of(*ids, extra=0):
    builder = SnapshotBuilder()
    for number, device_id in enumerate((*ids, *(f"meter-{number:06d}" for number in range(extra)))):
        status = (Status.ACTIVE, Status.ACTIVE, Status.ACTIVE, Status.SUSPENDED, Status.ACTIVE, Status.REVOKED)[
            number % 6
        ]
        builder.add(Device(device_id, FLEET, public_key(DEVICE_KEY), status))
    builder.add(Miner(GATEWAY, FLEET, public_key(LOG_KEY), Status.ACTIVE, ORIGIN))
    return builder.build(NOW_MS - 5_000)


def envelope_of(device_id, session, seq):
    protected = cbor.encode(
        {1: -19, 3: 50, 4: device_id.encode(), 15: {3: FLEET, 6: NOW_MS // 1000, 7: session + seq.to_bytes(8, "big")}}
    )
    payload = b'{"temperature":21.5}'
    signature = DEVICE_KEY.sign(cbor.encode(["Signature1", protected, b"", payload])).signature
    return b"\xd2" + cbor.encode([protected, {}, payload, signature])


def entry_at(index):
    """The entry of an index: mostly messages of the pumps, and now and then each of the other kinds."""
    time_ms = NOW_MS - 1_000_000 + index * STEP_MS
    if index == 4:
        return ModelEntry(time_ms, MODEL, 3, manifest_sha256(MANIFEST), "loaded", None)
    if index == 5:
        return ModelEntry(time_ms, MODEL, 4, b"\x44" * 32, "refused", "manifest-signature")
    if index == 6:
        return KeyEntry(time_ms, b"\x01" * 32, bytes(LOG_KEY.verify_key))
    if index == 7:
        return ResponseEntry(time_ms, PUMPS[3], "isolated", XSS, (1, 2))
    if index % 60 == 59:
        return RejectionsEntry(
            time_ms, time_ms - 60_000, time_ms, {"bad-signature": index, "malformed": 2}, ((PUMPS[1], 9),)
        )
    return None


def message_at(index, session=b"session!"):
    device_id = PUMPS[index % len(PUMPS)]
    data = envelope_of(device_id, session, index)
    digest = decode(data, None, max_bytes=1 << 20).digest
    value = round(0.2 + 0.1 * math.sin(index / 20) + (0.6 if index % 97 == 96 else 0.0), 4)
    scored = (Verdict.UNSCORED, None, None, None)
    if index >= 20:
        verdict = Verdict.ANOMALOUS if value > 0.5 else Verdict.NORMAL
        scored = (verdict, manifest_sha256(MANIFEST), value, None)
        if index % 50 == 0:
            scored = (Verdict.CLASSIFIED, manifest_sha256(MANIFEST), value, XSS)
    entry = MessageEntry(NOW_MS - 1_000_000 + index * STEP_MS, digest, device_id, session, index, *scored)
    return entry, MessageRow(index, device_id, session, index, data, b"s" * 64)


def refused_rows():
    reasons = list(RejectReason)
    rows = [
        QuarantineRow(
            *(NOW_MS - 40_000 + number * 500, reasons[number % len(reasons)].value, "mqtt", PUMPS[number % 12]),
            *(PUMPS[number % 12], "our words", bytes(range(256)) * 3),
        )
        for number in range(40)
    ]
    evil = QuarantineRow(NOW_MS, "malformed", "coap", XSS, XSS, XSS, XSS.encode() + b"\x00\x1b[31m")
    return [*rows, evil]


def anchor_rows(roots):
    size, root = roots
    common = {"chain_id": 31337, "contract": b"\xc0" * 20, "account": b"\xac" * 20}
    final = AnchorRow(
        *(1, 31337, b"\xc0" * 20, size, root, "final", False, NOW_MS - 600_000, NOW_MS - 500_000, b"\xac" * 20, 7),
        *(2_000_000_000, 1_000_000_000, None, b"\x77" * 32, 1234, b"\xbb" * 32, 61_234, 1_500_000_000, ""),
    )
    older = [
        AnchorRow(
            *(2 + number, common["chain_id"], common["contract"], 100 + number, b"\x22" * 32, state, False),
            *(NOW_MS - 400_000 + number, NOW_MS - 300_000, common["account"], 8 + number, 2_000_000_000, None, None),
            *(bytes([0x30 + number]) * 32, 1300 + number, b"\xbb" * 32, 60_000, 1_500_000_000, ""),
        )
        for number, state in enumerate(("failed", "superseded", "abandoned"))
    ]
    return [final, *older, AnchorRow(9, 31337, b"\xc0" * 20, size, root, "sealed", True, NOW_MS, NOW_MS, detail=XSS)]


class PageWorld:
    """Everything below ``root``, and the view of it."""

    def __init__(self, root, *, messages=600, extra=0, token=TOKEN, chain=True):
        self.data_dir = root / "data"
        self.registry = registry_of(*PUMPS, extra=extra)
        self.counters = Counters()
        self.asked = []
        self.ready = True
        self.chain = chain
        self.messages = messages
        self.token = token
        self.config = parse_config(
            f'[gateway]\nid = "{GATEWAY}"\nfleet = "{FLEET}"\ndata_dir = "{self.data_dir}"\n'
            f'[http]\ntoken_file = "{root}/token"\n[mqtt]\nenabled = false\n',
            root / "gateway.toml",
        )
        asyncio.run(self._fill(messages))
        self._count(messages)

    async def _fill(self, messages):
        journal = open_journal(self.data_dir, JournalConfig(), origin=ORIGIN).journal
        tree, entries, rows, tiles = TileWriter(), [], [], []
        half = None
        for index in range(messages):
            other = entry_at(index)
            if other is None:
                known, row = message_at(index)
                rows.append(row)
            else:
                known = other
            data = encode_entry(known)
            entries.append(EntryRow(index, data))
            tiles += [TileRow(tile.level, tile.index, tile.data) for tile in tree.append(leaf_hash(data))]
            if index + 1 == messages // 2:
                half = self._checkpoint(tree, index + 1)
        await journal.commit(Group(entries, rows, (), refused_rows(), tiles, half))
        newest = self._checkpoint(tree, messages)
        await journal.commit(Group(checkpoint=newest))
        await journal.record_anchors(anchor_rows((half.size, half.root)))
        await journal.record_model(
            ModelRow(MODEL, 3, (RanVersion(3, manifest_sha256(MANIFEST), RanState.GOOD),)), ModelEnvelope(3, MANIFEST)
        )
        await journal.report_model(ReportRow(NOW_MS - 1_000_000 + 4 * STEP_MS, MODEL, 3, 1, ""))
        await journal.report_model(ReportRow(NOW_MS - 1_000_000 + 5 * STEP_MS, MODEL, 4, 2, "manifest-signature"))
        await journal.close()

    @staticmethod
    def _checkpoint(tree, size):
        body = checkpoint_body(ORIGIN, size, tree.root())
        text = note(body, ORIGIN, LOG_KEY.sign(body).signature, bytes(LOG_KEY.verify_key)).decode()
        return CheckpointRow(size, tree.root(), text, NOW_MS)

    def _count(self, messages):
        self.counters.received["mqtt"] = messages + 41
        self.counters.accepted = messages
        for row in refused_rows():
            self.counters.rejected[row.reason] += 1
        for each in range(messages):
            self.counters.latency.add(each % 40)
        self.counters.verdicts.update({"unscored": 20, "normal": messages - 40, "anomalous": 14, "classified": 6})

    def tick(self, accepted=70, rejected=3):
        """More messages came: the page's rates move."""
        self.counters.received["mqtt"] += accepted + rejected
        self.counters.accepted += accepted
        self.counters.rejected["rate-limited"] += rejected
        for each in range(accepted):
            self.counters.latency.add(5 + each % 30)

    def open_log(self):
        return closing(open_reader(self.data_dir))

    def status(self):
        counters, counts = self.counters, self.registry.counts
        problem = "mqtt is down: the broker at 127.0.0.1:1883 refuses connections; is mosquitto running?"
        state = ("up", "") if self.ready else ("down", "the broker refuses connections")
        return {
            "gateway": GATEWAY,
            "fleet": FLEET,
            "origin": ORIGIN,
            "version": "0.1.0",
            "ready": self.ready,
            "reasons": [] if self.ready else [{"reason": "mqtt-down", "detail": "refused"}],
            "problems": [] if self.ready else [problem],
            "warnings": [f"the model {XSS} does not run"] if self.chain else [],
            "uptime_s": 86_412,
            "log_size": self.messages,
            "received": dict(counters.received),
            "accepted": counters.accepted,
            "rejected": dict(counters.rejected),
            "pushed_back": 4,
            "answered": counters.accepted,
            "quarantined": 41,
            "verdicts": dict(counters.verdicts),
            "waiting": 3,
            "queue_messages": 4096,
            "not_taken": 0,
            "groups": 80,
            "commit_faults": 0,
            "p50_ms": counters.latency.quantile_ms(0.5),
            "p99_ms": counters.latency.quantile_ms(0.99),
            "crypto_restarts": 0,
            "registry": {**counts._asdict(), "as_of_ms": self.registry.as_of_ms},
            "transports": {"mqtt": {"state": state[0], "detail": state[1], "restarts": 1, "counters": {}}},
            "disk_bytes": 812 << 20,
            "budget_bytes": 4 << 30,
            "certificates": [{"name": "mqtt client", "not_after_ms": NOW_MS + 20 * 86_400_000, "path": "client.pem"}],
            "clock": {"trusted": True, "why": "the kernel calls it synchronised", "offset_ms": 12, "steps": 0},
            **(self._chain() if self.chain else {"chain": None, "anchors": None, "models": None}),
        }

    def _chain(self):
        return {
            "chain": {"id": 31337, "state": "up", "since_ms": NOW_MS, "detail": "", "endpoints": [], "registry": {}},
            "anchors": {
                "state": "size 300 is final; the next anchor is sealed in 212 s",
                "final_size": 300,
                "final_ms": NOW_MS - 500_000,
                "sealed_size": 300,
                "unanchored": 300,
                "hold": None,
                "account": "0x" + "ac" * 20,
                "balance_wei": 10**18,
                "nonce": 8,
                "transactions": 4,
                "gas_used_total": 241_234,
                "counts": {"final": 1, "failed": 1, "superseded": 1, "abandoned": 1, "sealed": 1},
                "next_at_ms": NOW_MS + 212_000,
            },
            "models": {
                "caught_up": True,
                "frozen": False,
                "final_s": NOW_MS // 1000,
                "scoring": {
                    "worker": "up",
                    "restarts": 0,
                    "unscored": {},
                    "models": [{"model": MODEL, "version": 3, "scored": 560, "faults": 0, "put_aside": False}],
                },
                "models": {
                    MODEL: {
                        "newest": 4,
                        "floor": 2,
                        "granted": True,
                        "running": 3,
                        "put_aside": False,
                        "expired": False,
                        "highest": 3,
                        "refused": 4,
                        "reason": "manifest-signature",
                        "detail": "the publisher's key did not sign this",
                        "published": [
                            {
                                "version": 3,
                                "publisher": "0x" + "5e" * 20,
                                "manifest_cid": "bafkrei" + "m" * 52,
                                "revoked": False,
                                "block_number": 1201,
                                "tx_hash": "0x" + "42" * 32,
                            }
                        ],
                    }
                },
                "sources": [
                    {"label": "store", "fault": ""},
                    {"label": "kubo:http://127.0.0.1:5001", "fault": "refused"},
                ],
            },
        }

    async def _act(self, name):
        self.asked.append(name)
        return {"state": f"{name}: size 600 is sealed"}

    def app(self):
        """The application that the gateway would serve, with the page in it."""
        actions = {name: lambda name=name: self._act(name) for name in ("anchor-now", "reload")}
        return make_app(self.config.http, self, actions=actions, mount=(mount,), token=self.token)

    def proof(self, index=100):
        """A proof file of the message at ``index``, as ``securenet proof export`` writes it."""
        with open_reader(self.data_dir) as reader:
            return dump(build_proof(reader, index, self.config, self.registry))

    def evil_id(self):
        """The id of the refused message whose every word is an attack on the page."""
        with open_reader(self.data_dir) as reader:
            return reader.quarantine(limit=500)[-1].id
