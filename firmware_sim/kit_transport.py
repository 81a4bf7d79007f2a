"""Conformance cases for payloads and for what the transports say beside the envelope (the formats page §2 and §4)."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

import cbor2

from firmware_sim.envelope import CONTENT_FORMAT, seal
from firmware_sim.keys import Encoding, other_fleet
from firmware_sim.kit_model import ENCODINGS, Bench, Case, Make, Step
from firmware_sim.kit_order import spoil
from firmware_sim.ledger import ACCEPTED

M: Final = "malformed"
_JSON: Final = 50
_CBOR: Final = 60
_SENML_JSON: Final = 110
_SENML_CBOR: Final = 112
_OCTETS: Final = 42


def _nested_json(depth: int) -> bytes:
    return b"[" * depth + b"1" + b"]" * depth


# A payload is never a reason to refuse: what nobody can read is stored and not scored (§2 MUST 3 and Payloads).
PAYLOADS: Final[tuple[tuple[str, int, bytes], ...]] = (
    ("empty octets", _OCTETS, b""),
    ("empty JSON", _JSON, b""),
    ("empty CBOR", _CBOR, b""),
    ("empty SenML", _SENML_JSON, b""),
    ("octets of every value", _OCTETS, bytes(range(256))),
    ("JSON eight deep", _JSON, _nested_json(8)),
    ("JSON nine deep", _JSON, _nested_json(9)),
    ("JSON ten thousand deep", _JSON, b"[" * 10_000),
    ("CBOR eight deep", _CBOR, b"\x81" * 7 + b"\x80"),
    ("CBOR ten thousand deep", _CBOR, b"\x81" * 10_000),
    ("JSON cut", _JSON, b'{"t":'),
    ("JSON with NaN", _JSON, b'{"t":NaN}'),
    ("JSON with an infinity", _JSON, b'{"t":1e999}'),
    ("JSON with duplicates", _JSON, b'{"t":1,"t":2}'),
    ("JSON with colliding names", _JSON, b'{"a.b":1,"a":{"b":2}}'),
    ("JSON of many digits", _JSON, b'{"t":' + b"9" * 5_000 + b"}"),
    ("JSON that is no UTF-8", _JSON, b'{"\xff":1}'),
    ("JSON with a byte order mark", _JSON, b'\xef\xbb\xbf{"t":1}'),
    ("JSON with a lone surrogate", _JSON, b'{"\\ud800":1}'),
    ("JSON with an escape sequence", _JSON, b'{"\\u001b[31m":1}'),
    ("JSON with a tensor", _JSON, b'{"trace":[1,2,3.5]}'),
    ("JSON text", _JSON, b'"hello"'),
    ("CBOR cut", _CBOR, b"\xa1\x61t"),
    ("CBOR with NaN", _CBOR, b"\xa1\x61t\xf9\x7e\x00"),
    ("CBOR with number keys", _CBOR, b"\xa1\x01\x02"),
    ("CBOR with duplicates", _CBOR, b"\xa2\x61t\x01\x61t\x02"),
    ("CBOR indefinite", _CBOR, b"\xbf\x61t\x01\xff"),
    ("CBOR bignum", _CBOR, b"\xa1\x61t\xc2\x58\x20" + b"\xff" * 32),
    ("CBOR that shares itself", _CBOR, b"\xd8\x1c\x81\xd8\x1d\x00"),
    ("CBOR of 2^64-1 bytes", _CBOR, b"\x5b" + b"\xff" * 8),
    ("CBOR of 2^32-1 items", _CBOR, b"\x9a\xff\xff\xff\xff"),
    ("CBOR with a date", _CBOR, b"\xc0\x64none"),
    ("CBOR with a regular expression", _CBOR, b"\xd8\x23\x61("),
    ("CBOR with trailing bytes", _CBOR, b"\xa0\x00"),
    ("SenML of another base name", _SENML_JSON, b'[{"bn":"somebody-else:","n":"t","v":1}]'),
    ("SenML of one name twice", _SENML_JSON, b'[{"n":"t","t":2,"v":1},{"n":"t","t":1,"v":2}]'),
    ("SenML that is an object", _SENML_JSON, b'{"n":"t","v":1}'),
    ("SenML without a value", _SENML_JSON, b'[{"n":"t"}]'),
    ("SenML with an unknown must", _SENML_JSON, b'[{"n":"t","v":1,"x_":2}]'),
    ("SenML with a base version", _SENML_JSON, b'[{"bver":99,"n":"t","v":1}]'),
    ("SenML CBOR", _SENML_CBOR, cbor2.dumps([{-2: "a:", 0: "t", 2: 1.5}])),
    ("SenML CBOR with text labels", _SENML_CBOR, cbor2.dumps([{"n": "t", "v": 1.5}])),
    ("SenML CBOR cut", _SENML_CBOR, b"\x81\xa2\x00"),
    ("SenML of a thousand records", _SENML_JSON, json.dumps([{"n": f"s{n}", "v": n} for n in range(1_000)]).encode()),
)


def _payload(encoding: Encoding, content_type: int, payload: bytes) -> Make:
    def make(bench: Bench) -> Iterable[Step]:
        yield bench.device().says(encoding, ACCEPTED, payload=payload, content_type=content_type)

    return make


def _largest(encoding: Encoding) -> Make:
    """A valid message of exactly the limit: what is left over is filled, and the rest found by trying."""

    def make(bench: Bench) -> Iterable[Step]:
        speaker = bench.device()
        facts = speaker.facts(content_type=_OCTETS)
        key = speaker.record.key
        size = len(seal(encoding, key, facts, b"").data)
        room = bench.message_bytes - size
        room = room - 2 if encoding == "cose" else room * 3 // 4
        for length in range(room + 3, room - 4, -1):
            sealed = seal(encoding, key, facts, bytes(length))
            if len(sealed.data) <= bench.message_bytes:
                yield speaker.step(encoding, sealed, ACCEPTED)
                return

    return make


MEDIA_TYPES_FINE: Final[dict[Encoding, tuple[str | None, ...]]] = {
    "cose": (
        None,
        "",
        'application/cose; cose-type="cose-sign1"',
        "application/cose; cose-type=cose-sign1",
        'application/cose;cose-type="cose-sign1"',
        'application/cose ;  cose-type="cose-sign1"',
        'APPLICATION/COSE; Cose-Type="cose-sign1"',
        'application/cose; cose-type="cose-sign1"; charset=utf-8',
        'application/cose; x=y; cose-type="cose-sign1"',
        'application/cose; x="a;b"; cose-type="cose-sign1"',
        'application/cose; x="a\\"b"; cose-type="cose-sign1"',
    ),
    "jws": (None, "", "application/jose+json", "Application/JOSE+JSON", "application/jose+json; charset=utf-8"),
}
MEDIA_TYPES_BAD: Final[dict[Encoding, tuple[str, ...]]] = {
    "cose": (
        "application/cose",
        'application/cose; cose-type="cose-sign"',
        'application/cose; cose-type="cose-mac0"',
        'application/cose; cose-type=""',
        'application/cose; x="cose-type=cose-sign1"',
        "application/jose+json",
        'application/cose-key; cose-type="cose-sign1"',
        "application/octet-stream",
        "application/cbor",
        "cose",
        "application/",
        "/",
        ";",
    ),
    "jws": (
        'application/cose; cose-type="cose-sign1"',
        "application/jose",
        "application/json",
        "text/plain",
        "jose+json",
        "application/jose+json/x",
    ),
}


def _media(encoding: Encoding, media_type: str | None, expected: str) -> Make:
    def make(bench: Bench) -> Iterable[Step]:
        yield replace(bench.device().says(encoding, expected), media_type=media_type)

    return make


def _format(encoding: Encoding, content_format: int | None, expected: str) -> Make:
    def make(bench: Bench) -> Iterable[Step]:
        step = bench.device().says(encoding, expected)
        digest = step.digest if expected == ACCEPTED else b""
        yield replace(step, content_format=content_format, digest=digest)

    return make


def _topic(kind: str) -> Make:
    def make(bench: Bench) -> Iterable[Step]:
        speaker, other = bench.device(), bench.device("ES256")
        topic = other.record.device_id
        if kind == "another device's topic":
            yield replace(speaker.says("cose", "identity-mismatch"), topic=topic)
        elif kind == "another device's topic, JWS":
            yield replace(speaker.says("jws", "identity-mismatch"), topic=topic)
        elif kind == "own id in upper case":
            yield replace(speaker.says("cose", "identity-mismatch"), topic=topic.upper())
        elif kind == "mismatch before unknown":
            yield replace(bench.role("sybil").says("jws", "identity-mismatch"), topic=topic)
        elif kind == "mismatch before revoked":
            yield replace(bench.role("revoked").says("jws", "identity-mismatch"), topic=topic)
        elif kind == "mismatch before bad signature":
            step = speaker.step("cose", spoil("cose", speaker.sealed("cose")), "identity-mismatch")
            yield replace(step, topic=topic)
        elif kind == "wrong fleet before mismatch":
            yield replace(speaker.says("cose", "wrong-fleet", fleet=other_fleet(bench.fleet)), topic=topic)
        else:
            yield replace(speaker.raw("cose", b"\xd2", M), topic=topic)

    return make


TOPICS: Final = (
    "another device's topic",
    "another device's topic, JWS",
    "own id in upper case",
    "mismatch before unknown",
    "mismatch before revoked",
    "mismatch before bad signature",
    "wrong fleet before mismatch",
    "malformed before mismatch",
)


def _response(tail: str, *, at_own: bool = True) -> Make:
    def make(bench: Bench) -> Iterable[Step]:
        step = bench.device().says("cose", ACCEPTED)
        own = f"securenet/v1/{bench.fleet}/{step.topic}/receipt"
        yield replace(step, response_topic=(own + tail) if at_own else tail, correlation=b"\x00\x01corr")

    return make


RESPONSES: Final[tuple[tuple[str, Make], ...]] = (
    ("the receipt topic itself", _response("")),
    ("a level below", _response("/inbox")),
    ("two levels below", _response("/inbox/7")),
    ("elsewhere is ignored", _response("somewhere/else", at_own=False)),
    ("beside the receipt topic is ignored", _response("s")),
)


def transport_cases() -> Iterator[Case]:
    """Every case about payloads and transports."""
    for encoding in ENCODINGS:
        for name, content_type, payload in PAYLOADS:
            yield Case(f"{encoding}/payload/{name}", "§2 Payloads", _payload(encoding, content_type, payload))
        yield Case(f"{encoding}/size/the largest message", "§2 MUST 3", _largest(encoding))
        for media in MEDIA_TYPES_FINE[encoding]:
            yield Case(
                f"mqtt/{encoding}/media type {media!r}", "§4", _media(encoding, media, ACCEPTED), over=("mqtt",)
            )
        for media in MEDIA_TYPES_BAD[encoding]:
            name = f"mqtt/{encoding}/media type {media!r}"
            yield Case(name, "§4", _media(encoding, media, M), over=("mqtt",), needs_mqtt5=True)
        yield from _coap_cases(encoding)
    for name in TOPICS:
        yield Case(f"mqtt/topic/{name}", "§3 step 0", _topic(name), over=("mqtt",))
    for name, make in RESPONSES:
        yield Case(f"mqtt/response topic/{name}", "§4", make, over=("mqtt",))


def _coap_cases(encoding: Encoding) -> Iterator[Case]:
    other: Encoding = "jws" if encoding == "cose" else "cose"
    yield Case(f"coap/{encoding}/no format", "§4", _format(encoding, None, ACCEPTED), over=("coap",))
    for number in (0, 40, 42, 60, 98, 110, 112, 65_535):
        yield Case(f"coap/{encoding}/format {number}", "§4", _format(encoding, number, "code-4.15"), over=("coap",))
    mixed = _format(encoding, CONTENT_FORMAT[other], M)
    yield Case(f"coap/{encoding}/format of the other envelope", "§4", mixed, over=("coap",))
