"""The JWS tables as cases."""

import hashlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from firmware_sim.envelope import base64url, jws_protected, jws_signing_input
from firmware_sim.keys import Algorithm, other_fleet
from firmware_sim.kit_jws import (
    ALG_VALUES,
    CTY_BAD,
    EXTRA,
    FINE,
    ID_BAD,
    MISSING,
    NUMBER_BAD,
    OTHER_TYPE,
    OUTER_BAD,
    OUTER_FINE,
    SID_BAD,
    TEXT_BAD,
    VALUE_ESCAPES,
    Bend,
    Outer,
    Row,
)
from firmware_sim.kit_model import PAYLOAD, Bench, Case, Make, Step, jws_case_step
from firmware_sim.ledger import ACCEPTED

M: Final = "malformed"
A: Final = "alg-mismatch"
_TABLES: Final[tuple[tuple[str, tuple[Row, ...], tuple[str, ...], str], ...]] = (
    ("§2 MUST 1", MISSING, (M,), ""),
    ("§2 MUST 1", EXTRA, (M,), ""),
    ("§2 MUST 1, 4, 5", OTHER_TYPE, (M,), ""),
    ("§2 content types", CTY_BAD, (M,), ""),
    ("§2 MUST 1", ID_BAD, (M,), ""),
    ("§2 MUST 5", NUMBER_BAD, (M,), ""),
    ("§2 MUST 2", SID_BAD, (M,), ""),
    ("§2 MUST 2", TEXT_BAD, (M,), ""),
    ("§2", FINE, (ACCEPTED,), ""),
    ("§2 MUST 2", VALUE_ESCAPES, (ACCEPTED, M), "names may be escaped; of values the page says nothing"),
)


def _header_case(bend: Bend, expected: tuple[str, ...], alg: Algorithm = "Ed25519") -> Make:
    def make(bench: Bench) -> Iterable[Step]:
        yield jws_case_step(bench.device(alg), bend, expected)

    return make


def _outer_case(outer: Outer, *expected: str) -> Make:
    def make(bench: Bench) -> Iterable[Step]:
        speaker = bench.device()
        protected = jws_protected(speaker.record.key.alg, speaker.facts())
        sealed = speaker.record.key.sign(jws_signing_input(protected, PAYLOAD))
        data = outer(base64url(protected), base64url(PAYLOAD), base64url(sealed))
        yield speaker.raw("jws", data, *expected, digest=_digest(protected))

    return make


def _digest(protected: bytes) -> bytes:
    return hashlib.sha256(jws_signing_input(protected, PAYLOAD)).digest()


def jws_cases() -> Iterator[Case]:
    """Every case of the JWS tables."""
    for section, table, expected, unclear in _TABLES:
        for name, bend in table:
            yield Case(f"jws/header/{name[:60]}", section, _header_case(bend, expected), unclear=unclear)
    for name, outer in OUTER_BAD:
        yield Case(f"jws/envelope/{name}", "§2 MUST 2", _outer_case(outer, M))
    for name, outer in OUTER_FINE:
        yield Case(f"jws/envelope/{name}", "§2 MUST 2", _outer_case(outer, ACCEPTED))
    for text in ALG_VALUES:
        yield Case(f"jws/alg/{text!r}", "§2 MUST 4", _header_case(_alg(text), (A,)))
    for text in ("EdDSA", "Ed25519"):
        yield Case(f"jws/alg/{text} by a P-256 key", "§3 step 2", _header_case(_alg(text), (A,), "ES256"))
    yield Case("jws/alg/ES256 by an Ed25519 key", "§3 step 2", _header_case(_alg("ES256"), (A,)))
    yield Case("jws/alg/ES256 by a P-256 key", "§2", _header_case(_alg("ES256"), (ACCEPTED,), "ES256"))
    yield from _fact_cases()


def _alg(text: str) -> Bend:
    return lambda header: header.put("alg", f'"{text}"').encode()


def _member(name: str, raw: str, *expected: str) -> Make:
    def make(bench: Bench) -> Iterable[Step]:
        speaker = bench.solo() if ACCEPTED in expected else bench.device()
        # The session may be one that an earlier run has used; the number never is.
        facts = {"seq": time.time_ns()} if name == "sid" else {}
        yield jws_case_step(speaker, lambda header: header.put(name, raw).encode(), expected, **facts)

    return make


def _kid(kid: str) -> Make:
    def make(bench: Bench) -> Iterable[Step]:
        yield replace(bench.device().says("jws", "device-unknown", device_id=kid), topic=kid)

    return make


def _wrong_fleet(change: str) -> Make:
    def make(bench: Bench) -> Iterable[Step]:
        fleet = {"other": other_fleet(bench.fleet), "upper": bench.fleet.swapcase(), "long": "f" * 32}[change]
        yield bench.device().says("jws", "wrong-fleet", fleet=fleet)

    return make


def _fact_cases() -> Iterator[Case]:
    rows: tuple[tuple[str, tuple[str, ...], str], ...] = (
        ("0", ("too-old",), ""),
        ("0.0", ("too-old",), ""),
        ("1e3", ("too-old",), ""),
        ("1E+3", ("too-old",), ""),
        ("0.5e-300", ("too-old",), ""),
        ("9007199254740991", ("in-future",), ""),
        ("9007199254740991.0", ("in-future",), ""),
        ("-0", ("too-old", M), "-0 is not below 0, and carries a sign"),
        ("-0.0", ("too-old", M), "-0.0 is not below 0, and carries a sign"),
    )
    for raw, expected, unclear in rows:
        yield Case(f"jws/iat/{raw}", "§2 MUST 5", _member("iat", raw, *expected), unclear=unclear)
    for seq in (0, 2**32, 2**53 + 1, 2**63 - 1):
        yield Case(f"jws/seq/{seq}", "§2 MUST 5", _member("seq", str(seq), ACCEPTED))
    yield Case("jws/sid/all zeros", "§2 MUST 6", _member("sid", f'"{base64url(bytes(8))}"', ACCEPTED))
    for kid in ("Gateway", "...", "a" * 64, "a:b._-"):
        yield Case(f"jws/kid/{kid}", "§1", _kid(kid))
    for change in ("other", "upper", "long"):
        yield Case(f"jws/aud/{change} fleet", "§3 step 0", _wrong_fleet(change))
