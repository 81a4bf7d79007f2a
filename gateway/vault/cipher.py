"""Cobblestone-256: a model of any size is encrypted and decrypted as a stream (c2sp.org/chunked-encryption@v1).

The message is cut into chunks of 16 KiB, the last one always shorter (empty, if need be): so an end is known from a
cut. Each chunk is AES-256-GCM without additional data under one key, its number XORed into one base nonce. Key, base
nonce and a commitment to both come by HKDF-Expand (SHA-512) from the data key, a salt and the context. What goes over
the wire is ``salt (24) || commitment (32) || chunks``; either direction holds a chunk and what it was just given.

Not handled here: that a data key is used for one model and version only, and where the salt comes from (random, for
whoever encrypts).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hmac import compare_digest
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from gateway.vault.refusal import ModelRefusal, ModelRefused

KEY_BYTES: Final = 32
SALT_BYTES: Final = 24
COMMITMENT_BYTES: Final = 32
HEADER_BYTES: Final = SALT_BYTES + COMMITMENT_BYTES
CHUNK_BYTES: Final = 16 * 1024
TAG_BYTES: Final = 16
CHUNKS_MAX: Final = 1 << 38

_NONCE_BYTES: Final = 12
_SEALED_BYTES: Final = CHUNK_BYTES + TAG_BYTES
_INFO: Final = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"
_CONTEXT: Final = b"securenet.model/1\x00"
_LENGTHS: Final = f"a data key has {KEY_BYTES} bytes and a salt {SALT_BYTES}"


def model_context(model_id: str, version: int) -> bytes:
    """Return what a ciphertext is bound to: FORMATS.md §7."""
    return _CONTEXT + model_id.encode() + b"\x00" + version.to_bytes(8, "big")


def ciphertext_size(plaintext_size: int) -> int:
    """Return how many bytes a message of so many has as ciphertext: there is one answer."""
    return HEADER_BYTES + plaintext_size + TAG_BYTES * (plaintext_size // CHUNK_BYTES + 1)


class _Chunks:
    """The cipher of one message's chunks, in their order."""

    __slots__ = ("_aead", "_base", "_number", "commitment")

    def __init__(self, key: bytes, salt: bytes, context: bytes) -> None:
        if len(key) != KEY_BYTES or len(salt) != SALT_BYTES:
            raise ValueError(_LENGTHS)
        length = KEY_BYTES + _NONCE_BYTES + COMMITMENT_BYTES
        derived = HKDFExpand(SHA512(), length, _INFO + salt + context).derive(key)
        self._aead = AESGCM(derived[:KEY_BYTES])
        self._base = int.from_bytes(derived[KEY_BYTES : KEY_BYTES + _NONCE_BYTES], "big")
        self._number = 0
        self.commitment = derived[KEY_BYTES + _NONCE_BYTES :]

    def seal(self, chunk: bytes) -> bytes:
        return self._aead.encrypt(self._nonce(), chunk, None)

    def open(self, sealed: bytes) -> bytes:
        return self._aead.decrypt(self._nonce(), sealed, None)

    def _nonce(self) -> bytes:
        if self._number == CHUNKS_MAX:
            raise ValueError("a message has at most 2^38 chunks")
        nonce = (self._base ^ self._number).to_bytes(_NONCE_BYTES, "big")
        self._number += 1
        return nonce


class Encryption:
    """One message on its way to ciphertext: ``update`` with all of it, then ``finish`` once.

    Args:
        key: the data key, 32 bytes, uniformly random.
        context: see ``model_context``; whoever decrypts has to name the same.
        salt: 24 bytes that were never used with this key; random ones.
    """

    def __init__(self, key: bytes, context: bytes, salt: bytes) -> None:
        self._chunks = _Chunks(key, salt, context)
        self._header = salt + self._chunks.commitment
        self._held = bytearray()

    def update(self, plaintext: bytes) -> bytes:
        """Return the ciphertext that is ready; what does not fill a chunk is held back."""
        self._held += plaintext
        out = bytearray(self._header)
        self._header = b""
        for chunk in _whole(self._held, CHUNK_BYTES):
            out += self._chunks.seal(chunk)
        return bytes(out)

    def finish(self) -> bytes:
        """Return the rest: the header if nothing went before, and the short last chunk."""
        return self._header + self._chunks.seal(bytes(self._held))


