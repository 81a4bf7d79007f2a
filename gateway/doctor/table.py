"""Every check, in the order in which a person wants to read them: first what everything else rests on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from gateway.config.model import Config
from gateway.doctor import acl, broker, clock, disk, endpoints, journal, keys, machine, models, runner, unit
from gateway.doctor.broker_ask import ask_acl, ask_broker
from gateway.doctor.case import Check
from gateway.doctor.clock_ask import ask_clock
from gateway.doctor.disk_ask import ask_disk
from gateway.doctor.endpoints_ask import ask_chain
from gateway.doctor.finding import Kind, Sheet
from gateway.doctor.journal_ask import ask_anchors, ask_journal
from gateway.doctor.keys_ask import ask_certificates, ask_keys
from gateway.doctor.machine_ask import ask_machine, ask_python
from gateway.doctor.models_ask import ask_ipfs, ask_models, ask_registry
from gateway.doctor.unit_ask import ask_config, ask_gateway, ask_page, ask_unit


def _over_mqtt(config: Config) -> bool:
    return config.mqtt.enabled


def _on_chain(config: Config) -> bool:
    return bool(config.chain.rpc)


def _with_models(config: Config) -> bool:
    return bool(config.models.enabled)


CHECKS: Final = (
    Check(
        "config", "can the configuration be used, and who may change it", unit.CONFIG, ask_config, needs_config=False
    ),
    Check("gateway", "what the running gateway says of itself", unit.GATEWAY, ask_gateway, needs_config=False),
    Check("unit", "does systemd keep it", unit.UNIT, ask_unit, needs_config=False),
    Check("clock", "is the time right, and who keeps it", clock.SHEET, ask_clock, needs_config=False),
    Check("machine", "limits, memory, random numbers", machine.MACHINE, ask_machine, needs_config=False),
    Check(
        "python",
        "does everything that is installed run on this processor",
        machine.PYTHON,
        ask_python,
        120.0,
        heavy=True,
        needs_config=False,
    ),
    Check("disk", "room, health, and how long a synced write takes", disk.SHEET, ask_disk, 20.0, heavy=True),
    Check("journal", "is the store sound, and has it room", journal.JOURNAL, ask_journal, 20.0),
    Check(
        "keys",
        "can the keys be used, by nobody else, and does the registry know them",
        keys.KEYS,
        ask_keys,
        60.0,
        heavy=True,
    ),
    Check("certificates", "how long do they hold, and do they fit their keys", keys.CERTIFICATES, ask_certificates),
    Check("registry", "who may speak, and is that of today", models.REGISTRY, ask_registry, 30.0),
    Check(
        "broker",
        "does it let us in, keep our session, take our messages",
        broker.SHEET,
        ask_broker,
        30.0,
        remote=True,
        applies=_over_mqtt,
    ),
    Check(
        "acl",
        "may a device publish at its own topic, and nowhere else",
        acl.SHEET,
        ask_acl,
        60.0,
        remote=True,
        applies=_over_mqtt,
    ),
    Check(
        "chain",
        "endpoints, contracts, registration, money",
        endpoints.SHEET,
        ask_chain,
        60.0,
        remote=True,
        applies=_on_chain,
    ),
    Check(
        "anchors",
        "when was the log last final on chain, and when is the next anchor",
        journal.ANCHORS,
        ask_anchors,
        applies=_on_chain,
    ),
    Check(
        "models", "do the wanted models run, and are they granted", models.MODELS, ask_models, applies=_with_models
    ),
    Check("ipfs", "does each source of blocks answer", models.IPFS, ask_ipfs, 30.0, applies=_with_models),
    Check("page", "does the page answer, and to whom", unit.PAGE, ask_page),
)

BY_NAME: Final[Mapping[str, Check]] = {check.name: check for check in CHECKS}


def sheets() -> Iterable[Sheet]:
    """The tables of findings, the doctor's own among them."""
    return (*(check.sheet for check in CHECKS), runner.SHEET)


def kinds() -> Mapping[str, Kind]:
    """Every finding there is, by its full name."""
    return {f"{sheet.check}.{name}": kind for sheet in sheets() for name, kind in sheet.kinds.items()}
