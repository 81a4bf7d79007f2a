"""The topics of FORMATS.md §4, built and taken apart (pure)."""

from __future__ import annotations

import re
from typing import NamedTuple

_ROOT = "securenet/v1"
_UP_FILTER = re.compile(rf"(\$share/[A-Za-z0-9._-]{{1,64}}/)?{_ROOT}/[A-Za-z0-9._:-]{{1,32}}/\+/up")
_LEVELS = 5
_WILDCARDS = ("+", "#")


class Upstream(NamedTuple):
    """What an ``up`` topic says; neither part is checked here, the signature decides."""

    fleet: str
    device: str


def up_filter(fleet: str, share_group: str) -> str:
    """The one filter that the gateway wants; with a group, a shared subscription (MQTT 5 §4.8.2)."""
    topic_filter = f"{_ROOT}/{fleet}/+/up"
    return f"$share/{share_group}/{topic_filter}" if share_group else topic_filter


def is_up_filter(text: str) -> bool:
    """Whether ``up_filter`` can have made this: a filter of ours, of whatever configuration."""
    return _UP_FILTER.fullmatch(text) is not None


def parse_up(topic: str) -> Upstream | None:
    """Fleet and device of ``securenet/v1/<fleet>/<device>/up``; None for any other topic."""
    levels = topic.split("/")
    if len(levels) != _LEVELS or levels[4] != "up" or f"{levels[0]}/{levels[1]}" != _ROOT:
        return None
    return Upstream(levels[2], levels[3])


def receipt_topic(fleet: str, device: str) -> str:
    """Where a device's receipts go when it names no other place."""
    return f"{_ROOT}/{fleet}/{device}/receipt"


def response_topic(asked: str | None, base: str) -> str | None:
    """Where a receipt goes: the topic asked for when it lies at or below ``base``; ``base`` when none was asked for.

    Returns None for any other: it is ignored, for a device must not make the gateway publish elsewhere.
    """
    if not asked:
        return base
    if asked != base and not asked.startswith(base + "/"):
        return None
    if "\0" in asked or any(wildcard in asked for wildcard in _WILDCARDS):
        return None
    return asked


def status_topic(fleet: str, gateway_id: str) -> str:
    """Where the gateway's retained ``online`` or ``offline`` stands."""
    return f"{_ROOT}/{fleet}/gateway/{gateway_id}/status"
