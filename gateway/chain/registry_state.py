"""What the registry's events come to (pure): registrations out of events, rows out of registrations, and back.

The contract holds every rule that is held here once more (docs/spec/contracts.md). What breaks one was made up by an
endpoint, or is a key that this gateway's stricter parser refuses: it is skipped, which never lets anybody in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from gateway.chain.contracts import ChainAlg, ChainStatus, Kind, log_id
from gateway.chain.events import DeviceRegistered, MinerRegistered, RegistryEvent, StatusChanged
from gateway.config.ids import is_fleet, is_id
from gateway.crypto.keys import ED25519_KEY_BYTES, P256_KEY_BYTES, KeyRefused, PublicKey, parse_public_key
from gateway.journal.identities import IdentityRow
from gateway.message import Alg
from gateway.registry.port import Device, Miner, RegistrySnapshot, Status

NOBODY: Final = bytes(20)
"""The account of a miner whose renewal could not be read: nobody's."""

_ALGS: Final = {ChainAlg.ED25519: Alg.ED25519, ChainAlg.ES256: Alg.ES256}
_STATUSES: Final = {
    ChainStatus.ACTIVE: Status.ACTIVE,
    ChainStatus.SUSPENDED: Status.SUSPENDED,
    ChainStatus.REVOKED: Status.REVOKED,
}
_ALG_NUMBERS: Final = {ours: theirs for theirs, ours in _ALGS.items()}
_STATUS_NUMBERS: Final = {ours: theirs for theirs, ours in _STATUSES.items()}
_KEY_BYTES: Final = {Alg.ED25519: ED25519_KEY_BYTES, Alg.ES256: P256_KEY_BYTES}
_HPKE_KEY_BYTES: Final = frozenset({32, 1216})
_WORDS: Final = {Status.ACTIVE: "reinstated", Status.SUSPENDED: "suspended", Status.REVOKED: "revoked"}


class Skip(NamedTuple):
    """An event that was not taken, and why."""

    id: str
    why: str


class _Refused(Exception):
    """Why an event is skipped."""


class Fold:
    """Events, taken in the order of the chain, over a state that stays as it is.

    ``changes`` is what they come to, the newest word about each id; ``counts`` says how many did what.
    """

    def __init__(self, base: RegistrySnapshot) -> None:
        self._base = base
        self.changes: dict[str, Device | Miner] = {}
        self.counts: Counter[str] = Counter()
        self.skipped: list[Skip] = []

    def take(self, event: RegistryEvent) -> None:
        """Take the next event, or put it among the skipped."""
        try:
            change, what = self._change(event)
        except _Refused as refused:
            self.skipped.append(Skip(event.id, str(refused)))
            return
        self.changes[change.id] = change
        self.counts[what] += 1

    def _change(self, event: RegistryEvent) -> tuple[Device | Miner, str]:
        match event:
            case DeviceRegistered():
                return self._device(event), "devices"
            case MinerRegistered(renewed=False):
                self._require_new(event.id, event.fleet)
                return _miner(event, Status.ACTIVE), "miners"
            case MinerRegistered():
                return self._renewed(event), "renewed"
            case StatusChanged():
                return self._moved(event)

    def _known(self, name: str) -> Device | Miner | None:
        return self.changes.get(name) or self._base.device(name) or self._base.miner(name)

    def _require_new(self, name: str, fleet: str) -> None:
        if not is_id(name):
            raise _Refused("the id is none")
        if not is_fleet(fleet):
            raise _Refused("the fleet is none")
        if self._known(name) is not None:
            raise _Refused("the id is registered already")

    def _device(self, event: DeviceRegistered) -> Device:
        self._require_new(event.id, event.fleet)
        return Device(event.id, event.fleet, _key(_ALGS[event.alg], event.public_key), Status.ACTIVE)

    def _renewed(self, event: MinerRegistered) -> Miner:
        known = self._known(event.id)
        if not isinstance(known, Miner) or known.fleet != event.fleet:
            raise _Refused("the renewal is of no miner that is known")
        if known.status is Status.REVOKED:
            raise _Refused("the renewal is of a revoked miner")
        try:
            return _miner(event, known.status)
        except _Refused:
            # What held before holds no longer, whatever it is that took its place.
            self.changes[event.id] = known._replace(account=NOBODY, hpke_key=b"")
            raise

    def _moved(self, event: StatusChanged) -> tuple[Device | Miner, str]:
        known = self._known(event.id)
        if known is None or isinstance(known, Miner) is not (event.kind is Kind.MINER):
            raise _Refused("the status is of an id that is not known")
        if known.status is Status.REVOKED:
            raise _Refused("the id is revoked for ever")
        status = _STATUSES[event.status]
        return known._replace(status=status), _WORDS[status]


