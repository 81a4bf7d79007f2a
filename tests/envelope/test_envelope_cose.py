import struct

import pytest
from envelope_kit import (
    MAX_BYTES,
    SAID,
    bstr,
    claims,
    cmap,
    cose,
    cose_with,
    digest,
    f64,
    head,
    headers,
    nint,
    outer,
    protected_map,
    sig_structure,
    tstr,
    u,
)

from gateway.envelope.decoding import decode
from gateway.message import Alg, Encoding, Envelope, Rejected, RejectReason


def decoded(data, declared=None):
    return decode(data, declared, max_bytes=MAX_BYTES)


def is_malformed(data):
    verdict = decoded(data)
    return isinstance(verdict, Rejected) and verdict.reason is RejectReason.MALFORMED and verdict.detail


def test_the_facts_come_out_as_they_went_in():
    protected = protected_map(headers())
    signing_input = sig_structure(protected, SAID.payload)
    assert decoded(cose()) == Envelope(
        encoding=Encoding.COSE,
        device_id=SAID.device_id,
        fleet=SAID.fleet,
        alg=Alg.ED25519,
        content_format=50,
        issued_at=1_760_000_000,
        session=SAID.session,
        seq=7,
        payload=SAID.payload,
        signing_input=signing_input,
        signature=SAID.signature,
        digest=digest(signing_input),
    )


@pytest.mark.parametrize(
    ("item", "alg"),
    [
        (nint(-8), Alg.ED25519),
        (nint(-19), Alg.ED25519),
        (nint(-7), Alg.ES256),
        (nint(-9), Alg.ES256),
        (head(1, 7, 8), Alg.ED25519),
        (nint(-35), None),
        (nint(-(2**64)), None),
        (u(0), None),
        (u(8), None),
        (u(2**64 - 1), None),
        (tstr("EdDSA"), None),
        (tstr(""), None),
        (tstr("ünbekannt"), None),
        (tstr("x" * 3000), None),
    ],
)
def test_every_integer_and_text_is_an_algorithm_known_or_not(item, alg):
    envelope = decoded(cose_with(alg=item))
    assert isinstance(envelope, Envelope)
    assert envelope.alg is alg


FINE = {
    "content format 42": cose(SAID.but(content_format=42)),
    "content format 60": cose(SAID.but(content_format=60)),
    "content format 110": cose(SAID.but(content_format=110)),
    "content format 112": cose(SAID.but(content_format=112)),
    "empty payload": cose(SAID.but(payload=b"")),
    "payload of 24 bytes": cose(SAID.but(payload=bytes(24))),
    "payload of 256 bytes": cose(SAID.but(payload=bytes(256))),
    "no signature bytes": cose(SAID.but(signature=b"")),
    "signature of 63 bytes": cose(SAID.but(signature=bytes(63))),
    "one-character id": cose(SAID.but(device_id="a")),
    "id of 64": cose(SAID.but(device_id="x" * 64)),
    "fleet of 32": cose(SAID.but(fleet="x" * 32)),
    "id that begins as a reserved one": cose(SAID.but(device_id="gateway1")),
    "three dots": cose(SAID.but(device_id="...")),
    "upper-case gateway": cose(SAID.but(device_id="Gateway")),
    "seq 0": cose(SAID.but(seq=0)),
    "greatest seq": cose(SAID.but(seq=2**63 - 1)),
    "zero session": cose(SAID.but(session=bytes(8))),
    "iat 0": cose(SAID.but(issued_at=0)),
    "greatest iat": cose(SAID.but(issued_at=2**53 - 1)),
    "iat float16": cose_with(iat=b"\xf9\x3c\x00"),
    "iat float32": cose_with(iat=b"\xfa" + struct.pack(">f", 1.5)),
    "iat minus zero": cose_with(iat=f64(-0.0)),
    "iat subnormal": cose_with(iat=f64(5e-324)),
    "long head of the protected map": outer(head(5, 4, 8) + protected_map(headers())[1:]),
    "long label": outer(cmap([(u(label, 2), item) for label, item in headers().items()])),
    "long content format": cose_with(cty=u(50, 4)),
    "long kid": cose_with(kid=bstr(b"d", 8)),
    "long aud": cose_with(aud=tstr("villa", 2)),
    "long iat": cose_with(iat=u(5, 8)),
    "long cti": cose_with(cti=bstr(bytes(16), 4)),
}


@pytest.mark.parametrize("name", FINE)
def test_it_takes(name):
    assert isinstance(decoded(FINE[name]), Envelope)


