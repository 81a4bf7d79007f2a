"""Opening a bundle: manifest and ciphertext in, the model out, or the name of what is wrong.

The ciphertext comes as it is fetched, piece by piece; it is decrypted, counted and hashed on the way, and bytes that
go beyond what the manifest promises are never taken in. The model is handed over only when all of it held.

Not handled here: what the chain says (``Named`` is where it enters), expiry, the smoke test, the sources.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from hmac import compare_digest
from typing import Final, NamedTuple

from gateway.crypto.keys import PublicKey
from gateway.vault.cipher import Decryption, model_context
from gateway.vault.manifest import Manifest, manifest_sha256, read_manifest
from gateway.vault.refusal import ModelRefusal, ModelRefused
from gateway.vault.wrap import PrivateKey, unwrap, wrap_info

MODEL_BYTES: Final = 64 * 1024 * 1024
"""The largest model that is opened unless a caller says otherwise: it is held in memory."""


class Named(NamedTuple):
    """Which manifest is meant: what the chain says of a model's version."""

    model_id: str
    version: int
    manifest_sha256: bytes


class Opened(NamedTuple):
    """A bundle that held. ``plaintext`` is the model, in memory only."""

    manifest: Manifest
    manifest_sha256: bytes
    plaintext: bytearray


def admit_manifest(envelope: bytes, publisher: PublicKey, named: Named) -> Manifest:
    """Read the manifest that was named.

    Raises:
        ModelRefused: ``manifest-digest``, ``manifest-malformed``, ``manifest-signature``, ``manifest-mismatch``.
    """
    if not compare_digest(manifest_sha256(envelope), named.manifest_sha256):
        raise ModelRefused(ModelRefusal.MANIFEST_DIGEST, "this is not the manifest that was named")
    manifest = read_manifest(envelope, publisher)
    if (manifest.model_id, manifest.version) != (named.model_id, named.version):
        raise ModelRefused(ModelRefusal.MANIFEST_MISMATCH, "the manifest is of another model or version")
    return manifest


def data_key(manifest: Manifest, private_key: PrivateKey, gateway_id: str) -> bytes:
    """Return the key of a model that is wrapped for this gateway.

    Raises:
        ModelRefused: ``not-a-recipient``, ``wrap-failed``.
    """
    wrapped = manifest.wrapped.get(gateway_id)
    if wrapped is None:
        raise ModelRefused(ModelRefusal.NOT_A_RECIPIENT, "no key is wrapped for this gateway")
    info = wrap_info(manifest.model_id, manifest.version, manifest.ciphertext.sha256, gateway_id)
    return unwrap(wrapped, private_key, info)


class Opening:
    """A ciphertext on its way to a model: ``update`` with all of it, then ``finish`` once.

    Args:
        manifest: from ``admit_manifest``.
        key: from ``data_key``.
        max_bytes: the largest model that is taken.

    Raises:
        ModelRefused: ``too-large``.
    """

    def __init__(self, manifest: Manifest, key: bytes, max_bytes: int = MODEL_BYTES) -> None:
        if manifest.plaintext.size > max_bytes:
            raise ModelRefused(ModelRefusal.TOO_LARGE, f"the model has more than {max_bytes} bytes")
        self._manifest = manifest
        self._decryption = Decryption(key, model_context(manifest.model_id, manifest.version))
        self._hash = sha256()
        self._missing = manifest.ciphertext.size
        self._plaintext = bytearray()

    def update(self, ciphertext: bytes) -> None:
        """Take the next piece.

        Raises:
            ModelRefused: ``ciphertext-extended``, ``key-commitment``, ``ciphertext-altered``.
        """
        if len(ciphertext) > self._missing:
            raise ModelRefused(ModelRefusal.CIPHERTEXT_EXTENDED, "it is longer than the manifest says")
        self._missing -= len(ciphertext)
        self._hash.update(ciphertext)
        self._plaintext += self._decryption.update(ciphertext)

    def finish(self) -> bytearray:
        """Return the model.

        Raises:
            ModelRefused: ``ciphertext-truncated``, ``ciphertext-altered``, ``ciphertext-digest``,
                ``plaintext-digest``.
        """
        if self._missing:
            raise ModelRefused(ModelRefusal.CIPHERTEXT_TRUNCATED, "it is shorter than the manifest says")
        self._plaintext += self._decryption.finish()
        if not compare_digest(self._hash.digest(), self._manifest.ciphertext.sha256):
            raise ModelRefused(ModelRefusal.CIPHERTEXT_DIGEST, "it is not the ciphertext that the manifest names")
        if not compare_digest(sha256(self._plaintext).digest(), self._manifest.plaintext.sha256):
            raise ModelRefused(ModelRefusal.PLAINTEXT_DIGEST, "it is not the model that the manifest names")
        return self._plaintext


def open_bundle(  # noqa: PLR0913 -- each is a fact of another source: chain, registry, own key, own name, config
    envelope: bytes,
    ciphertext: Iterable[bytes],
    *,
    named: Named,
    publisher: PublicKey,
    private_key: PrivateKey,
    gateway_id: str,
    max_bytes: int = MODEL_BYTES,
) -> Opened:
    """Open a bundle whose ciphertext is at hand; for one that is being fetched see ``Opening``.

    Args:
        envelope: the signed manifest.
        ciphertext: its pieces, of any size; no more of them is asked for than is needed.
        named: the version that the chain names.
        publisher: the key that the model's manifests are signed with.
        private_key: this gateway's, which models are wrapped for.
        gateway_id: this gateway's.
        max_bytes: the largest model that is taken.

    Raises:
        ModelRefused: with the reason.
    """
    manifest = admit_manifest(envelope, publisher, named)
    opening = Opening(manifest, data_key(manifest, private_key, gateway_id), max_bytes)
    for piece in ciphertext:
        opening.update(piece)
    return Opened(manifest, named.manifest_sha256, opening.finish())
