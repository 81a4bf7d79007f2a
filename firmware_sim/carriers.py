"""How messages travel: the connections of a fleet, and which device speaks through which.

A carrier takes a message, keeps it until the wire has taken it, and tells the fleet what came back.
"""

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from firmware_sim import mqtt_packets
from firmware_sim.coap_link import CoapAddress, CoapLink, SourceAddresses
from firmware_sim.envelope import CONTENT_FORMAT, MEDIA_TYPE
from firmware_sim.keys import DeviceRecord
from firmware_sim.ledger import PUSHBACK, Ledger, Outgoing, coap_reason
from firmware_sim.mqtt_link import BrokerAddress, MqttLink, Publication

COAP_LINKS: Final = 200
COAP_AT_ONCE: Final = 128
CONNECTS_AT_ONCE: Final = 50
SHARED_LINKS: Final = 4
DEVICE: Final = "{device}"
_PUSHED_BACK: Final = {"4.29", "5.03"}
_LONGEST_WAIT_S: Final = 30.0


class CarrierError(RuntimeError):
    """A transport cannot be used as asked; the text says what to change."""


@dataclass(frozen=True, slots=True)
class MqttOptions:
    """How the fleet reaches the broker.

    Attributes:
        host: the broker's host.
        port: its port.
        connections: `shared` (a few for all devices) or `device` (one each).
        username: may hold `{device}`.
        password: one for all, or None.
        passwords: device id → password, instead of `password`.
        ca: PEM file of the broker's authority; turns TLS on.
        cert: client certificate, may hold `{device}`.
        key: its private key, may hold `{device}`.
        version: 5, or 4 for MQTT 3.1.1.
        client_id: may hold `{device}`; a shared connection puts its number there.
    """

    host: str
    port: int = 1883
    connections: Literal["shared", "device"] = "shared"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    passwords: dict[str, str] | None = field(default=None, repr=False)
    ca: Path | None = None
    cert: str | None = None
    key: str | None = None
    version: int = mqtt_packets.V5
    client_id: str = DEVICE

    def address(self, device_id: str) -> BrokerAddress:
        """The broker's address, with the TLS context of one device.

        Raises:
            CarrierError: a certificate or key cannot be read.
        """
        return BrokerAddress(self.host, self.port, self._tls(device_id))

    def _tls(self, device_id: str) -> ssl.SSLContext | None:
        if self.ca is None:
            return None
        try:
            context = ssl.create_default_context(cafile=str(self.ca))
            if self.cert is not None:
                key = None if self.key is None else self.key.replace(DEVICE, device_id)
                context.load_cert_chain(self.cert.replace(DEVICE, device_id), key)
        except (OSError, ssl.SSLError) as fault:
            raise CarrierError(f"TLS material of {device_id}: {fault}") from fault
        return context

    def connect_options(self, name: str) -> mqtt_packets.ConnectOptions:
        """The CONNECT of a device, or of a shared connection."""
        password = self.password if self.passwords is None else self.passwords.get(name)
        return mqtt_packets.ConnectOptions(
            client_id=self.client_id.replace(DEVICE, name),
            username=None if self.username is None else self.username.replace(DEVICE, name),
            password=None if password is None else password.encode(),
            version=self.version,
        )

    def check(self) -> None:
        """Refuse what cannot work.

        Raises:
            CarrierError: `{device}` is used though connections are shared.
        """
        templates = (self.username or "", self.cert or "", self.key or "")
        per_device = any(DEVICE in each for each in templates) or self.passwords is not None
        if per_device and self.connections == "shared":
            raise CarrierError("credentials for each device need --mqtt-connections device")


