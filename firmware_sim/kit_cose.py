"""Conformance tables for COSE_Sign1: the protected header bent before signing, and the outer array bent after it."""

import struct
from collections.abc import Callable
from typing import Final

import cbor2

from firmware_sim.envelope import cbor_bytes, cbor_head, cbor_map, cbor_text, cose_envelope
from firmware_sim.kit_model import PAYLOAD, CoseHeader, c

Bend = Callable[[CoseHeader], bytes]
Row = tuple[str, Bend]
M: Final = "malformed"
A: Final = "alg-mismatch"


def _header(bend: Callable[[CoseHeader], CoseHeader]) -> Bend:
    return lambda header: bend(header).encode()


def _put(key: int, raw: bytes) -> Bend:
    return lambda header: header.put(key, raw).encode()


def _claim(key: int, raw: bytes) -> Bend:
    return lambda header: header.put_claim(key, raw).encode()


def _add(key: object) -> Bend:
    return lambda header: header.add(c(key), c("x")).encode()


def _add_claim(key: object) -> Bend:
    return lambda header: header.add_claim(c(key), c(1)).encode()


def _twice(key: int) -> Bend:
    return lambda header: header.add(bytes((key,)), header.get(key)).encode()


def _claim_twice(key: int) -> Bend:
    return lambda header: header.add_claim(bytes((key,)), header.claim(key)).encode()


def _order(*positions: int) -> Bend:
    return lambda header: header.order(*positions).encode()


def _tag(raw: bytes) -> "Outer":
    return lambda protected, payload, signature: raw + cose_envelope(protected, payload, signature)[1:]


def _nested(depth: int) -> bytes:
    return b"\x81" * depth + b"\x00"


_F32: Final = b"\xfa"
WRONG_TYPES: Final = {
    "true": b"\xf5",
    "false": b"\xf4",
    "null": b"\xf6",
    "undefined": b"\xf7",
    "simple value 200": b"\xf8\xc8",
    "empty array": b"\x80",
    "empty map": b"\xa0",
    "nine arrays": _nested(9),
}

