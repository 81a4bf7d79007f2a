"""Makes the committed bundles anew: ``python make_bundles.py`` writes tests/vectors/model-bundle.

Keys, salt and the ephemeral key of X25519 are fixed. The library draws the hybrid's encapsulation itself, so that
wrap was made once and is kept in keys.json: it stays good as long as model, version, ciphertext and gateway do.
"""

import hashlib
import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from second_reader import X25519, dhkem_secret, key_schedule
from vault_kit import (
    DATA_KEY,
    HYBRID,
    HYBRID_SEED,
    MODEL_ID,
    PLAIN,
    PLAIN_SCALAR,
    PRIVATE_KEYS,
    PUBLISHER,
    PUBLISHER_SEED,
    RECIPIENTS,
    SALT,
    VERSION,
    manifest_of,
    secret,
    sign,
)

from gateway.crypto.keys import parse_public_key
from gateway.message import Alg
from gateway.vault.manifest import sign_manifest
from gateway.vault.refusal import ModelRefused
from gateway.vault.wrap import Kem, Wrapped, unwrap, wrap, wrap_info

FOLDER = Path(__file__).parent.parent / "vectors" / "model-bundle"
EPHEMERAL = b"\x77" * 32
P256_SECRET = 0x2222222222222222222222222222222222222222222222222222222222222222
MODELS = {"small": b"Not a model, only 42 bytes that stand for.", "chunks": hashlib.shake_256(b"model").digest(33000)}


def wrap_fixed(info):
    """HPKE's sender for X25519, with an ephemeral key that is fixed."""
    ephemeral = x25519.X25519PrivateKey.from_private_bytes(EPHEMERAL)
    public = RECIPIENTS[PLAIN].data
    enc = ephemeral.public_key().public_bytes_raw()
    dh = ephemeral.exchange(x25519.X25519PublicKey.from_public_bytes(public))
    key, nonce = key_schedule(X25519, dhkem_secret(dh, enc, public), info)
    return Wrapped(Kem.X25519, enc, AESGCM(key).encrypt(nonce, DATA_KEY, b""))


def wrap_kept(kept, info):
    """The hybrid's wrap that is kept, or a new one where it does not open any more."""
    if kept:
        wrapped = Wrapped(Kem.MLKEM768_X25519, bytes.fromhex(kept["enc"]), bytes.fromhex(kept["ciphertext"]))
        try:
            unwrap(wrapped, PRIVATE_KEYS[HYBRID], info)
        except ModelRefused:
            pass
        else:
            return wrapped
    return wrap(DATA_KEY, RECIPIENTS[HYBRID], info)


def p256():
    """The publisher's key for ES256: the public key, and a signer without randomness (RFC 6979)."""
    secret_key = ec.derive_private_key(P256_SECRET, ec.SECP256R1())

    def sign_p256(signing_input):
        signature = secret_key.sign(signing_input, ec.ECDSA(SHA256(), deterministic_signing=True))
        return b"".join(half.to_bytes(32, "big") for half in decode_dss_signature(signature))

    point = secret_key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return parse_public_key(Alg.ES256, point), sign_p256


def made(name, kept):
    """The files of one bundle, by name; "small" is for one gateway, "chunks" for both."""
    model = MODELS[name]
    ciphertext = secret(model)
    digest = hashlib.sha256(ciphertext).digest()
    info = {gateway: wrap_info(MODEL_ID, VERSION, digest, gateway) for gateway in RECIPIENTS}
    wrapped = {PLAIN: wrap_fixed(info[PLAIN])}
    if name == "chunks":
        wrapped[HYBRID] = wrap_kept(kept, info[HYBRID])
    manifest = manifest_of(model, ciphertext, wrapped=wrapped)
    p256_key, sign_p256 = p256()
    keys = {
        "publisher_ed25519": {"seed": PUBLISHER_SEED.hex(), "public": PUBLISHER.data.hex()},
        "publisher_es256": {"secret": f"{P256_SECRET:064x}", "public": p256_key.data.hex()},
        "data_key": DATA_KEY.hex(),
        "salt": SALT.hex(),
        "gateways": {PLAIN: {"private": PLAIN_SCALAR.hex(), "ephemeral": EPHEMERAL.hex()}},
    }
    if HYBRID in wrapped:
        kept = {"enc": wrapped[HYBRID].enc.hex(), "ciphertext": wrapped[HYBRID].ciphertext.hex()}
        keys["gateways"][HYBRID] = {"private": HYBRID_SEED.hex(), "wrap": kept}
    return {
        "manifest.cose": sign_manifest(manifest, PUBLISHER, sign),
        "manifest-es256.cose": sign_manifest(manifest, p256_key, sign_p256),
        "ciphertext.bin": ciphertext,
        "keys.json": (json.dumps(keys, indent=2) + "\n").encode(),
    }


def kept_wrap(name):
    """The hybrid's wrap of a committed bundle."""
    path = FOLDER / name / "keys.json"
    return json.loads(path.read_text())["gateways"].get(HYBRID, {}).get("wrap") if path.exists() else None


if __name__ == "__main__":
    for name in MODELS:
        (FOLDER / name).mkdir(parents=True, exist_ok=True)
        for file, content in made(name, kept_wrap(name)).items():
            (FOLDER / name / file).write_bytes(content)
