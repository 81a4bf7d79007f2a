"""A message's place in its batch, from admission to the answer."""

from __future__ import annotations

from typing import NamedTuple

from gateway.checks.chain import Candidate
from gateway.message import Accepted, Duplicate, Outcome, RawMessage, Refused, Rejected


class Record:
    """The first acceptance of an identity: what duplicates of it are answered with.

    ``receipt`` is empty until the group was signed; nobody reads it before that group is committed.
    """

    __slots__ = ("digest", "index", "receipt")

    def __init__(self, digest: bytes, index: int, receipt: bytes = b"") -> None:
        self.digest = digest
        self.index = index
        self.receipt = receipt


Identity = tuple[str, bytes, int]


class Ticket:
    """What is known about one message; filled in stage by stage, answered once at the end."""

    __slots__ = ("candidate", "duplicate", "raw", "receipt", "record", "rejected", "retry_after_s")

    def __init__(self, raw: RawMessage) -> None:
        self.raw = raw
        self.candidate: Candidate | None = None
        self.rejected: Rejected | None = None
        self.retry_after_s: int | None = None
        self.record: Record | None = None
        self.duplicate = False
        self.receipt: bytes | None = None

    def outcome(self) -> Outcome:
        """The answer, to be given after the commit."""
        if self.record is not None:
            receipt = self.record.receipt
            return Duplicate(receipt) if self.duplicate else Accepted(receipt)
        if self.rejected is None:
            raise RuntimeError("a ticket was answered before it was decided")
        return Refused(self.rejected.reason, self.receipt, self.retry_after_s)


class ToSign(NamedTuple):
    """A receipt that waits for its signature: its payload, and the ticket or record it is for."""

    payload: bytes
    ticket: Ticket
