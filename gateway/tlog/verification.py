"""Verifying a proof file without us: nothing but the file and two keys that the verifier trusts.

The steps stand here in the order in which the argument goes:

1. ``envelope``: the bytes are a device message;
2. ``device-signature``: the device signed it;
3. ``entry``: the log entry speaks of exactly this message;
4. ``inclusion``: the entry is in the tree of the checkpoint;
5. ``checkpoint``: the log signed that checkpoint;
6. ``anchor-consistency``: the checkpoint and the anchored root belong to one log that only grew;
7. ``anchor-on-chain``: the chain has that root. That needs a chain endpoint and is not established here.

Steps 6 and 7 are there when the file has an anchor. With an endpoint, the steps of ``gateway.tlog.onchain`` stand in
the place of 7. Every step that can be tried is tried, so that a reader sees what else does not hold. The result is
``valid`` only when nothing failed and both keys came from the verifier: with the file's own hints it is ``untrusted``
at best.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from gateway.crypto.keys import PublicKey
from gateway.crypto.keys import verify as verify_signature
from gateway.envelope.decoding import decode
from gateway.message import Envelope, Rejected
from gateway.tlog.checkpoint import VerifierKey, signed_by
from gateway.tlog.entry import EntryError, MessageEntry, parse_entry
from gateway.tlog.merkle import leaf_hash, verify_consistency, verify_inclusion
from gateway.tlog.proof import Anchor, ProofError, ProofFile, parse

ENVELOPE_BYTES_MAX = 1 << 20
"""The largest ``limits.message_bytes`` that a gateway can have."""


class StepName(StrEnum):
    """The steps, in order; ``file`` stands for all of them when the bytes are no proof file."""

    FILE = "file"
    ENVELOPE = "envelope"
    DEVICE_SIGNATURE = "device-signature"
    ENTRY = "entry"
    INCLUSION = "inclusion"
    CHECKPOINT = "checkpoint"
    ANCHOR_CONSISTENCY = "anchor-consistency"
    ANCHOR_ON_CHAIN = "anchor-on-chain"
    CHAIN = "chain"
    DEVICE_REGISTERED = "device-registered"
    DEVICE_STATUS = "device-status"
    MINER_KEY = "miner-key"
    ANCHOR_EVENT = "anchor-event"
    NOT_FROZEN = "not-frozen"
    FINAL = "final"
    ENDPOINTS_AGREE = "endpoints-agree"


class Step(NamedTuple):
    """One step: whether it held, None when that could not be established, and a sentence that says what and why."""

    name: StepName
    held: bool | None
    sentence: str


class Result(StrEnum):
    """The whole of it. ``not-established`` is for a chain that was to be asked and did not say all that it must."""

    VALID = "valid"
    UNTRUSTED = "untrusted"
    NOT_ESTABLISHED = "not-established"
    INVALID = "invalid"


class Trust(NamedTuple):
    """The keys that the verifier vouches for; None where the file's hint has to do, and the result is untrusted."""

    device_key: PublicKey | None = None
    log_key: VerifierKey | None = None


class Verification(NamedTuple):
    """The result and the steps that led to it."""

    result: Result
    steps: tuple[Step, ...]

    @property
    def failed(self) -> tuple[StepName, ...]:
        """The names of the steps that did not hold; empty unless the result is invalid."""
        return tuple(step.name for step in self.steps if step.held is False)


def verify_file(data: bytes, trust: Trust) -> Verification:
    """Read and verify the bytes of a proof file; bytes that are none fail at the step ``file``."""
    try:
        proof = parse(data)
    except ProofError as error:
        return Verification(Result.INVALID, (Step(StepName.FILE, held=False, sentence=f"No proof file: {error}."),))
    return verify(proof, trust)


def verify(proof: ProofFile, trust: Trust) -> Verification:
    """Verify a parsed proof file under the keys that the verifier trusts."""
    envelope = decode(proof.envelope, None, max_bytes=ENVELOPE_BYTES_MAX)
    message = None if isinstance(envelope, Rejected) else envelope
    steps = (
        _envelope(envelope),
        _device_signature(message, proof.device_key, trust.device_key),
        _entry(message, proof.entry),
        _inclusion(proof),
        _checkpoint(proof, trust.log_key),
        *(_anchor(proof, proof.anchor) if proof.anchor else ()),
    )
    if any(step.held is False for step in steps):
        result = Result.INVALID
    elif trust.device_key is None or trust.log_key is None:
        result = Result.UNTRUSTED
    else:
        result = Result.VALID
    return Verification(result, steps)


def _envelope(envelope: Envelope | Rejected) -> Step:
    if isinstance(envelope, Rejected):
        sentence = f"The envelope is no device message: {envelope.detail or envelope.reason}."
        return Step(StepName.ENVELOPE, held=False, sentence=sentence)
    sentence = f"The envelope is number {envelope.seq} of a session of the device {envelope.device_id}."
    return Step(StepName.ENVELOPE, held=True, sentence=sentence)


