"""Asks the broker, as clients of our own that leave no trace: never under the gateway's client id.

What is published goes to a fleet that nobody has (``doctor-probe``) where it can, so that no gateway takes it for a
message, and is never retained.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.config.model import Config, MqttConfig
from gateway.doctor import acl, broker
from gateway.doctor.case import Account, Case
from gateway.doctor.command import output_of
from gateway.doctor.finding import Finding
from gateway.doctor.runner import aside
from gateway.ops.secrets import SecretError, read_optional_secret, secret_path
from gateway.transport.topics import receipt_topic, status_topic, up_filter

if TYPE_CHECKING:
    from mqttium.api import AsyncClient

PROBE_FLEET: Final = "doctor-probe"
_STEP_S: Final = 5.0
_HEARD_S: Final = 0.7
_KEPT_S: Final = 60
_MOSQUITTO_CONF: Final = ("etc/mosquitto/mosquitto.conf", "etc/mosquitto/conf.d")
_MAX_CONF: Final = 256 << 10
_REFUSED: Final = {4, 5, 0x86, 0x87, 0x8C}
_NOT_MQTT5: Final = {1, 0x84}


async def ask_broker(case: Case) -> list[Finding]:
    """Connect as the gateway would, twice, and read what the broker says of itself."""
    from mqttium.errors import MQTTError  # noqa: PLC0415 -- the client is loaded where a broker is asked

    from gateway.transport.mqtt_words import describe  # noqa: PLC0415 -- likewise

    config = case.sound
    where = f"{config.mqtt.host}:{config.mqtt.port}"
    try:
        account = await aside(own_account, config.mqtt)
        tls = await aside(tls_context, config.mqtt)
    except SecretError as fault:
        return [broker.SHEET.found("password-file", str(fault))]
    except (OSError, ValueError) as fault:  # ssl.SSLError is an OSError
        return [broker.SHEET.found("tls-files", f"the TLS files cannot be used: {type(fault).__name__}: {fault}")]
    try:
        facts = await _facts(config, account, tls)
    except (MQTTError, OSError) as fault:
        return [_refusal(fault, describe(fault), where, config.mqtt)]
    except TimeoutError:
        return [broker.SHEET.found("unreachable", f"{where} does not answer", broker=where)]
    found = broker.judge(config, facts)
    if broker.is_loopback(config.mqtt.host):
        found += await aside(_local_configuration, case.root, config.mqtt.port)
    return found


def own_account(config: MqttConfig) -> Account:
    """The gateway's account.

    Raises:
        SecretError: its password cannot be read.
    """
    return Account(config.username, read_optional_secret(config.password_file) or b"")


def tls_context(config: MqttConfig) -> ssl.SSLContext | None:
    """TLS as the gateway does it, None without.

    Raises:
        OSError, ValueError, SecretError: a file cannot be used.
    """
    if not config.tls:
        return None
    context = ssl.create_default_context(cafile=config.ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if config.cert_file:
        key = str(secret_path(config.key_file)) if config.key_file else None
        context.load_cert_chain(config.cert_file, key, password=lambda: b"-")
    return context


def _refusal(fault: Exception, words: str, where: str, config: MqttConfig) -> Finding:
    """What a connection that failed says of the broker."""
    code = getattr(fault, "reason_code", None)
    if code in _REFUSED:
        what = f"{where} refuses the account {config.username or '(none)'}: {words}"
        return broker.SHEET.found("login", what, account=config.username or "gateway")
    if code in _NOT_MQTT5:
        return broker.SHEET.found("not-mqtt5", f"{where}: {words}")
    cause = fault.__cause__ or fault
    if isinstance(cause, ssl.SSLError):
        return broker.SHEET.found("tls", f"{where}: {words}", broker=where)
    return broker.SHEET.found("unreachable", f"{where}: {words}", broker=where)


async def _facts(config: Config, account: Account, tls: ssl.SSLContext | None) -> broker.Facts:
    name, expiry = f"securenet-doctor-{secrets.token_hex(6)}", config.mqtt.session_expiry_s
    filters = [(up_filter(PROBE_FLEET, config.mqtt.share_group), 1)]
    version: list[str] = []
    async with _client(config.mqtt, account, tls, name, expiry) as (client, said):
        subscribed = await _subscribes(client, filters)
        await _version(client, version)
    async with _client(config.mqtt, account, tls, name, 0, clean=False) as (_client_again, again):
        kept = bool(again.session_present)
    told = version[0] if version else ""
    if not told and broker.is_loopback(config.mqtt.host):
        told = await _program_version()
    days = await _days_left(config.mqtt, tls) if tls is not None else None
    return broker.Facts(_connack(said.properties), kept, subscribed, told, days)


def _connack(properties: Any) -> broker.Connack:  # noqa: ANN401 -- mqttium's Properties, or None
    said = {} if properties is None else properties.values
    return broker.Connack(
        session_expiry_s=said.get("session_expiry_interval"),
        receive_maximum=said.get("receive_maximum", 65535),
        maximum_packet_bytes=said.get("maximum_packet_size"),
        maximum_qos=said.get("maximum_qos", 2),
        retain_available=bool(said.get("retain_available", 1)),
        shared_available=bool(said.get("shared_subscription_available", 1)),
        wildcard_available=bool(said.get("wildcard_subscription_available", 1)),
        keepalive_s=said.get("server_keep_alive"),
    )


@asynccontextmanager
async def _client(  # noqa: PLR0913 -- what a CONNECT has
    config: MqttConfig,
    account: Account | None,
    tls: ssl.SSLContext | None,
    client_id: str = "",
    expiry_s: int = 0,
    *,
    clean: bool = True,
) -> AsyncIterator[tuple[AsyncClient, Any]]:
    """One connection, and the CONNACK; disconnected in the end."""
    from mqttium import MQTTProtocolVersion  # noqa: PLC0415 -- loaded where a broker is asked
    from mqttium.api import AsyncClient  # noqa: PLC0415 -- likewise
    from mqttium.errors import MQTTError  # noqa: PLC0415 -- likewise
    from mqttium.types import Properties  # noqa: PLC0415 -- likewise

    client = AsyncClient(
        client_id or f"securenet-doctor-{secrets.token_hex(6)}",
        protocol=MQTTProtocolVersion.MQTTv5,
        clean_start=clean,
        keepalive=config.keepalive_s,
        username=(account.username or None) if account else None,
        password=(account.password or None) if account else None,
        connect_properties=Properties({"session_expiry_interval": expiry_s}),
        maximum_packet_size=1 << 20,
        reconnect=None,
    )
    try:
        said = await client.connect(config.host, config.port, ssl=tls, timeout=_STEP_S)
        yield client, said
    finally:
        with contextlib.suppress(MQTTError, OSError, TimeoutError):
            async with asyncio.timeout(1.0):
                await client.disconnect()


async def _subscribes(client: AsyncClient, filters: list[tuple[str, int]]) -> bool:
    from mqttium.errors import SubscribeError  # noqa: PLC0415 -- loaded where a broker is asked

    try:
        result = await client.subscribe(filters, timeout=_STEP_S)
    except SubscribeError:
        return False
    return all(code == 1 for code in result.reason_codes)


async def _version(client: AsyncClient, into: list[str]) -> None:
    """Read $SYS/broker/version, which is retained where the ACL lets us."""
    if not await _subscribes(client, [("$SYS/broker/version", 1)]):
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_HEARD_S):
            async for message in client.messages():
                if message.topic == "$SYS/broker/version":
                    into.append(bytes(message.payload[:200]).decode("ascii", "replace"))
                    return


async def _program_version() -> str:
    """What the mosquitto of this machine says of itself."""
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    said = await output_of([program, "-h"]) if program else None
    return "" if said is None else said.text.splitlines()[0][:200] if said.text else ""


async def _days_left(config: MqttConfig, tls: ssl.SSLContext) -> float | None:
    """How long the broker's certificate still holds; it was verified a moment ago."""
    _reader, writer = await asyncio.open_connection(config.host, config.port, ssl=tls)
    try:
        certificate = writer.get_extra_info("ssl_object").getpeercert()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    if not certificate:
        return None
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC)
    return (until.timestamp() - time.time()) / broker.DAY_S


