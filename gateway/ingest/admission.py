"""The first stage: bytes become candidates, and the cheap questions are asked."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gateway.checks.chain import ADMISSION, ROUTING, Bench, Candidate
from gateway.checks.rate_limit import TokenBuckets
from gateway.config.model import Config
from gateway.crypto.frames import Claim
from gateway.envelope.decoding import decode
from gateway.ingest.ticket import Ticket
from gateway.message import RawMessage, Rejected, RejectReason
from gateway.registry.port import RegistrySnapshot


def bench(config: Config) -> Bench:
    """What this gateway's configuration makes of Algorithm 1's limits."""
    limits = config.limits
    return Bench(
        fleet=config.gateway.fleet,
        peers={
            "mqtt": TokenBuckets(limits.mqtt_peer_rate_per_s, limits.mqtt_peer_burst, limits.peers),
            "coap": TokenBuckets(limits.coap_peer_rate_per_s, limits.coap_peer_burst, limits.peers),
        },
        devices=TokenBuckets(limits.device_rate_per_s, limits.device_burst, limits.peers),
        max_age_s=limits.max_age_s,
        max_ahead_s=limits.max_ahead_s,
    )


def retune(bench: Bench, config: Config) -> None:
    """Put the limits of another configuration into force, from the next message on; the fleet stays."""
    limits = config.limits
    bench.peers["mqtt"].retune(limits.mqtt_peer_rate_per_s, limits.mqtt_peer_burst, limits.peers)
    bench.peers["coap"].retune(limits.coap_peer_rate_per_s, limits.coap_peer_burst, limits.peers)
    bench.devices.retune(limits.device_rate_per_s, limits.device_burst, limits.peers)
    bench.max_age_s, bench.max_ahead_s = limits.max_age_s, limits.max_ahead_s


class Admission:
    """Steps 0 to 3 of Algorithm 1 over a batch; what passes is a claim for the signature workers."""

    def __init__(self, bench: Bench, max_bytes: int) -> None:
        self._bench = bench
        self._max_bytes = max_bytes

    def admit(
        self, raws: Sequence[RawMessage], snapshot: RegistrySnapshot, now_s: float
    ) -> tuple[list[Ticket], list[Claim]]:
        """Make a ticket of each message, and a claim of each that passed, in their order.

        Args:
            raws: the batch.
            snapshot: the registry as of now; one snapshot for the whole batch.
            now_s: monotonic seconds, for the rate limits.
        """
        self._bench.now_s = now_s
        tickets = [self._ticket(raw, snapshot) for raw in raws]
        claims = [
            Claim(candidate.device.key, candidate.envelope.signing_input, candidate.envelope.signature)
            for ticket in tickets
            if ticket.rejected is None
            and (candidate := ticket.candidate) is not None
            and candidate.device is not None
        ]
        return tickets, claims

    def route(self, raw: RawMessage) -> Ticket:
        """Step 0 alone; a ticket that is not rejected has passed it and nothing else."""
        ticket = self._decoded(raw)
        if ticket.candidate is not None:
            ticket.rejected = ROUTING.first_failure(ticket.candidate, self._bench)
        return ticket

    def _ticket(self, raw: RawMessage, snapshot: RegistrySnapshot) -> Ticket:
        ticket = self._decoded(raw)
        candidate = ticket.candidate
        if candidate is None:
            return ticket
        candidate.device = snapshot.device(candidate.envelope.device_id)
        ticket.rejected = ADMISSION.first_failure(candidate, self._bench)
        if ticket.rejected is not None and ticket.rejected.reason is RejectReason.RATE_LIMITED:
            ticket.retry_after_s = self.retry_after_s(candidate)
        return ticket

    def _decoded(self, raw: RawMessage) -> Ticket:
        ticket = Ticket(raw)
        decoded = decode(raw.payload, raw.declared, max_bytes=self._max_bytes)
        if isinstance(decoded, Rejected):
            ticket.rejected = decoded
        else:
            ticket.candidate = Candidate(raw, decoded)
        return ticket

    def retry_after_s(self, candidate: Candidate) -> int:
        """Whole seconds until both buckets of a rate-limited message have a token; at least 1."""
        bench, raw = self._bench, candidate.raw
        peer_s = bench.peers[raw.transport].wait_s(raw.peer, bench.now_s)
        device_s = bench.devices.wait_s(candidate.envelope.device_id, bench.now_s)
        return max(1, math.ceil(max(peer_s, device_s)))
