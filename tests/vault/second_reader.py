"""A reader of model bundles written from docs/spec/model-bundle.md alone: it shares no line with the gateway.

    python second_reader.py FOLDER GATEWAY    opens FOLDER/manifest.cose and FOLDER/ciphertext.bin

``open_bundle`` returns the manifest's payload as plain values and the model, or raises ``Refused`` with a class of
the page. The glue (CBOR, COSE, HPKE, Cobblestone-256) is its own; the primitives are cryptography's.
"""

import hashlib
import hmac
import json
import math
import struct
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mlkem, x25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256

X25519, HYBRID = 0x0020, 0x647A
ENC_BYTES = {X25519: 32, HYBRID: 1120}
CHUNK, TAG, HEADER = 16384, 16, 56
TOP = {
    *("model", "version", "format", "ciphertext", "plaintext", "inputs", "outputs", "smoke", "selector"),
    *("training_data", "metrics", "card", "keys", "created", "expires"),
}


class Refused(Exception):
    """The bundle is refused; the argument is the class."""


# CBOR, the deterministic kind that the page describes


def cbor(data):
    """The one item that ``data`` is."""
    try:
        value, end = item(data, 0)
    except (IndexError, UnicodeDecodeError, struct.error):
        raise Refused("manifest-malformed") from None
    if end != len(data):
        raise Refused("manifest-malformed")
    return value


def item(data, at, depth=0):
    first = data[at]
    if first in {0xF4, 0xF5, 0xF6}:
        return {0xF4: False, 0xF5: True, 0xF6: None}[first], at + 1
    if first == 0xFB:
        (number,) = struct.unpack_from(">d", data, at + 1)
        if not math.isfinite(number):
            raise Refused("manifest-malformed")
        return number, at + 9
    major, code = first >> 5, first & 31
    width = {24: 1, 25: 2, 26: 4, 27: 8}.get(code, 0)
    if major > 5 or code > 27 or depth > 5:
        raise Refused("manifest-malformed")
    argument = int.from_bytes(data[at + 1 : at + 1 + width], "big") if width else code
    if width and argument < (24 if width == 1 else 1 << (4 * width)):
        raise Refused("manifest-malformed")
    at += 1 + width
    if major < 2:
        return (argument if major == 0 else -1 - argument), at
    if major < 4:
        if at + argument > len(data):
            raise Refused("manifest-malformed")
        taken = bytes(data[at : at + argument])
        return (taken if major == 2 else taken.decode()), at + argument
    return container(data, at, argument, major == 5, depth + 1)


def container(data, at, count, is_map, depth):
    if not is_map:
        array = []
        for _ in range(count):
            value, at = item(data, at, depth)
            array.append(value)
        return array, at
    members, last = {}, b""
    for _ in range(count):
        start = at
        key, at = item(data, at, depth)
        if not isinstance(key, str) or bytes(data[start:at]) <= last:
            raise Refused("manifest-malformed")
        last = bytes(data[start:at])
        members[key], at = item(data, at, depth)
    return members, at


def bstr(data):
    """A byte string in its shortest form."""
    size = len(data)
    if size < 24:
        return bytes([0x40 + size]) + data
    for code, width in ((0x58, 1), (0x59, 2), (0x5A, 4)):
        if size < 1 << (8 * width):
            return bytes([code]) + size.to_bytes(width, "big") + data
    raise Refused("manifest-malformed")


# COSE_Sign1


def protected(alg):
    return bytes.fromhex("a201") + {"Ed25519": b"\x32", "ES256": b"\x28"}[alg] + b"\x03\x71securenet.model/1"


