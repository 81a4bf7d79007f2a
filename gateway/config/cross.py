"""What must hold between keys that are each sound alone."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.config.fault import Fault
from gateway.config.ids import RESERVED
from gateway.config.lines import KeyPath
from gateway.config.model import (
    ID,
    AnchorConfig,
    ChainConfig,
    CoapConfig,
    GatewayConfig,
    HttpConfig,
    IngestConfig,
    IpfsConfig,
    JournalConfig,
    ModelsConfig,
    MqttConfig,
    ObserveConfig,
)

Found = Iterator[tuple[str, str, str]]


def cross_faults(sound: Mapping[str, object], line_of: Callable[[KeyPath], int]) -> list[Fault]:
    """Every breach among the tables that are sound in themselves.

    Args:
        sound: tables by dotted name, those without a fault of their own.
        line_of: the line of a key path in the file, 0 when it is not there.
    """
    found: list[tuple[str, str, str]] = []
    for name, table in sound.items():
        if type(table) in _JUDGES:
            found += _JUDGES[type(table)](table)
        elif isinstance(table, ObserveConfig) and table.device in RESERVED:
            found.append((f"{name}.device", f"is {table.device}, which is reserved", "choose another id"))
    found += [*_transports(sound), *_models_means(sound)]
    return [Fault(line_of(_path(key)), key, problem, hint) for key, problem, hint in found]


def _path(key: str) -> KeyPath:
    parts = key.replace("[", ".[").split(".")
    return tuple(int(part[1:-1]) if part.startswith("[") else part for part in parts)


def is_loopback(host: str) -> bool:
    """Whether ``host`` can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _gateway(table: GatewayConfig) -> Found:
    for name, value in (("id", table.id), ("fleet", table.fleet)):
        if value in RESERVED:
            yield f"gateway.{name}", f"is {value}, which is reserved", "choose another id"
    if not table.log_key_file:
        yield "gateway.log_key_file", "is empty", "securenet key create writes a key; name it here"


def _host(key: str, host: str) -> Found:
    """What looking a name up asks first; it raises no OSError there."""
    try:
        host.encode("idna")
    except UnicodeError:
        yield key, "is no host name", "a label between two dots has 1 to 63 letters"


def _mqtt(table: MqttConfig) -> Found:
    if not table.host:
        yield "mqtt.host", "is empty", "name the broker, or set mqtt.enabled = false"
    yield from _host("mqtt.host", table.host)
    if bool(table.cert_file) != bool(table.key_file):
        alone, other = ("cert_file", "key_file") if table.cert_file else ("key_file", "cert_file")
        yield f"mqtt.{alone}", f"stands without {other}", "a client certificate needs both"
    if not table.tls:
        for name in ("ca_file", "cert_file", "key_file"):
            if getattr(table, name):
                yield f"mqtt.{name}", "is set, but tls is false", "set mqtt.tls = true, or remove it"
        if table.password_file and not is_loopback(table.host):
            yield (
                "mqtt.password_file",
                "would send the password in clear text to another machine",
                "set mqtt.tls = true, or use a broker on 127.0.0.1",
            )
    if table.password_file and not table.username:
        yield "mqtt.password_file", "stands without username", "set mqtt.username"
    if table.reconnect_min_s > table.reconnect_max_s:
        yield "mqtt.reconnect_min_s", "is above reconnect_max_s", "the first wait is the shortest"
    if not table.client_id.isprintable() or len(table.client_id.encode("utf-8", "replace")) > 65535:  # noqa: PLR2004 -- MQTT 5 §1.5.4
        yield "mqtt.client_id", "cannot be a client id", "at most 65535 bytes of printable text"


def _http(table: HttpConfig) -> Found:
    if not table.host:
        yield "http.host", "is empty", 'write "127.0.0.1"; a reverse proxy on this machine may show it to others'
    yield from _host("http.host", table.host)
    if table.token_file and not is_loopback(table.host):
        yield (
            "http.token_file",
            "would let the token cross the network in clear text",
            'bind http.host = "127.0.0.1" and put a reverse proxy with TLS before it, or leave the page read-only',
        )


def _coap(table: CoapConfig) -> Found:
    if not table.host:
        yield "coap.host", "is empty", 'write "::" to listen on every address'
    yield from _host("coap.host", table.host)
    seen: set[str] = set()
    for index, each in enumerate(table.observe):
        if each.uri in seen:
            yield f"coap.observe[{index}].uri", "is listed twice", "keep one of the entries"
        seen.add(each.uri)
    if table.observe and not table.enabled:
        yield "coap.observe", "is set, but coap is not enabled", "set coap.enabled = true, or remove it"


def _journal(table: JournalConfig) -> Found:
    if table.quarantine_bytes * 2 > table.budget_bytes:
        yield "journal.quarantine_bytes", "is more than half of budget_bytes", "evidence may not crowd out the log"


def _ingest(table: IngestConfig) -> Found:
    if table.batch_messages > table.queue_messages:
        yield "ingest.batch_messages", "is above queue_messages", "a batch cannot be larger than the queue it is from"


