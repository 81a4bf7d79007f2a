"""What was sent, what came back, and whether the two agree.

Every message is entered when it leaves and settled when its answer is in. The ledger checks each receipt against the
message it names, remembers which digest got which index, and counts. It does no I/O and reads no clock.
"""

import base64
from array import array
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from firmware_sim.keys import HONEST, Encoding
from firmware_sim.mqtt_link import FAILURE, NO_SUBSCRIBERS
from firmware_sim.receipt import Receipt, ReceiptError, ReceiptVerifier

Via = Literal["mqtt", "coap"]

ACCEPTED: Final = "accepted"
DUPLICATE: Final = "duplicate"
SILENT: Final = "silent"
UNANSWERED: Final = "unanswered"
REFUSED_BY_BROKER: Final = "refused-by-broker"
PUSHBACK: Final = frozenset({"pushback", "registry-stale", "miner-unknown", "miner-suspended"})
# Refused at steps 0 to 4 of the formats page §3: over MQTT nothing is heard of these.
UNSIGNED_REASONS: Final = frozenset(
    {
        "too-large",
        "malformed",
        "wrong-fleet",
        "identity-mismatch",
        "device-unknown",
        "device-suspended",
        "device-revoked",
        "alg-mismatch",
        "rate-limited",
        "bad-signature",
    }
)
SIGNED_REASONS: Final = frozenset({"sequence-reused", "stale-session", "out-of-window", "too-old", "in-future"})
_REMEMBERED: Final = 200_000


@dataclass(slots=True, eq=False)
class Outgoing:
    """One message on its way, and what became of it.

    Attributes:
        sender: the device whose connection carries it.
        device_id: the device that the envelope names.
        topic_device: the device in the MQTT topic.
        session: 8 bytes, or none when the envelope is nonsense.
        seq: its number, or -1 when the envelope is nonsense.
        digest: SHA-256 of the signing input, or none when there is no such thing.
        data: the envelope.
        encoding: which envelope it claims to be.
        kind: `honest`, or the scenario's name.
        expected: the outcomes that are right.
        via: the transport.
        first: the message that this one repeats, or None.
        then: what is sent once this one is accepted.
        sent_ms: wall clock, milliseconds since 1970, of the first sending.
        sent_s: monotonic, seconds.
        acked_ms: wall clock of the broker's PUBACK, or of the CoAP answer.
        receipt: the receipt's bytes.
        outcome: `accepted`, `duplicate`, a reason, `silent`, `refused-by-broker`, or None as long as it is open.
    """

    sender: str
    device_id: str
    session: bytes
    seq: int
    digest: bytes
    data: bytes
    encoding: Encoding
    kind: str
    expected: frozenset[str]
    via: Via
    topic_device: str = ""
    first: "Outgoing | None" = None
    then: "list[Outgoing]" = field(default_factory=list)
    sent_ms: int = 0
    sent_s: float = 0.0
    acked_ms: int | None = None
    receipt: bytes | None = None
    outcome: str | None = None
    written: bool = False

    @property
    def is_honest(self) -> bool:
        """Whether an honest device sent it."""
        return self.kind == HONEST

    @property
    def hopes_for_receipt(self) -> bool:
        """Whether silence would be wrong: some right outcome comes with a receipt, and none without."""
        return not self.expected & UNSIGNED_REASONS

    def as_record(self) -> dict[str, object]:
        """The line of the record file."""
        return {
            "device": self.device_id,
            "session": self.session.hex(),
            "seq": self.seq,
            "digest": self.digest.hex(),
            "sent_ms": self.sent_ms,
            "acked_ms": self.acked_ms,
            "receipt": None if self.receipt is None else base64.b64encode(self.receipt).decode(),
            "kind": self.kind,
            "expected": sorted(self.expected),
            "outcome": self.outcome or UNANSWERED,
            "via": self.via,
        }


@dataclass(slots=True)
class Tally:
    """What became of one kind of message."""

    sent: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    unexpected: int = 0
    expected: set[str] = field(default_factory=set)


