"""The words of the conformance kit: a case, its steps, the bench it stands on, and headers that can be bent.

A case makes a few messages and says of each what the formats page demands. It knows nothing of sockets: the runner
sends the steps over MQTT or CoAP and compares.
"""

import base64
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import cbor2

from firmware_sim.envelope import (
    CONTENT_FORMAT,
    CONTENT_TYPES,
    COSE_ALGORITHM,
    JWS_ALGORITHM,
    MEDIA_TYPE,
    Facts,
    Sealed,
    base64url,
    cbor_bytes,
    cbor_map,
    cbor_number,
    cbor_text,
    cti,
    seal,
    seal_cose,
    seal_jws,
)
from firmware_sim.keys import HONEST, Algorithm, DeviceRecord, Encoding, FleetKeys
from firmware_sim.ledger import ACCEPTED, Via

PAYLOAD: Final = b'[{"n":"t","v":21.5}]'
JSON_TYPE: Final = 50
BOTH: Final[tuple[Via, ...]] = ("mqtt", "coap")
ENCODINGS: Final[tuple[Encoding, ...]] = ("cose", "jws")


class KitError(RuntimeError):
    """The kit cannot run as asked; the text says what to change."""


@dataclass(frozen=True, slots=True)
class Step:
    """One message of a case.

    Attributes:
        data: the bytes.
        expected: the outcome that the page names; further ones are the other reading of an unclear sentence.
        digest: of the signing input, when a receipt may name it.
        sender: the device whose connection carries it.
        topic: the device in the MQTT topic.
        media_type: MQTT Content Type, None for none.
        content_format: CoAP Content-Format, None for none.
        response_topic: MQTT Response Topic, None for none.
        correlation: MQTT Correlation Data, None for none.
    """

    data: bytes
    expected: tuple[str, ...]
    digest: bytes = b""
    sender: str = ""
    topic: str = ""
    media_type: str | None = None
    content_format: int | None = None
    response_topic: str | None = None
    correlation: bytes | None = None


class Speaker:
    """A device on the bench: it counts within one session and signs what it is told to."""

    def __init__(self, bench: "Bench", record: DeviceRecord) -> None:
        self._bench = bench
        self.record = record
        self.session = os.urandom(8)
        self._seq = 1

    def facts(self, **changes: Any) -> Facts:  # noqa: ANN401 - the fields of Facts
        """The facts of the next message, with changes."""
        self._seq += 1
        record = self.record
        # JSON is a content type of both worlds.
        facts = Facts(record.device_id, self._bench.fleet, JSON_TYPE, self._bench.now(), self.session, self._seq)
        return replace(facts, **changes)

    def sealed(self, encoding: Encoding, facts: Facts | None = None, payload: bytes = PAYLOAD) -> Sealed:
        """Sign facts, the next ones by default."""
        return seal(encoding, self.record.key, facts or self.facts(), payload)

    def step(self, encoding: Encoding, sealed: Sealed, *expected: str, **changes: Any) -> Step:  # noqa: ANN401 - the fields of Step
        """A step that sends a signed message as it should be sent, with changes."""
        return self.raw(encoding, sealed.data, *expected, **{"digest": sealed.digest, **changes})

    def raw(self, encoding: Encoding, data: bytes, *expected: str, **changes: Any) -> Step:  # noqa: ANN401 - the fields of Step
        """A step that sends any bytes."""
        step = Step(
            data=data,
            expected=expected or (ACCEPTED,),
            sender=self.record.device_id,
            topic=self.record.device_id,
            media_type=MEDIA_TYPE[encoding],
            content_format=CONTENT_FORMAT[encoding],
        )
        return replace(step, **changes)

    def says(self, encoding: Encoding, *expected: str, payload: bytes = PAYLOAD, **changes: Any) -> Step:  # noqa: ANN401 - the fields of Facts
        """A step with the next message, its facts changed."""
        return self.step(encoding, self.sealed(encoding, self.facts(**changes), payload), *expected)