def read_passwords(path: Path) -> dict[str, str]:
    """Read `{"device": "password", ...}`.

    Raises:
        CarrierError: the file does not hold that.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise CarrierError(f"cannot read the passwords in {path}: {fault}") from fault
    if not isinstance(value, dict):
        raise CarrierError(f"{path} holds no object of device → password")
    return {str(device): str(password) for device, password in value.items()}


class MqttCarrier:
    """The MQTT connections of a fleet."""

    def __init__(
        self,
        options: MqttOptions,
        fleet: str,
        ledger: Ledger,
        on_answer: Callable[[Outgoing], None],
        on_unheard: Callable[[Outgoing], None],
    ) -> None:
        options.check()
        self._options = options
        self._fleet = fleet
        self._ledger = ledger
        self._on_answer = on_answer
        self._on_unheard = on_unheard
        self._links: list[MqttLink[Outgoing]] = []
        self._by_device: dict[str, MqttLink[Outgoing]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def backlog(self) -> int:
        """Publications without a PUBACK."""
        return sum(link.backlog for link in self._links)

    @property
    def connected(self) -> int:
        """How many connections are up."""
        return sum(link.connected.is_set() for link in self._links)

    @property
    def size(self) -> int:
        """How many connections there are."""
        return len(self._links)

    @property
    def reconnects(self) -> int:
        """How many connections were made beyond the first ones."""
        return sum(max(0, link.attempts - 1) for link in self._links)

    def add(self, devices: Sequence[DeviceRecord], name: str, shared: int = SHARED_LINKS) -> None:
        """Plan the connections of some devices; nothing is opened yet."""
        if self._options.connections == "device":
            for device in devices:
                self._plan(device.device_id, [device])
            return
        for number in range(min(shared, len(devices))):
            self._plan(f"fleet-{name}-{number}-{time.time_ns():x}", devices[number::shared])

    def _plan(self, name: str, devices: Sequence[DeviceRecord]) -> None:
        filters = [f"securenet/v1/{self._fleet}/{device.device_id}/receipt" for device in devices]
        link = MqttLink[Outgoing](
            self._options.address(name), self._options.connect_options(name), filters, self._puback, self._delivery
        )
        self._links.append(link)
        for device in devices:
            self._by_device[device.device_id] = link

    async def start(self, required: int, timeout_s: float = 15.0) -> None:
        """Open the connections, and wait for the first `required` of them: those of honest devices.

        Raises:
            CarrierError: they did not come up; the text says what the broker said.
        """
        for number, link in enumerate(self._links):
            self._tasks.append(asyncio.create_task(link.run()))
            if number % CONNECTS_AT_ONCE == CONNECTS_AT_ONCE - 1:
                await asyncio.sleep(0.05)
        try:
            async with asyncio.timeout(timeout_s):
                for link in self._links[:required]:
                    await link.connected.wait()
        except TimeoutError:
            said = next((link.refusal for link in self._links[:required] if link.refusal), "no answer")
            raise CarrierError(
                f"{self.connected} of {self.size} MQTT connections came up within {timeout_s:.0f} s: {said}"
            ) from None

    def send(self, message: Outgoing) -> None:
        """Publish a message on its topic."""
        version5 = self._options.version == mqtt_packets.V5
        self._by_device[message.sender].publish(
            Publication(
                topic=f"securenet/v1/{self._fleet}/{message.topic_device}/up",
                payload=message.data,
                token=message,
                content_type=MEDIA_TYPE[message.encoding] if version5 else None,
            )
        )

    async def stop(self) -> None:
        """Close every connection."""
        for link in self._links:
            link.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _puback(self, message: Outgoing, code: int) -> None:
        if not self._ledger.on_puback(message, code, time.time_ns() // 1_000_000):
            self._on_unheard(message)

    def _delivery(self, delivery: mqtt_packets.Delivery) -> None:
        message = self._ledger.on_receipt(delivery.payload, time.monotonic())
        if message is not None:
            self._on_answer(message)


class CoapCarrier:
    """The CoAP endpoints of a fleet: one socket a device as far as that makes sense."""

    def __init__(self, address: CoapAddress, ledger: Ledger, on_answer: Callable[[Outgoing], None]) -> None:
        self._address = address
        self._ledger = ledger
        self._on_answer = on_answer
        self._sources = SourceAddresses(address)
        self._by_device: dict[str, CoapLink] = {}
        self._links: list[CoapLink] = []
        self._slots = asyncio.Semaphore(COAP_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def backlog(self) -> int:
        """Requests without an answer."""
        return len(self._tasks)

    async def open(self, devices: Sequence[DeviceRecord]) -> None:
        """Open the endpoints of some devices.

        Raises:
            CarrierError: the gateway's address cannot be used.
        """
        links: list[CoapLink] = []
        try:
            for _ in range(min(COAP_LINKS, len(devices))):
                links.append(await CoapLink.open(self._address, self._sources.take()))  # noqa: PERF401 - it awaits
        except OSError as fault:
            raise CarrierError(f"cannot send CoAP to {self._address.host}: {fault}") from fault
        self._links += links
        for number, device in enumerate(devices):
            self._by_device[device.device_id] = links[number % len(links)]

    def send(self, message: Outgoing) -> None:
        """POST a message, in a task of its own."""
        task = asyncio.create_task(self._post(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _post(self, message: Outgoing) -> None:
        link = self._by_device[message.sender]
        async with self._slots:
            while message.outcome is None:
                try:
                    reply = await link.post(message.data, CONTENT_FORMAT[message.encoding])
                except TimeoutError:
                    return  # A message that nobody answered is resent like any other, or stays unanswered.
                reason = coap_reason(reply.code_text, reply.payload)
                if reply.code_text not in _PUSHED_BACK or self._is_wanted(message, reason):
                    self._ledger.on_coap_answer(
                        message, reply.code_text, reply.payload, time.time_ns() // 1_000_000, time.monotonic()
                    )
                    self._on_answer(message)
                    return
                self._ledger.pushed_back += 1
                await asyncio.sleep(min(_LONGEST_WAIT_S, max(1, reply.max_age_s or 1)))

    @staticmethod
    def _is_wanted(message: Outgoing, reason: str) -> bool:
        return reason in message.expected or (not message.is_honest and reason not in PUSHBACK)

    async def stop(self) -> None:
        """Close every socket."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in self._links:
            link.close()
        # The event loop closes the sockets in its next round.
        await asyncio.sleep(0)
