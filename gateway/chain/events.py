"""What the two contracts tell: their events as values (docs/spec/contracts.md), decoded strictly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeVar

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from gateway.chain.contracts import ChainAlg, ChainStatus, Kind, id_hash, topic_of
from gateway.chain.port import EndpointFault, LogFilter, LogRecord

T = TypeVar("T")


class DeviceRegistered(NamedTuple):
    """A device was let in; it is active."""

    id: str
    fleet: str
    alg: ChainAlg
    public_key: bytes


class MinerRegistered(NamedTuple):
    """A gateway was let in, or (``renewed``) got other keys and another account; renewing leaves its status alone."""

    id: str
    fleet: str
    log_id: bytes
    log_key: bytes
    hpke_key: bytes
    account: bytes
    renewed: bool


class StatusChanged(NamedTuple):
    """An id, device or miner, moved from one status to another."""

    id: str
    kind: Kind
    status: ChainStatus


class Anchored(NamedTuple):
    """A checkpoint became the head of a log. ``miner`` is the account."""

    log_id: bytes
    size: int
    root: bytes
    miner: bytes


class Equivocation(NamedTuple):
    """Two roots of one size: the log is frozen."""

    log_id: bytes
    size: int
    anchored_root: bytes
    claimed_root: bytes
    miner: bytes


RegistryEvent = DeviceRegistered | MinerRegistered | StatusChanged
LogEvent = Anchored | Equivocation


_DEVICE: Final = topic_of("DeviceRegistered(bytes32,string,string,uint8,bytes)")
_MINER: Final = topic_of("MinerRegistered(bytes32,bytes32,address,string,string,bytes32,bytes)")
_RENEWED: Final = topic_of("MinerRenewed(bytes32,bytes32,address,string,string,bytes32,bytes)")
_STATUS: Final = topic_of("StatusChanged(bytes32,string,uint8,uint8)")
_ANCHORED: Final = topic_of("Anchored(bytes32,uint64,bytes32,address)")
_EQUIVOCATION: Final = topic_of("Equivocation(bytes32,uint64,bytes32,bytes32,address)")


def registry_filter(registry: bytes, name: str | None = None) -> LogFilter:
    """All events that change who is registered; with ``name`` those of one id alone."""
    topics: tuple[tuple[bytes, ...], ...] = ((_DEVICE, _MINER, _RENEWED, _STATUS),)
    return LogFilter((registry,), topics if name is None else (*topics, (id_hash(name),)))


def status_filter(registry: bytes) -> LogFilter:
    """The changes of status alone."""
    return LogFilter((registry,), ((_STATUS,),))


def anchor_filter(anchor_log: bytes, log: bytes) -> LogFilter:
    """What happened to one log: anchors and equivocations."""
    return LogFilter((anchor_log,), ((_ANCHORED, _EQUIVOCATION), (log,)))


def decode_registry(record: LogRecord) -> RegistryEvent:
    """An event of IdentityRegistry as a value.

    Raises:
        EndpointFault: it is none of the contract's: the endpoint made it up, or the contract is another.
    """
    with_topic: dict[bytes, Callable[[LogRecord], RegistryEvent]] = {
        _DEVICE: _device_registered,
        _MINER: _miner_registered,
        _RENEWED: _miner_registered,
        _STATUS: _status_changed,
    }
    return _decoded(record, with_topic)


def decode_log(record: LogRecord) -> LogEvent:
    """An event of AnchorLog as a value.

    Raises:
        EndpointFault: it is none of the contract's.
    """
    known: dict[bytes, Callable[[LogRecord], LogEvent]] = {_ANCHORED: _anchored, _EQUIVOCATION: _equivocation}
    return _decoded(record, known)


def _decoded(record: LogRecord, known: Mapping[bytes, Callable[[LogRecord], T]]) -> T:
    make = known.get(record.topics[0]) if record.topics else None
    if make is None:
        raise EndpointFault("an event came that the contract does not have")
    try:
        return make(record)
    except (DecodingError, ValueError, OverflowError, IndexError):
        raise EndpointFault("an event came whose data is not the contract's") from None


def _checked(name: str, record: LogRecord) -> str:
    if id_hash(name) != record.topics[1]:
        raise ValueError("the id is not the one of the topic")
    return name


def _device_registered(record: LogRecord) -> DeviceRegistered:
    name, fleet, alg, key = decode(("string", "string", "uint8", "bytes"), record.data)
    return DeviceRegistered(_checked(name, record), fleet, ChainAlg(alg), key)


def _miner_registered(record: LogRecord) -> MinerRegistered:
    name, fleet, log_key, hpke_key = decode(("string", "string", "bytes32", "bytes"), record.data)
    _, _, log, account = record.topics
    return MinerRegistered(
        _checked(name, record), fleet, log, log_key, hpke_key, account[12:], record.topics[0] == _RENEWED
    )


def _status_changed(record: LogRecord) -> StatusChanged:
    name, kind, status = decode(("string", "uint8", "uint8"), record.data)
    return StatusChanged(_checked(name, record), Kind(kind), ChainStatus(status))


def _anchored(record: LogRecord) -> Anchored:
    size, root = decode(("uint64", "bytes32"), record.data)
    return Anchored(record.topics[1], size, root, record.topics[2][12:])


def _equivocation(record: LogRecord) -> Equivocation:
    size, anchored, claimed = decode(("uint64", "bytes32", "bytes32"), record.data)
    return Equivocation(record.topics[1], size, anchored, claimed, record.topics[2][12:])
