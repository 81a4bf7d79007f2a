import json

import pytest
from envelope_kit import (
    MAX_BYTES,
    SAID,
    b64,
    cose,
    digest,
    jws,
    jws_header,
    jws_members,
    jws_of,
    jws_raw,
    jws_with,
)

from gateway.envelope.decoding import decode
from gateway.message import Alg, Encoding, Envelope, Rejected, RejectReason


def decoded(data, declared=None):
    return decode(data, declared, max_bytes=MAX_BYTES)


def is_malformed(data):
    verdict = decoded(data)
    return isinstance(verdict, Rejected) and verdict.reason is RejectReason.MALFORMED and verdict.detail


def test_the_facts_come_out_as_they_went_in():
    members = jws_members(jws_header())
    signing_input = f"{members['protected']}.{members['payload']}".encode()
    assert decoded(jws()) == Envelope(
        encoding=Encoding.JWS,
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
    ("name", "alg"),
    [
        ("EdDSA", Alg.ED25519),
        ("Ed25519", Alg.ED25519),
        ("ES256", Alg.ES256),
        ("eddsa", None),
        ("none", None),
        ("", None),
        ("HS256", None),
        ("ESP256", None),
        ("Ed448", None),
        ("EdDSA ", None),
        ("EdDSA\x00", None),
        ("🔑", None),
        ("{" * 3000, None),
        ("[" * 3000, None),
    ],
)
def test_every_string_is_an_algorithm_known_or_not(name, alg):
    envelope = decoded(jws_with(alg=name))
    assert isinstance(envelope, Envelope)
    assert envelope.alg is alg


MEMBERS = jws_members(jws_header())
TEXT = json.dumps(MEMBERS)
HEADER = json.dumps(jws_header())


def spaced(text):
    """White space of all four kinds wherever JSON allows it inside an object."""
    for sign in ("{", ",", ":"):
        text = text.replace(sign, sign + " \t\r\n")
    return text.replace("}", "\n}")


def header_with(text):
    return jws_of(text.encode())


FINE = {
    "compact": json.dumps(MEMBERS, separators=(",", ":")).encode(),
    "white space inside": spaced(TEXT).encode(),
    "white space inside the header": header_with(spaced(json.dumps(jws_header() | {"kid": "d"}))),
    "members in another order": json.dumps(dict(reversed(MEMBERS.items()))).encode(),
    "headers in another order": jws_of(dict(reversed(jws_header().items()))),
    "escaped member name": TEXT.replace('"payload"', r'"\u0070ayload"').encode(),
    "escaped header name": header_with(HEADER.replace('"alg"', r'"\u0061lg"')),
    "escaped value": header_with(HEADER.replace('"EdDSA"', r'"\u0045dDSA"')),
    "escaped solidus": header_with(HEADER.replace("application/json", r"application\/json")),
    "escaped signature": TEXT.replace('"signature": "A', '"signature": "\\u0041').encode(),
    "empty payload": jws(SAID.but(payload=b"")),
    "payload of one byte": jws(SAID.but(payload=b"a")),
    "no signature bytes": jws(SAID.but(signature=b"")),
    "all content types": jws(SAID.but(content_format=112)),
    "iat a fraction": jws_raw(iat="1760000000.25"),
    "iat an exponent": jws_raw(iat="1e3"),
    "iat another exponent": jws_raw(iat="1.5E+3"),
    "iat minus zero": jws_raw(iat="-0"),
    "iat minus zero point zero": jws_raw(iat="-0.0"),
    "iat tiny": jws_raw(iat="1e-400"),
    "iat greatest": jws_raw(iat=str(2**53 - 1)),
    "iat greatest, with a point": jws_raw(iat=f"{2**53 - 1}.0"),
    "iat long": jws_raw(iat="1." + "0" * 5000),
    "seq 0": jws_raw(seq="0"),
    "seq above 2^53": jws_raw(seq=str(2**53 + 1)),
    "greatest seq": jws_raw(seq=str(2**63 - 1)),
    "id of 64": jws(SAID.but(device_id="x" * 64)),
    "fleet of 32": jws(SAID.but(fleet="x" * 32)),
}