def test_the_order_of_the_protected_map_is_free():
    backwards = dict(reversed(headers().items()))
    backwards[15] = cmap([(u(label), item) for label, item in reversed(claims().items())])
    assert isinstance(decoded(outer(protected_map(backwards))), Envelope)


def without(label):
    return {key: item for key, item in headers().items() if key != label}


def without_claim(label):
    return cose_with(cwt=cmap([(u(key), item) for key, item in claims().items() if key != label]))


def header_items(extra):
    return [(u(label), item) for label, item in headers().items()] + extra


def claim_items(extra):
    return [(u(label), item) for label, item in claims().items()] + extra


P = protected_map(headers())
PAYLOAD, SIGNATURE = bstr(SAID.payload), bstr(SAID.signature)
CTI = SAID.session + bytes(8)
DEEP = b"\x81" * 60000 + b"\x00"

OUTER = {
    "nothing": b"",
    "the tag alone": b"\xd2",
    "no tag": cose()[1:],
    "tag in two bytes": b"\xd8\x12" + cose()[1:],
    "tag in nine bytes": head(6, 18, 8) + cose()[1:],
    "tag 98": b"\xd8\x62" + cose()[1:],
    "tag 17": b"\xd1" + cose()[1:],
    "tag 18 twice": b"\xd2" + cose(),
    "self-described": b"\xd9\xd9\xf7" + cose(),
    "a CWT tag outside": b"\xd8\x3d" + cose(),
    "array in two bytes": outer(P, start=b"\xd2\x98\x04"),
    "array of indefinite length": outer(P, start=b"\xd2\x9f") + b"\xff",
    "array of three": b"\xd2\x83" + bstr(P) + b"\xa0" + PAYLOAD,
    "array of five": b"\xd2\x85" + cose()[2:] + b"\x40",
    "array of five, four there": b"\xd2\x85" + cose()[2:],
    "a map": b"\xd2\xa4" + cose()[2:],
    "byte after": cose() + b"\x00",
    "break after": cose() + b"\xff",
    "the message twice": cose() + cose(),
    "one byte short": cose()[:-1],
    "unprotected in two bytes": outer(P, unprotected=b"\xb8\x00"),
    "unprotected of indefinite length": outer(P, unprotected=b"\xbf\xff"),
    "unprotected kid": outer(P, unprotected=cmap([(u(4), bstr(b"11"))])),
    "unprotected null": outer(P, unprotected=b"\xf6"),
    "unprotected array": outer(P, unprotected=b"\x80"),
    "unprotected bstr": outer(P, unprotected=b"\x40"),
    "protected is a map": b"\xd2\x84" + P + b"\xa0" + PAYLOAD + SIGNATURE,
    "protected is text": b"\xd2\x84" + tstr(P) + b"\xa0" + PAYLOAD + SIGNATURE,
    "protected tagged": b"\xd2\x84\xd8\x18" + bstr(P) + b"\xa0" + PAYLOAD + SIGNATURE,
    "long head of protected": b"\xd2\x84" + bstr(P, 2) + b"\xa0" + PAYLOAD + SIGNATURE,
    "long head of payload": b"\xd2\x84" + bstr(P) + b"\xa0" + bstr(SAID.payload, 1) + SIGNATURE,
    "long head of signature": b"\xd2\x84" + bstr(P) + b"\xa0" + PAYLOAD + bstr(SAID.signature, 8),
    "payload in chunks": b"\xd2\x84" + bstr(P) + b"\xa0\x5f" + PAYLOAD + b"\xff" + SIGNATURE,
    "signature in chunks": b"\xd2\x84" + bstr(P) + b"\xa0" + PAYLOAD + b"\x5f" + SIGNATURE + b"\xff",
    "protected in chunks": b"\xd2\x84\x5f" + bstr(P) + b"\xff\xa0" + PAYLOAD + SIGNATURE,
    "payload detached": b"\xd2\x84" + bstr(P) + b"\xa0\xf6" + SIGNATURE,
    "payload text": b"\xd2\x84" + bstr(P) + b"\xa0" + tstr(SAID.payload) + SIGNATURE,
    "signature null": b"\xd2\x84" + bstr(P) + b"\xa0" + PAYLOAD + b"\xf6",
    "signature array": b"\xd2\x84" + bstr(P) + b"\xa0" + PAYLOAD + b"\x80",
    "payload longer than the message": b"\xd2\x84" + bstr(P) + b"\xa0" + head(2, 2**64 - 1) + SIGNATURE,
    "reserved length": b"\xd2\x84\x5c" + cose()[4:],
    "nothing but depth": b"\xd2" + DEEP,
    "depth as unprotected": outer(P, unprotected=DEEP),
    "depth as payload": b"\xd2\x84" + bstr(P) + b"\xa0" + DEEP,
}

