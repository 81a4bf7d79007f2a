"""Who is registered already, by the chain's own events, and what of a list is left to register.

A list is compared with the chain before anything is sent, so that an import which was interrupted goes on where it
was, and one that contradicts the chain stops before its first transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from gateway.chain.contracts import MAX_BATCH, ChainAlg, ChainStatus, DeviceFacts, Kind
from gateway.chain.events import DeviceRegistered, MinerRegistered, RegistryEvent, decode_registry, registry_filter
from gateway.chain.port import EndpointFault, LogRecord, TooManyLogs, View

_BLOCKS_AT_ONCE: Final = 5000


class Source(NamedTuple):
    """Where the events are: the contract, the block of its deployment, and blocks asked for at once."""

    registry: bytes
    deploy_block: int
    blocks: int = _BLOCKS_AT_ONCE


class Known(NamedTuple):
    """An id as the chain's events have it. ``log_key``, ``hpke_key``, ``account`` are a miner's."""

    id: str
    kind: Kind
    fleet: str
    status: ChainStatus
    alg: ChainAlg = ChainAlg.ED25519
    public_key: bytes = b""
    log_id: bytes = b""
    hpke_key: bytes = b""
    account: bytes = b""
    block: int = 0


class Applicant(NamedTuple):
    """A device that is to be registered, and the line that it stands in."""

    line: int
    id: str
    fleet: str
    alg: ChainAlg
    public_key: bytes

    @property
    def facts(self) -> DeviceFacts:
        """As the contract takes it."""
        return DeviceFacts(self.id, self.alg, self.public_key)


class Conflict(NamedTuple):
    """An id that is registered with other facts."""

    line: int
    id: str
    problem: str


class Batch(NamedTuple):
    """Devices of one fleet for one transaction."""

    fleet: str
    devices: tuple[DeviceFacts, ...]


class Plan(NamedTuple):
    """What is to be sent. ``already`` are registered with the same facts; ``silent`` of those are not active."""

    batches: tuple[Batch, ...]
    already: int
    silent: tuple[str, ...]
    conflicts: tuple[Conflict, ...]

    @property
    def devices(self) -> int:
        """How many are to be registered."""
        return sum(len(batch.devices) for batch in self.batches)


def make_plan(applicants: Iterable[Applicant], known: Mapping[str, Known], batch: int) -> Plan:
    """Compare a list with the chain (pure); ids are unique in the list. Batches keep its order, fleet by fleet."""
    if not 1 <= batch <= MAX_BATCH:
        raise ValueError(f"a batch has 1 to {MAX_BATCH} devices")
    already, silent, conflicts = 0, [], []
    fleets: dict[str, list[DeviceFacts]] = {}
    for each in applicants:
        found = known.get(each.id)
        if found is None:
            fleets.setdefault(each.fleet, []).append(each.facts)
        elif problem := _differs(each, found):
            conflicts.append(Conflict(each.line, each.id, problem))
        else:
            already += 1
            if found.status is not ChainStatus.ACTIVE:
                silent.append(each.id)
    batches = tuple(Batch(fleet, part) for fleet, devices in fleets.items() for part in _parts(devices, batch))
    return Plan(batches, already, tuple(silent), tuple(conflicts))


def fold(known: dict[str, Known], event: RegistryEvent, block: int) -> None:
    """Apply an event to what is known (pure).

    Raises:
        EndpointFault: an id changes its status that was never registered: the events are not complete.
    """
    if isinstance(event, DeviceRegistered):
        known[event.id] = Known(
            event.id, Kind.DEVICE, event.fleet, ChainStatus.ACTIVE, event.alg, event.public_key, block=block
        )
        return
    before = known.get(event.id)
    if isinstance(event, MinerRegistered):
        status = ChainStatus.ACTIVE if before is None else before.status
        known[event.id] = Known(
            event.id,
            Kind.MINER,
            event.fleet,
            status,
            public_key=event.log_key,
            log_id=event.log_id,
            hpke_key=event.hpke_key,
            account=event.account,
            block=block,
        )
        return
    if before is None:
        raise EndpointFault(
            "an id changes its status that was never registered; is chain.deploy_block after the deployment?"
        )
    known[event.id] = before._replace(status=event.status)


async def call_the_roll(
    view: View,
    source: Source,
    name: str | None = None,
    told: Callable[[int, int], None] = lambda _done, _all: None,
) -> dict[str, Known]:
    """Read who is registered at the view's head: everyone, or one id. ``told`` hears blocks done and of how many.

    Raises:
        EndpointFault: as from the view; also when one block has more events than the endpoint will tell.
    """
    known: dict[str, Known] = {}
    start, span, end = source.deploy_block, source.blocks, view.head.number
    wanted = registry_filter(source.registry, name)
    while start <= end:
        last = min(end, start + span - 1)
        try:
            records: Sequence[LogRecord] = await view.logs(wanted, start, last)
        except TooManyLogs:
            if span == 1:
                raise EndpointFault(
                    f"{view.endpoint} does not tell the events of block {start}: too many; use another endpoint"
                ) from None
            span = max(1, (last - start + 1) // 2)
            continue
        for record in records:
            fold(known, decode_registry(record), record.block_number)
        start, span = last + 1, min(source.blocks, span * 2)
        told(start - source.deploy_block, end + 1 - source.deploy_block)
    return known


def _differs(each: Applicant, found: Known) -> str:
    if found.kind is Kind.MINER:
        return "is registered as a miner"
    other = [
        name
        for name, ours, theirs in (
            ("fleet", each.fleet, found.fleet),
            ("algorithm", each.alg, found.alg),
            ("public key", each.public_key, found.public_key),
        )
        if ours != theirs
    ]
    return f"is registered with another {' and '.join(other)}" if other else ""


def _parts(devices: Sequence[DeviceFacts], batch: int) -> Iterable[tuple[DeviceFacts, ...]]:
    for start in range(0, len(devices), batch):
        yield tuple(devices[start : start + batch])
