"""What the MQTT tests share: a fake intake, a small device on mqttium, and a link that can be cut without a word."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Self

from mqttium import MQTTProtocolVersion
from mqttium.api import AsyncClient
from mqttium.types import Message, Properties
from support.mosquitto import ACCOUNTS, Mosquitto

from gateway.config.model import MqttConfig
from gateway.message import Accepted, RawMessage
from gateway.transport.mqtt import MqttTransport
from gateway.transport.port import LinkState
from gateway.transport.subscriptions import HeldFilters

FLEET = "f"
DEVICE = "pump-7"
OTHER = "pump-8"
DEVICES = {DEVICE: "one-secret", OTHER: "two-secret"}
UP = f"securenet/v1/{FLEET}/{DEVICE}/up"
RECEIPT = f"securenet/v1/{FLEET}/{DEVICE}/receipt"
STATUS = f"securenet/v1/{FLEET}/gateway/gw/status"


class FakeIntake:
    """Takes everything; replies ``Accepted(payload)`` at once when ``prompt``, else keeps what came."""

    def __init__(self, *, prompt: bool = True, room: int = 1 << 30) -> None:
        self.prompt = prompt
        self.room = room
        self.taken: list[RawMessage] = []

    def offer(self, raw: RawMessage) -> bool:
        if len(self.taken) >= self.room:
            return False
        self.taken.append(raw)
        if self.prompt:
            raw.reply(Accepted(b"receipt of " + raw.payload[:8]))
        return True

    @property
    def payloads(self) -> list[bytes]:
        return [raw.payload for raw in self.taken]


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def transport_to(broker: Mosquitto, folder: Path, *, password: str | None = None, **changes: object) -> MqttTransport:
    config = dataclasses.replace(
        MqttConfig(
            port=broker.port, username="gateway", reconnect_min_s=0.05, reconnect_max_s=1, receive_maximum=100
        ),
        **changes,
    )
    return MqttTransport(
        config,
        fleet=FLEET,
        gateway_id="gw",
        max_message_bytes=65536,
        password=(password or ACCOUNTS["gateway"]).encode(),
        tls_key_file=config.key_file,
        held_filters=HeldFilters(folder / "filters.json"),
    )


@contextlib.asynccontextmanager
async def running(transport: MqttTransport, intake: FakeIntake, *, up: bool = True) -> AsyncIterator[MqttTransport]:
    task = asyncio.create_task(transport.run(intake))
    try:
        if up:
            await until(lambda: transport.status().state is LinkState.UP or task.done())
        yield transport
    finally:
        await asyncio.wait_for(transport.close(), 20)
        await task


@contextlib.asynccontextmanager
async def client(broker: Mosquitto, account: str = "bench", name: str = "") -> AsyncIterator[AsyncClient]:
    """A device, the monitor, or the account that may do everything."""
    each = AsyncClient(
        name or f"test-{account}",
        protocol=MQTTProtocolVersion.MQTTv5,
        username=account,
        password=(ACCOUNTS | DEVICES)[account],
    )
    await each.connect("127.0.0.1", broker.port)
    try:
        yield each
    finally:
        await each.disconnect()


async def publish(broker: Mosquitto, count: int, *, size: int = 8, topic: str = UP, first: int = 0) -> None:
    """``count`` messages at QoS 1, numbered in their first eight bytes; returns when the broker has them."""
    async with client(broker, name="publisher") as device:
        receipts = [
            await device.publish(topic, (b"%08d" % number).ljust(size, b"."), qos=1)
            for number in range(first, first + count)
        ]
        for receipt in receipts:
            await receipt.wait()


async def next_message(device: AsyncClient, seconds: float = 10) -> Message:
    async with asyncio.timeout(seconds):
        return await anext(aiter(device.messages()))


def asking(**properties: object) -> Properties:
    return Properties(dict(properties))


class CutProxy:
    """Forwards TCP until ``cut``; then it reads no byte and closes nothing, as a pulled cable would."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.refuses = False
        self.connections = 0
        self._deaf: set[int] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._pumps: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    def cut(self) -> None:
        """From now on every connection of now is silent; new ones work."""
        self.flowing.clear()
        self.flowing = asyncio.Event()
        self.flowing.set()

    def deafen(self) -> None:
        """From now on what the target says on the connections of now is lost; what is said to it arrives."""
        self._deaf = set(range(1, self.connections + 1))

    def abort(self) -> None:
        """Reset every connection of now."""
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers += [writer, back]
        flowing = self.flowing
        for source, sink, heard in ((reader, back, 0), (there, writer, self.connections)):
            self._pumps.add(asyncio.create_task(self._pump(source, sink, flowing, heard)))

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, flowing: asyncio.Event, heard: int
    ) -> None:
        while data := await source.read(65536):
            await flowing.wait()
            if heard in self._deaf:
                continue
            sink.write(data)
            with contextlib.suppress(OSError):
                await sink.drain()
        sink.close()


class ScriptedBroker:
    """Just enough of a broker to say what mosquitto never says: SUBACK codes, DISCONNECT with a reason."""

    def __init__(self, *, granted: int | None, answers_connect: bool = True, room: int | None = None) -> None:
        self.granted = granted
        self.answers_connect = answers_connect
        self.room = room  # how many messages it takes, of which it confirms none
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)

    def disconnect(self, code: int, reason: bytes) -> None:
        """Send DISCONNECT (MQTT 5 §3.14) with a Reason String."""
        text = b"\x1f" + len(reason).to_bytes(2, "big") + reason
        body = bytes([code, len(text)]) + text
        self._writers[-1].write(b"\xe0" + bytes([len(body)]) + body)
        self._writers[-1].close()

    def publish(self, topic: str, payload: bytes) -> None:
        """Send a PUBLISH at QoS 1 (§3.3) to whoever connected last."""
        body = len(topic).to_bytes(2, "big") + topic.encode() + b"\x00\x01\x00" + payload
        self._writers[-1].write(b"\x32" + bytes([len(body)]) + body)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                kind = (await reader.readexactly(1))[0] >> 4
                length = shift = 0
                while (byte := (await reader.readexactly(1))[0]) & 0x80:
                    length, shift = length | (byte & 0x7F) << shift, shift + 7
                body = await reader.readexactly(length | byte << shift)
                if kind == 1 and self.answers_connect:
                    room = b"" if self.room is None else b"\x21" + self.room.to_bytes(2, "big")
                    writer.write(bytes([0x20, 3 + len(room), 0, 0, len(room)]) + room)
                elif kind == 8 and self.granted is not None:
                    writer.write(b"\x90\x04" + body[:2] + b"\x00" + bytes([self.granted]))
                elif kind == 3 and self.room is None:
                    at = 2 + int.from_bytes(body[:2], "big")
                    writer.write(b"\x40\x02" + body[at : at + 2])
                elif kind == 12:
                    writer.write(b"\xd0\x00")
        writer.close()
