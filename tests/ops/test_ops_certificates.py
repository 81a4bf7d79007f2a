"""Certificates end, and are renewed: what is told when, and a real broker whose link changes and loses nothing."""

import asyncio
import datetime as dt
import ipaddress
import ssl
import sys
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from support.certificates import Authority
from support.mosquitto import Mosquitto

from gateway.ops.certificates import (
    STAGES_DAYS,
    Certificate,
    CertificateWatch,
    Deadlines,
    certificate_files,
    read_certificates,
    stage_of,
)
from gateway.transport.mqtt_tls import BrokerTls, Look, TlsPaths, TlsRefused, digest_of
from gateway.transport.port import LinkState

sys.path.insert(0, str(Path(__file__).parents[1] / "transport_mqtt"))

import mqtt_world as w

DAY_MS = 86_400_000
NOW = 1_795_000_000_000


class DatedAuthority(Authority):
    """An authority whose certificates end when a test wants."""

    ends_in = dt.timedelta(days=90)

    def _builder(self, subject, key):
        now = dt.datetime.now(dt.UTC)
        begins = min(now, now + self.ends_in) - dt.timedelta(days=2)
        number = x509.random_serial_number()
        return x509.CertificateBuilder(self.name, subject, key.public_key(), number, begins, now + self.ends_in)


@pytest.mark.parametrize(
    ("left_ms", "stage"),
    [
        (31 * DAY_MS, None),
        (30 * DAY_MS, 30),
        (7 * DAY_MS + 1, 30),
        (7 * DAY_MS, 7),
        (DAY_MS, 1),
        (1, 1),
        (0, 0),
        (-DAY_MS, 0),
    ],
)
def test_the_stage_is_the_least_that_was_reached(left_ms, stage):
    assert stage_of(NOW + left_ms, NOW) == stage


@given(st.lists(st.integers(0, 40 * 24), min_size=1, max_size=60).map(sorted))
def test_each_stage_of_a_certificate_is_told_once_and_none_is_skipped_by_a_late_look(hours):
    certificate, deadlines = Certificate("mqtt-client", "c.pem", NOW + 35 * DAY_MS), Deadlines()
    told = []
    for hour in hours:
        told += [each.stage for each in deadlines.due([certificate], NOW + hour * 3_600_000)]
    assert told == sorted(set(told), reverse=True)
    last = stage_of(certificate.not_after_ms, NOW + hours[-1] * 3_600_000)
    assert (told[-1] if told else None) == last
    assert set(told) <= set(STAGES_DAYS)


def test_a_renewed_certificate_is_told_of_anew():
    deadlines = Deadlines()
    old, new = (Certificate("mqtt-client", "c.pem", NOW + days * DAY_MS) for days in (5, 95))
    assert [each.stage for each in deadlines.due([old], NOW)] == [7]
    assert deadlines.due([new], NOW) == []
    assert [each.stage for each in deadlines.due([new], NOW + 90 * DAY_MS)] == [7]


def test_a_file_that_holds_no_certificate_has_no_end(tmp_path):
    assert read_certificates("mqtt-client", str(tmp_path / "none")) is None
    (tmp_path / "bad").write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert read_certificates("mqtt-client", str(tmp_path / "bad")) is None


def test_of_authorities_the_last_to_end_counts_and_of_a_chain_the_first(tmp_path):
    for name, days in (("one", 10), ("two", 400)):
        DatedAuthority.ends_in = dt.timedelta(days=days)
        DatedAuthority(tmp_path / name)
    both = tmp_path / "both.pem"
    both.write_bytes((tmp_path / "one" / "ca.crt").read_bytes() + (tmp_path / "two" / "ca.crt").read_bytes())
    chain, authorities = (read_certificates(name, str(both)) for name in ("mqtt-client", "mqtt-ca"))
    assert 389 < (authorities.not_after_ms - chain.not_after_ms) / DAY_MS < 391