@dataclass(slots=True)
class Bench:
    """Devices to take, a clock that never stands still, and the limits of the gateway.

    Attributes:
        keys: the fleet.
        via: the transport of this round.
        message_bytes: the gateway's limit.
    """

    keys: FleetKeys
    via: Via
    message_bytes: int
    _solo: dict[Algorithm, list[DeviceRecord]] = field(default_factory=dict)
    _pool: dict[Algorithm, list[Speaker]] = field(default_factory=dict)
    _turn: int = 0
    _last_s: float = 0.0

    def __post_init__(self) -> None:
        """Set the devices aside that a case wants for itself."""
        for alg in COSE_ALGORITHM:
            records = [record for record in self.keys.by_role(HONEST) if record.key.alg == alg]
            # The rounds of the two transports must not meet in a solo device: odd ones here, even ones there.
            mine = records[0 if self.via == "mqtt" else 1 :: 2]
            cut = len(mine) // 6 + 1
            self._pool[alg] = [Speaker(self, record) for record in mine[:cut]]
            self._solo[alg] = mine[cut:]

    @property
    def fleet(self) -> str:
        """The fleet id."""
        return self.keys.fleet

    def now(self) -> float:
        """The time in seconds since 1970, strictly rising by milliseconds."""
        self._last_s = max(round(time.time(), 3), round(self._last_s + 0.001, 3))
        return self._last_s

    def device(self, alg: Algorithm = "Ed25519") -> Speaker:
        """A device of the pool: others use it too, within the same session."""
        pool = self._pool[alg]
        if not pool:
            raise KitError(f"the key file has no device of {alg} for this; make one with more devices")
        self._turn += 1
        return pool[self._turn % len(pool)]

    def solo(self, alg: Algorithm = "Ed25519") -> Speaker:
        """A device that no other case has used or will use."""
        if not self._solo[alg]:
            raise KitError("the key file has too few devices for the kit; make one with `keys --devices 400`")
        return Speaker(self, self._solo[alg].pop())

    def role(self, role: str, index: int = 0) -> Speaker:
        """A device that is kept for a hostile role."""
        records = self.keys.by_role(role)
        if not records:
            raise KitError(f"the key file has no {role} device; make it with `keys`, --hostile at least 1")
        return Speaker(self, records[index % len(records)])


Make = Callable[[Bench], Iterable[Step]]


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that the page demands.

    Attributes:
        name: unique and readable.
        section: where the page demands it.
        make: makes the steps.
        over: the transports on which it makes sense.
        unclear: why two readings are possible, or an empty text.
        needs_mqtt5: whether it rests on a property that MQTT 3.1.1 does not have.
    """

    name: str
    section: str
    make: Make
    over: tuple[Via, ...] = BOTH
    unclear: str = ""
    needs_mqtt5: bool = False


Raw = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class CoseHeader:
    """A protected header as pairs of encoded CBOR, so that anything can be written into it."""

    pairs: tuple[Raw, ...]
    claims: tuple[Raw, ...]

    @classmethod
    def of(cls, alg: Algorithm, facts: Facts) -> "CoseHeader":
        """The header as it should be."""
        return cls(
            pairs=(
                (b"\x01", cbor_number(COSE_ALGORITHM[alg])),
                (b"\x03", cbor_number(facts.content_type)),
                (b"\x04", cbor_bytes(facts.device_id.encode())),
                (b"\x0f", b""),
            ),
            claims=(
                (b"\x03", cbor_text(facts.fleet)),
                (b"\x06", cbor_number(facts.issued_at)),
                (b"\x07", cbor_bytes(cti(facts.session, facts.seq))),
            ),
        )

    def get(self, key: int) -> bytes:
        """The encoded value under a key."""
        return dict(self.pairs)[bytes((key,))]

    def claim(self, key: int) -> bytes:
        """The encoded value of a claim."""
        return dict(self.claims)[bytes((key,))]

    def put(self, key: int, value: bytes) -> "CoseHeader":
        """Another value under a key."""
        return replace(self, pairs=_put(self.pairs, key, value))

    def put_claim(self, key: int, value: bytes) -> "CoseHeader":
        """Another value of a claim."""
        return replace(self, claims=_put(self.claims, key, value))

    def rename(self, key: int, name: bytes) -> "CoseHeader":
        """Another encoded key for a value."""
        pairs = tuple((name if old == bytes((key,)) else old, value) for old, value in self.pairs)
        return replace(self, pairs=pairs)

    def rename_claim(self, key: int, name: bytes) -> "CoseHeader":
        """Another encoded key for a claim."""
        claims = tuple((name if old == bytes((key,)) else old, value) for old, value in self.claims)
        return replace(self, claims=claims)

    def drop(self, key: int) -> "CoseHeader":
        """Without a key."""
        return replace(self, pairs=tuple(pair for pair in self.pairs if pair[0] != bytes((key,))))

    def drop_claim(self, key: int) -> "CoseHeader":
        """Without a claim."""
        return replace(self, claims=tuple(pair for pair in self.claims if pair[0] != bytes((key,))))

    def add(self, key: bytes, value: bytes) -> "CoseHeader":
        """With one more pair at the end."""
        return replace(self, pairs=(*self.pairs, (key, value)))

    def add_claim(self, key: bytes, value: bytes) -> "CoseHeader":
        """With one more claim at the end."""
        return replace(self, claims=(*self.claims, (key, value)))

    def order(self, *positions: int) -> "CoseHeader":
        """In another order."""
        return replace(self, pairs=tuple(self.pairs[position] for position in positions))

    def claims_order(self, *positions: int) -> "CoseHeader":
        """Claims in another order."""
        return replace(self, claims=tuple(self.claims[position] for position in positions))

    def encoded_pairs(self) -> tuple[Raw, ...]:
        """The pairs with the claims filled in, where nothing else was put."""
        return tuple((key, value or cbor_map(self.claims)) for key, value in self.pairs)

    def encode(self) -> bytes:
        """The header's bytes."""
        return cbor_map(self.encoded_pairs())


