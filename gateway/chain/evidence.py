"""Collecting what one endpoint says about a proof or a log: a view in, values of ``gateway.tlog.evidence`` out.

Everything is asked from events by indexed topics, and from the newest state: no archive node is needed. What can be
held against something else the endpoint says is: a status against the history of it, a freeze against its event, an
anchor against the receipt of its transaction. An endpoint that contradicts itself ends in ``EndpointFault``; one that
lies consistently is found by asking another (docs/operations/proofs.md).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, NamedTuple

from gateway.chain import contracts, events
from gateway.chain.contracts import ChainAlg, ChainStatus, Contracts
from gateway.chain.events import (
    Anchored,
    DeviceRegistered,
    Equivocation,
    MinerRegistered,
    RegistryEvent,
    StatusChanged,
)
from gateway.chain.port import ChainMisconfigured, EndpointFault, LogFilter, LogRecord, TooManyLogs, View
from gateway.crypto.keys import KeyRefused, PublicKey, parse_public_key
from gateway.message import Alg
from gateway.registry.port import Status
from gateway.tlog.evidence import (
    AnchoredRoot,
    Enrolled,
    Evidence,
    Keyed,
    LogHistory,
    Moved,
    Spot,
    Subject,
    TwoRoots,
)
from gateway.tlog.proof import Anchor

HISTORY_MAX: Final = 2_000
"""Events of one device, gateway or freeze: more is no honest history."""
ANCHORS_MAX: Final = 1_000_000
"""Anchors of one log: twenty years at one in ten minutes."""
_RANGE_MAX: Final = 1 << 20
_EQUIVOCATION: Final = contracts.topic_of("Equivocation(bytes32,uint64,bytes32,bytes32,address)")

_ALGS: Final = {ChainAlg.ED25519: Alg.ED25519, ChainAlg.ES256: Alg.ES256}
_STATUSES: Final = {
    ChainStatus.ACTIVE: Status.ACTIVE,
    ChainStatus.SUSPENDED: Status.SUSPENDED,
    ChainStatus.REVOKED: Status.REVOKED,
}


class Source(NamedTuple):
    """Where the verifier says that the truth stands: never taken from a proof file."""

    chain_id: int
    contracts: Contracts
    deploy_block: int
    logs_blocks: int
    """Blocks asked for at first; more while the endpoint takes it, fewer when it refuses."""


async def collect(view: View, source: Source, subject: Subject, anchor: Anchor | None) -> Evidence:
    """Ask for everything that the steps of a proof need.

    Raises:
        ChainMisconfigured: the addresses do not hold our contracts.
        EndpointFault: the endpoint fails, or contradicts itself.
    """
    await contracts.verify_contracts(view, source.contracts)
    times = _Times(view)
    log = contracts.log_id(subject.origin)
    registry = _Registry()
    for name in dict.fromkeys((subject.device_id, subject.miner_id)):
        if name:
            await _read_history(view, source, name, registry)
            await _compare_status(view, source, name, registry.of(name))
    registered, moves = registry.device(subject.device_id)
    keys, miner_moves = registry.miner(subject.miner_id, log)
    evidence = Evidence(
        endpoint=view.endpoint,
        chain_id=source.chain_id,
        registry=source.contracts.registry,
        anchor_log=source.contracts.anchor_log,
        log_id=log,
        final=view.final.number,
        enrolled=None if registered is None else _enrolled(*registered, await times.of(registered[0])),
        device_moves=tuple([Moved(await times.of(at), _STATUSES[move.status]) for at, move in moves]),
        keyed=tuple([_keyed(event, await times.of(at)) for at, event in keys]),
        miner_moves=tuple([Moved(await times.of(at), _STATUSES[move.status]) for at, move in miner_moves]),
        two_roots=await _two_roots(view, source, log, times),
    )
    return evidence if anchor is None else await _with_anchor(view, source, evidence, anchor, times)


async def collect_log(view: View, source: Source, origin: str) -> LogHistory:
    """Ask for every anchor, key and freeze of a log.

    Raises:
        ChainMisconfigured: the addresses do not hold our contracts.
        EndpointFault: the endpoint fails, or contradicts itself.
    """
    await contracts.verify_contracts(view, source.contracts)
    times, log = _Times(view), contracts.log_id(origin)
    registry = _Registry()
    await _read_history(view, source, origin.rpartition("/")[2], registry)
    keys, _ = registry.miner(origin.rpartition("/")[2], log)
    anchors: list[AnchoredRoot] = []
    two_roots = []
    wanted = events.anchor_filter(source.contracts.anchor_log, log)
    async for record in _read(view, source, wanted, ANCHORS_MAX):
        event = events.decode_log(record)
        spot = Spot(record.block_number, record.block_hash, record.tx_hash, 0)
        if isinstance(event, Equivocation):
            two_roots.append(_second_root(event, await times.of(record)))
            continue
        if anchors and event.size <= anchors[-1].size:
            raise EndpointFault(
                f"{view.endpoint}: anchors came whose sizes do not rise; the contract allows none such"
            )
        anchors.append(AnchoredRoot(spot, event.size, event.root, event.miner))
    latest = await contracts.latest(view, source.contracts.anchor_log, log)
    if latest.frozen != bool(two_roots) or latest.size != (anchors[-1].size if anchors else 0):
        raise _contradiction(view, "the head of the log", "the events of it")
    return LogHistory(
        view.endpoint,
        view.head.number,
        view.final.number,
        tuple(anchors),
        tuple([_keyed(event, await times.of(at)) for at, event in keys]),
        tuple(two_roots),
    )


async def _with_anchor(view: View, source: Source, evidence: Evidence, anchor: Anchor, times: _Times) -> Evidence:
    """Add the block at the anchor's height, and the log's anchors in it, held against the transaction's receipt.

    Nodes forget receipts after a year or so and keep events: a receipt that is gone is no contradiction.
    """
    if anchor.block_number > view.head.number:
        return evidence
    block = await view.block(anchor.block_number)
    if block is None:
        raise EndpointFault(f"{view.endpoint}: it has no block {anchor.block_number}, below its own head")
    wanted = events.anchor_filter(source.contracts.anchor_log, evidence.log_id)
    records = [
        record
        for record in await view.logs(wanted, anchor.block_number, anchor.block_number)
        if record.tx_hash == anchor.tx_hash
    ]
    receipt = await view.receipt(anchor.tx_hash) if records else None
    if receipt is not None and not (receipt.succeeded and set(records) <= set(receipt.logs)):
        raise _contradiction(view, "the events of the anchor's block", "the transaction's receipt")
    if any(record.block_hash != block.hash for record in records):
        raise _contradiction(view, "the anchor's block", "the events of it")
    anchors = []
    for record in records:
        event = events.decode_log(record)
        if isinstance(event, Anchored):
            anchors.append(AnchoredRoot(await times.of(record), event.size, event.root, event.miner))
    return evidence._replace(anchors=tuple(anchors), has_receipt=receipt is not None, canonical=block.hash)


async def _two_roots(view: View, source: Source, log: bytes, times: _Times) -> tuple[TwoRoots, ...]:
    """Return the event that froze the log; the contract's own word decides whether there is one to look for."""
    if not (await contracts.latest(view, source.contracts.anchor_log, log)).frozen:
        return ()
    found = []
    wanted = LogFilter((source.contracts.anchor_log,), ((_EQUIVOCATION,), (log,)))
    async for record in _read(view, source, wanted, HISTORY_MAX):
        event = events.decode_log(record)
        if isinstance(event, Equivocation):
            found.append(_second_root(event, await times.of(record)))
    if not found:
        raise _contradiction(view, "that the log is frozen", "the events of it")
    return tuple(found)


