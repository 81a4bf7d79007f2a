"""From the status to samples: a pure function, asked when somebody scrapes and never otherwise.

Whatever a gateway does not have is absent: one without a chain has no anchors, one without models no versions. What
it has from the first moment is there from the first moment, at 0, so that a rate over it is right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from gateway.anchor.holds import HoldReason
from gateway.anchor.lifecycle import State
from gateway.detection.port import UnscoredReason
from gateway.message import RejectReason, Verdict

Status = Mapping[str, Any]

FATES: Final = ("written", "folded", "withheld", "diverted", "lost")
"""What becomes of a log event, as ``gateway.ops.logging`` counts it."""

_ACTIVE: Final = ("active", "suspended", "revoked")


class Sample(NamedTuple):
    """One value of a metric of the catalogue; the labels' values stand in the catalogue's order."""

    name: str
    value: float
    labels: tuple[str, ...] = ()


class Process(NamedTuple):
    """What the kernel says of the process; None where it says nothing."""

    cpu_s: float | None = None
    resident_bytes: float | None = None
    open_fds: float | None = None
    max_fds: float | None = None
    started_s: float | None = None


def samples(status: Status, *, now_ms: int, process: Process, python: str) -> Iterator[Sample]:
    """Yield every sample but the histograms', which are ``Counters``' own.

    Args:
        status: as ``securenet status --json`` shows it.
        now_ms: the wall clock.
        process: of the process that runs.
        python: its interpreter's version.
    """
    yield Sample("securenet_build_info", 1, (str(status["version"]), python))
    yield Sample("securenet_gateway_info", 1, tuple(str(status[key]) for key in ("gateway", "fleet", "origin")))
    yield Sample("securenet_uptime_seconds", status["uptime_s"])
    yield Sample("securenet_ready", bool(status["ready"]))
    for word in sorted({each["reason"] for each in status["reasons"]}):
        yield Sample("securenet_not_ready", 1, (word,))
    yield Sample("securenet_warnings", len(status["warnings"]))
    yield from _messages(status)
    yield from _links(status)
    yield from _detection(status)
    if status.get("models") is not None:
        yield from _models(status["models"])
    yield Sample("securenet_log_entries", status["log_size"])
    if status.get("anchors") is not None:
        yield from _anchors(status["anchors"])
    yield from _registry(status, now_ms)
    if status.get("chain") is not None:
        yield from _chain(status["chain"])
    yield from _machine(status)
    yield from _process(process)


def _messages(status: Status) -> Iterator[Sample]:
    for transport in sorted({*status["transports"], *status["received"]}):
        yield Sample("securenet_messages_received_total", status["received"].get(transport, 0), (transport,))
    yield Sample("securenet_messages_accepted_total", status["accepted"])
    for reason in RejectReason:
        yield Sample("securenet_messages_rejected_total", status["rejected"].get(reason, 0), (reason.value,))
    yield Sample("securenet_messages_acknowledged_total", status["answered"])
    yield Sample("securenet_messages_quarantined_total", status["quarantined"])
    yield Sample("securenet_messages_pushed_back_total", status["pushed_back"])
    yield Sample("securenet_messages_not_taken_total", status["not_taken"])
    yield Sample("securenet_queue_messages", status["waiting"])
    yield Sample("securenet_queue_capacity_messages", status["queue_messages"])
    for stage, count in status["batches_waiting"].items():
        yield Sample("securenet_stage_waiting_batches", count, (stage,))
    yield Sample("securenet_groups_committed_total", status["groups"])
    yield Sample("securenet_commit_faults_total", status["commit_faults"])


def _links(status: Status) -> Iterator[Sample]:
    for transport, link in status["transports"].items():
        yield Sample("securenet_link_up", link["state"] == "up", (transport,))
        for event, count in sorted(link["counters"].items()):
            yield Sample("securenet_link_events_total", count, (transport, event))
    restarts = {name: task["restarts"] for name, task in status.get("tasks", {}).items()}
    restarts["crypto"] = status["crypto_restarts"]
    if status.get("models") is not None:
        restarts["scoring"] = status["models"].get("scoring", {}).get("restarts", 0)
    for name, count in sorted(restarts.items()):
        yield Sample("securenet_task_restarts_total", count, (name,))
    for name, task in sorted(status.get("tasks", {}).items()):
        yield Sample("securenet_task_up", task["state"] != "waiting", (name,))


def _detection(status: Status) -> Iterator[Sample]:
    verdicts = status["verdicts"]
    for verdict in Verdict:
        yield Sample("securenet_scores_total", verdicts.get(verdict, 0), (verdict.value,))
    models = status.get("models")
    if models is None:
        why = {UnscoredReason.NO_MODEL.value: verdicts.get(Verdict.UNSCORED, 0)}
    else:
        why = models.get("scoring", {}).get("unscored", {})
    for reason in UnscoredReason:
        yield Sample("securenet_unscored_total", why.get(reason.value, 0), (reason.value,))


def _models(models: Status) -> Iterator[Sample]:
    for name, model in sorted(models.get("models", {}).items()):
        if model["running"] is not None:
            yield Sample("securenet_model_version", model["running"], (name,))
        if model["newest"] is not None:
            yield Sample("securenet_model_newest_version", model["newest"], (name,))
        yield Sample("securenet_model_granted", bool(model["granted"]), (name,))
        yield Sample("securenet_model_refused", model["refused"] is not None, (name,))
        yield Sample("securenet_model_expired", bool(model["expired"]), (name,))
        if model.get("expires_ms") is not None:
            yield Sample("securenet_model_expiry_timestamp_seconds", model["expires_ms"] / 1000, (name,))
    for running in models.get("scoring", {}).get("models", ()):
        yield Sample("securenet_model_scored_total", running["scored"], (running["model"],))
    yield Sample("securenet_models_frozen", bool(models.get("frozen")))
    sources = models.get("sources", ())
    for name, source in zip(_told_apart(each["label"] for each in sources), sources, strict=True):
        yield Sample("securenet_ipfs_source_up", not source["fault"], (name,))


def _told_apart(names: Iterable[str]) -> Iterator[str]:
    """The second of a name is ``name (2)``: two accounts at one provider have the same host, and no key is shown."""
    seen: Counter[str] = Counter()
    for name in names:
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name} ({seen[name]})"


def _anchors(anchors: Status) -> Iterator[Sample]:
    for state in State:
        yield Sample("securenet_anchors", anchors["counts"].get(state, 0), (state.value,))
    yield Sample("securenet_anchor_final_entries", anchors["final_size"])
    yield Sample("securenet_anchor_waiting_entries", anchors["unanchored"])
    if anchors["final_ms"] is not None:
        yield Sample("securenet_anchor_final_timestamp_seconds", anchors["final_ms"] / 1000)
    held = None if anchors["hold"] is None else anchors["hold"]["reason"]
    for reason in HoldReason:
        yield Sample("securenet_anchor_held", reason == held, (reason.value,))
    yield Sample("securenet_anchor_transactions", anchors["transactions"])
    yield Sample("securenet_anchor_gas_used", anchors["gas_used_total"])
    if anchors["balance_wei"] is not None:
        yield Sample("securenet_anchor_balance_wei", anchors["balance_wei"])


def _registry(status: Status, now_ms: int) -> Iterator[Sample]:
    registry = status["registry"]
    for word in _ACTIVE:
        yield Sample("securenet_registry_devices", registry[word], (word,))
    yield Sample("securenet_registry_miners", registry["miners"])
    if status.get("chain") is None:
        return
    if registry["as_of_ms"]:
        yield Sample("securenet_registry_age_seconds", max(0, now_ms - registry["as_of_ms"]) / 1000)
    yield Sample("securenet_registry_max_age_seconds", status["registry_max_age_s"])


def _chain(chain: Status) -> Iterator[Sample]:
    yield Sample("securenet_chain_up", chain["state"] == "up")
    endpoints = chain["endpoints"]
    for name, endpoint in zip(_told_apart(each["endpoint"] for each in endpoints), endpoints, strict=True):
        label = (name,)
        yield Sample("securenet_chain_endpoint_up", not endpoint["fault"], label)
        if endpoint["head_age_s"] is not None:
            yield Sample("securenet_chain_head_age_seconds", endpoint["head_age_s"], label)
        if endpoint["head"] is not None:
            yield Sample("securenet_chain_head_block", endpoint["head"], label)


def _machine(status: Status) -> Iterator[Sample]:
    if status["disk_bytes"] is not None:
        yield Sample("securenet_disk_used_bytes", status["disk_bytes"])
    yield Sample("securenet_disk_budget_bytes", status["budget_bytes"])
    for certificate in status.get("certificates") or ():
        if certificate.get("not_after_ms") is not None:
            end_s = certificate["not_after_ms"] / 1000
            yield Sample("securenet_certificate_expiry_timestamp_seconds", end_s, (certificate["name"],))
    clock = status.get("clock")
    if clock is not None:
        yield Sample("securenet_clock_trusted", bool(clock["trusted"]))
        if clock.get("offset_ms") is not None:
            yield Sample("securenet_clock_offset_seconds", clock["offset_ms"] / 1000)
        yield Sample("securenet_clock_steps_total", clock["steps"])
    for fate in FATES:
        if fate in (status.get("logging") or {}):
            yield Sample("securenet_log_events_total", status["logging"][fate], (fate,))


def _process(process: Process) -> Iterator[Sample]:
    for name, value in (
        ("process_cpu_seconds_total", process.cpu_s),
        ("process_resident_memory_bytes", process.resident_bytes),
        ("process_open_fds", process.open_fds),
        ("process_max_fds", process.max_fds),
        ("process_start_time_seconds", process.started_s),
    ):
        if value is not None:
            yield Sample(name, value)
