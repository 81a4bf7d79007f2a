"""What may be asked for blocks, and what can be wrong with it: the port that ``ipfs_sources`` implements.

A source is never trusted, only asked: whatever it gives is hashed by the caller. So a source has two ways to fail
only: it does not have a block, or it does not behave; either has a name.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from gateway.vault.cid import Cid

LABEL_MAX = 200


class SourceFailure(StrEnum):
    """How a source failed. Only ``ABSENT`` is no fault: it may be asked for the next block at once."""

    ABSENT = "absent"
    WRONG_BLOCK = "wrong-block"
    TOO_LARGE = "too-large"
    TIMED_OUT = "timed-out"
    REDIRECT = "redirect"
    ENCODED = "encoded"
    CONTENT_TYPE = "content-type"
    CAR = "car-refused"
    STATUS = "refused"
    UNREACHABLE = "unreachable"
    UNREADABLE = "unreadable"


class SourceFault(Exception):
    """A source did not give a block. The words are ours; none of the source's own text is in them."""

    def __init__(self, failure: SourceFailure, label: str, words: str) -> None:
        super().__init__(f"{label}: {words} ({failure})")
        self.failure = failure
        self.label = label


class BlockSource(Protocol):
    """Somewhere that blocks may be had from."""

    @property
    def label(self) -> str:
        """What it is called in logs: printable, without secrets."""
        ...

    async def get(self, cid: Cid) -> bytes:
        """Return bytes that are said to be this block: at most those of a block, and not hashed.

        Raises:
            SourceFault: it gave none.
        """
        ...

    def for_file(self, root: Cid) -> BlockSource:
        """Return the source to ask for the blocks of one file, in order; often itself. The caller closes it."""
        ...

    async def close(self) -> None:
        """Let go of connections and files; the next ``get`` opens them again."""
        ...
