"""A fleet with a memory: it sends until it holds a receipt, and keeps every PUBACK and every receipt it ever got.

Envelopes and MQTT packets are firmware_sim's, which was written from the formats page alone. A message is sent again,
the same bytes, when it was acknowledged by the broker and no receipt came; what the broker did not acknowledge, the
connection sends again by itself. Now and then it sends again what it holds a receipt for, as a replayer would: the
answer has to be the first receipt.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from firmware_sim.envelope import CONTENT_FORMAT, MEDIA_TYPE, Encoding, Facts, seal
from firmware_sim.keys import DeviceRecord, generate
from firmware_sim.mqtt_link import BrokerAddress, MqttLink, Publication
from firmware_sim.mqtt_packets import ConnectOptions, Delivery
from gateway.receipt import parse

FLEET = "plant-7"
_TICK_S = 0.01
_RESEND_LAST_S = 16.0
_REPLAYED_SHARE = 0.03
_REPLAY_WITHIN_S = 10.0
_PAYLOAD_TYPE = {"cose": 112, "jws": 110}
_PAYLOAD = {"cose": b"\x81\xa2\x00\x64temp\x02\x18", "jws": b'[{"n":"temp","v":%d}]'}


@dataclass(slots=True)
class Sent:
    """One message of a device, and all that came back for it."""

    device_id: str
    session: bytes
    seq: int
    encoding: Encoding
    envelope: bytes
    digest: bytes
    times_sent: int = 0
    pubacks: int = 0
    on_its_way: bool = False
    receipts: dict[bytes, int] = field(default_factory=dict)
    """Each receipt that differs, and how often it came."""

    @property
    def identity(self) -> tuple[str, bytes, int]:
        """What makes it this message."""
        return self.device_id, self.session, self.seq


def devices(count: int, seed: bytes = b"kill") -> tuple[DeviceRecord, ...]:
    """Honest devices: half COSE, half JWS, a quarter with ES256."""
    return generate(FLEET, count, (), 0, seed).devices


class Author:
    """Signs message after message, the devices in turn."""

    def __init__(self, records: Sequence[DeviceRecord], rng: random.Random) -> None:
        self._records = records
        self._rng = rng
        self._sessions = {record.device_id: rng.randbytes(8) for record in records}
        self._next = dict.fromkeys(self._sessions, 0)
        self.messages: list[Sent] = []
        self.by_digest: dict[bytes, Sent] = {}

    def write(self) -> Sent:
        """Sign the next message."""
        record = self._records[len(self.messages) % len(self._records)]
        session, seq = self._sessions[record.device_id], self._next[record.device_id]
        self._next[record.device_id] = seq + 1
        facts = Facts(
            record.device_id, record.fleet, _PAYLOAD_TYPE[record.encoding], round(time.time(), 3), session, seq
        )
        value = self._rng.randrange(24, 200)
        shape = _PAYLOAD[record.encoding]
        payload = shape + bytes([value]) if record.encoding == "cose" else shape % value
        sealed = seal(record.encoding, record.key, facts, payload)
        message = Sent(record.device_id, session, seq, record.encoding, sealed.data, sealed.digest)
        self.messages.append(message)
        self.by_digest[message.digest] = message
        return message


class Fleet:
    """Publishes over one MQTT connection under an account that may speak for every device.

    ``patience_s`` is how long a device waits for a receipt before it sends again; it doubles each time.
    """

    def __init__(
        self, records: Sequence[DeviceRecord], rng: random.Random, port: int, password: str, patience_s: float = 2.0
    ) -> None:
        self._patience_s = patience_s
        self._author = Author(records, rng)
        self._due: list[tuple[float, float, int]] = []
        self._rng = rng
        self._stopping = False
        self.strays: list[str] = []
        self.open_count = 0
        self.published_s = 0.0
        self._link: MqttLink[int] = MqttLink(
            BrokerAddress("127.0.0.1", port),
            ConnectOptions(
                f"fleet-{rng.randbytes(4).hex()}", keep_alive_s=10, username="bench", password=password.encode()
            ),
            [f"securenet/v1/{FLEET}/+/receipt"],
            self._on_puback,
            self._on_delivery,
        )

    @property
    def messages(self) -> list[Sent]:
        """Every message so far, in the order they were signed."""
        return self._author.messages

    @property
    def receipts(self) -> int:
        """Receipts so far, the same one again included."""
        return sum(sum(message.receipts.values()) for message in self.messages)

    @contextlib.asynccontextmanager
    async def publishing(self, rate: float) -> AsyncIterator[None]:
        """Connect, and publish new messages at this rate a second until the block ends; then ``drain``."""
        connection = asyncio.create_task(self._link.run())
        await asyncio.wait_for(self._link.connected.wait(), 20)
        self._resending = asyncio.create_task(self._resend())
        self._connection = connection
        producing = asyncio.create_task(self._produce(rate))
        try:
            yield
        finally:
            producing.cancel()
            await asyncio.gather(producing, return_exceptions=True)

    async def drain(self, timeout_s: float) -> int:
        """Wait until every message has a receipt; returns how many have none after the time is over."""
        self._stopping = True
        start_s = time.monotonic()
        self._due = [
            (start_s + self._rng.uniform(0.0, self._patience_s), self._patience_s, number)
            for number, message in enumerate(self.messages)
            if not message.receipts
        ]
        heapq.heapify(self._due)
        deadline = time.monotonic() + timeout_s
        while self.open_count and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        return self.open_count

    async def close(self) -> None:
        """Leave the broker."""
        self._link.stop()
        self._resending.cancel()
        await asyncio.gather(self._resending, self._connection, return_exceptions=True)

    async def _produce(self, rate: float) -> None:
        start_s, count = time.monotonic(), 0
        while True:
            while count < (time.monotonic() - start_s) * rate:
                self._send(len(self.messages), self._author.write(), self._patience_s)
                self.open_count += 1
                count += 1
            self.published_s = time.monotonic() - start_s
            await asyncio.sleep(_TICK_S)

    async def _resend(self) -> None:
        while True:
            now_s = time.monotonic()
            while self._due and self._due[0][0] <= now_s:
                _, wait_s, number = heapq.heappop(self._due)
                message = self.messages[number]
                if message.receipts:
                    if not self._stopping and wait_s == 0.0:
                        self._send(number, message, _RESEND_LAST_S)
                elif message.on_its_way:
                    heapq.heappush(self._due, (now_s + 0.5, wait_s, number))
                else:
                    self._send(number, message, min(2 * wait_s, _RESEND_LAST_S))
            await asyncio.sleep(5 * _TICK_S)

    def _send(self, number: int, message: Sent, wait_s: float) -> None:
        message.times_sent += 1
        message.on_its_way = True
        heapq.heappush(self._due, (time.monotonic() + wait_s, wait_s, number))
        self._link.publish(
            Publication(
                f"securenet/v1/{FLEET}/{message.device_id}/up",
                message.envelope,
                number,
                MEDIA_TYPE[message.encoding],
                correlation=number.to_bytes(4, "big"),
            )
        )

    def _on_puback(self, number: int, code: int) -> None:
        message = self.messages[number]
        message.on_its_way = False
        if code < 0x80:
            message.pubacks += 1
        else:
            self.strays.append(f"the broker refused a message with {code:#04x}")

    def _on_delivery(self, delivery: Delivery) -> None:
        message = self._author.by_digest.get(parse(delivery.payload).digest)
        if message is None:
            self.strays.append("a receipt names a digest that nobody sent")
            return
        number = int.from_bytes(delivery.correlation or b"", "big")
        if self.messages[number] is not message or f"/{message.device_id}/" not in delivery.topic:
            self.strays.append("a receipt came under another message's correlation data or topic")
        if not message.receipts:
            self.open_count -= 1
            if self._rng.random() < _REPLAYED_SHARE:
                due_s = time.monotonic() + self._rng.uniform(0.0, _REPLAY_WITHIN_S)
                heapq.heappush(self._due, (due_s, 0.0, number))
        message.receipts[delivery.payload] = message.receipts.get(delivery.payload, 0) + 1


def coap_format(message: Sent) -> int:
    """The CoAP content-format of the envelope."""
    return CONTENT_FORMAT[message.encoding]
