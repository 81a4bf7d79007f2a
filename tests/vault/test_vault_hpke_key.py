"""The file of a gateway's HPKE key: X25519 as everybody writes it, the hybrid as a seed."""

import pytest
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

from gateway.crypto.keys import KeyRefused
from gateway.vault.hpke_key import hybrid_key, hybrid_pem, parse_hpke_pem, x25519_pem
from gateway.vault.refusal import ModelRefused
from gateway.vault.wrap import unwrap, wrap

INFO = b"info"


@given(st.binary(min_size=32, max_size=32))
def test_a_hybrid_file_gives_the_key_of_its_seed_back(seed):
    key = parse_hpke_pem(hybrid_pem(seed))
    assert (key.public, key.is_hybrid, len(key.public)) == (hybrid_key(seed).public, True, 1216)
    assert unwrap(wrap(b"d" * 32, key.recipient, INFO), key.private, INFO) == b"d" * 32


@given(st.binary(min_size=32, max_size=32))
def test_an_x25519_file_gives_its_key_back(scalar):
    private = X25519PrivateKey.from_private_bytes(scalar)
    key = parse_hpke_pem(x25519_pem(private))
    assert (key.public, key.is_hybrid) == (private.public_key().public_bytes_raw(), False)
    assert unwrap(wrap(b"d" * 32, key.recipient, INFO), key.private, INFO) == b"d" * 32


def test_a_wrap_for_one_kind_of_key_does_not_open_with_the_other():
    hybrid, plain = hybrid_key(bytes(32)), parse_hpke_pem(x25519_pem(X25519PrivateKey.generate()))
    for mine, other in ((hybrid, plain), (plain, hybrid)):
        with pytest.raises(ModelRefused, match="another kind of key"):
            unwrap(wrap(b"d" * 32, mine.recipient, INFO), other.private, INFO)


@given(st.binary(max_size=400))
def test_garbage_is_no_key(data):
    with pytest.raises(KeyRefused):
        parse_hpke_pem(data)


@given(st.binary(max_size=60).filter(lambda seed: len(seed) != 32))
def test_a_seed_of_another_length_is_no_key(seed):
    from base64 import b64encode  # noqa: PLC0415 -- for this test alone

    label = b"SECURENET MLKEM768-X25519 SEED"
    text = b"-----BEGIN " + label + b"-----\n" + b64encode(seed) + b"\n-----END " + label + b"-----\n"
    with pytest.raises(KeyRefused):
        parse_hpke_pem(text)
    with pytest.raises(ValueError, match="32 bytes"):
        hybrid_pem(seed)


def test_keys_of_another_kind_and_under_a_passphrase_are_refused_by_name():
    other = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(KeyRefused, match="no X25519 key"):
        parse_hpke_pem(other)
    locked = X25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")
    )
    with pytest.raises(KeyRefused, match="passphrase"):
        parse_hpke_pem(locked)
