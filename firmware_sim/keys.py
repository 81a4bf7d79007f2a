"""Who the devices are: their private keys, the file that keeps them, and the registry lines that introduce them.

A key file holds the secrets of a whole simulated fleet and is written readable by its owner only. The registry file
holds public facts and goes to the gateway.
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, cast

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from nacl import bindings as sodium

Algorithm = Literal["Ed25519", "ES256"]
Encoding = Literal["cose", "jws"]

P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
KEY_FILE_TYPE: Final = "securenet.fleet-keys/1"
DOMAINS: Final = ("smart-home", "industrial", "healthcare")
HONEST: Final = "honest"
_NAME: Final = {
    "smart-home": "home-{index:05d}",
    "industrial": "plant.line{line}.m{index:05d}",
    "healthcare": "urn:dev:mac:0024befffe{index:06x}",
}
_ED25519_NOTE_TYPE: Final = b"\x01"
_PUBLIC_KEY_BYTES: Final = 32
_NOTE_PARTS: Final = 3
_PLAIN_KEY_CHARACTERS: Final = 44


class KeyFileError(ValueError):
    """A key, or a file of keys, does not hold; the text says which and why."""


@dataclass(frozen=True)
class DeviceKey:
    """One private key.

    Attributes:
        alg: the algorithm the key is bound to.
        secret: 32 bytes: the Ed25519 seed, or the P-256 scalar, big-endian.
    """

    alg: Algorithm
    secret: bytes = field(repr=False)

    @cached_property
    def _ed25519_secret(self) -> bytes:
        return sodium.crypto_sign_seed_keypair(self.secret)[1]

    @cached_property
    def _p256(self) -> ec.EllipticCurvePrivateKey:
        return ec.derive_private_key(int.from_bytes(self.secret, "big"), ec.SECP256R1())

    @cached_property
    def public_key(self) -> bytes:
        """The public half: 32 bytes (Ed25519), or 65 bytes of uncompressed SEC 1 point (P-256)."""
        if self.alg == "Ed25519":
            return sodium.crypto_sign_seed_keypair(self.secret)[0]
        return self._p256.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )

    def sign(self, signing_input: bytes) -> bytes:
        """Sign, and return 64 bytes: `R || S` (RFC 8032) or `r || s` (RFC 7518 §3.4)."""
        if self.alg == "Ed25519":
            return sodium.crypto_sign(signing_input, self._ed25519_secret)[:64]
        r, s = decode_dss_signature(self._p256.sign(signing_input, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


@dataclass(frozen=True)
class DeviceRecord:
    """One device of the fleet, with its secret.

    Attributes:
        device_id: its name on the wire.
        fleet: the fleet it is registered in.
        domain: one of `DOMAINS`.
        role: `honest`, or the hostile scenario that the device is kept for.
        encoding: the envelope it speaks.
        content_type: CoAP content-format number of its payloads.
        status: what the registry says of it.
        registered: whether it stands in the registry at all.
        key: its private key.
    """

    device_id: str
    fleet: str
    domain: str
    role: str
    encoding: Encoding
    content_type: int
    status: str
    registered: bool
    key: DeviceKey


@dataclass(frozen=True)
class FleetKeys:
    """Everything in a key file: the fleet's name and its devices."""

    fleet: str
    devices: tuple[DeviceRecord, ...]

    def by_role(self, role: str) -> tuple[DeviceRecord, ...]:
        """The devices kept for one role, in file order."""
        return tuple(device for device in self.devices if device.role == role)


def new_key(alg: Algorithm, seed: bytes | None = None, label: str = "") -> DeviceKey:
    """Make a key: from the system's randomness, or derived from `seed` and `label` for runs that must repeat."""
    secret = os.urandom(32) if seed is None else hmac.digest(seed, label.encode(), "sha256")
    if alg == "ES256":
        scalar = int.from_bytes(secret, "big") % (P256_ORDER - 1) + 1
        secret = scalar.to_bytes(32, "big")
    return DeviceKey(alg, secret)


_CONTENT_TYPES: Final = {"cose": (112, 112, 112, 60, 112, 42), "jws": (110, 110, 50, 110)}


