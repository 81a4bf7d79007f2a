"""The broker: what it says of itself when we connect, and whether the gateway can rest its promises on it (pure)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from gateway.config.model import Config
from gateway.doctor.finding import Finding, Sheet, error, note, warning

DAY_S: Final = 86400
PACKET_OVERHEAD: Final = 4096
"""Topic and properties of a message, above its payload."""

SHEET: Final = Sheet(
    "broker",
    {
        "unreachable": error(
            "Look whether it runs and listens there: `systemctl status mosquitto`, `ss -ltn`; then compare "
            "`mqtt.host` and `mqtt.port` with it: `securenet show-config`."
        ),
        "tls": error(
            "Ask it for its chain: `openssl s_client -connect {broker} -showcerts`; name the CA that signed it in "
            "`mqtt.ca_file`, or renew the broker's certificate."
        ),
        "tls-files": error("Correct `mqtt.ca_file`, `mqtt.cert_file` and `mqtt.key_file`: `securenet check-config`."),
        "certificate-expires": warning(
            "Renew the broker's certificate and reload the broker: `systemctl reload mosquitto`."
        ),
        "certificate-expired-soon": error(
            "Renew the broker's certificate now and reload the broker: `systemctl reload mosquitto`."
        ),
        "plain": warning(
            "What is between can read and drop messages (it cannot forge them). Set `mqtt.tls`, and `mqtt.port` to "
            "the broker's TLS listener: `securenet check-config`."
        ),
        "not-mqtt5": error(
            "The gateway needs MQTT 5: upgrade the broker, mosquitto to 2.0 or later: `apt-get install mosquitto`."
        ),
        "login": error(
            "Set the account anew and put the same password into `mqtt.password_file`: "
            "`mosquitto_passwd /etc/mosquitto/securenet.passwd {account}`, then `systemctl reload mosquitto` and "
            "`systemctl restart securenet-gateway`."
        ),
        "password-file": error(
            "Give the file of `mqtt.password_file` to the gateway alone: `securenet check-config`."
        ),
        "no-session": error(
            "What devices send while the gateway is away is lost. Let the broker keep sessions: in mosquitto.conf "
            "persistent_client_expiration 14d, then `systemctl restart mosquitto`."
        ),
        "session-short": warning(
            "An outage that lasts longer loses messages. Raise persistent_client_expiration in mosquitto.conf above "
            "`mqtt.session_expiry_s`, then `systemctl restart mosquitto`."
        ),
        "packet-small": error(
            "Messages between the two limits never arrive. Raise max_packet_size in mosquitto.conf to {wanted}, or "
            "lower `limits.message_bytes`; then `systemctl restart mosquitto`."
        ),
        "qos": error(
            "The broker caps the quality of service below 1, and nothing is redelivered: set max_qos 1 or 2 in "
            "mosquitto.conf, then `systemctl restart mosquitto`."
        ),
        "no-retain": warning(
            "Nobody sees whether the gateway is online: set retain_available true in mosquitto.conf, then "
            "`systemctl restart mosquitto`."
        ),
        "no-shared": error(
            "`mqtt.share_group` needs shared subscriptions, and this broker has none: empty it, or use another "
            "broker: `securenet show-config`."
        ),
        "no-wildcard": error(
            "The fleet's filter has a wildcard, and this broker refuses it: use another broker, "
            "`apt-get install mosquitto`."
        ),
        "keepalive": note("The broker's own keep-alive holds; nothing to do: `securenet show-config` has ours."),
        "receive-maximum": note(
            "Receipts leave in smaller groups: raise max_inflight_messages in mosquitto.conf to 1024, then "
            "`systemctl restart mosquitto`."
        ),
        "subscription": error(
            "Let the account read securenet/v1/+/+/up, as our gateway.acl does, then `systemctl reload mosquitto`."
        ),
        "known-bad": warning("Upgrade it: `apt-get install --only-upgrade mosquitto`."),
        "known-quirk": note(
            "Upgrade it when you can: `apt-get install --only-upgrade mosquitto`. A distribution may have corrected "
            "it under the same number: `apt-get changelog mosquitto`."
        ),
        "version-unknown": note(
            "Let the gateway's account read $SYS/broker/version (one line topic read in the ACL), or ask on the "
            "broker's machine: `mosquitto -h`."
        ),
        "not-persistent": error(
            "A restart of the broker loses what it acknowledged to devices. Set persistence true in {file}, then "
            "`systemctl restart mosquitto`."
        ),
        "queue-by-number": warning(
            "Beyond that number mosquitto drops messages of an outage. Set max_queued_messages 0 and bound "
            "max_queued_bytes in {file}, then `systemctl restart mosquitto`."
        ),
    },
)


class Connack(NamedTuple):
    """What the broker answered to our CONNECT: its limits, where it named them."""

    session_expiry_s: int | None = None
    receive_maximum: int = 65535
    maximum_packet_bytes: int | None = None
    maximum_qos: int = 2
    retain_available: bool = True
    shared_available: bool = True
    wildcard_available: bool = True
    keepalive_s: int | None = None


class Facts(NamedTuple):
    """All that was learned of a broker that took our login."""

    connack: Connack
    session_kept: bool
    subscribed: bool
    version: str = ""
    tls_days_left: float | None = None


class Flaw(NamedTuple):
    """A defect of mosquitto from ``first`` up to, but not including, ``fixed``."""

    first: tuple[int, ...]
    fixed: tuple[int, ...]
    what: str
    bad: bool


_LEAKS: Final = "clients can make it leak memory (CVE-2023-28366, corrected in 2.0.16 and once more in 2.0.21)"
_STALLS: Final = "with max_queued_messages 0, which the gateway needs, it stops delivering (corrected in 2.0.17)"
MOSQUITTO_FLAWS: Final = (
    Flaw((0,), (1, 6), "it does not know MQTT 5", bad=True),
    Flaw((1, 6), (2, 0, 12), "many user properties make it slow for everybody (CVE-2021-41039)", bad=False),
    Flaw((2, 0), (2, 0, 13), "it forgets the receive maximum when a session resumes (docs/adr/0041)", bad=False),
    Flaw((1, 3, 2), (2, 0, 21), _LEAKS, bad=False),
    Flaw((2, 0, 16), (2, 0, 17), _STALLS, bad=True),
    Flaw((2, 0), (2, 0, 19), "a client can make it crash (CVE-2024-8376)", bad=False),
)
_VERSION: Final = re.compile(r"mosquitto version (\d{1,4}(?:\.\d{1,4}){1,3})")


def judge(config: Config, facts: Facts) -> list[Finding]:
    """What a broker that let us in is worth."""
    found = [*_limits(config, facts), *_session(config, facts), *versions(facts.version)]
    if facts.tls_days_left is not None:
        found += certificate(facts.tls_days_left)
    if not config.mqtt.tls and not is_loopback(config.mqtt.host):
        found.append(SHEET.found("plain", f"the link to {config.mqtt.host} is not encrypted"))
    if not facts.subscribed:
        found.append(SHEET.found("subscription", "it does not let the gateway's account subscribe to its fleet"))
    where = f"{config.mqtt.host}:{config.mqtt.port}"
    return found or [SHEET.fine(f"{where} speaks MQTT 5, lets us in, keeps our session", version=facts.version)]


def _limits(config: Config, facts: Facts) -> list[Finding]:
    said, found = facts.connack, []
    wanted = config.limits.message_bytes + PACKET_OVERHEAD
    if said.maximum_packet_bytes is not None and said.maximum_packet_bytes < wanted:
        what = (
            f"it takes packets of {said.maximum_packet_bytes} bytes, and limits.message_bytes allows messages of "
            f"{config.limits.message_bytes}"
        )
        found.append(SHEET.found("packet-small", what, wanted=wanted))
    if said.maximum_qos < 1:
        found.append(SHEET.found("qos", "it grants QoS 0 only"))
    if not said.retain_available:
        found.append(SHEET.found("no-retain", "it keeps no retained messages"))
    if config.mqtt.share_group and not said.shared_available:
        found.append(SHEET.found("no-shared", "it has no shared subscriptions"))
    if not said.wildcard_available:
        found.append(SHEET.found("no-wildcard", "it has no wildcard subscriptions"))
    if said.keepalive_s is not None and said.keepalive_s != config.mqtt.keepalive_s:
        what = f"it asks for a keep-alive of {said.keepalive_s} s instead of {config.mqtt.keepalive_s} s"
        found.append(SHEET.found("keepalive", what))
    if said.receive_maximum < min(config.mqtt.receive_maximum, 64):
        found.append(SHEET.found("receive-maximum", f"it takes {said.receive_maximum} receipts at a time from us"))
    return found


def _session(config: Config, facts: Facts) -> list[Finding]:
    granted = facts.connack.session_expiry_s
    if granted == 0 or not facts.session_kept:
        return [SHEET.found("no-session", "it forgets our session when the connection ends")]
    if granted is not None and granted < config.mqtt.session_expiry_s:
        what = (
            f"it keeps our session for {granted} s, and mqtt.session_expiry_s asks for {config.mqtt.session_expiry_s}"
        )
        return [SHEET.found("session-short", what)]
    return []


def certificate(days_left: float) -> list[Finding]:
    """The broker's certificate, by the days that it has left."""
    if days_left < 1:
        return [SHEET.found("certificate-expired-soon", f"its certificate ends in {days_left * 24:.0f} hours")]
    if days_left < 30:  # noqa: PLR2004 -- as for our own certificates
        return [SHEET.found("certificate-expires", f"its certificate ends in {days_left:.0f} days", days=days_left)]
    return []


