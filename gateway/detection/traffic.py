"""How each device sends: traffic statistics over its last messages, in constant memory (row S4).

A statistic is exact over the last 32 values, not an average over a lifetime: it forgets, so that a device that
changes shows within some messages, and it equals what a plain list of those values would give. Milliseconds and bytes
are whole numbers and are added as such: no rounding adds up. Nothing survives a restart: a device begins anew, and
what needs more messages than have come is missing (None).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from enum import StrEnum
from operator import mul
from typing import Final

WINDOW: Final = 32
"""The last values that a statistic is taken over."""
LEAST: Final = 8
"""A statistic over fewer values says nothing and is missing."""

_BYTES, _GAPS, _ISSUE_GAPS = 0, WINDOW, 2 * WINDOW
_MAX = (1 << 32) - 1
_OUTCOMES = (1 << WINDOW) - 1

Reader = Callable[["DeviceTraffic"], float | None]


class Statistic(StrEnum):
    """The names that a column of kind ``statistic`` can have. The message at hand is always among the counted."""

    MESSAGES = "messages"
    """Accepted messages since the device was first seen by this process, without end."""
    REFUSED_RATIO = "refused_ratio"
    """Of the last 32 messages, accepted and refused, the share that was refused: see ``DeviceTraffic.refused``."""
    LAG_S = "lag_s"
    """From the device's signed time to the arrival here: great after an outage, when what follows is a backlog."""
    BYTES = "bytes"
    """The payload of this message."""
    BYTES_MEAN = "bytes_mean"
    BYTES_VARIANCE = "bytes_variance"
    BYTES_MEDIAN = "bytes_median"
    GAP_S = "gap_s"
    """Seconds since the arrival of the message before."""
    GAP_MEAN_S = "gap_mean_s"
    GAP_VARIANCE_S2 = "gap_variance_s2"
    GAP_MEDIAN_S = "gap_median_s"
    ISSUE_GAP_S = "issue_gap_s"
    """Seconds between the signed times of this message and the one before: no outage bends it, a device can."""
    ISSUE_GAP_MEAN_S = "issue_gap_mean_s"
    ISSUE_GAP_VARIANCE_S2 = "issue_gap_variance_s2"
    ISSUE_GAP_MEDIAN_S = "issue_gap_median_s"


class DeviceTraffic:
    """One device: three rings of 32 whole numbers, and the outcomes of its last 32 messages as bits."""

    __slots__ = ("_issued_ms", "_outcomes", "_received_ms", "_rings", "_seen", "messages")

    def __init__(self) -> None:
        self.messages = 0
        self._seen = 0
        self._outcomes = 0
        self._received_ms = 0
        self._issued_ms = 0
        self._rings = array("I", bytes(4 * 3 * WINDOW))

    def copy(self) -> DeviceTraffic:
        """As it is now, whatever comes."""
        other = DeviceTraffic()
        for name in self.__slots__:
            value = getattr(self, name)
            setattr(other, name, value[:] if isinstance(value, array) else value)
        return other

    def accepted(self, received_ms: int, issued_ms: int, size: int) -> None:
        """Count an accepted message.

        Args:
            received_ms: when it arrived; a clock that was set back gives a gap of 0.
            issued_ms: the device's signed time; one that goes back gives a gap of 0.
            size: bytes of its payload.
        """
        at = self.messages % WINDOW
        rings = self._rings
        rings[_BYTES + at] = min(size, _MAX)
        # The first message has no gap: the gaps fill the ring from the place of the second one on.
        if self.messages:
            rings[_GAPS + at] = min(max(0, received_ms - self._received_ms), _MAX)
            rings[_ISSUE_GAPS + at] = min(max(0, issued_ms - self._issued_ms), _MAX)
        self._received_ms, self._issued_ms = received_ms, issued_ms
        self.messages += 1
        self._outcomes = self._outcomes << 1 & _OUTCOMES
        if self._seen < WINDOW:
            self._seen += 1

    def refused(self) -> None:
        """Count a message that this device's key signed and that was refused all the same.

        Only such ones: whoever else writes the device's name on a message must not be able to make it look bad.
        """
        self._outcomes = (self._outcomes << 1 | 1) & _OUTCOMES
        if self._seen < WINDOW:
            self._seen += 1

    def value(self, statistic: Statistic) -> float | None:
        """Take a statistic; None while too little has come for it."""
        return READERS[statistic](self)

    def refused_ratio(self) -> float | None:
        """The share refused of the last messages."""
        return self._outcomes.bit_count() / self._seen if self._seen >= LEAST else None

    def lag_s(self) -> float | None:
        """From signed time to arrival."""
        return (self._received_ms - self._issued_ms) / 1000 if self.messages else None

    def latest(self, ring: int, unit: int) -> float | None:
        """The value of the message at hand; a gap stands between two messages."""
        if self.messages < (1 if ring == _BYTES else 2):
            return None
        return self._rings[ring + (self.messages - 1) % WINDOW] / unit

    def _window(self, ring: int) -> array[int] | None:
        """The ring's values in no order, None while they are too few; a gap stands between two messages."""
        first = 0 if ring == _BYTES else 1
        if self.messages - first < LEAST:
            return None
        if self.messages <= WINDOW:
            return self._rings[ring + first : ring + self.messages]
        return self._rings[ring : ring + WINDOW]

    def mean(self, ring: int, unit: int) -> float | None:
        """The mean of the window."""
        values = self._window(ring)
        return None if values is None else sum(values) / (len(values) * unit)

    def variance(self, ring: int, unit: int) -> float | None:
        """Of the window as a whole (divided by n): exact until the one division."""
        values = self._window(ring)
        if values is None:
            return None
        count, total = len(values), sum(values)
        squares: int = sum(map(mul, values, values))
        divisor = count * unit
        return (count * squares - total * total) / (divisor * divisor)

    def median(self, ring: int, unit: int) -> float | None:
        """The middle of the window, or the mean of the middle two."""
        values = self._window(ring)
        if values is None:
            return None
        ordered, half = sorted(values), len(values) // 2
        return (ordered[half] + ordered[~half]) / (2 * unit)


