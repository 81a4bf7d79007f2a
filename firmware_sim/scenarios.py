"""The hostile crowd: each scenario breaks one rule, and knows what it must get for it.

A scenario is a function from a hostile device and a moment to the messages of one move. Messages in `then` leave only
after the message before them was accepted. Hostile devices are never honest ones, so nothing here costs an honest
device its budget. What makes an attack possible at all is sent under the kind `<scenario>/prelude` and must be
accepted.
"""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from firmware_sim.device import SimulatedDevice
from firmware_sim.envelope import Facts, Sealed, base64url, open_envelope, seal
from firmware_sim.keys import DeviceRecord, new_key, other_fleet
from firmware_sim.ledger import ACCEPTED, DUPLICATE, Outgoing
from firmware_sim.report import FLOODING, PRELUDE

HOUR_S: Final = 3_600.0
TOO_OLD_S: Final = 48 * HOUR_S
FUTURE_S: Final = HOUR_S
WINDOW: Final = 1_024
SESSIONS: Final = 8


@dataclass(frozen=True, slots=True)
class Actor:
    """One hostile device and what it needs for its part.

    Attributes:
        name: the scenario.
        device: the device.
        others: the other devices of the same part.
        message_bytes: the gateway's limit for one message.
    """

    name: str
    device: SimulatedDevice
    others: Sequence[DeviceRecord]
    message_bytes: int

    @property
    def record(self) -> DeviceRecord:
        """The device's identity."""
        return self.device.record

    def prelude(self, facts: Facts, sealed: Sealed) -> Outgoing:
        """A message that must be accepted, and that the attack builds on."""
        return replace_kind(self.attack(facts, sealed, ACCEPTED), self.name + PRELUDE)

    def attack(self, facts: Facts, sealed: Sealed, *expected: str) -> Outgoing:
        """A message that must end in one of `expected`."""
        record = self.record
        return Outgoing(
            sender=record.device_id,
            device_id=facts.device_id,
            session=facts.session,
            seq=facts.seq,
            digest=sealed.digest,
            data=sealed.data,
            encoding=record.encoding,
            kind=self.name,
            expected=frozenset(expected),
            via="mqtt",
            topic_device=record.device_id,
        )

    def sealed(self, facts: Facts, at_s: float) -> Sealed:
        """Sign facts over the measurement of a moment."""
        return seal(self.record.encoding, self.record.key, facts, self.device.measure(at_s))


def replace_kind(message: Outgoing, kind: str) -> Outgoing:
    """The message under another kind."""
    message.kind = kind
    return message


def flip_payload_bit(record: DeviceRecord, sealed: Sealed, payload: bytes) -> bytes:
    """The envelope with one bit of its payload changed after signing, still well formed."""
    changed = bytes((payload[0] ^ 1,)) + payload[1:]
    if record.encoding == "cose":
        return sealed.data.replace(payload, changed, 1)
    return sealed.data.replace(base64url(payload).encode(), base64url(changed).encode(), 1)


Move = Callable[[Actor, float], list[Outgoing]]


def _forged(actor: Actor, at_s: float) -> list[Outgoing]:
    facts = actor.device.facts(at_s)
    wrong = new_key(actor.record.key.alg)
    sealed = seal(actor.record.encoding, wrong, facts, actor.device.measure(at_s))
    return [actor.attack(facts, sealed, "bad-signature")]


def _tampered(actor: Actor, at_s: float) -> list[Outgoing]:
    facts = actor.device.facts(at_s)
    payload = b"." + os.urandom(12) + actor.device.measure(at_s)
    sealed = seal(actor.record.encoding, actor.record.key, facts, payload)
    data = flip_payload_bit(actor.record, sealed, payload)
    # A gateway that took it would give a receipt for what it took, so that is the digest to watch.
    tampered = Sealed(data, hashlib.sha256(open_envelope(data).signing_input).digest())
    return [actor.attack(facts, tampered, "bad-signature")]


def _replayed(actor: Actor, at_s: float) -> list[Outgoing]:
    facts, sealed = actor.device.speak(at_s)
    first = actor.prelude(facts, sealed)
    again = actor.attack(facts, sealed, DUPLICATE)
    again.first = first
    first.then.append(again)
    return [first]


def _cloned(actor: Actor, at_s: float) -> list[Outgoing]:
    facts = actor.device.facts(at_s)
    first = actor.prelude(facts, actor.sealed(facts, at_s))
    twin = replace(facts, issued_at=round(at_s + 0.001, 3))
    first.then.append(actor.attack(twin, actor.sealed(twin, at_s + 1), "sequence-reused"))
    return [first]


def _flooding(actor: Actor, at_s: float) -> list[Outgoing]:
    return [actor.attack(*actor.device.speak(at_s), ACCEPTED, "rate-limited") for _ in range(FLOOD_BURST)]


FLOOD_BURST: Final = 150


