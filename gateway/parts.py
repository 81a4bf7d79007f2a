"""What is opened before the gateway is put together: the only things that can fail at the start."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import structlog

from gateway.config.model import Config
from gateway.crypto.anchoring_key import AnchoringKey
from gateway.journal import Opened, open_journal, open_reader
from gateway.ops.http.token import load_token
from gateway.ops.secrets import load_anchoring_key, load_hpke_key, load_log_key, read_optional_secret, secret_path
from gateway.registry.file import FileRegistry
from gateway.tlog.entry import parse_entry
from gateway.vault.hpke_key import HpkeKey

log = structlog.get_logger("gateway")


class Past(NamedTuple):
    """What the journal says of the process before: when the log last grew, and the key that signed it."""

    last_entry_ms: int | None
    log_key: bytes | None


class Parts(NamedTuple):
    """Registry, keys and passwords, and the journal."""

    registry: FileRegistry | None
    anchoring_key: AnchoringKey | None
    hpke_key: HpkeKey | None
    opened: Opened
    past: Past
    log_key_seed: bytes
    mqtt_password: bytes | None
    mqtt_key_file: str
    oscore: bytes | None
    http_token: bytes | None


def open_parts(config: Config) -> Parts:
    """Read registry and secrets, open the journal.

    Raises:
        RegistryError, SecretError, JournalError, ChainExtraMissing: each says what to do next.
    """
    registry = None if config.chain.rpc else FileRegistry(config.registry.file)
    if registry is not None:
        registry.load()
    anchoring_key = None
    if config.chain.rpc and config.anchor.enabled:
        anchoring_key = load_anchoring_key(config.anchor.key_file, config.anchor.passphrase_file)
    hpke_key = load_hpke_key(config.gateway.hpke_key_file) if config.models.enabled else None
    seed = load_log_key(config.gateway.log_key_file)
    password = read_optional_secret(config.mqtt.password_file)
    key_file = str(secret_path(config.mqtt.key_file)) if config.mqtt.key_file else ""
    oscore = read_optional_secret(config.coap.oscore_file)
    token = load_token(config.http.token_file) if config.http.enabled else None
    opened = open_journal(config.gateway.data_dir, config.journal, origin=config.origin)
    past = _past(config.gateway.data_dir)
    return Parts(registry, anchoring_key, hpke_key, opened, past, seed, password, key_file, oscore, token)


def _past(data_dir: Path) -> Past:
    """Ask the journal: since its last entry nothing was taken in."""
    with open_reader(data_dir) as reader:
        size = reader.size()
        rows = list(reader.entries(max(0, size - 1), size))
        return Past(parse_entry(rows[0].entry).time_ms if rows else None, reader.log_key())


def tell_how_the_journal_opened(opened: Opened) -> None:
    """Write what was wrong with the store to the log, and what became of it."""
    if opened.set_aside is not None:
        log.error("journal.set_aside", path=str(opened.set_aside), reason=opened.reason)
    for gap in opened.lost:
        log.error("journal.entries_lost", start=gap.start, end=gap.end, reason=gap.reason)
    for left in opened.journal.left_out:
        log.error("journal.rows_left_out", table=left.table, rows=left.rows, broken_off=left.broken_off)
    if opened.doubtful_from is not None:
        log.error("journal.doubtful", start=opened.doubtful_from)
    if opened.log_damaged:
        log.error("journal.log_damaged", detail="the log takes no entries; see docs/operations/runbook.md")
    if opened.migrated_from is not None:
        log.info("journal.migrated", schema=opened.migrated_from)
