"""What a chain's endpoint said about one proof or one log, as values (pure).

``gateway.chain.evidence`` collects them, ``gateway.tlog.onchain`` and ``gateway.tlog.peer`` weigh them. They are in
the order of the chain, and nothing of them is believed because it is here.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.crypto.keys import PublicKey
from gateway.envelope.decoding import decode
from gateway.message import Rejected
from gateway.registry.port import Status
from gateway.tlog.entry import EntryError, MessageEntry, parse_entry
from gateway.tlog.proof import ProofFile
from gateway.tlog.verification import ENVELOPE_BYTES_MAX


class Spot(NamedTuple):
    """Where on the chain something stands, and that block's time (seconds since 1970, by the chain's clock)."""

    block: int
    block_hash: bytes
    tx_hash: bytes
    time_s: int


class Enrolled(NamedTuple):
    """The registration of a device. ``key`` is None when it is no key that we would take."""

    at: Spot
    fleet: str
    key: PublicKey | None


class Moved(NamedTuple):
    """A change of status, of a device or a miner."""

    at: Spot
    status: Status


class Keyed(NamedTuple):
    """From here on this was the log's key, and this the account that may anchor; ``renewed``: in place of others."""

    at: Spot
    log_key: bytes
    account: bytes
    renewed: bool


class AnchoredRoot(NamedTuple):
    """The contract took a root as the head of the log."""

    at: Spot
    size: int
    root: bytes
    account: bytes


class TwoRoots(NamedTuple):
    """The contract was given a second root of one size, and froze the log."""

    at: Spot
    size: int
    anchored_root: bytes
    claimed_root: bytes


class Evidence(NamedTuple):
    """What one endpoint said about one proof, in the order of the chain.

    ``anchors`` are the log's by the anchor's transaction in the anchor's block; ``has_receipt`` says whether the
    transaction's receipt was there to confirm them. ``canonical`` is the hash that the chain has at the anchor's
    height. ``final`` is the newest final block.
    """

    endpoint: str
    chain_id: int
    registry: bytes
    anchor_log: bytes
    log_id: bytes
    final: int
    enrolled: Enrolled | None = None
    device_moves: tuple[Moved, ...] = ()
    keyed: tuple[Keyed, ...] = ()
    miner_moves: tuple[Moved, ...] = ()
    anchors: tuple[AnchoredRoot, ...] = ()
    has_receipt: bool = False
    canonical: bytes | None = None
    two_roots: tuple[TwoRoots, ...] = ()


class LogHistory(NamedTuple):
    """All that one endpoint has of one log, up to its head; anchors come without their times."""

    endpoint: str
    head: int
    final: int
    anchors: tuple[AnchoredRoot, ...]
    keyed: tuple[Keyed, ...]
    two_roots: tuple[TwoRoots, ...]


class Unreached(NamedTuple):
    """An endpoint that gave no evidence, and why not."""

    endpoint: str
    why: str


Answer = Evidence | Unreached


class Subject(NamedTuple):
    """What a chain is asked about: read from the file, so nothing but names. ``logged_ms`` is the gateway's word."""

    origin: str
    miner_id: str
    device_id: str | None
    fleet: str | None
    logged_ms: int | None


def subject_of(proof: ProofFile) -> Subject:
    """Return the names to look up; None where the file has no message or no entry."""
    envelope = decode(proof.envelope, None, max_bytes=ENVELOPE_BYTES_MAX)
    message = None if isinstance(envelope, Rejected) else envelope
    try:
        entry = parse_entry(proof.entry)
    except EntryError:
        entry = None
    origin = proof.tlog_proof.checkpoint.origin
    return Subject(
        origin,
        origin.rpartition("/")[2],
        None if message is None else message.device_id,
        None if message is None else message.fleet,
        entry.time_ms if isinstance(entry, MessageEntry) else None,
    )
