"""The receipts that the gateway owes to devices: those that wait to be sent, and those no broker has confirmed yet.

They outlive a connection. When one ends, what its broker had not confirmed waits again, ahead of the rest; but once
only, for it may be the receipt that ends the connections.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from mqttium import PublishRejectedError
from mqttium.api import PublishReceipt

_MAX_BYTES = 8 << 20
_MAX_UNCONFIRMED = 16384  # above what the client library keeps; a broker confirms in order


class OwedReceipt(NamedTuple):
    """A receipt, where it goes, and the Correlation Data that it answers."""

    topic: str
    receipt: bytes
    correlation: bytes | None
    again: bool = False

    def size(self) -> int:
        """Bytes that it takes up, near enough."""
        return len(self.receipt) + len(self.topic) + len(self.correlation or b"")


class OwedReceipts:
    """Bounded by 8 MiB; beyond it a receipt is dropped: a device that misses one sends again and gets the same."""

    def __init__(self) -> None:
        self.waiting: deque[OwedReceipt] = deque()
        self._unconfirmed: deque[tuple[OwedReceipt, PublishReceipt]] = deque()
        self._waiting_bytes = 0

    def wait(self, owed: OwedReceipt) -> bool:
        """Queue one; False when there is no room."""
        size = owed.size()
        if self._waiting_bytes + size > _MAX_BYTES:
            return False
        self.waiting.append(owed)
        self._waiting_bytes += size
        return True

    def no_longer_waits(self) -> None:
        """The first that waited was sent, or cannot be."""
        self._waiting_bytes -= self.waiting.popleft().size()

    def sent(self, owed: OwedReceipt, sent: PublishReceipt) -> int:
        """Remember one until the broker confirms it; returns how many it has refused, as ``settle`` does."""
        self._unconfirmed.append((owed, sent))
        return self.settle()

    def settle(self) -> int:
        """Forget what the broker confirmed or refused; returns how many it refused, or passed over for too long."""
        unconfirmed = self._unconfirmed
        refused = 0
        while unconfirmed and (unconfirmed[0][1].is_done() or len(unconfirmed) > _MAX_UNCONFIRMED):
            sent = unconfirmed[0][1]
            if sent.is_done() and _lost_with_its_connection(sent):
                break
            unconfirmed.popleft()
            refused += not sent.is_done() or sent.exception() is not None
        return refused

    def take_back(self) -> tuple[int, int]:
        """The connection ended: what was not settled waits again, in order. Returns how many, and how many no more.

        They had room before, so they are not dropped for it now: the client library bounds how many there can be.
        """
        lost = [owed for owed, sent in self._unconfirmed if not sent.is_done() or _lost_with_its_connection(sent)]
        again = [owed._replace(again=True) for owed in lost if not owed.again]
        self._unconfirmed.clear()
        self.waiting.extendleft(reversed(again))
        self._waiting_bytes += sum(owed.size() for owed in again)
        return len(again), len(lost) - len(again)


def _lost_with_its_connection(sent: PublishReceipt) -> bool:
    fault = sent.exception()
    return fault is not None and not isinstance(fault, PublishRejectedError)