def _key(alg: Alg, data: bytes) -> PublicKey:
    try:
        return parse_public_key(alg, data)
    except KeyRefused as refusal:
        raise _Refused(f"the key is refused: {refusal}") from None


def _miner(event: MinerRegistered, status: Status) -> Miner:
    origin = _origin(event.fleet, event.id)
    if event.log_id != log_id(origin):
        raise _Refused("the log is not the miner's")
    if len(event.hpke_key) not in _HPKE_KEY_BYTES:
        raise _Refused("the HPKE key has no known length")
    key = _key(Alg.ED25519, event.log_key)
    return Miner(event.id, event.fleet, key, status, origin, event.account, event.hpke_key)


def _origin(fleet: str, name: str) -> str:
    return f"securenet/{fleet}/{name}"


# --- the newest blocks, before they are final ---

HeadWords = Mapping[tuple[str, Status], int]
"""Who was suspended or revoked in a block that is not final, and the highest such block."""


def head_words(before: HeadWords, events: Iterable[tuple[int, StatusChanged]], final: int, head: int) -> HeadWords:
    """What the blocks above ``final`` say against anybody; what they say in favour is not heard yet.

    Args:
        before: what was said at the look before. A word from above ``head`` stays: this endpoint has not come to that
            block, which is no sign that the block is gone.
        events: those of the blocks above ``final`` up to ``head``, with their blocks.
        final: the newest final block.
        head: the newest block.
    """
    words = {word: block for word, block in before.items() if block > max(head, final)}
    for block, event in events:
        if event.status is not ChainStatus.ACTIVE and block > final:
            word = (event.id, _STATUSES[event.status])
            words[word] = max(block, words.get(word, 0))
    return words


def overlay(final: RegistrySnapshot, words: HeadWords) -> Iterator[Device | Miner]:
    """The registrations that ``words`` make worse than the final state has them."""
    worst: dict[str, Status] = {}
    for name, status in words:
        worst[name] = max(worst.get(name, Status.ACTIVE), status, key=_STATUS_NUMBERS.__getitem__)
    for name, status in worst.items():
        known = final.device(name) or final.miner(name)
        if known is not None and _STATUS_NUMBERS[status] > _STATUS_NUMBERS[known.status]:
            yield known._replace(status=status)


# --- the journal's rows ---


def row_of(registration: Device | Miner) -> IdentityRow:
    """A registration as the journal keeps it."""
    miner = registration if isinstance(registration, Miner) else None
    return IdentityRow(
        registration.id,
        Kind.DEVICE if miner is None else Kind.MINER,
        registration.fleet,
        _ALG_NUMBERS[registration.key.alg],
        registration.key.data,
        _STATUS_NUMBERS[registration.status],
        None if miner is None else miner.account,
        None if miner is None else miner.hpke_key,
    )


def registration_of(row: IdentityRow) -> Device | Miner:
    """What ``row_of`` wrote. The key was checked then, and is not once more.

    Raises:
        ValueError: nobody here wrote this row.
    """
    alg, status = _ALGS[ChainAlg(row.alg)], _STATUSES[ChainStatus(row.status)]
    if len(row.key) != _KEY_BYTES[alg]:
        raise ValueError("a key of the journal has another length than its algorithm")
    key = PublicKey(alg, row.key)
    if row.kind == Kind.DEVICE:
        return Device(row.id, row.fleet, key, status)
    if Kind(row.kind) is not Kind.MINER or row.account is None:
        raise ValueError("a miner of the journal has no account")
    return Miner(row.id, row.fleet, key, status, _origin(row.fleet, row.id), row.account, row.hpke_key or b"")


# --- how much to ask for ---


class Stride:
    """How many blocks to ask events of at once: few where they are dense, many where there is nothing.

    An answer with more events than ``EVENTS`` halves it, one with less than half as many doubles it, a refusal halves
    what was asked for and is remembered for ``PATIENCE`` answers. JSON is parsed in one piece, and nobody else runs
    meanwhile: 6 ms for 512 registrations, which are two full batches, and so the ``FIRST`` two blocks.
    """

    FIRST: Final = 2
    EVENTS: Final = 512
    PATIENCE: Final = 8

    def __init__(self, most: int) -> None:
        self._most = most
        self._patience = 0
        self.blocks = min(self.FIRST, most)

    def took(self, events: int, asked: int) -> None:
        """An answer came, to so many blocks."""
        if events > self.EVENTS:
            self.blocks = max(1, min(self.blocks, asked) // 2)
        elif asked == self.blocks and self._patience > 0:
            self._patience -= 1
        elif asked == self.blocks and 2 * events < self.EVENTS:
            self.blocks = min(2 * self.blocks, self._most)

    def refused(self, asked: int) -> None:
        """The endpoint would not answer for so many blocks."""
        self.blocks = max(1, asked // 2)
        self._patience = self.PATIENCE