HEADERS = {
    "protected empty": outer(b""),
    "protected empty map": outer(b"\xa0"),
    "protected array": outer(b"\x84" + P[1:]),
    "protected tagged inside": outer(b"\xd8\x18" + P),
    "protected of indefinite length": outer(b"\xbf" + P[1:] + b"\xff"),
    "byte after protected": outer(P + b"\x00"),
    "protected twice": outer(P + P),
    "protected cut": outer(P[:-1]),
    "no alg": outer(protected_map(without(1))),
    "no content type": outer(protected_map(without(3))),
    "no kid": outer(protected_map(without(4))),
    "no claims": outer(protected_map(without(15))),
    "no aud": without_claim(3),
    "no iat": without_claim(6),
    "no cti": without_claim(7),
    "alg twice": outer(cmap(header_items([(u(1), nint(-8))]))),
    "alg twice, no kid": outer(cmap([(u(1), nint(-8)), *((u(k), v) for k, v in without(4).items())])),
    "alg twice by another length": outer(cmap(header_items([(u(1, 1), nint(-8))]))),
    "aud twice, no iat": cose_with(cwt=cmap([(u(3), tstr("villa"))] * 2 + [(u(7), bstr(CTI))])),
    "cti twice, no iat": cose_with(cwt=cmap([(u(3), tstr("villa"))] + [(u(7), bstr(CTI))] * 2)),
    "claim twice": cose_with(cwt=cmap(claim_items([(u(3), tstr("villa"))]))),
    "crit": outer(cmap(header_items([(u(2), b"\x81\x01")]))),
    "critical unknown header": outer(cmap(header_items([(nint(-70000), b"\x00")]))),
    "typ": outer(cmap(header_items([(u(16), tstr("x"))]))),
    "text header": outer(cmap(header_items([(tstr("alg"), nint(-8))]))),
    "null header": outer(cmap(header_items([(b"\xf6", b"\xf6")]))),
    "nested in an unknown header": outer(cmap(header_items([(u(99), DEEP)]))),
    "alg under true": outer(cmap([(b"\xf5", nint(-8)), *((u(k), v) for k, v in without(1).items())])),
    "alg under 1.0": outer(cmap([(f64(1.0), nint(-8)), *((u(k), v) for k, v in without(1).items())])),
    "alg under tag": outer(cmap([(b"\xc1\x01", nint(-8)), *((u(k), v) for k, v in without(1).items())])),
    "alg under bignum": outer(cmap([(b"\xc2\x41\x01", nint(-8)), *((u(k), v) for k, v in without(1).items())])),
    "alg under -2": outer(cmap([(nint(-2), nint(-8)), *((u(k), v) for k, v in without(1).items())])),
    "exp claim": cose_with(cwt=cmap(claim_items([(u(4), u(2**40))]))),
    "iss claim": cose_with(cwt=cmap(claim_items([(u(1), tstr("x"))]))),
    "text claim": cose_with(cwt=cmap(claim_items([(tstr("x"), u(1))]))),
    "claims empty": cose_with(cwt=b"\xa0"),
    "claims array": cose_with(cwt=b"\x80"),
    "claims bstr": cose_with(cwt=bstr(cmap(claim_items([])))),
    "claims tagged": cose_with(cwt=b"\xd8\x3d" + cmap(claim_items([]))),
    "claims of indefinite length": cose_with(cwt=b"\xbf" + cmap(claim_items([]))[1:] + b"\xff"),
    "aud in chunks": cose_with(aud=b"\x7f" + tstr("villa") + b"\xff"),
    "kid in chunks": cose_with(kid=b"\x5f" + bstr(b"d") + b"\xff"),
}

