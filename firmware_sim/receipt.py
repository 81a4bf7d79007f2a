"""What the gateway answers: a receipt, signed with its log key, that a device can keep and show to anyone.

A device believes a receipt only after the signature, the shape and the digest held.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import cbor2
from nacl import bindings as sodium
from nacl.exceptions import BadSignatureError

from firmware_sim.envelope import cbor_bytes, cbor_head, cbor_number, cbor_text, sig_structure
from firmware_sim.keys import DeviceKey, LogKey

RECEIPT_TYPE: Final = "securenet.receipt/1"
_RECEIPT_BYTES_MAX: Final = 1_024
_REASON: Final = re.compile(r"[a-z0-9-]{1,64}")
_DIGEST_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_FIELDS: Final = {1, 2, 3, 4, 5, 6}
_PARTS: Final = 4
_SIGN1_TAG: Final = 18


class ReceiptError(ValueError):
    """The bytes are no receipt of this gateway; the text says why."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt that held.

    Attributes:
        digest: SHA-256 of the message's signing input.
        index: its place in the log, or None when rejected.
        received_ms: when the gateway took it in, milliseconds since 1970.
        accepted: the verdict.
        reason: why it was rejected, or None.
        leaf_hash: the log entry's leaf hash, 32 bytes, or None when rejected.
    """

    digest: bytes
    index: int | None
    received_ms: int
    accepted: bool
    reason: str | None
    leaf_hash: bytes | None


class ReceiptVerifier:
    """Checks receipts with one log key.

    When the key came without its log's name, the first receipt whose signature holds tells it, and every later one
    must say the same.
    """

    def __init__(self, log_key: LogKey) -> None:
        self._public_key = log_key.public_key
        self.origin = log_key.origin

    def verify(self, data: bytes) -> Receipt:
        """Read a receipt and check everything about it that a device can check.

        Raises:
            ReceiptError: anything about it does not hold.
        """
        protected, payload, signature = _parts(data)
        try:
            sodium.crypto_sign_open(signature + sig_structure(protected, payload), self._public_key)
        except BadSignatureError as fault:
            raise ReceiptError("the signature does not hold") from fault
        self._check_header(_decode(protected))
        return _receipt_of(payload)

    def _check_header(self, header: object) -> None:
        if not isinstance(header, Mapping) or set(header) != {1, 4, 16}:
            raise ReceiptError("the protected header is not {1, 4, 16}")
        if header[1] != -19 or header[16] != RECEIPT_TYPE or not isinstance(header[4], bytes):  # noqa: PLR2004 - COSE: Ed25519
            raise ReceiptError("the protected header names another algorithm or type")
        origin = header[4].decode("utf-8", "replace")
        if self.origin is None:
            self.origin = origin
        elif origin != self.origin:
            raise ReceiptError("the receipt is of another log")


def _decode(data: bytes) -> object:
    try:
        value: object = cbor2.loads(data)
    except (cbor2.CBORDecodeError, ValueError) as fault:
        raise ReceiptError("not CBOR") from fault
    return value


def _parts(data: bytes) -> tuple[bytes, bytes, bytes]:
    if len(data) > _RECEIPT_BYTES_MAX:
        raise ReceiptError("longer than a receipt can be")
    if data[:2] != b"\xd2\x84":
        raise ReceiptError("not a tagged COSE_Sign1")
    value = _decode(data)
    parts = value.value if isinstance(value, cbor2.CBORTag) and value.tag == _SIGN1_TAG else None
    if not isinstance(parts, (list, tuple)) or len(parts) != _PARTS:
        raise ReceiptError("not a tagged COSE_Sign1")
    protected, unprotected, payload, signature = parts
    if not (isinstance(protected, bytes) and isinstance(payload, bytes) and isinstance(signature, bytes)):
        raise ReceiptError("a part of it is not a byte string")
    if unprotected != {} or len(signature) != _SIGNATURE_BYTES:
        raise ReceiptError("the unprotected map is not empty, or the signature is not 64 bytes")
    rebuilt = b"\xd2\x84" + cbor_bytes(protected) + b"\xa0" + cbor_bytes(payload) + cbor_bytes(signature)
    if rebuilt != data:
        raise ReceiptError("the envelope is not in its shortest form")
    return protected, payload, signature


def _receipt_of(payload: bytes) -> Receipt:
    value = _decode(payload)
    if not isinstance(value, Mapping) or set(value) != _FIELDS:
        raise ReceiptError("the payload's fields are not 1 to 6")
    digest, index, received_ms, verdict, reason, leaf_hash = (value[number] for number in sorted(_FIELDS))
    accepted = verdict == "accepted"
    if not isinstance(digest, bytes) or len(digest) != _DIGEST_BYTES or verdict not in ("accepted", "rejected"):
        raise ReceiptError("the digest is not 32 bytes, or the verdict unknown")
    if not _is_count(received_ms):
        raise ReceiptError("the time of receipt is no whole number of milliseconds")
    if accepted and not (_is_count(index) and isinstance(leaf_hash, bytes) and len(leaf_hash) == _DIGEST_BYTES):
        raise ReceiptError("accepted without an index and a leaf hash")
    if not accepted and (index is not None or leaf_hash is not None):
        raise ReceiptError("rejected, yet with an index or a leaf hash")
    named = isinstance(reason, str) and _REASON.fullmatch(reason) is not None
    if (accepted and reason is not None) or not (accepted or named):
        raise ReceiptError("the reason does not fit the verdict")
    if receipt_payload(value) != payload:
        raise ReceiptError("the payload is not deterministic CBOR")
    return Receipt(digest, index, received_ms, accepted, reason, leaf_hash)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def receipt_payload(fields: Mapping[int, object]) -> bytes:
    """Deterministic CBOR of a receipt's payload (RFC 8949 §4.2.1; no floats occur in it)."""
    return cbor_head(5, len(fields)) + b"".join(
        cbor_number(number) + _scalar(fields[number]) for number in sorted(fields)
    )


def _scalar(value: object) -> bytes:
    if value is None:
        return b"\xf6"
    if isinstance(value, bytes):
        return cbor_bytes(value)
    if isinstance(value, str):
        return cbor_text(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return cbor_number(value)
    raise ReceiptError("a field of the payload has an unknown type")


def issue_receipt(log_key: DeviceKey, origin: str, receipt: Receipt) -> bytes:
    """Sign a receipt as a gateway would: for fakes and tests."""
    protected = b"\xa3\x01\x32\x04" + cbor_bytes(origin.encode()) + b"\x10" + cbor_text(RECEIPT_TYPE)
    verdict = "accepted" if receipt.accepted else "rejected"
    payload = receipt_payload(
        {
            1: receipt.digest,
            2: receipt.index,
            3: receipt.received_ms,
            4: verdict,
            5: receipt.reason,
            6: receipt.leaf_hash,
        }
    )
    signature = log_key.sign(sig_structure(protected, payload))
    return b"\xd2\x84" + cbor_bytes(protected) + b"\xa0" + cbor_bytes(payload) + cbor_bytes(signature)


def fake_leaf_hash(digest: bytes) -> bytes:
    """A leaf hash for a fake's receipts: of the right shape, and of nothing that exists."""
    return hashlib.sha256(b"\x00" + digest).digest()