# --- the registry's history ---

_Placed = tuple[LogRecord, RegistryEvent]


class _Registry:
    """The events of a few ids, by id."""

    def __init__(self) -> None:
        self._events: dict[str, list[_Placed]] = {}

    def add(self, record: LogRecord, event: RegistryEvent) -> None:
        self._events.setdefault(event.id, []).append((record, event))

    def of(self, name: str) -> list[_Placed]:
        return self._events.get(name, [])

    def device(
        self, name: str | None
    ) -> tuple[tuple[LogRecord, DeviceRegistered] | None, list[tuple[LogRecord, StatusChanged]]]:
        """The registration and the changes of a device; nothing when the id is a gateway's."""
        history = self.of(name or "")
        registered = next(((at, event) for at, event in history if isinstance(event, DeviceRegistered)), None)
        return registered, _moves(history) if registered else []

    def miner(
        self, name: str, log: bytes
    ) -> tuple[list[tuple[LogRecord, MinerRegistered]], list[tuple[LogRecord, StatusChanged]]]:
        """The registrations of the gateway of a log, and its changes."""
        history = self.of(name)
        keys = [(at, event) for at, event in history if isinstance(event, MinerRegistered) and event.log_id == log]
        return keys, _moves(history) if keys else []


def _moves(history: list[_Placed]) -> list[tuple[LogRecord, StatusChanged]]:
    return [(at, event) for at, event in history if isinstance(event, StatusChanged)]