class Ledger:
    """Every message that is out, and the sums over all that came back.

    Args:
        verifier: checks receipts.
        on_settled: called once for each message whose story has ended.
    """

    def __init__(self, verifier: ReceiptVerifier, on_settled: Callable[[Outgoing], None]) -> None:
        self._verifier = verifier
        self._on_settled = on_settled
        self._open: dict[bytes, list[Outgoing]] = {}
        self._open_count = 0
        self._known: OrderedDict[bytes, bytes] = OrderedDict()
        self.tallies: dict[str, Tally] = {}
        self.acknowledged = 0
        self.receipts_verified = 0
        self.receipts_bad = 0
        self.receipts_foreign = 0
        self.faults: Counter[str] = Counter()
        self.resent = 0
        self.pushed_back = 0
        self.latencies_ms = array("f")

    @property
    def open_count(self) -> int:
        """Messages whose story has not ended."""
        return self._open_count

    def open_messages(self) -> Iterator[Outgoing]:
        """Every message whose story has not ended."""
        for messages in list(self._open.values()):
            yield from list(messages)

    def enter(self, message: Outgoing, now_ms: int, now_s: float) -> None:
        """Note a message that leaves for the first time."""
        message.sent_ms, message.sent_s = now_ms, now_s
        tally = self.tallies.setdefault(message.kind, Tally())
        tally.sent += 1
        tally.expected |= message.expected
        self._open.setdefault(message.digest, []).append(message)
        self._open_count += 1

    def on_puback(self, message: Outgoing, code: int, now_ms: int) -> bool:
        """Note the broker's PUBACK; False when it means that nobody has the message."""
        if code == NO_SUBSCRIBERS:
            return False
        if code >= FAILURE:
            if message.outcome is None:
                self._conclude(message, REFUSED_BY_BROKER)
            return True
        if message.acked_ms is None:
            message.acked_ms = now_ms
            self.acknowledged += 1
            self._settle_if_done(message)
        return True

    def on_receipt(self, data: bytes, now_s: float) -> Outgoing | None:
        """Take a receipt that came by MQTT; give the message that it answers, if it answers one that is open."""
        receipt = self._verified(data)
        if receipt is None:
            return None
        for message in self._open.get(receipt.digest, ()):
            if message.via == "mqtt" and message.receipt is None:
                self._answer(message, receipt, data, now_s)
                return message
        known = self._known.get(receipt.digest)
        if known is None:
            self.receipts_foreign += 1
        elif known != data and receipt.accepted:
            self._fault("a resend came back with another receipt")
        return None

    def on_coap_answer(self, message: Outgoing, code: str, payload: bytes, now_ms: int, now_s: float) -> None:
        """Take a CoAP answer that is not pushback."""
        if message.acked_ms is None:
            message.acked_ms = now_ms
            self.acknowledged += 1
        if code != "2.04":
            self._conclude(message, coap_reason(code, payload))
            return
        receipt = self._verified(payload)
        if receipt is None:
            self._conclude(message, "bad-receipt")
        elif receipt.digest != message.digest:
            self._fault("an answer holds the receipt of another message")
            self._conclude(message, "bad-receipt")
        else:
            self._answer(message, receipt, payload, now_s)

    def close(self) -> None:
        """End every story that is still open: silence where silence is right, unanswered elsewhere."""
        for message in list(self.open_messages()):
            if message.outcome is None:
                quiet = message.via == "mqtt" and not message.is_honest and not message.hopes_for_receipt
                self._conclude(message, SILENT if quiet else UNANSWERED)
            else:
                self._settle(message)

    def _verified(self, data: bytes) -> Receipt | None:
        try:
            receipt = self._verifier.verify(data)
        except ReceiptError as fault:
            self._fault(str(fault))
            return None
        self.receipts_verified += 1
        return receipt

    def _fault(self, text: str) -> None:
        self.receipts_bad += 1
        self.faults[text] += 1

    def _answer(self, message: Outgoing, receipt: Receipt, data: bytes, now_s: float) -> None:
        message.receipt = data
        if message.is_honest:
            self.latencies_ms.append((now_s - message.sent_s) * 1_000)
        known = self._known.get(receipt.digest)
        if not receipt.accepted:
            outcome = receipt.reason or ""
        elif known is None:
            outcome = ACCEPTED
            self._known[receipt.digest] = data
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        elif known == data:
            outcome = DUPLICATE
        else:
            self._fault("one digest has two receipts")
            outcome = ACCEPTED
        self._conclude(message, outcome)

    def _conclude(self, message: Outgoing, outcome: str) -> None:
        if message.outcome is not None:
            return
        message.outcome = outcome
        tally = self.tallies[message.kind]
        tally.outcomes[outcome] += 1
        if not is_expected(message, outcome):
            tally.unexpected += 1
        self._settle_if_done(message)

    def _settle_if_done(self, message: Outgoing) -> None:
        refused = message.outcome in {REFUSED_BY_BROKER, SILENT, UNANSWERED}
        if message.outcome is not None and (message.acked_ms is not None or refused):
            self._settle(message)

    def _settle(self, message: Outgoing) -> None:
        if message.written:
            return
        message.written = True
        self._open_count -= 1
        siblings = self._open[message.digest]
        siblings.remove(message)
        if not siblings:
            del self._open[message.digest]
        self._on_settled(message)


def coap_reason(code: str, payload: bytes) -> str:
    """The reason in a CoAP error: its diagnostic text when it is one word of the page, else the code."""
    text = payload.decode("ascii", "replace")
    if text in UNSIGNED_REASONS | SIGNED_REASONS | PUSHBACK:
        return text
    return f"code-{code}"


def is_expected(message: Outgoing, outcome: str) -> bool:
    """Whether an outcome is right for a message."""
    if outcome in message.expected:
        return True
    if outcome == SILENT:
        return message.via == "mqtt" and bool(message.expected & UNSIGNED_REASONS)
    if outcome == REFUSED_BY_BROKER:
        return not message.is_honest and ACCEPTED not in message.expected
    return False
