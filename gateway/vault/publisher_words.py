"""Why a model is not published: the stable strings of ``securenet model publish`` (docs/operations/models.md)."""

from __future__ import annotations

from enum import StrEnum


class PublishRefusal(StrEnum):
    """What is wrong, in the order in which it is found."""

    MODEL_FILE = "model-file"
    """The file cannot be read, is empty, or is larger than a model may be."""
    RECORD_MALFORMED = "record-malformed"
    """The card is no training record."""
    RECORD_UNSIGNED = "record-unsigned"
    """There is no signature beside the record."""
    RECORD_SIGNATURE = "record-signature"
    """The trainer's key did not sign the record."""
    RECORD_MISMATCH = "record-mismatch"
    """The record is of another model, another version or another spec."""
    MODEL_DIGEST = "model-digest"
    """The file is not the one that was trained."""
    SPEC_MALFORMED = "spec-malformed"
    """The spec is none that a gateway would read."""
    MODEL_STRUCTURE = "model-structure"
    """The file is no TFLite model, or its parts do not fit together."""
    MODEL_OPERATOR = "model-operator"
    """It has an operator that is not allowed."""
    MODEL_SHAPE = "model-shape"
    """Its input or output is not what the spec says."""
    SMOKE_TEST = "smoke-test"
    """It does not load, or does not answer what the spec expects."""
    STATE_FILE = "state-file"
    """The state file cannot be read or written, or is of something else."""
    NOT_A_PUBLISHER = "not-a-publisher"
    """The chain does not know the account as a publisher."""
    PUBLISHER_KEY = "publisher-key"
    """The chain has another signing key for the account."""
    NOT_THE_OWNER = "not-the-owner"
    """The model belongs to another account."""
    VERSION_NOT_RISING = "version-not-rising"
    """The chain has a higher version."""
    VERSION_TAKEN = "version-taken"
    """The chain has this version, with another manifest."""
    EXPIRES = "expires"
    """The manifest would have expired already."""
    AUTHORITY = "authority"
    """The key authority says no."""
    NO_GRANTS = "no-recipients"
    """No gateway would be able to open it."""
    NOT_ADDED = "not-added"
    """The blocks could not be stored, or did not come back."""
    MODEL_CHANGED = "model-changed"
    """The file changed while it was read."""
    NOT_READ_BACK = "not-read-back"
    """What lies in the store is not what was put there."""
    MANIFEST = "manifest"
    """No gateway would read the manifest."""


class PublishRefused(Exception):
    """A model is not published: ``reason`` is for machines, ``problem`` and ``hint`` for people; no secret in any."""

    def __init__(self, reason: PublishRefusal, problem: str, hint: str) -> None:
        super().__init__(f"{reason}: {problem}; {hint}")
        self.reason = reason
        self.problem = problem
        self.hint = hint
