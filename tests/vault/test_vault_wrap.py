import gzip
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st
from second_reader import X25519, Refused, decapsulate, dhkem_secret, key_schedule
from second_reader import unwrap as unwrap_elsewhere
from vault_kit import DATA_KEY, HYBRID, HYBRID_SEED, PLAIN, PLAIN_SCALAR, PRIVATE_KEYS, RECIPIENTS

from gateway.crypto.keys import KeyRefused
from gateway.vault.refusal import ModelRefusal, ModelRefused
from gateway.vault.wrap import (
    Kem,
    Recipient,
    Wrapped,
    hybrid_private_key,
    hybrid_recipient,
    parse_recipient,
    unwrap,
    wrap,
    wrap_for,
    wrap_info,
)

VECTORS = Path(__file__).parent.parent / "vectors"


def hpke(path):
    """A published vector: its strings are bytes in hexadecimal."""
    vector = json.loads((VECTORS / path).read_text())
    return {name: bytes.fromhex(value) if isinstance(value, str) else value for name, value in vector.items()}


RFC9180 = [hpke("hpke-rfc9180/a1-1-base.json"), hpke("hpke-rfc9180/x25519-aes256gcm-base.json")]
HYBRID_DRAFT = hpke("hpke-pq/mlkem768-x25519-base.json")
with gzip.open(VECTORS / "wycheproof" / "x25519_test.json.gz") as file:
    WYCHEPROOF = [test for group in json.load(file)["testGroups"] for test in group["tests"]]

INFO = wrap_info("pump", 3, b"\x07" * 32, "gw-1")
SECRETS = {PLAIN: PLAIN_SCALAR, HYBRID: HYBRID_SEED}
BOTH = pytest.mark.parametrize("gateway", [PLAIN, HYBRID])
P = 2**255 - 19
# The u-coordinates of order 1, 2, 4 and 8 on the curve and its twist, below p.
SMALL_ORDER = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    P - 1,
]


def wrap_failed(wrapped, private_key, info=INFO):
    with pytest.raises(ModelRefused) as caught:
        unwrap(wrapped, private_key, info)
    return caught.value.reason is ModelRefusal.WRAP_FAILED


@BOTH
def test_a_wrapped_key_opens_with_the_recipients_key_and_info(gateway):
    wrapped = wrap(DATA_KEY, RECIPIENTS[gateway], INFO)
    assert (len(wrapped.enc), len(wrapped.ciphertext)) == (wrapped.kem.enc_bytes, 48)
    assert unwrap(wrapped, PRIVATE_KEYS[gateway], INFO) == DATA_KEY


@BOTH
def test_a_reader_with_glue_of_its_own_opens_the_same_wrap(gateway):
    wrapped = wrap(DATA_KEY, RECIPIENTS[gateway], INFO)
    assert unwrap_elsewhere(wrapped, SECRETS[gateway], INFO) == DATA_KEY
    with pytest.raises(Refused, match="wrap-failed"):
        unwrap_elsewhere(wrapped, SECRETS[gateway], INFO + b"x")


@pytest.mark.parametrize(("vector", "key_bytes"), [(RFC9180[0], 16), (RFC9180[1], 32)])
def test_the_glue_of_that_reader_is_rfc_9180s(vector, key_bytes):
    secret = decapsulate(vector["kem_id"], vector["enc"], vector["skRm"])
    assert secret == vector["shared_secret"]
    ephemeral = X25519PrivateKey.from_private_bytes(vector["skEm"])
    dh = ephemeral.exchange(X25519PublicKey.from_public_bytes(vector["pkRm"]))
    assert ephemeral.public_key().public_bytes_raw() == vector["enc"]
    assert dhkem_secret(dh, vector["enc"], vector["pkRm"]) == secret
    key, nonce = key_schedule(X25519, secret, vector["info"], aead=vector["aead_id"], key_bytes=key_bytes)
    assert (key, nonce) == (vector["key"], vector["base_nonce"])
    assert AESGCM(key).decrypt(nonce, vector["ct"], vector["aad"]) == vector["pt"]


def test_the_hybrid_is_the_one_of_the_draft():
    vector = HYBRID_DRAFT
    assert hybrid_recipient(vector["skRm"]) == Recipient(Kem(vector["kem_id"]), vector["pkRm"])
    secret = decapsulate(vector["kem_id"], vector["enc"], vector["skRm"])
    assert secret == vector["shared_secret"]
    key, nonce = key_schedule(vector["kem_id"], secret, vector["info"], aead=vector["aead_id"])
    assert (key, nonce) == (vector["key"], vector["base_nonce"])
    assert ChaCha20Poly1305(key).decrypt(nonce, vector["ct"], vector["aad"]) == vector["pt"]


@pytest.mark.parametrize("vector", [RFC9180[1], HYBRID_DRAFT], ids=["x25519", "hybrid"])
def test_a_gateway_opens_what_is_sealed_with_the_secret_of_a_published_vector(vector):
    kem, info = Kem(vector["kem_id"]), vector["info"]
    key, nonce = key_schedule(kem, vector["shared_secret"], info)
    wrapped = Wrapped(kem, vector["enc"], AESGCM(key).encrypt(nonce, DATA_KEY, b""))
    hybrid = kem is Kem.MLKEM768_X25519
    private = hybrid_private_key(vector["skRm"]) if hybrid else X25519PrivateKey.from_private_bytes(vector["skRm"])
    assert unwrap(wrapped, private, info) == DATA_KEY


