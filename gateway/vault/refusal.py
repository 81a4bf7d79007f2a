"""Why a model is refused: the stable strings of logs, log entries and access reports (docs/spec/model-bundle.md)."""

from __future__ import annotations

from enum import StrEnum


class ModelRefusal(StrEnum):
    """What is wrong with a bundle, in the order in which it is found."""

    MANIFEST_DIGEST = "manifest-digest"
    """The envelope is not the one that was named."""
    MANIFEST_MALFORMED = "manifest-malformed"
    """The bytes are no manifest, or another spelling of one."""
    MANIFEST_SIGNATURE = "manifest-signature"
    """The publisher's key did not sign it."""
    MANIFEST_MISMATCH = "manifest-mismatch"
    """It is a manifest of the publisher's, of another model or version."""
    NOT_A_RECIPIENT = "not-a-recipient"
    """No key is wrapped for this gateway."""
    WRAP_FAILED = "wrap-failed"
    """The key that is wrapped for this gateway does not open."""
    TOO_LARGE = "too-large"
    """The model is larger than this gateway takes."""
    KEY_COMMITMENT = "key-commitment"
    """The ciphertext was made with another key, for another model or version, or its first 56 bytes are altered."""
    CIPHERTEXT_ALTERED = "ciphertext-altered"
    """A chunk is not what stood there: altered, moved, repeated, or bytes of something else."""
    CIPHERTEXT_TRUNCATED = "ciphertext-truncated"
    """The ciphertext ends early."""
    CIPHERTEXT_EXTENDED = "ciphertext-extended"
    """The ciphertext goes on after its end."""
    CIPHERTEXT_DIGEST = "ciphertext-digest"
    """It decrypts, and is not the ciphertext that the manifest names."""
    PLAINTEXT_DIGEST = "plaintext-digest"
    """It decrypts, and is not the model that the manifest names."""


class ModelRefused(ValueError):
    """A bundle is refused: ``reason`` is for machines, ``detail`` says in our own words what was looked at."""

    def __init__(self, reason: ModelRefusal, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
