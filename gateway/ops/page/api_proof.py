"""The proof checker: what a proof file shows, step by step, by the gateway's own registry and without a chain."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from gateway.envelope.decoding import decode
from gateway.journal import AnchorRow, Reader
from gateway.message import Alg, Rejected
from gateway.ops.http.keys import VIEW, problem
from gateway.ops.page.desk import DESK
from gateway.ops.page.shapes import text_of
from gateway.ops.page.words import PROOF_CAVEATS, PROOF_STEPS
from gateway.registry.port import RegistrySnapshot
from gateway.tlog.checkpoint import VerifierKey
from gateway.tlog.evidence import subject_of
from gateway.tlog.meaning import Meaning, meaning
from gateway.tlog.proof import PROOF_BYTES_MAX, Anchor, ProofError, ProofFile, parse
from gateway.tlog.verification import ENVELOPE_BYTES_MAX, Trust, Verification, verify, verify_file

PATH: Final = "/api/proof/verify"
_OURS: Final = {
    "the key that you gave": "the key that this gateway's registry has",
    "the device key you trust": "the device key of this gateway's registry",
    "the log key you trust": "the log key of this gateway's registry",
    "device key than the one you trust": "device key than this gateway's registry",
    "log key than the one you trust": "log key than this gateway's registry",
}
_NO_PROOF: Final = Meaning((), ("Anything: the file is no proof.",))


async def check(request: web.Request) -> web.Response:
    """``POST /api/proof/verify``: the file is the body. Changes nothing, and keeps nothing."""
    data = await _body(request, PROOF_BYTES_MAX)
    if data is None:
        return problem(413, "the file is too large for a proof", f"a proof has at most {PROOF_BYTES_MAX} bytes")
    snapshot, desk = request.app[VIEW].registry, request.app[DESK]
    told, proof = await desk.do(lambda: _checked(data, snapshot))
    if proof is not None and proof.anchor is not None:
        anchor = proof.anchor
        told["anchor"] = await desk.read(request, lambda reader: _anchor(reader, anchor))
    return web.json_response(told)


async def _body(request: web.Request, limit: int) -> bytes | None:
    """The body, None when it is longer than the limit; never more of it in memory."""
    if request.content_length is not None and request.content_length > limit:
        return None
    data = bytearray()
    async for chunk in request.content.iter_any():
        data += chunk
        if len(data) > limit:
            return None
    return bytes(data)


def _checked(data: bytes, snapshot: RegistrySnapshot) -> tuple[dict[str, Any], ProofFile | None]:
    """Verify with the keys that the registry has; runs in a thread."""
    try:
        proof = parse(data)
    except ProofError:
        return _told(verify_file(data, Trust()), _NO_PROOF), None
    trust = _trust(proof, snapshot)
    verification = verify(proof, trust)
    told = _told(verification, meaning(proof, verification))
    subject, checkpoint = subject_of(proof), proof.tlog_proof.checkpoint
    told["about"] = {
        "device": text_of(subject.device_id),
        "origin": text_of(subject.origin),
        "index": proof.tlog_proof.log_index,
        "logged_ms": subject.logged_ms,
        "checkpoint": {"size": checkpoint.size, "root": checkpoint.root.hex()},
        "device_key": _key(proof.device_key.alg.value, proof.device_key.data, trust.device_key is not None),
        "log_key": _key(Alg.ED25519.value, proof.log_key.public_key, trust.log_key is not None),
    }
    return told, proof


def _trust(proof: ProofFile, snapshot: RegistrySnapshot) -> Trust:
    """The keys that the registry in force has for the device and for the log; None where it knows neither."""
    envelope = decode(proof.envelope, None, max_bytes=ENVELOPE_BYTES_MAX)
    device = None if isinstance(envelope, Rejected) else snapshot.device(envelope.device_id)
    if device is not None and not isinstance(envelope, Rejected) and device.fleet != envelope.fleet:
        device = None
    origin = proof.tlog_proof.checkpoint.origin
    miner = next((each for each in snapshot.miners() if each.log == origin and each.key.alg is Alg.ED25519), None)
    return Trust(
        None if device is None else device.key, None if miner is None else VerifierKey(origin, miner.key.data)
    )


def _told(verification: Verification, told: Meaning) -> dict[str, Any]:
    return {
        "result": verification.result.value,
        "steps": [
            {
                "step": step.name.value,
                "title": PROOF_STEPS.get(step.name, step.name.value),
                "held": step.held,
                "sentence": _here(step.sentence),
            }
            for step in verification.steps
        ],
        "proves": [_here(sentence) for sentence in told.proves],
        "does_not_prove": [_here(sentence) for sentence in told.does_not],
        "caveats": list(PROOF_CAVEATS),
        "about": None,
        "anchor": None,
    }


def _here(sentence: str) -> str | None:
    """A verifier's sentence, where nobody gave a key: the registry of this gateway stands for the reader's trust."""
    for theirs, ours in _OURS.items():
        sentence = sentence.replace(theirs, ours)
    return text_of(sentence)


def _key(alg: str, data: bytes, vouched: bool) -> dict[str, Any]:  # noqa: FBT001 -- a fact of the row
    return {"alg": alg, "key": data.hex(), "by": "registry" if vouched else "file"}


def _anchor(reader: Reader, anchor: Anchor) -> dict[str, Any]:
    """What the file says of its anchor, and what this gateway's own record says of that transaction."""
    known: AnchorRow | None = next(
        (row for row in reader.newest_anchors(_ANCHORS_LOOKED_AT) if row.tx_hash == anchor.tx_hash), None
    )
    return {
        "chain_id": anchor.chain_id,
        "contract": f"0x{anchor.contract.hex()}",
        "size": anchor.size,
        "tx_hash": f"0x{anchor.tx_hash.hex()}",
        "block_number": anchor.block_number,
        "recorded": None if known is None else known.state,
        "agrees": None if known is None else (known.root, known.size) == (anchor.root, anchor.size),
    }


_ANCHORS_LOOKED_AT: Final = 4096
