"""What a scorer is to ingest. A model that fails or is absent never costs a message: it is ``unscored``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.message import Score, VerifiedMessage

_UNSCORED = Score()


class Scorer(Protocol):
    """Scores verified messages in batches."""

    async def score(self, messages: Sequence[VerifiedMessage]) -> list[Score]:
        """Return one score a message, in their order."""
        ...


class NoModel:
    """The scorer of a gateway that holds no model: every verdict is ``unscored``."""

    async def score(self, messages: Sequence[VerifiedMessage]) -> list[Score]:
        """Return ``unscored`` for each."""
        return [_UNSCORED] * len(messages)
