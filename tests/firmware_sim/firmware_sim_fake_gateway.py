"""A gateway in a few lines, for the fleet's own tests: it decides by the page, keeps all in memory, and is honest."""

import hashlib
import time
from collections import OrderedDict

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from firmware_sim import coap_packets as coap
from firmware_sim.envelope import open_envelope
from firmware_sim.keys import FleetKeys, new_key
from firmware_sim.kit_coap import CODES
from firmware_sim.ledger import SIGNED_REASONS
from firmware_sim.receipt import Receipt, fake_leaf_hash, issue_receipt

LIMIT = 65_536


def holds(key, opened):
    try:
        if key.alg == "Ed25519":
            public = ed25519.Ed25519PublicKey.from_public_bytes(key.public_key)
            public.verify(opened.signature, opened.signing_input)
        else:
            r, s = (int.from_bytes(part, "big") for part in (opened.signature[:32], opened.signature[32:]))
            public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.public_key)
            public.verify(encode_dss_signature(r, s), opened.signing_input, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


class FakeGateway:
    def __init__(self, keys: FleetKeys, gateway_id: str = "gw") -> None:
        self.keys = keys
        self.devices = {device.device_id: device for device in keys.devices if device.registered}
        self.log_key = new_key("Ed25519", b"log", gateway_id)
        self.origin = f"securenet/{keys.fleet}/{gateway_id}"
        self.receipts: dict[bytes, bytes] = {}
        self.identities: dict[tuple, bytes] = {}
        self.sessions: dict[str, OrderedDict[bytes, list]] = {}
        self.evicted: dict[str, float] = {}
        self.deaf = False

    def decide(self, data: bytes, topic_device: str | None = None):
        """Give (reason, digest): reason None means accepted now or before."""
        if len(data) > LIMIT:
            return "too-large", b""
        try:
            opened = open_envelope(data)
            digest = hashlib.sha256(opened.signing_input).digest()
            facts = opened.facts
        except Exception:  # noqa: BLE001 - whatever it is, it is no envelope
            return "malformed", b""
        if facts.seq >= 2**63:
            return "malformed", b""
        if facts.fleet != self.keys.fleet:
            return "wrong-fleet", digest
        if topic_device not in {None, facts.device_id}:
            return "identity-mismatch", digest
        device = self.devices.get(facts.device_id)
        if device is None or device.fleet != facts.fleet:
            return "device-unknown", digest
        if device.status != "active":
            return f"device-{device.status}", digest
        if len(opened.signature) != 64 or not holds(device.key, opened):
            return "bad-signature", digest
        return self._remember(facts, digest), digest

    def _remember(self, facts, digest):
        identity = (facts.device_id, facts.session, facts.seq)
        if identity in self.identities:
            return None if self.identities[identity] == digest else "sequence-reused"
        sessions = self.sessions.setdefault(facts.device_id, OrderedDict())
        if facts.session not in sessions and facts.issued_at <= self.evicted.get(facts.device_id, -1):
            return "stale-session"
        highest, newest = sessions.get(facts.session, (facts.seq, 0))
        if facts.seq < highest - 1_024:
            return "out-of-window"
        if facts.issued_at < time.time() - 86_400:
            return "too-old"
        if facts.issued_at > time.time() + 300:
            return "in-future"
        self.identities[identity] = digest
        sessions[facts.session] = [max(highest, facts.seq), max(newest, facts.issued_at)]
        if len(sessions) > 8:
            self.evicted[facts.device_id] = sessions.popitem(last=False)[1][1]
        self.receipts[digest] = self.issue(digest, len(self.receipts), None)
        return None

    def issue(self, digest, index, reason):
        leaf = None if index is None else fake_leaf_hash(digest)
        receipt = Receipt(digest, index, time.time_ns() // 1_000_000, reason is None, reason, leaf)
        return issue_receipt(self.log_key, self.origin, receipt)

    def on_mqtt(self, topic: str, data: bytes) -> tuple[str, bytes] | None:
        """Give topic and receipt, or None for silence."""
        if self.deaf:
            return None
        device = topic.split("/")[3]
        reason, digest = self.decide(data, device)
        if reason is None:
            return topic.replace("/up", "/receipt"), self.receipts[digest]
        if reason in SIGNED_REASONS:
            return topic.replace("/up", "/receipt"), self.issue(digest, None, reason)
        return None

    def on_coap(self, data: bytes) -> tuple[str, bytes]:
        reason, digest = self.decide(data)
        if reason is None:
            return "2.04", self.receipts[digest]
        return CODES[reason], reason.encode()


class FakeCoapServer:
    """Just enough of RFC 7252 and RFC 7959 to answer POSTs, with an Echo challenge for each peer's first message."""

    def __init__(self, gateway: FakeGateway) -> None:
        self.gateway = gateway
        self.bodies: dict = {}
        self.challenged: set = set()

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, exc):
        pass

    def error_received(self, exc):
        pass

    def datagram_received(self, data, peer):
        message = coap.decode(data)
        code, options, payload = self.answer(message, peer)
        answer = coap.CoapMessage(coap.ACK, coap.code_of(code), message.message_id, message.token, options, payload)
        self.transport.sendto(coap.encode(answer), peer)

    def answer(self, message, peer):
        if message.code != coap.POST:
            return "4.05", (), b""
        if peer not in self.challenged:
            self.challenged.add(peer)
            return "4.01", ((coap.ECHO, b"fresh"),), b""
        block = message.uint(coap.BLOCK1)
        body = message.payload
        if block is not None:
            body = (self.bodies.get(peer, b"") if block >> 4 else b"") + body
            self.bodies[peer] = body
            if block & 8:
                return "2.31", ((coap.BLOCK1, message.option(coap.BLOCK1)),), b""
        code, payload = self.gateway.on_coap(body)
        form = ((coap.CONTENT_FORMAT, b"\x12"),) if code == "2.04" else ()
        return code, form, payload
