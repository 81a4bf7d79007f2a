"""What ModelRegistry tells: its events as values, decoded strictly, and what they come to.

``fold_models`` over all events from the block of deployment on knows what the views know, of any block and from any
node, one without old states as well. Whoever follows blocks that are final folds each event once, and never unfolds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from gateway.chain.contracts import id_hash, topic_of
from gateway.chain.models import ModelOnChain, Result, key_of_chain
from gateway.chain.port import EndpointFault, LogFilter, LogRecord, TooManyLogs, View
from gateway.crypto.keys import PublicKey

EVENTS_MAX: Final = 100_000
"""Events that are read at once: more is no honest history of the models that a gateway runs."""
_BLOCKS_AT_ONCE: Final = 5000
_REASON: Final = re.compile(r"[a-z0-9-]{0,32}")


class PublisherRegistered(NamedTuple):
    """A publisher was let in, or got another key for what it publishes from there on."""

    account: bytes
    key: PublicKey


class OwnerChanged(NamedTuple):
    """A model has an owner."""

    model_id: str
    owner: bytes


class Published(NamedTuple):
    """A model has a new version. ``publisher`` is the account, ``tx_hash`` the transaction that did it."""

    model_id: str
    publisher: bytes
    version: int
    manifest_cid: str
    manifest_sha256: bytes
    valid_until_s: int
    publisher_key: PublicKey
    block_number: int = 0
    tx_hash: bytes = b""


class VersionRevoked(NamedTuple):
    """A version was revoked, for ever."""

    model_id: str
    version: int


class FloorRaised(NamedTuple):
    """No version below ``floor`` may run."""

    model_id: str
    floor: int


class GrantChanged(NamedTuple):
    """A gateway got the grant of a model, or it was taken back."""

    model_id: str
    gateway_id: str
    granted: bool


class AccessReported(NamedTuple):
    """What a gateway did with a version; ``gateway_hash`` is keccak256 of its id."""

    model_id: str
    gateway_hash: bytes
    version: int
    result: Result
    reason: str


ModelChange = OwnerChanged | Published | VersionRevoked | FloorRaised | GrantChanged
ModelEvent = ModelChange | PublisherRegistered | AccessReported

_PUBLISHER: Final = topic_of("PublisherRegistered(address,uint8,bytes)")
_OWNER: Final = topic_of("OwnerChanged(bytes32,address,string)")
_PUBLISHED: Final = topic_of("Published(bytes32,address,string,uint64,string,bytes32,uint64,uint8,bytes)")
_REVOKED: Final = topic_of("VersionRevoked(bytes32,string,uint64)")
_FLOOR: Final = topic_of("FloorRaised(bytes32,string,uint64)")
_GRANTED: Final = topic_of("Granted(bytes32,bytes32,string,string)")
_UNGRANTED: Final = topic_of("Ungranted(bytes32,bytes32,string,string)")
_ACCESS: Final = topic_of("AccessReported(bytes32,bytes32,string,uint64,uint8,bytes32)")
_CHANGES: Final = (_OWNER, _PUBLISHED, _REVOKED, _FLOOR, _GRANTED, _UNGRANTED)


def models_filter(address: bytes, model_ids: Sequence[str] = ()) -> LogFilter:
    """All that ``fold_models`` wants: of these models, or of all."""
    return LogFilter((address,), (_CHANGES, tuple(id_hash(name) for name in model_ids)))


def publishers_filter(address: bytes) -> LogFilter:
    """Who was let in to publish, and with which keys."""
    return LogFilter((address,), ((_PUBLISHER,),))


def access_filter(address: bytes, model_id: str | None = None, gateway_id: str | None = None) -> LogFilter:
    """The access log: of a model, of a gateway, or all of it."""
    ids = tuple(() if name is None else (id_hash(name),) for name in (model_id, gateway_id))
    return LogFilter((address,), ((_ACCESS,), *ids))


# --- decoding ---


def decode_model_event(record: LogRecord) -> ModelEvent:
    """An event of ModelRegistry as a value.

    Raises:
        EndpointFault: it is none of the contract's: the endpoint made it up, or the contract is another.
    """
    make = _DECODERS.get(record.topics[0]) if record.topics else None
    if make is None:
        raise EndpointFault("an event came that the contract does not have")
    try:
        return make(record)
    except (DecodingError, ValueError, OverflowError, IndexError):
        raise EndpointFault("an event came whose data is not the contract's") from None


def _checked(name: str, topic: bytes) -> str:
    if id_hash(name) != topic:
        raise ValueError("the id is not the one of the topic")
    return name


def _account(topic: bytes) -> bytes:
    if any(topic[:12]):
        raise ValueError("the topic is no account")
    return topic[12:]


def _publisher_registered(record: LogRecord) -> PublisherRegistered:
    alg, key = decode(("uint8", "bytes"), record.data)
    return PublisherRegistered(_account(record.topics[1]), key_of_chain(alg, key))


def _owner_changed(record: LogRecord) -> OwnerChanged:
    (model,) = decode(("string",), record.data)
    return OwnerChanged(_checked(model, record.topics[1]), _account(record.topics[2]))


def _published(record: LogRecord) -> Published:
    model, version, cid, sha256, until, alg, key = decode(
        ("string", "uint64", "string", "bytes32", "uint64", "uint8", "bytes"), record.data
    )
    model, publisher = _checked(model, record.topics[1]), _account(record.topics[2])
    signing = key_of_chain(alg, key)
    return Published(model, publisher, version, cid, sha256, until, signing, record.block_number, record.tx_hash)


def _version_revoked(record: LogRecord) -> VersionRevoked:
    model, version = decode(("string", "uint64"), record.data)
    return VersionRevoked(_checked(model, record.topics[1]), version)


def _floor_raised(record: LogRecord) -> FloorRaised:
    model, floor = decode(("string", "uint64"), record.data)
    return FloorRaised(_checked(model, record.topics[1]), floor)


def _grant_changed(record: LogRecord) -> GrantChanged:
    model, gateway = decode(("string", "string"), record.data)
    model, gateway = _checked(model, record.topics[1]), _checked(gateway, record.topics[2])
    return GrantChanged(model, gateway, record.topics[0] == _GRANTED)


def _access_reported(record: LogRecord) -> AccessReported:
    model, version, result, word = decode(("string", "uint64", "uint8", "bytes32"), record.data)
    reason = word.rstrip(b"\0").decode("ascii")
    if not _REASON.fullmatch(reason):
        raise ValueError("the reason is none")
    return AccessReported(_checked(model, record.topics[1]), record.topics[2], version, Result(result), reason)


_DECODERS: Final[dict[bytes, Callable[[LogRecord], ModelEvent]]] = {
    _PUBLISHER: _publisher_registered,
    _OWNER: _owner_changed,
    _PUBLISHED: _published,
    _REVOKED: _version_revoked,
    _FLOOR: _floor_raised,
    _GRANTED: _grant_changed,
    _UNGRANTED: _grant_changed,
    _ACCESS: _access_reported,
}


# --- what the events come to ---


class VersionOnChain(NamedTuple):
    """A version that was published, newest or not, by whom and where."""

    manifest_cid: str
    manifest_sha256: bytes
    valid_until_s: int
    publisher_key: PublicKey
    revoked: bool = False
    publisher: bytes = b""
    block_number: int = 0
    tx_hash: bytes = b""


class ModelHistory(NamedTuple):
    """Everything that was said of one model. ``versions`` are by number, ``granted`` are gateway ids."""

    owner: bytes | None = None
    floor: int = 0
    versions: Mapping[int, VersionOnChain] = {}
    granted: frozenset[str] = frozenset()

    @property
    def newest(self) -> int:
        """The newest version, 0 when nothing was published."""
        return max(self.versions, default=0)

    def current(self) -> ModelOnChain | None:
        """What ``gateway.chain.models.model_state`` would answer."""
        version = self.newest
        if not version:
            return None
        cid, sha256, until, key, revoked, *_where = self.versions[version]
        return ModelOnChain(version, cid, sha256, until, revoked, self.floor, key)


Models = Mapping[str, ModelHistory]
"""What is known, by model id."""


def fold_models(events: Iterable[ModelEvent], known: Models | None = None) -> Models:
    """What is known after these events, the next ones in the order of the chain (pure); ``known`` stays as it is.

    Registrations of publishers and the access log change nothing here.

    Raises:
        EndpointFault: an event breaks a rule of the contract: the endpoint left one out, or made one up.
    """
    found = dict(known or {})
    changed: dict[str, _Draft] = {}
    for event in events:
        if isinstance(event, PublisherRegistered | AccessReported):
            continue
        draft = changed.get(event.model_id)
        if draft is None:
            draft = changed[event.model_id] = _Draft(found.get(event.model_id, ModelHistory()))
        draft.take(event)
    return found | {name: draft.history() for name, draft in changed.items()}


class _Draft:
    """The history of a model while events are taken, so that each costs the same however many there are."""

    def __init__(self, known: ModelHistory) -> None:
        self._owner, self._floor = known.owner, known.floor
        self._versions, self._granted = dict(known.versions), set(known.granted)
        self._newest = known.newest

    def history(self) -> ModelHistory:
        return ModelHistory(self._owner, self._floor, self._versions, frozenset(self._granted))

    def take(self, event: ModelChange) -> None:
        match event:
            case OwnerChanged():
                self._owner = event.owner
            case Published():
                if self._owner != event.publisher or event.version <= self._newest:
                    raise _broken(event.model_id, "a version that its publisher could not publish")
                self._newest = event.version
                said = VersionOnChain(*event[3:7])
                self._versions[event.version] = said._replace(
                    publisher=event.publisher, block_number=event.block_number, tx_hash=event.tx_hash
                )
            case VersionRevoked():
                if event.version not in self._versions:
                    raise _broken(event.model_id, "the end of a version that never was")
                self._versions[event.version] = self._versions[event.version]._replace(revoked=True)
            case FloorRaised():
                if not self._floor < event.floor <= self._newest:
                    raise _broken(event.model_id, "a floor that falls, or lies above the newest version")
                self._floor = event.floor
            case GrantChanged(granted=True):
                self._granted.add(event.gateway_id)
            case GrantChanged():
                self._granted.discard(event.gateway_id)


def _broken(model_id: str, what: str) -> EndpointFault:
    return EndpointFault(f"the events of the model {model_id} do not follow from each other: {what}")


async def read_models(  # noqa: PLR0913 -- which events, of which blocks
    view: View,
    address: bytes,
    start: int,
    end: int,
    model_ids: Sequence[str] = (),
    *,
    blocks: int = _BLOCKS_AT_ONCE,
) -> list[ModelEvent]:
    """Read what ``fold_models`` wants, of the blocks ``start`` to ``end`` (inclusive; the view's final, as a rule).

    Raises:
        EndpointFault: as from the view; also when it has more events than there can be, or will not tell them.
    """
    wanted, found, span = models_filter(address, model_ids), list[ModelEvent](), blocks
    while start <= end:
        last = min(end, start + span - 1)
        try:
            records = await view.logs(wanted, start, last)
        except TooManyLogs:
            if last == start:
                raise EndpointFault(
                    f"{view.endpoint} does not tell the events of block {start}: too many; use another endpoint"
                ) from None
            span = max(1, (last - start + 1) // 2)
            continue
        if len(found) + len(records) > EVENTS_MAX:
            raise EndpointFault(f"{view.endpoint} has more than {EVENTS_MAX} events of the models")
        found += map(decode_model_event, records)
        start, span = last + 1, min(blocks, span * 2)
    return found