@pytest.mark.parametrize("name", FINE)
def test_it_takes(name):
    assert isinstance(decoded(FINE[name]), Envelope)


def test_an_escaped_value_has_the_digest_of_the_plain_one():
    assert decoded(FINE["escaped signature"]) == decoded(jws())


def test_a_great_seq_is_not_rounded():
    assert decoded(jws_raw(seq=str(2**63 - 1))).seq == 2**63 - 1
    assert decoded(jws_raw(seq=str(2**53 + 1))).seq == 2**53 + 1


def changed(**members):
    return json.dumps(MEMBERS | members).encode()


def cut(name, members):
    return {key: value for key, value in members.items() if key != name}


def last_bits_set(text):
    """The same octets with the unused bits of the last character set."""
    signs = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert len(text) % 4 in (2, 3)
    return text[:-1] + signs[signs.index(text[-1]) | 1]


SIGNATURE = MEMBERS["signature"]
DEEP_OBJECT = '{"a":' * 10000
DEEP_ARRAY = "[" * 40000

OUTER = {
    "nothing but a brace": b"{",
    "empty object": b"{}",
    "byte order mark": b"\xef\xbb\xbf" + jws(),
    "UTF-16": TEXT.encode("utf-16-be"),
    "UTF-32": TEXT.encode("utf-32-le"),
    "space before": b" " + jws(),
    "newline before": b"\n" + jws(),
    "space after": jws() + b" ",
    "newline after": jws() + b"\n",
    "NUL after": jws() + b"\x00",
    "brace after": jws() + b"}",
    "the message twice": jws() + jws(),
    "an array of one": b"[" + jws() + b"]",
    "a string": json.dumps(TEXT).encode(),
    "compact serialization": ".".join(MEMBERS[name] for name in ("protected", "payload", "signature")).encode(),
    "general serialization": json.dumps(
        {"payload": MEMBERS["payload"], "signatures": [cut("payload", MEMBERS)]}
    ).encode(),
    "both serializations": changed(signatures=[cut("payload", MEMBERS)]),
    "no protected": json.dumps(cut("protected", MEMBERS)).encode(),
    "no payload": json.dumps(cut("payload", MEMBERS)).encode(),
    "no signature": json.dumps(cut("signature", MEMBERS)).encode(),
    "unprotected header": changed(header={"kid": "x"}),
    "empty unprotected header": changed(header={}),
    "unknown member": changed(x=1),
    "empty member name": changed(**{"": ""}),
    "member in upper case": json.dumps({**cut("payload", MEMBERS), "Payload": MEMBERS["payload"]}).encode(),
    "member twice": (TEXT[:-1] + ', "signature": "AA"}').encode(),
    "member twice and the same": (TEXT[:-1] + f', "signature": "{SIGNATURE}"}}').encode(),
    "member twice, once escaped": (TEXT[:-1] + ', "\\u0073ignature": "AA"}').encode(),
    "member twice instead of another": json.dumps(cut("payload", MEMBERS))
    .replace("}", ', "signature": "AA"}')
    .encode(),
    "lone surrogate name": (TEXT[:-1] + ', "\\ud800": "AA"}').encode(),
    "protected an object": changed(protected=jws_header()),
    "payload an object": changed(payload={"t": 21.5}),
    "payload null": changed(payload=None),
    "payload a number": changed(payload=1234),
    "signature an array": changed(signature=[SIGNATURE]),
    "signature true": changed(signature=True),
    "trailing comma": (TEXT[:-1] + ",}").encode(),
    "leading comma": ("{," + TEXT[1:]).encode(),
    "comment": ("{/**/" + TEXT[1:]).encode(),
    "single quotes": TEXT.replace('"', "'").encode(),
    "no-break space": ("{\u00a0" + TEXT[1:]).encode(),
    "vertical tab": ("{\x0b" + TEXT[1:]).encode(),
    "form feed": ("{\x0c" + TEXT[1:]).encode(),
    "byte order mark inside": ("{\ufeff" + TEXT[1:]).encode(),
    "raw newline in a string": TEXT.replace(SIGNATURE, SIGNATURE[:20] + "\n" + SIGNATURE[20:]).encode(),
    "raw NUL in a name": TEXT.replace("payload", "payload\x00").encode(),
    "bad escape": TEXT.replace('"payload"', r'"\x70ayload"').encode(),
    "cut escape": TEXT.replace('"payload"', r'"\u007ayload"').encode(),
    "signed escape": TEXT.replace('"payload"', r'"\u+070ayload"').encode(),
    "not UTF-8": jws().replace(b'"payload"', b'"payload\xff"'),
    "overlong UTF-8": jws().replace(b'"payload"', b'"\xc1\xb0ayload"'),
    "a surrogate in UTF-8": jws().replace(b'"payload"', b'"payload\xed\xa0\x80"'),
    "deep objects": DEEP_OBJECT.encode(),
    "deep objects, closed": (DEEP_OBJECT + "1" + "}" * 10000).encode(),
    "deep array in a member": changed().replace(b'"payload"', b'"x": ' + DEEP_ARRAY.encode() + b',"payload"'),
    "NaN": changed(x=float("nan")),
    **{
        f"{name} with {what}": changed(**{name: change(MEMBERS[name])})
        for name in MEMBERS
        for what, change in {
            "padding": lambda text: text + "=" * (-len(text) % 4 or 4),
            "one sign of padding": lambda text: text + "=",
            "a newline": lambda text: text + "\n",
            "a space inside": lambda text: text[:4] + " " + text[4:],
            "a plus": lambda text: "+" + text[1:],
            "a slash": lambda text: "/" + text[1:],
            "a dot": lambda text: text + ".",
            "a foreign sign": lambda text: text[:4] + "é" + text[4:],
            "a percent escape": lambda text: text[:4] + "%41" + text[4:],
            "a lone surrogate": lambda text: text + "\ud800",
            "a full-width letter": lambda text: text + "\uff21",
            "a NUL": lambda text: text + "\x00",
            "four signs ignored": lambda text: text[:4] + "!!!!" + text[4:],
        }.items()
    },
    "payload of one sign": changed(payload="A"),
    "payload of five signs": changed(payload="AAAAA"),
    "bits after the signature": changed(signature=last_bits_set(SIGNATURE)),
    "bits after the payload": changed(payload=last_bits_set(b64(b"a"))),
    "bits after the payload of two": changed(payload=last_bits_set(b64(b"ab"))),
    "padding alone": changed(payload="===="),
}

