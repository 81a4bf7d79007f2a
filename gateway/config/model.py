"""The configuration as frozen data: every key with its default, unit, bounds and reason.

These classes are the single source: the loader checks a TOML file against them, and
``config/gateway.example.toml`` is printed from them. Units stand in the names (``_s``, ``_ms``, ``_bytes``).
Secrets are never here: keys that end in ``_file`` name a file, or a systemd credential by ``credential:NAME``.
"""

# ruff: noqa: RUF009 -- ``key`` is ``dataclasses.field`` with a name for each fact

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def key(  # noqa: PLR0913 -- one argument for each fact about a key
    doc: str,
    default: Any = ...,  # noqa: ANN401 -- a default has the type of its field
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | None = None,
    pattern: str | None = None,
) -> Any:  # noqa: ANN401 -- dataclasses.field is typed so
    """Declare one key: what it is for, its default (none: the key is required) and its bounds."""
    metadata = {"doc": doc, "low": low, "high": high, "choices": choices, "pattern": pattern}
    if default is ...:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


ID = r"[A-Za-z0-9._:-]{1,64}"
FLEET = r"[A-Za-z0-9._:-]{1,32}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """Who this gateway is, and where it keeps what it must not lose."""

    id: str = key("This gateway's id; with the fleet it names the log: securenet/<fleet>/<id>.", pattern=ID)
    fleet: str = key("The fleet whose devices are served; messages for another fleet are refused.", pattern=FLEET)
    data_dir: Path = key("Journal, replay state, quarantine and log.", Path("/var/lib/securenet"))
    log_key_file: str = key(
        "Ed25519 private key (PKCS#8 PEM) that signs receipts and checkpoints: a path, or credential:NAME.",
        "credential:log-key",
    )
    hpke_key_file: str = key(
        "Private key that models are wrapped for, X25519 (PKCS#8 PEM) or hybrid: a path, or credential:NAME; "
        "empty: none.",
        "",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryConfig:
    """Which devices and miners exist: by file, or by the chain when [chain] names an endpoint."""

    file: Path = key(
        "JSON Lines of devices and miners; read at start and on SIGHUP. Not read when [chain] rpc is set.",
        Path("/etc/securenet/registry.jsonl"),
    )
    max_age_s: int = key(
        "With a chain: nothing is accepted (registry-stale) when the registry was last seen so long ago.",
        14400,
        low=10,
        high=30 * 86400,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainConfig:
    """The EVM chain that says who is registered, and keeps the anchors."""

    rpc: tuple[str, ...] = key(
        "JSON-RPC endpoints in the order of preference: URLs, or credential:NAME for a URL with a key in it; "
        "empty: no chain.",
        (),
    )
    chain_id: int = key("The chain that every endpoint must serve (EIP-155).", 0, low=0, high=2**53 - 1)
    registry: str = key("Address of IdentityRegistry.", "", pattern=r"(0x[0-9a-fA-F]{40})?")
    anchor_log: str = key("Address of AnchorLog.", "", pattern=r"(0x[0-9a-fA-F]{40})?")
    model_registry: str = key(
        "Address of ModelRegistry; empty: no models come by the chain.", "", pattern=r"(0x[0-9a-fA-F]{40})?"
    )
    deploy_block: int = key("The block that IdentityRegistry was deployed in, or one before it.", 0, low=0)
    finality: str = key(
        "What is final: the chain's finalized tag, or so many confirmations.",
        "finalized",
        choices=("finalized", "confirmations"),
    )
    confirmations: int = key("Blocks on top that make a block final, when confirmations are what counts.", 12, low=1)
    poll_s: float = key("How often the chain is looked at.", 6.0, low=0.1, high=600)
    timeout_s: float = key("One request to an endpoint may take so long.", 10.0, low=0.5, high=120)
    max_head_age_s: int = key(
        "An endpoint whose newest block is older is passed over; well above the chain's longest gap.",
        900,
        low=5,
        high=86400,
    )
    requests_per_s: float = key("Requests to one endpoint, sustained; a burst of four times it.", 20.0, low=0.1)
    logs_blocks: int = key("Blocks asked for events at once; halved when an endpoint refuses.", 5000, low=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorConfig:
    """How the log's checkpoints come to the chain."""

    enabled: bool = key("Anchor checkpoints, when [chain] names an endpoint.", default=True)
    key_file: str = key(
        "The anchoring account: Web3 keystore V3, a path or credential:NAME.", "credential:anchoring-key"
    )
    passphrase_file: str = key("Its passphrase: a path, or credential:NAME.", "credential:anchoring-passphrase")
    interval_s: float = key("A log that has grown is anchored this often.", 600.0, low=1, high=86400)
    entries: int = key("Sooner, when it has grown by so many entries; 0: never sooner.", 0, low=0)
    min_interval_s: float = key("But never sooner than this after the anchor before.", 10.0, low=0.1, high=86400)
    replace_after_s: float = key(
        "A transaction that is not mined in this time is replaced: newest checkpoint, fee +12.5 %.",
        60.0,
        low=0.1,
        high=86400,
    )
    max_fee_gwei: float = key(
        "The most that is paid for a unit of gas; above it anchoring waits.", 100.0, low=1e-9, high=1e9
    )
    priority_fee_gwei: float = key(
        "Tip for a unit of gas on EIP-1559 chains; the chain's own wish if lower.", 2.0, low=0
    )
    gas_limit: int = key("Gas allowed for one anchor transaction.", 120_000, low=60_000, high=10_000_000)
    legacy_gas: str = key(
        "auto: EIP-1559 where blocks have a base fee; always: gasPrice transactions.",
        "auto",
        choices=("auto", "always"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class IpfsConfig:
    """Where the blocks of model bundles come from; no source is trusted, every block is hashed."""

    sources: tuple[str, ...] = key(
        "Asked in this order: store (the local block store), car:/path (a CAR file), kubo:http://host:port (the RPC "
        "of a Kubo node), gateway:https://host (a trustless gateway).",
        ("store",),
    )
    publish: str = key(
        "RPC of the Kubo node that published bundles are added to, besides the local store: http://host:port; "
        "empty: none.",
        "",
    )
    block_store: str = key(
        "Directory of the local block store; empty: blocks, below gateway.data_dir, where it counts towards "
        "journal.budget_bytes and takes a quarter of that at most.",
        "",
    )
    store_bytes: int = key(
        "The local block store stays below this; blocks unused for longest go first.", 1 << 30, low=4 << 20
    )
    max_bytes: int = key("A larger file is not fetched.", 256 << 20, low=1 << 10, high=1 << 40)
    block_timeout_s: float = key("A source that gives no block in this time rests.", 20.0, low=0.1, high=600)
    file_timeout_s: float = key(
        "Asking for one file takes no longer; each source has an equal share of it.", 600.0, low=1, high=86400
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsConfig:
    """Which models of the chain's registry run here, and when they are refused."""

    enabled: tuple[str, ...] = key("Ids of the models to run; they need [chain] model_registry; at most 16.", ())
    max_bytes: int = key(
        "A larger model is refused; each that runs is held in memory twice.", 64 << 20, low=1 << 10, high=1 << 30
    )
    freeze_after_s: int = key(
        "No new version is loaded while the chain's newest final block is older; well above its usual time to "
        "finality.",
        7200,
        low=30,
        high=30 * 86400,
    )
    publishers: tuple[str, ...] = key(
        "Public keys (hex) that manifests may be signed with; empty: those that the chain names.", ()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttConfig:
    """The broker that the fleet publishes to."""

    enabled: bool = key("Take messages over MQTT.", default=True)
    host: str = key("Broker host name or address.", "127.0.0.1")
    port: int = key("Broker port; 8883 is usual with TLS.", 1883, low=1, high=65535)
    client_id: str = key("MQTT client id; empty: securenet-<gateway id>. It names the persistent session.", "")
    username: str = key("Broker account; empty: none.", "")
    password_file: str = key("File or credential:NAME with the password; empty: none.", "")
    tls: bool = key("Connect with TLS.", default=False)
    ca_file: str = key("CA certificates (PEM) the broker is checked against; empty: the system's.", "")
    cert_file: str = key("Client certificate (PEM); empty: none.", "")
    key_file: str = key("Client private key (PEM): a path, or credential:NAME; empty: none.", "")
    keepalive_s: int = key("A silent link is noticed after one and a half times this.", 15, low=2, high=3600)
    session_expiry_s: int = key(
        "How long the broker keeps our session and its messages.", 7 * 86400, low=60, high=2**32 - 2
    )
    receive_maximum: int = key(
        "Messages the broker may have in flight to us: the back-pressure.", 1024, low=1, high=65535
    )
    share_group: str = key(
        "Group of a shared subscription, for several workers; empty: none.",
        "",
        pattern=r"[A-Za-z0-9._-]{0,64}",
    )
    reconnect_min_s: float = key("First wait before a reconnect; doubles with jitter.", 0.5, low=0.05, high=60)
    reconnect_max_s: float = key("Longest wait before a reconnect.", 30.0, low=1, high=3600)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserveConfig:
    """One CoAP resource, served by a device, that the gateway observes (RFC 7641)."""

    uri: str = key("coap:// URI of the resource; each notification is one envelope.", pattern=r"coaps?://\S+")
    device: str = key("The device that is expected there; another kid is identity-mismatch.", pattern=ID)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoapConfig:
    """The CoAP server."""

    enabled: bool = key("Take messages over CoAP.", default=True)
    host: str = key("Address to bind; :: takes IPv4 and IPv6.", "::")
    port: int = key("UDP port.", 5683, low=1, high=65535)
    oscore_file: str = key("OSCORE contexts (aiocoap credentials, JSON): a path, or credential:NAME; empty: off.", "")
    reply_timeout_s: float = key("After this without durability the answer is 5.03.", 20.0, low=1, high=90)
    observe: tuple[ObserveConfig, ...] = key("Resources to observe.", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsConfig:
    """What one peer, device or message may cost."""

    message_bytes: int = key(
        "Larger messages are too-large, before anything is parsed.", 65536, low=256, high=1 << 20
    )
    device_rate_per_s: float = key("Bucket B, per device: sustained messages a second.", 20.0, low=0.001, high=1e6)
    device_burst: int = key("Bucket B: messages at once.", 200, low=1, high=1_000_000)
    mqtt_peer_rate_per_s: float = key("Bucket A on MQTT (the topic's device).", 40.0, low=0.001, high=1e6)
    mqtt_peer_burst: int = key("Bucket A on MQTT: messages at once.", 400, low=1, high=1_000_000)
    coap_peer_rate_per_s: float = key("Bucket A on CoAP (the source address).", 500.0, low=0.001, high=1e6)
    coap_peer_burst: int = key(
        "Bucket A on CoAP: messages at once; over half of it an Echo is asked for.",
        5000,
        low=2,
        high=1_000_000,
    )
    peers: int = key(
        "Peers that are remembered at a time; the bound of bucket A's table.", 65536, low=16, high=1 << 22
    )
    max_age_s: int = key("Older messages are too-old.", 86400, low=1, high=10 * 365 * 86400)
    max_ahead_s: int = key("Messages further ahead are in-future.", 300, low=0, high=86400)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestConfig:
    """The loop that joins the rooms."""

    batch_messages: int = key("Messages decided and committed together at most.", 256, low=1, high=4096)
    queue_messages: int = key("Messages that may wait for the loop, over all transports.", 4096, low=16, high=1 << 20)
    queue_bytes: int = key(
        "Bytes that may wait for the loop, for each kind of transport.", 32 << 20, low=1 << 20, high=1 << 30
    )
    linger_ms: int = key("How long a group may wait to grow before it is committed.", 8, low=0, high=1000)
    shutdown_s: float = key("Time to drain, commit, acknowledge and close at a stop.", 20.0, low=1, high=300)
    replay_cache_devices: int = key(
        "Replay windows held in memory; the others are read when needed.", 20000, low=16, high=1 << 20
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalConfig:
    """The store, in bytes."""

    budget_bytes: int = key("Everything in data_dir, quarantine included, stays below this.", 4 << 30, low=16 << 20)
    quarantine_bytes: int = key("Refused messages kept as evidence; the oldest go first.", 64 << 20, low=64 << 10)
    retention_s: int = key("Messages younger than this are never dropped.", 7 * 86400, low=0)
    drop_unanchored: bool = key(
        "Whether messages past retention may be dropped although no chain holds their root. Without it a full "
        "journal pushes back until the operator makes room.",
        default=False,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """The Merkle log's outside."""

    checkpoint_interval_s: float = key("A grown log is signed anew this often.", 5.0, low=0.1, high=3600)
    rejections_interval_s: float = key("Refusals are summarised into the log this often.", 60.0, low=60, high=86400)
    publish_dir: str = key("Directory for tiles and checkpoint, for a static web server; empty: none.", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggingConfig:
    """What the technician reads."""

    level: str = key("debug, info, warning or error.", "info", choices=("debug", "info", "warning", "error"))
    format: str = key(
        "journald for its native fields, json for lines, pretty for a terminal, auto to choose.",
        "auto",
        choices=("auto", "journald", "json", "pretty"),
    )
    bytes_per_hour: int = key(
        "What is written an hour at most, whatever happens; what is beyond is counted, not written.",
        8 << 20,
        low=64 << 10,
        high=1 << 30,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConfig:
    """Health, metrics and the status page."""

    enabled: bool = key("Serve /healthz, /readyz, /metrics and the status page.", default=True)
    host: str = key("Address to bind; another than loopback shows the page to the network.", "127.0.0.1")
    port: int = key("TCP port; 0: any that is free (securenet status says which).", 8470, low=0, high=65535)
    allowed_hosts: tuple[str, ...] = key(
        "Names a browser may ask for besides localhost and the address that is bound: those of a reverse proxy.", ()
    )
    token_file: str = key(
        "File or credential:NAME with the token (32 characters or more) that unlocks the page's actions; "
        "empty: read-only.",
        "",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockConfig:
    """When the wall clock is believed."""

    trust: str = key(
        "kernel: when the kernel calls it synchronised; always: without asking; auto: as kernel, but a machine that "
        "nothing synchronises is believed while its clock is not behind what the gateway knows to be past.",
        "auto",
        choices=("auto", "kernel", "always"),
    )
    step_s: float = key(
        "A wall clock that jumps by more than this against the monotonic one has stepped, and that is told.",
        5.0,
        low=0.5,
        high=3600,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole file."""

    gateway: GatewayConfig
    registry: RegistryConfig = field(default_factory=RegistryConfig)
    chain: ChainConfig = field(default_factory=ChainConfig)
    anchor: AnchorConfig = field(default_factory=AnchorConfig)
    ipfs: IpfsConfig = field(default_factory=IpfsConfig)
    models: ModelsConfig = field(default_factory=ModelsConfig)
    mqtt: MqttConfig = field(default_factory=MqttConfig)
    coap: CoapConfig = field(default_factory=CoapConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    ingest: IngestConfig = field(default_factory=IngestConfig)
    journal: JournalConfig = field(default_factory=JournalConfig)
    log: LogConfig = field(default_factory=LogConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    http: HttpConfig = field(default_factory=HttpConfig)
    clock: ClockConfig = field(default_factory=ClockConfig)

    @property
    def origin(self) -> str:
        """The log's name: checkpoint origin, note key name and receipt ``kid`` (FORMATS.md §5)."""
        return f"securenet/{self.gateway.fleet}/{self.gateway.id}"
