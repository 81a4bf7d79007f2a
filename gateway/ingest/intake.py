"""The bounded place where messages wait for the pipeline."""

from __future__ import annotations

import asyncio
import sys
from collections import deque

from gateway.message import RawMessage


class IntakeQueue:
    """Implements ``gateway.transport.port.Intake``: two bounded queues, one for each kind of sender.

    *Patient* messages (MQTT) are kept by their broker until they are acknowledged, so they may wait here while the
    gateway pushes back. The others (CoAP) have a client at the other end that wants an answer now.
    """

    def __init__(self, capacity: int, patient: frozenset[str] = frozenset({"mqtt"})) -> None:
        self._capacity = capacity
        self._patient_transports = patient
        self._patient: deque[RawMessage] = deque()
        self._impatient: deque[RawMessage] = deque()
        self._arrived = asyncio.Event()
        self.closed = False
        self.refused = 0

    def offer(self, raw: RawMessage) -> bool:
        """Take a message over; False when its queue is full or the intake is closed."""
        queue = self._patient if raw.transport in self._patient_transports else self._impatient
        if self.closed or len(queue) >= self._capacity:
            self.refused += 1
            return False
        queue.append(raw)
        self._arrived.set()
        return True

    def close(self) -> None:
        """Take nothing more; what is here can still be taken out."""
        self.closed = True
        self._arrived.set()

    def wake(self) -> None:
        """Let a waiting ``wait`` return: the gate may have changed."""
        self._arrived.set()

    async def wait(self) -> None:
        """Return when something arrived, the intake was closed, or ``wake`` was called, since the last ``wait``."""
        await self._arrived.wait()
        self._arrived.clear()

    def take(self, limit: int, *, patient: bool = True, max_bytes: int | None = None) -> list[RawMessage]:
        """Take up to ``limit`` messages out, half the places for each kind when both have more than fits.

        Args:
            limit: messages at most.
            patient: False leaves the patient ones where they are.
            max_bytes: stop when the payloads reach this; at least one message is taken.
        """
        places = limit - min(len(self._patient), limit // 2) if patient else limit
        taken: list[RawMessage] = []
        room = _take(self._impatient, places, taken, sys.maxsize if max_bytes is None else max_bytes)
        if patient:
            _take(self._patient, limit - len(taken), taken, room)
        return taken

    def depth(self, *, patient: bool = True) -> int:
        """Messages that wait, with or without the patient ones."""
        return len(self._impatient) + (len(self._patient) if patient else 0)


def _take(queue: deque[RawMessage], places: int, taken: list[RawMessage], room: int) -> int:
    """Move messages until places or bytes run out; returns the bytes that are left."""
    for _ in range(min(len(queue), places)):
        if room <= 0 and taken:
            break
        raw = queue.popleft()
        room -= len(raw.payload)
        taken.append(raw)
    return room
