"""When will it be anchored? What happens next to an entry that no final anchor covers, and when, in words (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from gateway.config.model import Config
from gateway.journal import AnchorRow

_WAITING: Final = frozenset({"signed", "broadcast", "replaced", "reorged"})


def what_happens_next(index: int, config: Config, newest: Sequence[AnchorRow]) -> str:
    """Say what becomes of an entry that no final anchor covers.

    Args:
        index: the entry's place in the log.
        config: the gateway's.
        newest: the newest rows of the outbox, the newest first.
    """
    if not config.chain.rpc:
        return "No chain is configured ([chain] rpc): the proof ends at the checkpoint, and no anchor will come."
    if not config.anchor.enabled:
        return "Anchoring is switched off ([anchor] enabled): the proof ends at the checkpoint."
    covering = next((row for row in newest if row.is_open and row.size > index), None)
    if covering is None:
        return f"No anchor covers the entry {index} yet. {_next_sealing(config, newest)}"
    said = f" ({covering.detail})" if covering.detail else ""
    return f"An anchor of {covering.size} entries covers it: {_next_step(covering, config)}{said}. Export again then."


def _next_sealing(config: Config, newest: Sequence[AnchorRow]) -> str:
    interval = f"{config.anchor.interval_s:g} s"
    if not newest:
        return f"The gateway sends the first one within {interval}, while it runs; export again after that."
    due = datetime.fromtimestamp(newest[0].sealed_ms / 1000 + config.anchor.interval_s, UTC)
    return (
        f"The newest has {newest[0].size} entries and is {newest[0].state}; the next is due at "
        f"{due:%Y-%m-%d %H:%M:%S} UTC (every {interval}), or as soon as the gateway runs again."
    )


def _next_step(row: AnchorRow, config: Config) -> str:
    if row.state == "sealed":
        return f"it has no transaction yet; the gateway tries again every {config.chain.poll_s:g} s"
    if row.state in _WAITING:
        return (
            f"its transaction waits for a block, and is replaced at a higher fee when it has waited"
            f" {config.anchor.replace_after_s:g} s"
        )
    if row.state == "mined":
        how = "the chain calls that block final"
        if config.chain.finality == "confirmations":
            how = f"{config.chain.confirmations} blocks stand on it"
        looks = f"the gateway looks every {config.chain.poll_s:g} s"
        return f"it is in block {row.block_number}, and final when {how}; {looks}"
    return "its transaction did not anchor it; the gateway sends the next one as soon as that is final"
