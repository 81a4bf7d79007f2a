"""Conformance tables for JWS: members of the protected header bent before signing, the envelope bent after it."""

from collections.abc import Callable
from typing import Final

from firmware_sim.envelope import base64url
from firmware_sim.kit_model import JwsHeader, b64

Bend = Callable[[JwsHeader], bytes]
Row = tuple[str, Bend]
Outer = Callable[[str, str, str], bytes]


def _header(bend: Callable[[JwsHeader], JwsHeader]) -> Bend:
    return lambda header: bend(header).encode()


def _put(name: str, raw: str) -> Bend:
    return lambda header: header.put(name, raw).encode()


def _drop(name: str) -> Bend:
    return lambda header: header.drop(name).encode()


def _add(name: str, raw: str) -> Bend:
    return lambda header: header.add(name, raw).encode()


def _twice(name: str) -> Bend:
    return lambda header: header.add(name, header.get(name)).encode()


def _upper(name: str) -> Bend:
    return lambda header: header.rename(name, name.upper()).encode()


NAMES: Final = ("alg", "kid", "cty", "aud", "iat", "sid", "seq")
TEXT_NAMES: Final = ("alg", "kid", "cty", "aud", "sid")
WRONG_TYPES: Final = {"true": "true", "null": "null", "an array": '["x"]', "an object": "{}", "empty array": "[]"}

