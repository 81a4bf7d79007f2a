"""What the kill tests share: a gateway over MQTT without rate limits, and a count of the duplicates it answered.

The limits are off because a fleet that waits out an outage comes back all at once; what a limit refuses is another
test's subject.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.gateway import SECURENET, Gateway, secret_file
from support.mosquitto import ACCOUNTS

from firmware_sim.keys import DeviceRecord, FleetKeys, registry_lines

UNLIMITED: dict[str, object] = {
    "device_rate_per_s": 100_000,
    "device_burst": 1_000_000,
    "mqtt_peer_rate_per_s": 100_000,
    "mqtt_peer_burst": 1_000_000,
    "coap_peer_rate_per_s": 100_000,
    "coap_peer_burst": 1_000_000,
}


def mqtt_gateway(
    folder: Path,
    records: Sequence[DeviceRecord],
    mqtt: dict[str, object],
    *,
    prefix: Sequence[str] = (),
    program: Sequence[str] = SECURENET,
) -> Gateway:
    """A gateway that takes messages over MQTT; ``mqtt`` are the keys of that section beside the account's."""
    account = {"username": "gateway", "password_file": secret_file(folder, ACCOUNTS["gateway"])}
    return Gateway(
        folder,
        registry_lines(FleetKeys(Gateway.fleet, tuple(records))),
        {
            "mqtt": {**account, **mqtt},
            "limits": UNLIMITED,
            "log": {"checkpoint_interval_s": 0.5},
        },
        prefix=prefix,
        program=program,
    )


def duplicates_of(status: dict[str, Any] | None) -> int:
    """How many duplicates this gateway process has answered."""
    return 0 if status is None else int(status["rejected"].get("duplicate", 0))
