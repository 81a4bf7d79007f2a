"""Web3 keystore V3: the published vectors, another implementation's opinion, and everything that is refused."""

import copy
import json
import logging
import pickle
import sys

import pytest

pytest.importorskip("eth_account", reason="the extra 'chain' is not installed")

import eth_keyfile
from eth_account import Account
from eth_utils import to_checksum_address
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.crypto import keystore
from gateway.crypto.anchoring_key import (
    AnchoringKey,
    ChainExtraMissing,
    address_of,
    checksum_address,
    is_private_key,
    new_private_key,
)
from gateway.crypto.keystore import KeystoreRefused, ScryptCost, lock, stated_address, unlock

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
CHEAP = ScryptCost(2, 1, 1)
PASSPHRASE = b"correct horse"
PRIVATE = bytes.fromhex("7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d")
ADDRESS = bytes.fromhex("008aeeda4d805471df9b2a5b0f38a0c3bcba786b")
# The Web3 Secret Storage Definition's own, password "testpassword".
PBKDF2 = {
    "crypto": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
        "kdf": "pbkdf2",
        "kdfparams": {
            "c": 262144,
            "dklen": 32,
            "prf": "hmac-sha256",
            "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd",
        },
        "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2",
    },
    "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    "version": 3,
}
SCRYPT = {
    "crypto": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "83dbcc02d8ccb40e466191a123791e0e"},
        "ciphertext": "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
        "kdf": "scrypt",
        "kdfparams": {
            "dklen": 32,
            "n": 262144,
            "r": 1,
            "p": 8,
            "salt": "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19",
        },
        "mac": "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097",
    },
    "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    "version": 3,
}
private_keys = st.integers(1, ORDER - 1).map(lambda number: number.to_bytes(32, "big"))
sealed = json.loads(lock(PRIVATE, PASSPHRASE, CHEAP))


def stored(members):
    return json.dumps(members).encode()


def changed(*path, to):
    members = copy.deepcopy(sealed)
    inner = members
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = to
    return stored(members)


@pytest.mark.parametrize("vector", [PBKDF2, SCRYPT], ids=["pbkdf2", "scrypt"])
def test_the_published_vectors_open(vector):
    assert unlock(stored(vector), b"testpassword") == PRIVATE
    assert address_of(PRIVATE) == ADDRESS
    assert stated_address(stored(vector)) is None


@given(private_keys, st.binary(max_size=80), st.sampled_from([CHEAP, ScryptCost(16, 2, 3), ScryptCost(4, 8, 1)]))
@settings(deadline=None)
def test_what_is_locked_opens_here_and_elsewhere(private, passphrase, cost):
    data = lock(private, passphrase, cost)
    assert unlock(data, passphrase) == private
    assert eth_keyfile.decode_keyfile_json(json.loads(data), passphrase) == private
    assert stated_address(data) == address_of(private)
    assert private.hex() not in data.decode()


@given(private_keys, st.binary(max_size=40), st.sampled_from([("scrypt", 4), ("pbkdf2", 2)]))
@settings(deadline=None)
def test_what_another_implementation_locked_opens(private, passphrase, kdf):
    members = eth_keyfile.create_keyfile_json(private, passphrase, 3, kdf[0], kdf[1])
    assert unlock(stored(members), passphrase) == private


@given(private_keys)
@settings(deadline=None)
def test_addresses_are_what_another_implementation_says(private):
    assert checksum_address(address_of(private)) == Account.from_key(private).address


@given(st.binary(min_size=20, max_size=20))
def test_the_capitals_of_an_address_check_it(address):
    assert checksum_address(address) == to_checksum_address(address)


def test_a_new_key_is_a_key_and_never_the_same():
    first, second = new_private_key(), new_private_key()
    assert is_private_key(first)
    assert first != second


def test_the_default_cost_stays_below_what_a_raspberry_pi_can_spare():
    n, r, p = keystore.COST
    assert 128 * n * r == 32 << 20
    params = json.loads(lock(PRIVATE, PASSPHRASE))["crypto"]["kdfparams"]
    assert (params["n"], params["r"], params["p"]) == (n, r, p)


def test_randomness_is_an_argument_and_two_locks_of_one_key_differ():
    zeros = [lock(PRIVATE, PASSPHRASE, CHEAP, bytes) for _ in range(2)]
    assert zeros[0] == zeros[1]
    assert lock(PRIVATE, PASSPHRASE, CHEAP) != lock(PRIVATE, PASSPHRASE, CHEAP)


