"""Conformance cases for Algorithm 1: which reason comes first, replays, the window, ages (the formats page §3)."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final

from firmware_sim.envelope import (
    Facts,
    Sealed,
    base64url,
    cose_envelope,
    cose_protected,
    jws_envelope,
    jws_protected,
    open_envelope,
    sig_structure,
)
from firmware_sim.keys import Encoding, other_fleet
from firmware_sim.kit_model import ENCODINGS, PAYLOAD, Bench, Case, CoseHeader, Make, Speaker, Step, cose_case_step
from firmware_sim.kit_signature import other_s
from firmware_sim.ledger import ACCEPTED, DUPLICATE

DAY_S: Final = 86_400.0
LATE_S: Final = DAY_S + 3_600
FUTURE_S: Final = 900.0
WINDOW: Final = 1_024
REUSED: Final = "sequence-reused"
_CUT: Final = -10


def spoil(encoding: Encoding, sealed: Sealed) -> Sealed:
    """The message with a signature that does not hold."""
    opened = open_envelope(sealed.data)
    signature = opened.signature[:-1] + bytes((opened.signature[-1] ^ 1,))
    if encoding == "cose":
        return Sealed(sealed.data.replace(opened.signature, signature), sealed.digest)
    old, new = base64url(opened.signature).encode(), base64url(signature).encode()
    return Sealed(sealed.data.replace(old, new), sealed.digest)


def _spoiled(speaker: Speaker, encoding: Encoding, *expected: str, **facts: object) -> Step:
    sealed = speaker.sealed(encoding, speaker.facts(**facts))
    return speaker.step(encoding, spoil(encoding, sealed), *expected)


def _cose_alg(speaker: Speaker, *expected: str, **facts: object) -> Step:
    return cose_case_step(speaker, lambda header: header.put(1, b"\x38\x22").encode(), expected, **facts)


Simple = Callable[[Bench, Encoding], Iterable[Step]]


def _one(make: Callable[[Bench, Encoding], Step]) -> Simple:
    return lambda bench, encoding: (make(bench, encoding),)


def _too_large_garbage(first: bytes) -> Simple:
    return _one(lambda b, e: b.device().raw(e, first + bytes(b.message_bytes), "too-large"))


def _cut(step: Step) -> Iterable[Step]:
    yield replace(step, data=step.data[:_CUT], expected=("malformed",), digest=b"")


def _alg_and_bad_signature(bench: Bench) -> Step:
    speaker = bench.device()
    header = CoseHeader.of("Ed25519", speaker.facts()).put(1, b"\x38\x22").encode()
    return speaker.raw("cose", cose_envelope(header, PAYLOAD, bytes(64)), "alg-mismatch")


def _bad_replay(bench: Bench, encoding: Encoding) -> Iterable[Step]:
    speaker = bench.device()
    sealed = speaker.sealed(encoding)
    yield speaker.step(encoding, sealed, ACCEPTED)
    yield speaker.step(encoding, spoil(encoding, sealed), "bad-signature")


def _bad_reuse(bench: Bench, encoding: Encoding) -> Iterable[Step]:
    speaker = bench.device()
    facts = speaker.facts()
    yield speaker.step(encoding, speaker.sealed(encoding, facts), ACCEPTED)
    twin = speaker.sealed(encoding, facts, b"{}")
    yield speaker.step(encoding, spoil(encoding, twin), "bad-signature")


FIRST_REASON: Final[tuple[tuple[str, Simple], ...]] = (
    ("too large and signed", _one(lambda b, e: b.device().says(e, "too-large", payload=bytes(b.message_bytes)))),
    ("too large and noise", _too_large_garbage(b"\x00")),
    ("too large and cut COSE", _too_large_garbage(b"\xd2\x84")),
    ("too large and cut JWS", _too_large_garbage(b"{")),
    (
        "too large by one byte",
        _one(lambda b, e: b.device().raw(e, b"\x00" * (b.message_bytes + 1), "too-large")),
    ),
    ("noise of the largest size", _one(lambda b, e: b.device().raw(e, b"\x00" * b.message_bytes, "malformed"))),
    ("noise", _one(lambda b, e: b.device().raw(e, b"hello", "malformed"))),
    ("malformed before wrong fleet", lambda b, e: _cut(b.device().says(e, fleet=other_fleet(b.fleet)))),
    ("malformed before unknown", lambda b, e: _cut(b.device().says(e, device_id="nobody"))),
    ("malformed before revoked", lambda b, e: _cut(b.role("revoked").says(e))),
    (
        "wrong fleet before unknown",
        _one(lambda b, e: b.role("sybil").says(e, "wrong-fleet", fleet=other_fleet(b.fleet))),
    ),
    (
        "wrong fleet before revoked",
        _one(lambda b, e: b.role("revoked").says(e, "wrong-fleet", fleet=other_fleet(b.fleet))),
    ),
    (
        "wrong fleet before bad signature",
        _one(lambda b, e: _spoiled(b.device(), e, "wrong-fleet", fleet=other_fleet(b.fleet))),
    ),
    (
        "wrong fleet before too old",
        _one(lambda b, e: b.device().says(e, "wrong-fleet", fleet=other_fleet(b.fleet), issued_at=b.now() - LATE_S)),
    ),
    (
        "a device of another fleet, in its fleet",
        _one(lambda b, e: b.role("foreign").says(e, "wrong-fleet", fleet=other_fleet(b.fleet))),
    ),
    ("a device of another fleet, in this fleet", _one(lambda b, e: b.role("foreign").says(e, "device-unknown"))),
    ("unknown", _one(lambda b, e: b.role("sybil").says(e, "device-unknown"))),
    ("unknown before bad signature", _one(lambda b, e: _spoiled(b.role("sybil", 1), e, "device-unknown"))),
    (
        "unknown before too old",
        _one(lambda b, e: b.role("sybil").says(e, "device-unknown", issued_at=b.now() - LATE_S)),
    ),
    ("revoked", _one(lambda b, e: b.role("revoked", 1).says(e, "device-revoked"))),
    ("revoked before bad signature", _one(lambda b, e: _spoiled(b.role("revoked"), e, "device-revoked"))),
    (
        "revoked before too old",
        _one(lambda b, e: b.role("revoked").says(e, "device-revoked", issued_at=b.now() - LATE_S)),
    ),
    ("suspended", _one(lambda b, e: b.role("suspended", 1).says(e, "device-suspended"))),
    ("suspended before bad signature", _one(lambda b, e: _spoiled(b.role("suspended"), e, "device-suspended"))),
    ("bad signature before too old", _one(lambda b, e: _spoiled(b.device(), e, "bad-signature", issued_at=0))),
    (
        "bad signature before in future",
        _one(lambda b, e: _spoiled(b.device(), e, "bad-signature", issued_at=b.now() + FUTURE_S)),
    ),
    ("bad signature before duplicate", _bad_replay),
    ("bad signature before sequence reused", _bad_reuse),
    ("too old", _one(lambda b, e: b.device().says(e, "too-old", issued_at=b.now() - LATE_S))),
    ("in future", _one(lambda b, e: b.device().says(e, "in-future", issued_at=b.now() + FUTURE_S))),
    ("an hour old", _one(lambda b, e: b.solo().says(e, ACCEPTED, issued_at=b.now() - 3_600))),
    ("23 hours old", _one(lambda b, e: b.solo().says(e, ACCEPTED, issued_at=b.now() - DAY_S + 3_600))),
    ("four minutes ahead", _one(lambda b, e: b.solo().says(e, ACCEPTED, issued_at=b.now() + 240))),
)
COSE_FIRST_REASON: Final[tuple[tuple[str, Callable[[Bench], Step]], ...]] = (
    ("unknown before alg", lambda b: _cose_alg(b.role("sybil"), "device-unknown")),
    ("revoked before alg", lambda b: _cose_alg(b.role("revoked"), "device-revoked")),
    ("suspended before alg", lambda b: _cose_alg(b.role("suspended"), "device-suspended")),
    ("wrong fleet before alg", lambda b: _cose_alg(b.device(), "wrong-fleet", fleet=other_fleet(b.fleet))),
    ("alg before too old", lambda b: _cose_alg(b.device(), "alg-mismatch", issued_at=0)),
    ("alg before bad signature", _alg_and_bad_signature),
)


def _replayed(times: int) -> Simple:
    def make(bench: Bench, encoding: Encoding) -> Iterable[Step]:
        speaker = bench.device()
        sealed = speaker.sealed(encoding)
        yield speaker.step(encoding, sealed, ACCEPTED)
        for _ in range(times):
            yield speaker.step(encoding, sealed, DUPLICATE)

    return make


def _reused(change: Callable[[Facts], Facts] | None = None) -> Simple:
    def make(bench: Bench, encoding: Encoding) -> Iterable[Step]:
        speaker = bench.device()
        facts = speaker.facts()
        first, twin = speaker.sealed(encoding, facts), speaker.sealed(encoding, facts, b'{"t":1}')
        if change is not None:
            twin = speaker.sealed(encoding, change(facts))
        yield speaker.step(encoding, first, ACCEPTED)
        yield speaker.step(encoding, twin, REUSED)
        yield speaker.step(encoding, twin, REUSED)
        yield speaker.step(encoding, first, DUPLICATE)

    return make


def _later(shift_s: float) -> Callable[[Facts], Facts]:
    return lambda facts: replace(facts, issued_at=round(facts.issued_at + shift_s, 3))


def _reused_in_other_encoding(bench: Bench, encoding: Encoding) -> Iterable[Step]:
    speaker = bench.device()
    facts = speaker.facts()
    other: Encoding = "jws" if encoding == "cose" else "cose"
    yield speaker.step(encoding, speaker.sealed(encoding, facts), ACCEPTED)
    yield speaker.step(other, speaker.sealed(other, facts), REUSED)


def _signed_again(bench: Bench, encoding: Encoding) -> Iterable[Step]:
    speaker = bench.device("ES256")
    facts = speaker.facts()
    first = speaker.sealed(encoding, facts)
    yield speaker.step(encoding, first, ACCEPTED)
    yield speaker.step(encoding, speaker.sealed(encoding, facts), DUPLICATE)
    opened = open_envelope(first.data)
    if encoding == "cose":
        data = cose_envelope(cose_protected("ES256", facts), PAYLOAD, other_s(opened.signature))
    else:
        data = jws_envelope(jws_protected("ES256", facts), PAYLOAD, other_s(opened.signature))
    yield speaker.step(encoding, Sealed(data, first.digest), DUPLICATE)


def _rewrapped(bench: Bench) -> Iterable[Step]:
    speaker = bench.device()
    sealed = speaker.sealed("jws")
    yield speaker.step("jws", sealed, ACCEPTED)
    for change in (
        lambda data: data.replace(b",", b" ,\n "),
        lambda data: data.replace(b'"payload"', b'"\\u0070ayload"'),
        lambda data: b"{" + b",".join(data[1:-1].split(b",")[::-1]) + b"}",
    ):
        yield speaker.step("jws", Sealed(change(sealed.data), sealed.digest), DUPLICATE)


def _unused_signing_input(bench: Bench) -> Iterable[Step]:
    """The same facts in another header order have another signing input, and so another digest."""
    speaker = bench.device()
    facts = speaker.facts()
    header = CoseHeader.of("Ed25519", facts)
    first, second = header.encode(), header.order(3, 2, 1, 0).encode()
    for protected, expected in ((first, ACCEPTED), (second, REUSED)):
        signature = speaker.record.key.sign(sig_structure(protected, PAYLOAD))
        yield speaker.raw("cose", cose_envelope(protected, PAYLOAD, signature), expected, digest=_digest(protected))


def _digest(protected: bytes) -> bytes:
    return hashlib.sha256(sig_structure(protected, PAYLOAD)).digest()


REPLAYS: Final[tuple[tuple[str, Simple], ...]] = (
    ("sent twice", _replayed(1)),
    ("sent six times", _replayed(5)),
    ("other payload", _reused()),
    ("other time", _reused(_later(0.5))),
    ("other content type", _reused(lambda facts: replace(facts, content_type=60))),
    ("too old as well", _reused(_later(-LATE_S))),
    ("in future as well", _reused(_later(FUTURE_S))),
    ("other encoding", _reused_in_other_encoding),
    ("signed again", _signed_again),
)


def _with_encoding(make: Simple, encoding: Encoding) -> Make:
    return lambda bench: make(bench, encoding)


def _single(make: Callable[[Bench], Step]) -> Make:
    return lambda bench: (make(bench),)


def order_cases() -> Iterator[Case]:
    """Every case about the order of reasons and about replays."""
    for encoding in ENCODINGS:
        for name, make in FIRST_REASON:
            yield Case(f"{encoding}/order/{name}", "§3", _with_encoding(make, encoding))
        for name, make in REPLAYS:
            yield Case(f"{encoding}/replay/{name}", "§2 MUST 7, §3 step 5", _with_encoding(make, encoding))
    for name, single in COSE_FIRST_REASON:
        yield Case(f"cose/order/{name}", "§3", _single(single))
    yield Case("jws/replay/another wrapper", "§2 MUST 7", _rewrapped)
    yield Case("cose/replay/same facts in another header order", "§2 MUST 7", _unused_signing_input)
