"""What the devices measure: homes that warm and cool, machines that wear, patients that sleep and wake.

Every signal is a pure function of seed, device and time: asked twice, it answers the same, and two runs of one seed
tell one story. Noise is smooth value noise from a hash; faults are rare windows of an hour, drawn by the same hash.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

DAY_S: Final = 86_400.0
HOUR_S: Final = 3_600.0
FAULT_SHARE: Final = 0.02
_FAULTS: Final = ("stuck", "spike", "drift", "dropout")
_UNIT: Final = 2**64


@dataclass(frozen=True, slots=True)
class Reading:
    """One measured value.

    Attributes:
        name: the signal's name.
        unit: SenML unit (RFC 8428 §12.1, RFC 8798), or an empty text.
        value: finite.
    """

    name: str
    unit: str
    value: float


@dataclass(frozen=True, slots=True)
class Source:
    """Where a signal comes from.

    Attributes:
        seed: of the run.
        device_id: whose signal.
        name: which signal.
    """

    seed: int
    device_id: str
    name: str


@lru_cache(maxsize=65_536)
def _fraction(source: Source, lattice: str, index: int) -> float:
    text = f"{source.seed}|{source.device_id}|{source.name}|{lattice}|{index}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / _UNIT


def noise(source: Source, at_s: float, period_s: float) -> float:
    """Smooth noise in [-1, 1] that changes its mind about every `period_s` seconds."""
    position = at_s / period_s
    index = math.floor(position)
    left, right = _fraction(source, "noise", index), _fraction(source, "noise", index + 1)
    blend = position - index
    blend = blend * blend * (3 - 2 * blend)
    return 2 * (left + (right - left) * blend) - 1


def trait(source: Source) -> float:
    """What is particular to this device, in [0, 1): its room's insulation, its patient's fitness."""
    return _fraction(source, "trait", 0)


def daily(at_s: float, peak_h: float) -> float:
    """A daily curve in [-1, 1] with its peak at `peak_h` hours UTC."""
    return math.cos(2 * math.pi * (at_s / DAY_S - peak_h / 24))


def fault(seed: int, device_id: str, at_s: float) -> str | None:
    """The fault that the device suffers in this hour, or None."""
    source = Source(seed, device_id, "fault")
    hour = math.floor(at_s / HOUR_S)
    if _fraction(source, "hour", hour) >= FAULT_SHARE:
        return None
    return _FAULTS[int(_fraction(source, "kind", hour) * len(_FAULTS))]


Curve = Callable[[Source, float], float]


def _temperature(source: Source, at_s: float) -> float:
    return 20.5 + 2 * trait(source) + 1.8 * daily(at_s, 16) + 0.4 * noise(source, at_s, 600)


def _humidity(source: Source, at_s: float) -> float:
    return min(100.0, max(0.0, 45 + 10 * trait(source) - 6 * daily(at_s, 16) + 3 * noise(source, at_s, 900)))


def _household_power(source: Source, at_s: float) -> float:
    awake = max(0.0, daily(at_s, 19)) + 0.5 * max(0.0, daily(at_s, 7))
    kettle = 1_800.0 if noise(source, at_s, 120) > 0.8 else 0.0  # noqa: PLR2004 - a kettle is on now and then
    return 90 + 60 * trait(source) + 400 * awake + 25 * noise(source, at_s, 60) + kettle


def _carbon_dioxide(source: Source, at_s: float) -> float:
    return 620 + 250 * daily(at_s, 2) + 80 * noise(source, at_s, 1_200)


def _door(source: Source, at_s: float) -> float:
    return 1.0 if noise(source, at_s, 90) > 0.85 else 0.0  # noqa: PLR2004 - a door stands open now and then


def _rotation(source: Source, at_s: float) -> float:
    shift = 1.0 if math.floor(at_s / HOUR_S) % 24 in range(5, 22) else 0.35
    return shift * (1_450 + 60 * trait(source)) + 6 * noise(source, at_s, 20)


def _vibration(source: Source, at_s: float) -> float:
    wear = (at_s / (30 * DAY_S) + trait(source)) % 1
    return 1.1 + 1.6 * wear**3 + 0.2 * noise(source, at_s, 5)


def _bearing(source: Source, at_s: float) -> float:
    return 52 + 6 * trait(source) + 4 * daily(at_s, 14) + 1.2 * noise(source, at_s, 300)


def _pressure(source: Source, at_s: float) -> float:
    return 610_000 + 15_000 * trait(source) + 9_000 * noise(source, at_s, 45)


def _flow(source: Source, at_s: float) -> float:
    return max(0.0, 0.012 + 0.004 * daily(at_s, 13) + 0.001 * noise(source, at_s, 60))


def _heart_rate(source: Source, at_s: float) -> float:
    effort = max(0.0, noise(source, at_s, 1_500)) ** 2
    return 62 + 14 * trait(source) + 7 * daily(at_s, 15) + 35 * effort + 2 * noise(source, at_s, 15)


def _oxygen(source: Source, at_s: float) -> float:
    return min(100.0, 97.2 + trait(source) + 0.6 * noise(source, at_s, 120))


def _breathing(source: Source, at_s: float) -> float:
    return 14 + 3 * trait(source) + 1.5 * daily(at_s, 15) + noise(source, at_s, 60)


def _body_temperature(source: Source, at_s: float) -> float:
    return 36.6 + 0.3 * trait(source) + 0.4 * daily(at_s, 18) + 0.05 * noise(source, at_s, 600)


SIGNALS: Final[dict[str, tuple[tuple[str, str, Curve], ...]]] = {
    "smart-home": (
        ("temperature", "Cel", _temperature),
        ("humidity", "%RH", _humidity),
        ("power", "W", _household_power),
        ("co2", "ppm", _carbon_dioxide),
        ("door", "", _door),
    ),
    "industrial": (
        ("rotation", "1/min", _rotation),
        ("vibration", "m/s2", _vibration),
        ("bearing", "Cel", _bearing),
        ("pressure", "Pa", _pressure),
        ("flow", "m3/s", _flow),
    ),
    "healthcare": (
        ("heart_rate", "beat/min", _heart_rate),
        ("spo2", "%", _oxygen),
        ("respiration", "1/min", _breathing),
        ("body_temperature", "Cel", _body_temperature),
    ),
}


def readings(domain: str, seed: int, device_id: str, at_s: float) -> tuple[Reading, ...]:
    """Everything a device of `domain` measures at one moment, its fault of the hour included.

    Args:
        domain: a key of `SIGNALS`.
        seed: of the run.
        device_id: whose readings.
        at_s: the moment, seconds since 1970.
    """
    trouble = fault(seed, device_id, at_s)
    faulty = Source(seed, device_id, "faulty")
    hour = math.floor(at_s / HOUR_S)
    table = SIGNALS[domain]
    victim = int(_fraction(faulty, "signal", hour) * len(table))
    result = []
    for index, (name, unit, curve) in enumerate(table):
        source = Source(seed, device_id, name)
        if trouble is None or index != victim:
            result.append(Reading(name, unit, round(curve(source, at_s), 6)))
        elif trouble == "stuck":
            result.append(Reading(name, unit, round(curve(source, hour * HOUR_S), 6)))
        elif trouble == "spike":
            spike = 4.0 if noise(faulty, at_s, 30) > 0.5 else 1.0  # noqa: PLR2004 - half a minute now and then
            result.append(Reading(name, unit, round(curve(source, at_s) * spike, 6)))
        elif trouble == "drift":
            drift = 1 + 0.3 * (at_s / HOUR_S - hour)
            result.append(Reading(name, unit, round(curve(source, at_s) * drift, 6)))
        # A dropout measures nothing at all.
    return tuple(result)