@pytest.mark.parametrize("private", [bytes(32), ORDER.to_bytes(32, "big"), b"\xff" * 32, b"\1" * 31, b""])
def test_what_is_no_private_key_is_not_locked(private):
    with pytest.raises(ValueError, match="private key of secp256k1"):
        lock(private, PASSPHRASE, CHEAP)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no JSON keystore"),
        (b"\xff\xfe", "no JSON keystore"),
        (b"junk", "no JSON keystore"),
        (b"[" * 60000, "no JSON keystore"),
        (b"{" + b'"a":{' * 100 + b"}" * 101, "no JSON keystore"),
        (b"1" * 10000, "no JSON keystore"),
        (b'{"version": 3, "Version": 3}', "no JSON keystore"),
        (b"[]", "JSON, but no keystore"),
        (b"null", "JSON, but no keystore"),
        (b"{}", "no version that is an integer"),
        (changed("version", to=4), "not of version 3"),
        (changed("version", to="3"), "no version that is an integer"),
        (changed("version", to=True), "no version that is an integer"),
        (changed("crypto", to=[]), "no crypto that is an object"),
        (changed("crypto", "cipher", to="aes-128-cbc"), "not encrypted with aes-128-ctr"),
        (changed("crypto", "cipherparams", "iv", to="00" * 15), "no 16 bytes of hex in crypto.cipherparams.iv"),
        (changed("crypto", "cipherparams", "iv", to="0 " * 16), "no 16 bytes of hex"),
        (changed("crypto", "ciphertext", to="00" * 33), "no 32 bytes of hex in crypto.ciphertext"),
        (changed("crypto", "ciphertext", to="zz" * 32), "no 32 bytes of hex"),
        (changed("crypto", "mac", to=""), "no 32 bytes of hex in crypto.mac"),
        (changed("crypto", "kdf", to="argon2"), "a kdf other than"),
        (changed("crypto", "kdfparams", "salt", to=""), "no 1 to 256 bytes of hex"),
        (changed("crypto", "kdfparams", "dklen", to=16), "crypto.kdfparams.dklen out of bounds"),
        (changed("crypto", "kdfparams", "dklen", to=1 << 30), "out of bounds"),
        (changed("crypto", "kdfparams", "n", to=3), "no power of two"),
        (changed("crypto", "kdfparams", "n", to=1), "out of bounds"),
        (changed("crypto", "kdfparams", "n", to=2.0), "no crypto.kdfparams.n that is an integer"),
        (changed("crypto", "kdfparams", "p", to=0), "out of bounds"),
        (changed("address", to="00"), "no 20 bytes of hex in address"),
        (changed("address", to="00" * 20), "states another address"),
        (changed("crypto", "mac", to="00" * 32), "MAC mismatch"),
    ],
)
def test_what_is_no_sound_keystore_is_refused_with_a_hint(data, words):
    with pytest.raises(KeystoreRefused, match=words) as caught:
        unlock(data, PASSPHRASE)
    assert caught.value.hint
    assert str(caught.value) == f"{caught.value.problem}; {caught.value.hint}"


@pytest.mark.parametrize(
    ("kdf", "params", "words"),
    [
        ("scrypt", {"n": 1 << 19, "r": 8, "p": 1}, "more than 300 MiB"),
        ("scrypt", {"n": 1 << 62, "r": 8, "p": 1}, "more than 300 MiB"),
        ("scrypt", {"n": 2, "r": 1 << 40, "p": 1}, "more than 300 MiB"),
        ("scrypt", {"n": 2, "r": 1, "p": 1 << 40}, "more than 300 MiB"),
        ("scrypt", {"n": 1 << 18, "r": 8, "p": 5}, "too many rounds"),
        ("scrypt", {"n": 1 << 14, "r": 1, "p": 1 << 10}, "too many rounds"),
        ("pbkdf2", {"c": 10_000_001, "prf": "hmac-sha256"}, "more than 10000000 rounds"),
        ("pbkdf2", {"c": 1, "prf": "hmac-sha1"}, "a prf other than"),
    ],
)
def test_what_would_eat_the_machine_is_refused_before_it_begins(monkeypatch, kdf, params, words):
    def begun(*_arguments, **_more):
        raise AssertionError("it began")

    monkeypatch.setattr(keystore.hashlib, "scrypt", begun)
    monkeypatch.setattr(keystore.hashlib, "pbkdf2_hmac", begun)
    members = copy.deepcopy(sealed)
    members["crypto"] |= {"kdf": kdf, "kdfparams": {"dklen": 32, "salt": "00" * 32, **params}}
    with pytest.raises(KeystoreRefused, match=words):
        unlock(stored(members), PASSPHRASE)


