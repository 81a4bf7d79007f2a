"""The anchoring key and the HPKE key, as the gateway reads them: by reference, with every refusal named."""

import json
import traceback

import pytest

pytest.importorskip("eth_account", reason="the extra 'chain' is not installed")

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from gateway.crypto.anchoring_key import address_of
from gateway.crypto.keystore import ScryptCost, lock
from gateway.ops.secrets import (
    MAX_SECRET_BYTES,
    SecretError,
    load_anchoring_key,
    load_hpke_key,
    load_passphrase,
)

PRIVATE = b"\x21" * 32
PASSPHRASE = b"open sesame"
KEYSTORE = lock(PRIVATE, PASSPHRASE, ScryptCost(2, 1, 1))
HPKE = X25519PrivateKey.from_private_bytes(b"\x42" * 32)


def pem(key, encryption=None):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


@pytest.fixture
def secret(tmp_path):
    def make(name, data, mode=0o600):
        path = tmp_path / name
        path.write_bytes(data)
        path.chmod(mode)
        return str(path)

    return make


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_the_anchoring_key_is_opened_by_its_passphrase_file(secret, end):
    key = load_anchoring_key(secret("key", KEYSTORE), secret("pass", PASSPHRASE + end))
    assert key.address == address_of(PRIVATE)


def test_both_may_be_credentials(tmp_path, secret, monkeypatch):
    secret("anchoring-key", KEYSTORE, 0o440)
    secret("anchoring-passphrase", PASSPHRASE, 0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    key = load_anchoring_key("credential:anchoring-key", "credential:anchoring-passphrase")
    assert key.address == address_of(PRIVATE)


@pytest.mark.parametrize(
    ("keystore", "passphrase", "words"),
    [
        (KEYSTORE, b"open sesam", "not opened by its passphrase"),
        (KEYSTORE, b"", "is empty"),
        (KEYSTORE, b"\n", "is empty"),
        (KEYSTORE, b"x" * (MAX_SECRET_BYTES + 1), "is larger"),
        (b"x" * (MAX_SECRET_BYTES + 1), PASSPHRASE, "is larger"),
        (b"junk", PASSPHRASE, "no JSON keystore"),
        (b"{" * 60000, PASSPHRASE, "no JSON keystore"),
        (b'{"version": 4}', PASSPHRASE, "not of version 3"),
        (KEYSTORE.replace(b'"version": 3', b'"version": 1'), PASSPHRASE, "not of version 3"),
    ],
)
def test_every_refusal_names_the_file_and_a_remedy_and_shows_no_secret(secret, keystore, passphrase, words):
    with pytest.raises(SecretError, match=words) as caught:
        load_anchoring_key(secret("key", keystore), secret("pass", passphrase))
    shown = "".join(traceback.format_exception(caught.value))
    assert caught.value.ref.endswith(("key", "pass"))
    assert caught.value.hint
    assert PRIVATE.hex() not in shown
    assert "open sesam" not in shown
    assert json.loads(KEYSTORE)["crypto"]["ciphertext"] not in shown


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_neither_file_may_be_open_to_others(secret, mode):
    with pytest.raises(SecretError, match=r"chmod 600 .*key"):
        load_anchoring_key(secret("key", KEYSTORE, mode), secret("pass", PASSPHRASE))
    with pytest.raises(SecretError, match=r"chmod 600 .*pass"):
        load_anchoring_key(secret("key", KEYSTORE, 0o600), secret("pass", PASSPHRASE, mode))


def test_a_passphrase_that_is_not_named_is_told_so():
    with pytest.raises(SecretError, match="the passphrase: is empty"):
        load_passphrase("")


def test_the_hpke_key_is_read_and_its_repr_is_silent(secret):
    key = load_hpke_key(secret("hpke", pem(HPKE)))
    assert key.public == HPKE.public_key().public_bytes_raw()
    assert (b"\x42" * 32).hex() not in repr(key)


@given(st.binary(min_size=32, max_size=32))
def test_every_hpke_key_survives_its_file(tmp_path_factory, seed):
    path = tmp_path_factory.mktemp("hpke") / "key"
    path.touch(0o600)
    path.write_bytes(pem(X25519PrivateKey.from_private_bytes(seed)))
    assert load_hpke_key(str(path)).private.private_bytes_raw() == seed


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"junk", "neither a private key in PKCS#8 PEM nor a hybrid seed; securenet key create hpke"),
        (pem(Ed25519PrivateKey.from_private_bytes(b"\x42" * 32)), "no X25519 key"),
        (pem(HPKE, BestAvailableEncryption(b"x")), "protected by a passphrase"),
        (b"", "is empty"),
    ],
)
def test_what_is_no_hpke_key_is_refused(secret, data, words):
    with pytest.raises(SecretError, match=words):
        load_hpke_key(secret("hpke", data))
