"""A message's place in its batch, from admission to the answer."""

from __future__ import annotations

from gateway.checks.chain import Candidate
from gateway.message import Accepted, Duplicate, Outcome, RawMessage, Refused, Rejected, RejectReason


class Record:
    """The first acceptance of an identity: what duplicates of it are answered with.

    ``index`` is set when the entry is appended and ``receipt`` when the group is signed; nobody reads them before
    that group is committed.
    """

    __slots__ = ("digest", "index", "receipt")

    def __init__(self, digest: bytes, index: int = -1, receipt: bytes = b"") -> None:
        self.digest = digest
        self.index = index
        self.receipt = receipt


Identity = tuple[str, bytes, int]


class Ticket:
    """What is known about one message; filled in stage by stage, answered once at the end."""

    __slots__ = ("candidate", "raw", "receipt", "record", "rejected", "retry_after_s")

    def __init__(self, raw: RawMessage) -> None:
        self.raw = raw
        self.candidate: Candidate | None = None
        self.rejected: Rejected | None = None
        self.retry_after_s: int | None = None
        self.record: Record | None = None
        self.receipt: bytes | None = None

    def outcome(self) -> Outcome:
        """The answer, to be given after the commit.

        Raises:
            RuntimeError: the ticket was not decided, or its receipt is not there: answering would be a promise that
                nothing stands behind.
        """
        rejected, record = self.rejected, self.record
        if rejected is None or rejected.reason is RejectReason.DUPLICATE:
            if record is None or not record.receipt:
                raise RuntimeError("a ticket was answered before it was decided and signed")
            return Accepted(record.receipt) if rejected is None else Duplicate(record.receipt)
        return Refused(rejected.reason, self.receipt, self.retry_after_s)
