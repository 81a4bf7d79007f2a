"""A run: honest devices at their rate, hostile ones among them, for a while; then wait for what is still out.

Honest devices behave as good firmware does. They keep a message until it is answered, send the same bytes again when
it is not, and slow down when nobody listens.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Final

from firmware_sim.carriers import SHARED_LINKS, CoapCarrier, MqttCarrier, MqttOptions
from firmware_sim.coap_link import CoapAddress
from firmware_sim.device import SimulatedDevice
from firmware_sim.envelope import Facts, Sealed
from firmware_sim.keys import HONEST, DeviceRecord, FleetKeys
from firmware_sim.ledger import ACCEPTED, Ledger, Outgoing, Via
from firmware_sim.receipt import ReceiptVerifier
from firmware_sim.report import FLOODING, Recorder, report_of
from firmware_sim.scenarios import SCENARIOS, Actor

TICK_S: Final = 0.005
HOSTILE_PER_DEVICE: Final = 0.5
FLOOD_EVERY_S: Final = 5.0
BACKLOG_MAX: Final = 2_000
RESENDS_A_TICK: Final = 20
BURST_S: Final = 0.1
_HONEST_EXPECTED: Final = frozenset({ACCEPTED})


class FleetError(RuntimeError):
    """The run cannot be made as asked; the text says what to change."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a run is to be.

    Attributes:
        rate: messages a second, honest and hostile together; floods come on top.
        duration_s: how long new messages are made.
        seed: of the signals.
        devices: how many honest devices take part; None for all in the key file.
        coap_share: share of the devices that speak CoAP.
        scenarios: names from `SCENARIOS`.
        hostile_share: share of the rate that hostile devices may use.
        drain_s: how long to wait at the end for what is still out.
        resend_after_s: when an honest message without an answer is sent again.
        until_receipt: an honest message is kept until its receipt, not only until its PUBACK.
        message_bytes: the gateway's limit for one message.
        mqtt: how to reach the broker, or None.
        coap: where the gateway's CoAP is, or None.
    """

    rate: float
    duration_s: float
    seed: int = 1
    devices: int | None = None
    coap_share: float = 0.2
    scenarios: Sequence[str] = ()
    hostile_share: float = 0.1
    drain_s: float = 10.0
    resend_after_s: float = 10.0
    until_receipt: bool = True
    message_bytes: int = 65_536
    mqtt: MqttOptions | None = None
    coap: CoapAddress | None = None


@dataclass(slots=True)
class _Cast:
    """The devices of one transport."""

    honest: list[SimulatedDevice] = field(default_factory=list)
    actors: list[Actor] = field(default_factory=list)

    def records(self) -> list[DeviceRecord]:
        return [actor.record for actor in self.actors]


class Fleet:
    """One run of a fleet.

    Attributes:
        ledger: what was sent and what came back.
        elapsed_s: how long new messages were made.
    """

    def __init__(
        self, options: RunOptions, keys: FleetKeys, verifier: ReceiptVerifier, recorder: Recorder | None = None
    ) -> None:
        self._options = options
        self._keys = keys
        self.ledger = Ledger(verifier, self._settled)
        self._recorder = recorder
        self._mqtt: MqttCarrier | None = None
        self._coap: CoapCarrier | None = None
        self._resend: deque[tuple[float, Outgoing]] = deque()
        self._stop = asyncio.Event()
        self.elapsed_s = 0.0
        self._casts: dict[Via, _Cast] = {"mqtt": _Cast(), "coap": _Cast()}

    @property
    def state(self) -> str:
        """One line on the connections."""
        parts = []
        if self._mqtt is not None:
            parts.append(f"MQTT {self._mqtt.connected}/{self._mqtt.size} up, {self._mqtt.backlog} in line")
        if self._coap is not None:
            parts.append(f"CoAP {self._coap.backlog} in line")
        return ", ".join(parts)

    def report(self) -> dict[str, object]:
        """The report so far."""
        result = report_of(self.ledger, self.elapsed_s)
        result["reconnects"] = 0 if self._mqtt is None else self._mqtt.reconnects
        return result

    def stop(self) -> None:
        """End the run early: no new messages, but wait for those that are out."""
        self._stop.set()

    async def run(self) -> None:
        """Connect, send, drain, disconnect.

        Raises:
            FleetError: the options do not fit the keys.
            CarrierError: a transport did not come up.
        """
        self._assign()
        try:
            await self._open()
            began_s = time.monotonic()
            await self._send_all(began_s)
            self.elapsed_s = time.monotonic() - began_s
            await self._drain()
        finally:
            self.ledger.close()
            for carrier in (self._mqtt, self._coap):
                if carrier is not None:
                    await carrier.stop()

    def _assign(self) -> None:
        options = self._options
        if options.mqtt is None and options.coap is None:
            raise FleetError("neither an MQTT broker nor a CoAP gateway was named")
        share = 1.0 if options.mqtt is None else 0.0 if options.coap is None else options.coap_share
        honest = self._keys.by_role(HONEST)
        count = len(honest) if options.devices is None else options.devices
        if not 0 < count <= len(honest):
            raise FleetError(f"{count} honest devices were asked for, the key file has {len(honest)}")
        for number, record in enumerate(honest[:count]):
            self._casts[_via(number, share)].honest.append(SimulatedDevice(record, options.seed))
        for name in options.scenarios:
            records = self._keys.by_role(name)
            if not records:
                raise FleetError(f"the key file has no devices for the scenario {name!r}")
            for number, record in enumerate(records):
                via = _via(number + 1, share) if SCENARIOS[name].over_coap else "mqtt"
                if via == "mqtt" and options.mqtt is None:
                    continue
                others = [other for other in records if other is not record] or [honest[0]]
                device = SimulatedDevice(record, options.seed)
                self._casts[via].actors.append(Actor(name, device, others, options.message_bytes))

    async def _open(self) -> None:
        options, mqtt, coap = self._options, self._casts["mqtt"], self._casts["coap"]
        if options.mqtt is not None:
            self._mqtt = MqttCarrier(options.mqtt, self._keys.fleet, self.ledger, self._answered, self._unheard)
            self._mqtt.add([device.record for device in mqtt.honest], "honest")
            required = self._mqtt.size
            self._mqtt.add(mqtt.records(), "hostile", SHARED_LINKS // 2)
            await self._mqtt.start(required)
        if options.coap is not None and (coap.honest or coap.actors):
            self._coap = CoapCarrier(options.coap, self.ledger, self._answered)
            for devices in ([device.record for device in coap.honest], coap.records()):
                if devices:
                    await self._coap.open(devices)

    async def _send_all(self, began_s: float) -> None:
        options = self._options
        makers = self._makers()
        honest_rate, hostile_rate = self._rates()
        spent_honest = spent_hostile = 0.0
        floods: deque[Callable[[], None]] = deque(makers["floods"])
        honest, hostile = cycle(makers["honest"]), cycle(makers["hostile"] or [lambda: None])
        last_s, next_flood_s = began_s, began_s + 1
        while not self._stop.is_set() and (now_s := time.monotonic()) - began_s < options.duration_s:
            passed_s, last_s = min(BURST_S, now_s - last_s), now_s
            self._resend_due(now_s)
            if self._backlog() < BACKLOG_MAX:
                spent_honest += passed_s * honest_rate
                spent_hostile += passed_s * hostile_rate
                while spent_honest >= 1:
                    spent_honest -= 1
                    next(honest)()
                while spent_hostile >= 1:
                    spent_hostile -= 1
                    next(hostile)()
                if floods and now_s >= next_flood_s:
                    next_flood_s = now_s + FLOOD_EVERY_S / len(floods)
                    floods[0]()
                    floods.rotate(-1)
            await asyncio.sleep(TICK_S)

    def _rates(self) -> tuple[float, float]:
        options = self._options
        actors = [actor for cast in self._casts.values() for actor in cast.actors if actor.name != FLOODING]
        hostile = min(options.rate * options.hostile_share, len(actors) * HOSTILE_PER_DEVICE)
        return options.rate - hostile, hostile

    def _makers(self) -> dict[str, list[Callable[[], None]]]:
        makers: dict[str, list[Callable[[], None]]] = {"honest": [], "hostile": [], "floods": []}
        for via, cast in self._casts.items():
            makers["honest"] += [self._honest_maker(device, via) for device in cast.honest]
            for actor in cast.actors:
                makers["floods" if actor.name == FLOODING else "hostile"].append(self._hostile_maker(actor, via))
        # Neighbours in the list should be of different scenarios, so that a short run sees them all.
        makers["hostile"] = [each for step in range(7) for each in makers["hostile"][step::7]]
        return makers

    def _honest_maker(self, device: SimulatedDevice, via: Via) -> Callable[[], None]:
        def make() -> None:
            self._send(honest_message(device, via, *device.speak(time.time())))

        return make

    def _hostile_maker(self, actor: Actor, via: Via) -> Callable[[], None]:
        move = SCENARIOS[actor.name].move

        def make() -> None:
            for message in move(actor, time.time()):
                for each in _chain(message):
                    each.via = via
                self._send(message)

        return make

    def _backlog(self) -> int:
        return max(carrier.backlog for carrier in (self._mqtt, self._coap) if carrier is not None)

    def _send(self, message: Outgoing) -> None:
        now_s = time.monotonic()
        self.ledger.enter(message, time.time_ns() // 1_000_000, now_s)
        self._dispatch(message)
        if message.is_honest:
            self._resend.append((now_s + self._options.resend_after_s, message))

    def _dispatch(self, message: Outgoing) -> None:
        carrier = self._mqtt if message.via == "mqtt" else self._coap
        if carrier is not None:
            carrier.send(message)

    def _resend_due(self, now_s: float) -> None:
        for _ in range(RESENDS_A_TICK):
            if not self._resend or self._resend[0][0] > now_s:
                return
            message = self._resend.popleft()[1]
            if message.outcome is None:
                # Without a PUBACK the connection itself still holds the message, and sends it when it is back.
                held = message.via == "mqtt" and message.acked_ms is None
                if not held and (self._options.until_receipt or message.acked_ms is None):
                    self.ledger.resent += 1
                    self._dispatch(message)
                self._resend.append((now_s + self._options.resend_after_s, message))

    def _unheard(self, message: Outgoing) -> None:
        asyncio.get_running_loop().call_later(1.0, self._retry, message)

    def _retry(self, message: Outgoing) -> None:
        if message.outcome is None and not self._stop.is_set():
            self.ledger.resent += 1
            self._dispatch(message)

    def _answered(self, message: Outgoing) -> None:
        follow, message.then = message.then, []
        if message.outcome == ACCEPTED:
            for each in follow:
                self._send(each)

    def _settled(self, message: Outgoing) -> None:
        if self._recorder is not None:
            self._recorder.write(message)
        message.data = b""

    async def _drain(self) -> None:
        deadline_s = time.monotonic() + self._options.drain_s
        while time.monotonic() < deadline_s and any(_is_awaited(each) for each in self.ledger.open_messages()):
            self._resend_due(time.monotonic())
            await asyncio.sleep(0.05)
        # A receipt that should not be would come with the others or just after them.
        await asyncio.sleep(min(0.5, self._options.drain_s))


def honest_message(device: SimulatedDevice, via: Via, facts: Facts, sealed: Sealed) -> Outgoing:
    """An honest device's message, ready to be sent."""
    record = device.record
    return Outgoing(
        sender=record.device_id,
        device_id=record.device_id,
        session=facts.session,
        seq=facts.seq,
        digest=sealed.digest,
        data=sealed.data,
        encoding=record.encoding,
        kind=HONEST,
        expected=_HONEST_EXPECTED,
        via=via,
        topic_device=record.device_id,
    )


def _is_awaited(message: Outgoing) -> bool:
    """Whether something must still come: an answer, or at least the broker's PUBACK."""
    return message.hopes_for_receipt or message.acked_ms is None


def _via(number: int, coap_share: float) -> Via:
    """Spread a share evenly over a sequence."""
    return "coap" if int((number + 1) * coap_share) > int(number * coap_share) else "mqtt"


def _chain(message: Outgoing) -> list[Outgoing]:
    chain, at = [], [message]
    while at:
        chain += at
        at = [each for before in at for each in before.then]
    return chain
