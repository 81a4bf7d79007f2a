"""What is fuzzed: every decoder that reads bytes of a stranger, each as a function that must return.

A target raises for two things only: an exception that its decoder does not announce, and a result that does not hold.
Where an independent decoder exists (cbor2, the plain ``json``), whatever ours accepts must mean the same there.
A new decoder needs a line in ``TARGETS`` and a folder of seeds in ``corpus/``.
"""

import base64
import contextlib
import hashlib
import json
import math
from collections.abc import Callable
from typing import Final

import cbor2
import fuzz_genuine
import fuzz_ipfs

from gateway import cbor, receipt
from gateway.envelope import facts
from gateway.envelope.decoding import decode
from gateway.envelope.readings import NotScorable, Readings, readings
from gateway.message import Envelope, Rejected, RejectReason
from gateway.registry.line import LineRefused, parse_line
from gateway.tlog import checkpoint, proof
from gateway.tlog.entry import EntryError, encode_entry, parse_entry
from gateway.vault import cipher, manifest
from gateway.vault.refusal import ModelRefusal, ModelRefused

MAX_BYTES: Final = 65536
READING_FORMATS: Final = (50, 60, 110, 112)


def _must(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def _decoded(data: bytes) -> Envelope | None:
    verdict = decode(data, None, max_bytes=MAX_BYTES)
    if isinstance(verdict, Rejected):
        too_large = len(data) > MAX_BYTES
        _must(verdict.reason is (RejectReason.TOO_LARGE if too_large else RejectReason.MALFORMED), "a wrong reason")
        return None
    _must(verdict.digest == hashlib.sha256(verdict.signing_input).digest(), "a digest of something else")
    _must(0 <= verdict.seq < 2**63 and len(verdict.session) == 8, "an identity out of bounds")
    _must(0 <= verdict.issued_at < 2**53, "a time out of bounds")
    _must(decode(data, verdict.encoding, max_bytes=MAX_BYTES) == verdict, "the declared type changes it")
    return verdict


def _cose(data: bytes) -> None:
    envelope = _decoded(b"\xd2" + data[1:])
    if envelope is None:
        return
    tagged = cbor2.loads(b"\xd2" + data[1:])
    protected, unprotected, payload, signature = tagged.value
    headers = cbor2.loads(protected)
    claims = headers[15]
    _must(tagged.tag == 18 and unprotected == {}, "not a COSE_Sign1")
    _must(set(headers) == {1, 3, 4, 15} and set(claims) == {3, 6, 7}, "another set of headers or claims")
    _must((envelope.payload, envelope.signature) == (payload, signature), "another payload or signature")
    _must((envelope.device_id.encode(), envelope.fleet) == (headers[4], claims[3]), "another device or fleet")
    _must((envelope.content_format, envelope.issued_at) == (headers[3], claims[6]), "another type or time")
    _must(envelope.session + envelope.seq.to_bytes(8, "big") == claims[7], "another identity")
    structure = cbor2.dumps(["Signature1", protected, b"", payload])
    _must(envelope.signing_input == structure, "another signing input")


def _cose_header(data: bytes) -> None:
    _cose(b"\xd2" + cbor.encode([data, {}, b"payload", bytes(64)]))


def _jws(data: bytes) -> None:
    envelope = _decoded(b"{" + data[1:])
    if envelope is None:
        return
    members = json.loads(b"{" + data[1:])
    _must(set(members) == {"protected", "payload", "signature"}, "another set of members")
    _must(envelope.signing_input.decode() == f"{members['protected']}.{members['payload']}", "another signing input")
    header = json.loads(_from_base64url(members["protected"]))
    _must(set(header) == {"alg", "kid", "cty", "aud", "iat", "sid", "seq"}, "another set of headers")
    _must((envelope.device_id, envelope.fleet) == (header["kid"], header["aud"]), "another device or fleet")
    _must((envelope.issued_at, envelope.seq) == (header["iat"], header["seq"]), "another time or sequence")
    _must(envelope.session == _from_base64url(header["sid"]), "another session")
    _must(envelope.content_format == facts.CONTENT_FORMATS[header["cty"]], "another content type")


def _jws_header(data: bytes) -> None:
    header = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    _jws(json.dumps({"protected": header, "payload": "e30", "signature": "A" * 86}).encode())


def _from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _cbor(data: bytes) -> None:
    try:
        value = cbor.decode(data, max_depth=8, deterministic=False)
    except cbor.CborError:
        _must(not _is_deterministic(data), "deterministic, and not well-formed")
        return
    _must(repr(cbor2.loads(data)) == repr(value), "another value")
    try:
        encoded = cbor.encode(value)
    except cbor.CborError:
        _must(not _is_finite(value), "a value without a form")
        return
    _must(repr(cbor.decode(encoded, max_depth=8)) == repr(_sorted(value)), "a value that changes")
    _must((encoded == data) == _is_deterministic(data), "two deterministic forms, or none")


def _is_deterministic(data: bytes) -> bool:
    try:
        cbor.decode(data, max_depth=8)
    except cbor.CborError:
        return False
    return True


def _sorted(value: object) -> object:
    """The same value with its maps in the order that ``encode`` gives them."""
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value, key=cbor.encode)}
    return value


