"""The receipt: what a device gets for a message, signed with the log's key (docs/spec/receipt.md).

A receipt is a tagged COSE_Sign1 (RFC 9052). Its payload says what became of the message with this digest: accepted at
this index of the log, or rejected for this reason. An index is a promise: the leaf will be in every later checkpoint.

``ReceiptWriter`` makes them by the thousand a second: whatever is the same in all receipts of a gateway is laid out
once. The signature is made elsewhere, over ``signing_input``.
"""

from __future__ import annotations

import re
from typing import NamedTuple, TypeGuard

from gateway import cbor
from gateway.crypto.keys import PublicKey, verify

TYP = "securenet.receipt/1"
RECEIPT_BYTES_MAX = 1024

_ED25519 = -19  # COSE algorithm "Ed25519" (RFC 9864)
_ORIGIN_BYTES_MAX = 107  # "securenet/", a fleet of 32, "/", a gateway of 64
_DIGEST_BYTES = 32
_SIGNATURE_BYTES = 64
_INTEGER_MAX = (1 << 63) - 1

_UINT, _BYTES, _TEXT = 0, 2, 3  # major types (RFC 8949 section 3.1)
_ONE_BYTE, _TWO_BYTES = 24, 25  # a length that stands in so many bytes behind the head
_TAG_AND_ARRAY = b"\xd2\x84"
_REASON = re.compile("[a-z0-9-]{1,64}")
_PAYLOAD_LABELS = {1, 2, 3, 4, 5, 6}


class ReceiptError(ValueError):
    """The bytes are no receipt: class ``receipt-malformed`` of docs/spec/receipt.md."""


class Receipt(NamedTuple):
    """A parsed receipt; nothing of it is to be believed before ``verify_receipt`` held.

    ``digest`` is that of the device message, ``log_index`` and ``leaf_hash`` are None exactly when it was rejected,
    and ``reason`` exactly when it was accepted.
    """

    origin: str
    digest: bytes
    log_index: int | None
    received_ms: int
    reason: str | None
    leaf_hash: bytes | None
    signing_input: bytes
    signature: bytes

    @property
    def accepted(self) -> bool:
        """Whether the message is in the log."""
        return self.reason is None


def receipt_payload(
    digest: bytes, index: int | None, received_ms: int, reason: str | None, leaf_hash: bytes | None
) -> bytes:
    """Return the payload: ``{1: digest, 2: index, 3: received ms, 4: status, 5: reason, 6: leaf hash}``.

    Args:
        digest: SHA-256 of the device's signing input, 32 bytes.
        index: Of the log entry, None exactly when the message was rejected.
        received_ms: Milliseconds since 1970.
        reason: None when the message was accepted, else a ``RejectReason``.
        leaf_hash: Of the log entry, 32 bytes, None exactly when the message was rejected.

    Raises:
        ValueError: these rules are broken.
    """
    if len(digest) != _DIGEST_BYTES:
        raise ValueError("a receipt has a digest of 32 bytes")
    head = b"\xa6\x01\x58\x20" + digest + b"\x02"
    received = b"\x03" + cbor.head(_UINT, received_ms)
    if reason is None:
        if index is None or leaf_hash is None or len(leaf_hash) != _DIGEST_BYTES:
            raise ValueError("the receipt of an accepted message has an index and a leaf hash of 32 bytes")
        return head + cbor.head(_UINT, index) + received + b"\x04\x68accepted\x05\xf6\x06\x58\x20" + leaf_hash
    if index is not None or leaf_hash is not None:
        raise ValueError("the receipt of a rejected message has neither index nor leaf hash")
    text = reason.encode()
    return head + b"\xf6" + received + b"\x04\x68rejected\x05" + cbor.head(_TEXT, len(text)) + text + b"\x06\xf6"


class ReceiptWriter:
    """Lays out receipts of one log: the protected header and what surrounds it are made once.

    Args:
        origin: The log's name, ``securenet/<fleet>/<gateway>``; it becomes the ``kid``.
    """

    def __init__(self, origin: str) -> None:
        header = _protected(origin)
        protected = cbor.head(_BYTES, len(header)) + header
        self._before_payload = b"\x84\x6aSignature1" + protected + b"\x40"
        self._start = _TAG_AND_ARRAY + protected + b"\xa0"

    def signing_input(self, payload: bytes) -> bytes:
        """Return the ``Sig_structure`` to be signed (RFC 9052 section 4.4)."""
        return self._before_payload + cbor.head(_BYTES, len(payload)) + payload

    def assemble(self, payload: bytes, signature: bytes) -> bytes:
        """Return the tagged COSE_Sign1.

        Args:
            payload: From ``receipt_payload``.
            signature: Ed25519 over ``signing_input(payload)``, 64 bytes.
        """
        if len(signature) != _SIGNATURE_BYTES:
            raise ValueError("a receipt's signature has 64 bytes")
        return self._start + cbor.head(_BYTES, len(payload)) + payload + b"\x58\x40" + signature


def signing_input(origin: str, payload: bytes) -> bytes:
    """Return what the log key of ``origin`` signs for this payload; see ``ReceiptWriter`` for many of them."""
    return ReceiptWriter(origin).signing_input(payload)