@pytest.fixture
def authority(tmp_path):
    DatedAuthority.ends_in = dt.timedelta(days=90)
    made = DatedAuthority(tmp_path / "tls")
    made.issue("broker", "broker", x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    made.issue("client", "gateway")
    return made


@pytest.fixture
def broker(tmp_path, authority):
    each = Mosquitto(tmp_path / "mosquitto", accounts=w.DEVICES, tls=authority.folder)
    conf = each.folder / "mosquitto.conf"
    demand = "require_certificate true\nuse_identity_as_username true\ntls_version tlsv1.3"
    conf.write_text(conf.read_text().replace("tls_version tlsv1.2", demand))
    each.start()
    yield each
    each.kill()


@pytest.fixture
def transport(broker, authority, tmp_path):
    folder = authority.folder
    files = {"ca_file": folder / "ca.crt", "cert_file": folder / "client.crt", "key_file": folder / "client.key"}
    settings = {"port": broker.tls_port, "tls": True, "username": ""}
    return w.transport_to(broker, tmp_path, **settings, **{name: str(path) for name, path in files.items()})


def watch_of(transport, *, trusted=True):
    return CertificateWatch(
        lambda: certificate_files(transport._config),
        transport,
        wall_ms=lambda: round(dt.datetime.now(dt.UTC).timestamp() * 1000),
        clock_trusted=lambda: trusted,
    )


def names(logs):
    return [each["event"] for each in logs if each["event"].startswith(("certificate.", "mqtt."))]


@pytest.mark.broker
async def test_a_renewed_pair_is_taken_up_under_traffic_and_nothing_is_lost(broker, authority, transport):
    watch, intake = watch_of(transport), w.FakeIntake()
    async with w.running(transport, intake):
        sending = asyncio.create_task(w.publish(broker, 3000, size=200))
        for renewals in range(1, 4):
            await asyncio.sleep(0.1)
            DatedAuthority.ends_in = dt.timedelta(days=90 + renewals)
            authority.issue("client", "gateway")
            await watch.look()
            assert watch.renewed == renewals
            assert transport.status().state is LinkState.UP
        await sending
        await w.until(lambda: len(set(intake.payloads)) == 3000)
        assert transport.counters()["connects"] == 4
        assert transport.counters()["connect_failures"] == 0
    by_name = {each["name"]: each for each in watch.status()}
    assert set(by_name) == {"mqtt-ca", "mqtt-client", "mqtt-broker"}
    assert 92 < (by_name["mqtt-client"]["not_after_ms"] / 1000 - dt.datetime.now(dt.UTC).timestamp()) / 86400 < 94


@pytest.mark.broker
async def test_a_pair_that_does_not_hold_is_told_once_and_the_link_stays(broker, authority, transport):
    watch, intake = watch_of(transport), w.FakeIntake()
    async with w.running(transport, intake):
        key = authority.folder / "client.key"
        good = key.read_bytes()
        key.write_bytes((authority.folder / "broker.key").read_bytes())
        with capture_logs() as logs:
            await watch.look(again_s=0.01)
            await watch.look(again_s=0.01)
            await w.publish(broker, 50)
            await w.until(lambda: len(intake.taken) == 50)
            assert "KEY_VALUES_MISMATCH" in watch.warnings()[0]
            key.write_bytes(good)
            await watch.look(again_s=0.01)
        assert names(logs) == ["certificate.refused"]
        assert watch.warnings() == []
        assert transport.counters()["connects"] == 1


@pytest.mark.broker
async def test_the_task_looks_when_it_is_woken_and_not_before(broker, authority, transport):
    watch = watch_of(transport)
    async with w.running(transport, w.FakeIntake()):
        running = asyncio.create_task(watch.run())
        await asyncio.sleep(0.3)
        DatedAuthority.ends_in = dt.timedelta(days=100)
        authority.issue("client", "gateway")
        await asyncio.sleep(0.3)
        assert watch.renewed == 0
        watch.wake()
        await w.until(lambda: watch.renewed == 1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


@pytest.mark.broker
async def test_a_half_written_renewal_is_waited_for(broker, authority, transport):
    watch = watch_of(transport)
    async with w.running(transport, w.FakeIntake()):
        old_key = (authority.folder / "client.key").read_bytes()
        authority.issue("client", "gateway")
        new_key = (authority.folder / "client.key").read_bytes()
        (authority.folder / "client.key").write_bytes(old_key)
        looking = asyncio.create_task(watch.look(again_s=0.5))
        await asyncio.sleep(0.2)
        (authority.folder / "client.key").write_bytes(new_key)
        with capture_logs() as logs:
            await looking
        assert "certificate.refused" not in names(logs)
        assert watch.renewed == 1


@pytest.mark.broker
async def test_a_pair_that_the_broker_does_not_take_is_tried_beside_the_link_and_not_taken_up(
    broker, authority, transport
):
    watch, intake = watch_of(transport), w.FakeIntake()
    async with w.running(transport, intake):
        DatedAuthority.ends_in = dt.timedelta(days=-1)
        authority.issue("client", "gateway")
        with capture_logs() as logs:
            await watch.look(again_s=0.01)
        assert "certificate.refused" in names(logs)
        assert [(each["days"], each["name"]) for each in logs if each["event"] == "certificate.expires"] == [
            (0, "mqtt-client")
        ]
        assert transport.status().state is LinkState.UP
        assert transport.counters()["connects"] == 1


@pytest.mark.broker
async def test_an_expired_client_certificate_is_told_and_its_renewal_mends_the_link_by_itself(
    broker, authority, transport
):
    DatedAuthority.ends_in = dt.timedelta(days=-1)
    authority.issue("client", "gateway")
    watch, intake = watch_of(transport), w.FakeIntake()
    async with w.running(transport, intake, up=False):
        await w.until(lambda: transport.status().state is LinkState.DOWN)
        with capture_logs() as logs:
            await watch.look()
        (told,) = [each for each in logs if each["event"] == "certificate.expires"]
        assert (told["days"], told["name"]) == (0, "mqtt-client")
        assert "has expired" in " ".join(watch.warnings())
        DatedAuthority.ends_in = dt.timedelta(days=90)
        authority.issue("client", "gateway")
        await w.until(lambda: transport.status().state is LinkState.UP)
        await watch.look()
        assert watch.warnings() == []


@pytest.mark.broker
async def test_by_a_clock_that_is_not_believed_no_end_is_told(broker, authority, transport):
    DatedAuthority.ends_in = dt.timedelta(days=-1)
    authority.issue("client", "gateway")
    watch = watch_of(transport, trusted=False)
    with capture_logs() as logs:
        await watch.look(again_s=0.01)
    assert "certificate.expires" not in names(logs)
    assert watch.warnings() == []


@pytest.mark.broker
async def test_settings_that_do_not_work_leave_the_link_as_it_was(broker, authority, transport):
    intake = w.FakeIntake()
    old = transport._config
    other = Authority(authority.folder / "other", "other authority")
    for change in ({"ca_file": str(other.folder / "ca.crt")}, {"port": 1}, {"cert_file": "/none"}, {"cert_file": ""}):
        async with w.running(w.transport_to(broker, authority.folder, **_plain(old)), intake) as link:
            with pytest.raises(TlsRefused):
                await link.change(_changed(old, **change), password=None, tls_key_file=old.key_file)
            assert link.status().state is LinkState.UP
            assert link._config == old
            assert await link.renew() is Look.SAME


@pytest.mark.broker
async def test_a_wrong_password_is_rolled_back(broker, tmp_path):
    intake = w.FakeIntake()
    async with w.running(w.transport_to(broker, tmp_path), intake) as link:
        with pytest.raises(TlsRefused, match=r"bad user name or password|not authorized"):
            await link.change(link._config, password=b"wrong", tls_key_file="")
        await w.until(lambda: link.status().state is LinkState.UP)
        await link.change(_changed(link._config, keepalive_s=30), password=link._password, tls_key_file="")
        await w.publish(broker, 20)
        await w.until(lambda: len(intake.taken) == 20)
        assert link._config.keepalive_s == 30


def _changed(config, **changes):
    return w.dataclasses.replace(config, **changes)


def _plain(config):
    return {field.name: getattr(config, field.name) for field in w.dataclasses.fields(config)}


def test_the_file_reading_refuses_what_is_too_large(tmp_path):
    (tmp_path / "big").write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(TlsRefused, match="larger"):
        digest_of(TlsPaths(str(tmp_path / "big"), "", ""))
    with pytest.raises((OSError, ssl.SSLError)):
        BrokerTls(TlsPaths(str(tmp_path / "none"), "", "")).context()