def _chain(table: ChainConfig) -> Found:
    for index, endpoint in enumerate(table.rpc):
        yield from _endpoint(f"chain.rpc[{index}]", endpoint)
    if len(set(table.rpc)) != len(table.rpc):
        yield "chain.rpc", "names an endpoint twice", "keep one of them"
    if not table.rpc:
        for name in ("chain_id", "registry", "anchor_log", "model_registry"):
            if getattr(table, name):
                yield f"chain.{name}", "is set, but no endpoint is", "name one in chain.rpc, or remove it"
        return
    if not table.chain_id:
        yield "chain.chain_id", "is missing", "ask the operator of the chain; securenet chain deploy prints it"
    for name in ("registry", "anchor_log"):
        if not getattr(table, name):
            yield f"chain.{name}", "is missing", "securenet chain deploy prints the addresses"
    if table.registry and table.registry.lower() == table.anchor_log.lower():
        yield "chain.anchor_log", "is the address of the registry", "they are two contracts"
    if table.model_registry and table.model_registry.lower() in {table.registry.lower(), table.anchor_log.lower()}:
        yield "chain.model_registry", "is the address of another contract", "securenet chain deploy prints its own"


def _endpoint(key: str, endpoint: str) -> Found:
    if endpoint.startswith("credential:"):
        return
    try:
        url = urlsplit(endpoint)
        sound = url.scheme in {"http", "https"} and bool(url.hostname) and endpoint.isprintable()
        secret = url.username is not None or url.password is not None
        _ = url.port
    except ValueError:
        sound = secret = False
    if not sound:
        yield key, "is no http:// or https:// URL", "write https://host:port/path, or credential:NAME"
    elif secret:
        yield key, "has a password in it", "put the whole URL into a credential and write credential:NAME"


def _anchor(table: AnchorConfig) -> Found:
    if table.min_interval_s > table.interval_s:
        yield "anchor.min_interval_s", "is above interval_s", "the shortest wait is the shorter one"
    for name in ("key_file", "passphrase_file"):
        if table.enabled and not getattr(table, name):
            yield f"anchor.{name}", "is empty", "securenet key create writes one; or set anchor.enabled = false"


def _ipfs(table: IpfsConfig) -> Found:
    for index, source in enumerate(table.sources):
        kind, colon, where = source.partition(":")
        name = f"ipfs.sources[{index}]"
        if kind in {"kubo", "gateway"} and colon:
            yield from _peer(name, where)
        elif kind == "car" and colon:
            if not where.startswith("/") or not where.isprintable():
                yield name, "is no absolute path", "write car:/path/to/file.car"
        elif source != "store":
            yield name, "is no source", "write store, car:/path, kubo:http://host:port or gateway:https://host"
    if len(set(table.sources)) != len(table.sources):
        yield "ipfs.sources", "names a source twice", "keep one of them"
    if table.publish:
        yield from _peer("ipfs.publish", table.publish)
    if table.block_timeout_s > table.file_timeout_s:
        yield "ipfs.block_timeout_s", "is above file_timeout_s", "a block takes no longer than its file"


def _models(table: ModelsConfig) -> Found:
    for index, name in enumerate(table.enabled):
        if re.fullmatch(ID, name) is None:
            yield f"models.enabled[{index}]", "is no model id", "1 to 64 of A-Z a-z 0-9 . _ : -"
    if len(set(table.enabled)) != len(table.enabled):
        yield "models.enabled", "names a model twice", "keep one of them"
    for index, key in enumerate(table.publishers):
        if re.fullmatch("(?:[0-9a-f]{64}|04[0-9a-f]{128})", key) is None:
            yield f"models.publishers[{index}]", "is no public key", "32 or 65 bytes in lower-case hex"


def _models_means(sound: Mapping[str, object]) -> Found:
    """What the models need of the other tables."""
    models, chain, gateway = (sound.get(name) for name in ("models", "chain", "gateway"))
    if not isinstance(models, ModelsConfig) or not models.enabled:
        return
    if isinstance(chain, ChainConfig) and not chain.model_registry:
        yield "models.enabled", "is set, but chain.model_registry is not", "securenet chain deploy prints the address"
    if isinstance(gateway, GatewayConfig) and not gateway.hpke_key_file:
        yield (
            "gateway.hpke_key_file",
            "is empty, but models are enabled",
            "securenet key create hpke writes one; name it here",
        )


def _peer(key: str, url: str) -> Found:
    """A URL that anyone may be shown: it goes into the log, and no password or query belongs there."""
    if url.startswith("credential:"):
        yield key, "is a credential", "write the URL itself: what is asked there is public"
        return
    faults = list(_endpoint(key, url))
    yield from ((key, problem, "write http://host:port or https://host") for key, problem, _ in faults)
    if not faults and set(url) & set("?#"):
        yield key, "has a query or a fragment", "name the base address alone"


def _transports(sound: Mapping[str, object]) -> Found:
    mqtt = sound.get("mqtt")
    coap = sound.get("coap")
    if isinstance(mqtt, MqttConfig) and isinstance(coap, CoapConfig) and not mqtt.enabled and not coap.enabled:
        yield "mqtt.enabled", "is false, and so is coap.enabled", "a gateway needs one transport at least"


_JUDGES: Final[Mapping[type, Callable[[Any], Found]]] = {
    GatewayConfig: _gateway,
    MqttConfig: _mqtt,
    CoapConfig: _coap,
    JournalConfig: _journal,
    IngestConfig: _ingest,
    ChainConfig: _chain,
    AnchorConfig: _anchor,
    IpfsConfig: _ipfs,
    ModelsConfig: _models,
    HttpConfig: _http,
}
