"""Step 5, ISDUP(T): the replay window, and what a message that is not fresh has to be called.

A message's identity is (device, session, sequence). Per device the window remembers the newest eight sessions by
first acceptance, and per session a bitmap of the highest number and the 1,024 below it. It is fed by accepted
messages only. What it cannot tell apart (the same message again, or a number signed twice) the journal's digest
decides; so it does for everything of a device of which a session was evicted, for that session may come back.
"""

from __future__ import annotations

import struct
from enum import Enum

from gateway.message import Rejected, RejectReason

WINDOW = 1024
SESSIONS = 8
_MASK = (1 << (WINDOW + 1)) - 1
_NEVER = -1.0
_LOST = -0.5  # below every iat, as well
_HEAD = struct.Struct(">BBd")
_SESSION = struct.Struct(">8sQdB")
_VERSION = 1


class Standing(Enum):
    """Where an identity stands in the window. Only ``FRESH`` can be accepted."""

    FRESH = "fresh"
    SEEN = "seen"
    OUT_OF_WINDOW = "out-of-window"
    STALE_SESSION = "stale-session"


class _Session:
    """One boot of a device: bit *i* of ``bitmap`` says that ``highest - i`` was accepted."""

    __slots__ = ("bitmap", "highest", "newest_iat", "session")

    def __init__(self, session: bytes, highest: int, bitmap: int, newest_iat: float) -> None:
        self.session = session
        self.highest = highest
        self.bitmap = bitmap
        self.newest_iat = newest_iat


class ReplayWindow:
    """The accepted identities of one device, in bounded memory."""

    __slots__ = ("_evicted_iat", "_sessions")

    def __init__(self) -> None:
        self._sessions: list[_Session] = []
        self._evicted_iat = _NEVER

    def standing(self, session: bytes, seq: int, issued_at: float) -> Standing:
        """Say where an identity stands; changes nothing."""
        for known in self._sessions:
            if known.session == session:
                below = known.highest - seq
                if below < 0:
                    return Standing.FRESH
                if below > WINDOW:
                    return Standing.OUT_OF_WINDOW
                return Standing.SEEN if known.bitmap >> below & 1 else Standing.FRESH
        return Standing.STALE_SESSION if issued_at <= self._evicted_iat else Standing.FRESH

    @property
    def has_forgotten(self) -> bool:
        """Whether a session was ever evicted. One that comes back is a new one here; its numbers may not be."""
        return self._evicted_iat != _NEVER

    @classmethod
    def lost(cls) -> ReplayWindow:
        """An empty window in the place of one that cannot be read: it has forgotten whatever that one knew."""
        window = cls()
        window.doubt()
        return window

    def doubt(self) -> None:
        """Hold nothing for fresh from now on by this window alone: the log may have gone ahead of it."""
        self._evicted_iat = max(self._evicted_iat, _LOST)

    def accept(self, session: bytes, seq: int, issued_at: float) -> None:
        """Remember a message that is being accepted; it must stand ``FRESH``.

        Raises:
            ValueError: it does not; accepting it would break what the window promises.
        """
        if self.standing(session, seq, issued_at) is not Standing.FRESH:
            raise ValueError("only a fresh message can be accepted")
        for known in self._sessions:
            if known.session == session:
                ahead = seq - known.highest
                if ahead > WINDOW:
                    known.highest, known.bitmap = seq, 1
                elif ahead > 0:
                    known.highest, known.bitmap = seq, (known.bitmap << ahead | 1) & _MASK
                else:
                    known.bitmap |= 1 << -ahead
                known.newest_iat = max(known.newest_iat, issued_at)
                return
        self._sessions.append(_Session(session, seq, 1, issued_at))
        if len(self._sessions) > SESSIONS:
            self._evicted_iat = max(self._evicted_iat, self._sessions.pop(0).newest_iat)

    def to_bytes(self) -> bytes:
        """Write the window for the journal: version, session count, evicted iat, then each session."""
        parts = [_HEAD.pack(_VERSION, len(self._sessions), self._evicted_iat)]
        for known in self._sessions:
            bitmap = known.bitmap.to_bytes((known.bitmap.bit_length() + 7) // 8, "big")
            parts += (_SESSION.pack(known.session, known.highest, known.newest_iat, len(bitmap)), bitmap)
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> ReplayWindow:
        """Read what ``to_bytes`` wrote.

        Raises:
            ValueError: the bytes are not a replay window of this version.
        """
        window = cls()
        try:
            version, count, window._evicted_iat = _HEAD.unpack_from(data)
            offset = _HEAD.size
            for _ in range(count):
                session, highest, newest_iat, length = _SESSION.unpack_from(data, offset)
                offset += _SESSION.size
                bitmap = int.from_bytes(data[offset : offset + length], "big")
                offset += length
                window._sessions.append(_Session(session, highest, bitmap, newest_iat))
        except struct.error as error:
            raise ValueError("a replay window is cut short") from error
        if version != _VERSION or offset != len(data) or count > SESSIONS:
            raise ValueError("these bytes are no replay window")
        return window


_BY_STANDING = {
    Standing.OUT_OF_WINDOW: Rejected(
        RejectReason.OUT_OF_WINDOW, f"more than {WINDOW} numbers below the highest of its session"
    ),
    Standing.STALE_SESSION: Rejected(RejectReason.STALE_SESSION, "a session older than the ones remembered"),
}
_FORGOTTEN = Rejected(RejectReason.OUT_OF_WINDOW, "accepted before; its bytes were dropped by retention")
_DUPLICATE = Rejected(RejectReason.DUPLICATE, "accepted before")
_REUSED = Rejected(RejectReason.SEQUENCE_REUSED, "the device signed this number twice: is it cloned?")


def verify_not_duplicate(standing: Standing, digest: bytes, known_digest: bytes | None) -> Rejected | None:
    """Step 5: the identity was never accepted.

    Args:
        standing: where the identity stands in the replay window.
        digest: of this message's signing input.
        known_digest: of the message that the journal holds under the identity; None when it holds none.
    """
    if known_digest is not None:
        return _DUPLICATE if known_digest == digest else _REUSED
    if standing is Standing.SEEN:
        # The journal dropped the message by retention, the window remembers it: it cannot be told whether the
        # bytes are the same, and it must not be accepted twice.
        return _FORGOTTEN
    return _BY_STANDING.get(standing)


def verify_age(issued_at: float, now_s: float, *, max_age_s: float, max_ahead_s: float) -> Rejected | None:
    """Step 5, last: the message was issued within the window of time around now (both in seconds since 1970)."""
    if issued_at < now_s - max_age_s:
        return Rejected(RejectReason.TOO_OLD, f"issued more than {max_age_s:g} s ago")
    if issued_at > now_s + max_ahead_s:
        return Rejected(RejectReason.IN_FUTURE, f"issued more than {max_ahead_s:g} s ahead of this clock")
    return None
