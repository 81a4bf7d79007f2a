"""docs/spec/model-bundle.md shows what the code makes; the committed bundles open here and with the second reader."""

import hashlib
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import cbor2
import make_bundles
import pytest
import second_reader
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from vault_kit import HYBRID, MODEL_ID, PLAIN, VERSION

from gateway.crypto.keys import parse_public_key
from gateway.message import Alg
from gateway.vault.bundle import Named, open_bundle
from gateway.vault.manifest import manifest_sha256, read_manifest
from gateway.vault.refusal import ModelRefusal, ModelRefused
from gateway.vault.wrap import hybrid_private_key

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "spec" / "model-bundle.md").read_text()
EXAMPLES = dict(re.findall(r"^```text example (\S+)\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL))
FOLDER = ROOT / "tests" / "vectors" / "model-bundle"
BUNDLES = [("small", PLAIN), ("chunks", PLAIN), ("chunks", HYBRID)]
ALGS = {Alg.ED25519: ("manifest.cose", "publisher_ed25519"), Alg.ES256: ("manifest-es256.cose", "publisher_es256")}


def read(name):
    return {path.name: path.read_bytes() for path in (FOLDER / name).iterdir()}


def ours(envelope, ciphertext, alg, public_key, gateway, private):
    """Open with the gateway's own code: the model, or the class of the refusal."""
    key = X25519PrivateKey.from_private_bytes(private) if gateway == PLAIN else hybrid_private_key(private)
    try:
        return bytes(
            open_bundle(
                envelope,
                [ciphertext],
                named=Named(MODEL_ID, VERSION, manifest_sha256(envelope)),
                publisher=parse_public_key(alg, public_key),
                private_key=key,
                gateway_id=gateway,
            ).plaintext
        )
    except ModelRefused as refusal:
        return str(refusal.reason)


def theirs(envelope, ciphertext, alg, public_key, gateway, private):
    """Open with the second reader: the model, or the class of the refusal."""
    try:
        return second_reader.open_bundle(
            envelope, ciphertext, alg=str(alg), public_key=public_key, gateway=gateway, private=private
        )[1]
    except second_reader.Refused as refusal:
        return str(refusal)


def arguments(name, gateway, alg=Alg.ED25519):
    files = read(name)
    keys = json.loads(files["keys.json"])
    envelope, publisher = ALGS[alg]
    return {
        "envelope": files[envelope],
        "ciphertext": files["ciphertext.bin"],
        "alg": alg,
        "public_key": bytes.fromhex(keys[publisher]["public"]),
        "gateway": gateway,
        "private": bytes.fromhex(keys["gateways"][gateway]["private"]),
    }


@pytest.mark.parametrize("alg", list(Alg))
@pytest.mark.parametrize(("name", "gateway"), BUNDLES)
def test_the_gateway_and_the_second_reader_open_the_committed_bundle(name, gateway, alg):
    opened = arguments(name, gateway, alg)
    assert ours(**opened) == theirs(**opened) == make_bundles.MODELS[name]


def test_the_second_reader_runs_on_its_own():
    command = [sys.executable, "-I", second_reader.__file__, FOLDER / "chunks", HYBRID]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    digest = hashlib.sha256(make_bundles.MODELS["chunks"]).hexdigest()
    assert done.stdout == f"{MODEL_ID} {VERSION} 33000 {digest}\n"


def test_the_second_reader_shares_nothing_with_the_gateway():
    assert not re.search(
        r"^\s*(from|import) (gateway|vault_kit)", Path(second_reader.__file__).read_text(), re.MULTILINE
    )


@pytest.mark.parametrize("alg", list(Alg))
def test_both_readers_refuse_the_same_alterations_for_the_same_reason(alg):
    good = arguments("small", PLAIN, alg)
    for member in ("envelope", "ciphertext"):
        for at in range(0, len(good[member]), 3 if member == "envelope" else 1):
            altered = bytearray(good[member])
            altered[at] ^= 0x11
            bad = good | {member: bytes(altered)}
            assert ours(**bad) == theirs(**bad)
            assert ours(**bad) in list(ModelRefusal)


@pytest.mark.parametrize("gateway", [PLAIN, HYBRID])
def test_both_readers_refuse_for_the_same_reason_what_is_not_for_this_reader(gateway):
    good = arguments("chunks", gateway)
    end = 56 + 2 * 16400
    for changes in (
        {"private": b"\x01" * 32},
        {"gateway": "gw-9"},
        {"public_key": bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")},
        {"ciphertext": good["ciphertext"][:end]},
        {"ciphertext": good["ciphertext"] + b"\x00"},
        {
            "ciphertext": good["ciphertext"][:56]
            + good["ciphertext"][16456:32856]
            + good["ciphertext"][56:16456]
            + good["ciphertext"][32856:]
        },
        {"envelope": good["envelope"][:-1]},
        {"envelope": b""},
    ):
        bad = good | changes
        assert ours(**bad) == theirs(**bad)
        assert ours(**bad) in list(ModelRefusal)


@pytest.mark.parametrize("name", make_bundles.MODELS)
def test_the_committed_files_are_what_the_script_makes(name):
    assert make_bundles.made(name, make_bundles.kept_wrap(name)) == read(name)


@pytest.mark.slow
@pytest.mark.parametrize("share", range(6))
def test_every_value_of_every_byte_of_the_committed_manifest_is_refused(share):
    good = arguments("small", PLAIN)
    publisher = parse_public_key(Alg.ED25519, good["public_key"])
    for at in range(share, len(good["envelope"]), 6):
        altered = bytearray(good["envelope"])
        for change in range(1, 256):
            altered[at] = good["envelope"][at] ^ change
            with pytest.raises(ModelRefused) as caught:
                read_manifest(bytes(altered), publisher)
            assert caught.value.reason in {ModelRefusal.MANIFEST_MALFORMED, ModelRefusal.MANIFEST_SIGNATURE}


# The page.


def notation(value, indent=0):
    """CBOR diagnostic notation, as the page has it."""
    if isinstance(value, dict | list):
        named = isinstance(value, dict)
        items = (
            [f"{json.dumps(name)}: {notation(item, indent + 1)}" for name, item in value.items()]
            if named
            else [notation(item, indent + 1) for item in value]
        )
        opening, closing = "{}" if named else "[]"
        line = opening + ", ".join(items) + closing
        if "\n" not in line and len(line) + 2 * indent <= 96:
            return line
        inner = "  " * (indent + 1)
        return f"{opening}\n" + "".join(f"{inner}{item},\n" for item in items) + "  " * indent + closing
    return f"h'{value.hex()}'" if isinstance(value, bytes) else json.dumps(value)


def shown():
    """The examples of the page, made anew."""
    files = read("small")
    keys = json.loads(files["keys.json"])
    gateway = keys["gateways"][PLAIN]
    payload = cbor2.loads(cbor2.loads(files["manifest.cose"]).value[2])
    named = [
        ("publisher's seed (Ed25519)", keys["publisher_ed25519"]["seed"]),
        ("publisher's public key", keys["publisher_ed25519"]["public"]),
        ("gateway's private key (X25519)", gateway["private"]),
        ("ephemeral private key of the wrap", gateway["ephemeral"]),
        ("data key", keys["data_key"]),
        ("salt", keys["salt"]),
    ]
    return {
        "keys": "\n".join(f"{name:33} {value}" for name, value in named),
        "ciphertext": "\n".join(textwrap.wrap(files["ciphertext.bin"].hex(), 96)),
        "payload": notation(payload),
        "manifest": "\n".join(textwrap.wrap(files["manifest.cose"].hex(), 96)),
        "manifest-sha256": hashlib.sha256(files["manifest.cose"]).hexdigest(),
    }


SHOWN = shown()


def test_the_page_has_every_example_and_no_other():
    assert set(EXAMPLES) == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_the_example_is_made_byte_for_byte(name):
    assert EXAMPLES[name] == SHOWN[name]


def test_the_page_explains_every_failure_class_in_the_order_of_the_code():
    classes = re.findall(r"^\| `([a-z-]+)` \|", PAGE[PAGE.index("## Failure classes") :], re.MULTILINE)
    assert classes == list(ModelRefusal)
