"""The COSE tables as cases."""

import hashlib
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from firmware_sim.envelope import cose_protected, sig_structure
from firmware_sim.keys import Algorithm, other_fleet
from firmware_sim.kit_cose import (
    ALG_OTHER_TYPE,
    ALG_TEXTS,
    ALG_VALUES,
    AUD_BAD,
    CONTENT_TYPE_BAD,
    CTI_BAD,
    EXTRA,
    FINE,
    IAT_BAD,
    INDEFINITE,
    KID_BAD,
    LONGER_FORMS,
    MAP_BAD,
    MISSING,
    OUTER_BAD,
    A,
    Bend,
    M,
    Outer,
    Row,
)
from firmware_sim.kit_model import PAYLOAD, Bench, Case, Make, Step, c, cose_case_step
from firmware_sim.ledger import ACCEPTED

_TABLES: tuple[tuple[str, tuple[Row, ...], tuple[str, ...], str], ...] = (
    ("§2 MUST 1", MISSING, (M,), ""),
    ("§2 MUST 1", EXTRA, (M,), ""),
    ("§2 MUST 4", ALG_OTHER_TYPE, (M,), ""),
    ("§2 content types", CONTENT_TYPE_BAD, (M,), ""),
    ("§2 MUST 1", KID_BAD, (M,), ""),
    ("§2 MUST 1", AUD_BAD, (M,), ""),
    ("§2 MUST 5", IAT_BAD, (M,), ""),
    ("§2 MUST 5", CTI_BAD, (M,), ""),
    ("§2 MUST 2", MAP_BAD, (M,), ""),
    ("§2 MUST 2", INDEFINITE, (M, ACCEPTED), "whether `in the outer array` belongs to `definite lengths` too"),
    ("§2 MUST 2", LONGER_FORMS, (ACCEPTED, M), "whether shortest forms are asked for outside the outer array"),
    ("§2", FINE, (ACCEPTED,), ""),
)


def _header_case(bend: Bend, expected: tuple[str, ...], alg: Algorithm = "Ed25519") -> Make:
    def make(bench: Bench) -> Iterable[Step]:
        yield cose_case_step(bench.device(alg), bend, expected)

    return make


def _outer_case(outer: Outer) -> Make:
    def make(bench: Bench) -> Iterable[Step]:
        speaker = bench.device()
        protected = cose_protected(speaker.record.key.alg, speaker.facts())
        signing_input = sig_structure(protected, PAYLOAD)
        signature = speaker.record.key.sign(signing_input)
        digest = hashlib.sha256(signing_input).digest()
        yield speaker.raw("cose", outer(protected, PAYLOAD, signature), M, digest=digest)

    return make


def cose_cases() -> Iterator[Case]:
    """Every case of the COSE tables."""
    for section, table, expected, unclear in _TABLES:
        for name, bend in table:
            yield Case(f"cose/header/{name}", section, _header_case(bend, expected), unclear=unclear)
    for name, outer in OUTER_BAD:
        yield Case(f"cose/envelope/{name}", "§2 MUST 2", _outer_case(outer))
    yield from _alg_cases()
    yield from _claim_cases()


def _alg(raw: bytes) -> Bend:
    return lambda header: header.put(1, raw).encode()


def _alg_cases() -> Iterator[Case]:
    for value in (*ALG_VALUES, *ALG_TEXTS):
        yield Case(f"cose/alg/{value!r}", "§2 MUST 4", _header_case(_alg(c(value)), (A,)))
    for number in (-7, -9):
        yield Case(f"cose/alg/{number} by an Ed25519 key", "§3 step 2", _header_case(_alg(c(number)), (A,)))
        yield Case(f"cose/alg/{number} by a P-256 key", "§2", _header_case(_alg(c(number)), (ACCEPTED,), "ES256"))
    for number in (-8, -19):
        yield Case(f"cose/alg/{number} by a P-256 key", "§3 step 2", _header_case(_alg(c(number)), (A,), "ES256"))
        yield Case(f"cose/alg/{number} by an Ed25519 key", "§2", _header_case(_alg(c(number)), (ACCEPTED,)))
    bignum = "a bignum is a tagged byte string on the wire, and an integer to some decoders"
    for name, raw in (("positive", b"\xc2\x41\x08"), ("negative", b"\xc3\x41\x07")):
        yield Case(f"cose/alg/{name} bignum", "§2 MUST 4", _header_case(_alg(raw), (M, A)), unclear=bignum)


