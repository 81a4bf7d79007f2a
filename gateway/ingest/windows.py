"""The replay windows that are in memory; the others are in the journal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import structlog

from gateway.checks.duplicate import ReplayWindow

log = structlog.get_logger("ingest")

_SETTLED_GROUPS = 16
"""A window untouched for this many groups is committed and in no batch: more groups than are ever in flight."""


class WindowCache:
    """Replay windows by device, the least recently used forgotten beyond ``capacity``.

    A window is forgotten only when every group that changed it is long committed, so that what is read back from
    the journal is never older than what was forgotten; the capacity is exceeded rather than that broken.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._windows: dict[str, tuple[ReplayWindow, int]] = {}

    def __len__(self) -> int:
        return len(self._windows)

    def absent(self, device_ids: Iterable[str], group: int) -> list[str]:
        """The devices, each once, whose windows have to be asked of the journal.

        The others are marked as used in ``group``: the batch that asks will need them when its turn comes.
        """
        asked = []
        for device_id in dict.fromkeys(device_ids):
            if device_id in self._windows:
                self.use(device_id, group)
            else:
                asked.append(device_id)
        return asked

    def install(self, asked: Iterable[str], states: Mapping[str, bytes], group: int) -> None:
        """Add what the journal answered for ``asked``; a window that got here meanwhile is newer and stays.

        One that is damaged begins anew, and the journal is asked about each message of its device from then on: a
        fault would come back at every start, with the message that the broker keeps.
        """
        for device_id in asked:
            if device_id not in self._windows:
                self._windows[device_id] = (_read(device_id, states.get(device_id)), group)

    def use(self, device_id: str, group: int) -> ReplayWindow:
        """The window of a device that was installed; ``group`` marks it as used now."""
        window, _ = self._windows.pop(device_id)
        self._windows[device_id] = (window, group)
        return window

    def forget(self, group: int) -> None:
        """Forget the least recently used windows beyond the capacity, as far as they are settled."""
        while len(self._windows) > self._capacity:
            device_id, (_, used) = next(iter(self._windows.items()))
            if used > group - _SETTLED_GROUPS:
                return
            del self._windows[device_id]


def _read(device_id: str, state: bytes | None) -> ReplayWindow:
    if state is None:
        return ReplayWindow()
    try:
        return ReplayWindow.from_bytes(state)
    except ValueError as fault:
        log.error("device.window_damaged", device=device_id, detail=str(fault))
        return ReplayWindow.lost()
