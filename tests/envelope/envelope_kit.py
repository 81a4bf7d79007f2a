"""An encoder for the tests: it shares no line with the decoder, and can be made to write what it should not."""

import base64
import hashlib
import json
import struct
from dataclasses import dataclass, replace

SESSION = bytes.fromhex("0102030405060708")
MAX_BYTES = 65536


@dataclass(frozen=True)
class Said:
    """The facts of one message."""

    device_id: str = "urn:dev:mac:0024befffe804ff1"
    fleet: str = "villa"
    content_format: int = 50
    issued_at: float = 1_760_000_000
    session: bytes = SESSION
    seq: int = 7
    payload: bytes = b'{"t":21.5}'
    signature: bytes = bytes(range(64))

    def but(self, **changes):
        return replace(self, **changes)


SAID = Said()
MEDIA_TYPES = {
    110: "application/senml+json",
    112: "application/senml+cbor",
    50: "application/json",
    60: "application/cbor",
    42: "application/octet-stream",
}


def head(major, argument, size=None):
    """A head with an argument of ``size`` bytes (0: in the initial byte), by default the shortest."""
    if size is None:
        size = next(
            s for s, end in ((0, 24), (1, 1 << 8), (2, 1 << 16), (4, 1 << 32), (8, 1 << 64)) if argument < end
        )
    if size == 0:
        return bytes([major << 5 | argument])
    code = {1: 24, 2: 25, 4: 26, 8: 27}[size]
    return bytes([major << 5 | code]) + argument.to_bytes(size, "big")


def u(argument, size=None):
    return head(0, argument, size)


def nint(number):
    return head(1, -1 - number)


def bstr(octets, size=None):
    return head(2, len(octets), size) + octets


def tstr(text, size=None):
    octets = text if isinstance(text, bytes) else text.encode()
    return head(3, len(octets), size) + octets


def cmap(pairs, size=None):
    return head(5, len(pairs), size) + b"".join(key + value for key, value in pairs)


def f64(number):
    return b"\xfb" + struct.pack(">d", number)


def iat(seconds):
    return u(seconds) if isinstance(seconds, int) else f64(seconds)


def claims(said=SAID):
    cti = said.session + said.seq.to_bytes(8, "big")
    return {3: tstr(said.fleet), 6: iat(said.issued_at), 7: bstr(cti)}


def headers(said=SAID, **changed):
    """Headers by label; ``changed`` replaces claims (``aud``, ``iat``, ``cti``) by raw items."""
    inner = claims(said)
    for name, label in (("aud", 3), ("iat", 6), ("cti", 7)):
        inner[label] = changed.get(name, inner[label])
    return {
        1: nint(-8),
        3: u(said.content_format),
        4: bstr(said.device_id.encode()),
        15: cmap([(u(label), item) for label, item in inner.items()]),
    }


def protected_map(items):
    return cmap([(u(label), item) for label, item in items.items()])


def outer(protected, said=SAID, *, start=b"\xd2\x84", unprotected=b"\xa0"):
    return start + bstr(protected) + unprotected + bstr(said.payload) + bstr(said.signature)


def cose(said=SAID):
    return outer(protected_map(headers(said)), said)


def cose_with(**items):
    """A message one of whose headers or claims is a raw item: alg, cty, kid, cwt, aud, iat, cti."""
    made = headers(**items)
    for name, label in (("alg", 1), ("cty", 3), ("kid", 4), ("cwt", 15)):
        made[label] = items.get(name, made[label])
    return outer(protected_map(made))


def sig_structure(protected, payload):
    return b"\x84" + tstr("Signature1") + bstr(protected) + bstr(b"") + bstr(payload)


def b64(octets):
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def jws_header(said=SAID):
    return {
        "alg": "EdDSA",
        "kid": said.device_id,
        "cty": MEDIA_TYPES[said.content_format],
        "aud": said.fleet,
        "iat": said.issued_at,
        "sid": b64(said.session),
        "seq": said.seq,
    }


def jws_members(header, said=SAID):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return {"protected": b64(text), "payload": b64(said.payload), "signature": b64(said.signature)}


def jws_of(header, said=SAID):
    """A message whose protected header is these bytes, or this dict."""
    return json.dumps(jws_members(header, said)).encode()


def jws(said=SAID):
    return jws_of(jws_header(said), said)


def jws_with(**values):
    return jws_of(jws_header() | values)


def jws_raw(**literals):
    """A message one of whose header members is a literal piece of JSON."""
    members = {name: json.dumps(value) for name, value in jws_header().items()} | literals
    return jws_of(("{" + ",".join(f'"{name}":{text}' for name, text in members.items()) + "}").encode())


def digest(signing_input):
    return hashlib.sha256(signing_input).digest()
