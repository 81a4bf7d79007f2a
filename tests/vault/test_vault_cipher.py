import gzip
import hashlib
import json
import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from gateway.vault.cipher import (
    CHUNK_BYTES,
    HEADER_BYTES,
    TAG_BYTES,
    Decryption,
    Encryption,
    ciphertext_size,
    decrypt,
    encrypt,
    model_context,
)
from gateway.vault.refusal import ModelRefusal, ModelRefused

VECTORS = Path(__file__).parent.parent / "vectors" / "wycheproof"
KEY, SALT, CONTEXT = b"\x11" * 32, b"\x22" * 24, model_context("pump", 7)
SEALED = CHUNK_BYTES + TAG_BYTES
EDGES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 2 * CHUNK_BYTES + 5]


def wycheproof(name):
    with gzip.open(VECTORS / f"{name}_test.json.gz") as file:
        groups = json.load(file)["testGroups"]
    return [(group, test) for group in groups for test in group["tests"]]


def plain(size):
    return hashlib.shake_256(b"plain").digest(size)


def sealed(size, key=KEY, context=CONTEXT):
    return b"".join(encrypt([plain(size)], key, context, SALT))


def opened(ciphertext, key=KEY, context=CONTEXT):
    return b"".join(decrypt([ciphertext], key, context))


def refusal(ciphertext, key=KEY, context=CONTEXT):
    with pytest.raises(ModelRefused) as caught:
        opened(ciphertext, key, context)
    return caught.value.reason


def pieces(data, cuts):
    return [data[start:end] for start, end in pairwise([0, *sorted(cuts), len(data)])]


def chunks_of(ciphertext):
    body = ciphertext[HEADER_BYTES:]
    return ciphertext[:HEADER_BYTES], [body[at : at + SEALED] for at in range(0, len(body), SEALED)]


@pytest.mark.parametrize("size", EDGES)
def test_what_was_encrypted_comes_back_and_has_the_size_that_was_told(size):
    ciphertext = sealed(size)
    assert opened(ciphertext) == plain(size)
    assert len(ciphertext) == ciphertext_size(size)


@pytest.mark.parametrize("size", EDGES)
def test_another_implementation_of_cobblestone_256_opens_ours(size):
    decryptor = Cobblestone256Decryptor(KEY, CONTEXT)
    assert decryptor.update(sealed(size)) + decryptor.finalize() == plain(size)


@pytest.mark.parametrize("size", EDGES)
def test_we_open_and_rebuild_what_another_implementation_of_cobblestone_256_made(size):
    encryptor = Cobblestone256Encryptor(KEY, CONTEXT)
    theirs = encryptor.update(plain(size)) + encryptor.finalize()
    assert opened(theirs) == plain(size)
    assert b"".join(encrypt([plain(size)], KEY, CONTEXT, theirs[:24])) == theirs


def test_the_chunk_number_counts_past_one_byte_as_elsewhere():
    size = 257 * CHUNK_BYTES + 3
    decryptor = Cobblestone256Decryptor(KEY, CONTEXT)
    ciphertext = sealed(size)
    assert decryptor.update(ciphertext) + decryptor.finalize() == plain(size)
    assert opened(ciphertext) == plain(size)


@given(st.integers(0, 70000), st.lists(st.integers(0, 70100), max_size=6), st.binary(max_size=40))
def test_where_a_stream_is_cut_into_pieces_changes_nothing(size, cuts, context):
    message = plain(size)
    whole = b"".join(encrypt([message], KEY, context, SALT))
    assert b"".join(encrypt(pieces(message, cuts), KEY, context, SALT)) == whole
    assert b"".join(decrypt(pieces(whole, cuts), KEY, context)) == message


@given(st.integers(0, 3 * SEALED), st.integers(0, 7), st.sampled_from([5, CHUNK_BYTES, 2 * CHUNK_BYTES + 9]))
def test_a_flipped_bit_is_refused_wherever_it_stands(at, bit, size):
    ciphertext = bytearray(sealed(size))
    at %= len(ciphertext)
    ciphertext[at] ^= 1 << bit
    expected = ModelRefusal.KEY_COMMITMENT if at < HEADER_BYTES else ModelRefusal.CIPHERTEXT_ALTERED
    assert refusal(bytes(ciphertext)) is expected