def _record(  # noqa: PLR0913 - a row of a table, every column named at the call
    index: int, *, fleet: str, role: str, seed: bytes | None, status: str = "active", registered: bool = True
) -> DeviceRecord:
    domain = DOMAINS[index % len(DOMAINS)]
    encoding: Encoding = "cose" if index % 2 == 0 else "jws"
    alg: Algorithm = "ES256" if index % 8 in {5, 6} else "Ed25519"
    device_id = _NAME[domain].format(index=index, line=index % 7) if role == HONEST else f"{role}-{index:05d}"
    types = _CONTENT_TYPES[encoding]
    return DeviceRecord(
        device_id=device_id,
        fleet=fleet,
        domain=domain,
        role=role,
        encoding=encoding,
        content_type=types[(index // 2) % len(types)],
        status=status,
        registered=registered,
        key=new_key(alg, seed, device_id),
    )


def generate(  # noqa: PLR0913 - a fleet is described in one breath
    fleet: str, count: int, roles: Iterable[str], per_role: int, seed: bytes | None = None, *, first: int = 0
) -> FleetKeys:
    """Make the keys of a fleet: `count` honest devices and `per_role` devices for every hostile role.

    Half of each group speak COSE and half JWS, and a quarter sign with ES256. Hostile devices are devices of their
    own, so that nothing they do can cost an honest one its place.

    Args:
        fleet: the fleet id.
        count: honest devices.
        roles: hostile roles, by scenario name.
        per_role: devices for each of them.
        seed: derive every key from it; such keys are for tests only.
        first: number of the first device, so that two key files can name different devices.
    """
    numbers = range(first, first + count)
    devices = [_record(index, fleet=fleet, role=HONEST, seed=seed) for index in numbers]
    for role in roles:
        devices.extend(_of_role(role, fleet, first + index, seed) for index in range(per_role))
    return FleetKeys(fleet, tuple(devices))


def _of_role(role: str, fleet: str, index: int, seed: bytes | None) -> DeviceRecord:
    return _record(
        # A step of five walks through every encoding and algorithm within a few devices.
        index * 5,
        fleet=other_fleet(fleet) if role == "foreign" else fleet,
        role=role,
        seed=seed,
        status=role if role in {"revoked", "suspended"} else "active",
        registered=role != "sybil",
    )


def other_fleet(fleet: str) -> str:
    """A fleet id that is well formed and certainly another one."""
    return "elsewhere" if fleet != "elsewhere" else "nowhere"


def registry_lines(keys: FleetKeys) -> Iterator[str]:
    """The registry file's device lines, one JSON object each, without the newline."""
    for device in keys.devices:
        if device.registered:
            yield json.dumps(
                {
                    "kind": "device",
                    "id": device.device_id,
                    "fleet": device.fleet,
                    "alg": device.key.alg,
                    "public_key": base64.b64encode(device.key.public_key).decode(),
                    "status": device.status,
                }
            )


def miner_line(fleet: str, gateway_id: str, log_key: bytes) -> str:
    """The registry file's line for a gateway: its id, and the Ed25519 key that signs its log."""
    return json.dumps(
        {
            "kind": "miner",
            "id": gateway_id,
            "fleet": fleet,
            "alg": "Ed25519",
            "public_key": base64.b64encode(log_key).decode(),
            "status": "active",
            "log": log_origin(fleet, gateway_id),
        }
    )


def log_origin(fleet: str, gateway_id: str) -> str:
    """The name of a gateway's log, and of the key that signs it."""
    return f"securenet/{fleet}/{gateway_id}"


def dump(keys: FleetKeys) -> str:
    """The key file's text."""
    devices = [
        {
            "id": device.device_id,
            "fleet": device.fleet,
            "domain": device.domain,
            "role": device.role,
            "encoding": device.encoding,
            "content_type": device.content_type,
            "status": device.status,
            "registered": device.registered,
            "alg": device.key.alg,
            "private_key": base64.b64encode(device.key.secret).decode(),
            "public_key": base64.b64encode(device.key.public_key).decode(),
        }
        for device in keys.devices
    ]
    head = json.dumps({"type": KEY_FILE_TYPE, "fleet": keys.fleet})[:-1]
    rows = ",\n  ".join(json.dumps(row) for row in devices)
    return f'{head}, "devices": [\n  {rows}\n]}}\n'


def load(path: Path) -> FleetKeys:
    """Read a key file.

    Raises:
        KeyFileError: the file is missing, is no key file, or a device in it does not hold.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise KeyFileError(f"cannot read the key file {path}: {fault.strerror}") from fault
    except ValueError as fault:
        raise KeyFileError(f"{path} is not JSON: {fault}") from fault
    if not isinstance(value, dict) or value.get("type") != KEY_FILE_TYPE:
        raise KeyFileError(f'{path} is no key file: "type" is not "{KEY_FILE_TYPE}"; make one with `keys`')
    devices = []
    for number, row in enumerate(value.get("devices", ()), start=1):
        try:
            devices.append(_device_of(row))
        except (KeyError, TypeError, ValueError) as fault:
            raise KeyFileError(f"{path}: device {number} does not hold: {fault}") from fault
    return FleetKeys(str(value["fleet"]), tuple(devices))


def _device_of(row: dict[str, Any]) -> DeviceRecord:
    if row["alg"] not in {"Ed25519", "ES256"} or row["encoding"] not in {"cose", "jws"}:
        raise ValueError("alg or encoding is unknown")
    secret = base64.b64decode(row["private_key"], validate=True)
    if len(secret) != _PUBLIC_KEY_BYTES:
        raise ValueError("the private key is not 32 bytes")
    return DeviceRecord(
        device_id=row["id"],
        fleet=row["fleet"],
        domain=row["domain"],
        role=row["role"],
        encoding=row["encoding"],
        content_type=row["content_type"],
        status=row["status"],
        registered=row["registered"],
        key=DeviceKey(cast("Algorithm", row["alg"]), secret),
    )


def write_private(path: Path, text: str) -> None:
    """Write a file of secrets: owner-only from its first byte, and whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    partial.replace(path)


@dataclass(frozen=True)
class LogKey:
    """A gateway's log key as a device knows it.

    Attributes:
        public_key: 32 bytes of Ed25519.
        origin: the log's name, when the key was given in the note form, which carries it.
    """

    public_key: bytes
    origin: str | None


def parse_log_key(text: str) -> LogKey:
    """Read a log key: `name+hash+base64` (c2sp.org/signed-note) or the base64 of 32 bytes.

    Raises:
        KeyFileError: it is neither, or the hash within does not fit the name and key.
    """
    text = text.strip()
    parts = text.split("+", 2)
    # Plain base64 may hold plus signs too, but a note key is always longer than it.
    if len(parts) == _NOTE_PARTS and len(text) > _PLAIN_KEY_CHARACTERS:
        name, digest, encoded = parts
        blob = _base64(encoded)
        if blob[:1] != _ED25519_NOTE_TYPE or len(blob) != _PUBLIC_KEY_BYTES + 1:
            raise KeyFileError("the log key is not an Ed25519 verifier key")
        expected = hashlib.sha256(name.encode() + b"\n" + blob).hexdigest()[:8]
        if digest.lower() != expected:
            raise KeyFileError(f"the log key's hash is {digest!r}, the name and key give {expected!r}")
        return LogKey(blob[1:], name)
    blob = _base64(text)
    if len(blob) != _PUBLIC_KEY_BYTES:
        raise KeyFileError(f"the log key has {len(blob)} bytes, 32 are needed (or give name+hash+base64)")
    return LogKey(blob, None)


def format_log_key(origin: str, public_key: bytes) -> str:
    """Write a log key in the note form."""
    blob = _ED25519_NOTE_TYPE + public_key
    digest = hashlib.sha256(origin.encode() + b"\n" + blob).hexdigest()[:8]
    return f"{origin}+{digest}+{base64.b64encode(blob).decode()}"


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as fault:
        raise KeyFileError(f"the log key is not base64: {fault}") from fault