HEADERS = {
    "empty": jws_of(b""),
    "empty object": jws_of(b"{}"),
    "an array": jws_of(b"[" + HEADER.encode() + b"]"),
    "null": jws_of(b"null"),
    "byte order mark": jws_of(b"\xef\xbb\xbf" + HEADER.encode()),
    "space before": jws_of(b" " + HEADER.encode()),
    "space after": jws_of(HEADER.encode() + b" "),
    "newline after": jws_of(HEADER.encode() + b"\n"),
    "twice": jws_of(HEADER.encode() * 2),
    "UTF-16": jws_of(HEADER.encode("utf-16-le")),
    "not UTF-8": jws_of(HEADER.encode() + b"\xff"),
    "cut": jws_of(HEADER.encode()[:-1]),
    "deep": jws_of(DEEP_OBJECT[:40000].encode()),
    **{f"no {name}": jws_of(cut(name, jws_header())) for name in jws_header()},
    **{
        f"{name} twice": header_with(HEADER[:-1] + f', "{name}": {json.dumps(jws_header()[name])}}}')
        for name in jws_header()
    },
    "alg twice, once escaped": header_with(HEADER[:-1] + r', "\u0061\u006c\u0067": "EdDSA"}'),
    "crit": jws_with(crit=["exp"]),
    "crit empty": jws_with(crit=[]),
    "b64": jws_with(b64=True),
    "b64 and crit": jws_with(b64=False, crit=["b64"]),
    "typ": jws_with(typ="JWT"),
    "jwk": jws_with(jwk={"kty": "OKP"}),
    "unknown member": jws_with(x=None),
    "duplicates in an unknown member": header_with(HEADER[:-1] + ', "x": {"a":1,"a":2}}'),
    "nine deep in an unknown member": jws_with(x=[[[[[[[[1]]]]]]]]),
}

