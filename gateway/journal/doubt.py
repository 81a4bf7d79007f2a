"""Replay windows that the log may have gone ahead of: from then on the journal is asked about every message.

A window and the entries of its device come over from a damaged database page by page. When the window is lost, or is
of an earlier day than they are, it calls a message fresh that the log holds; the commit is refused, the gateway ends,
and at every start the broker sends that message again. So each window is made one that has forgotten something, at
the price of one look-up a message. What it does remember it keeps: of the entries that were lost it alone knows.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from gateway.checks.duplicate import ReplayWindow

_LOST: Final = ReplayWindow.lost().to_bytes()
_ROWS: Final = 1024


def doubted(state: bytes) -> bytes:
    """Return the state as one that has forgotten something; one that cannot be read begins anew."""
    try:
        window = ReplayWindow.from_bytes(state)
    except ValueError:
        return _LOST
    window.doubt()
    return window.to_bytes()


def doubt_windows(connection: sqlite3.Connection) -> int:
    """Doubt the window of every device, within the running transaction; return how many had to begin anew."""
    begun = connection.execute(
        "INSERT OR IGNORE INTO replay (device_id, state)"
        " SELECT DISTINCT device_id, ? FROM log WHERE device_id IS NOT NULL",
        (_LOST,),
    ).rowcount
    after = -1
    while True:
        rows = connection.execute(
            "SELECT id, state FROM replay WHERE id > ? ORDER BY id LIMIT ?", (after, _ROWS)
        ).fetchall()
        changed = [(now, number) for number, state in rows if (now := doubted(state)) != state]
        connection.executemany("UPDATE replay SET state = ? WHERE id = ?", changed)
        begun += sum(now == _LOST for now, _ in changed)
        if len(rows) < _ROWS:
            return begun
        after = rows[-1][0]
