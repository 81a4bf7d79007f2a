import gzip
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_core_ed25519_is_valid_point, crypto_sign_seed_keypair
from nacl.signing import SigningKey

from gateway.crypto.keys import KeyRefused, PublicKey, parse_public_key, verify
from gateway.message import Alg

VECTORS = Path(__file__).parent.parent / "vectors" / "wycheproof"


def wycheproof(name):
    """Every test of a file: (its key in hex, the test), named by number and comment."""
    with gzip.open(VECTORS / f"{name}_test.json.gz") as file:
        groups = json.load(file)["testGroups"]
    cases = [(group["publicKey"], test) for group in groups for test in group["tests"]]
    return {f"{test['tcId']} {test['comment'] or ' '.join(test['flags'])}": (key, test) for key, test in cases}


ED25519 = wycheproof("ed25519")
ECDSA = wycheproof("ecdsa_secp256r1_sha256_p1363")

# Nowhere does our strictness differ from these vectors: their valid signatures are all canonical and of honest keys,
# with s of either half for ECDSA. What is strict beyond them is tested below, on points that they do not try.


def test_the_vectors_are_all_there():
    assert (len(ED25519), len(ECDSA)) == (151, 262)


@pytest.mark.parametrize("name", ED25519)
def test_wycheproof_ed25519(name):
    public_key, test = ED25519[name]
    key = parse_public_key(Alg.ED25519, bytes.fromhex(public_key["pk"]))
    holds = verify(key, bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"]))
    assert holds == (test["result"] == "valid")


@pytest.mark.parametrize("name", ECDSA)
def test_wycheproof_ecdsa_p256(name):
    public_key, test = ECDSA[name]
    key = parse_public_key(Alg.ES256, bytes.fromhex(public_key["uncompressed"]))
    holds = verify(key, bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"]))
    assert holds == (test["result"] == "valid")


# Ed25519 in affine coordinates, enough to make the signatures that only an attacker makes (RFC 8032 §5.1).
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
BASE = (15112221349535400772501151409588531511454012693041857206046113283949847762202, 4 * pow(5, -1, P) % P)
NEUTRAL = (0, 1)


def add(one, other):
    (x1, y1), (x2, y2) = one, other
    k = D * x1 * x2 * y1 * y2
    return (
        (x1 * y2 + x2 * y1) * pow(1 + k, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - k, -1, P) % P,
    )


def times(scalar, point):
    product = NEUTRAL
    while scalar:
        if scalar & 1:
            product = add(product, point)
        point = add(point, point)
        scalar >>= 1
    return product


def encoded(point):
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def point_with_y(y):
    """The point with an even x, None off the curve."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    for root in (pow(square, (P + 3) // 8, P), pow(square, (P + 3) // 8, P) * pow(2, (P - 1) // 4, P) % P):
        if root * root % P == square:
            return (P - root if root & 1 else root), y
    return None


def order_eight():
    """A point of order 8: what is left of some point when its part of order L is taken away."""
    for y in range(2, 100):
        point = point_with_y(y)
        if point is not None:
            torsion = times(L, point)
            if times(4, torsion) != NEUTRAL:
                return torsion
    raise AssertionError


TORSION = order_eight()
SMALL = [times(n, TORSION) for n in range(8)]
SECRET = 0x1234567890ABCDEF1234567890ABCDEF
PUBLIC = times(SECRET, BASE)


def signed(message, public, nonce_point, nonce):
    """A signature equation solved with the discrete logarithms known."""
    r = encoded(nonce_point)
    h = int.from_bytes(hashlib.sha512(r + encoded(public) + message).digest(), "little") % L
    return r + ((nonce + h * SECRET) % L).to_bytes(32, "little"), h


def holds(message, public, signature):
    return verify(PublicKey(Alg.ED25519, encoded(public)), message, signature)


def test_the_forger_of_these_tests_can_sign_honestly():
    signature, _ = signed(b"m", PUBLIC, times(99, BASE), 99)
    assert holds(b"m", PUBLIC, signature)


@pytest.mark.parametrize("n", range(1, 8))
def test_a_nonce_of_mixed_order_is_refused_for_verification_is_cofactorless(n):
    signature, _ = signed(b"m", PUBLIC, add(times(99, BASE), SMALL[n]), 99)
    assert not holds(b"m", PUBLIC, signature)


@pytest.mark.parametrize("n", range(8))
def test_a_nonce_of_small_order_is_refused(n):
    signature, _ = signed(b"m", PUBLIC, SMALL[n], 0)
    assert not holds(b"m", PUBLIC, signature)


@pytest.mark.parametrize("n", range(8))
def test_a_key_of_small_order_verifies_nothing_and_is_not_registered(n):
    small = SMALL[n]
    nonce = times(99, BASE)
    for message in (bytes([i]) for i in range(16)):
        assert not holds(message, small, encoded(nonce) + (99).to_bytes(32, "little"))
    with pytest.raises(KeyRefused, match="of small order"):
        parse_public_key(Alg.ED25519, encoded(small))


def test_the_malleable_twin_of_a_signature_is_refused():
    signature, _ = signed(b"m", PUBLIC, times(99, BASE), 99)
    s = int.from_bytes(signature[32:], "little")
    for twin in range(s + L, 2**256, L):
        assert not holds(b"m", PUBLIC, signature[:32] + twin.to_bytes(32, "little"))


def test_a_key_of_mixed_order_is_registered_and_verified_without_the_cofactor():
    # FORMATS.md refuses small order only. Of its signatures one in eight holds.
    mixed = add(PUBLIC, TORSION)
    key = parse_public_key(Alg.ED25519, encoded(mixed))
    for message in (bytes([i]) for i in range(24)):
        signature, h = signed(message, mixed, times(99, BASE), 99)
        assert verify(key, message, signature) == (h % 8 == 0)


@pytest.mark.parametrize("y", [y for y in range(19) if point_with_y(y) is not None])
@pytest.mark.parametrize("sign", [0, 1 << 255])
def test_a_non_canonical_key_is_refused(y, sign):
    with pytest.raises(KeyRefused, match="non-canonical"):
        parse_public_key(Alg.ED25519, (y + P | sign).to_bytes(32, "little"))


@pytest.mark.parametrize("y", [1, P - 1])
def test_a_zero_with_a_sign_is_refused(y):
    with pytest.raises(KeyRefused):
        parse_public_key(Alg.ED25519, (y | 1 << 255).to_bytes(32, "little"))


@given(st.integers(2, P - 2))
def test_an_ed25519_key_is_taken_exactly_when_its_point_exists(y):
    exists = point_with_y(y) is not None
    try:
        parse_public_key(Alg.ED25519, y.to_bytes(32, "little"))
    except KeyRefused as refused:
        assert not exists
        assert refused.reason == "off the curve"  # noqa: PT017 -- both outcomes are asserted
    else:
        assert exists


@given(st.binary(min_size=32, max_size=32))
def test_every_honest_ed25519_key_is_taken(seed):
    public, _ = crypto_sign_seed_keypair(seed)
    assert crypto_core_ed25519_is_valid_point(public)
    assert parse_public_key(Alg.ED25519, public) == PublicKey(Alg.ED25519, public)


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64, 65])
def test_a_key_of_another_length_is_refused(size):
    with pytest.raises(KeyRefused):
        parse_public_key(Alg.ED25519, b"\x58" + b"\x66" * (size - 1) if size else b"")
    if size != 65:
        with pytest.raises(KeyRefused):
            parse_public_key(Alg.ES256, b"\x04" * size)


P256 = 2**256 - 2**224 + 2**192 + 2**96 - 1
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
P256_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
SEC1 = bytes.fromhex(next(iter(ECDSA.values()))[0]["uncompressed"])
Y = int.from_bytes(SEC1[33:], "big")


def sec1(x, y, form=4):
    return bytes([form]) + x.to_bytes(32, "big") + y.to_bytes(32, "big")


ZERO_X_Y = pow(P256_B, (P256 + 1) // 4, P256)
REFUSED_P256 = {
    "infinity": b"\x00",
    "infinity in 65 bytes": bytes(65),
    "compressed": bytes([2 + (Y & 1)]) + SEC1[1:33],
    "compressed, padded": bytes([2 + (Y & 1)]) + SEC1[1:33] + bytes(32),
    "hybrid": bytes([6 + (Y & 1)]) + SEC1[1:],
    "without its first byte": SEC1[1:],
    "off the curve": sec1(int.from_bytes(SEC1[1:33], "big"), Y ^ 1),
    "the origin": sec1(0, 0),
    "x not reduced": sec1(P256, ZERO_X_Y),
    "y not reduced": sec1(5, P256 + 1),
    "both all ones": b"\x04" + b"\xff" * 64,
    "one byte more": SEC1 + b"\x00",
    "an Ed25519 key": encoded(BASE),
}


@pytest.mark.parametrize("name", REFUSED_P256)
def test_a_p256_key_is_refused_that_is(name):
    with pytest.raises(KeyRefused):
        parse_public_key(Alg.ES256, REFUSED_P256[name])


def test_the_p256_point_with_x_zero_is_a_point():
    assert parse_public_key(Alg.ES256, sec1(0, ZERO_X_Y)).data == sec1(0, ZERO_X_Y)


@pytest.mark.parametrize("s", ["either half", "beyond"])
def test_es256_takes_either_s_below_the_order_and_none_beyond(s):
    _, test = next(iter(ECDSA.values()))
    key, message, signature = PublicKey(Alg.ES256, SEC1), bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])
    value = int.from_bytes(signature[32:], "big")
    other = P256_ORDER - value if s == "either half" else value + P256_ORDER
    if other < 2**256:
        assert verify(key, message, signature[:32] + other.to_bytes(32, "big")) == (s == "either half")


@pytest.mark.parametrize("alg", list(Alg))
def test_a_signature_of_another_length_or_of_extremes_does_not_hold(alg):
    key = PublicKey(alg, SEC1 if alg is Alg.ES256 else encoded(PUBLIC))
    for signature in (b"", bytes(63), bytes(64), bytes(65), b"\xff" * 64, bytes(32) + b"\xff" * 32, bytes(1 << 17)):
        assert not verify(key, b"m", signature)
    n = P256_ORDER.to_bytes(32, "big")
    one = (1).to_bytes(32, "big")
    assert not any(verify(key, b"m", signature) for signature in (n + one, one + n, bytes(32) + one, one + bytes(32)))


@settings(max_examples=50)
@given(st.sampled_from(list(Alg)), st.binary(max_size=80), st.binary(min_size=60, max_size=68))
def test_noise_never_raises_and_never_holds(alg, message, signature):
    key = PublicKey(alg, SEC1 if alg is Alg.ES256 else encoded(PUBLIC))
    assert verify(key, message, signature) is False


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=300))
def test_what_libsodium_signs_holds_and_nothing_beside_it(seed, message):
    signing_key = SigningKey(seed)
    key = parse_public_key(Alg.ED25519, bytes(signing_key.verify_key))
    signature = signing_key.sign(message).signature
    assert verify(key, message, signature)
    assert not verify(key, message + b"\x00", signature)
    assert not verify(key, message, signature[:-1] + bytes([signature[-1] ^ 1]))