def payload_of(envelope, alg, public_key):
    """The payload, if ``public_key`` (raw, or 65 bytes of SEC 1) signed the envelope."""
    if len(envelope) > 4194304:
        raise Refused("manifest-malformed")
    if alg != "Ed25519" and envelope.startswith(b"\xd2\x84" + bstr(protected("Ed25519"))):
        raise Refused("manifest-signature")
    if alg != "ES256" and envelope.startswith(b"\xd2\x84" + bstr(protected("ES256"))):
        raise Refused("manifest-signature")
    start, signature = b"\xd2\x84" + bstr(protected(alg)) + b"\xa0", envelope[-64:]
    middle = envelope[len(start) : -66]
    skip = {0x58: 2, 0x59: 3, 0x5A: 5}.get(middle[0] if middle else 0, 1)
    if envelope != start + bstr(middle[skip:]) + b"\x58\x40" + signature:
        raise Refused("manifest-malformed")
    signed = b"\x84\x6aSignature1" + bstr(protected(alg)) + b"\x40" + middle
    try:
        if alg == "Ed25519":
            ed25519.Ed25519PublicKey.from_public_bytes(public_key).verify(signature, signed)
        else:
            halves = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
            point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public_key)
            point.verify(encode_dss_signature(*halves), signed, ec.ECDSA(SHA256()))
    except InvalidSignature:
        raise Refused("manifest-signature") from None
    return middle[skip:]


# HPKE, base mode, HKDF-SHA256, AES-256-GCM


def mac(key, data, digest="sha256"):
    return hmac.new(key, data, digest).digest()


