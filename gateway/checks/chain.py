"""Algorithm 1 as two numbered chains around the signature arithmetic.

``ADMISSION`` runs on the envelope alone; what passes goes to the signature workers in a batch. ``DECISION`` runs in
the order of arrival once the signatures are known, because it reads and feeds the replay window. In both, the first
failure ends it. Step 1 is not in here: it is about the gateway, is asked once a batch (``miner.verify_miner``), and
its failure holds messages back instead of refusing them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gateway.checks.device import verify_device, verify_fleet, verify_identity
from gateway.checks.duplicate import Standing, verify_age, verify_not_duplicate
from gateway.checks.rate_limit import TokenBuckets, verify_rate
from gateway.checks.signature import verify_signature
from gateway.message import Envelope, RawMessage, Rejected
from gateway.registry.port import Device


@dataclass(slots=True)
class Candidate:
    """One message on its way through Algorithm 1, and what has become known about it.

    ``held`` is set by the signature workers; ``standing`` and ``known_digest`` by whoever owns window and journal.
    """

    raw: RawMessage
    envelope: Envelope
    device: Device | None = None
    held: bool = False
    standing: Standing = Standing.STALE_SESSION
    known_digest: bytes | None = None


@dataclass(slots=True)
class Bench:
    """What the steps measure a candidate against. ``now_s`` is monotonic; ages are taken at the time of receipt.

    While ``clock_trusted`` is false nobody is refused for its age: messages are accepted by sequence.
    """

    fleet: str
    peers: dict[str, TokenBuckets]
    devices: TokenBuckets
    max_age_s: float
    max_ahead_s: float
    now_s: float = 0.0
    clock_trusted: bool = True

    def credit_outage(self, transport: str, gap_s: float, now_s: float) -> None:
        """The senders of ``transport`` could not be heard for ``gap_s`` seconds; what they saved up is no flood."""
        gap_s = min(gap_s, self.max_age_s)
        self.peers[transport].credit(gap_s, now_s)
        self.devices.credit(gap_s, now_s)


class Step(NamedTuple):
    """A numbered step: the paper's number, a name for reports, and the question."""

    number: int
    name: str
    verify: Callable[[Candidate, Bench], Rejected | None]


class Chain:
    """Steps in the order of their numbers. An empty chain would accept everything, so there is none."""

    def __init__(self, steps: Sequence[Step]) -> None:
        if not steps:
            raise ValueError("a chain of checks must not be empty")
        if [step.number for step in steps] != sorted(step.number for step in steps):
            raise ValueError("the steps of a chain stand in the order of their numbers")
        self.steps = tuple(steps)
        self._questions = tuple(step.verify for step in steps)

    def first_failure(self, candidate: Candidate, bench: Bench) -> Rejected | None:
        """Ask every step in order; return the first refusal, or None when all hold."""
        for verify in self._questions:
            rejected = verify(candidate, bench)
            if rejected is not None:
                return rejected
        return None


def _fleet(candidate: Candidate, bench: Bench) -> Rejected | None:
    return verify_fleet(candidate.envelope.fleet, candidate.raw.fleet, bench.fleet)


def _identity(candidate: Candidate, _: Bench) -> Rejected | None:
    return verify_identity(candidate.envelope.device_id, candidate.raw.device)


def _device(candidate: Candidate, bench: Bench) -> Rejected | None:
    return verify_device(candidate.device, bench.fleet, candidate.envelope.alg)


def _peer_rate(candidate: Candidate, bench: Bench) -> Rejected | None:
    raw = candidate.raw
    return verify_rate(bench.peers[raw.transport].take(raw.peer, bench.now_s))


def _device_rate(candidate: Candidate, bench: Bench) -> Rejected | None:
    return verify_rate(bench.devices.wait_s(candidate.envelope.device_id, bench.now_s))


def _signature(candidate: Candidate, _: Bench) -> Rejected | None:
    return verify_signature(held=candidate.held)


def _device_charge(candidate: Candidate, bench: Bench) -> Rejected | None:
    return verify_rate(bench.devices.take(candidate.envelope.device_id, bench.now_s))


def _duplicate(candidate: Candidate, _: Bench) -> Rejected | None:
    return verify_not_duplicate(candidate.standing, candidate.envelope.digest, candidate.known_digest)


def _age(candidate: Candidate, bench: Bench) -> Rejected | None:
    if not bench.clock_trusted:
        return None
    received_s = candidate.raw.received_ms / 1000
    return verify_age(
        candidate.envelope.issued_at, received_s, max_age_s=bench.max_age_s, max_ahead_s=bench.max_ahead_s
    )


ADMISSION = Chain(
    (
        Step(0, "fleet", _fleet),
        Step(0, "identity", _identity),
        Step(2, "device", _device),
        Step(3, "device rate", _device_rate),
        Step(3, "peer rate", _peer_rate),
    )
)
"""Before the signature: cheap questions first, and the processor's budget per peer taken last."""

ROUTING = Chain(tuple(step for step in ADMISSION.steps if step.number == 0))
"""Step 0 alone: what a sender is told even while step 1 holds everything else back."""

DECISION = Chain(
    (
        Step(4, "signature", _signature),
        Step(4, "device charge", _device_charge),
        Step(5, "duplicate", _duplicate),
        Step(5, "age", _age),
    )
)
"""After the signature. The device's bucket is charged here: a batch may hold more of a device than its budget."""