def _local_configuration(root: Path, port: int) -> list[Finding]:
    """The mosquitto.conf of this machine, where there is one that we may read and that has our port."""
    main, folder = (root / name for name in _MOSQUITTO_CONF)
    try:
        files = [main, *sorted(folder.glob("*.conf"))]
        texts = [
            file.read_text(encoding="utf-8", errors="replace") for file in files if file.stat().st_size < _MAX_CONF
        ]
    except OSError:
        return []
    settings = broker.read_settings(texts)
    return broker.configuration(settings, str(main)) if broker.listens(settings, port) else []


async def ask_acl(case: Case) -> list[Finding]:
    """Try what strangers, the gateway's account and a device's account may do."""
    from mqttium.errors import MQTTError  # noqa: PLC0415 -- the client is loaded where a broker is asked

    config = case.sound
    mqtt = config.mqtt
    try:
        account, tls = await aside(own_account, mqtt), await aside(tls_context, mqtt)
        strangers = await aside(tls_context, replace(mqtt, cert_file="", key_file=""))
    except (SecretError, OSError, ValueError):
        return acl.judge(acl.Facts(anonymous=False, wrong_password=False, gateway=None))
    wrong = Account(mqtt.username or "gateway", secrets.token_hex(16).encode())
    by_certificate = bool(mqtt.cert_file)
    anonymous = await _lets_in(mqtt, None, strangers)
    wrong_password = not by_certificate and not anonymous and await _lets_in(mqtt, wrong, tls)
    try:
        gateway = await _gateway_rights(case, account, tls)
    except (MQTTError, OSError, TimeoutError):
        return acl.judge(acl.Facts(anonymous, wrong_password, None))
    device, refused = None, ""
    if case.device is not None:
        try:
            device = await _device_rights(config, case.device, account, tls)
        except (MQTTError, OSError, TimeoutError):
            refused = case.device.username
    return acl.judge(acl.Facts(anonymous, wrong_password, gateway, device, refused))