def expand(prk, info, size, digest="sha256"):
    out, block = b"", b""
    while len(out) < size:
        block = mac(prk, block + info + bytes([len(out) // hashlib.new(digest).digest_size + 1]), digest)
        out += block
    return out[:size]


def labeled_extract(suite, salt, label, ikm):
    return mac(salt or bytes(32), b"HPKE-v1" + suite + label + ikm)


def labeled_expand(suite, prk, label, info, size):
    return expand(prk, size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, size)


def dhkem_secret(dh, enc, public):
    """DHKEM(X25519, HKDF-SHA256): the shared secret of a Diffie-Hellman result."""
    suite = b"KEM\x00\x20"
    return labeled_expand(suite, labeled_extract(suite, b"", b"eae_prk", dh), b"shared_secret", enc + public, 32)


def hybrid_private(seed):
    """MLKEM768-X25519: the two private keys of a seed."""
    expanded = hashlib.shake_256(seed).digest(96)
    return (
        mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64]),
        x25519.X25519PrivateKey.from_private_bytes(expanded[64:]),
    )


def key_schedule(kem, secret, info, aead=2, key_bytes=32):
    """The key and the first nonce of base mode."""
    suite = b"HPKE" + kem.to_bytes(2, "big") + b"\x00\x01" + aead.to_bytes(2, "big")
    context = b"\x00" + labeled_extract(suite, b"", b"psk_id_hash", b"")
    context += labeled_extract(suite, b"", b"info_hash", info)
    prk = labeled_extract(suite, secret, b"secret", b"")
    key = labeled_expand(suite, prk, b"key", context, key_bytes)
    return key, labeled_expand(suite, prk, b"base_nonce", context, 12)


def decapsulate(kem, enc, private):
    """The shared secret; ``private`` is a scalar of X25519, or the hybrid's seed, 32 bytes each."""
    if kem == X25519:
        own = x25519.X25519PrivateKey.from_private_bytes(private)
        dh = own.exchange(x25519.X25519PublicKey.from_public_bytes(enc))
        return dhkem_secret(dh, enc, own.public_key().public_bytes_raw())
    lattice, curve = hybrid_private(private)
    dh = curve.exchange(x25519.X25519PublicKey.from_public_bytes(enc[1088:]))
    both = lattice.decapsulate(enc[:1088]) + dh + enc[1088:] + curve.public_key().public_bytes_raw()
    return hashlib.sha3_256(both + rb"\.//^" + b"\\").digest()


def unwrap(wrapped, private, info):
    kem, enc, sealed = wrapped
    try:
        key, nonce = key_schedule(kem, decapsulate(kem, enc, private), info)
        return AESGCM(key).decrypt(nonce, sealed, b"")
    except (InvalidTag, ValueError):
        raise Refused("wrap-failed") from None


# Cobblestone-256


def decipher(ciphertext, key, context):
    if len(ciphertext) < HEADER:
        raise Refused("ciphertext-truncated")
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00" + ciphertext[:24] + context
    derived = expand(key, info, 76, "sha512")
    if derived[44:] != ciphertext[24:HEADER]:
        raise Refused("key-commitment")
    base, out = int.from_bytes(derived[32:44], "big"), b""
    chunks = [ciphertext[at : at + CHUNK + TAG] for at in range(HEADER, len(ciphertext), CHUNK + TAG)]
    if not chunks or not TAG <= len(chunks[-1]) < CHUNK + TAG:
        raise Refused("ciphertext-truncated")
    for number, chunk in enumerate(chunks):
        try:
            out += AESGCM(derived[:32]).decrypt((base ^ number).to_bytes(12, "big"), chunk, None)
        except InvalidTag:
            raise Refused("ciphertext-altered") from None
    return out


COLUMN = {"name", "kind", "missing", "low", "high", "log1p", "mean", "scale", "vocabulary"}
KINDS = {
    "reading": COLUMN,
    "category": COLUMN,
    "statistic": COLUMN,
    "record": COLUMN | {"record"},
}


def check_columns(columns):
    """Rule 9: the kinds, what each says, and what a record column looks back at."""
    for column in columns:
        if not isinstance(column, dict) or set(column) != KINDS.get(column.get("kind")):
            raise Refused("manifest-malformed")
        if column["kind"] != "record":
            continue
        record = column["record"]
        if not isinstance(record, dict) or set(record) != {"short", "long", "steps", "after"}:
            raise Refused("manifest-malformed")
        short, long, steps, after = (record[name] for name in ("short", "long", "steps", "after"))
        if [type(value) for value in (short, long, steps, after)] != [int, int, bool, int] or short < 1:
            raise Refused("manifest-malformed")
        reach = short + 1 if steps else max(short, long)
        if (steps and long) or (long and long <= short) or long < 0 or reach > 512 or not reach < after <= 65536:
            raise Refused("manifest-malformed")


def open_bundle(envelope, ciphertext, *, alg, public_key, gateway, private):
    """The manifest's payload and the model."""
    manifest = cbor(payload_of(envelope, alg, public_key))
    if not isinstance(manifest, dict) or set(manifest) != TOP or manifest["format"] != "tflite":
        raise Refused("manifest-malformed")
    check_columns(manifest["inputs"]["columns"])
    if gateway not in manifest["keys"]:
        raise Refused("not-a-recipient")
    said = manifest["ciphertext"]
    if len(ciphertext) != said["size"]:
        raise Refused("ciphertext-truncated" if len(ciphertext) < said["size"] else "ciphertext-extended")
    name = manifest["model"].encode() + b"\x00" + manifest["version"].to_bytes(8, "big")
    info = b"securenet.model-key/1\x00" + name + said["sha256"] + gateway.encode()
    key = unwrap(manifest["keys"][gateway], private, info)
    model = decipher(ciphertext, key, b"securenet.model/1\x00" + name)
    if hashlib.sha256(ciphertext).digest() != said["sha256"]:
        raise Refused("ciphertext-digest")
    if {"size": len(model), "sha256": hashlib.sha256(model).digest()} != manifest["plaintext"]:
        raise Refused("plaintext-digest")
    return manifest, model


def main():
    """Open what the arguments name with the keys that lie beside it."""
    folder, gateway = Path(sys.argv[1]), sys.argv[2]
    keys = json.loads((folder / "keys.json").read_text())
    manifest, model = open_bundle(
        (folder / "manifest.cose").read_bytes(),
        (folder / "ciphertext.bin").read_bytes(),
        alg="Ed25519",
        public_key=bytes.fromhex(keys["publisher_ed25519"]["public"]),
        gateway=gateway,
        private=bytes.fromhex(keys["gateways"][gateway]["private"]),
    )
    print(manifest["model"], manifest["version"], len(model), hashlib.sha256(model).hexdigest())


if __name__ == "__main__":
    main()
