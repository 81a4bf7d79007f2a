"""TLS to the broker: a certificate authority of our own, a client certificate, and what must be refused."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import mqtt_world as w
import pytest
from cryptography import x509
from mqtt_world import FakeIntake, publish, running, transport_to, until
from mqttium import MQTTProtocolVersion
from mqttium.api import AsyncClient
from mqttium.errors import PublishRejectedError
from support.certificates import Authority
from support.mosquitto import Mosquitto

from gateway.transport.mqtt_tls import TlsPaths, load, probe
from gateway.transport.port import LinkState

pytestmark = pytest.mark.broker
URN = "urn:dev:mac:0024befffe804ff1"


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    authority = Authority(tmp_path / "tls")
    authority.issue("broker", "broker", x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    authority.issue("client", "gateway")
    authority.issue("device", URN)
    Authority(tmp_path / "tls" / "other", "other authority")
    return tmp_path / "tls"


@pytest.fixture
def broker(tmp_path: Path, certificates: Path) -> Iterator[Mosquitto]:
    """The recommended configuration with TLS, and client certificates asked for on that listener."""
    each = Mosquitto(tmp_path / "mosquitto", accounts=w.DEVICES, tls=certificates)
    conf = each.folder / "mosquitto.conf"
    demand = "require_certificate true\nuse_identity_as_username true\ntls_version tlsv1.2"
    conf.write_text(conf.read_text().replace("tls_version tlsv1.2", demand))
    each.start()
    yield each
    each.kill()


def secured(folder: Path, broker: Mosquitto, **changes: object) -> dict[str, object]:
    settings = {
        "port": broker.tls_port,
        "tls": True,
        "ca_file": str(folder / "ca.crt"),
        "cert_file": str(folder / "client.crt"),
        "key_file": str(folder / "client.key"),
        "username": "",
    }
    return settings | changes


async def test_a_client_certificate_opens_the_link(broker: Mosquitto, certificates: Path, tmp_path: Path) -> None:
    intake = FakeIntake()
    async with running(transport_to(broker, tmp_path, **secured(certificates, broker)), intake):
        await publish(broker, 200, size=5000)
        await until(lambda: len(intake.taken) == 200)


async def test_a_device_whose_id_is_a_urn_speaks_for_itself_by_its_certificate(
    broker: Mosquitto, certificates: Path, tmp_path: Path
) -> None:
    """mosquitto's password file cannot hold a name with a colon; a certificate's common name can."""
    context = ssl.create_default_context(cafile=certificates / "ca.crt")
    context.load_cert_chain(certificates / "device.crt", certificates / "device.key")
    intake = FakeIntake()
    device = AsyncClient("device", protocol=MQTTProtocolVersion.MQTTv5)
    async with running(transport_to(broker, tmp_path, **secured(certificates, broker)), intake):
        await device.connect("127.0.0.1", broker.tls_port, ssl=context)
        await device.subscribe(f"securenet/v1/f/{URN}/receipt", qos=1)
        await device.publish(f"securenet/v1/f/{URN}/up", b"mine", qos=1)
        assert (await w.next_message(device)).payload == b"receipt of mine"
        foreign = await device.publish(f"securenet/v1/f/{w.DEVICE}/up", b"forged", qos=1)
        with pytest.raises(PublishRejectedError):
            await foreign.wait()
        await device.disconnect()
    assert [raw.device for raw in intake.taken] == [URN]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ca_file": "other/ca.crt"}, "the broker's certificate does not hold: self-signed certificate"),
        ({"ca_file": ""}, "the broker's certificate does not hold: "),
        ({"ca_file": "no/such/file"}, "the TLS files cannot be used: [Errno 2] No such file"),
        ({"cert_file": ""}, ""),
        ({"key_file": "broker.key"}, "KEY_VALUES_MISMATCH"),
        ({"key_file": "client.locked"}, "the TLS files cannot be used: "),
        ({"host": "127.0.0.2"}, "no connection: "),
        ({"tls": False}, ""),
    ],
)
async def test_a_link_that_cannot_be_trusted_is_down_with_its_reason(
    broker: Mosquitto, certificates: Path, tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    named = {
        key: str(certificates / str(value)) if key.endswith("_file") and value else value
        for key, value in changes.items()
    }
    transport = transport_to(broker, tmp_path, **secured(certificates, broker, **named))
    async with running(transport, FakeIntake(), up=False):
        await until(lambda: transport.status().state is LinkState.DOWN)
        assert says in transport.status().detail
        assert transport.counters()["connects"] == 0


async def test_a_certificate_for_another_host_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    authority.issue("broker", "broker", x509.DNSName("elsewhere.test"))
    each = Mosquitto(tmp_path / "mosquitto", tls=tmp_path / "tls").start()
    try:
        settings = {"port": each.tls_port, "tls": True, "ca_file": str(tmp_path / "tls" / "ca.crt")}
        transport = transport_to(each, tmp_path, **settings)
        async with running(transport, FakeIntake(), up=False):
            await until(lambda: transport.status().state is LinkState.DOWN)
            assert "does not hold: IP address mismatch" in transport.status().detail
            assert transport.counters()["connects"] == 0
    finally:
        each.kill()


async def test_a_trial_ends_its_connection_to_a_broker_that_falls_silent(certificates: Path) -> None:
    """TLS takes leave of both sides; who answers no leave would be kept for another 30 s."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / "broker.crt", certificates / "broker.key")
    listener = socket.create_server(("127.0.0.1", 0))

    def fall_silent() -> socket.socket:
        secured_side = context.wrap_socket(listener.accept()[0], server_side=True)
        return socket.socket(fileno=secured_side.detach())

    serving = asyncio.create_task(asyncio.to_thread(fall_silent))
    await probe("127.0.0.1", listener.getsockname()[1], load(TlsPaths(str(certificates / "ca.crt"), "", "")))
    with listener, await serving as silent:
        silent.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            while await asyncio.to_thread(silent.recv, 4096):
                pass