def versions(said: str) -> list[Finding]:
    """What is known of a broker by its version; ``said`` is what $SYS or the program told."""
    match = _VERSION.search(said)
    if match is None:
        what = f"it is {said!r}, of which nothing is known here" if said else "it does not tell its version"
        return [SHEET.found("version-unknown", what)]
    number = tuple(int(part) for part in match[1].split("."))
    return [
        SHEET.found(
            "known-bad" if flaw.bad else "known-quirk", f"mosquitto {match[1]}: {flaw.what}", version=match[1]
        )
        for flaw in MOSQUITTO_FLAWS
        if flaw.first <= number < flaw.fixed
    ]


def configuration(settings: Mapping[str, Sequence[str]], file: str) -> list[Finding]:
    """A mosquitto.conf on this machine: its last word on each setting counts."""
    found = []
    if settings.get("persistence", ["false"])[-1] != "true":
        found.append(SHEET.found("not-persistent", "its configuration has no persistence", file=file))
    queued = settings.get("max_queued_messages", ["1000"])[-1]
    if queued != "0":
        what = f"it queues {queued} messages for a gateway that is away"
        found.append(SHEET.found("queue-by-number", what, file=file))
    return found


def listens(settings: Mapping[str, Sequence[str]], port: int) -> bool:
    """Whether the broker of this configuration has the port: another one may run here, from another file."""
    said = [*settings.get("listener", []), *settings.get("port", [])] or ["1883"]
    return str(port) in {value.split(" ")[0] for value in said}


def read_settings(texts: Sequence[str]) -> dict[str, list[str]]:
    """The settings of mosquitto's configuration files, in the order in which it reads them."""
    settings: dict[str, list[str]] = {}
    for text in texts:
        for line in text.splitlines():
            name, _, value = line.strip().partition(" ")
            if name and not name.startswith("#"):
                settings.setdefault(name, []).append(value.strip())
    return settings


def is_loopback(host: str) -> bool:
    """Whether a host as it is configured is this machine."""
    return host in {"localhost", "::1"} or host.startswith("127.")
