"""The codec: strict, and the same both ways."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.transport.coap_codes import Response
from gateway.transport.coap_wire import (
    ACK,
    BLOCK1,
    CON,
    CONTENT_FORMAT,
    NON,
    URI_PATH,
    Block,
    Datagram,
    FormatError,
    decode,
    encode,
    encode_response,
    read_options,
)

options = st.lists(st.tuples(st.integers(0, 65804), st.binary(max_size=300)), max_size=6).map(
    lambda each: sorted(each, key=lambda option: option[0])
)
datagrams = st.builds(
    Datagram,
    mtype=st.integers(0, 3),
    code=st.integers(1, 255),
    mid=st.integers(0, 65535),
    token=st.binary(max_size=8),
    options=options,
    payload=st.binary(max_size=200),
)


@given(datagrams)
def test_what_is_written_is_read_again(datagram):
    assert decode(encode(datagram)) == datagram


@settings(max_examples=300)
@given(st.binary(max_size=64).map(lambda tail: b"\x48" + tail) | st.binary(max_size=64))
def test_any_bytes_are_a_message_or_a_format_error(data):
    try:
        datagram = decode(data)
    except FormatError:
        return
    read_options(datagram.code, datagram.options)
    assert len(datagram.token) + len(datagram.payload) + 4 <= len(data)


def test_a_datagram_is_not_read_beyond_64_options():
    head = b"\x40\x02\x00\x01\xb0"
    assert len(decode(head + bytes(63)).options) == 64
    with pytest.raises(FormatError) as refusal:
        decode(head + bytes(64))
    assert refusal.value.reset == b"\x70\x00\x00\x01"


@given(datagrams, st.data())
def test_a_truncated_message_never_gives_options_it_did_not_have(datagram, data):
    whole = encode(datagram)
    cut_at = data.draw(st.integers(4, len(whole)))
    try:
        shorter = decode(whole[:cut_at])
    except FormatError:
        return
    assert shorter.options == datagram.options[: len(shorter.options)]


@pytest.mark.parametrize(
    ("data", "is_reset"),
    [
        (b"", False),
        (b"\x40\x02\x00", False),
        (b"\x00\x02\x00\x01", False),  # version 0
        (b"\xc0\x02\x00\x01", False),  # version 3
        (b"\x49\x02\x00\x01" + b"t" * 9, True),  # a token of nine bytes
        (b"\x44\x02\x00\x01tok", True),  # a token that is not all there
        (b"\x40\x02\x00\x01\xff", True),  # a marker without payload
        (b"\x50\x02\x00\x01\xff", False),  # the same, non-confirmable
        (b"\x40\x02\x00\x01\xf0", True),  # reserved delta
        (b"\x40\x02\x00\x01\x0f", True),  # reserved length
        (b"\x40\x02\x00\x01\xd0", True),  # an extended delta that is not there
        (b"\x40\x02\x00\x01\xe0\x01", True),
        (b"\x40\x02\x00\x01\xb2v", True),  # an option value that is not there
        (b"\x40\x00\x00\x01x", True),  # an empty message that is not empty
    ],
)
def test_a_format_error_is_named_and_confirmable_ones_are_reset(data, is_reset):
    with pytest.raises(FormatError) as caught:
        decode(data)
    assert (caught.value.reset is not None) == is_reset
    if is_reset:
        assert caught.value.reset == b"\x70\x00\x00\x01"


def test_the_options_of_an_upload_are_read():
    ask = read_options(
        2,
        [
            (URI_PATH, b"v1"),
            (URI_PATH, b"up"),
            (CONTENT_FORMAT, b"\x12"),
            (BLOCK1, b"\x1e"),
            (252, b"e"),
            (258, b"\x02"),
        ],
    )
    assert ask.path == (b"v1", b"up")
    assert ask.content_format == 18
    assert ask.block1 == Block(1, more=True, szx=6)
    assert ask.echo == b"e"
    assert ask.no_response == 2
    assert not ask.bad_option


@pytest.mark.parametrize(
    ("number", "value", "is_bad"),
    [
        (1, b"", True),  # If-Match
        (5, b"", True),  # If-None-Match
        (19, b"\x08", True),  # Q-Block1
        (65003, b"", True),  # unknown, critical
        (65002, b"", False),  # unknown, elective
        (3, b"gateway", False),  # Uri-Host
        (3, b"", True),
        (7, b"\x16\x33", False),  # Uri-Port
        (7, b"\x00\x16\x33", True),
        (17, b"\x00\x00\x12", True),  # Accept, too long
        (23, b"\x00\x00\x00\x06", True),  # Block2, too long
        (252, b"", False),  # Echo, too short: elective
        (60, b"\x01" * 5, False),  # Size1, too long: elective
        (6, b"", False),  # Observe on a POST
    ],
)
def test_only_a_critical_option_that_cannot_be_honoured_is_bad(number, value, is_bad):
    assert read_options(2, [(number, value)]).bad_option == is_bad


def test_a_repeated_critical_option_is_bad_and_a_repeated_elective_one_is_ignored():
    assert read_options(2, [(17, b"\x12"), (17, b"\x12")]).bad_option
    ask = read_options(2, [(12, b"\x12"), (12, b"\x32")])
    assert (ask.content_format, ask.bad_option) == (18, False)


@pytest.mark.parametrize(
    ("value", "expected"), [(b"", 0), (b"\x12", 18), (b"\x00\x12", 18), (b"\x00\x00\x12", 65536)]
)
def test_a_content_format_of_impossible_length_names_no_format(value, expected):
    assert read_options(2, [(CONTENT_FORMAT, value)]).content_format == expected


def test_a_response_carries_its_options_in_rising_order():
    response = Response(0x84, b"x", content_format=18, max_age_s=0, echo=b"e" * 22, block1=14, block2=6, size1=65536)
    datagram = decode(encode_response(ACK, 7, b"t", response))
    assert [number for number, _ in datagram.options] == [12, 14, 23, 27, 60, 252]
    assert datagram.options[1] == (14, b"")
    assert (datagram.mid, datagram.token, datagram.payload) == (7, b"t", b"x")


def test_request_codes_are_told_from_the_others():
    assert [Datagram(CON, code, 0, b"", [], b"").is_request for code in (0, 1, 31, 32, 69)] == [
        False,
        True,
        True,
        False,
        False,
    ]
    assert NON == 1
