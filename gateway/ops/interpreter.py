"""How the interpreter is set for this process: settings that cost nothing and are worth 15 % of the throughput."""

from __future__ import annotations

import gc
import sys

_SWITCH_INTERVAL_S = 0.0002
_GC_THRESHOLDS = (20_000, 20, 50)


def settle_interpreter() -> None:
    """Call once, when everything that lives as long as the process has been made.

    A thread that comes back from SQLite waits one switch interval for a busy event loop to hand the interpreter over:
    5 ms by default, and a commit has several such waits (docs/adr/0070).

    The cyclic collector looks for garbage after every 700 allocations by default. Messages leave no cycles behind, so
    it looks less often, and what is here by now is frozen: it is never looked at again.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
