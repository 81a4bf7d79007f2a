"""The checkpoint: a signed note that says "my log has this many entries and this root".

    securenet/fleet-a/gw-1
    20852163
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

    — securenet/fleet-a/gw-1 Az3grlgt...

The three lines of the *body* are c2sp.org/tlog-checkpoint: origin, size, root. Blank line, signature lines and the
key names in them are c2sp.org/signed-note. The signature covers the body with its last newline and nothing else.
Other parties may add lines of their own; a reader looks for the keys it knows and ignores the rest.

A signed checkpoint is a promise for ever: two of them by one key that no consistency proof connects convict the log.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple

from gateway.crypto.keys import KeyRefused, PublicKey, parse_public_key, verify
from gateway.message import Alg
from gateway.tlog.merkle import HASH_BYTES
from gateway.tlog.text import NUMBER_MAX, from_base64, parse_decimal, to_base64

NOTE_BYTES_MAX = 128 * 1024
SIGNATURES_MAX = 32

_ED25519 = b"\x01"  # the signature type identifier of signed-note
_KEY_ID_BYTES = 4
_PUBLIC_KEY_BYTES = 32
_SIGNATURE_BYTES = 64
_BODY_LINES = 3
_EM_DASH = "— "


class CheckpointFailure(StrEnum):
    """The named classes of docs/spec/checkpoint.md."""

    TOO_LARGE = "note-too-large"
    NOTE = "note-malformed"
    SIGNATURE_LINE = "signature-line-malformed"
    BODY = "body-malformed"
    KEY = "verifier-key-malformed"


class CheckpointError(ValueError):
    """Bytes that are no checkpoint, or a text that is no verifier key; ``failure`` is the class."""

    def __init__(self, failure: CheckpointFailure, detail: str) -> None:
        super().__init__(f"{failure}: {detail}")
        self.failure = failure


class VerifierKey(NamedTuple):
    """A log's public key under its name; ``key_id`` is derived and finds the signature line."""

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """The four bytes before every signature by this key."""
        return note_key_id(self.name, self.public_key)

    @property
    def text(self) -> str:
        """The verifier key string of signed notes: ``name+hash+base64(0x01 || public key)``."""
        return f"{self.name}+{self.key_id.hex()}+{to_base64(_ED25519 + self.public_key)}"


class NoteSignature(NamedTuple):
    """One signature line: the key's name, its id, and the bytes behind the id."""

    name: str
    key_id: bytes
    signature: bytes


class Checkpoint(NamedTuple):
    """A parsed checkpoint; nothing of it is to be believed before ``signed_by`` held.

    ``body`` is what was signed. ``extensions`` are further lines of the body; we write none.
    """

    origin: str
    size: int
    root: bytes
    body: bytes
    extensions: tuple[str, ...]
    signatures: tuple[NoteSignature, ...]


def checkpoint_body(origin: str, size: int, root: bytes) -> bytes:
    """Return the text to be signed: three lines, each with its newline.

    Args:
        origin: The log's name, ``securenet/<fleet>/<gateway>``.
        size: The number of entries.
        root: The root of that many, 32 bytes.
    """
    _require_name(origin)
    if not 0 <= size <= NUMBER_MAX or len(root) != HASH_BYTES:
        raise ValueError("a checkpoint has a size below 2^63 and a root of 32 bytes")
    return f"{origin}\n{size}\n{to_base64(root)}\n".encode()


def note_key_id(name: str, public_key: bytes) -> bytes:
    """Return the key id of an Ed25519 key: ``SHA-256(name || 0x0a || 0x01 || key)[:4]`` (c2sp.org/signed-note)."""
    return sha256(name.encode() + b"\n" + _ED25519 + public_key).digest()[:_KEY_ID_BYTES]


def sign(body: bytes, name: str, sign_input: Callable[[bytes], bytes], public_key: bytes) -> bytes:
    """Return the whole note: the body, a blank line and one signature line.

    Args:
        body: From ``checkpoint_body``.
        name: The key's name; for our logs it is the origin.
        sign_input: Signs bytes with the log's Ed25519 key, 64 bytes.
        public_key: Its public half, 32 bytes.
    """
    return note(body, name, sign_input(body), public_key)


def note(body: bytes, name: str, signature: bytes, public_key: bytes) -> bytes:
    """Return the whole note around a signature that was made elsewhere, over ``body``."""
    _require_name(name)
    if len(signature) != _SIGNATURE_BYTES or len(public_key) != _PUBLIC_KEY_BYTES:
        raise ValueError("an Ed25519 signature has 64 bytes and its key 32")
    stamped = note_key_id(name, public_key) + signature
    return body + f"\n{_EM_DASH}{name} {to_base64(stamped)}\n".encode()