MISSING: Final[tuple[Row, ...]] = (
    ("no alg", _header(lambda h: h.drop(1))),
    ("no content type", _header(lambda h: h.drop(3))),
    ("no kid", _header(lambda h: h.drop(4))),
    ("no claims", _header(lambda h: h.drop(15))),
    ("no aud", _header(lambda h: h.drop_claim(3))),
    ("no iat", _header(lambda h: h.drop_claim(6))),
    ("no cti", _header(lambda h: h.drop_claim(7))),
    ("empty claims", _put(15, b"\xa0")),
    ("empty map", lambda _: b"\xa0"),
    ("zero bytes", lambda _: b""),
)
EXTRA: Final[tuple[Row, ...]] = (
    *((f"header {key!r}", _add(key)) for key in (0, 5, 6, 16, 33, 99, -1, "note")),
    ("crit", _header(lambda h: h.add(b"\x02", c([4])))),
    ("header null", _header(lambda h: h.add(b"\xf6", b"\x00"))),
    ("header of bytes", _header(lambda h: h.add(c(b"\x01"), b"\x00"))),
    *((f"claim {key!r}", _add_claim(key)) for key in (1, 2, 4, 5, 8, 9, "x", -1)),
)
ALG_VALUES: Final = (-35, -36, -37, -257, -39, -65535, 0, 1, 5, -1, 2**64 - 1, -(2**64))
ALG_TEXTS: Final = ("EdDSA", "Ed25519", "ES256", "none", "")
ALG_OTHER_TYPE: Final[tuple[Row, ...]] = (
    *((f"alg is {name}", _put(1, raw)) for name, raw in WRONG_TYPES.items()),
    ("alg is the float -8.0", _put(1, c(-8.0))),
    ("alg is bytes", _put(1, c(b"EdDSA"))),
    ("alg in an array", _put(1, c([-8]))),
    ("alg is tagged", _put(1, b"\xc1\x27")),
)
CONTENT_TYPE_BAD: Final[tuple[Row, ...]] = (
    *(
        (f"content type {number}", _put(3, c(number)))
        for number in (0, 40, 41, 111, 113, 18, 65_535, 65_536, -1, -113)
    ),
    *((f"content type is {name}", _put(3, raw)) for name, raw in WRONG_TYPES.items()),
    *((f"content type {text!r}", _put(3, c(text))) for text in ("application/json", "application/senml+cbor", "50")),
    ("content type is the float 50.0", _put(3, c(50.0))),
    ("content type is bytes", _put(3, c(b"2"))),
    ("content type is tagged", _put(3, b"\xc1\x18\x32")),
)
BAD_IDS: Final = {
    "empty": b"",
    "of 65 characters": b"a" * 65,
    "with a space": b"a b",
    "with a slash": b"a/b",
    "with a plus": b"a+b",
    "with a hash": b"a#b",
    "with an umlaut": "gerät".encode(),
    "with a NUL": b"a\x00",
    "with a newline": b"a\n",
    "with an escape": b"\x1b[31m",
    "of one dot": b".",
    "of two dots": b"..",
    "gateway": b"gateway",
}
KID_BAD: Final[tuple[Row, ...]] = (
    *((f"kid {name}", _put(4, c(raw))) for name, raw in BAD_IDS.items()),
    *((f"kid is {name}", _put(4, raw)) for name, raw in WRONG_TYPES.items()),
    ("kid is no UTF-8", _put(4, c(b"\xff\xfe"))),
    ("kid is text", _header(lambda h: h.put(4, c(cbor2.loads(h.get(4)).decode())))),
    ("kid is a number", _put(4, c(7))),
    ("kid is tagged", _header(lambda h: h.put(4, b"\xc1" + h.get(4)))),
)
AUD_BAD: Final[tuple[Row, ...]] = (
    *((f"aud {name}", _claim(3, cbor_text(raw.decode()))) for name, raw in BAD_IDS.items() if "65" not in name),
    *((f"aud is {name}", _claim(3, raw)) for name, raw in WRONG_TYPES.items()),
    ("aud of 33 characters", _claim(3, c("a" * 33))),
    ("aud is bytes", _header(lambda h: h.put_claim(3, c(cbor2.loads(h.claim(3)).encode())))),
    ("aud in an array", _header(lambda h: h.put_claim(3, b"\x81" + h.claim(3)))),
    ("aud is no UTF-8", _claim(3, b"\x62\xff\xfe")),
    ("aud is tagged", _header(lambda h: h.put_claim(3, b"\xc1" + h.claim(3)))),
)
IAT_BAD: Final[tuple[Row, ...]] = (
    *((f"iat is {name}", _claim(6, raw)) for name, raw in WRONG_TYPES.items()),
    *(
        (f"iat {value!r}", _claim(6, c(value)))
        for value in (-1, -0.5, 2**53, float(2**53), 2**64 - 1, 1e300, -(2**64))
    ),
    ("iat NaN", _claim(6, b"\xf9\x7e\x00")),
    ("iat infinity", _claim(6, b"\xf9\x7c\x00")),
    ("iat minus infinity", _claim(6, b"\xfb\xff\xf0" + bytes(6))),
    ("iat NaN of eight bytes", _claim(6, b"\xfb\x7f\xf8" + bytes(6))),
    ("iat is text", _claim(6, c("1760000000"))),
    ("iat is bytes", _claim(6, c(b"\x01"))),
    ("iat is tagged as a time", _header(lambda h: h.put_claim(6, b"\xc1" + h.claim(6)))),
    ("iat is a bignum", _claim(6, b"\xc2\x44\x68\xe7\x78\x00")),
    ("iat in an array", _header(lambda h: h.put_claim(6, b"\x81" + h.claim(6)))),
)
CTI_BAD: Final[tuple[Row, ...]] = (
    *((f"cti of {size} bytes", _claim(7, cbor_bytes(bytes(size)))) for size in (0, 8, 15, 17, 32)),
    *((f"cti is {name}", _claim(7, raw)) for name, raw in WRONG_TYPES.items()),
    ("cti is text", _claim(7, cbor_text("0123456789abcdef"))),
    ("cti is a number", _claim(7, c(1))),
    ("cti is tagged", _header(lambda h: h.put_claim(7, b"\xd8\x25" + h.claim(7)))),
    ("seq 2^63", _claim(7, cbor_bytes(bytes(8) + b"\x80" + bytes(7)))),
    ("seq 2^64-1", _claim(7, cbor_bytes(bytes(8) + b"\xff" * 8))),
)
MAP_BAD: Final[tuple[Row, ...]] = (
    *((f"duplicate {name}", _twice(key)) for name, key in (("alg", 1), ("content type", 3), ("kid", 4))),
    ("duplicate alg with another value", _header(lambda h: h.add(b"\x01", b"\x26"))),
    ("duplicate claims", lambda h: cbor_map((*h.encoded_pairs(), (b"\x0f", cbor_map(h.claims))))),
    ("duplicate alg in a longer form", _header(lambda h: h.add(b"\x18\x01", h.get(1)))),
    *((f"duplicate claim {name}", _claim_twice(key)) for name, key in (("aud", 3), ("iat", 6), ("cti", 7))),
    ("duplicate iat in a longer form", _header(lambda h: h.add_claim(b"\x18\x06", h.claim(6)))),
    ("alg under the float key 1.0", _header(lambda h: h.rename(1, c(1.0)))),
    ("alg under the key true", _header(lambda h: h.rename(1, b"\xf5"))),
    ("alg under a text key", _header(lambda h: h.rename(1, c("1")))),
    ("alg under a bignum key", _header(lambda h: h.rename(1, b"\xc2\x41\x01"))),
    ("kid under the float key 4.0", _header(lambda h: h.rename(4, c(4.0)))),
    ("iat under the float key 6.0", _header(lambda h: h.rename_claim(6, c(6.0)))),
    ("claims under the float key 15.0", _header(lambda h: h.rename(15, c(15.0)))),
    ("claims are an array", _put(15, b"\x80")),
    ("claims are wrapped in bytes", lambda h: h.put(15, cbor_bytes(cbor_map(h.claims))).encode()),
    ("claims are tagged", lambda h: h.put(15, b"\xd8\x3d" + cbor_map(h.claims)).encode()),
    ("claims are null", _put(15, b"\xf6")),
    ("protected is an array", lambda _: b"\x80"),
    ("protected is a number", lambda _: b"\x01"),
    ("protected is null", lambda _: b"\xf6"),
    ("protected is tagged", lambda h: b"\xc1" + h.encode()),
    ("protected wrapped twice", lambda h: cbor_bytes(h.encode())),
    ("a byte after protected", lambda h: h.encode() + b"\x00"),
    ("a second map after protected", lambda h: h.encode() * 2),
    ("protected cut by one byte", lambda h: h.encode()[:-1]),
    ("protected with a reserved head", lambda _: b"\x1c"),
    ("protected is a lone break", lambda _: b"\xff"),
    ("protected claims more pairs than it has", lambda h: b"\xba\xff\xff\xff\xff" + h.encode()[1:]),
    ("protected nests nine deep", _header(lambda h: h.add(c(99), _nested(8)))),
    ("protected nests ten thousand deep", _header(lambda h: h.add(c(99), _nested(10_000)))),
)
INDEFINITE: Final[tuple[Row, ...]] = (
    ("indefinite protected map", lambda h: b"\xbf" + h.encode()[1:] + b"\xff"),
    ("indefinite claims map", lambda h: h.put(15, b"\xbf" + cbor_map(h.claims)[1:] + b"\xff").encode()),
    ("indefinite kid", _header(lambda h: h.put(4, b"\x5f" + h.get(4) + b"\xff"))),
    ("indefinite aud", _header(lambda h: h.put_claim(3, b"\x7f" + h.claim(3) + b"\xff"))),
    ("indefinite cti", _header(lambda h: h.put_claim(7, b"\x5f" + h.claim(7) + b"\xff"))),
)
LONGER_FORMS: Final[tuple[Row, ...]] = (
    ("protected map head of two bytes", lambda h: b"\xb8\x04" + h.encode()[1:]),
    ("alg in two bytes", lambda h: h.put(1, b"\x38" + bytes((h.get(1)[0] & 31,))).encode()),
    ("content type in three bytes", _put(3, b"\x19\x00\x32")),
    (
        "kid head of three bytes",
        _header(lambda h: h.put(4, b"\x59" + struct.pack(">H", len(cbor2.loads(h.get(4)))) + cbor2.loads(h.get(4)))),
    ),
    ("key of alg in two bytes", _header(lambda h: h.rename(1, b"\x18\x01"))),
)
FINE: Final[tuple[Row, ...]] = (
    *(
        (f"header order {order}", _order(*order))
        for order in ((3, 2, 1, 0), (1, 0, 3, 2), (2, 3, 0, 1), (3, 0, 1, 2))
    ),
    ("claims in reverse order", _header(lambda h: h.claims_order(2, 1, 0))),
    ("claims in a mixed order", _header(lambda h: h.claims_order(1, 2, 0))),
    ("iat as an integer", _header(lambda h: h.put_claim(6, c(int(cbor2.loads(h.claim(6))))))),
    (
        "iat as a float of four bytes",
        _header(lambda h: h.put_claim(6, _F32 + struct.pack(">f", cbor2.loads(h.claim(6)) - 128))),
    ),
    *((f"content type {number}", _put(3, c(number))) for number in (110, 112, 50, 60, 42)),
)