def _is_finite(value: object) -> bool:
    if isinstance(value, list | dict):
        return all(map(_is_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


def _readings(data: bytes) -> None:
    found = readings(READING_FORMATS[data[0] % 4] if data else 42, data[1:], issued_at=1.7e9)
    if isinstance(found, NotScorable):
        return
    _must(isinstance(found, Readings) and bool(found.scalars or found.tensors), "nothing found")
    numbers = [*found.scalars.values(), *(number for tensor in found.tensors.values() for number in tensor)]
    _must(all(isinstance(number, float) and math.isfinite(number) for number in numbers), "a number that is none")
    _must(not found.scalars.keys() & found.tensors.keys(), "one name twice")


def _entry(data: bytes) -> None:
    with contextlib.suppress(EntryError):
        _must(encode_entry(parse_entry(data)) == data, "an entry with two forms")


def _receipt(data: bytes) -> None:
    with contextlib.suppress(receipt.ReceiptError):
        receipt.parse(data)


def _checkpoint(data: bytes) -> None:
    with contextlib.suppress(checkpoint.CheckpointError):
        checkpoint.parse(data)


def _proof(data: bytes) -> None:
    try:
        parsed = proof.parse(data)
    except proof.ProofError:
        return
    _must(proof.parse(proof.dump(parsed)) == parsed, "a proof that changes")


def _registry_line(data: bytes) -> None:
    with contextlib.suppress(LineRefused):
        parse_line(data)


def _manifest(data: bytes) -> None:
    try:
        signed = manifest.parse_envelope(data)
    except ModelRefused as refusal:
        _must(refusal.reason is ModelRefusal.MANIFEST_MALFORMED, "a wrong reason")
        return
    tagged = cbor2.loads(data)
    protected, unprotected, payload, signature = tagged.value
    _must((tagged.tag, unprotected) == (18, {}), "not a COSE_Sign1")
    _must(
        cbor2.loads(protected) == {1: {"Ed25519": -19, "ES256": -9}[signed.alg], 3: manifest.CONTENT_TYPE}, "a header"
    )
    _must((signed.payload, signed.signature) == (payload, signature), "another payload or signature")
    _must(signed.signing_input == cbor2.dumps(["Signature1", protected, b"", payload]), "another signing input")


def _manifest_payload(data: bytes) -> None:
    try:
        said = manifest.parse_payload(data)
    except ModelRefused as refusal:
        _must(refusal.reason is ModelRefusal.MANIFEST_MALFORMED, "a wrong reason")
        return
    _must(manifest.encode_payload(said) == data, "a manifest with two forms")


def _ciphertext(data: bytes) -> None:
    """The key and context of the seeds: only they, whole, may decrypt, and to what encrypts to them again."""
    key, context = b"\x44" * 32, cipher.model_context("pump-vibration", 3)
    cut = data[0] if data else 0
    try:
        message = b"".join(cipher.decrypt([data[:cut], data[cut:]], key, context))
    except ModelRefused:
        return
    _must(b"".join(cipher.encrypt([message], key, context, data[:24])) == data, "a ciphertext with two forms")


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "cose": _cose,
    "cose_header": _cose_header,
    "jws": _jws,
    "jws_header": _jws_header,
    "cbor": _cbor,
    "senml": _readings,
    "entry": _entry,
    "receipt": _receipt,
    "checkpoint": _checkpoint,
    "proof": _proof,
    "registry_line": _registry_line,
    **fuzz_ipfs.TARGETS,
    **fuzz_genuine.TARGETS,
    "manifest": _manifest,
    "manifest_payload": _manifest_payload,
    "ciphertext": _ciphertext,
}
