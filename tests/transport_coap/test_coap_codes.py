"""The code table of FORMATS.md §4."""

import pytest

from gateway.message import Accepted, Duplicate, Pushback, PushbackReason, Refused, RejectReason
from gateway.transport.coap_codes import CODE_OF_PUSHBACK, CODE_OF_REASON, response_of, too_large


def dotted(code: int) -> str:
    return f"{code >> 5}.{code & 31:02}"


EXPECTED = {
    "malformed": "4.00",
    "identity-mismatch": "4.00",
    "device-unknown": "4.01",
    "bad-signature": "4.01",
    "alg-mismatch": "4.01",
    "device-suspended": "4.03",
    "device-revoked": "4.03",
    "wrong-fleet": "4.03",
    "duplicate": "4.09",
    "sequence-reused": "4.09",
    "stale-session": "4.09",
    "out-of-window": "4.09",
    "too-old": "4.09",
    "in-future": "4.09",
    "too-large": "4.13",
    "rate-limited": "4.29",
}


def test_every_reason_has_its_code():
    assert set(CODE_OF_REASON) == set(RejectReason)
    assert set(CODE_OF_PUSHBACK) == set(PushbackReason)
    assert set(EXPECTED) == {reason.value for reason in RejectReason}


@pytest.mark.parametrize("reason", RejectReason)
def test_a_refusal_is_its_code_and_its_reason_whether_or_not_there_is_a_receipt(reason):
    for receipt in (None, b"receipt"):
        response = response_of(Refused(reason, receipt, 7))
        assert dotted(response.code) == EXPECTED[reason.value]
        assert response.payload == reason.value.encode()
        assert response.content_format is None
        assert response.max_age_s == (7 if reason is RejectReason.RATE_LIMITED else None)


@pytest.mark.parametrize("reason", PushbackReason)
def test_pushback_is_5_03_with_its_reason_and_when_to_come_again(reason):
    response = response_of(Pushback(reason, 12))
    assert (dotted(response.code), response.payload, response.max_age_s) == ("5.03", reason.value.encode(), 12)


@pytest.mark.parametrize("kind", [Accepted, Duplicate])
def test_a_receipt_is_2_04_with_content_format_18(kind):
    response = response_of(kind(b"\xd2receipt"))
    assert (dotted(response.code), response.payload, response.content_format) == ("2.04", b"\xd2receipt", 18)


def test_a_rate_limit_without_a_time_still_has_a_max_age():
    assert response_of(Refused(RejectReason.RATE_LIMITED)).max_age_s == 1


def test_a_max_age_stays_within_its_option():
    assert response_of(Pushback(PushbackReason.PUSHBACK, 2**40)).max_age_s == 2**32 - 1
    assert response_of(Pushback(PushbackReason.PUSHBACK, -1)).max_age_s == 0


def test_too_large_says_what_would_be_taken():
    response = too_large(65536)
    assert (dotted(response.code), response.payload, response.size1) == ("4.13", b"too-large", 65536)