class Decryption:
    """One ciphertext on its way back: ``update`` with all of it, then ``finish`` once, and only then is it whole.

    What ``update`` returns is authentic as a beginning; that nothing is missing is known when ``finish`` returns.
    After a refusal nothing more may be asked of it.
    """

    def __init__(self, key: bytes, context: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(_LENGTHS)
        self._key = key
        self._context = context
        self._held = bytearray()
        self._chunks: _Chunks | None = None
        self._refused = False

    def update(self, ciphertext: bytes) -> bytes:
        """Return the plaintext that is authentic.

        Raises:
            ModelRefused: ``key-commitment``, ``ciphertext-altered``.
        """
        self._held += ciphertext
        chunks = self._started()
        if chunks is None:
            return b""
        return b"".join([self._open(chunks, sealed) for sealed in _whole(self._held, _SEALED_BYTES)])

    def finish(self) -> bytes:
        """Return the last chunk's plaintext.

        Raises:
            ModelRefused: ``ciphertext-truncated``; ``ciphertext-altered``, which a cut within a chunk looks like too.
        """
        chunks = self._started()
        if chunks is None:
            raise self._refuse(ModelRefusal.CIPHERTEXT_TRUNCATED, "it ends within the salt or the commitment")
        if len(self._held) < TAG_BYTES:
            raise self._refuse(ModelRefusal.CIPHERTEXT_TRUNCATED, "it ends without a last chunk")
        return self._open(chunks, bytes(self._held))

    def _started(self) -> _Chunks | None:
        """Return the chunks' cipher, None as long as the header is not there; the header is checked once."""
        if self._refused:
            raise RuntimeError("this ciphertext was refused; begin anew")
        if self._chunks is None and len(self._held) >= HEADER_BYTES:
            header = bytes(self._held[:HEADER_BYTES])
            del self._held[:HEADER_BYTES]
            chunks = _Chunks(self._key, header[:SALT_BYTES], self._context)
            if not compare_digest(chunks.commitment, header[SALT_BYTES:]):
                raise self._refuse(ModelRefusal.KEY_COMMITMENT, "another key, context, salt or commitment")
            self._chunks = chunks
        return self._chunks

    def _open(self, chunks: _Chunks, sealed: bytes) -> bytes:
        try:
            return chunks.open(sealed)
        except InvalidTag:
            raise self._refuse(ModelRefusal.CIPHERTEXT_ALTERED, "a chunk is not what stood there") from None

    def _refuse(self, reason: ModelRefusal, detail: str) -> ModelRefused:
        self._refused = True
        return ModelRefused(reason, detail)


def _whole(held: bytearray, size: int) -> Iterator[bytes]:
    """Take all pieces of ``size`` from the front of ``held``."""
    end = len(held) - len(held) % size
    for at in range(0, end, size):
        yield bytes(held[at : at + size])
    del held[:end]


def encrypt(plaintext: Iterable[bytes], key: bytes, context: bytes, salt: bytes) -> Iterator[bytes]:
    """Encrypt a stream; see ``Encryption``."""
    encryption = Encryption(key, context, salt)
    for piece in plaintext:
        if ready := encryption.update(piece):
            yield ready
    yield encryption.finish()


def decrypt(ciphertext: Iterable[bytes], key: bytes, context: bytes) -> Iterator[bytes]:
    """Decrypt a stream; see ``Decryption``. It is whole only when the iterator has ended.

    Raises:
        ModelRefused: the ciphertext is not what was encrypted with this key in this context, or not all of it.
    """
    decryption = Decryption(key, context)
    for piece in ciphertext:
        if ready := decryption.update(piece):
            yield ready
    yield decryption.finish()
