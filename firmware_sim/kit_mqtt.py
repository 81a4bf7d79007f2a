"""The conformance kit's MQTT side: publishes steps, waits for receipts, and listens for those that must not come."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from firmware_sim import mqtt_packets
from firmware_sim.carriers import CarrierError, MqttOptions
from firmware_sim.kit_model import Bench, Step
from firmware_sim.ledger import (
    ACCEPTED,
    DUPLICATE,
    REFUSED_BY_BROKER,
    SILENT,
    UNANSWERED,
    UNSIGNED_REASONS,
)
from firmware_sim.mqtt_link import FAILURE, MqttLink, Publication
from firmware_sim.receipt import ReceiptError, ReceiptVerifier

ANSWER_S: Final = 20.0
_BEFORE_THE_SIGNATURE: Final = UNSIGNED_REASONS - {"bad-signature", "malformed", "too-large"}

Puback = asyncio.Future[int]


def _on_puback(puback: Puback, code: int) -> None:
    if not puback.done():
        puback.set_result(code)


class MqttBench:
    """Publishes steps and gathers what comes back."""

    def __init__(self, options: MqttOptions, bench: Bench, verifier: ReceiptVerifier, quiet_s: float) -> None:
        options.check()
        self.bench = bench
        self._options = options
        self._verifier = verifier
        self._quiet_s = quiet_s
        self._links: dict[str, MqttLink[Puback]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting: defaultdict[bytes, list[asyncio.Future[mqtt_packets.Delivery]]] = defaultdict(list)
        self._unasked: defaultdict[bytes, list[mqtt_packets.Delivery]] = defaultdict(list)
        self._first: dict[bytes, bytes] = {}
        self._faults: list[str] = []
        self._sent: set[bytes] = set()

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            CarrierError: the broker did not accept us.
        """
        await self._link(self.bench.device().record.device_id)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        for link in self._links.values():
            link.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def run(self, step: Step) -> str:
        """Publish a step; give what came of it, `silent` for now when no receipt is due."""
        link = await self._link(step.sender)
        self._sent.add(step.digest)
        puback: Puback = asyncio.get_running_loop().create_future()
        receipt: asyncio.Future[mqtt_packets.Delivery] | None = None
        if not UNSIGNED_REASONS.issuperset(step.expected):
            receipt = asyncio.get_running_loop().create_future()
            self._waiting[step.digest].append(receipt)
        version5 = self._options.version == mqtt_packets.V5
        link.publish(
            Publication(
                topic=f"securenet/v1/{self.bench.fleet}/{step.topic}/up",
                payload=step.data,
                token=puback,
                content_type=step.media_type if version5 else None,
                response_topic=step.response_topic if version5 else None,
                correlation=step.correlation if version5 else None,
            )
        )
        try:
            async with asyncio.timeout(ANSWER_S):
                code = await puback
        except TimeoutError:
            return "no-puback"
        if code >= FAILURE:
            return SILENT if UNSIGNED_REASONS.issuperset(step.expected) else REFUSED_BY_BROKER
        return SILENT if receipt is None else await self._receipt(step, receipt)

    async def _receipt(self, step: Step, receipt: asyncio.Future[mqtt_packets.Delivery]) -> str:
        # Where one reading is silence, silence is an answer too.
        patience_s = self._quiet_s if UNSIGNED_REASONS.intersection(step.expected) else ANSWER_S
        try:
            async with asyncio.timeout(patience_s):
                delivery = await receipt
        except TimeoutError:
            self._waiting[step.digest].remove(receipt)
            return SILENT if UNSIGNED_REASONS.intersection(step.expected) else UNANSWERED
        return self._addressing(step, delivery) or self._outcome(delivery.payload)

    def _outcome(self, data: bytes) -> str:
        receipt = self._verifier.verify(data)
        if not receipt.accepted:
            return receipt.reason or ""
        first = self._first.setdefault(receipt.digest, data)
        if first is data:
            return ACCEPTED
        return DUPLICATE if first == data else "another receipt than the first"

    def _addressing(self, step: Step, delivery: mqtt_packets.Delivery) -> str | None:
        """What is wrong with where the receipt went, or None."""
        if self._options.version != mqtt_packets.V5:
            return None
        own = f"securenet/v1/{self.bench.fleet}/{step.topic}/receipt"
        asked = step.response_topic or own
        due = asked if asked == own or asked.startswith(own + "/") else own
        if delivery.topic != due:
            return f"receipt went to {delivery.topic}"
        if delivery.correlation != step.correlation:
            return "correlation data were not echoed"
        return None

    async def listen_on(self) -> list[str]:
        """Send one honest message through, then listen for what must not come.

        Returns:
            Receipts that no step asked for and that no step's digest explains, in words.
        """
        last = self.bench.device()
        await self.run(last.says("cose", ACCEPTED))
        await asyncio.sleep(self._quiet_s)
        strays = [
            f"{delivery.topic}: {digest.hex()}"
            for digest, deliveries in self._unasked.items()
            for delivery in deliveries
            if digest not in self._sent
        ]
        return self._faults + strays

    def heard(self, outcomes: Sequence[str], steps: Sequence[Step]) -> list[str]:
        """The outcomes of a case, with the receipts that came though none was due."""
        result = []
        for outcome, step in zip(outcomes, steps, strict=True):
            late = self._unasked.get(step.digest, ()) if outcome == SILENT else ()
            reasons = {self._outcome(delivery.payload) for delivery in late}
            # Steps 0 to 3 ask nothing of the signature: a receipt for one that holds is the other reading.
            if not reasons or (reasons <= set(step.expected) and reasons <= _BEFORE_THE_SIGNATURE):
                result.append(outcome)
            else:
                result.append(" and ".join(f"receipt {reason}" for reason in sorted(reasons)))
        return result

    async def _link(self, sender: str) -> MqttLink[Puback]:
        name = sender if self._options.connections == "device" else "conformance-kit"
        if name not in self._links:
            everyone = "+" if name != sender else sender
            link = MqttLink[Puback](
                self._options.address(name),
                self._options.connect_options(name),
                [f"securenet/v1/{self.bench.fleet}/{everyone}/receipt/#"],
                _on_puback,
                self._on_delivery,
            )
            self._links[name] = link
            self._tasks.append(asyncio.create_task(link.run()))
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._links[name].connected.wait()
        except TimeoutError:
            raise CarrierError(f"no MQTT connection as {name}: {self._links[name].refusal or 'no answer'}") from None
        return self._links[name]

    def _on_delivery(self, delivery: mqtt_packets.Delivery) -> None:
        try:
            digest = self._verifier.verify(delivery.payload).digest
        except ReceiptError as fault:
            self._faults.append(f"{delivery.topic}: {fault}")
            return
        waiting = self._waiting.get(digest)
        if waiting:
            waiting.pop(0).set_result(delivery)
        else:
            self._unasked[digest].append(delivery)
