"""The manifest: what a model is, where its ciphertext lies, who may open it, signed by its publisher.

A manifest is a tagged COSE_Sign1 (RFC 9052) with one spelling. Its protected header is one of two byte strings
(Ed25519 or ES256, content type ``securenet.model/1``), so the frame is compared, not parsed; the payload is decoded
only after the signature held. ``manifest_sha256`` is over the whole envelope: it goes on chain and into log entries.

Not handled here: whether the publisher may publish, whether the version is revoked, expired, or below a floor.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Final, NamedTuple

from gateway import cbor
from gateway.crypto.keys import SIGNATURE_BYTES, PublicKey, verify
from gateway.detection.spec import ModelSpec
from gateway.message import Alg
from gateway.vault import fields
from gateway.vault.cipher import ciphertext_size
from gateway.vault.fields import malformed
from gateway.vault.manifest_spec import SPEC_MEMBERS, read_spec, spec_values
from gateway.vault.refusal import ModelRefusal, ModelRefused
from gateway.vault.wrap import WRAPPED_BYTES, Kem, Wrapped

CONTENT_TYPE: Final = "securenet.model/1"
FORMAT: Final = "tflite"
MANIFEST_BYTES_MAX: Final = 4 * 1024 * 1024
RECIPIENTS_MAX: Final = 2048
METRICS_MAX: Final = 64
MODEL_BYTES_MAX: Final = 1 << 40

_DEPTH_MAX: Final = 5  # the payload, its inputs, their columns, a column, its vocabulary
_CID: Final = re.compile("b[a-z2-7]{1,127}")
_ALGORITHMS: Final = {Alg.ED25519: -19, Alg.ES256: -9}  # COSE "Ed25519" and "ESP256" (RFC 9864)
_BYTES: Final = 2  # the major type of a byte string
_PAYLOAD: Final = (
    *("model", "version", "format", "ciphertext", "plaintext"),
    *SPEC_MEMBERS,
    *("training_data", "metrics", "card", "keys", "created", "expires"),
)
_CIPHERTEXT: Final = ("cid", "size", "sha256")
_PLAINTEXT: Final = ("size", "sha256")


class Ciphertext(NamedTuple):
    """Where the ciphertext is found, and what it is: a CIDv1 in base32, its size, its SHA-256."""

    cid: str
    size: int
    sha256: bytes


class Plaintext(NamedTuple):
    """What the model is once it is open."""

    size: int
    sha256: bytes


class Manifest(NamedTuple):
    """What a publisher says of one version of a model.

    ``training_data`` is a SHA-256 over what it was trained on, ``model_card`` that of its card, or None. ``wrapped``
    has a key for each granted gateway, by its id.
    """

    model_id: str
    version: int
    ciphertext: Ciphertext
    plaintext: Plaintext
    spec: ModelSpec
    training_data: bytes
    metrics: Mapping[str, float]
    model_card: bytes | None
    wrapped: Mapping[str, Wrapped]
    created_ms: int
    expires_ms: int
    format: str = FORMAT


class SignedManifest(NamedTuple):
    """The frame of an envelope; nothing of its payload is to be believed or decoded before ``verify`` held."""

    alg: Alg
    payload: bytes
    signing_input: bytes
    signature: bytes


def manifest_sha256(envelope: bytes) -> bytes:
    """Return how the chain and the log name a manifest: SHA-256 of the whole envelope, signature included."""
    return sha256(envelope).digest()


def read_manifest(envelope: bytes, publisher: PublicKey) -> Manifest:
    """Read an envelope: its frame, then its signature, then what it says.

    Raises:
        ModelRefused: ``manifest-malformed`` or ``manifest-signature``.
    """
    signed = parse_envelope(envelope)
    if signed.alg is not publisher.alg or not verify(publisher, signed.signing_input, signed.signature):
        raise ModelRefused(ModelRefusal.MANIFEST_SIGNATURE, "the publisher's key did not sign this")
    return parse_payload(signed.payload)


def parse_envelope(envelope: bytes) -> SignedManifest:
    """Take the frame apart.

    Raises:
        ModelRefused: ``manifest-malformed``.
    """
    if len(envelope) > MANIFEST_BYTES_MAX:
        raise malformed(f"a manifest has at most {MANIFEST_BYTES_MAX} bytes")
    tail = SIGNATURE_BYTES + len(_SIGNATURE_HEAD)
    for alg, (start, before_payload) in _FRAMES.items():
        if not envelope.startswith(start):
            continue
        framed, end = envelope[len(start) : -tail], envelope[-tail:]
        payload = framed[_head_bytes(framed) :]
        if framed != cbor.head(_BYTES, len(payload)) + payload or not end.startswith(_SIGNATURE_HEAD):
            raise malformed("a manifest is its header, its payload and 64 bytes of signature, in shortest form")
        return SignedManifest(alg, payload, before_payload + framed, end[len(_SIGNATURE_HEAD) :])
    raise malformed(f"a manifest is a tagged COSE_Sign1 of Ed25519 or ES256, of the type {CONTENT_TYPE}")


def sign_manifest(manifest: Manifest, publisher: PublicKey, sign: Callable[[bytes], bytes]) -> bytes:
    """Return the envelope of a manifest.

    Args:
        manifest: what is said.
        publisher: the key that gateways will verify with; what ``sign`` returns is verified with it at once.
        sign: takes the signing input, returns 64 bytes.

    Raises:
        ModelRefused: it is no manifest that a gateway would read, or the signature does not hold.
    """
    payload = encode_payload(manifest)
    start, before_payload = _FRAMES[publisher.alg]
    framed = cbor.head(_BYTES, len(payload)) + payload
    envelope = start + framed + _SIGNATURE_HEAD + sign(before_payload + framed)
    read_manifest(envelope, publisher)
    return envelope


def encode_payload(manifest: Manifest) -> bytes:
    """Return the deterministic CBOR of a manifest.

    Raises:
        ModelRefused: ``manifest-malformed``: a gateway would not read it.
    """
    values: dict[str, object] = {
        "model": manifest.model_id,
        "version": manifest.version,
        "format": manifest.format,
        "ciphertext": manifest.ciphertext._asdict(),
        "plaintext": manifest.plaintext._asdict(),
        **spec_values(manifest.spec),
        "training_data": manifest.training_data,
        "metrics": {name: float(value) for name, value in manifest.metrics.items()},
        "card": manifest.model_card,
        "keys": {name: [int(key.kem), key.enc, key.ciphertext] for name, key in manifest.wrapped.items()},
        "created": manifest.created_ms,
        "expires": manifest.expires_ms,
    }
    try:
        payload = cbor.encode(values)
    except cbor.CborError as error:
        raise malformed(f"a manifest cannot hold {error}") from None
    parse_payload(payload)
    return payload


def parse_payload(payload: bytes) -> Manifest:
    """Read what a manifest says, strictly.

    Raises:
        ModelRefused: ``manifest-malformed``.
    """
    try:
        value = cbor.decode(payload, max_depth=_DEPTH_MAX)
    except cbor.CborError as error:
        raise malformed(f"the payload is no deterministic CBOR: {error}") from None
    (
        model_id,
        version,
        kind,
        ciphertext,
        plaintext,
        inputs,
        outputs,
        smoke,
        selector,
        training_data,
        metrics,
        card,
        keys,
        created,
        expires,
    ) = fields.members(value, "a manifest", _PAYLOAD)
    if kind != FORMAT:
        raise malformed(f"format is {FORMAT}")
    manifest = Manifest(
        fields.identifier(model_id, "model"),
        fields.count(version, "version", 1),
        _read_ciphertext(ciphertext),
        _read_plaintext(plaintext),
        read_spec(inputs, outputs, smoke, selector),
        fields.digest(training_data, "training_data"),
        _read_metrics(metrics),
        None if card is None else fields.digest(card, "card"),
        _read_keys(keys),
        fields.count(created, "created"),
        fields.count(expires, "expires"),
    )
    if manifest.expires_ms <= manifest.created_ms:
        raise malformed("expires is after created")
    if manifest.ciphertext.size != ciphertext_size(manifest.plaintext.size):
        raise malformed("ciphertext.size is what a plaintext of that size has")
    return manifest


def _read_ciphertext(value: object) -> Ciphertext:
    cid, size, digest = fields.members(value, "ciphertext", _CIPHERTEXT)
    if not isinstance(cid, str) or _CID.fullmatch(cid) is None:
        raise malformed("ciphertext.cid is a CIDv1 in base32, lower case, of at most 128 characters")
    return Ciphertext(cid, fields.count(size, "ciphertext.size", 1), fields.digest(digest, "ciphertext.sha256"))


def _read_plaintext(value: object) -> Plaintext:
    size, digest = fields.members(value, "plaintext", _PLAINTEXT)
    return Plaintext(
        fields.count(size, "plaintext.size", 1, MODEL_BYTES_MAX), fields.digest(digest, "plaintext.sha256")
    )


def _read_metrics(value: object) -> dict[str, float]:
    if not isinstance(value, dict) or len(value) > METRICS_MAX:
        raise malformed(f"metrics is a map of at most {METRICS_MAX}")
    return {fields.text(name, "metrics"): fields.number(metric, "metrics") for name, metric in value.items()}


def _read_keys(value: object) -> dict[str, Wrapped]:
    if not isinstance(value, dict) or len(value) > RECIPIENTS_MAX:
        raise malformed(f"keys is a map of at most {RECIPIENTS_MAX}")
    return {fields.identifier(name, "an id in keys"): _read_wrapped(wrapped) for name, wrapped in value.items()}


def _read_wrapped(value: object) -> Wrapped:
    if not isinstance(value, list) or len(value) != len(Wrapped._fields) or value[0] not in list(Kem):
        raise malformed("a wrapped key is [KEM, encapsulated key, ciphertext], the KEM 32 or 25722")
    kem = Kem(fields.count(value[0], "the KEM of a wrapped key"))
    return Wrapped(
        kem,
        fields.octets(value[1], "an encapsulated key", kem.enc_bytes),
        fields.octets(value[2], "a wrapped key", WRAPPED_BYTES),
    )


def _head_bytes(framed: bytes) -> int:
    """Return how long the head of a byte string is; for anything else, something that will not compare."""
    code = framed[0] - (_BYTES << 5) if framed else 0
    return {24: 2, 25: 3, 26: 5}.get(code, 1)


def _frame(alg: Alg) -> tuple[bytes, bytes]:
    """Return what stands before the payload in the envelope, and in the ``Sig_structure``."""
    header = cbor.encode({1: _ALGORITHMS[alg], 3: CONTENT_TYPE})
    protected = cbor.head(_BYTES, len(header)) + header
    return b"\xd2\x84" + protected + b"\xa0", b"\x84\x6aSignature1" + protected + b"\x40"


_SIGNATURE_HEAD: Final = cbor.head(_BYTES, SIGNATURE_BYTES)
_FRAMES: Final = {alg: _frame(alg) for alg in _ALGORITHMS}
