"""What ``securenet status`` shows: one plain object, every figure with its unit in its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway import __version__
from gateway.config.model import Config
from gateway.ingest.intake import IntakeQueue
from gateway.ingest.pipeline import Ingest
from gateway.journal import MaintenanceReport
from gateway.message import PushbackReason
from gateway.ops.health import readiness
from gateway.ops.supervisor import TaskState
from gateway.registry.port import RegistrySnapshot
from gateway.transport.port import Transport


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
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Collect the state of every room.

    ``ready`` is true when messages can come in and be taken: every transport is up and nothing holds them back;
    ``reasons`` says in stable words what stands in the way, ``problems`` in sentences. ``more`` has what only some
    gateways have, by name: ``http``, ``certificates``, ``clock``, ``watchdog``, ``logging``.
    """
    links = {transport.name: _link(transport, tasks[transport.name]) for transport in transports}
    ready, reasons = readiness(pushback, ingest.journal_fault, links)
    return {
        "gateway": config.gateway.id,
        "fleet": config.gateway.fleet,
        "origin": config.origin,
        "version": __version__,
        "ready": ready,
        "reasons": [{"reason": each.reason, "detail": each.detail} for each in reasons],
        "problems": [each.sentence for each in reasons],
        "warnings": [*warnings, *_of_http((more or {}).get("http"))],
        "uptime_s": (now_ms - started_ms) // 1000,
        "log_size": log_size,
        **_counted(config, ingest, intake),
        "crypto_restarts": crypto_restarts,
        "registry": {**registry.counts._asdict(), "as_of_ms": registry.as_of_ms},
        "registry_max_age_s": config.registry.max_age_s,
        **custody,
        "transports": links,
        "tasks": {name: task_state(task) for name, task in tasks.items()},
        **(more or {}),
        "disk_bytes": None if maintenance is None else maintenance.usage.disk_bytes,
        "budget_bytes": config.journal.budget_bytes,
    }


def _counted(config: Config, ingest: Ingest, intake: IntakeQueue) -> dict[str, Any]:
    """What became of the messages, what waits, and how long an answer takes."""
    counters, latency = ingest.counters, ingest.counters.latency
    return {
        "received": dict(counters.received),
        "accepted": counters.accepted,
        "rejected": dict(counters.rejected),
        "pushed_back": counters.pushed_back,
        "answered": counters.answered,
        "quarantined": counters.quarantined,
        "verdicts": dict(counters.verdicts),
        "waiting": intake.depth(),
        "queue_messages": config.ingest.queue_messages,
        "batches_waiting": ingest.waiting(),
        "not_taken": intake.refused,
        "groups": counters.groups,
        "commit_faults": counters.commit_faults,
        "p50_ms": latency.quantile_ms(0.5),
        "p99_ms": latency.quantile_ms(0.99),
    }


def _of_http(http: Mapping[str, Any] | None) -> list[str]:
    if http is None or http["state"] != "down":
        return []
    return [f"health, metrics and page are not served: {http['detail']}"]


def _link(transport: Transport, task: TaskState) -> dict[str, Any]:
    status = transport.status()
    return {
        "state": status.state.value,
        "detail": status.detail,
        "restarts": task.restarts,
        "counters": transport.counters(),
    }


def task_state(task: TaskState) -> dict[str, Any]:
    """How a supervised task is."""
    return {"state": task.state, "restarts": task.restarts, "last_fault": task.last_fault}
