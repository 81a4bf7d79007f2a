"""Whether the gateway is ready, and why not: stable words for machines, sentences for people (pure).

The words are the ``reason`` of ``/readyz`` and of ``securenet status --json``; docs/operations/health.md says what to
do about each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from gateway.message import PushbackReason
from gateway.transport.port import LinkState

JOURNAL_BLOCKED: Final = "journal-blocked"
"""The journal takes nothing: the disk is full, read-only or broken."""

LOG_DAMAGED: Final = "log-damaged"
"""The log was found damaged at the start and takes no entries."""

WHY_HELD_BACK: Final[Mapping[str, str]] = {
    LOG_DAMAGED: "the log is damaged and takes no entries; see docs/operations/runbook.md",
    JOURNAL_BLOCKED: "the journal takes nothing; see the disk",
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


class Reason(NamedTuple):
    """One thing that stands in the way: a stable word, what is wrong in detail, and the sentence for a person."""

    reason: str
    detail: str
    sentence: str


class Readiness(NamedTuple):
    """Ready when nothing stands in the way."""

    ready: bool
    reasons: tuple[Reason, ...]


def held_back(pushback: PushbackReason | None, journal_fault: str | None) -> Reason | None:
    """Why nothing is taken, None when messages are."""
    if pushback is None:
        return None
    word: str = pushback.value
    if pushback is PushbackReason.PUSHBACK:
        word = LOG_DAMAGED if journal_fault is None else JOURNAL_BLOCKED
    detail = WHY_HELD_BACK[word] if journal_fault is None or word != JOURNAL_BLOCKED else journal_fault
    return Reason(word, detail, f"nothing is accepted ({pushback}): {detail}")


def of_links(links: Mapping[str, Mapping[str, Any]]) -> Iterator[Reason]:
    """Yield a reason for each transport that is not up: ``mqtt-down``, ``coap-connecting``."""
    for name, link in links.items():
        state, detail = link["state"], link["detail"]
        if state != LinkState.UP.value:
            yield Reason(f"{name}-{state}", detail, f"{name} is {state}: {detail}")


def readiness(
    pushback: PushbackReason | None, journal_fault: str | None, links: Mapping[str, Mapping[str, Any]]
) -> Readiness:
    """Messages can come in and be taken: every transport is up, and nothing holds them back."""
    first = held_back(pushback, journal_fault)
    reasons = (*(() if first is None else (first,)), *of_links(links))
    return Readiness(not reasons, reasons)