def assemble(origin: str, payload: bytes, signature: bytes) -> bytes:
    """Return the receipt of the log ``origin``; see ``ReceiptWriter`` for many of them."""
    return ReceiptWriter(origin).assemble(payload, signature)


def parse(data: bytes) -> Receipt:
    """Read a receipt strictly: whatever we would have written otherwise is refused.

    Raises:
        ReceiptError: the bytes are not the one spelling of a receipt.
    """
    if len(data) > RECEIPT_BYTES_MAX:
        raise ReceiptError(f"a receipt has at most {RECEIPT_BYTES_MAX} bytes")
    if data[:2] != _TAG_AND_ARRAY:
        raise ReceiptError("a receipt begins as a tagged COSE_Sign1")
    protected, at = _take_bytes(data, 2)
    if data[at : at + 1] != b"\xa0":
        raise ReceiptError("a receipt has no unprotected header")
    payload, at = _take_bytes(data, at + 1)
    signature, _ = _take_bytes(data, at)
    origin = _parse_protected(protected)
    digest, index, received_ms, reason, leaf = _parse_payload(payload)
    writer = ReceiptWriter(origin)
    try:
        again = writer.assemble(receipt_payload(digest, index, received_ms, reason, leaf), signature)
    except ValueError as error:
        raise ReceiptError(str(error)) from None
    if again != data:
        raise ReceiptError("a receipt is written in deterministic CBOR and ends with its signature")
    return Receipt(origin, digest, index, received_ms, reason, leaf, writer.signing_input(payload), signature)


def verify_receipt(receipt: Receipt, log_key: PublicKey, origin: str) -> bool:
    """Tell whether the log ``origin`` signed this receipt with its key."""
    return receipt.origin == origin and verify(log_key, receipt.signing_input, receipt.signature)


def _parse_protected(protected: bytes) -> str:
    header = _decode_map(protected, "protected header")
    origin, algorithm = header.get(4), header.get(1)
    if set(header) != {1, 4, 16} or algorithm != _ED25519 or header[16] != TYP:
        raise ReceiptError(f"the protected header of a receipt is Ed25519, the log's name and {TYP}")
    try:
        name = origin.decode() if isinstance(origin, bytes) else ""
    except UnicodeDecodeError:
        name = ""
    if not 0 < len(name.encode()) <= _ORIGIN_BYTES_MAX:
        raise ReceiptError(f"the log's name in a receipt is UTF-8 of 1 to {_ORIGIN_BYTES_MAX} bytes")
    return name


def _parse_payload(payload: bytes) -> tuple[bytes, int | None, int, str | None, bytes | None]:
    fields = _decode_map(payload, "payload")
    if set(fields) != _PAYLOAD_LABELS:
        raise ReceiptError("the payload of a receipt has the labels 1 to 6 and no other")
    digest, index, received_ms, status, reason, leaf = (fields[label] for label in sorted(_PAYLOAD_LABELS))
    if not isinstance(digest, bytes) or not isinstance(leaf, bytes | None):
        raise ReceiptError("digest and leaf hash of a receipt are byte strings")
    if not _is_count(received_ms) or not (index is None or _is_count(index)):
        raise ReceiptError("time and index of a receipt are integers of 0 to 2^63 - 1")
    if not (reason is None or (isinstance(reason, str) and _REASON.fullmatch(reason))):
        raise ReceiptError("the reason of a receipt is one of the stable strings")
    if status != ("accepted" if reason is None else "rejected"):
        raise ReceiptError("a receipt says accepted without a reason, or rejected with one")
    return digest, index, received_ms, reason, leaf


def _decode_map(data: bytes, name: str) -> dict[object, object]:
    try:
        value = cbor.decode(data, max_depth=1)
    except cbor.CborError:
        raise ReceiptError(f"the {name} of a receipt is no deterministic CBOR") from None
    if not isinstance(value, dict):
        raise ReceiptError(f"the {name} of a receipt is a map")
    return value


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _INTEGER_MAX


def _take_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    """Return the byte string whose head is at ``at``, and where it ends; every receipt's are shorter than 2^16."""
    head = data[at] if at < len(data) else -1
    if 0 <= (length := head - (_BYTES << 5)) < _ONE_BYTE:
        start = at + 1
    elif length in {_ONE_BYTE, _TWO_BYTES}:
        start = at + 2 + (length - _ONE_BYTE)
        length = int.from_bytes(data[at + 1 : start], "big")
    else:
        raise ReceiptError("a receipt is an array of byte strings around an empty map")
    if start + length > len(data):
        raise ReceiptError("the receipt ends early")
    return data[start : start + length], start + length


def _protected(origin: str) -> bytes:
    """Return the protected header: ``{1: -19, 4: origin as bytes, 16: "securenet.receipt/1"}``."""
    name = origin.encode()
    if not 0 < len(name) <= _ORIGIN_BYTES_MAX:
        raise ValueError(f"an origin has 1 to {_ORIGIN_BYTES_MAX} bytes")
    typ = TYP.encode()
    return b"\xa3\x01\x32\x04" + cbor.head(_BYTES, len(name)) + name + b"\x10" + cbor.head(_TEXT, len(typ)) + typ