WRONG_TYPES = {
    "true": "true",
    "false": "false",
    "null": "null",
    "object": "{}",
    "array": "[]",
    "array of one": '["EdDSA"]',
    "deep": "[" * 20000 + "]" * 20000,
    "NaN": "NaN",
    "infinity": "Infinity",
    "minus infinity": "-Infinity",
}
IDS = (
    "",
    ".",
    "..",
    "gateway",
    "a/b",
    "a b",
    "a+b",
    "a#",
    "a\n",
    "\n",
    "a\x00",
    "ä",
    "\ud800",
    "٣",
    "\uff41",
    "a\ufeff",
)
VALUES = {
    **{f"{name} {what}": jws_raw(**{name: text}) for name in jws_header() for what, text in WRONG_TYPES.items()},
    **{f"{name} a number": jws_raw(**{name: "8"}) for name in ("alg", "kid", "cty", "aud", "sid")},
    "alg a lone surrogate": jws_raw(alg=r'"\ud800"'),
    "alg surrogates in the wrong order": jws_raw(alg=r'"\udc00\ud800"'),
    **{f"kid {kid!a}": jws_with(kid=kid) for kid in (*IDS, "x" * 65)},
    **{f"aud {aud!a}": jws_with(aud=aud) for aud in (*IDS, "x" * 33)},
    "aud an array": jws_with(aud=["villa"]),
    **{
        f"cty {cty!r}": jws_with(cty=cty)
        for cty in (
            "",
            "json",
            "50",
            "Application/json",
            "application/JSON",
            "application/json ",
            " application/json",
            "application/json;charset=utf-8",
            "application/senml+xml",
            "application/cose",
            "text/plain",
        )
    },
    "iat text": jws_with(iat="1760000000"),
    **{
        f"iat {text[:30]}": jws_raw(iat=text)
        for text in (
            "-1", "-0.5", "-1e-300", "9007199254740992", "9007199254740992.0", "1e16", "1e400", "-1e400",
            "9" * 6000, "01", "+1", "1.", ".5", "0x10", "1_000", "1e", "- 1", "\u0661", "0b1", "1L", "2e308",
        )
    },
    "seq text": jws_with(seq="7"),
    **{
        f"seq {text[:30]}": jws_raw(seq=text)
        for text in (
            "-1", "-0", "1.0", "1e3", "1E0", "7e0", "9223372036854775808", "18446744073709551615", "1" + "0" * 19,
            "9" * 6000, "07", "00", "+7", "1_0", "0x7", "\u0667", "1e-1", "7.5",
        )
    },
    **{f"sid of {n} bytes": jws_with(sid=b64(bytes(n))) for n in (0, 7, 9, 16)},
    "sid padded": jws_with(sid=b64(SAID.session) + "="),
    "sid with bits after it": jws_with(sid=last_bits_set(b64(SAID.session))),
    "sid in hex": jws_with(sid=SAID.session.hex()),
    "sid in the other alphabet": jws_with(sid="+/+/+/+/+/8"),
}  # fmt: skip


@pytest.mark.parametrize("name", OUTER)
def test_the_object_is_refused_for(name):
    assert is_malformed(OUTER[name])


@pytest.mark.parametrize("name", HEADERS)
def test_the_protected_header_is_refused_for(name):
    assert is_malformed(HEADERS[name])


@pytest.mark.parametrize("name", VALUES)
def test_a_fact_is_refused_for(name):
    assert is_malformed(VALUES[name])


def test_no_prefix_of_a_message_is_a_message():
    whole = jws()
    assert all(is_malformed(whole[:end]) for end in range(len(whole)))


@pytest.mark.parametrize("declared", [Encoding.COSE, Encoding.OTHER])
def test_a_declared_type_must_agree_with_the_first_byte(declared):
    assert decoded(jws(), declared).reason is RejectReason.MALFORMED
    assert isinstance(decoded(jws(), Encoding.JWS), Envelope)


def test_both_encodings_of_the_same_facts_carry_the_same_facts():
    one, other = decoded(jws()), decoded(cose())
    assert one[1:9] == other[1:9]
    assert one.signature == other.signature
    assert one.digest != other.digest