Outer = Callable[[bytes, bytes, bytes], bytes]


def _array(*items: bytes) -> bytes:
    return b"\xd2" + cbor_head(4, len(items)) + b"".join(items)


def _with(position: int, raw: bytes) -> Outer:
    def build(protected: bytes, payload: bytes, signature: bytes) -> bytes:
        items = [cbor_bytes(protected), b"\xa0", cbor_bytes(payload), cbor_bytes(signature)]
        items[position] = raw
        return _array(*items)

    return build


def _long_head(value: bytes) -> bytes:
    return b"\x5a" + struct.pack(">I", len(value)) + value


def _around(change: Callable[[bytes], bytes]) -> Outer:
    return lambda protected, payload, signature: change(cose_envelope(protected, payload, signature))


OUTER_BAD: Final[tuple[tuple[str, Outer], ...]] = (
    *(
        (f"tag {name}", _tag(tag))
        for name, tag in (
            ("missing", b""),
            ("18 in two bytes", b"\xd8\x12"),
            ("18 in three bytes", b"\xd9\x00\x12"),
            ("17", b"\xd1"),
            ("98", b"\xd8\x62"),
            ("16", b"\xd0"),
            ("18 twice", b"\xd2\xd2"),
            ("61 around 18", b"\xd8\x3d\xd2"),
            ("55799 around 18", b"\xd9\xd9\xf7\xd2"),
            ("24", b"\xd8\x18"),
        )
    ),
    *(
        (name, _around(change))
        for name, change in (
            ("zero byte before", lambda e: b"\x00" + e),
            ("zero byte after", lambda e: e + b"\x00"),
            ("null after", lambda e: e + b"\xf6"),
            ("line end after", lambda e: e + b"\r\n"),
            ("message twice", lambda e: e * 2),
            ("cut by one byte", lambda e: e[:-1]),
            ("cut in half", lambda e: e[: len(e) // 2]),
            ("cut after the tag", lambda e: e[:1]),
            ("cut after the array head", lambda e: e[:2]),
            ("no bytes at all", lambda _: b""),
            ("array head of two bytes", lambda e: b"\xd2\x98\x04" + e[2:]),
            ("indefinite array", lambda e: b"\xd2\x9f" + e[2:] + b"\xff"),
            ("array of five", lambda e: b"\xd2\x85" + e[2:] + b"\x00"),
            ("array says three", lambda e: b"\xd2\x83" + e[2:]),
            ("array of three", lambda e: b"\xd2\x83" + e[2:-66]),
            ("map for array", lambda e: b"\xd2\xa2" + e[2:]),
            ("in base64", c),
            ("nine arrays", lambda _: b"\xd2" + _nested(9)),
            ("sixty thousand arrays", lambda _: b"\xd2" + b"\x81" * 60_000),
            ("array of 2^32 items", lambda _: b"\xd2\x9a\xff\xff\xff\xff"),
            ("bytes of 2^64-1", lambda _: b"\xd2\x84\x5b" + b"\xff" * 8),
        )
    ),
    *(
        (f"unprotected {name}", _with(1, raw))
        for name, raw in (
            ("kid", b"\xa1\x04\x41\x61"),
            ("alg", b"\xa1\x01\x27"),
            ("text key", c({"x": 1})),
            ("array", b"\x80"),
            ("null", b"\xf6"),
            ("bytes", b"\x40"),
            ("head of two bytes", b"\xb8\x00"),
            ("indefinite", b"\xbf\xff"),
            ("nests nine deep", b"\xa1\x00" + _nested(8)),
        )
    ),
    *(
        (f"payload {name}", _with(2, raw))
        for name, raw in (
            ("null", b"\xf6"),
            ("text", c("{}")),
            ("number", b"\x00"),
            ("array", b"\x80"),
            ("map", b"\xa0"),
            ("tagged bytes", b"\xd8\x18" + c(PAYLOAD)),
            ("indefinite", b"\x5f" + c(PAYLOAD) + b"\xff"),
            ("long head", _long_head(PAYLOAD)),
        )
    ),
    *(
        (f"signature {name}", _with(3, raw))
        for name, raw in (
            ("null", b"\xf6"),
            ("text", c("x" * 64)),
            ("number", b"\x00"),
            ("array", b"\x80"),
            ("long head", _long_head(bytes(64))),
            ("indefinite", b"\x5f" + c(bytes(64)) + b"\xff"),
        )
    ),
    *(
        (f"protected {name}", _with(0, raw))
        for name, raw in (
            ("map, not bytes", b"\xa0"),
            ("text", c("x")),
            ("null", b"\xf6"),
            ("tagged bytes", b"\xd8\x18\x41\xa0"),
        )
    ),
    ("protected long head", lambda p, d, s: _array(_long_head(p), b"\xa0", cbor_bytes(d), cbor_bytes(s))),
    (
        "protected indefinite",
        lambda p, d, s: _array(b"\x5f" + cbor_bytes(p) + b"\xff", b"\xa0", cbor_bytes(d), cbor_bytes(s)),
    ),
)