def test_every_bit_of_a_short_message_counts():
    whole = sealed(30)
    for at in range(len(whole)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[at] ^= 1 << bit
            assert refusal(bytes(flipped)) in {ModelRefusal.KEY_COMMITMENT, ModelRefusal.CIPHERTEXT_ALTERED}


@pytest.mark.parametrize("size", [5, CHUNK_BYTES, 2 * CHUNK_BYTES + 5])
def test_a_cut_is_refused_wherever_it_is(size):
    whole = sealed(size)
    ends = {*range(HEADER_BYTES + 60), *range(SEALED + 30, SEALED + 120), *range(len(whole) - 40, len(whole))}
    for end in sorted(ends & set(range(len(whole)))):
        rest = (end - HEADER_BYTES) % SEALED
        short = end < HEADER_BYTES or rest < TAG_BYTES
        expected = ModelRefusal.CIPHERTEXT_TRUNCATED if short else ModelRefusal.CIPHERTEXT_ALTERED
        assert refusal(whole[:end]) is expected, end


def test_a_cut_between_two_chunks_is_truncated():
    assert refusal(sealed(2 * CHUNK_BYTES + 5)[: HEADER_BYTES + SEALED]) is ModelRefusal.CIPHERTEXT_TRUNCATED
    assert refusal(sealed(2 * CHUNK_BYTES + 5)[: HEADER_BYTES + 2 * SEALED]) is ModelRefusal.CIPHERTEXT_TRUNCATED


@pytest.mark.parametrize(
    "order", [(1, 0, 2), (0, 0, 2), (0, 2), (1, 2), (0, 1, 2, 2), (0, 1, 1, 2), (2, 0, 1), (2,), (0, 1, 2, 0)]
)
def test_chunks_that_are_moved_repeated_or_left_out_are_refused(order):
    header, chunks = chunks_of(sealed(2 * CHUNK_BYTES + 5))
    assert refusal(header + b"".join(chunks[number] for number in order)) is ModelRefusal.CIPHERTEXT_ALTERED


@pytest.mark.parametrize("more", [1, 12, 16, 20, SEALED - 21, SEALED, SEALED + 7])
def test_bytes_behind_the_end_are_refused(more):
    reason = refusal(sealed(5) + bytes(more))
    assert reason in {ModelRefusal.CIPHERTEXT_ALTERED, ModelRefusal.CIPHERTEXT_TRUNCATED}


def test_a_whole_second_message_behind_the_end_is_refused():
    assert refusal(sealed(5) + sealed(5)) is ModelRefusal.CIPHERTEXT_ALTERED


def test_another_key_and_another_context_fail_the_commitment_before_anything_is_decrypted():
    assert refusal(sealed(5), key=b"\x12" * 32) is ModelRefusal.KEY_COMMITMENT
    for context in (model_context("pump", 8), model_context("pumq", 7), b""):
        decryption = Decryption(KEY, context)
        with pytest.raises(ModelRefused) as caught:
            decryption.update(sealed(5)[:HEADER_BYTES])
        assert caught.value.reason is ModelRefusal.KEY_COMMITMENT


def test_a_refused_ciphertext_stays_refused():
    decryption = Decryption(KEY, CONTEXT)
    with pytest.raises(ModelRefused):
        decryption.update(bytes(HEADER_BYTES))
    with pytest.raises(RuntimeError, match="begin anew"):
        decryption.update(b"")
    with pytest.raises(RuntimeError, match="begin anew"):
        decryption.finish()


def test_the_context_names_model_and_version():
    assert CONTEXT == b"securenet.model/1\x00pump\x00\x00\x00\x00\x00\x00\x00\x00\x07"


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_key_of_another_size_is_refused_at_once(size):
    with pytest.raises(ValueError, match="32 bytes"):
        Decryption(bytes(size), CONTEXT)
    with pytest.raises(ValueError, match="32 bytes"):
        Encryption(bytes(size), CONTEXT, SALT)


def test_a_model_of_any_size_takes_the_memory_of_a_chunk():
    piece = bytes(100_000)
    tracemalloc.start()
    try:
        size = 0
        for ready in decrypt(encrypt((piece for _ in range(160)), KEY, CONTEXT, SALT), KEY, CONTEXT):
            size += len(ready)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size == 16_000_000
    assert peak < 1_500_000


# The primitives that cipher and wrap stand on, as this machine's library has them.

AES_GCM = [
    (group, test)
    for group, test in wycheproof("aes_gcm")
    if (group["keySize"], group["ivSize"], group["tagSize"]) == (256, 96, 128)
]
HKDF_SHA256 = wycheproof("hkdf_sha256")


def test_the_vectors_are_all_there():
    assert (len(AES_GCM), len(HKDF_SHA256)) == (66, 86)


def test_wycheproof_aes_256_gcm():
    for _, test in AES_GCM:
        key, nonce, aad, message = (bytes.fromhex(test[name]) for name in ("key", "iv", "aad", "msg"))
        ciphertext = bytes.fromhex(test["ct"] + test["tag"])
        if test["result"] == "valid":
            assert AESGCM(key).encrypt(nonce, message, aad) == ciphertext
            assert AESGCM(key).decrypt(nonce, ciphertext, aad) == message
        else:
            with pytest.raises(InvalidTag):
                AESGCM(key).decrypt(nonce, ciphertext, aad)


def test_wycheproof_hkdf_sha256():
    for _, test in HKDF_SHA256:
        key, salt, info = (bytes.fromhex(test[name]) for name in ("ikm", "salt", "info"))
        if test["result"] == "valid":
            assert HKDF(SHA256(), test["size"], salt, info).derive(key).hex() == test["okm"]
        else:
            with pytest.raises(ValueError, match="Cannot derive keys larger"):
                HKDF(SHA256(), test["size"], salt, info)