MISSING: Final[tuple[Row, ...]] = (
    *((f"no {name}", _drop(name)) for name in NAMES),
    ("no member at all", lambda _: b"{}"),
    ("zero bytes", lambda _: b""),
)
EXTRA: Final[tuple[Row, ...]] = (
    *(
        (f"member {name}", _add(name, raw))
        for name, raw in (
            ("crit", '["exp"]'),
            ("typ", '"JOSE"'),
            ("b64", "false"),
            ("jwk", "{}"),
            ("jku", '"https://example.org/"'),
            ("x5c", "[]"),
            ("exp", "9007199254740000"),
            ("iss", '"me"'),
            ("", "0"),
            ("KID", '"x"'),
            ("__proto__", "{}"),
        )
    ),
    *((f"{name} renamed in upper case", _upper(name)) for name in NAMES),
)
OTHER_TYPE: Final[tuple[Row, ...]] = (
    *((f"{name} is {kind}", _put(name, raw)) for name in NAMES for kind, raw in WRONG_TYPES.items()),
    *((f"{name} is a number", _put(name, "7")) for name in TEXT_NAMES),
    ("iat is text", _header(lambda h: h.put("iat", f'"{h.get("iat")}"'))),
    ("seq is text", _header(lambda h: h.put("seq", f'"{h.get("seq")}"'))),
)
CTY_BAD: Final[tuple[Row, ...]] = tuple(
    (f"cty {text!r}", _put("cty", f'"{text}"'))
    for text in (
        "",
        "json",
        "Application/json",
        "application/JSON",
        "application/json; charset=utf-8",
        "application/json;",
        " application/json",
        "application/json ",
        "text/plain",
        "application/senml",
        "application/senml+xml",
        "application/sensml+json",
        "50",
    )
)
BAD_IDS: Final = {
    "empty": "",
    "with a space": "a b",
    "with a slash": "a/b",
    "with a plus": "a+b",
    "with an umlaut": "gerät",
    "with an escaped NUL": "a\\u0000",
    "with an escaped newline": "a\\n",
    "of one dot": ".",
    "of two dots": "..",
    "gateway": "gateway",
}
ID_BAD: Final[tuple[Row, ...]] = (
    *((f"{name} {kind}", _put(name, f'"{text}"')) for name in ("kid", "aud") for kind, text in BAD_IDS.items()),
    ("kid of 65 characters", _put("kid", f'"{"a" * 65}"')),
    ("aud of 33 characters", _put("aud", f'"{"a" * 33}"')),
    ("kid with a lone surrogate", _put("kid", '"a\\ud800"')),
)
NUMBER_BAD: Final[tuple[Row, ...]] = (
    *(
        (f"iat {raw}", _put("iat", raw))
        for raw in (
            "-1",
            "-0.5",
            "9007199254740992",
            "9007199254740992.0",
            "1e300",
            "1e400",
            "NaN",
            "Infinity",
            "-Infinity",
            "01",
            "1.",
            ".5",
            "+1",
            "0x10",
            "1_000",
            "1e",
            "9" * 5_000,
        )
    ),
    *(
        (f"seq {raw[:24]}", _put("seq", raw))
        for raw in (
            "-1",
            "-0",
            "1.0",
            "1e3",
            "1E3",
            "01",
            "+1",
            "0x1",
            "1_0",
            "9223372036854775808",
            "18446744073709551615",
            "NaN",
            "9" * 5_000,
        )
    ),
)
_SID: Final = base64url(bytes(range(8)))
SID_BAD: Final[tuple[Row, ...]] = tuple(
    (f"sid {name}", _put("sid", f'"{text}"'))
    for name, text in (
        ("empty", ""),
        ("of seven bytes", base64url(bytes(7))),
        ("of nine bytes", base64url(bytes(9))),
        ("of sixteen bytes", base64url(bytes(16))),
        ("with padding", _SID + "="),
        ("with loose bits", _SID[:-1] + "d"),
        ("with plus and slash", b64(b"\xfb\xff\xfe" * 2 + b"\xfb\xff").rstrip("=")),
        ("with a space", _SID[:5] + " " + _SID[5:]),
        ("with a newline", _SID + "\\n"),
        ("in hex", bytes(8).hex()),
        ("one character short", _SID[:-1]),
        ("with a letter of no alphabet", "é" + _SID[1:]),
    )
)
TEXT_BAD: Final[tuple[Row, ...]] = (
    *((f"duplicate {name}", _twice(name)) for name in NAMES),
    ("duplicate alg with another value", _header(lambda h: h.add("alg", '"none"'))),
    ("duplicate kid by an escape", _header(lambda h: h.add("\\u006bid", h.get("kid")))),
    ("duplicate seq by an escape", _header(lambda h: h.add("s\\u0065q", h.get("seq")))),
    ("space before protected", lambda h: b" " + h.encode()),
    ("space after protected", lambda h: h.encode() + b" "),
    ("line end after protected", lambda h: h.encode() + b"\n"),
    ("byte order mark in protected", lambda h: b"\xef\xbb\xbf" + h.encode()),
    ("NUL after protected", lambda h: h.encode() + b"\x00"),
    ("second object after protected", lambda h: h.encode() * 2),
    ("protected cut by one byte", lambda h: h.encode()[:-1]),
    ("protected is an array", lambda h: b"[" + h.encode() + b"]"),
    ("protected is a text", lambda _: b'"x"'),
    ("protected is null", lambda _: b"null"),
    ("protected in UTF-16", lambda h: h.encode().decode().encode("utf-16-le")),
    ("protected with invalid UTF-8", lambda h: h.encode().replace(b'"alg"', b'"al\xff"')),
    ("invalid UTF-8 in kid", lambda h: h.put("kid", '"@"').encode().replace(b"@", b"\xc3\x28")),
    ("overlong UTF-8 in kid", lambda h: h.put("kid", '"@"').encode().replace(b"@", b"\xc1\xa1")),
    ("comma at the end", lambda h: h.encode()[:-1] + b",}"),
    ("no comma", lambda h: h.encode(comma=" ")),
    ("single quotes", lambda h: h.encode().replace(b'"', b"'")),
    ("comment", lambda h: b"{/**/" + h.encode()[1:]),
    ("control character in a name", lambda h: h.rename("alg", "al\ng").encode()),
    ("unknown escape in a name", lambda h: h.rename("alg", "\\al\\g").encode()),
    ("form feed between members", lambda h: h.encode(comma=",\f")),
    ("no-break space between members", lambda h: h.encode(comma=",\u00a0")),
    ("nests nine deep", _header(lambda h: h.add("x", "[" * 8 + "]" * 8))),
    ("nests twenty thousand deep", _header(lambda h: h.add("x", "[" * 20_000))),
)
ALG_VALUES: Final = (
    "none",
    "None",
    "",
    "HS256",
    "ES384",
    "ES512",
    "RS256",
    "PS256",
    "Ed448",
    "eddsa",
    "EDDSA",
    "ed25519",
    "ESP256",
    "-8",
    "ES256K",
    "EdDSA ",
)
FINE: Final[tuple[Row, ...]] = (
    ("members in reverse order", _header(lambda h: h.reverse())),
    ("white space between members", lambda h: h.encode(", ", " : ")),
    ("line ends and tabs between members", lambda h: h.encode(",\r\n\t", ":\n")),
    ("white space inside the braces", lambda h: b"{ \n" + h.encode()[1:-1] + b"\t }"),
    ("alg written Ed25519", _put("alg", '"Ed25519"')),
    ("name of kid with an escape", _header(lambda h: h.rename("kid", "\\u006bid"))),
    ("every name escaped", lambda h: JwsHeader(tuple((_escaped(name), value) for name, value in h.members)).encode()),
    ("iat as an integer", _header(lambda h: h.put("iat", h.get("iat").partition(".")[0]))),
    ("iat with an exponent", _header(lambda h: h.put("iat", f"{float(h.get('iat')) / 1e9:.12f}e9"))),
    ("iat with a large exponent sign", _header(lambda h: h.put("iat", f"{float(h.get('iat')) * 10:.2f}E-1"))),
    ("iat with many digits", _header(lambda h: h.put("iat", f"{float(h.get('iat')):.30f}"))),
    *(
        (f"cty {text}", _put("cty", f'"{text}"'))
        for text in (
            "application/senml+json",
            "application/senml+cbor",
            "application/json",
            "application/cbor",
            "application/octet-stream",
        )
    ),
)
VALUE_ESCAPES: Final[tuple[Row, ...]] = (
    ("alg with an escape", _put("alg", '"\\u0045dDSA"')),
    ("cty with an escaped slash", _put("cty", '"application\\/json"')),
    ("kid with an escape", _header(lambda h: h.put("kid", f'"{_escaped(h.get("kid").strip(chr(34)))}"'))),
    ("sid with an escape", _header(lambda h: h.put("sid", f'"{_escaped(h.get("sid").strip(chr(34)))}"'))),
)


