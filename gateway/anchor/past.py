"""The gateway's own past, checked before anything is added to it on the chain (pure).

Three things have to agree: what the chain has of our log, what the outbox believes that it has, and the tree that the
journal's hashes give. If they do not, the log was rolled back, forged or mixed up with another one, and a further
anchor could only make it worse: anchoring stops, taking messages in goes on.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import NamedTuple, Protocol

from gateway.tlog.merkle import verify_consistency
from gateway.tlog.tiles import TileReader, consistency_proof, root_at


class Head(NamedTuple):
    """A size of the log, and the root of its tree."""

    size: int
    root: bytes


class SignedHead(Protocol):
    """A checkpoint as the journal has it."""

    @property
    def size(self) -> int:
        """The number of leaves."""
        ...

    @property
    def root(self) -> bytes:
        """The root of their tree."""
        ...


class OwnLog(TileReader, Protocol):
    """The journal, to read."""

    def size(self) -> int:
        """How many entries the log has."""
        ...

    def latest_checkpoint(self) -> SignedHead | None:
        """The checkpoint of the largest size."""
        ...


class Examination(NamedTuple):
    """What our own hashes say about the head on the chain.

    ``root`` is that of our tree at the size on chain, None when that is empty or larger than the log. ``follows``:
    the newest checkpoint is proven to continue the tree on chain.
    """

    log_size: int
    checkpoint: Head | None
    root: bytes | None
    follows: bool


class Anchored(NamedTuple):
    """What the chain has of our log; size 0 when nothing was anchored. ``frozen``: it takes nothing more."""

    head: Head
    frozen: bool


class Belief(NamedTuple):
    """What the outbox believes.

    ``head`` is the newest anchor that is in a block, ``on_their_way`` the attempts that may be mined at any moment.
    ``behind``: the endpoint does not have the block of the believed anchor yet.
    """

    head: Head | None
    on_their_way: Collection[Head] = ()
    behind: bool = False


class Verdict(StrEnum):
    """What to do now."""

    AGREES = "agrees"
    ADOPT = "adopt"
    """The chain has an anchor of our very log that the outbox does not know: take it over."""
    LATER = "later"
    """Nothing is wrong, but this endpoint does not know all yet."""
    FROZEN = "frozen"
    MISMATCH = "mismatch"


class Judgement(NamedTuple):
    """A verdict, and why, in words; empty when there is nothing to tell."""

    verdict: Verdict
    detail: str = ""


def examine(log: OwnLog, anchored: Head) -> Examination:
    """Compute what the journal's hashes say about the head on the chain. Reads a few tiles.

    Raises:
        MissingTileError: the store lacks hashes of its own log.
    """
    log_size, signed = log.size(), log.latest_checkpoint()
    checkpoint = None if signed is None or not signed.size else Head(signed.size, signed.root)
    root = root_at(log, anchored.size) if 0 < anchored.size <= log_size else None
    follows = False
    if checkpoint is not None and not anchored.size:
        follows = root_at(log, checkpoint.size) == checkpoint.root
    elif checkpoint is not None and root is not None and anchored.size <= checkpoint.size:
        proof = consistency_proof(log, anchored.size, checkpoint.size)
        follows = verify_consistency(*anchored, *checkpoint, proof)
    return Examination(log_size, checkpoint, root, follows)


def judge(anchored: Anchored, own: Examination, belief: Belief) -> Judgement:
    """Compare what the chain has, what our hashes say about it, and what the outbox believes."""
    head, believed = anchored.head, belief.head
    if anchored.frozen:
        return Judgement(Verdict.FROZEN, f"the chain has two roots for size {head.size} of this log")
    if head.size > own.log_size:
        return Judgement(
            Verdict.MISMATCH,
            f"the chain has {head.size} entries of this log, the journal {own.log_size}: the data directory is "
            "older than the chain, or another gateway writes under this name",
        )
    if head.size and own.root != head.root:
        return Judgement(Verdict.MISMATCH, f"the chain has another root for size {head.size} than the journal")
    if believed is not None and head.size < believed.size:
        if belief.behind:
            return Judgement(Verdict.LATER, "the endpoint does not have the block of the last anchor yet")
        return Judgement(
            Verdict.MISMATCH, f"the chain lost an anchor: it has size {head.size}, there was {believed.size}"
        )
    if own.checkpoint is not None and own.checkpoint.size >= head.size and not own.follows:
        return Judgement(
            Verdict.MISMATCH, f"the checkpoint of size {own.checkpoint.size} does not continue what was anchored"
        )
    if head.size and head != believed:
        return Judgement(Verdict.LATER if head in belief.on_their_way else Verdict.ADOPT)
    return Judgement(Verdict.AGREES)