def test_a_machine_without_the_memory_says_so(monkeypatch):
    def exhausted(*_arguments, **_more):
        raise MemoryError

    monkeypatch.setattr(keystore.hashlib, "scrypt", exhausted)
    with pytest.raises(KeystoreRefused, match="has not free"):
        unlock(stored(sealed), PASSPHRASE)


@given(st.binary(max_size=20))
@settings(deadline=None)
def test_a_wrong_passphrase_opens_nothing(passphrase):
    with pytest.raises(KeystoreRefused, match="not opened by its passphrase"):
        unlock(stored(sealed), passphrase + b"!")


@given(st.integers(0, 31), st.integers(1, 255))
@settings(deadline=None)
def test_a_flipped_bit_of_the_ciphertext_is_noticed(position, flip):
    ciphertext = bytearray.fromhex(sealed["crypto"]["ciphertext"])
    ciphertext[position] ^= flip
    with pytest.raises(KeystoreRefused, match="MAC mismatch"):
        unlock(changed("crypto", "ciphertext", to=ciphertext.hex()), PASSPHRASE)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
paths = st.sampled_from(
    [(name,) for name in sealed]
    + [("crypto", name) for name in sealed["crypto"]]
    + [("crypto", "kdfparams", name) for name in sealed["crypto"]["kdfparams"]]
)


@given(paths, json_values)
@settings(deadline=None)
def test_a_member_of_any_value_is_taken_or_refused_and_never_a_fault(path, value):
    try:
        assert unlock(changed(*path, to=value), PASSPHRASE) == PRIVATE
    except KeystoreRefused as refused:
        assert PASSPHRASE.decode() not in str(refused)  # noqa: PT017 -- it may also be taken


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_refused(data):
    with pytest.raises(KeystoreRefused):
        stated_address(data)


def test_a_signed_transaction_is_the_accounts_and_always_the_same():
    key = AnchoringKey(PRIVATE)
    fields = {
        "nonce": 7,
        "chainId": 1337,
        "to": b"\x11" * 20,
        "data": b"\x01\x02",
        "value": 0,
        "gas": 90000,
        "maxFeePerGas": 3,
        "maxPriorityFeePerGas": 1,
    }
    raw = key.sign_transaction(fields)
    assert raw[0] == 2
    assert raw == key.sign_transaction(fields)
    assert Account.recover_transaction(raw) == checksum_address(key.address)
    legacy = {name: value for name, value in fields.items() if not name.startswith("max")} | {"gasPrice": 5}
    assert Account.recover_transaction(key.sign_transaction(legacy)) == checksum_address(ADDRESS)
    with pytest.raises(TypeError):
        key.sign_transaction({"nonce": 1})


def test_nothing_that_shows_an_anchoring_key_shows_the_secret(caplog):
    key = AnchoringKey(PRIVATE)
    with caplog.at_level(logging.INFO):
        logging.getLogger("test").info("key %s %r %s", key, [key], {"key": key})
    for text in (repr(key), str(key), f"{key}", caplog.text):
        assert ADDRESS.hex() in text
        assert PRIVATE.hex() not in text
        assert repr(PRIVATE) not in text
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="neither copied nor pickled"):
            leak(key)
    with pytest.raises(TypeError):
        vars(key)
    with pytest.raises(AttributeError):
        key.address = b""


def test_without_the_libraries_the_error_has_the_command_that_installs_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "eth_hash.auto", None)
    with pytest.raises(ChainExtraMissing, match=r"pip install 'securenet-gateway\[chain\]'"):
        unlock(stored(sealed), PASSPHRASE)
    monkeypatch.undo()
    key = AnchoringKey(PRIVATE)
    monkeypatch.setitem(sys.modules, "eth_account", None)
    with pytest.raises(ChainExtraMissing):
        key.sign_transaction({})
    monkeypatch.setitem(sys.modules, "Crypto.Protocol.KDF", None)
    with pytest.raises(ChainExtraMissing):
        unlock(stored(SCRYPT), b"testpassword")
