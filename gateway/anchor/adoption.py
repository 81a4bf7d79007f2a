"""Finding an anchor of ours that the outbox does not know: the newest ones of the log, from the head backwards."""

from __future__ import annotations

from typing import Final

from gateway.anchor.past import Head
from gateway.anchor.transaction import Target
from gateway.chain.events import Anchored, anchor_filter, decode_log
from gateway.chain.port import LogRecord, TooManyLogs, View

_RANGES: Final = 16


async def find_anchor(view: View, target: Target, head: Head, blocks: int) -> tuple[LogRecord, Anchored] | None:
    """Look for the event that anchored ``head``, in a bounded number of ranges of ``blocks`` blocks; None: not there.

    Raises:
        EndpointFault: as from the view.
    """
    end = view.head.number
    for _ in range(_RANGES):
        start = max(0, end - blocks + 1)
        try:
            records = await view.logs(anchor_filter(target.contract, target.log_id), start, end)
        except TooManyLogs:
            blocks = max(1, blocks // 2)
            continue
        for record in reversed(records):
            event = decode_log(record)
            if isinstance(event, Anchored) and (event.size, event.root) == head:
                return record, event
        if start == 0:
            return None
        end = start - 1
    return None
