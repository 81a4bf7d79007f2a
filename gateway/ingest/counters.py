"""What is counted on the way. Every message that came in is in exactly one of the outcomes."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from gateway.message import RejectReason

_ANSWER_MS = (1, 2, 5, 10, 20, 30, 50, 80, 120, 200, 500, 1000, 2000, 5000, 10000, 30000)
_WORK_MS = (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000)
_HEAVY_DEVICES = 1024
_CLONED_DEVICES = 64
_MOST_REFUSED = 10


class Latency:
    """A histogram of milliseconds with fixed bounds: of an answer, unless other bounds are given.

    ``counts`` has one place more than ``bounds_ms``, for what took longer.
    """

    def __init__(self, bounds_ms: Sequence[float] = _ANSWER_MS) -> None:
        self.bounds_ms = bounds_ms
        self.counts = [0] * (len(bounds_ms) + 1)
        self.total_ms = 0.0

    def add(self, elapsed_ms: float) -> None:
        """Count one; a clock that was set back counts as 0."""
        elapsed_ms = max(0, elapsed_ms)
        self.counts[bisect_left(self.bounds_ms, elapsed_ms)] += 1
        self.total_ms += elapsed_ms

    def quantile_ms(self, share: float) -> float | None:
        """The upper bound of the bucket that holds the quantile; None while nothing was counted."""
        rank = share * sum(self.counts)
        seen = 0
        for bound, count in zip((*self.bounds_ms, 2 * self.bounds_ms[-1]), self.counts, strict=True):
            seen += count
            if count and seen >= rank:
                return bound
        return None


class Refusals:
    """What goes into the next ``rejections`` entry of the log: counts by reason and by device, bounded.

    The device table holds at most 1,024 ids: beyond that the less refused half is forgotten, so a swarm of ids that
    appear once cannot push out the devices that are refused again and again.
    """

    def __init__(self, from_ms: int) -> None:
        self.from_ms = from_ms
        self.reasons: Counter[str] = Counter()
        self._devices: Counter[str] = Counter()
        self._cloned: set[str] = set()

    def add(self, reason: RejectReason, device_id: str | None) -> bool:
        """Count a refusal; True when the technician should read of it before the next summary does.

        That is the first one of each reason, and the first ``sequence-reused`` of each device, for 64 devices.
        """
        self.reasons[reason] += 1
        if device_id is not None:
            self._devices[device_id] += 1
            if len(self._devices) > _HEAVY_DEVICES:
                self._devices = Counter(dict(self._devices.most_common(_HEAVY_DEVICES // 2)))
        if reason is RejectReason.SEQUENCE_REUSED and device_id is not None and len(self._cloned) < _CLONED_DEVICES:
            known = len(self._cloned)
            self._cloned.add(device_id)
            return len(self._cloned) > known
        return self.reasons[reason] == 1

    def most_refused(self) -> list[tuple[str, int]]:
        """The ten devices that were refused most, the most refused first; ties by id."""
        return sorted(self._devices.items(), key=lambda item: (-item[1], item[0]))[:_MOST_REFUSED]


class Counters:
    """Totals since the start of the process.

    ``latency`` is from receipt to answer, of each message; ``verify`` of a batch's signatures, from asking the worker
    to its answer; ``commit`` of a group, until it is durable.
    """

    def __init__(self) -> None:
        self.received: Counter[str] = Counter()
        self.accepted = 0
        self.rejected: Counter[str] = Counter()
        self.pushed_back = 0
        self.answered = 0
        self.groups = 0
        self.commit_faults = 0
        self.quarantined = 0
        self.verdicts: Counter[str] = Counter()
        self.latency = Latency()
        self.verify = Latency(_WORK_MS)
        self.commit = Latency(_WORK_MS)
