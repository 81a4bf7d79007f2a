"""The proof file: one JSON document that convinces a stranger that a device said this and the log has it.

It carries the device's envelope as it was received, the log entry, the inclusion proof with the signed checkpoint,
and what is needed to compare that checkpoint with one anchored on a chain. The keys in it are hints that help to find
the real ones; a proof vouched for by its own keys proves nothing (``gateway.tlog.verification``).

``build`` makes the document, ``parse`` reads it strictly: bounded, no member that the format does not know, none
twice, one spelling for every value. docs/spec/proof.md is the page.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any, NamedTuple, NoReturn

from gateway.crypto.keys import KeyRefused, PublicKey, parse_public_key
from gateway.jsontext import require_shallow
from gateway.message import Alg
from gateway.tlog.checkpoint import CheckpointError, VerifierKey, parse_verifier_key
from gateway.tlog.merkle import HASH_BYTES
from gateway.tlog.text import NUMBER_MAX, from_base64, to_base64
from gateway.tlog.tiles import TileReader, consistency_proof
from gateway.tlog.tlog_proof import TlogProof, TlogProofError, decode

TYPE = "securenet.proof/1"
PROOF_BYTES_MAX = 2 << 20
CONSISTENCY_MAX = 64 + 63
"""More hashes than any consistency proof below 2^63 leaves has."""

_MEMBERS = frozenset(
    {"type", "envelope", "entry", "tlog_proof", "device_key", "log_key", "consistency", "anchor"},
)
_ANCHOR_BYTES = {"contract": 20, "log_id": 32, "root": HASH_BYTES, "tx_hash": 32, "block_hash": 32}
_ANCHOR_NUMBERS = ("chain_id", "size", "block_number")


class ProofFailure(StrEnum):
    """The named classes of docs/spec/proof.md."""

    TOO_LARGE = "proof-too-large"
    JSON = "proof-not-json"
    MEMBERS = "proof-members"
    VALUE = "proof-value"
    TLOG_PROOF = "tlog-proof-malformed"


class ProofError(ValueError):
    """The bytes are no proof file; ``failure`` is the class."""

    def __init__(self, failure: ProofFailure, detail: str) -> None:
        super().__init__(f"{failure}: {detail}")
        self.failure = failure
        self.detail = detail


class Anchor(NamedTuple):
    """A root of this log on an EVM chain, as the file claims it; only a chain endpoint can confirm it."""

    chain_id: int
    contract: bytes
    log_id: bytes
    size: int
    root: bytes
    tx_hash: bytes
    block_number: int
    block_hash: bytes


class ProofFile(NamedTuple):
    """What a proof file says; nothing of it is established before ``gateway.tlog.verification.verify``.

    ``consistency`` leads from the smaller of the checkpoint's and the anchor's tree to the larger; it is None when
    they are equal and when there is no anchor.
    """

    envelope: bytes
    entry: bytes
    tlog_proof: TlogProof
    device_key: PublicKey
    log_key: VerifierKey
    consistency: tuple[bytes, ...] | None = None
    anchor: Anchor | None = None


def consistency_with(reader: TileReader, checkpoint_size: int, anchor_size: int) -> tuple[bytes, ...] | None:
    """Return what a proof file says between its checkpoint and its anchor; None when they are equal.

    Raises:
        ValueError: one of the sizes is 0.
        MissingTileError: the store lacks hashes of the larger tree.
    """
    if checkpoint_size == anchor_size:
        return None
    old, new = sorted((checkpoint_size, anchor_size))
    return tuple(consistency_proof(reader, old, new))


def build(proof: ProofFile) -> dict[str, object]:
    """Return the JSON document, ready for ``json.dumps``."""
    return {
        "type": TYPE,
        "envelope": to_base64(proof.envelope),
        "entry": to_base64(proof.entry),
        "tlog_proof": proof.tlog_proof.text,
        "device_key": {"alg": str(proof.device_key.alg), "key": to_base64(proof.device_key.data)},
        "log_key": proof.log_key.text,
        "consistency": None if proof.consistency is None else [to_base64(node) for node in proof.consistency],
        "anchor": None if proof.anchor is None else _build_anchor(proof.anchor),
    }


def dump(proof: ProofFile) -> bytes:
    """Return the file: indented JSON in UTF-8 with a newline at its end."""
    return json.dumps(build(proof), indent=2, ensure_ascii=False).encode() + b"\n"


def parse(data: bytes) -> ProofFile:
    """Read a proof file strictly; proves nothing yet.

    Raises:
        ProofError: the bytes are no proof file.
    """
    if len(data) > PROOF_BYTES_MAX:
        raise ProofError(ProofFailure.TOO_LARGE, f"a proof has at most {PROOF_BYTES_MAX} bytes")
    try:
        document = json.loads(
            require_shallow(data.decode()),
            object_pairs_hook=_members,
            parse_constant=_refuse_number,
            parse_float=_refuse_number,
        )
    except ProofError:
        raise
    except ValueError:  # no UTF-8, no JSON, or a number of thousands of digits
        raise ProofError(ProofFailure.JSON, "a proof is one JSON document in UTF-8") from None
    members = _object(document, _MEMBERS, "a proof")
    if members["type"] != TYPE:
        raise ProofError(ProofFailure.VALUE, f"the type of a proof is {TYPE}")
    consistency, anchor = _parse_anchoring(members["consistency"], members["anchor"])
    return ProofFile(
        _octets(members["envelope"], "envelope"),
        _octets(members["entry"], "entry"),
        _parse_tlog_proof(members["tlog_proof"]),
        _parse_device_key(members["device_key"]),
        _parse_log_key(members["log_key"]),
        consistency,
        anchor,
    )


def _build_anchor(anchor: Anchor) -> dict[str, object]:
    return {
        name: f"0x{value.hex()}" if isinstance(value, bytes) else value for name, value in anchor._asdict().items()
    }


def _parse_tlog_proof(value: object) -> TlogProof:
    try:
        return decode(_text(value, "tlog_proof"))
    except (TlogProofError, CheckpointError) as error:
        raise ProofError(ProofFailure.TLOG_PROOF, str(error)) from None


def _parse_device_key(value: object) -> PublicKey:
    members = _object(value, frozenset({"alg", "key"}), "the device key")
    name = _text(members["alg"], "alg")
    try:
        alg = Alg(name)
    except ValueError:
        raise ProofError(ProofFailure.VALUE, "the algorithm of a device key is Ed25519 or ES256") from None
    try:
        return parse_public_key(alg, _octets(members["key"], "key"))
    except KeyRefused as refused:
        raise ProofError(ProofFailure.VALUE, f"the device key is none: {refused.reason}") from None


def _parse_log_key(value: object) -> VerifierKey:
    try:
        return parse_verifier_key(_text(value, "log_key"))
    except CheckpointError as error:
        raise ProofError(ProofFailure.VALUE, str(error)) from None


def _parse_anchoring(consistency: object, anchor: object) -> tuple[tuple[bytes, ...] | None, Anchor | None]:
    hashes = None
    if consistency is not None:
        if not isinstance(consistency, list) or len(consistency) > CONSISTENCY_MAX:
            raise ProofError(ProofFailure.VALUE, f"consistency is null or at most {CONSISTENCY_MAX} hashes")
        hashes = tuple(_octets(node, "consistency") for node in consistency)
        if any(len(node) != HASH_BYTES for node in hashes):
            raise ProofError(ProofFailure.VALUE, "a hash of the consistency proof has 32 bytes")
    if anchor is None:
        if hashes is not None:
            raise ProofError(ProofFailure.VALUE, "without an anchor there is nothing to be consistent with")
        return None, None
    members = _object(anchor, frozenset(Anchor._fields), "the anchor")
    for name in _ANCHOR_NUMBERS:
        if type(members[name]) is not int or not 0 <= members[name] <= NUMBER_MAX:
            raise ProofError(ProofFailure.VALUE, f"{name} of the anchor is an integer of 0 to 2^63 - 1")
    for name, length in _ANCHOR_BYTES.items():
        members[name] = _hex(members[name], length, name)
    return hashes, Anchor(**members)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ProofError(ProofFailure.MEMBERS, "a member stands twice")
    return members


def _refuse_number(_: str) -> NoReturn:
    raise ProofError(ProofFailure.VALUE, "the numbers of a proof are integers")


def _object(value: object, names: frozenset[str], what: str) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != names:
        raise ProofError(ProofFailure.MEMBERS, f"{what} has exactly the members {', '.join(sorted(names))}")
    return dict(value)


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise ProofError(ProofFailure.VALUE, f"{name} is a text")
    return value


def _octets(value: object, name: str) -> bytes:
    text = _text(value, name)
    try:
        return from_base64(text)
    except ValueError:
        raise ProofError(ProofFailure.VALUE, f"{name} is standard base64 with padding") from None


def _hex(value: object, length: int, name: str) -> bytes:
    text = _text(value, name)
    digits = text.removeprefix("0x")
    if len(text) != 2 * length + 2 or len(digits) != 2 * length or not set(digits) <= set("0123456789abcdef"):
        raise ProofError(ProofFailure.VALUE, f"{name} of the anchor is 0x and {2 * length} lower-case hex digits")
    return bytes.fromhex(digits)
