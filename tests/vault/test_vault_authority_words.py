"""What is asked and answered: one spelling, bounds, and nothing that raises anything else."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.vault.authority_words import (
    REQUEST_BYTES_MAX,
    VERSION_MAX,
    Ask,
    AuthorityError,
    AuthorityRefused,
    DataKey,
    LeftOut,
    Refusal,
    WrappedKey,
    Wraps,
    encode_answer,
    encode_ask,
    encode_refusal,
    parse_answer,
    parse_ask,
    parse_refusal,
)
from gateway.vault.wrap import Kem, Wrapped

IDS = st.from_regex(r"[A-Za-z0-9_:-][A-Za-z0-9._:-]{0,63}", fullmatch=True).filter(lambda name: name != "gateway")
VERSIONS = st.integers(1, VERSION_MAX)
DIGESTS = st.binary(min_size=32, max_size=32)
PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)


@st.composite
def wrapped_keys(draw):
    kem = draw(st.sampled_from(Kem))
    enc = draw(st.binary(min_size=kem.enc_bytes, max_size=kem.enc_bytes))
    return Wrapped(kem, enc, draw(st.binary(min_size=48, max_size=48)))


@given(IDS, VERSIONS, st.none() | DIGESTS)
def test_a_request_comes_back_as_it_was_sent(model, version, digest):
    ask = Ask(model, version, digest)
    assert parse_ask(encode_ask(ask), wraps=digest is not None) == ask


@given(IDS, VERSIONS, DIGESTS)
def test_a_request_of_the_one_kind_is_none_of_the_other(model, version, digest):
    for ask, wraps in ((Ask(model, version), True), (Ask(model, version, digest), False)):
        with pytest.raises(AuthorityRefused):
            parse_ask(encode_ask(ask), wraps=wraps)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()), st.booleans())
def test_garbage_is_malformed_and_nothing_else(data, wraps):
    with pytest.raises(AuthorityRefused) as refused:
        parse_ask(data, wraps=wraps)
    assert refused.value.reason is Refusal.MALFORMED
    with pytest.raises(AuthorityError):
        parse_answer(data, Ask("kdd", 1, bytes(32) if wraps else None))


@given(JSON, JSON, JSON)
def test_members_of_other_kinds_are_malformed(model, version, digest):
    data = json.dumps({"model": model, "version": version, "ciphertext_sha256": digest}).encode()
    with suppress(AuthorityRefused):
        ask = parse_ask(data, wraps=True)
        assert (ask.model_id, ask.version, ask.ciphertext_sha256.hex()) == (model, version, digest)


@pytest.mark.parametrize(
    "data",
    [
        b'{"model":"kdd","version":1,"model":"kdd"}',
        b'{"model":"kdd","version":true}',
        b'{"model":"kdd","version":1.0}',
        b'{"model":"kdd","version":0}',
        b'{"model":"kdd","version":NaN}',
        b'{"model":"kdd","version":9223372036854775808}',
        b'{"model":"..","version":1}',
        b'{"model":"gateway","version":1}',
        b'{"model":"a/b","version":1}',
        b'{"model":"kdd","version":1,"more":1}',
        b'{"model":"\\u0000","version":1}',
        b'{"model":"\\ud800","version":1}',
        b"[" * REQUEST_BYTES_MAX,
        b'{"a":' * 800,
        b"9" * REQUEST_BYTES_MAX,
        b" " * (REQUEST_BYTES_MAX + 1),
    ],
)
def test_requests_that_almost_are_one(data):
    with pytest.raises(AuthorityRefused):
        parse_ask(data, wraps=False)


@given(IDS, VERSIONS, DIGESTS)
def test_a_data_key_comes_back_and_is_not_shown(model, version, key):
    answer = DataKey(model, version, key)
    assert parse_answer(encode_answer(answer), Ask(model, version)) == answer
    assert key.hex() not in repr(answer)
    assert repr(key)[2:-1] not in repr(answer) or len(set(key)) < 4


@given(
    IDS,
    VERSIONS,
    DIGESTS,
    st.dictionaries(IDS, wrapped_keys(), max_size=4),
    st.dictionaries(IDS, PRINTABLE, max_size=3),
)
def test_wraps_come_back_as_they_were_sent(model, version, digest, keys, left_out):
    wrapped = tuple(WrappedKey(*pair) for pair in keys.items())
    answer = Wraps(
        model, version, digest, "eip155:1 block 5", wrapped, tuple(LeftOut(*pair) for pair in left_out.items())
    )
    assert parse_answer(encode_answer(answer), Ask(model, version, digest)) == answer
    for other in (
        Ask(f"{model}x"[-64:], version, digest),
        Ask(model, version % 100 + 1, digest),
        Ask(model, version, digest[::-1]),
    ):
        if other != Ask(model, version, digest):
            with pytest.raises(AuthorityError, match="another request"):
                parse_answer(encode_answer(answer), other)


def test_the_answer_to_another_request_is_none():
    data = encode_answer(DataKey("kdd", 1, bytes(32)))
    for ask in (Ask("kdd", 2), Ask("mnist", 1), Ask("kdd", 1, bytes(32))):
        with pytest.raises(AuthorityError):
            parse_answer(data, ask)


def test_a_gateway_stands_once_in_an_answer():
    one = WrappedKey("gw-1", Wrapped(Kem.X25519, bytes(32), bytes(48)))
    data = encode_answer(Wraps("kdd", 1, bytes(32), "", (one, one), ()))
    with pytest.raises(AuthorityError, match="twice"):
        parse_answer(data, Ask("kdd", 1, bytes(32)))


@given(st.sampled_from(Refusal), st.text(max_size=700))
def test_a_refusal_comes_back_fit_for_a_terminal(reason, detail):
    found = parse_refusal(encode_refusal(AuthorityRefused(reason, detail)))
    assert found is not None
    assert found.reason is reason
    assert found.detail.isprintable()


@given(st.binary(max_size=200))
def test_what_is_no_refusal_is_none(data):
    assert parse_refusal(data) is None
