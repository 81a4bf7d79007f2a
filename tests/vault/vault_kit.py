"""Bundles to test with: a spec, keys, recipients, and a publisher that makes whatever is asked."""

import hashlib
from base64 import b32encode

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from nacl.signing import SigningKey

from gateway.crypto.keys import parse_public_key
from gateway.detection.spec import (
    Column,
    ColumnKind,
    InputSpec,
    ModelSpec,
    OutputKind,
    OutputSpec,
    Selector,
    SmokeTest,
)
from gateway.message import Alg
from gateway.vault.bundle import Named
from gateway.vault.cipher import encrypt, model_context
from gateway.vault.manifest import Ciphertext, Manifest, Plaintext, manifest_sha256, sign_manifest
from gateway.vault.wrap import hybrid_private_key, hybrid_recipient, parse_recipient, wrap_for

MODEL_ID, VERSION = "pump-vibration", 3
PUBLISHER_SEED = b"\x21" * 32
SIGNER = SigningKey(PUBLISHER_SEED)
PUBLISHER = parse_public_key(Alg.ED25519, bytes(SIGNER.verify_key))
DATA_KEY, SALT = b"\x44" * 32, b"\x55" * 24

PLAIN = "gw-1"
HYBRID = "gw-2"
PLAIN_SCALAR, HYBRID_SEED = b"\x61" * 32, b"\x62" * 32
PRIVATE_KEYS = {PLAIN: X25519PrivateKey.from_private_bytes(PLAIN_SCALAR), HYBRID: hybrid_private_key(HYBRID_SEED)}
RECIPIENTS = {
    PLAIN: parse_recipient(PRIVATE_KEYS[PLAIN].public_key().public_bytes_raw()),
    HYBRID: hybrid_recipient(HYBRID_SEED),
}

SPEC = ModelSpec(
    InputSpec(
        (
            Column("vibration", missing=0.0, low=0.0, high=50.0, log1p=True, mean=1.25, scale=0.5),
            Column("state", ColumnKind.CATEGORY, vocabulary=("idle", "running")),
            Column("interval_mean", ColumnKind.STATISTIC, mean=60.0, scale=15.0),
        ),
        None,
        1,
        (4,),
    ),
    OutputSpec(OutputKind.PROBABILITY, 0.75, ()),
    SmokeTest((0.0, 1.0, 0.0, -0.5), (0.125,), 0.00001),
    Selector(("urn:dev:mac:",), (60, 112), ("vibration",)),
)


def cid_of(data):
    """The CIDv1 of one raw block."""
    return "b" + b32encode(b"\x01\x55\x12\x20" + hashlib.sha256(data).digest()).decode().lower().rstrip("=")


def secret(model, *, key=DATA_KEY, salt=SALT, model_id=MODEL_ID, version=VERSION):
    """The ciphertext of a model."""
    return b"".join(encrypt([model], key, model_context(model_id, version), salt))


def manifest_of(model, ciphertext, **changes):
    """A manifest of what it is given; ``changes`` replace members."""
    digest = hashlib.sha256(ciphertext).digest()
    manifest = Manifest(
        MODEL_ID,
        VERSION,
        Ciphertext(cid_of(ciphertext), len(ciphertext), digest),
        Plaintext(len(model), hashlib.sha256(model).digest()),
        SPEC,
        hashlib.sha256(b"training data").digest(),
        {"accuracy": 0.9375, "false_alarm_rate": 0.03125},
        None,
        wrap_for(RECIPIENTS, DATA_KEY, MODEL_ID, VERSION, digest),
        1732165200000,
        1763701200000,
    )
    return manifest._replace(**changes)


def sign(signing_input):
    """The publisher's signature."""
    return SIGNER.sign(signing_input).signature


def signed(manifest):
    """The envelope of a manifest, and how the chain names it."""
    envelope = sign_manifest(manifest, PUBLISHER, sign)
    return envelope, Named(manifest.model_id, manifest.version, manifest_sha256(envelope))