async def _lets_in(config: MqttConfig, account: Account | None, tls: ssl.SSLContext | None) -> bool:
    from mqttium.errors import MQTTError  # noqa: PLC0415 -- loaded where a broker is asked

    try:
        async with _client(config, account, tls):
            return True
    except (MQTTError, OSError, TimeoutError):
        return False


async def _may_publish(
    config: MqttConfig, account: Account, tls: ssl.SSLContext | None, topic: str, payload: bytes = b"doctor"
) -> bool | None:
    """Whether the broker takes a message there; on a connection of its own, for a second refusal ends one."""
    from mqttium.errors import MQTTError, PublishRejectedError  # noqa: PLC0415 -- loaded where a broker is asked

    async with _client(config, account, tls) as (client, _):
        try:
            async with asyncio.timeout(_STEP_S):
                await (await client.publish(topic, payload, qos=1)).wait()
        except PublishRejectedError:
            return False
        except TimeoutError:
            return None
        except MQTTError:
            return None if client.is_connected else False  # it hung up for it
    return True


async def _may_publish_in_either(
    config: Config, account: Account, tls: ssl.SSLContext | None, device: str, leaf: str
) -> bool | None:
    """In the probe's fleet, where it disturbs nobody; then in ours: an ACL may know our fleet alone.

    What our own fleet's topic takes, the gateway sees, and refuses as malformed.
    """
    topics = [f"securenet/v1/{fleet}/{device}/{leaf}" for fleet in (PROBE_FLEET, config.gateway.fleet)]
    allowed = await _may_publish(config.mqtt, account, tls, topics[0])
    return allowed if allowed is not False else await _may_publish(config.mqtt, account, tls, topics[1])


async def _gateway_rights(case: Case, account: Account, tls: ssl.SSLContext | None) -> acl.GatewayRights:
    config, other = case.sound, f"doctor-{secrets.token_hex(4)}"
    status = status_topic(config.gateway.fleet, config.gateway.id)
    truth = b"offline" if case.status is None else b"online"
    return acl.GatewayRights(
        publish_up=await _may_publish_in_either(config, account, tls, other, "up"),
        publish_receipt=await _may_publish_in_either(config, account, tls, other, "receipt"),
        publish_status=await _may_publish(config.mqtt, account, tls, status, truth),
    )


async def _device_rights(
    config: Config, device: Account, gateway: Account, tls: ssl.SSLContext | None
) -> acl.DeviceRights:
    name, other = device.username, f"doctor-{secrets.token_hex(4)}"
    return acl.DeviceRights(
        account=name,
        publish_own_up=await _may_publish_in_either(config, device, tls, name, "up"),
        publish_other_up=await _may_publish_in_either(config, device, tls, other, "up"),
        publish_other_receipt=await _may_publish_in_either(config, device, tls, other, "receipt"),
        read_other_receipt=await _reads(config, device, gateway, tls, other),
    )


async def _reads(
    config: Config, reader: Account, writer: Account, tls: ssl.SSLContext | None, other: str
) -> bool | None:
    """Whether another device's receipt reaches the reader: mosquitto grants every subscription, and filters later."""
    topics = {receipt_topic(fleet, other) for fleet in (PROBE_FLEET, config.gateway.fleet)}
    async with _client(config.mqtt, reader, tls) as (client, _):
        if not await _subscribes(client, [("securenet/v1/#", 1)]):
            return False
        if not await _may_publish_in_either(config, writer, tls, other, "receipt"):
            return None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_HEARD_S):
                async for message in client.messages():
                    if message.topic in topics:
                        return True
    return False