def _escaped(text: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in text)


def _form(template: str) -> Outer:
    return lambda protected, payload, signature: (
        template.replace("<p>", protected).replace("<d>", payload).replace("<s>", signature).encode()
    )


_PLAIN: Final = '{"protected":"<p>","payload":"<d>","signature":"<s>"}'


def _edit(change: Callable[[bytes], bytes]) -> Outer:
    return lambda protected, payload, signature: change(_form(_PLAIN)(protected, payload, signature))


OUTER_BAD: Final[tuple[tuple[str, Outer], ...]] = (
    ("compact serialisation", _form("<p>.<d>.<s>")),
    ("general serialisation", _form('{"payload":"<d>","signatures":[{"protected":"<p>","signature":"<s>"}]}')),
    ("in an array", _form(f"[{_PLAIN}]")),
    ("no protected", _form('{"payload":"<d>","signature":"<s>"}')),
    ("no payload", _form('{"protected":"<p>","signature":"<s>"}')),
    ("no signature", _form('{"protected":"<p>","payload":"<d>"}')),
    ("empty object", _form("{}")),
    ("unprotected header", _form('{"protected":"<p>","header":{},"payload":"<d>","signature":"<s>"}')),
    ("one member more", _form('{"protected":"<p>","payload":"<d>","signature":"<s>","x":0}')),
    ("empty name", _form('{"protected":"<p>","payload":"<d>","signature":"<s>","":0}')),
    ("duplicate payload", _form('{"protected":"<p>","payload":"","payload":"<d>","signature":"<s>"}')),
    ("duplicate protected", _form('{"protected":"<p>","protected":"<p>","payload":"<d>","signature":"<s>"}')),
    ("duplicate signature by an escape", _form(_PLAIN[:-1] + ',"\\u0073ignature":"<s>"}')),
    ("member in upper case", _form('{"Protected":"<p>","payload":"<d>","signature":"<s>"}')),
    *(
        (f"{name} is {kind}", _form(_PLAIN.replace(f'"{mark}"', raw)))
        for name, mark in (("protected", "<p>"), ("payload", "<d>"), ("signature", "<s>"))
        for kind, raw in (*WRONG_TYPES.items(), ("a number", "7"))
    ),
    *(
        (f"{name} {kind}", _form(_PLAIN.replace(mark, bent.replace("@", mark))))
        for name, mark in (("protected", "<p>"), ("payload", "<d>"), ("signature", "<s>"))
        for kind, bent in (
            ("with padding", "@=="),
            ("with a space", "@ "),
            ("with an escaped line end", "@\\r\\n"),
            ("with a dot", "@."),
            ("with plus", "+@"),
            ("with slash", "/@"),
            ("with a letter of no alphabet", "é@"),
        )
    ),
    ("payload of one loose character", _form(_PLAIN.replace("<d>", "A"))),
    ("payload with loose bits", _form(_PLAIN.replace("<d>", "AB"))),
    ("signature with loose bits", lambda p, d, s: _form(_PLAIN)(p, d, s[:-1] + ("B" if s[-1] == "A" else "h"))),
    ("empty protected", _form(_PLAIN.replace("<p>", ""))),
    *(
        (name, _edit(change))
        for name, change in (
            ("space before", lambda e: b" " + e),
            ("line end before", lambda e: b"\n" + e),
            ("byte order mark", lambda e: b"\xef\xbb\xbf" + e),
            ("space after", lambda e: e + b" "),
            ("line end after", lambda e: e + b"\n"),
            ("NUL after", lambda e: e + b"\x00"),
            ("second object after", lambda e: e * 2),
            ("brace after", lambda e: e + b"}"),
            ("cut by one byte", lambda e: e[:-1]),
            ("cut in half", lambda e: e[: len(e) // 2]),
            ("only a brace", lambda _: b"{"),
            ("no bytes at all", lambda _: b""),
            ("invalid UTF-8 in a name", lambda e: e.replace(b"payload", b"paylo\xff")),
            ("UTF-16", lambda e: e.decode().encode("utf-16-be")),
            ("comma at the end", lambda e: e[:-1] + b",}"),
            ("single quotes", lambda e: e.replace(b'"', b"'")),
            ("comment", lambda e: b"{/**/" + e[1:]),
            ("control character in a name", lambda e: e.replace(b"payload", b"pay\tload")),
            ("nests nine deep", lambda e: e[:-1] + b',"x":' + b"[" * 8 + b"]" * 8 + b"}"),
            ("nests sixty thousand deep", lambda _: b'{"x":' + b"[" * 60_000),
            ("objects sixty thousand deep", lambda _: b'{"":' * 15_000),
            ("a number of sixty thousand digits", lambda _: b'{"x":' + b"9" * 60_000 + b"}"),
        )
    ),
)
OUTER_FINE: Final[tuple[tuple[str, Outer], ...]] = (
    ("white space inside", _form('{ "protected" : "<p>" ,\r\n\t"payload":"<d>" , "signature":"<s>"\n}')),
    ("members in reverse order", _form('{"signature":"<s>","payload":"<d>","protected":"<p>"}')),
    ("name with an escape", _form('{"\\u0070rotected":"<p>","payload":"<d>","signature":"<s>"}')),
    (
        "every name escaped",
        _form(f'{{"{_escaped("protected")}":"<p>","{_escaped("payload")}":"<d>","signature":"<s>"}}'),
    ),
)
