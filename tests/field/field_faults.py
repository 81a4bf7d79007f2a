"""What can go wrong in the field, and where each of it has to be told: the table that the tests of this room try.

docs/operations/faults.md is the same table for people; a test keeps the two equal.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from gateway.ops.exitcodes import ExitCode


class Fault(NamedTuple):
    """One fault.

    Attributes:
        what: in words, as the page has it.
        event: the event of the log when it begins.
        status: the stable word among the ``reasons``; or a sentence's beginning or middle among the ``warnings``; or,
            of a gateway that does not run, how it ended.
        finding: what ``securenet doctor`` calls it.
        back: the event when it is over.
    """

    what: str
    event: str
    status: str | ExitCode
    finding: str
    back: str


STARTED: Final = "gateway.started"
NOT_STARTED: Final = "gateway.not_started"

FAULTS: Final = {
    "config-at-start": Fault(
        "the configuration is broken, at a start", NOT_STARTED, ExitCode.CONFIG, "config.refused", STARTED
    ),
    "config-at-reload": Fault(
        "the configuration is broken, at a reload",
        "config.refused",
        "the configuration was refused at the last reload",
        "config.refused",
        "config.reloaded",
    ),
    "registry-at-start": Fault(
        "the registry file is broken, at a start", NOT_STARTED, ExitCode.REGISTRY, "registry.file", STARTED
    ),
    "registry-at-reload": Fault(
        "the registry file is broken, at a reload",
        "registry.refused",
        "the configuration was refused at the last reload: registry.file",
        "registry.file",
        "registry.reloaded",
    ),
    "key-missing": Fault("a key is missing", NOT_STARTED, ExitCode.SECRET, "keys.log-key", STARTED),
    "key-open": Fault("a key's file is open to others", NOT_STARTED, ExitCode.SECRET, "keys.log-key", STARTED),
    "data-not-writable": Fault(
        "the data directory is not writable", NOT_STARTED, ExitCode.UNAVAILABLE, "disk.not-writable", STARTED
    ),
    "disk-full-at-start": Fault(
        "the disk is full, at a start", NOT_STARTED, ExitCode.UNAVAILABLE, "disk.full", STARTED
    ),
    "disk-full": Fault(
        "the disk becomes full", "journal.blocked", "journal-blocked", "disk.full", "journal.recovered"
    ),
    "disk-read-only-at-start": Fault(
        "the disk is read-only, at a start", NOT_STARTED, ExitCode.UNAVAILABLE, "disk.read-only", STARTED
    ),
    "disk-read-only": Fault(
        "the disk becomes read-only after an error", "journal.blocked", "journal-blocked", "disk.read-only", STARTED
    ),
    "publish-dir": Fault(
        "the directory of the published log is not writable",
        "log.not_published",
        "the log is not published",
        "journal.not-published",
        "log.published",
    ),
    "client-certificate": Fault(
        "the gateway's certificate has ended", "certificate.expires", "mqtt-down", "certificates.expired", "mqtt.up"
    ),
    "broker-certificate": Fault(
        "the broker's certificate has ended", "mqtt.down", "mqtt-down", "broker.tls", "mqtt.up"
    ),
    "clock": Fault(
        "the clock is wrong", "clock.untrusted", "the clock is not believed", "clock.behind", "clock.trusted"
    ),
    "broker": Fault("the broker is away", "mqtt.down", "mqtt-down", "broker.unreachable", "mqtt.up"),
    "broker-account": Fault("the broker refuses the account", "mqtt.down", "mqtt-down", "broker.login", "mqtt.up"),
    "chain": Fault("the chain is away", "chain.down", "the chain is down", "chain.unreachable", "chain.up"),
    "chain-for-long": Fault(
        "the chain is away for longer than `registry.max_age_s`",
        "gateway.holds_back",
        "registry-stale",
        "registry.stale",
        "gateway.takes_in",
    ),
    "ipfs": Fault(
        "the source of models is away", "vault.source_down", "does not run", "ipfs.all-down", "vault.source_up"
    ),
    "http-port": Fault(
        "the port of page and metrics is taken",
        "http.not_listening",
        "health, metrics and page are not served",
        "page.not-served",
        "http.listening",
    ),
    "coap-port": Fault("the port of CoAP is taken", "coap.down", "coap-down", "gateway.coap-port", "coap.up"),
}
