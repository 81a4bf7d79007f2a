"""What the journal's tests build their groups with."""

from hashlib import sha256

import cbor2

from gateway.config.model import JournalConfig
from gateway.journal import EntryRow, Group, MessageRow, QuarantineRow

ORIGIN = "securenet/plant/gw-1"
SMALL = JournalConfig(budget_bytes=16 << 20, quarantine_bytes=64 << 10, retention_s=60)


def entry(index, time_ms=1_000):
    return cbor2.dumps(["securenet.entry/1", "message", time_ms, sha256(b"%d" % index).digest(), f"dev-{index % 7}"])


def entries(first, count, time_ms=1_000):
    return [EntryRow(index, entry(index, time_ms)) for index in range(first, first + count)]


def message(index, envelope=b"envelope"):
    return MessageRow(index, f"dev-{index % 7}", b"session!", index, envelope, b"s" * 64)


def messages(first, count, envelope=b"envelope"):
    return [message(index, envelope) for index in range(first, first + count)]


def group(first, count, time_ms=1_000, envelope=b"envelope", **more):
    return Group(entries(first, count, time_ms), messages(first, count, envelope), **more)


def refused(payload=b"junk", reason="bad-signature", detail=""):
    return QuarantineRow(5_000, reason, "mqtt", "dev-1", "dev-1", detail, payload)
