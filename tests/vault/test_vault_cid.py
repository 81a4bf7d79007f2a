"""CIDs and blocks: one spelling each, one kind, and no block under a name that is not its own."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.vault import varint
from gateway.vault.cid import (
    BLOCK_BYTES,
    TEXT_MAX,
    Cid,
    CidError,
    CidUnfinished,
    Codec,
    WrongBlock,
    block_of,
    parse_cid,
    read_cid,
    verify_block,
)

HELLO = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
cids = st.builds(Cid, st.sampled_from(Codec), st.binary(min_size=32, max_size=32))


def base58(data):
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, rest = divmod(number, 58)
        text = BASE58[rest] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def test_hello_world_has_the_name_that_the_specification_gives_it():
    block = block_of(Codec.RAW, b"hello world")
    assert str(block.cid) == HELLO
    assert verify_block(parse_cid(HELLO), b"hello world") == block


@given(cids)
def test_a_cid_has_one_text_and_one_binary_form(cid):
    assert parse_cid(str(cid)) == cid
    assert read_cid(b"xx" + cid.binary + b"more", 2) == (cid, 38)
    assert parse_cid("z" + base58(cid.binary)) == cid
    assert len(str(cid)) <= TEXT_MAX


@given(cids)
def test_version_0_in_a_link_is_the_version_1_that_names_the_same_block(cid):
    assert read_cid(cid.binary[2:]) == (Cid(Codec.DAG_PB, cid.digest), 34)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is written"),
        (HELLO.upper(), "is written"),
        ("b" + HELLO[1:].upper(), "another spelling"),
        (HELLO + "=", "base32"),
        (HELLO[:-1] + "f", "another spelling"),
        (HELLO[:-1] + "1", "no base32"),
        (str(Cid(Codec.RAW, bytes(32)))[:-8], "end within"),
        ("b" + "a" * 64, "at most"),
        ("f01551220" + "00" * 27, "is written"),
        ("z0OIl", "no base58btc"),
        ("Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD", "version 0"),
        ("zQmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD", "one of another version"),
        ("bafyreidykglsfhoixmivffc5uwhcgshx4j465xwqntbmu43nb2dzqwfvae", "another kind"),  # dag-cbor
        ("bafkqabiaaebagba", "another kind"),  # identity
        ("b\u0131", "no base32"),
        ("b" + "\ud800", "no base32"),
    ],
)
def test_a_text_that_is_no_cid_of_ours_is_refused_with_words(text, words):
    with pytest.raises(CidError, match=words):
        parse_cid(text)


@given(st.text(max_size=70))
def test_any_text_is_a_cid_or_refused(text):
    try:
        cid = parse_cid(text)
    except CidError:
        return
    assert text in {str(cid), "z" + base58(cid.binary)}


@given(st.binary(max_size=80))
def test_any_bytes_are_a_cid_foreign_or_refused(data):
    try:
        cid, end = read_cid(data)
    except CidError:
        return
    assert 0 < end <= len(data)
    if cid is not None:
        assert data[:end] in {cid.binary, cid.binary[2:]}


@given(cids, st.integers(0, 35))
def test_a_cid_that_is_cut_off_is_unfinished(cid, length):
    with pytest.raises(CidUnfinished):
        read_cid(cid.binary[:length])


@given(cids, st.integers(0, 33))
def test_a_cid_of_version_0_that_is_cut_off_is_unfinished(cid, length):
    with pytest.raises(CidUnfinished):
        read_cid(cid.binary[2:][:length])


@pytest.mark.parametrize(
    "binary", ["0155121f" + "00" * 31, "0255122000", "01d500122000", "0155b22081" + "01" * 9, "8100551220"]
)
def test_binary_that_is_no_cid_is_refused(binary):
    with pytest.raises(CidError):
        read_cid(bytes.fromhex(binary) + bytes(40))


@given(st.binary(min_size=1, max_size=200), st.integers(0, 1599))
def test_a_block_with_one_bit_turned_is_another_block(data, bit):
    block = block_of(Codec.RAW, data)
    bit %= 8 * len(data)
    wrong = bytearray(data)
    wrong[bit // 8] ^= 1 << bit % 8
    with pytest.raises(WrongBlock):
        verify_block(block.cid, bytes(wrong))


def test_a_block_has_at_most_two_mebibytes():
    data = bytes(BLOCK_BYTES + 1)
    with pytest.raises(WrongBlock, match="more than"):
        verify_block(Cid(Codec.RAW, hashlib.sha256(data).digest()), data)
    assert verify_block(block_of(Codec.RAW, data[1:]).cid, data[1:]).data == data[1:]


@given(st.integers(0, 2**63 - 1), st.binary(max_size=4))
def test_a_number_has_one_varint(number, more):
    written = varint.write(number)
    assert varint.read(b"x" + written + more, 1) == (number, 1 + len(written))
    for length in range(len(written)):
        with pytest.raises(varint.VarintUnfinished):
            varint.read(written[:length])


@pytest.mark.parametrize("data", [b"\x80\x00", b"\xff\x00", b"\xff" * 9, b"\x80" * 9 + b"\x01"])
def test_a_varint_that_is_too_long_is_refused(data):
    with pytest.raises(varint.VarintError) as caught:
        varint.read(data)
    assert not isinstance(caught.value, varint.VarintUnfinished)


@pytest.mark.parametrize("number", [-1, 2**63])
def test_a_number_without_a_varint_is_not_written(number):
    with pytest.raises(varint.VarintError):
        varint.write(number)


def test_the_vectors_are_here():
    assert {path.name for path in (Path(__file__).parents[1] / "vectors").glob("ipfs-*")} == {
        "ipfs-car",
        "ipfs-dag-pb",
        "ipfs-gateway",
    }
