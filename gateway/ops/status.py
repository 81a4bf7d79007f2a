"""What ``securenet status`` shows: one plain object, every figure with its unit in its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.config.model import Config
from gateway.ingest.intake import IntakeQueue
from gateway.ingest.pipeline import Ingest
from gateway.journal import MaintenanceReport
from gateway.message import PushbackReason
from gateway.ops.supervisor import TaskState
from gateway.registry.port import RegistrySnapshot
from gateway.transport.port import LinkState, Transport

WHY_HELD_BACK: Final = {
    PushbackReason.PUSHBACK: "the log is damaged and takes no entries; see docs/operations",
    PushbackReason.MINER_UNKNOWN: (
        "the registry has no miner of this id with this fleet, log key and anchoring account; "
        "securenet miner show says what it has, securenet miner register or renew mends it"
    ),
    PushbackReason.MINER_SUSPENDED: "the registry holds this gateway as suspended or revoked; ask its registrar",
    PushbackReason.REGISTRY_STALE: (
        "the registry was not confirmed by the chain for longer than registry.max_age_s, or never; "
        "securenet chain status says how the endpoints are"
    ),
}
"""What each reason means to the technician, and what to do."""


def status_report(  # noqa: PLR0913 -- a view over every room
    config: Config,
    *,
    started_ms: int,
    now_ms: int,
    pushback: PushbackReason | None,
    ingest: Ingest,
    intake: IntakeQueue,
    log_size: int,
    crypto_restarts: int,
    registry: RegistrySnapshot,
    custody: Mapping[str, Any],
    warnings: Sequence[str],
    transports: Sequence[Transport],
    tasks: Mapping[str, TaskState],
    maintenance: MaintenanceReport | None,
) -> dict[str, Any]:
    """Collect the state of every room.

    ``ready`` is true when messages can come in and be taken: every transport is up and nothing holds them back;
    ``problems`` says in plain words what stands in the way.
    """
    counters, latency = ingest.counters, ingest.counters.latency
    links = {transport.name: _link(transport, tasks[transport.name]) for transport in transports}
    problems = [f"{name} is {link['state']}: {link['detail']}" for name, link in links.items() if not _is_up(link)]
    if pushback is not None:
        problems.insert(0, f"nothing is accepted ({pushback}): {ingest.journal_fault or WHY_HELD_BACK[pushback]}")
    return {
        "gateway": config.gateway.id,
        "fleet": config.gateway.fleet,
        "origin": config.origin,
        "ready": not problems,
        "problems": problems,
        "warnings": list(warnings),
        "uptime_s": (now_ms - started_ms) // 1000,
        "log_size": log_size,
        "received": dict(counters.received),
        "accepted": counters.accepted,
        "rejected": dict(counters.rejected),
        "pushed_back": counters.pushed_back,
        "answered": counters.answered,
        "waiting": intake.depth(),
        "not_taken": intake.refused,
        "groups": counters.groups,
        "commit_faults": counters.commit_faults,
        "p50_ms": latency.quantile_ms(0.5),
        "p99_ms": latency.quantile_ms(0.99),
        "crypto_restarts": crypto_restarts,
        "registry": {**registry.counts._asdict(), "as_of_ms": registry.as_of_ms},
        **custody,
        "transports": links,
        "disk_bytes": None if maintenance is None else maintenance.usage.disk_bytes,
        "budget_bytes": config.journal.budget_bytes,
    }


def _link(transport: Transport, task: TaskState) -> dict[str, Any]:
    status = transport.status()
    return {
        "state": status.state.value,
        "detail": status.detail,
        "restarts": task.restarts,
        "counters": transport.counters(),
    }


def _is_up(link: Mapping[str, Any]) -> bool:
    return bool(link["state"] == LinkState.UP.value)
