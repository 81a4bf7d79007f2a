"""One connection to the broker, from CONNACK to its end: messages in, acknowledgements and receipts out.

It starts to read at once, before the subscription is settled: when a session resumes, the broker sends the backlog
first, and the SUBACK waits behind it. A link is thrown away with its connection, and with it the acknowledgements
that it owes: the broker sends again what was not acknowledged, and ingest answers it as the duplicate that it is. So
no acknowledgement can reach another connection than the one its message came by. Receipts go over to the next link:
the broker does not send again what was acknowledged, and their devices would wait (MQTT 5 §4.4).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from mqttium import FlowControlError, MQTTError, ProtocolError
from mqttium.api import AsyncClient, PublishReceipt
from mqttium.types import Message, Properties

from gateway.message import Outcome, Pushback, RawMessage
from gateway.transport.media_type import declared_encoding
from gateway.transport.mqtt_receipts import OwedReceipt, OwedReceipts
from gateway.transport.port import Intake
from gateway.transport.topics import Upstream, parse_up, receipt_topic, response_topic

COUNTERS = (
    *("received", "acknowledged", "pushed_back", "receipts", "receipts_dropped", "receipts_again"),
    *("response_topics_ignored", "foreign_topics"),
)
_OFFER_AGAIN_S = 0.05
_CAUSE_S = 1.0
_CANCEL_AGAIN_S = 0.1
_ID_CHARACTERS = 64


class _Arrival:
    """A message with us: how it is handed over, and what is owed for it.

    It does not know its ``RawMessage``, which knows it: a cycle for each message would keep payloads in memory until
    the collector comes.
    """

    __slots__ = ("_link", "_received_ms", "_up", "correlation", "message", "receipt", "topic")

    def __init__(self, link: MqttLink, message: Message, up: Upstream, received_ms: int) -> None:
        self._link = link
        self._up = up
        self._received_ms = received_ms
        self.message = message
        self.receipt: bytes | None = None
        self.topic = ""
        self.correlation: bytes | None = None

    def raw(self) -> RawMessage:
        fleet, device = self._up
        if len(device) > _ID_CHARACTERS:
            device = ""  # no id; it cannot match a ``kid``
        properties = self.message.properties
        declared = None if properties is None else declared_encoding(properties.get("content_type"))
        return RawMessage(
            self.message.payload, "mqtt", device, self._received_ms, self.reply, fleet, device, declared
        )

    def reply(self, outcome: Outcome) -> None:
        if isinstance(outcome, Pushback):
            self._link.pushed_back(self, outcome.retry_after_s)
            return
        self.receipt = outcome.receipt
        self._link.owe(self)


class MqttLink:
    """Serves one connected ``client``; ``hold`` keeps a link alive whose reading is held up.

    Receipts that it takes over from the link before are sent first. Acknowledgements are never dropped and never wait
    for a receipt.
    """

    def __init__(  # noqa: PLR0913 -- the transport hands over everything by name
        self,
        client: AsyncClient,
        intake: Intake,
        *,
        receipts: OwedReceipts,
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
        self._retiring = False
        self._over = False
        self.held_up = False
        self._answers: deque[_Arrival] = deque()
        self._answer_due = asyncio.Event()
        self._receipts = receipts
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

    def retire(self) -> None:
        """Let ``serve`` return, for another connection: what is decided is answered, the rest comes again.

        The session stays at the broker, and with it every message that was not acknowledged.
        """
        self._taking = False
        self._retiring = True
        self._answer_due.set()

    async def serve(self, settle: Callable[[MqttLink], Awaitable[None]]) -> None:
        """Read and answer, and ``settle`` beside it (subscribe); returns after ``leave`` or ``retire``.

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
            self._counters["receipts_dropped"] += self._receipts.settle()
            if not self._leaving:
                again, dropped = self._receipts.take_back()
                self._counters["receipts_again"] += again
                self._counters["receipts_dropped"] += dropped

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
            arrival = self._arrival(message)
            if arrival is None:
                continue
            raw = arrival.raw()
            if not (self._taking and intake.offer(raw)):
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

    def _arrival(self, message: Message) -> _Arrival | None:
        """Read topic and properties of a PUBLISH; a topic that was not subscribed to is acknowledged: None."""
        up = parse_up(message.topic)
        if up is None:
            self._counters["foreign_topics"] += 1
            self.owe(_Arrival(self, message, Upstream("", ""), 0))
            return None
        arrival = _Arrival(self, message, up, self._wall_ms())
        arrival.topic = base = receipt_topic(*up)
        properties = message.properties
        if properties is not None:
            arrival.correlation = properties.get("correlation_data")
            topic = response_topic(properties.get("response_topic"), base)
            if topic is None:
                self._counters["response_topics_ignored"] += 1
            else:
                arrival.topic = topic
        return arrival

    def pushed_back(self, arrival: _Arrival, after_s: float) -> None:
        """Offer it again later; PUBACKs leave in order, so the later ones wait for it."""
        self._counters["pushed_back"] += 1
        asyncio.get_running_loop().call_later(after_s, self._offer_again, arrival)

    def _offer_again(self, arrival: _Arrival) -> None:
        if not self._over and self._taking and not self._intake.offer(arrival.raw()):
            asyncio.get_running_loop().call_later(_OFFER_AGAIN_S, self._offer_again, arrival)

    def owe(self, arrival: _Arrival) -> None:
        """Its PUBACK is due, and its receipt if it has one; on a link that is over, neither."""
        if not self._over:
            self._answers.append(arrival)
            self._answer_due.set()

    async def _answer(self) -> None:
        """Send receipts and PUBACKs in the order of the replies; returns when leaving and nothing is owed.

        The receipt goes first: what ends the link between the two makes the message come again, not its receipt fail.
        """
        answers, counters, client = self._answers, self._counters, self._client
        while True:
            while answers:
                arrival = answers.popleft()
                if arrival.receipt is not None:
                    self._post(OwedReceipt(arrival.topic, arrival.receipt, arrival.correlation))
                await client.ack(arrival.message)
                counters["acknowledged"] += 1
            if self._retiring and not self._leaving:  # the next link sends the receipts that wait
                return
            if self._leaving and not self._receipts.waiting:
                return
            self._answer_due.clear()
            await self._answer_due.wait()

    def _post(self, owed: OwedReceipt) -> None:
        """Publish a receipt now, or let it wait when the client has no room at the moment."""
        if not self._receipts.waiting:
            try:
                sent = self._client.publish_nowait(
                    owed.topic, owed.receipt, qos=1, properties=_echoed(owed.correlation)
                )
            except FlowControlError:
                pass
            except ProtocolError:  # more than the broker takes, or a topic that it does not: this device's loss alone
                self._counters["receipts_dropped"] += 1
                return
            else:
                self._sent(owed, sent)
                return
        if self._receipts.wait(owed):
            self._outbox_due.set()
        else:
            self._counters["receipts_dropped"] += 1

    def _sent(self, owed: OwedReceipt, sent: PublishReceipt) -> None:
        self._counters["receipts"] += 1
        self._counters["receipts_dropped"] += self._receipts.sent(owed, sent)

    async def _send_outbox(self) -> None:
        """Publish what had to wait, each when the client has room for it."""
        receipts = self._receipts
        while True:
            while receipts.waiting:
                owed = receipts.waiting[0]
                try:
                    sent = await self._client.publish(
                        owed.topic, owed.receipt, qos=1, properties=_echoed(owed.correlation)
                    )
                except ProtocolError:
                    self._counters["receipts_dropped"] += 1
                else:
                    self._sent(owed, sent)
                receipts.no_longer_waits()
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
