"""How each key of the configuration comes into force: live, by a room of the gateway, or at the next start (pure).

The table is complete: a test walks every dataclass of ``Config``. A room that this gateway lacks (no chain, no
page) changes nothing live, and its keys wait for a restart as well.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Final, NamedTuple

from gateway.config.cross import cross_faults
from gateway.config.model import Config

RESTART: Final = "restart"

_BY_TABLE: Final[Mapping[str, Mapping[str, str]]] = {
    "gateway": {RESTART: "id fleet data_dir log_key_file hpke_key_file"},
    "registry": {RESTART: "file max_age_s"},
    "chain": {
        "chain": "rpc timeout_s max_head_age_s requests_per_s",
        RESTART: "chain_id registry anchor_log model_registry deploy_block finality confirmations poll_s logs_blocks",
    },
    "anchor": {
        RESTART: "enabled key_file passphrase_file interval_s entries min_interval_s replace_after_s max_fee_gwei"
        " priority_fee_gwei gas_limit legacy_gas"
    },
    "ipfs": {
        "ipfs": "sources block_timeout_s file_timeout_s",
        RESTART: "publish block_store store_bytes max_bytes",
    },
    "models": {RESTART: "enabled max_bytes freeze_after_s publishers"},
    "mqtt": {
        "mqtt": "host port username password_file tls ca_file cert_file key_file keepalive_s session_expiry_s"
        " receive_maximum reconnect_min_s reconnect_max_s",
        RESTART: "enabled client_id share_group",
    },
    "coap": {RESTART: "enabled host port oscore_file reply_timeout_s observe"},
    "limits": {
        "limits": "device_rate_per_s device_burst mqtt_peer_rate_per_s mqtt_peer_burst coap_peer_rate_per_s"
        " coap_peer_burst peers max_age_s max_ahead_s",
        RESTART: "message_bytes",
    },
    "ingest": {
        RESTART: "batch_messages queue_messages queue_bytes linger_ms shutdown_s replay_cache_devices",
    },
    "journal": {RESTART: "budget_bytes quarantine_bytes retention_s drop_unanchored"},
    "log": {"log": "checkpoint_interval_s rejections_interval_s", RESTART: "publish_dir"},
    "logging": {"logging": "level bytes_per_hour", RESTART: "format"},
    "http": {"http": "host port allowed_hosts token_file", RESTART: "enabled"},
    "clock": {"clock": "trust step_s"},
}

HOW: Final[Mapping[str, str]] = {
    f"{table}.{key}": how for table, ways in _BY_TABLE.items() for how, keys in ways.items() for key in keys.split()
}
"""Dotted key: the room that applies it, or ``RESTART``."""


class Plan(NamedTuple):
    """What a new configuration comes to.

    ``config`` is the old one with what can change live; ``live`` are the changed keys that come into force with it,
    ``restart`` those that wait for the next start.
    """

    config: Config
    live: tuple[str, ...]
    restart: tuple[str, ...]


def changed_keys(old: Config, new: Config) -> tuple[str, ...]:
    """Dotted names of the keys that differ, in the order of the file."""
    return tuple(name for name, was, now in _pairs(old, new) if was != now)


def plan_of(old: Config, new: Config, rooms: Collection[str]) -> Plan:
    """Part the changed keys into those that ``rooms`` can apply and those that need a restart.

    When the part that can be applied does not hold without the other (a page's token with a new address, say),
    everything waits: half a configuration is none.
    """
    changed = changed_keys(old, new)
    if bool(old.chain.rpc) is not bool(new.chain.rpc):  # with a chain or without is another gateway
        rooms = set(rooms) - {"chain"}
    live = tuple(name for name in changed if HOW[name] in rooms)
    merged = _with(old, new, live)
    sound = {field.name: getattr(merged, field.name) for field in dataclasses.fields(merged)}
    if cross_faults(sound, lambda _: 0):
        return Plan(old, (), changed)
    return Plan(merged, live, tuple(name for name in changed if name not in live))


def _pairs(old: Config, new: Config) -> Iterator[tuple[str, object, object]]:
    for table in dataclasses.fields(old):
        was, now = getattr(old, table.name), getattr(new, table.name)
        for field in dataclasses.fields(was):
            yield f"{table.name}.{field.name}", getattr(was, field.name), getattr(now, field.name)


def _with(old: Config, new: Config, live: Collection[str]) -> Config:
    tables = {}
    for table in dataclasses.fields(old):
        now = getattr(new, table.name)
        names = [name.partition(".")[2] for name in live if name.startswith(f"{table.name}.")]
        if names:
            tables[table.name] = dataclasses.replace(
                getattr(old, table.name), **{name: getattr(now, name) for name in names}
            )
    return dataclasses.replace(old, **tables)
