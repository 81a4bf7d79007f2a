"""What a registry is to the rest of the house: a snapshot that answers who is registered, and never changes.

A source of registrations (a file, or a chain) makes a new ``RegistrySnapshot`` beside the one in force and swaps the
reference. Whoever holds a snapshot for the length of a batch sees one state of the world.

The snapshot is packed: 100,000 devices cost 34 MB as objects of their own, and 20 MB so. Each is one dict entry whose
value is a key of 32 or 65 bytes with two bytes in front, which say where fleet, status and algorithm stand in a small
table; ``device`` unpacks the one that is asked for. ``changed`` copies the dict (2-3 ms) and shares what is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
    """A registered gateway. ``key`` is its log key, ``log`` the origin of the one log that it may append to.

    A chain also names its anchoring ``account`` (20 bytes) and its HPKE key; a file knows neither.
    """

    id: str
    fleet: str
    key: PublicKey
    status: Status
    log: str
    account: bytes | None = None
    hpke_key: bytes = b""


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


class _Table:
    """Registrations, packed, and how many there are by status: what a builder fills and a snapshot keeps."""

    __slots__ = ("devices", "miners", "numbers", "tally", "traits")

    def __init__(self) -> None:
        self.devices: dict[str, bytes] = {}
        self.miners: dict[str, Miner] = {}
        self.numbers: dict[_Traits, bytes] = {}
        self.traits: list[_Traits] = []
        self.tally: dict[Status, int] = dict.fromkeys(Status, 0)

    def branch(self, *, devices: bool, miners: bool) -> _Table:
        """Another table that begins as this one; what is not going to be written is shared."""
        other = _Table()
        other.devices = self.devices.copy() if devices else self.devices
        other.miners = self.miners.copy() if miners else self.miners
        other.numbers = self.numbers.copy() if devices else self.numbers
        other.traits = self.traits.copy() if devices else self.traits
        other.tally = self.tally.copy()
        return other

    def put(self, registration: Device | Miner) -> None:
        """Write one registration, over the one of the same id if there is one.

        Raises:
            TooManyTraitsError: the registry holds too many fleets.
            ValueError: the id names a device here, and a miner there.
        """
        if isinstance(registration, Miner):
            if registration.id in self.devices:
                raise ValueError("the id of a miner is that of a device")
            self.miners[registration.id] = registration
            return
        if registration.id in self.miners:
            raise ValueError("the id of a device is that of a miner")
        status = registration.status
        number = self._number(_Traits(registration.fleet, registration.key.alg, status))
        before = self.devices.get(registration.id)
        if before is not None:
            self.tally[self.traits[before[0] << 8 | before[1]].status] -= 1
        self.tally[status] += 1
        self.devices[registration.id] = number + registration.key.data

    def _number(self, traits: _Traits) -> bytes:
        number = self.numbers.get(traits)
        if number is None:
            if len(self.traits) == _MAX_TRAITS:
                raise TooManyTraitsError("too many distinct combinations of fleet, algorithm and status")
            number = self.numbers[traits] = len(self.traits).to_bytes(_TRAIT_BYTES, "big")
            self.traits.append(traits)
        return number

    def counts(self) -> RegistryCounts:
        """How many are registered."""
        active, suspended, revoked = self.tally.values()
        return RegistryCounts(len(self.devices), active, suspended, revoked, len(self.miners))


class RegistrySnapshot:
    """One immutable state of the registry, as of ``as_of_ms`` (milliseconds since 1970).

    Made by ``SnapshotBuilder.build``, and from another one by ``changed``.
    """

    __slots__ = ("_as_of_ms", "_counts", "_devices", "_miners", "_table", "_traits")

    def __init__(self, table: _Table, as_of_ms: int) -> None:
        self._table = table
        self._devices = table.devices
        self._miners = table.miners
        self._traits = table.traits
        self._counts = table.counts()
        self._as_of_ms = as_of_ms

    def changed(self, registrations: Iterable[Device | Miner], as_of_ms: int) -> RegistrySnapshot:
        """Another snapshot: this one with these registrations new, or in the place of those of the same id.

        Whoever changes it has checked ids and keys.

        Raises:
            TooManyTraitsError: it would hold too many fleets.
            ValueError: an id that names a device here names a miner there, or the other way round.
        """
        changes = list(registrations)
        miners = any(isinstance(change, Miner) for change in changes)
        devices = any(isinstance(change, Device) for change in changes)
        table = self._table.branch(devices=devices, miners=miners)
        for change in changes:
            table.put(change)
        return RegistrySnapshot(table, as_of_ms)

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
        self._table = _Table()

    def __contains__(self, registered_id: str) -> bool:
        return registered_id in self._table.devices or registered_id in self._table.miners

    def add(self, registration: Device | Miner) -> None:
        """Take one registration.

        Raises:
            TooManyTraitsError: the registry holds too many fleets.
            ValueError: the id names both a device and a miner.
        """
        self._table.put(registration)

    def build(self, as_of_ms: int) -> RegistrySnapshot:
        """The snapshot of what was added; the builder is spent."""
        return RegistrySnapshot(self._table, as_of_ms)


class Registry(Protocol):
    """A source of registrations. ``snapshot`` is cheap and may be another object each time it is asked for."""

    @property
    def snapshot(self) -> RegistrySnapshot:
        """The state in force. A file in force is never stale, however old: only a chain has an age to judge."""
        ...
