"""What went wrong with a broker, in our own words (pure). Text from the network is never repeated raw."""

from __future__ import annotations

import ssl

from mqttium.errors import BrokerDisconnectError, ConnectRefusedError, MQTTError, MQTTTimeoutError, SubscribeError

_MAX_CHARACTERS = 200
_FAILURE = 0x80
# The reason codes of MQTT 5 §2.4 that a broker can give a client like us, and what to do about them.
_REASONS = {
    0x80: "unspecified error",
    0x81: "malformed packet",
    0x82: "protocol error",
    0x83: "implementation specific error",
    0x84: "it does not speak MQTT 5",
    0x85: "client id not valid",
    0x86: "bad user name or password",
    0x87: "not authorized",
    0x88: "server unavailable",
    0x89: "server busy",
    0x8A: "banned",
    0x8B: "it is shutting down",
    0x8C: "bad authentication method",
    0x8D: "keep alive timeout",
    0x8E: "session taken over; does another gateway use this client id?",
    0x8F: "topic filter invalid",
    0x90: "topic name invalid",
    0x93: "receive maximum exceeded",
    0x95: "packet too large",
    0x96: "message rate too high",
    0x97: "quota exceeded",
    0x98: "administrative action",
    0x9A: "retain not supported",
    0x9B: "QoS not supported",
    0x9C: "use another server",
    0x9D: "server moved",
    0x9E: "shared subscriptions not supported",
    0x9F: "connection rate exceeded",
    0xA1: "subscription identifiers not supported",
    0xA2: "wildcard subscriptions not supported",
}


class QosRefused(MQTTError):
    """The broker granted the subscription without QoS 1: it could lose messages."""


def reason(code: int) -> str:
    """A reason code with its name."""
    return f"{_REASONS.get(code, 'reason')} (0x{code:02x})"


def printable(text: str) -> str:
    """``text`` in printable ASCII, bounded; anything else becomes ``?``."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text[:_MAX_CHARACTERS])


def describe(fault: BaseException) -> str:
    """One line for the technician: what happened to the link."""
    if isinstance(fault, ConnectRefusedError):
        return f"the broker refused the connection: {reason(fault.reason_code)}"
    if isinstance(fault, BrokerDisconnectError):
        return f"the broker closed the connection: {reason(fault.reason_code)}"
    if isinstance(fault, SubscribeError):
        refused = [code for code in fault.result.reason_codes if code >= _FAILURE]
        return f"the broker refused the subscription: {reason(refused[0])}"
    cause = fault.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the broker's certificate does not hold: {printable(cause.verify_message)}"
    if isinstance(cause, OSError):
        return f"no connection: {printable(cause.strerror or str(cause) or type(cause).__name__)}"
    if type(fault) is MQTTError:
        return "the broker closed the connection without a reason"
    if isinstance(fault, MQTTTimeoutError):
        return f"the broker does not answer: {printable(str(fault))}"
    if isinstance(fault, QosRefused):
        return "the broker grants QoS 0 only: messages could be lost"
    if isinstance(fault, ssl.SSLError | FileNotFoundError | PermissionError):
        return f"the TLS files cannot be used: {printable(str(fault))}"
    if isinstance(fault, OSError):
        return f"the connection broke: {printable(fault.strerror or str(fault) or type(fault).__name__)}"
    return printable(f"{type(fault).__name__}: {fault}")
