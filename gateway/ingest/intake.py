"""The bounded place where messages wait for the pipeline."""

from __future__ import annotations

import asyncio
import sys
from collections import deque

from gateway.message import RawMessage

_PATIENT = frozenset({"mqtt"})


class IntakeQueue:
    """Implements ``gateway.transport.port.Intake``: two bounded queues, one for each kind of sender.

    *Patient* messages (MQTT) are kept by their broker until they are acknowledged, so they may wait here while the
    gateway pushes back. The others (CoAP) have a client at the other end that wants an answer now.

    Each queue holds at most ``capacity`` messages, and takes no more once its payloads have reached ``max_bytes``.
    """

    def __init__(self, capacity: int, max_bytes: int = sys.maxsize) -> None:
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._patient = _Waiting()
        self._impatient = _Waiting()
        self._arrived = asyncio.Event()
        self.closed = False
        self.refused = 0

    def offer(self, raw: RawMessage) -> bool:
        """Take a message over; False when its queue is full or the intake is closed."""
        waiting = self._patient if raw.transport in _PATIENT else self._impatient
        if self.closed or len(waiting.messages) >= self._capacity or waiting.payload_bytes >= self._max_bytes:
            self.refused += 1
            return False
        waiting.messages.append(raw)
        waiting.payload_bytes += len(raw.payload)
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

    def take(self, limit: int, *, patient: bool = True, max_bytes: int = sys.maxsize) -> list[RawMessage]:
        """Take up to ``limit`` messages out, half the places for each kind when both have more than fits.

        Args:
            limit: messages at most.
            patient: False leaves the patient ones where they are.
            max_bytes: stop when the payloads reach this; at least one message is taken.
        """
        places = limit - min(len(self._patient.messages), limit // 2) if patient else limit
        taken: list[RawMessage] = []
        room = self._impatient.move(places, taken, max_bytes)
        if patient:
            self._patient.move(limit - len(taken), taken, room)
        return taken

    def depth(self, *, patient: bool = True) -> int:
        """Messages that wait, with or without the patient ones."""
        return len(self._impatient.messages) + (len(self._patient.messages) if patient else 0)


class _Waiting:
    """Messages in the order of their arrival, and what their payloads weigh."""

    __slots__ = ("messages", "payload_bytes")

    def __init__(self) -> None:
        self.messages: deque[RawMessage] = deque()
        self.payload_bytes = 0

    def move(self, places: int, taken: list[RawMessage], room: int) -> int:
        """Move messages to ``taken`` until places or bytes run out; returns the bytes that are left."""
        for _ in range(min(len(self.messages), places)):
            if room <= 0 and taken:
                break
            raw = self.messages.popleft()
            self.payload_bytes -= len(raw.payload)
            room -= len(raw.payload)
            taken.append(raw)
        return room
