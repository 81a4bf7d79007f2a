"""The small pure parts: media types, topics, words. They never raise, whatever a stranger writes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mqttium.errors import BrokerDisconnectError, ConnectError, ConnectRefusedError, MQTTError

from gateway.message import Encoding
from gateway.transport.media_type import declared_encoding
from gateway.transport.mqtt_words import describe, printable
from gateway.transport.subscriptions import HeldFilters
from gateway.transport.topics import Upstream, parse_up, receipt_topic, response_topic, up_filter

_COSE = 'application/cose; cose-type="cose-sign1"'


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (None, None),
        ("", None),
        (_COSE, Encoding.COSE),
        ("application/cose;cose-type=cose-sign1", Encoding.COSE),
        ('Application/COSE ; COSE-Type="cose-sign1" ', Encoding.COSE),
        ('application/cose; x=1; cose-type="cose\\-sign1"; y="a;b"', Encoding.COSE),
        ("application/cose;;cose-type=cose-sign1;", Encoding.COSE),
        ("application/jose+json", Encoding.JWS),
        ("APPLICATION/JOSE+JSON; charset=utf-8", Encoding.JWS),
        ("application/cose", Encoding.OTHER),
        ('application/cose; cose-type="cose-sign"', Encoding.OTHER),
        ('application/cose; cose-type="COSE-SIGN1"', Encoding.OTHER),
        ("application/cose; cose-type=a; cose-type=cose-sign1", Encoding.OTHER),
        ("application/cose-sign1", Encoding.OTHER),
        ("application/cose; cose-type = cose-sign1", Encoding.OTHER),
        ("application/cose, application/jose+json", Encoding.OTHER),
        ('application/cose; cose-type="cose-sign1', Encoding.OTHER),
        ("application/jose+json garbage", Encoding.OTHER),
        (" application/jose+json", Encoding.OTHER),
        ("application/", Encoding.OTHER),
        ("application/jose", Encoding.OTHER),
        ("application/jose+json;" + " " * 300, Encoding.OTHER),
        ("application/json", Encoding.OTHER),
    ],
)
def test_a_content_type_is_read_as_a_media_type(text: str | None, encoding: Encoding | None) -> None:
    assert declared_encoding(text) is encoding


@given(st.one_of(st.text(), st.from_regex(r"application/cose(;[ \t]*[a-z\"\\\\=; -]{0,12}){0,6}", fullmatch=True)))
def test_any_content_type_has_an_answer(text: str) -> None:
    assert declared_encoding(text) in {None, *Encoding}
    assert (declared_encoding(text) is None) == (text == "")


@given(
    st.sampled_from(["application/jose+json", _COSE]), st.text("abcdefgh", min_size=1), st.text("xyz. ;=", max_size=9)
)
def test_further_parameters_change_nothing(essence: str, name: str, value: str) -> None:
    assert declared_encoding(f'{essence}; {name}="{value}"') is declared_encoding(essence)


@given(st.text(), st.text())
def test_an_up_topic_is_taken_apart_as_it_was_put_together(fleet: str, device: str) -> None:
    topic = f"securenet/v1/{fleet}/{device}/up"
    parsed = parse_up(topic)
    if "/" in fleet + device:
        assert parsed is None
    else:
        assert parsed == Upstream(fleet, device)
    assert parse_up(fleet) is None


@pytest.mark.parametrize(
    "topic",
    ["", "securenet/v1/f/d", "securenet/v1/f/d/up/x", "securenet/v2/f/d/up", "x/v1/f/d/up", "securenet/v1/f/d/Up"],
)
def test_any_other_topic_is_none_of_ours(topic: str) -> None:
    assert parse_up(topic) is None


@given(st.text())
def test_a_receipt_goes_nowhere_but_at_or_below_the_devices_own_topic(asked: str) -> None:
    base = receipt_topic("f", "d")
    for text in (asked, base + asked, base + "/" + asked):
        topic = response_topic(text, base)
        assert topic is None or topic == base or topic.startswith(base + "/")
        assert topic is None or not set("+#\0") & set(topic)


def test_a_share_group_makes_a_shared_subscription() -> None:
    assert up_filter("f", "") == "securenet/v1/f/+/up"
    assert up_filter("f", "g") == "$share/g/securenet/v1/f/+/up"


@given(st.text())
def test_words_for_the_technician_are_one_line_of_printable_ascii(text: str) -> None:
    for words in (printable(text), describe(OSError(text)), describe(MQTTError(text)), describe(ConnectError(text))):
        assert words.isascii()
        assert words.isprintable()
        assert len(words) <= 250


@given(st.integers(0, 255))
def test_every_reason_code_has_words(code: int) -> None:
    for fault in (ConnectRefusedError(code), BrokerDisconnectError(code)):
        assert f"(0x{code:02x})" in describe(fault)


@pytest.mark.parametrize("content", [b"", b"{", b"7", b'{"a":1}', b"\xff", b'["a/#/b", 1]'])
def test_a_spoiled_list_of_filters_is_no_obstacle(tmp_path, content: bytes) -> None:
    path = tmp_path / "filters.json"
    path.write_bytes(content)
    held = HeldFilters(path)
    assert held.read() == set()
    filters = {up_filter("f", ""), up_filter("g:1", "work.ers")}
    held.write(filters)
    assert HeldFilters(path).read() == filters


def test_a_list_of_filters_that_cannot_be_written_is_no_obstacle(tmp_path) -> None:
    HeldFilters(tmp_path / "missing" / "filters.json").write({"x"})