def _claim(key: int, raw: bytes, *expected: str) -> Make:
    def make(bench: Bench) -> Iterable[Step]:
        yield cose_case_step(bench.device(), lambda header: header.put_claim(key, raw).encode(), expected)

    return make


def _kid(kid: str) -> Make:
    def make(bench: Bench) -> Iterable[Step]:
        speaker = bench.device()
        yield replace(speaker.says("cose", "device-unknown", device_id=kid), topic=kid)

    return make


def _own_kid_upper(bench: Bench) -> Iterable[Step]:
    speaker = bench.device()
    kid = speaker.record.device_id.upper()
    yield replace(speaker.says("cose", "device-unknown", device_id=kid), topic=kid)


def _wrong_fleet(change: str) -> Make:
    def make(bench: Bench) -> Iterable[Step]:
        fleet = {"other": other_fleet(bench.fleet), "upper": bench.fleet.swapcase(), "long": "f" * 32}[change]
        yield bench.device().says("cose", "wrong-fleet", fleet=fleet)

    return make


def _seq(seq: int) -> Make:
    def make(bench: Bench) -> Iterable[Step]:
        yield bench.solo().says("cose", ACCEPTED, seq=seq)

    return make


def _zero_session(bench: Bench) -> Iterable[Step]:
    speaker = bench.solo()
    facts = speaker.facts(session=bytes(8), seq=time.time_ns())
    yield speaker.step("cose", speaker.sealed("cose", facts), ACCEPTED)


def _claim_cases() -> Iterator[Case]:
    negative_zero = "-0.0 is not below 0, and carries a sign"
    rows: tuple[tuple[str, bytes, tuple[str, ...], str], ...] = (
        ("0", b"\x00", ("too-old",), ""),
        ("0.0", b"\xfb" + bytes(8), ("too-old",), ""),
        ("half float 1.0", b"\xf9\x3c\x00", ("too-old",), ""),
        ("half float 65504", b"\xf9\x7b\xff", ("too-old",), ""),
        ("subnormal", b"\xfb" + bytes(7) + b"\x01", ("too-old",), ""),
        ("2^53-1", c(2**53 - 1), ("in-future",), ""),
        ("2^53-1 as a float", b"\xfb" + struct.pack(">d", 2**53 - 1), ("in-future",), ""),
        ("minus zero", b"\xfb\x80" + bytes(7), ("too-old", M), negative_zero),
        ("0 in nine bytes", b"\x1b" + bytes(8), ("too-old", M), "whether shortest forms are asked for in claims"),
    )
    for name, raw, expected, unclear in rows:
        yield Case(f"cose/iat/{name}", "§2 MUST 5", _claim(6, raw, *expected), unclear=unclear)
    for seq in (0, 1, 2**32, 2**53, 2**63 - 1):
        yield Case(f"cose/seq/{seq}", "§2 MUST 5", _seq(seq))
    yield Case("cose/session/all zeros", "§2 MUST 6", _zero_session)
    for kid in ("Gateway", "...", "a" * 64, "a:b._-", "-", "urn:dev:mac:ffffffffffffffff"):
        yield Case(f"cose/kid/{kid}", "§1", _kid(kid))
    yield Case("cose/kid/own id in other case", "§1", _own_kid_upper)
    for change in ("other", "upper", "long"):
        yield Case(f"cose/aud/{change} fleet", "§3 step 0", _wrong_fleet(change))
