"""Bodies in blocks (RFC 7959), within bounds.

``BodyAssembler`` puts request bodies together block by block: so many at a time, so many bytes, so many a peer, and
none for longer than a client could still be sending. ``BodyShelf`` keeps the few responses that a client wants in
smaller pieces than they are. When something must go, the one untouched longest goes; its client gets 4.08 and
starts again, and a message that had been accepted meanwhile is a duplicate with its first receipt.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable
from enum import Enum
from typing import NamedTuple

from gateway.transport.coap_wire import Block

BODY_LIFETIME_S = 93.0  # MAX_TRANSMIT_WAIT, RFC 7252 §4.8.2
MOST_BODIES = 256
MOST_BODIES_A_PEER = 32
LEAST_TOTAL_BYTES = 16 << 20
RESERVED_SZX = 7


class BlockFault(Enum):
    """Why a block is not taken."""

    INCOMPLETE = "incomplete"
    MALFORMED = "malformed"
    TOO_LARGE = "too-large"


class BodyKey(NamedTuple):
    """Blocks with equal keys belong together: same endpoint, same declared format, same Request-Tag (RFC 9175 §3)."""

    endpoint: Hashable
    content_format: int | None
    request_tag: bytes | None


class _Body:
    """A body so far."""

    __slots__ = ("data", "peer", "touched_s", "verified")

    def __init__(self, peer: str, now_s: float, *, verified: bool) -> None:
        self.data = bytearray()
        self.peer = peer
        self.touched_s = now_s
        self.verified = verified


class BodyAssembler:
    """Request bodies under assembly. ``limit_bytes`` is the largest body that is taken."""

    def __init__(
        self, limit_bytes: int, *, most_bodies: int = MOST_BODIES, most_bodies_a_peer: int = MOST_BODIES_A_PEER
    ) -> None:
        self._limit_bytes = limit_bytes
        self._most_bodies = most_bodies
        self._most_bodies_a_peer = most_bodies_a_peer
        self._most_bytes = max(LEAST_TOTAL_BYTES, 4 * limit_bytes)
        self._bodies: OrderedDict[BodyKey, _Body] = OrderedDict()
        self._of_peer: Counter[str] = Counter()
        self.held_bytes = 0

    def __len__(self) -> int:
        return len(self._bodies)

    @property
    def is_crowded(self) -> bool:
        """More than half of the room is taken: time to ask newcomers whether they are where they say."""
        return 2 * len(self._bodies) > self._most_bodies or 2 * self.held_bytes > self._most_bytes

    def is_verified(self, key: BodyKey) -> bool:
        """Whether the body under ``key`` was begun by a peer that had shown its address."""
        body = self._bodies.get(key)
        return body is not None and body.verified

    def take(  # noqa: PLR0913 -- a block is its key, its sender, its place, its bytes and its time
        self, key: BodyKey, peer: str, block: Block, data: bytes, now_s: float, *, verified: bool, announced: int = 0
    ) -> bytes | BlockFault | None:
        """Take one block: the whole body after the last one, None while more are to come, or why it is not taken.

        ``announced`` is Size1, 0 when absent. A block that repeats the one before it changes nothing (a client that
        lost our answer sends it again under a new message id).
        """
        self._expire(now_s)
        fault = self._fault(block, data, announced)
        if fault is not None:
            self._drop(key)
            return fault
        if block.num == 0:
            if not block.more:
                self._drop(key)
                return data
            body = self._begin(key, peer, now_s, verified=verified)
        else:
            known = self._bodies.get(key)
            if known is None:
                return BlockFault.INCOMPLETE
            body = known
        start = block.num * block.size
        if start != len(body.data):
            repeats = block.more and bytes(body.data[start:]) == data
            return None if repeats else BlockFault.INCOMPLETE
        if not block.more:
            whole = bytes(body.data) + data
            self._drop(key)
            return whole
        body.data += data
        body.touched_s = now_s
        self.held_bytes += len(data)
        self._bodies.move_to_end(key)
        while self.held_bytes > self._most_bytes:
            self._drop(next(iter(self._bodies)))
        return None

    def _fault(self, block: Block, data: bytes, announced: int) -> BlockFault | None:
        if block.szx == RESERVED_SZX or (block.more and len(data) != block.size) or len(data) > block.size:
            return BlockFault.MALFORMED
        least_whole = block.num * block.size + len(data) + block.more
        if max(least_whole, announced) > self._limit_bytes:
            return BlockFault.TOO_LARGE
        return None

    def _begin(self, key: BodyKey, peer: str, now_s: float, *, verified: bool) -> _Body:
        self._drop(key)
        if self._of_peer[peer] >= self._most_bodies_a_peer:
            self._drop(next(other for other, body in self._bodies.items() if body.peer == peer))
        if len(self._bodies) >= self._most_bodies:
            self._drop(next(iter(self._bodies)))
        body = self._bodies[key] = _Body(peer, now_s, verified=verified)
        self._of_peer[peer] += 1
        return body

    def _expire(self, now_s: float) -> None:
        while self._bodies:
            key, oldest = next(iter(self._bodies.items()))
            if now_s - oldest.touched_s <= BODY_LIFETIME_S:
                return
            self._drop(key)

    def _drop(self, key: BodyKey) -> None:
        body = self._bodies.pop(key, None)
        if body is None:
            return
        self.held_bytes -= len(body.data)
        self._of_peer[body.peer] -= 1
        if not self._of_peer[body.peer]:
            del self._of_peer[body.peer]


def cut(body: bytes, block: Block) -> tuple[bytes, Block] | None:
    """The piece of ``body`` that ``block`` asks for, and the block option that goes with it; None beyond its end."""
    start = block.num * block.size
    if start >= len(body) and start > 0:
        return None
    end = start + block.size
    return body[start:end], Block(block.num, end < len(body), block.szx)


class BodyShelf:
    """Response bodies that are fetched in pieces (RFC 7959 §2.4), the newest ``most`` by endpoint."""

    def __init__(self, most: int = MOST_BODIES) -> None:
        self._most = most
        self._bodies: OrderedDict[Hashable, tuple[bytes, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._bodies)

    def put(self, endpoint: Hashable, body: bytes, now_s: float) -> None:
        """Keep ``body`` for the endpoint, in place of an earlier one."""
        self._bodies[endpoint] = (body, now_s)
        self._bodies.move_to_end(endpoint)
        if len(self._bodies) > self._most:
            self._bodies.popitem(last=False)

    def get(self, endpoint: Hashable, now_s: float) -> bytes | None:
        """The body kept for the endpoint, None when there is none that is fresh."""
        entry = self._bodies.get(endpoint)
        if entry is None or now_s - entry[1] > BODY_LIFETIME_S:
            return None
        return entry[0]
