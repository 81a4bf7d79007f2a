"""A small world with fixed keys: one device, one log, one message in it, and the proof of that message."""

from nacl.signing import SigningKey

from gateway import cbor
from gateway.crypto.keys import PublicKey
from gateway.envelope.decoding import decode
from gateway.message import Alg, Score, Verdict
from gateway.tlog import checkpoint, merkle, tiles, tlog_proof
from gateway.tlog.checkpoint import VerifierKey
from gateway.tlog.entry import MessageEntry, message_entry
from gateway.tlog.proof import Anchor, ProofFile, consistency_with
from gateway.tlog.verification import Trust

ORIGIN = "securenet/fleet-a/gw-1"
DEVICE = "urn:dev:mac:0024befffe804ff1"
NOW_MS = 1_732_165_200_123

DEVICE_SIGNING_KEY = SigningKey(b"\x0d" * 32)
LOG_SIGNING_KEY = SigningKey(b"\x10" * 32)
DEVICE_KEY = PublicKey(Alg.ED25519, bytes(DEVICE_SIGNING_KEY.verify_key))
LOG_KEY = VerifierKey(ORIGIN, bytes(LOG_SIGNING_KEY.verify_key))
TRUST = Trust(DEVICE_KEY, LOG_KEY)


def envelope_of(seq=7, payload=b'{"temperature":21.5}', device=DEVICE, signing_key=DEVICE_SIGNING_KEY, alg=-19):
    """A device message as FORMATS.md section 2 has it, COSE."""
    claims = {3: "fleet-a", 6: NOW_MS // 1000, 7: b"session!" + seq.to_bytes(8, "big")}
    protected = cbor.encode({1: alg, 3: 50, 4: device.encode(), 15: claims})
    signature = signing_key.sign(cbor.encode(["Signature1", protected, b"", payload])).signature
    return b"\xd2" + cbor.encode([protected, {}, payload, signature])


def entry_of(data, **changes):
    """The log entry of a device message."""
    envelope = decode(data, None, max_bytes=1 << 20)
    score = Score(Verdict.NORMAL, b"\x3d" * 32, 0.25)
    entry = MessageEntry(NOW_MS, envelope.digest, envelope.device_id, envelope.session, envelope.seq, *score)
    return message_entry(entry._replace(**changes))


class Log:
    """A log of ``size`` entries with ``entry`` at ``index`` and fillers around it, in memory."""

    def __init__(self, entry, index, size):
        self.leaves = [merkle.leaf_hash(b"filler %d" % n) for n in range(size)]
        self.leaves[index] = merkle.leaf_hash(entry)
        self.writer = tiles.TileWriter()
        self.full = {(tile.level, tile.index): tile.data for tile in self.writer.extend(self.leaves)}

    def tile(self, level, index):
        return self.full.get((level, index))

    def leaf_hashes(self, start, end):
        return self.leaves[start:end]

    def root(self, size):
        return tiles.root_at(self, size)

    def note(self, size, origin=ORIGIN, signing_key=LOG_SIGNING_KEY):
        """A signed checkpoint at ``size``."""
        body = checkpoint.checkpoint_body(origin, size, self.root(size))
        return checkpoint.note(body, origin, signing_key.sign(body).signature, bytes(signing_key.verify_key))

    def anchor(self, size):
        """An anchor at ``size``, with a chain around it that nobody looks at."""
        return Anchor(31337, b"\xc0" * 20, b"\x1d" * 32, size, self.root(size), b"\x7a" * 32, 123456, b"\xb1" * 32)


def proof_of(index=3, size=11, anchored=None, envelope=None, entry=None):
    """A proof of a message at ``index`` in a checkpoint of ``size``, anchored at ``anchored`` entries."""
    envelope = envelope_of() if envelope is None else envelope
    entry = entry_of(envelope) if entry is None else entry
    log = Log(entry, index, max(size, anchored or 0))
    anchor = None if anchored is None else log.anchor(anchored)
    return ProofFile(
        envelope=envelope,
        entry=entry,
        tlog_proof=tlog_proof.prove(tiles.EdgeReader(log, log.writer), index, log.note(size)),
        device_key=DEVICE_KEY,
        log_key=LOG_KEY,
        consistency=None if anchored is None else consistency_with(log, size, anchored),
        anchor=anchor,
    )
