"""One connection to the broker, from CONNACK to its end: messages in, acknowledgements and receipts out.

It starts to read at once, before the subscription is settled: when a session resumes, the broker sends the backlog
first, and the SUBACK waits behind it. A link is thrown away with its connection, and with it what it owes: the
broker sends again what was not acknowledged, and ingest answers it as the duplicate that it is. So no
acknowledgement can reach another connection than the one its message came by.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

from mqttium import FlowControlError, MQTTError, NotConnectedError, ProtocolError
from mqttium.api import AsyncClient
from mqttium.types import Message, Properties

from gateway.message import Accepted, Duplicate, Outcome, Pushback, RawMessage, Refused
from gateway.transport.media_type import declared_encoding
from gateway.transport.port import Intake
from gateway.transport.topics import parse_up, receipt_topic, response_topic

COUNTERS = (
    *("received", "acknowledged", "pushed_back", "receipts", "receipts_dropped"),
    *("response_topics_ignored", "foreign_topics"),
)
_OFFER_AGAIN_S = 0.05
_CAUSE_S = 1.0
_CANCEL_AGAIN_S = 0.1
_OUTBOX_BYTES = 8 << 20
_ID_CHARACTERS = 64


class _Answer(NamedTuple):
    """What is owed to the broker for one message: its PUBACK, and perhaps a receipt."""

    message: Message
    receipt: bytes | None
    topic: str
    correlation: bytes | None


class MqttLink:
    """Serves one connected ``client``; ``hold`` keeps a link alive whose reading is held up.

    Receipts beyond what the client library and an outbox of 8 MiB hold are dropped and counted: a device that misses
    one sends again and gets the same. Acknowledgements are never dropped and never wait for a receipt.
    """

    def __init__(  # noqa: PLR0913 -- the transport hands over everything by name
        self,
        client: AsyncClient,
        intake: Intake,
        *,
        counters: dict[str, int],
        hold: Callable[[], None],
        hold_every_s: float,
        wall_ms: Callable[[], int],
    ) -> None:
        self._client = client
        self._intake = intake
        self._counters = counters
        self._hold = hold
        self._hold_every_s = hold_every_s
        self._wall_ms = wall_ms
        self._taking = True
        self._leaving = False
        self._over = False
        self.held_up = False
        self._answers: deque[_Answer] = deque()
        self._answer_due = asyncio.Event()
        self._outbox: deque[_Answer] = deque()
        self._outbox_bytes = 0
        self._outbox_due = asyncio.Event()
        self._ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        client.on_disconnect = self._on_disconnect

    def stop_intake(self) -> None:
        """Hand over nothing more; replies are still sent."""
        self._taking = False

    def leave(self) -> None:
        """Let ``serve`` return once nothing is owed any more."""
        self._taking = False
        self._leaving = True
        self._answer_due.set()

    async def serve(self, settle: Callable[[MqttLink], Awaitable[None]]) -> None:
        """Read and answer, and ``settle`` beside it (subscribe); returns after ``leave``.

        Raises:
            MQTTError, OSError: the connection ended; the cause as far as it is known.
        """
        answerer = asyncio.create_task(self._answer(), name="mqtt-answer")
        tasks: set[asyncio.Task[None]] = {
            answerer,
            asyncio.create_task(self._read(), name="mqtt-read"),
            asyncio.create_task(self._send_outbox(), name="mqtt-outbox"),
            asyncio.create_task(self._settle(settle), name="mqtt-settle"),
        }
        try:
            watched: set[asyncio.Future[Any]] = {*tasks, self._ended}
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            faults = [fault for task in tasks if task.done() and (fault := task.exception()) is not None]
            if not faults and answerer.done():
                return
            if not self._client.is_connected:
                await asyncio.wait({self._ended}, timeout=_CAUSE_S)
            cause = self._ended.result() if self._ended.done() else None
            for fault in faults:
                if cause is None or not isinstance(fault, MQTTError):
                    raise fault
            raise cause or MQTTError
        finally:
            self._over = True
            await end_tasks(tasks)

    def _on_disconnect(self, cause: BaseException | None) -> None:
        if not self._ended.done():
            self._ended.set_result(cause)

    async def _settle(self, settle: Callable[[MqttLink], Awaitable[None]]) -> None:
        await settle(self)
        await asyncio.Event().wait()

    async def _read(self) -> None:
        """Hand message after message over; what the intake refuses waits here, and the rest behind it."""
        intake, counters = self._intake, self._counters
        async for message in self._client.messages():
            counters["received"] += 1
            raw = self._raw(message)
            if raw is None:
                self._owe(_Answer(message, None, "", None))
            elif not (self._taking and intake.offer(raw)):
                await self._offer_until_taken(raw)
        await asyncio.Event().wait()

    async def _offer_until_taken(self, raw: RawMessage) -> None:
        """Wait for room. Meanwhile nothing is read, no PINGRESP either; ``hold`` tells the broker we live."""
        self.held_up = True
        held_s = time.monotonic()
        while not (self._taking and self._intake.offer(raw)):
            await asyncio.sleep(_OFFER_AGAIN_S)
            if time.monotonic() - held_s >= self._hold_every_s:
                held_s = time.monotonic()
                self._hold()
        self.held_up = False

    def _offer_again(self, raw: RawMessage) -> None:
        """Offer a message that ingest pushed back; PUBACKs leave in order, so the later ones wait for it."""
        if not self._over and self._taking and not self._intake.offer(raw):
            asyncio.get_running_loop().call_later(_OFFER_AGAIN_S, self._offer_again, raw)

    def _raw(self, message: Message) -> RawMessage | None:
        """Make a ``RawMessage`` of a PUBLISH; None for a topic that was not subscribed to."""
        up = parse_up(message.topic)
        if up is None:
            self._counters["foreign_topics"] += 1
            return None
        content_type = asked = correlation = None
        properties = message.properties
        if properties is not None:
            content_type = properties.get("content_type")
            asked = properties.get("response_topic")
            correlation = properties.get("correlation_data")
        device = up.device if len(up.device) <= _ID_CHARACTERS else ""  # no id; it cannot match a ``kid``
        base = receipt_topic(*up)
        topic = response_topic(asked, base)
        if topic is None:
            self._counters["response_topics_ignored"] += 1
            topic = base

        def reply(outcome: Outcome) -> None:
            if isinstance(outcome, Pushback):
                self._counters["pushed_back"] += 1
                asyncio.get_running_loop().call_later(outcome.retry_after_s, self._offer_again, raw)
                return
            self._owe(_Answer(message, _receipt_of(outcome), topic, correlation))

        raw = RawMessage(
            message.payload,
            "mqtt",
            device,
            self._wall_ms(),
            reply,
            up.fleet,
            device,
            declared_encoding(content_type),
        )
        return raw

    def _owe(self, answer: _Answer) -> None:
        if not self._over:
            self._answers.append(answer)
            self._answer_due.set()

    async def _answer(self) -> None:
        """Send PUBACKs and receipts in the order of the replies; returns when leaving and nothing is owed."""
        answers, counters, client = self._answers, self._counters, self._client
        while True:
            while answers:
                answer = answers.popleft()
                await client.ack(answer.message)
                counters["acknowledged"] += 1
                if answer.receipt is not None:
                    self._post(answer)
            if self._leaving and not self._outbox:
                return
            self._answer_due.clear()
            await self._answer_due.wait()

    def _post(self, answer: _Answer) -> None:
        """Publish a receipt now, or put it into the outbox when the client has no room at the moment."""
        if not self._outbox:
            try:
                self._client.publish_nowait(
                    answer.topic, answer.receipt or b"", qos=1, properties=_echoed(answer.correlation)
                )
            except FlowControlError:
                pass
            except ProtocolError:  # more than the broker takes, or a topic that it does not: this device's loss alone
                self._counters["receipts_dropped"] += 1
                return
            else:
                self._counters["receipts"] += 1
                return
        if self._outbox_bytes + _size(answer) > _OUTBOX_BYTES:
            self._counters["receipts_dropped"] += 1
            return
        self._outbox.append(answer)
        self._outbox_bytes += _size(answer)
        self._outbox_due.set()

    async def _send_outbox(self) -> None:
        """Publish what had to wait, each when the client has room for it."""
        while True:
            while self._outbox:
                answer = self._outbox[0]
                try:
                    await self._client.publish(
                        answer.topic, answer.receipt or b"", qos=1, properties=_echoed(answer.correlation)
                    )
                except NotConnectedError:
                    raise
                except ProtocolError:
                    self._counters["receipts_dropped"] += 1
                else:
                    self._counters["receipts"] += 1
                self._outbox.popleft()
                self._outbox_bytes -= _size(answer)
            self._answer_due.set()
            self._outbox_due.clear()
            await self._outbox_due.wait()


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel until it takes: ``asyncio.wait_for`` of Python 3.11 swallows a cancellation that meets a result."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)


def _echoed(correlation: bytes | None) -> Properties | None:
    return None if correlation is None else Properties({"correlation_data": correlation})


def _size(answer: _Answer) -> int:
    return len(answer.receipt or b"") + len(answer.topic) + len(answer.correlation or b"")


def _receipt_of(outcome: Accepted | Duplicate | Refused) -> bytes | None:
    return outcome.receipt