def _reader(take: Callable[[DeviceTraffic, int, int], float | None], ring: int, unit: int) -> Reader:
    return lambda device: take(device, ring, unit)


_LATEST, _MEAN, _VARIANCE, _MEDIAN = (
    DeviceTraffic.latest,
    DeviceTraffic.mean,
    DeviceTraffic.variance,
    DeviceTraffic.median,
)
READERS: Final[dict[Statistic, Reader]] = {
    Statistic.MESSAGES: lambda device: float(device.messages) or None,
    Statistic.REFUSED_RATIO: DeviceTraffic.refused_ratio,
    Statistic.LAG_S: DeviceTraffic.lag_s,
    Statistic.BYTES: _reader(_LATEST, _BYTES, 1),
    Statistic.BYTES_MEAN: _reader(_MEAN, _BYTES, 1),
    Statistic.BYTES_VARIANCE: _reader(_VARIANCE, _BYTES, 1),
    Statistic.BYTES_MEDIAN: _reader(_MEDIAN, _BYTES, 1),
    Statistic.GAP_S: _reader(_LATEST, _GAPS, 1000),
    Statistic.GAP_MEAN_S: _reader(_MEAN, _GAPS, 1000),
    Statistic.GAP_VARIANCE_S2: _reader(_VARIANCE, _GAPS, 1000),
    Statistic.GAP_MEDIAN_S: _reader(_MEDIAN, _GAPS, 1000),
    Statistic.ISSUE_GAP_S: _reader(_LATEST, _ISSUE_GAPS, 1000),
    Statistic.ISSUE_GAP_MEAN_S: _reader(_MEAN, _ISSUE_GAPS, 1000),
    Statistic.ISSUE_GAP_VARIANCE_S2: _reader(_VARIANCE, _ISSUE_GAPS, 1000),
    Statistic.ISSUE_GAP_MEDIAN_S: _reader(_MEDIAN, _ISSUE_GAPS, 1000),
}
"""How each statistic is taken."""


class TrafficTable:
    """The devices that sent last; beyond the bound the one that was silent longest is forgotten."""

    def __init__(self, devices: int) -> None:
        self._bound = devices
        self._devices: dict[str, DeviceTraffic] = {}
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._devices)

    def use(self, device_id: str) -> DeviceTraffic:
        """Get a device's statistics, begun if it is new, and put it last in the line of those to forget."""
        devices = self._devices
        device = devices.pop(device_id, None)
        if device is None:
            device = DeviceTraffic()
            if len(devices) >= self._bound:
                del devices[next(iter(devices))]
                self.forgotten += 1
        devices[device_id] = device
        return device