WRONG_TYPES = {
    "true": b"\xf5",
    "null": b"\xf6",
    "undefined": b"\xf7",
    "simple": b"\xf8\xff",
    "array": b"\x81\x01",
    "map": b"\xa1\x01\x01",
    "tagged": b"\xc1\x01",
    "bignum": b"\xc2\x41\x01",
    "deep": DEEP,
    "break": b"\xff",
}
VALUES = {
    **{f"{fact} {name}": cose_with(**{fact: item}) for name, item in WRONG_TYPES.items()
       for fact in ("alg", "cty", "kid", "cwt", "aud", "iat", "cti")},
    "alg bstr": cose_with(alg=bstr(b"EdDSA")),
    "alg float": cose_with(alg=f64(-8.0)),
    "alg not UTF-8": cose_with(alg=tstr(b"\xff")),
    "alg a surrogate": cose_with(alg=tstr(b"\xed\xa0\x80")),
    "alg negative bignum": cose_with(alg=b"\xc3\x41\x07"),
    **{f"content format {n}": cose_with(cty=u(n)) for n in (0, 18, 41, 43, 51, 61, 98, 111, 113, 11050, 2**64 - 1)},
    "content type text": cose_with(cty=tstr("application/json")),
    "content format float": cose_with(cty=f64(50.0)),
    "content format negative": cose_with(cty=nint(-51)),
    **{f"kid {kid!r}": cose_with(kid=bstr(kid)) for kid in (
        b"", b".", b"..", b"gateway", b"x" * 65, b"a/b", b"a+b", b"a#b", b"a b", b"a\n", b"\na", b"a\x00", b"a%41",
        "ä".encode(), b"\xff", b"\xed\xa0\x80", b"\xc1\xa1", b"a\xcc\x81", "\uff41".encode(), "٣".encode(), b"$SYS",
    )},
    "kid text": cose_with(kid=tstr("device")),
    **{f"aud {aud!r}": cose_with(aud=tstr(aud)) for aud in (
        b"", b".", b"..", b"gateway", b"x" * 33, b"a/b", b"+", b"#", b"a\n", b"a\x00", "ä".encode(), b"\xff",
    )},
    "aud bstr": cose_with(aud=bstr(b"villa")),
    "aud array of one": cose_with(aud=b"\x81" + tstr("villa")),
    "iat negative": cose_with(iat=nint(-1)),
    "iat 2^53": cose_with(iat=u(2**53)),
    "iat 2^64 - 1": cose_with(iat=u(2**64 - 1)),
    "iat float 2^53": cose_with(iat=f64(2.0**53)),
    "iat tiny negative": cose_with(iat=f64(-5e-324)),
    **{f"iat {n}": cose_with(iat=f64(n)) for n in (float("nan"), float("inf"), float("-inf"), -1.5, 1e300)},
    "iat NaN float16": cose_with(iat=b"\xf9\x7e\x00"),
    "iat infinite float16": cose_with(iat=b"\xf9\x7c\x00"),
    "iat NaN float32": cose_with(iat=b"\xfa\x7f\xc0\x00\x00"),
    "iat text": cose_with(iat=tstr("1760000000")),
    "iat a tagged time": cose_with(iat=b"\xc1" + u(1_760_000_000)),
    "iat a decimal fraction": cose_with(iat=b"\xc4\x82\x20\x0f"),
    "cti of 15": cose_with(cti=bstr(bytes(15))),
    "cti of 17": cose_with(cti=bstr(bytes(17))),
    "cti empty": cose_with(cti=bstr(b"")),
    "cti text": cose_with(cti=tstr("x" * 16)),
    "seq 2^63": cose(SAID.but(seq=2**63)),
    "seq 2^64 - 1": cose(SAID.but(seq=2**64 - 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", OUTER)
def test_the_outer_array_is_refused_for(name):
    assert is_malformed(OUTER[name])


@pytest.mark.parametrize("name", HEADERS)
def test_the_protected_header_is_refused_for(name):
    assert is_malformed(HEADERS[name])


@pytest.mark.parametrize("name", VALUES)
def test_a_fact_is_refused_for(name):
    assert is_malformed(VALUES[name])


def test_no_prefix_of_a_message_is_a_message():
    whole = cose()
    assert all(is_malformed(whole[:end]) for end in range(len(whole)))


def test_no_prefix_of_a_protected_header_is_one():
    assert all(is_malformed(outer(P[:end])) for end in range(len(P)))


def test_a_message_may_be_as_long_as_the_limit_and_no_longer():
    data = cose()
    assert isinstance(decode(data, None, max_bytes=len(data)), Envelope)
    refused = decode(data, None, max_bytes=len(data) - 1)
    assert isinstance(refused, Rejected)
    assert refused.reason is RejectReason.TOO_LARGE


def test_too_large_is_said_of_anything_and_whatever_was_declared():
    for data in (b"x" * 300, b"{" * 300, b"\xd2" * 300):
        for declared in (None, *Encoding):
            assert decode(data, declared, max_bytes=299).reason is RejectReason.TOO_LARGE


@pytest.mark.parametrize("declared", [Encoding.JWS, Encoding.OTHER])
def test_a_declared_type_must_agree_with_the_first_byte(declared):
    assert decoded(cose(), declared).reason is RejectReason.MALFORMED
    assert isinstance(decoded(cose(), Encoding.COSE), Envelope)
