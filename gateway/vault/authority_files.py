"""The air gap: a request that is carried to the authority as a file, and the answer that is carried back (pure).

A request is signed with the key of the publisher's certificate, and names a fresh key, hybrid with ML-KEM-768 or
X25519 alone. The answer is sealed to that key by HPKE (RFC 9180, base mode), bound to that one request, and signed by
the authority: an answer that somebody else made would have the publisher encrypt with a key that is no secret.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import Certificate, InvalidVersion, load_der_x509_certificate

from gateway.crypto.keys import KeyRefused
from gateway.vault.authority_words import (
    ANSWER_BYTES_MAX,
    DIGEST_BYTES,
    REQUEST_BYTES_MAX,
    Answer,
    Ask,
    AuthorityError,
    AuthorityRefused,
    Refusal,
    base64_bytes,
    base64_text,
    encode_answer,
    encode_ask,
    hexadecimal,
    malformed,
    parse_answer,
    parse_ask,
    read_members,
    to_bytes,
)
from gateway.vault.hpke_key import HpkeKey
from gateway.vault.wrap import HYBRID_KEY_BYTES, X25519_KEY_BYTES, Recipient, parse_recipient, public_key, suite

REQUEST: Final = "securenet.authority-request/1"
ANSWER: Final = "securenet.authority-answer/1"
REQUEST_FILE_MAX: Final = 64 * 1024
ANSWER_FILE_MAX: Final = 16 * 1024 * 1024
CERTIFICATE_BYTES_MAX: Final = 16 * 1024

_SIGNATURE_MAX: Final = 512
_REQUEST_MEMBERS: Final = ("format", "payload", "certificate", "signature")
_SIGNED_MEMBERS: Final = ("format", "payload", "signature")
_PAYLOAD: Final = ("ask", "wraps", "reply_to")

SigningKey = Ed25519PrivateKey | EllipticCurvePrivateKey


class FileRequest(NamedTuple):
    """A request that its certificate's key signed. Whether that is a publisher's, the list says."""

    ask: Ask
    certificate: bytes
    reply_to: Recipient
    sha256: bytes


def write_request(ask: Ask, reply_to: Recipient, certificate: bytes, key: SigningKey) -> bytes:
    """A request as a file.

    Args:
        ask: what for.
        reply_to: a key of this request alone.
        certificate: the publisher's, in DER.
        key: the certificate's.
    """
    inner = {
        "ask": encode_ask(ask).decode("ascii"),
        "wraps": ask.ciphertext_sha256 is not None,
        "reply_to": reply_to.data.hex(),
    }
    payload = to_bytes(inner)
    signing_input = _signing_input(REQUEST, payload)
    signature = (
        key.sign(signing_input) if isinstance(key, Ed25519PrivateKey) else key.sign(signing_input, ECDSA(SHA256()))
    )
    members: dict[str, object] = {
        "format": REQUEST,
        "payload": base64_text(payload),
        "certificate": base64_text(certificate),
        "signature": base64_text(signature),
    }
    return to_bytes(members) + b"\n"


def read_request(data: bytes, now_ms: int) -> FileRequest:
    """Read a request: its frame, its certificate's time, its signature, then what it says.

    Raises:
        AuthorityRefused: ``malformed``, ``certificate``, ``signature``.
    """
    if len(data) > REQUEST_FILE_MAX:
        raise malformed(f"a request's file has at most {REQUEST_FILE_MAX} bytes")
    kind, framed, der, signed = read_members(data, "a request's file", _REQUEST_MEMBERS)
    if kind != REQUEST:
        raise malformed(f"a request's file is of the format {REQUEST}")
    payload = base64_bytes(framed, "payload", 2 * REQUEST_BYTES_MAX)
    certificate = base64_bytes(der, "certificate", CERTIFICATE_BYTES_MAX)
    signature = base64_bytes(signed, "signature", _SIGNATURE_MAX)
    _verify(_valid_certificate(certificate, now_ms), signature, _signing_input(REQUEST, payload))
    text, wraps, reply_to = read_members(payload, "a request's payload", _PAYLOAD)
    if not isinstance(text, str) or type(wraps) is not bool:
        raise malformed("a request's payload has ask, a text, and wraps, true or false")
    hybrid = isinstance(reply_to, str) and len(reply_to) > 2 * X25519_KEY_BYTES
    key = hexadecimal(reply_to, "reply_to", HYBRID_KEY_BYTES if hybrid else X25519_KEY_BYTES)
    try:
        recipient = parse_recipient(key)
    except KeyRefused as refused:
        raise malformed(f"reply_to is no HPKE key: {refused.reason}") from None
    ask = parse_ask(text.encode(errors="replace"), wraps=wraps)
    return FileRequest(ask, certificate, recipient, hashlib.sha256(payload).digest())


def write_answer(answer: Answer, request: FileRequest, sign: Callable[[bytes], bytes]) -> bytes:
    """An answer as a file: for who made the request, alone.

    Args:
        answer: what they get.
        request: what they asked.
        sign: signs as the authority.
    """
    reply_to = request.reply_to
    sealed = suite(reply_to.kem).encrypt(encode_answer(answer), public_key(reply_to), info=_info(request.sha256))
    payload = to_bytes({"request": request.sha256.hex(), "sealed": base64_text(sealed)})
    return write_signed(ANSWER, payload, sign)


def read_answer(data: bytes, ask: Ask, request: bytes, reply_key: HpkeKey, authority: bytes) -> Answer:
    """Read the answer to a request.

    Args:
        data: the answer's file.
        ask: what was asked.
        request: the request's file.
        reply_key: the private half of its ``reply_to``.
        authority: the authority's public key, 32 bytes of Ed25519.

    Raises:
        AuthorityError: it is no answer to this request by this authority.
    """
    try:
        payload = read_signed(ANSWER, data, authority, ANSWER_FILE_MAX)
        _, framed, _, _ = read_members(request, "a request's file", _REQUEST_MEMBERS)
        wanted = hashlib.sha256(base64_bytes(framed, "payload", 2 * REQUEST_BYTES_MAX)).digest()
        digest, sealed = read_members(payload, "an answer's payload", ("request", "sealed"))
        if hexadecimal(digest, "request", DIGEST_BYTES) != wanted:
            raise AuthorityError("the file answers another request than yours; carry this one to the authority")
        box = base64_bytes(sealed, "sealed", 2 * ANSWER_BYTES_MAX)
        opened = suite(reply_key.recipient.kem).decrypt(box, reply_key.private, info=_info(wanted))
    except AuthorityRefused as refused:
        raise AuthorityError(f"the answer's file is refused: {refused.detail}") from None
    except (InvalidTag, ValueError):
        raise AuthorityError("the answer is not sealed to this request's key; ask anew") from None
    return parse_answer(opened, ask)


# --- signed files ---


def write_signed(kind: str, payload: bytes, sign: Callable[[bytes], bytes]) -> bytes:
    """A signed file of this format; ``sign`` returns an Ed25519 signature."""
    signature = sign(_signing_input(kind, payload))
    members: dict[str, object] = {
        "format": kind,
        "payload": base64_text(payload),
        "signature": base64_text(signature),
    }
    return to_bytes(members) + b"\n"


def read_signed(kind: str, data: bytes, signer: bytes, most: int) -> bytes:
    """The payload of a signed file.

    Raises:
        AuthorityRefused: ``malformed``, ``signature``.
    """
    if len(data) > most:
        raise malformed(f"the file has more than {most} bytes")
    found, framed, signed = read_members(data, f"a file of {kind}", _SIGNED_MEMBERS)
    if found != kind:
        raise malformed(f"the file is not of the format {kind}")
    payload = base64_bytes(framed, "payload", most)
    signature = base64_bytes(signed, "signature", _SIGNATURE_MAX)
    try:
        public = Ed25519PublicKey.from_public_bytes(signer)
    except ValueError:
        raise AuthorityRefused(Refusal.SIGNATURE, "the key to verify with is no Ed25519 key") from None
    _verify(public, signature, _signing_input(kind, payload))
    return payload


def _signing_input(kind: str, payload: bytes) -> bytes:
    return kind.encode("ascii") + b"\x00" + payload


def _info(request_sha256: bytes) -> bytes:
    return ANSWER.encode("ascii") + b"\x00" + request_sha256


def _valid_certificate(der: bytes, now_ms: int) -> Ed25519PublicKey | EllipticCurvePublicKey:
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    try:
        certificate: Certificate = load_der_x509_certificate(der)
        within = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
        public = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm, InvalidVersion):
        raise AuthorityRefused(Refusal.CERTIFICATE, "the certificate cannot be read") from None
    if not within:
        raise AuthorityRefused(Refusal.CERTIFICATE, "the certificate is expired, or not valid yet")
    if not isinstance(public, Ed25519PublicKey | EllipticCurvePublicKey):
        raise AuthorityRefused(
            Refusal.CERTIFICATE, "the certificate's key is neither Ed25519 nor of an elliptic curve"
        )
    return public


def _verify(key: Ed25519PublicKey | EllipticCurvePublicKey, signature: bytes, signing_input: bytes) -> None:
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, signing_input)
        else:
            key.verify(signature, signing_input, ECDSA(SHA256()))
    except InvalidSignature:
        raise AuthorityRefused(Refusal.SIGNATURE, "the key did not sign this") from None
