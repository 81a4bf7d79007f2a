"""The page's own sentences: what a stable word means, and what to do about it (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from gateway.anchor.lifecycle import State
from gateway.message import RejectReason, Verdict


class Explained(NamedTuple):
    """One sentence each."""

    means: str
    do: str


REASONS: Final[Mapping[RejectReason, Explained]] = {
    RejectReason.TOO_LARGE: Explained(
        "The message has more bytes than limits.message_bytes.",
        "Let the device send less at once, or raise the limit.",
    ),
    RejectReason.MALFORMED: Explained(
        "The bytes are no device message in COSE or JWS.",
        "Look at the record in the quarantine: its detail says which rule was broken; update the device's firmware.",
    ),
    RejectReason.WRONG_FLEET: Explained(
        "The device signed the message for another fleet.",
        "Set the fleet in the device, or point it to the gateway of its own fleet.",
    ),
    RejectReason.IDENTITY_MISMATCH: Explained(
        "The topic names another device or fleet than the message that was signed.",
        "Let the device publish under its own id; somebody else's credentials on the broker look the same.",
    ),
    RejectReason.DEVICE_UNKNOWN: Explained(
        "No device of this id is registered.",
        "Register it (securenet device register, or the registry file), or find out who sends under this name.",
    ),
    RejectReason.DEVICE_SUSPENDED: Explained(
        "The registry holds this device as suspended.",
        "Reinstate it when it may be heard again: securenet device reinstate.",
    ),
    RejectReason.DEVICE_REVOKED: Explained(
        "The registry holds this device as revoked, for ever.",
        "Give a device that goes on another id and key; one that should be gone is still powered.",
    ),
    RejectReason.ALG_MISMATCH: Explained(
        "The message is signed by another algorithm than the registered key's.",
        "Compare the key in the registry with the one in the device.",
    ),
    RejectReason.RATE_LIMITED: Explained(
        "The device, or the address that it came from, sent more than its allowance.",
        "Let it send less often, or raise its allowance in [limits]; a flood is refused on purpose.",
    ),
    RejectReason.BAD_SIGNATURE: Explained(
        "The signature does not hold under the registered key.",
        "Compare the device's key with the registry; if they are equal, somebody is changing or forging messages.",
    ),
    RejectReason.DUPLICATE: Explained(
        "The message was accepted before, and its first receipt is sent again.",
        "Nothing: this is how a device makes sure. Many of them mean that answers do not reach it.",
    ),
    RejectReason.SEQUENCE_REUSED: Explained(
        "The device signed two different messages under one number.",
        "Treat its key as copied until shown otherwise: suspend the device, look at it, give it another key.",
    ),
    RejectReason.STALE_SESSION: Explained(
        "The message belongs to a session older than the eight that are remembered.",
        "A device that empties an old buffer may lose it; a replay of recorded messages looks the same.",
    ),
    RejectReason.OUT_OF_WINDOW: Explained(
        "The number lies more than 1,024 below the highest of its session.",
        "Let the device send its backlog in order; a replay of recorded messages looks the same.",
    ),
    RejectReason.TOO_OLD: Explained(
        "The device says that it made the message too long ago.",
        "Set the device's clock, or raise limits.max_age_s.",
    ),
    RejectReason.IN_FUTURE: Explained(
        "The device says that it made the message in the future.",
        "Compare the device's clock with the gateway's.",
    ),
}

VERDICTS: Final[Mapping[Verdict, str]] = {
    Verdict.UNSCORED: "No model judged the message.",
    Verdict.NORMAL: "The model saw nothing unusual.",
    Verdict.ANOMALOUS: "The model's score is at or above its threshold.",
    Verdict.CLASSIFIED: "The model gave the message a label.",
}

ANCHOR_STATES: Final[Mapping[State, str]] = {
    State.SEALED: "Chosen; there is no transaction yet.",
    State.SIGNED: "Signed and kept; no endpoint took it yet.",
    State.BROADCAST: "Sent; it waits for a block.",
    State.REPLACED: "A higher bid was made under the same nonce; this one may still win.",
    State.MINED: "In a block that is not final yet.",
    State.REVERTED: "In a block, and anchored nothing.",
    State.DISPLACED: "Another program's transaction took its nonce.",
    State.REORGED: "Its block is gone from the chain; it is sent again.",
    State.FINAL: "Final: no reorganisation takes it back.",
    State.FAILED: "A final block has it, and it anchored nothing.",
    State.SUPERSEDED: "Another attempt under the same nonce won.",
    State.ABANDONED: "Given up; a later checkpoint covers its entries.",
}

PROOF_STEPS: Final[Mapping[str, str]] = {
    "file": "The file is a proof",
    "envelope": "The bytes are a device message",
    "device-signature": "The device signed it",
    "entry": "The log entry speaks of this message",
    "inclusion": "The entry is in the log's tree",
    "checkpoint": "The gateway signed the checkpoint",
    "anchor-consistency": "Checkpoint and anchored root are of one log",
    "anchor-on-chain": "The chain has that root",
}

PROOF_CAVEATS: Final = (
    "This page belongs to the gateway whose log is judged here: whoever has the gateway can make it say anything.",
    "No chain was asked. What is said of an anchor is this gateway's own record.",
    "An auditor runs securenet proof verify on a machine of their own, with keys and endpoints that they trust.",
)


def glossary() -> dict[str, object]:
    """All of it, as the page asks for it once."""
    return {
        "reasons": {reason.value: words._asdict() for reason, words in REASONS.items()},
        "verdicts": {verdict.value: words for verdict, words in VERDICTS.items()},
        "anchor_states": {state.value: words for state, words in ANCHOR_STATES.items()},
        "proof_steps": dict(PROOF_STEPS),
    }