def _honest_looking(reason: str) -> Move:
    def move(actor: Actor, at_s: float) -> list[Outgoing]:
        return [actor.attack(*actor.device.speak(at_s), reason)]

    return move


def _late(actor: Actor, at_s: float) -> list[Outgoing]:
    facts = actor.device.facts(at_s - TOO_OLD_S)
    return [actor.attack(facts, actor.sealed(facts, at_s), "too-old")]


def _clock_skewed(actor: Actor, at_s: float) -> list[Outgoing]:
    facts = actor.device.facts(at_s + FUTURE_S)
    return [actor.attack(facts, actor.sealed(facts, at_s), "in-future")]


def _wrong_fleet(actor: Actor, at_s: float) -> list[Outgoing]:
    facts = actor.device.facts(at_s)
    facts = replace(facts, fleet=other_fleet(facts.fleet))
    return [actor.attack(facts, actor.sealed(facts, at_s), "wrong-fleet")]


def _spoofed_topic(actor: Actor, at_s: float) -> list[Outgoing]:
    message = actor.attack(*actor.device.speak(at_s), "identity-mismatch")
    position = actor.device.seq % len(actor.others)
    message.topic_device = actor.others[position].device_id
    return [message]


def _malformed(actor: Actor, at_s: float) -> list[Outgoing]:
    facts, sealed = actor.device.speak(at_s)
    data = sealed.data
    variants = (
        data[:-1],
        data + b"\x00",
        b"",
        b"\xef\xbb\xbf" + data,
        data[:2] + data[1:],
        os.urandom(64),
        b"{" * 40,
        b"\xd2" + b"\x81" * 4_000,
    )
    broken = Sealed(variants[facts.seq % len(variants)], sealed.digest)
    return [actor.attack(replace(facts, session=b"", seq=-1), broken, "malformed")]


def _oversize(actor: Actor, at_s: float) -> list[Outgoing]:
    facts = actor.device.facts(at_s)
    sealed = seal(actor.record.encoding, actor.record.key, facts, bytes(actor.message_bytes))
    return [actor.attack(facts, sealed, "too-large")]


def _stale_session(actor: Actor, at_s: float) -> list[Outgoing]:
    stale = Facts(
        actor.record.device_id,
        actor.record.fleet,
        actor.record.content_type,
        round(at_s - HOUR_S, 3),
        os.urandom(8),
        0,
    )
    attack = actor.attack(stale, actor.sealed(stale, at_s), "stale-session")
    if actor.device.seq:
        return [attack]
    # The first move fills the device's eight sessions and one more, so that the oldest is forgotten.
    actor.device.seq = 1
    chain = []
    for number in range(SESSIONS + 1):
        facts = replace(stale, issued_at=round(at_s - 1 + number / 100, 3), session=os.urandom(8))
        chain.append(actor.prelude(facts, actor.sealed(facts, at_s)))
    for before, after in zip(chain, [*chain[1:], attack], strict=True):
        before.then.append(after)
    return chain[:1]


def _out_of_window(actor: Actor, at_s: float) -> list[Outgoing]:
    device = actor.device
    device.seq += 3 * WINDOW
    facts, sealed = device.speak(at_s)
    first = actor.prelude(facts, sealed)
    below = replace(facts, seq=facts.seq - WINDOW - 1)
    first.then.append(actor.attack(below, actor.sealed(below, at_s), "out-of-window"))
    return [first]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way to misbehave.

    Attributes:
        move: makes the messages of one move.
        about: in a few words.
        over_coap: whether it makes sense over CoAP.
    """

    move: Move
    about: str
    over_coap: bool = True


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "forged": Scenario(_forged, "signed with a key that is not the device's"),
    "tampered": Scenario(_tampered, "one payload bit changed after signing"),
    "replayed": Scenario(_replayed, "sent twice, byte for byte"),
    "cloned": Scenario(_cloned, "one number signed twice with other content"),
    FLOODING: Scenario(_flooding, "one device far above its rate"),
    "sybil": Scenario(_honest_looking("device-unknown"), "devices that nobody registered"),
    "revoked": Scenario(_honest_looking("device-revoked"), "a device whose registration was revoked"),
    "suspended": Scenario(_honest_looking("device-suspended"), "a device that is suspended"),
    "late": Scenario(_late, "two days old"),
    "clock-skewed": Scenario(_clock_skewed, "an hour in the future"),
    "wrong-fleet": Scenario(_wrong_fleet, "made out for another fleet"),
    "topic-spoofing": Scenario(_spoofed_topic, "published on another device's topic", over_coap=False),
    "malformed": Scenario(_malformed, "cut, doubled, or noise"),
    "oversize": Scenario(_oversize, "larger than the gateway's limit"),
    "stale-session": Scenario(_stale_session, "a session older than those forgotten"),
    "out-of-window": Scenario(_out_of_window, "a number far below the highest"),
}
# Devices that the registry file introduces for the conformance kit only.
KIT_ROLES: Final = ("foreign",)