def _device_signature(envelope: Envelope | None, hint: PublicKey, trusted: PublicKey | None) -> Step:
    name = StepName.DEVICE_SIGNATURE
    key = hint if trusted is None else trusted
    if hint != key:
        return Step(name, held=False, sentence="The file names another device key than the one you trust.")
    if envelope is None:
        return Step(name, held=None, sentence="There is no message whose signature could be looked at.")
    if envelope.alg is not key.alg:
        return Step(name, held=False, sentence="The envelope is signed by another algorithm than the key's.")
    if not verify_signature(key, envelope.signing_input, envelope.signature):
        return Step(name, held=False, sentence="The device's signature does not hold.")
    whose = "in the file, which nobody vouches for" if trusted is None else "you trust"
    return Step(name, held=True, sentence=f"The signature holds under the device key {whose}.")


def _entry(envelope: Envelope | None, data: bytes) -> Step:
    name = StepName.ENTRY
    try:
        entry = parse_entry(data)
    except EntryError as error:
        return Step(name, held=False, sentence=f"The entry is none of this log's format: {error}.")
    if not isinstance(entry, MessageEntry):
        return Step(name, held=False, sentence="The entry does not speak of a message.")
    if envelope is None:
        return Step(name, held=None, sentence="There is no message that the entry could speak of.")
    if (entry.digest, entry.device_id) != (envelope.digest, envelope.device_id):
        return Step(name, held=False, sentence="The entry speaks of another message.")
    if (entry.session, entry.seq) != (envelope.session, envelope.seq):
        return Step(name, held=False, sentence="The entry gives the message another session or number.")
    return Step(name, held=True, sentence=f"The entry speaks of this message, with the verdict {entry.verdict}.")


def _inclusion(proof: ProofFile) -> Step:
    index, hashes, _, checkpoint, _ = proof.tlog_proof
    if not verify_inclusion(leaf_hash(proof.entry), index, checkpoint.size, hashes, checkpoint.root):
        return Step(StepName.INCLUSION, held=False, sentence="The hashes do not lead from the entry to the root.")
    sentence = f"The entry is number {index} of the {checkpoint.size} under the checkpoint's root."
    return Step(StepName.INCLUSION, held=True, sentence=sentence)


def _checkpoint(proof: ProofFile, trusted: VerifierKey | None) -> Step:
    name = StepName.CHECKPOINT
    checkpoint = proof.tlog_proof.checkpoint
    key = proof.log_key if trusted is None else trusted
    if proof.log_key != key:
        return Step(name, held=False, sentence="The file names another log key than the one you trust.")
    if checkpoint.origin != key.name:
        return Step(name, held=False, sentence="The checkpoint is of another log than the key.")
    if not signed_by(checkpoint, key):
        return Step(name, held=False, sentence="No signature of the log's key holds on the checkpoint.")
    whose = "in the file, which nobody vouches for" if trusted is None else "you trust"
    return Step(name, held=True, sentence=f"The checkpoint is signed with the log key {whose}.")


def _anchor(proof: ProofFile, anchor: Anchor) -> tuple[Step, Step]:
    fault = _anchor_fault(proof, anchor)
    sentence = (
        fault or f"The checkpoint and the anchored root of {anchor.size} entries belong to one log that only grew."
    )
    return (
        Step(StepName.ANCHOR_CONSISTENCY, held=not fault, sentence=sentence),
        Step(
            StepName.ANCHOR_ON_CHAIN,
            held=None,
            sentence="Not established whether the chain has the anchored root: that needs an endpoint (--rpc).",
        ),
    )


def _anchor_fault(proof: ProofFile, anchor: Anchor) -> str:
    """Return what speaks against the anchor by arithmetic alone, or nothing."""
    checkpoint, consistency = proof.tlog_proof.checkpoint, proof.consistency
    if proof.tlog_proof.log_index >= anchor.size:
        return "The entry is not below the anchored size: the anchor says nothing about it."
    if checkpoint.size == anchor.size:
        if consistency is not None:
            return "The checkpoint and the anchor are of one size: there is no consistency to prove."
        return "" if checkpoint.root == anchor.root else "The checkpoint and the anchor have one size and two roots."
    if consistency is None:
        return "The checkpoint and the anchor are of different sizes, and no consistency proof is there."
    trees = sorted([(checkpoint.size, checkpoint.root), (anchor.size, anchor.root)])
    (old_size, old_root), (new_size, new_root) = trees
    if not verify_consistency(old_size, old_root, new_size, new_root, consistency):
        return "The consistency proof does not lead from the one root to the other."
    return ""
