"""``decode``: bytes become an envelope, or a reason why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.envelope.cose import decode_cose
from gateway.envelope.facts import Malformed
from gateway.envelope.jws import decode_jws
from gateway.message import Encoding, Envelope, Rejected, RejectReason

_Decoder = Callable[[bytes], Envelope]
_BY_FIRST_BYTE: Final[dict[bytes, tuple[Encoding, _Decoder]]] = {
    b"\xd2": (Encoding.COSE, decode_cose),
    b"{": (Encoding.JWS, decode_jws),
}


def decode(payload: bytes, declared: Encoding | None, *, max_bytes: int) -> Envelope | Rejected:
    """Take the seven signed facts out of ``payload``.

    Args:
        payload: the envelope as it came.
        declared: what the transport's content type says, None when it says nothing. It decides nothing: the first
            byte does, and must agree.
        max_bytes: ``limits.message_bytes``; a longer payload is refused unseen.

    Returns:
        The envelope, or ``too-large``, or ``malformed`` with a detail in our own words.
    """
    if len(payload) > max_bytes:
        return Rejected(RejectReason.TOO_LARGE, f"{len(payload)} bytes, the limit is {max_bytes}")
    known = _BY_FIRST_BYTE.get(payload[:1])
    if known is None:
        return Rejected(RejectReason.MALFORMED, "the first byte is neither that of a COSE_Sign1 nor that of a JWS")
    encoding, decoder = known
    if declared is not None and declared is not encoding:
        return Rejected(RejectReason.MALFORMED, "the declared content type does not agree with the first byte")
    try:
        return decoder(payload)
    except Malformed as fault:
        return Rejected(RejectReason.MALFORMED, fault.detail)
