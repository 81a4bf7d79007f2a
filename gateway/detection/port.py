"""What a scorer is to ingest. A model that fails or is absent never costs a message: it is ``unscored``."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from gateway.detection.spec import ModelSpec
from gateway.message import Score, VerifiedMessage

_UNSCORED = Score()


class UnscoredReason(StrEnum):
    """Why a message has no verdict: the stable strings of status and metrics."""

    NO_MODEL = "no-model"
    """No model is loaded."""
    NO_READINGS = "no-readings"
    """The payload holds no numbers that are read here."""
    NO_FITTING_MODEL = "no-fitting-model"
    """No loaded model is meant for the device, the content format or the readings."""
    MISSING_READING = "missing-reading"
    """A column that the model cannot do without did not come."""
    WRONG_SHAPE = "wrong-shape"
    """A tensor of another length."""
    NOT_FINITE = "not-finite"
    """The input is not finite after the pipeline."""
    WINDOW_SHORT = "window-short"
    """The device has not sent a whole window yet."""
    ANSWER_NOT_FINITE = "answer-not-finite"
    """The model answered NaN or an infinity."""
    MODEL_FAULT = "model-fault"
    """The model raised, and no other took its place."""
    TIME_LIMIT = "time-limit"
    """The model did not answer in time."""
    WORKER_LOST = "worker-lost"
    """The scoring process ended, or is just being started."""


class LoadedModel(NamedTuple):
    """A model that was verified and opened: ``manifest_sha256`` is the digest of the whole manifest envelope.

    ``data`` is the plain model, in memory alone.
    """

    manifest_sha256: bytes
    model_id: str
    version: int
    spec: ModelSpec
    data: bytes | memoryview


class Scorer(Protocol):
    """Scores verified messages in batches."""

    async def score(self, messages: Sequence[VerifiedMessage]) -> list[Score]:
        """Return one score a message, in their order."""
        ...

    def refused(self, device_id: str) -> None:
        """Count a message that the device's own key signed and that was refused all the same, duplicates apart."""
        ...


class NoModel:
    """The scorer of a gateway that holds no model: every verdict is ``unscored``."""

    async def score(self, messages: Sequence[VerifiedMessage]) -> list[Score]:
        """Return ``unscored`` for each."""
        return [_UNSCORED] * len(messages)

    def refused(self, device_id: str) -> None:
        """Nobody asks for it."""