def test_wycheproof_x25519_and_zero_results_are_refused():
    assert len(WYCHEPROOF) == 518
    zeros = 0
    for test in WYCHEPROOF:
        private = X25519PrivateKey.from_private_bytes(bytes.fromhex(test["private"]))
        public = X25519PublicKey.from_public_bytes(bytes.fromhex(test["public"]))
        if test["shared"] == "00" * 32:
            zeros += 1
            with pytest.raises(ValueError, match="shared key"):
                private.exchange(public)
        else:
            assert private.exchange(public).hex() == test["shared"]
    assert zeros > 20


def test_what_wycheproof_calls_a_public_key_of_low_order_is_no_recipient():
    low = {test["public"] for test in WYCHEPROOF if "LowOrderPublic" in test["flags"]}
    assert len(low) > 5
    for public in low:
        with pytest.raises(KeyRefused):
            parse_recipient(bytes.fromhex(public))


@pytest.mark.parametrize("u", SMALL_ORDER)
def test_a_point_of_small_order_is_no_recipient_and_no_encapsulated_key(u):
    point = u.to_bytes(32, "little")
    for data in (point, RECIPIENTS[HYBRID].data[:-32] + point):
        with pytest.raises(KeyRefused, match="of small order"):
            parse_recipient(data)
    assert wrap_failed(Wrapped(Kem.X25519, point, bytes(48)), PRIVATE_KEYS[PLAIN])
    hybrid = wrap(DATA_KEY, RECIPIENTS[HYBRID], INFO)
    assert wrap_failed(hybrid._replace(enc=hybrid.enc[:-32] + point), PRIVATE_KEYS[HYBRID])
    with pytest.raises(ValueError, match="shared key"):
        wrap(DATA_KEY, Recipient(Kem.X25519, point), INFO)


@pytest.mark.parametrize("u", [P, P + 1, P + 9, 2**255 - 1, 2**255 + 9, 2**256 - 1])
def test_a_point_with_a_second_spelling_is_no_recipient(u):
    with pytest.raises(KeyRefused, match="non-canonical"):
        parse_recipient(u.to_bytes(32, "little"))


def test_a_lattice_key_with_coefficients_out_of_range_is_no_recipient():
    with pytest.raises(KeyRefused, match="ML-KEM"):
        parse_recipient(b"\xff" * 1184 + RECIPIENTS[PLAIN].data)


@pytest.mark.parametrize("size", [0, 31, 33, 1184, 1215, 1217])
def test_a_key_of_another_length_is_no_recipient(size):
    with pytest.raises(KeyRefused, match="32 bytes, or 1,216"):
        parse_recipient(b"\x09" * size)


def test_a_wrap_opens_for_nothing_but_what_it_was_made_for():
    wrapped = wrap_for(RECIPIENTS, DATA_KEY, "pump", 3, b"\x07" * 32)[PLAIN]
    assert unwrap(wrapped, PRIVATE_KEYS[PLAIN], INFO) == DATA_KEY
    for other in (("pumq", 3, b"\x07" * 32, "gw-1"), ("pump", 4, b"\x07" * 32, "gw-1")):
        assert wrap_failed(wrapped, PRIVATE_KEYS[PLAIN], wrap_info(*other))
    for other in (("pump", 3, b"\x08" * 32, "gw-1"), ("pump", 3, b"\x07" * 32, "gw-2")):
        assert wrap_failed(wrapped, PRIVATE_KEYS[PLAIN], wrap_info(*other))
    assert wrap_failed(wrapped, X25519PrivateKey.from_private_bytes(b"\x63" * 32))


def test_a_key_of_the_other_kind_does_not_open_it():
    both = wrap_for(RECIPIENTS, DATA_KEY, "pump", 3, b"\x07" * 32)
    assert wrap_failed(both[PLAIN], PRIVATE_KEYS[HYBRID])
    assert wrap_failed(both[HYBRID], PRIVATE_KEYS[PLAIN])


def test_every_bit_of_a_wrap_counts():
    wrapped = wrap(DATA_KEY, RECIPIENTS[PLAIN], INFO)
    for field in ("enc", "ciphertext"):
        for at in range(len(getattr(wrapped, field))):
            for bit in range(8):
                altered = bytearray(getattr(wrapped, field))
                altered[at] ^= 1 << bit
                assert wrap_failed(wrapped._replace(**{field: bytes(altered)}), PRIVATE_KEYS[PLAIN])


@settings(max_examples=50)
@given(st.integers(0, 1119), st.integers(1, 255))
def test_any_byte_of_a_hybrid_wrap_counts(at, change):
    wrapped = wrap(DATA_KEY, RECIPIENTS[HYBRID], INFO)
    altered = bytearray(wrapped.enc)
    altered[at] ^= change
    assert wrap_failed(wrapped._replace(enc=bytes(altered)), PRIVATE_KEYS[HYBRID])


@BOTH
def test_a_wrap_of_another_length_is_refused(gateway):
    wrapped = wrap(DATA_KEY, RECIPIENTS[gateway], INFO)
    for altered in (
        wrapped._replace(enc=wrapped.enc[:-1]),
        wrapped._replace(enc=b""),
        wrapped._replace(ciphertext=wrapped.ciphertext + b"\x00"),
        wrapped._replace(enc=wrapped.enc + wrapped.ciphertext[:1], ciphertext=wrapped.ciphertext[1:]),
    ):
        assert wrap_failed(altered, PRIVATE_KEYS[gateway])


@BOTH
def test_no_two_wraps_of_one_key_are_alike(gateway):
    first, second = (wrap(DATA_KEY, RECIPIENTS[gateway], INFO) for _ in range(2))
    assert first.enc != second.enc
    assert first.ciphertext != second.ciphertext


def test_the_info_is_spelled_as_the_format_says():
    name = b"pump\x00\x00\x00\x00\x00\x00\x00\x00\x03"
    assert b"securenet.model-key/1\x00" + name + b"\x07" * 32 + b"gw-1" == INFO
