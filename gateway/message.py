"""What a message becomes on its way through the house.

``RawMessage`` (bytes and who brought them) → ``Envelope`` (what the device signed) → ``VerifiedMessage``
(Algorithm 1 held) → ``ScoredMessage`` (a verdict) → one ``Outcome`` for the transport to answer with.
A failure on the way is a ``Rejected`` value, never an exception.

The hot types are named tuples: immutable, and the cheapest objects to make in Python.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, StrEnum
from typing import NamedTuple


class RejectReason(StrEnum):
    """Why a message was refused: the stable strings of logs, metrics, receipts and replies."""

    TOO_LARGE = "too-large"
    MALFORMED = "malformed"
    WRONG_FLEET = "wrong-fleet"
    IDENTITY_MISMATCH = "identity-mismatch"
    DEVICE_UNKNOWN = "device-unknown"
    DEVICE_SUSPENDED = "device-suspended"
    DEVICE_REVOKED = "device-revoked"
    ALG_MISMATCH = "alg-mismatch"
    RATE_LIMITED = "rate-limited"
    BAD_SIGNATURE = "bad-signature"
    DUPLICATE = "duplicate"
    SEQUENCE_REUSED = "sequence-reused"
    STALE_SESSION = "stale-session"
    OUT_OF_WINDOW = "out-of-window"
    TOO_OLD = "too-old"
    IN_FUTURE = "in-future"


class PushbackReason(StrEnum):
    """Why the gateway takes nothing at the moment; the message is not refused, it has to wait."""

    PUSHBACK = "pushback"
    MINER_UNKNOWN = "miner-unknown"
    MINER_SUSPENDED = "miner-suspended"
    REGISTRY_STALE = "registry-stale"


class Encoding(Enum):
    """How an envelope is written. ``OTHER``: a transport declared something that is neither."""

    COSE = "cose"
    JWS = "jws"
    OTHER = "other"


class Alg(StrEnum):
    """The signature algorithms a registered key can have."""

    ED25519 = "Ed25519"
    ES256 = "ES256"


class Accepted(NamedTuple):
    """The message is durable and in the log; ``receipt`` is the tagged COSE_Sign1."""

    receipt: bytes


class Duplicate(NamedTuple):
    """The message was accepted before; ``receipt`` is the first one, byte for byte."""

    receipt: bytes


class Refused(NamedTuple):
    """The message was refused and its quarantine record is durable.

    ``receipt`` is None when the signature did not hold or was never looked at. ``retry_after_s`` is set for
    ``rate-limited`` alone.
    """

    reason: RejectReason
    receipt: bytes | None = None
    retry_after_s: int | None = None


class Pushback(NamedTuple):
    """Nothing was decided: the transport must not acknowledge, and the sender is to come again."""

    reason: PushbackReason
    retry_after_s: int


Outcome = Accepted | Duplicate | Refused | Pushback
Reply = Callable[[Outcome], None]


class RawMessage(NamedTuple):
    """Bytes from a peer. Everything beside ``payload`` is routing, and proves nothing.

    ``peer`` is the key of rate-limit bucket A (on MQTT the topic's device, on CoAP the source address).
    ``fleet`` and ``device`` are what the MQTT topic says, None on CoAP. ``declared`` is the transport's content
    type, None when it gave none. ``reply`` is called exactly once, on the event loop, after durability.
    """

    payload: bytes
    transport: str
    peer: str
    received_ms: int
    reply: Reply
    fleet: str | None = None
    device: str | None = None
    declared: Encoding | None = None


class Envelope(NamedTuple):
    """The seven signed facts of a device message (FORMATS.md §2), nothing verified yet.

    ``alg`` is None for a well-formed value that no registered key can have. ``issued_at`` is in seconds since
    1970, ``session`` is 8 bytes, ``digest`` is SHA-256 of ``signing_input``.
    """

    encoding: Encoding
    device_id: str
    fleet: str
    alg: Alg | None
    content_format: int
    issued_at: float
    session: bytes
    seq: int
    payload: bytes
    signing_input: bytes
    signature: bytes
    digest: bytes


class Rejected(NamedTuple):
    """A refusal as a value. ``detail`` is our own words for the technician, never text of the device."""

    reason: RejectReason
    detail: str = ""


class VerifiedMessage(NamedTuple):
    """An envelope for which every step of Algorithm 1 held."""

    raw: RawMessage
    envelope: Envelope


class Verdict(StrEnum):
    """What detection said of a message."""

    UNSCORED = "unscored"
    NORMAL = "normal"
    ANOMALOUS = "anomalous"
    CLASSIFIED = "classified"


class Score(NamedTuple):
    """A verdict with its provenance: ``model`` is the SHA-256 of the model's manifest envelope, or None."""

    verdict: Verdict = Verdict.UNSCORED
    model: bytes | None = None
    score: float | None = None
    label: str | None = None


class ScoredMessage(NamedTuple):
    """A verified message and its verdict, ready for the journal."""

    message: VerifiedMessage
    score: Score