async def _read_history(view: View, source: Source, name: str, registry: _Registry) -> None:
    async for record in _read(view, source, events.registry_filter(source.contracts.registry, name), HISTORY_MAX):
        registry.add(record, events.decode_registry(record))


async def _compare_status(view: View, source: Source, name: str, history: list[_Placed]) -> None:
    """Hold the history of an id against what the contract says of it at the head."""
    record = await contracts.record_of(view, source.contracts.registry, name)
    told: ChainStatus | None = None
    for _, event in history:
        told = event.status if isinstance(event, StatusChanged) else told or ChainStatus.ACTIVE
    if told != (None if record is None else record[1]):
        raise _contradiction(view, f"the status of {name}", "its events (is the deployment's block the right one?)")


def _enrolled(_: LogRecord, event: DeviceRegistered, at: Spot) -> Enrolled:
    try:
        key: PublicKey | None = parse_public_key(_ALGS[event.alg], event.public_key)
    except KeyRefused:
        key = None
    return Enrolled(at, event.fleet, key)


def _keyed(event: MinerRegistered, at: Spot) -> Keyed:
    return Keyed(at, event.log_key, event.account, event.renewed)


def _second_root(event: Equivocation, at: Spot) -> TwoRoots:
    return TwoRoots(at, event.size, event.anchored_root, event.claimed_root)


# --- reading ---


class _Times:
    """The times of blocks, each asked for once; a record whose block is not the chain's is a contradiction."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._known: dict[int, tuple[bytes, int]] = {}

    async def of(self, record: LogRecord) -> Spot:
        number = record.block_number
        if number not in self._known:
            block = await self._view.block(number)
            if block is None:
                raise EndpointFault(f"{self._view.endpoint}: it has an event of block {number}, but not the block")
            self._known[number] = (block.hash, block.timestamp_s)
        block_hash, time_s = self._known[number]
        if block_hash != record.block_hash:
            raise _contradiction(self._view, f"block {number}", "an event of it")
        return Spot(number, block_hash, record.tx_hash, time_s)


async def _read(view: View, source: Source, wanted: LogFilter, most: int) -> AsyncIterator[LogRecord]:
    """Yield events from the deployment to the head, in ranges that grow until the endpoint refuses one.

    Raises:
        EndpointFault: the endpoint fails, or has more events than there can be.
        ChainMisconfigured: it has no block of the deployment.
    """
    head, start = view.head.number, source.deploy_block
    if start > head:
        raise ChainMisconfigured(f"the contracts' block {start} is above the head {head}; check the deploy block")
    width, ceiling, count = source.logs_blocks, _RANGE_MAX, 0
    while start <= head:
        end = min(head, start + width - 1)
        try:
            records = await view.logs(wanted, start, end)
        except TooManyLogs as refused:
            if end == start:
                raise EndpointFault(f"{view.endpoint}: it does not answer for one block: {refused}") from None
            width = ceiling = max(1, (end - start + 1) // 2)
            continue
        count += len(records)
        if count > most:
            raise EndpointFault(f"{view.endpoint}: it has more than {most} events of one kind; that is no history")
        for record in records:
            yield record
        start = end + 1
        width = min(ceiling, width * 2)


def _contradiction(view: View, one: str, other: str) -> EndpointFault:
    return EndpointFault(f"{view.endpoint}: it contradicts itself about {one} and {other}")
