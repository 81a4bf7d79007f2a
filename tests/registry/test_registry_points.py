"""The bulk answers about points are those of the crypto room, one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from gateway.crypto.keys import KeyRefused, parse_public_key
from gateway.message import Alg
from gateway.registry.points import are_ed25519_points, is_p256_point

P = 2**255 - 19
GOOD = bytes(SigningKey(b"\x01" * 32).verify_key)
P256_P = 2**256 - 2**224 + 2**192 + 2**96 - 1


def allowed(alg, data):
    try:
        parse_public_key(alg, data)
    except KeyRefused:
        return False
    return True


ODD_YS = [0, 1, 2, 3, P - 2, P - 1, P, P + 1, P + 18, 2**255 - 1]
KEYS = (
    st.binary(min_size=32, max_size=32)
    | st.binary(min_size=32, max_size=32).map(lambda seed: bytes(SigningKey(seed).verify_key))
    | st.builds(lambda y, sign: (y | sign << 255).to_bytes(32, "little"), st.sampled_from(ODD_YS), st.integers(0, 1))
    | st.binary(max_size=40)
)


@given(KEYS)
def test_one_ed25519_key_gets_the_answer_of_the_crypto_room(key):
    assert are_ed25519_points([key]) == allowed(Alg.ED25519, key)


@given(st.lists(KEYS, max_size=9))
def test_many_ed25519_keys_hold_when_each_one_does(keys):
    assert are_ed25519_points(keys) == all(allowed(Alg.ED25519, key) for key in keys)


@pytest.mark.parametrize("place", range(5))
def test_one_bad_key_among_good_ones_is_noticed_wherever_it_stands(place):
    keys = [GOOD] * 5
    assert are_ed25519_points(keys)
    keys[place] = (2).to_bytes(32, "little")
    assert not are_ed25519_points(keys)


def p256_key(scalar):
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 -- only here
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415 -- only here

    public = ec.derive_private_key(scalar, ec.SECP256R1()).public_key()
    return public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


POINTS = st.integers(1, 2**200).map(p256_key)


@given(
    POINTS
    | st.binary(min_size=64, max_size=64).map(lambda data: b"\x04" + data)
    | st.builds(
        lambda key, at, bit: key[:at] + bytes([key[at] ^ 1 << bit]) + key[at + 1 :],
        POINTS,
        st.integers(0, 64),
        st.integers(0, 7),
    )
    | st.builds(
        lambda key: b"\x04" + (int.from_bytes(key[1:33], "big") + P256_P).to_bytes(33, "big")[-32:] + key[33:], POINTS
    )
    | st.binary(max_size=70)
)
def test_a_p256_key_gets_the_answer_of_the_crypto_room(key):
    assert is_p256_point(key) == allowed(Alg.ES256, key)
