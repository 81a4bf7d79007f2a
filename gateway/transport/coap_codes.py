"""Which CoAP answer says what: the tables of FORMATS.md §4, as data.

An ``Outcome`` of the house becomes one ``Response``: 2.04 with the receipt, an error code whose diagnostic payload
is the reason string, or 5.03 with the time after which it is worth coming again. Nothing here reads a clock.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.message import Accepted, Duplicate, Outcome, Pushback, PushbackReason, Refused, RejectReason

CHANGED = 0x44
CONTENT = 0x45
CONTINUE = 0x5F
BAD_REQUEST = 0x80
UNAUTHORIZED = 0x81
BAD_OPTION = 0x82
FORBIDDEN = 0x83
NOT_FOUND = 0x84
METHOD_NOT_ALLOWED = 0x85
NOT_ACCEPTABLE = 0x86
ENTITY_INCOMPLETE = 0x88
CONFLICT = 0x89
TOO_LARGE = 0x8D
UNSUPPORTED_FORMAT = 0x8F
TOO_MANY_REQUESTS = 0x9D
SERVICE_UNAVAILABLE = 0xA3
PROXYING_NOT_SUPPORTED = 0xA5

COSE_SIGN1 = 18
JOSE_JSON = 50
LINK_FORMAT = 40

LONGEST_MAX_AGE_S = 2**32 - 1

CODE_OF_REASON: dict[RejectReason, int] = {
    RejectReason.MALFORMED: BAD_REQUEST,
    RejectReason.IDENTITY_MISMATCH: BAD_REQUEST,  # only an observed resource names a device; nobody is answered there
    RejectReason.DEVICE_UNKNOWN: UNAUTHORIZED,
    RejectReason.BAD_SIGNATURE: UNAUTHORIZED,
    RejectReason.ALG_MISMATCH: UNAUTHORIZED,
    RejectReason.DEVICE_SUSPENDED: FORBIDDEN,
    RejectReason.DEVICE_REVOKED: FORBIDDEN,
    RejectReason.WRONG_FLEET: FORBIDDEN,
    RejectReason.DUPLICATE: CONFLICT,  # a duplicate is a Duplicate, answered 2.04; as a refusal it is a replay
    RejectReason.SEQUENCE_REUSED: CONFLICT,
    RejectReason.STALE_SESSION: CONFLICT,
    RejectReason.OUT_OF_WINDOW: CONFLICT,
    RejectReason.TOO_OLD: CONFLICT,
    RejectReason.IN_FUTURE: CONFLICT,
    RejectReason.TOO_LARGE: TOO_LARGE,
    RejectReason.RATE_LIMITED: TOO_MANY_REQUESTS,
}

CODE_OF_PUSHBACK: dict[PushbackReason, int] = dict.fromkeys(PushbackReason, SERVICE_UNAVAILABLE)


class Response(NamedTuple):
    """One answer, before it has a token or a message id.

    ``content_format``, ``max_age_s``, ``echo``, ``block1``, ``block2`` and ``size1`` become options when they are
    not None; the blocks are option values already (RFC 7959 §2.2).
    """

    code: int
    payload: bytes = b""
    content_format: int | None = None
    max_age_s: int | None = None
    echo: bytes | None = None
    block1: int | None = None
    block2: int | None = None
    size1: int | None = None


def response_of(outcome: Outcome) -> Response:
    """Say ``outcome`` in CoAP (FORMATS.md §4).

    A refusal over CoAP is a code and its reason; a receipt that goes with it stays in the gateway, because the
    diagnostic payload of an error is the reason string.
    """
    if isinstance(outcome, Accepted | Duplicate):
        return Response(CHANGED, outcome.receipt, COSE_SIGN1)
    if isinstance(outcome, Refused):
        code = CODE_OF_REASON[outcome.reason]
        max_age_s = _max_age(outcome.retry_after_s or 1) if code == TOO_MANY_REQUESTS else None
        return Response(code, outcome.reason.value.encode(), max_age_s=max_age_s)
    return pushed_back(outcome)


def pushed_back(pushback: Pushback) -> Response:
    """5.03 with the reason and the seconds to stay away (RFC 7252 §5.9.3.4)."""
    payload = pushback.reason.value.encode()
    return Response(CODE_OF_PUSHBACK[pushback.reason], payload, max_age_s=_max_age(pushback.retry_after_s))


def too_large(limit_bytes: int) -> Response:
    """4.13 with the body size that would be taken as Size1 (RFC 7959 §2.9.3)."""
    return Response(TOO_LARGE, RejectReason.TOO_LARGE.value.encode(), size1=limit_bytes)


def _max_age(seconds: int) -> int:
    return min(max(seconds, 0), LONGEST_MAX_AGE_S)
