"""The examples of docs/spec: a log of three entries with fixed keys. Run this file to write them into the pages.

A fenced block of a page whose first line is ``example NAME`` behind the fence is one of these; a test compares them.
"""

import json
import re
from pathlib import Path

from tlog_world import (
    DEVICE_KEY,
    DEVICE_SIGNING_KEY,
    LOG_KEY,
    LOG_SIGNING_KEY,
    NOW_MS,
    ORIGIN,
    TRUST,
    entry_of,
    envelope_of,
)

from gateway import cbor, receipt
from gateway.envelope.decoding import decode
from gateway.tlog import checkpoint, layout, merkle, proof, tiles, tlog_proof, verification
from gateway.tlog.entry import RejectionsEntry, encode_entry
from gateway.tlog.proof import ProofFile

PAGES = Path(__file__).parents[2] / "docs" / "spec"
BLOCK = re.compile(r"^```(\w*) example ([\w-]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WIDTH = 96

ENVELOPE = envelope_of()
ENTRIES = [
    entry_of(ENVELOPE),
    encode_entry(
        RejectionsEntry(NOW_MS + 60_000, NOW_MS, NOW_MS + 60_000, {"too-old": 3, "duplicate": 1}, (("dev-1", 4),))
    ),
    entry_of(envelope_of(seq=8), time_ms=NOW_MS + 61_000),
]


class Memory:
    """The three leaf hashes; no full tile."""

    leaves = tuple(map(merkle.leaf_hash, ENTRIES))

    def tile(self, level, index):
        return None

    def leaf_hashes(self, start, end):
        return self.leaves[start:end]


def wrapped(data):
    text = data.hex()
    return "\n".join(text[at : at + WIDTH] for at in range(0, len(text), WIDTH))


def diagnostic(value):
    """CBOR diagnostic notation (RFC 8949 section 8) of what these examples hold."""
    if isinstance(value, bytes):
        return f"h'{value.hex()}'"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{diagnostic(key)}: {diagnostic(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(diagnostic, value)) + "]"
    return json.dumps(value)


def described(data):
    """The diagnostic notation, an element a line, and the bytes."""
    value = cbor.decode(data, max_depth=4)
    items = list(value.items()) if isinstance(value, dict) else value
    lines = [
        f"{diagnostic(item[0])}: {diagnostic(item[1])}" if isinstance(value, dict) else diagnostic(item)
        for item in items
    ]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return "\n".join([opening, *(f"  {line}," for line in lines), closing, "", wrapped(data)])


def examples():
    """Return name → text, without the newline at the end."""
    digest = decode(ENVELOPE, None, max_bytes=65_536).digest
    leaves = Memory.leaves
    root = merkle.root_hash(leaves)
    body = checkpoint.checkpoint_body(ORIGIN, len(ENTRIES), root)
    note = checkpoint.sign(body, ORIGIN, lambda data: LOG_SIGNING_KEY.sign(data).signature, LOG_KEY.public_key)
    made = ProofFile(ENVELOPE, ENTRIES[0], tlog_proof.prove(Memory(), 0, note), DEVICE_KEY, LOG_KEY)
    payloads = {
        "accepted": receipt.receipt_payload(digest, 0, NOW_MS, None, leaves[0]),
        "rejected": receipt.receipt_payload(digest, None, NOW_MS, "too-old", None),
    }
    receipts = {
        name: receipt.assemble(
            ORIGIN, payload, LOG_SIGNING_KEY.sign(receipt.signing_input(ORIGIN, payload)).signature
        )
        for name, payload in payloads.items()
    }
    return {
        "keys": f"device seed {bytes(DEVICE_SIGNING_KEY).hex()}\nlog seed    {bytes(LOG_SIGNING_KEY).hex()}",
        "entry-message": described(ENTRIES[0]),
        "entry-rejections": described(ENTRIES[1]),
        "tree": "\n".join(
            [
                *(f"leaf {at}        {leaf.hex()}" for at, leaf in enumerate(leaves)),
                f"node 0-1      {merkle.node_hash(leaves[0], leaves[1]).hex()}",
                f"root, size 3  {root.hex()}",
            ]
        ),
        "tiles": "\n".join(
            [
                *(f"{tile.path}: {len(tile.data)} bytes" for tile in tiles.partial_tiles(Memory(), 3)),
                f"{layout.entries_path(0, 3)}: {len(layout.entry_bundle(ENTRIES))} bytes",
            ]
        ),
        "checkpoint": note.decode().removesuffix("\n"),
        "verifier-key": LOG_KEY.text,
        "tlog-proof": made.tlog_proof.text.removesuffix("\n"),
        "proof": proof.dump(made).decode().removesuffix("\n"),
        "verification": "\n".join(
            f"{'held' if step.held else 'FAILED'}  {step.name}: {step.sentence}"
            for step in verification.verify(made, TRUST).steps
        ),
        "receipt-payload": described(payloads["accepted"]),
        "receipt-signing-input": wrapped(receipt.signing_input(ORIGIN, payloads["accepted"])),
        "receipt": wrapped(receipts["accepted"]),
        "receipt-rejected": f"{described(payloads['rejected'])}\n\n{wrapped(receipts['rejected'])}",
    }


def filled(page, made):
    """Return the page with every example block replaced by what it has to be."""
    return BLOCK.sub(lambda match: f"```{match[1]} example {match[2]}\n{made[match[2]]}\n```", page)


if __name__ == "__main__":
    MADE = examples()
    for path in sorted(PAGES.glob("*.md")):
        path.write_text(filled(path.read_text(), MADE))