def parse(data: bytes) -> Checkpoint:
    """Read a checkpoint strictly; believes no signature, see ``signed_by``.

    Raises:
        CheckpointError: it is too large, no note, or its body is none of a checkpoint.
    """
    if len(data) > NOTE_BYTES_MAX:
        raise CheckpointError(CheckpointFailure.TOO_LARGE, f"a checkpoint has at most {NOTE_BYTES_MAX} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise CheckpointError(CheckpointFailure.NOTE, "a note is UTF-8") from None
    if any(character < " " and character != "\n" for character in text):
        raise CheckpointError(CheckpointFailure.NOTE, "a note has no control character but newline")
    body, blank, signature_lines = text.rpartition("\n\n")
    if not blank or not signature_lines.endswith("\n"):
        raise CheckpointError(CheckpointFailure.NOTE, "a note is a text, a blank line and signature lines")
    body += "\n"
    origin, size, root, extensions = _parse_body(body)
    lines = signature_lines[:-1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise CheckpointError(CheckpointFailure.TOO_LARGE, f"a note has at most {SIGNATURES_MAX} signatures")
    return Checkpoint(origin, size, root, body.encode(), extensions, tuple(_parse_signature(line) for line in lines))


def signed_by(checkpoint: Checkpoint, key: VerifierKey) -> bool:
    """Tell whether ``key`` signed this checkpoint of the log that bears its name.

    Signatures under another name or id are ignored, as signed-note asks. One of ours that does not hold refuses the
    whole note, whatever another line says.
    """
    ours = [line.signature for line in checkpoint.signatures if line[:2] == (key.name, key.key_id)]
    public_key = PublicKey(Alg.ED25519, key.public_key)
    return (
        bool(ours)
        and checkpoint.origin == key.name
        and all(verify(public_key, checkpoint.body, signature) for signature in ours)
    )


def parse_verifier_key(text: str) -> VerifierKey:
    """Read ``name+hash+base64(0x01 || public key)``.

    Raises:
        CheckpointError: it is not of that form, the hash is not the key's, or the key is not Ed25519.
    """
    name, hash_hex, encoded = (*text.split("+", 2), "", "")[:3]
    try:
        _require_name(name)
        typed_key = from_base64(encoded)
    except ValueError:
        raise CheckpointError(CheckpointFailure.KEY, "a verifier key is name+hash+base64") from None
    if typed_key[:1] != _ED25519:
        raise CheckpointError(CheckpointFailure.KEY, "the key of a log is an Ed25519 key, type 1")
    try:
        key = VerifierKey(name, parse_public_key(Alg.ED25519, typed_key[1:]).data)
    except KeyRefused as refused:
        raise CheckpointError(CheckpointFailure.KEY, f"the key of the log is none: {refused.reason}") from None
    if hash_hex != key.key_id.hex():
        raise CheckpointError(CheckpointFailure.KEY, "the hash in the verifier key is not that of its key")
    return key


def _parse_body(body: str) -> tuple[str, int, bytes, tuple[str, ...]]:
    lines = body[:-1].split("\n")
    if len(lines) < _BODY_LINES or "" in lines:
        raise CheckpointError(CheckpointFailure.BODY, "a checkpoint's body has three lines or more, none empty")
    origin, size, root, *extensions = lines
    count = parse_decimal(size)
    if count is None:
        raise CheckpointError(CheckpointFailure.BODY, "the size is a decimal number without leading zeroes")
    try:
        root_hash = from_base64(root)
    except ValueError:
        raise CheckpointError(CheckpointFailure.BODY, "the root is base64") from None
    if len(root_hash) != HASH_BYTES:
        raise CheckpointError(CheckpointFailure.BODY, "the root has 32 bytes")
    return origin, count, root_hash, tuple(extensions)


def _parse_signature(line: str) -> NoteSignature:
    name, _, encoded = line.removeprefix(_EM_DASH).partition(" ")
    try:
        _require_name(name)
        stamped = from_base64(encoded)
    except ValueError:
        stamped = b""
    if not line.startswith(_EM_DASH) or len(stamped) <= _KEY_ID_BYTES:
        raise CheckpointError(
            CheckpointFailure.SIGNATURE_LINE, "a signature line is em dash, key name, base64 of key id and signature"
        )
    return NoteSignature(name, stamped[:_KEY_ID_BYTES], stamped[_KEY_ID_BYTES:])


def _require_name(name: str) -> None:
    name.encode()  # a lone surrogate is a ValueError, too
    if not name or "+" in name or any(character.isspace() or character < " " for character in name):
        raise ValueError("a key's name is not empty and has no space, plus sign or control character")