def _put(pairs: Sequence[Raw], key: int, value: bytes) -> tuple[Raw, ...]:
    return tuple((old, value if old == bytes((key,)) else before) for old, before in pairs)


@dataclass(frozen=True, slots=True)
class JwsHeader:
    """A protected header as members of raw JSON text, so that anything can be written into it."""

    members: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, alg: Algorithm, facts: Facts) -> "JwsHeader":
        """The header as it should be."""
        return cls(
            (
                ("alg", f'"{JWS_ALGORITHM[alg]}"'),
                ("kid", f'"{facts.device_id}"'),
                ("cty", f'"{CONTENT_TYPES[facts.content_type]}"'),
                ("aud", f'"{facts.fleet}"'),
                ("iat", repr(facts.issued_at)),
                ("sid", f'"{base64url(facts.session)}"'),
                ("seq", str(facts.seq)),
            )
        )

    def get(self, name: str) -> str:
        """The raw value of a member."""
        return dict(self.members)[name]

    def put(self, name: str, value: str) -> "JwsHeader":
        """Another raw value."""
        return JwsHeader(tuple((each, value if each == name else before) for each, before in self.members))

    def rename(self, name: str, raw: str) -> "JwsHeader":
        """Another raw name."""
        return JwsHeader(tuple((raw if each == name else each, value) for each, value in self.members))

    def drop(self, name: str) -> "JwsHeader":
        """Without a member."""
        return JwsHeader(tuple(member for member in self.members if member[0] != name))

    def add(self, name: str, value: str) -> "JwsHeader":
        """With one more member at the end."""
        return JwsHeader((*self.members, (name, value)))

    def reverse(self) -> "JwsHeader":
        """The other way round."""
        return JwsHeader(self.members[::-1])

    def encode(self, comma: str = ",", colon: str = ":") -> bytes:
        """The header's bytes."""
        body = comma.join(f'"{name}"{colon}{value}' for name, value in self.members)
        return f"{{{body}}}".encode()


def cose_case_step(
    speaker: Speaker,
    bend: Callable[[CoseHeader], bytes],
    expected: tuple[str, ...],
    **facts: Any,  # noqa: ANN401 - the fields of Facts
) -> Step:
    """A COSE message whose protected header was bent before it was signed."""
    header = CoseHeader.of(speaker.record.key.alg, speaker.facts(**facts))
    return speaker.step("cose", seal_cose(speaker.record.key, bend(header), PAYLOAD), *expected)


def jws_case_step(
    speaker: Speaker,
    bend: Callable[[JwsHeader], bytes],
    expected: tuple[str, ...],
    **facts: Any,  # noqa: ANN401 - the fields of Facts
) -> Step:
    """A JWS message whose protected header was bent before it was signed."""
    header = JwsHeader.of(speaker.record.key.alg, speaker.facts(**facts))
    return speaker.step("jws", seal_jws(speaker.record.key, bend(header), PAYLOAD), *expected)


def c(value: object) -> bytes:
    """Any value as CBOR."""
    return cbor2.dumps(value)


def b64(value: bytes) -> str:
    """Plain base64, the wrong one for a JWS."""
    return base64.b64encode(value).decode()
