"""What a registry is to the rest of the house: a snapshot that answers who is registered, and never changes.

A source of registrations (a file, later a chain) builds a new ``RegistrySnapshot`` beside the one in force and swaps
the reference. Whoever holds a snapshot for the length of a batch sees one state of the world.

The snapshot is packed: 100,000 devices cost 34 MB as objects of their own, and 20 MB so. Each is one dict entry whose
value is a key of 32 or 65 bytes with two bytes in front, which say where fleet, status and algorithm stand in a small
table; ``device`` unpacks the one that is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple, Protocol

from gateway.crypto.keys import PublicKey
from gateway.message import Alg

_TRAIT_BYTES = 2
_MAX_TRAITS = 1 << (8 * _TRAIT_BYTES)


class Status(StrEnum):
    """Where a registration stands. Only ``ACTIVE`` is heard."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"


DeviceStatus = Status


class Device(NamedTuple):
    """A registered device: the paper's ``T.DID``, its fleet, its one key, and whether it is heard."""

    id: str
    fleet: str
    key: PublicKey
    status: Status


class Miner(NamedTuple):
    """A registered gateway. ``key`` is its log key, ``log`` the origin of the one log that it may append to."""

    id: str
    fleet: str
    key: PublicKey
    status: Status
    log: str


class RegistryCounts(NamedTuple):
    """How many are registered, for the status page: devices by status, and miners."""

    devices: int
    active: int
    suspended: int
    revoked: int
    miners: int


class _Traits(NamedTuple):
    """What thousands of devices have in common, held once."""

    fleet: str
    alg: Alg
    status: Status


class TooManyTraitsError(ValueError):
    """More distinct (fleet, algorithm, status) than the packing can number: some 10,000 fleets in one registry."""


class RegistrySnapshot:
    """One immutable state of the registry, as of ``as_of_ms`` (milliseconds since 1970).

    Made by ``SnapshotBuilder.build`` alone.
    """

    __slots__ = ("_as_of_ms", "_counts", "_devices", "_miners", "_traits")

    def __init__(
        self, devices: dict[str, bytes], traits: tuple[_Traits, ...], miners: dict[str, Miner], as_of_ms: int
    ) -> None:
        self._devices = devices
        self._traits = traits
        self._miners = miners
        self._as_of_ms = as_of_ms
        by_status = dict.fromkeys(Status, 0)
        for packed in devices.values():
            by_status[traits[packed[0] << 8 | packed[1]].status] += 1
        active, suspended, revoked = by_status.values()
        self._counts = RegistryCounts(len(devices), active, suspended, revoked, len(miners))

    @property
    def as_of_ms(self) -> int:
        """When this state was read or observed, in milliseconds since 1970."""
        return self._as_of_ms

    @property
    def counts(self) -> RegistryCounts:
        """How many are registered."""
        return self._counts

    def device(self, device_id: str) -> Device | None:
        """The device registered under ``device_id``, or None."""
        packed = self._devices.get(device_id)
        if packed is None:
            return None
        fleet, alg, status = self._traits[packed[0] << 8 | packed[1]]
        return Device(device_id, fleet, PublicKey(alg, packed[_TRAIT_BYTES:]), status)

    def miner(self, miner_id: str) -> Miner | None:
        """The miner registered under ``miner_id`` (a gateway id), or None."""
        return self._miners.get(miner_id)

    def devices(self) -> Iterator[Device]:
        """Every device, in the order of registration."""
        for device_id in self._devices:
            device = self.device(device_id)
            if device is not None:
                yield device

    def miners(self) -> Iterator[Miner]:
        """Every miner, in the order of registration."""
        return iter(self._miners.values())


class SnapshotBuilder:
    """Collects registrations and packs them. Whoever feeds it has checked ids and keys."""

    def __init__(self) -> None:
        self._devices: dict[str, bytes] = {}
        self._miners: dict[str, Miner] = {}
        self._numbers: dict[_Traits, bytes] = {}

    def __contains__(self, registered_id: str) -> bool:
        return registered_id in self._devices or registered_id in self._miners

    def add(self, registration: Device | Miner) -> None:
        """Take one registration.

        Raises:
            TooManyTraitsError: the registry holds too many fleets.
        """
        if isinstance(registration, Miner):
            self._miners[registration.id] = registration
            return
        traits = _Traits(registration.fleet, registration.key.alg, registration.status)
        number = self._numbers.get(traits)
        if number is None:
            if len(self._numbers) == _MAX_TRAITS:
                raise TooManyTraitsError("too many distinct combinations of fleet, algorithm and status")
            number = self._numbers[traits] = len(self._numbers).to_bytes(_TRAIT_BYTES, "big")
        self._devices[registration.id] = number + registration.key.data

    def build(self, as_of_ms: int) -> RegistrySnapshot:
        """The snapshot of what was added; the builder is spent."""
        return RegistrySnapshot(self._devices, tuple(self._numbers), self._miners, as_of_ms)


class Registry(Protocol):
    """A source of registrations. ``snapshot`` is cheap and may be another object each time it is asked for."""

    @property
    def snapshot(self) -> RegistrySnapshot:
        """The state in force. A file in force is never stale, however old: only a chain has an age to judge."""
        ...
