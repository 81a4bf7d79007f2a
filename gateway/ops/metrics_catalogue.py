"""Every metric that a gateway shows: its name, its kind, its labels, and what it means (pure).

Names follow Prometheus: a prefix, base units, ``_total`` for what only rises. A label is bounded by the program or by
the configuration, never by the fleet: no device id is one. docs/operations/metrics.md is made of this table.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple


class Kind(StrEnum):
    """How a metric behaves."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


class Family(NamedTuple):
    """One metric. ``name`` is as it is scraped: with ``_total`` and ``_info``, a histogram without ``_bucket``."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()


_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM

FAMILIES: Final[tuple[Family, ...]] = (
    Family("securenet_build_info", Kind.INFO, "Version of the gateway and of Python.", ("version", "python")),
    Family(
        "securenet_gateway_info", Kind.INFO, "Who this is: join on it by instance.", ("gateway", "fleet", "origin")
    ),
    Family("securenet_uptime_seconds", _G, "Seconds since the start of the process."),
    Family("securenet_ready", _G, "1 when messages can come in and are taken; /readyz says why not."),
    Family("securenet_not_ready", _G, "1 for each reason that stands in the way now.", ("reason",)),
    Family("securenet_warnings", _G, "Things that a person should know although messages are taken."),
    # messages
    Family("securenet_messages_received_total", _C, "Messages that came in.", ("transport",)),
    Family("securenet_messages_accepted_total", _C, "Messages that passed every check and went into the log."),
    Family(
        "securenet_messages_rejected_total", _C, "Messages that a check refused; the first that failed.", ("reason",)
    ),
    Family("securenet_messages_acknowledged_total", _C, "Answers given after the decision was durable."),
    Family("securenet_messages_quarantined_total", _C, "Refused messages whose bytes were kept as evidence."),
    Family("securenet_messages_pushed_back_total", _C, "Messages that were told to come again; nothing was decided."),
    Family("securenet_messages_not_taken_total", _C, "Messages that found the intake full; their sender has them."),
    Family("securenet_queue_messages", _G, "Messages that wait to be looked at."),
    Family("securenet_queue_capacity_messages", _G, "Messages that may wait (ingest.queue_messages)."),
    Family("securenet_stage_waiting_batches", _G, "Batches that wait for a stage; two at most.", ("stage",)),
    Family("securenet_groups_committed_total", _C, "Groups of messages made durable, one fsync each."),
    Family("securenet_commit_faults_total", _C, "Times that the journal could not take a group; it is tried again."),
    Family("securenet_answer_duration_seconds", _H, "From receipt to answer, of each message."),
    Family("securenet_verify_duration_seconds", _H, "Signatures of a batch, waiting for the worker included."),
    Family("securenet_commit_duration_seconds", _H, "A group to the disk, until it is durable."),
    # links
    Family("securenet_link_up", _G, "1 when a transport is connected and subscribed, or bound.", ("transport",)),
    Family("securenet_link_events_total", _C, "What a transport counts, by its own names.", ("transport", "event")),
    Family("securenet_task_restarts_total", _C, "Restarts of what may be restarted.", ("task",)),
    Family("securenet_task_up", _G, "0 while a task waits to be started again.", ("task",)),
    # detection and models
    Family("securenet_scores_total", _C, "Accepted messages by verdict.", ("verdict",)),
    Family("securenet_unscored_total", _C, "Accepted messages without a verdict, and why.", ("reason",)),
    Family("securenet_model_version", _G, "Version in force; absent when none is.", ("model",)),
    Family("securenet_model_newest_version", _G, "Newest version that the chain names.", ("model",)),
    Family("securenet_model_granted", _G, "1 when this gateway may run the model.", ("model",)),
    Family("securenet_model_refused", _G, "1 when the newest version is not loaded; status says why.", ("model",)),
    Family("securenet_model_expired", _G, "1 when the time of what runs is over; it runs on.", ("model",)),
    Family("securenet_model_expiry_timestamp_seconds", _G, "When the time of what runs is over.", ("model",)),
    Family("securenet_model_scored_total", _C, "Messages that the version in force scored.", ("model",)),
    Family("securenet_models_frozen", _G, "1 when the chain's word is too old to load new versions."),
    Family("securenet_ipfs_source_up", _G, "1 when a source of model files is well.", ("source",)),
    # the log and its anchors
    Family("securenet_log_entries", _G, "Entries of the Merkle log."),
    Family("securenet_anchors", _G, "Anchors that the journal holds, by state.", ("state",)),
    Family("securenet_anchor_final_entries", _G, "Entries that are final on the chain."),
    Family("securenet_anchor_waiting_entries", _G, "Entries that no anchor covers yet."),
    Family("securenet_anchor_final_timestamp_seconds", _G, "When the last anchor was seen to be final."),
    Family("securenet_anchor_held", _G, "1 for what holds anchoring now.", ("reason",)),
    Family("securenet_anchor_transactions", _G, "Anchor transactions in blocks, of those that the journal holds."),
    Family("securenet_anchor_gas_used", _G, "Gas that they took together."),
    Family("securenet_anchor_balance_wei", _G, "What the anchoring account has."),
    # the chain and the registry
    Family("securenet_chain_up", _G, "1 when the last look at the chain went well."),
    Family("securenet_chain_endpoint_up", _G, "1 when an endpoint is well.", ("endpoint",)),
    Family("securenet_chain_head_age_seconds", _G, "Age of the endpoint's newest block.", ("endpoint",)),
    Family("securenet_chain_head_block", _G, "Number of the endpoint's newest block.", ("endpoint",)),
    Family("securenet_registry_devices", _G, "Registered devices by status.", ("status",)),
    Family("securenet_registry_miners", _G, "Registered gateways."),
    Family("securenet_registry_age_seconds", _G, "Since the chain last confirmed the registry; absent with a file."),
    Family("securenet_registry_max_age_seconds", _G, "Beyond it nothing is accepted (registry.max_age_s)."),
    # the machine
    Family("securenet_disk_used_bytes", _G, "What the data directory takes."),
    Family("securenet_disk_budget_bytes", _G, "What it may take (journal.budget_bytes)."),
    Family("securenet_certificate_expiry_timestamp_seconds", _G, "When a certificate ends.", ("name",)),
    Family("securenet_clock_trusted", _G, "1 when the wall clock is believed."),
    Family("securenet_clock_offset_seconds", _G, "How far it is off, as far as is known."),
    Family("securenet_clock_steps_total", _C, "Times that it jumped."),
    Family("securenet_log_events_total", _C, "Log events by what became of them.", ("fate",)),
    Family("process_cpu_seconds_total", _C, "Processor time of the main process."),
    Family("process_resident_memory_bytes", _G, "Memory that the main process holds."),
    Family("process_open_fds", _G, "Open files."),
    Family("process_max_fds", _G, "Files that may be open."),
    Family("process_start_time_seconds", _G, "When the process started."),
)
"""In the order of the page."""

BY_NAME: Final = {family.name: family for family in FAMILIES}


def markdown() -> str:
    """The table of docs/operations/metrics.md."""
    lines = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for family in FAMILIES:
        labels = " ".join(f"`{label}`" for label in family.labels)
        lines.append(f"| `{family.name}` | {family.kind} | {labels or 'none'} | {family.meaning} |")
    return "\n".join(lines) + "\n"
