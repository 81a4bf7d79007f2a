"""The checks of the broker and its ACL, against a real mosquitto: on our configuration, and on worse ones."""

import asyncio
import ipaddress
import subprocess

import pytest
from cryptography import x509
from support.certificates import Authority
from support.mosquitto import Mosquitto, free_port

from gateway.doctor.broker import read_settings
from gateway.doctor.case import Account
from gateway.doctor.table import BY_NAME

DEVICE = "pump-7"
pytestmark = pytest.mark.broker


class Worse(Mosquitto):
    """A broker whose configuration somebody changed: lines by their first word, and the ACL."""

    def __init__(self, folder, settings=(), acl=None, tls=None):
        super().__init__(folder, {DEVICE: "pump-secret"}, tls)
        path = folder / "mosquitto.conf"
        lines = path.read_text().splitlines()
        for word, value in dict(settings).items():
            lines = [line for line in lines if line.split(" ")[0] != word]
            lines += [] if value is None else [f"{word} {value}"]
        path.write_text("\n".join(lines) + "\n")
        if acl is not None:
            (folder / "acl").write_text(acl)


@pytest.fixture
def broker(tmp_path):
    running = []

    def start(**changes):
        running.append(Worse(tmp_path / f"broker-{len(running)}", **changes).start())
        return running[-1]

    yield start
    for each in running:
        each.kill()


@pytest.fixture
def mqtt_case(case_of, tmp_path):
    def make(port, password="gateway-secret", more="", top="", **changes):
        file = tmp_path / "mqtt-password"
        file.write_text(password + "\n")
        file.chmod(0o600)
        section = f'[mqtt]\nport = {port}\nusername = "gateway"\npassword_file = "{file}"\n{more}\n'
        return case_of(top + section, root=tmp_path, **changes)

    return make


DEVICE_ACCOUNT = Account(DEVICE, b"pump-secret")


async def test_our_own_configuration_is_sound(broker, mqtt_case, ask):
    port = broker().port
    found = await ask(mqtt_case(port), "broker")
    assert set(found) <= {"broker.ok", "broker.known-quirk", "broker.version-unknown"}
    found = await ask(mqtt_case(port, device=DEVICE_ACCOUNT), "acl")
    assert set(found) == {"acl.ok"}, found


async def test_asking_leaves_no_session_and_no_retained_message(broker, mqtt_case, ask):
    running = broker(
        acl="user gateway\ntopic read $SYS/#\ntopic readwrite securenet/#\n", settings={"sys_interval": "1"}
    )
    await ask(mqtt_case(running.port), "broker")
    await ask(mqtt_case(running.port), "acl")
    await asyncio.sleep(2.2)
    listen = [
        "mosquitto_sub",
        "-p",
        str(running.port),
        "-u",
        "gateway",
        "-P",
        "gateway-secret",
        "-V",
        "5",
        "-W",
        "1",
        "-v",
    ]
    process = await asyncio.create_subprocess_exec(
        *listen, "-t", "$SYS/broker/clients/disconnected", "-t", "securenet/#", stdout=subprocess.PIPE
    )
    said = (await process.communicate())[0].decode()
    assert "securenet/" not in said
    assert "$SYS/broker/clients/disconnected 0" in said


async def test_the_version_is_read_where_the_acl_lets_us(broker, mqtt_case, ask):
    running = broker(
        acl="user gateway\ntopic read $SYS/#\ntopic readwrite securenet/#\n", settings={"sys_interval": "1"}
    )
    found = await ask(mqtt_case(running.port), "broker")
    assert "broker.version-unknown" not in found
    told = subprocess.run([running.program, "-h"], capture_output=True, text=True, check=False).stdout.split()[2]
    quirks = [each for each in found.values() if "version" in each.details]
    assert all(
        told.startswith(str(each.details["version"])) or told in str(each.details["version"]) for each in quirks
    )


async def test_nobody_there(mqtt_case, ask):
    found = await ask(mqtt_case(free_port()), "broker")
    assert set(found) == {"broker.unreachable"}
    found = await ask(mqtt_case(free_port()), "acl")
    assert "acl.not-asked" in found


async def test_a_wrong_password(broker, mqtt_case, ask):
    found = await ask(mqtt_case(broker().port, "another"), "broker")
    assert set(found) == {"broker.login"}
    assert "another" not in str(found)
    assert "mosquitto_passwd" in found["broker.login"].remedy


async def test_a_password_file_that_others_may_read(broker, mqtt_case, ask, tmp_path):
    case = mqtt_case(broker().port)
    (tmp_path / "mqtt-password").chmod(0o644)
    assert set(await ask(case, "broker")) == {"broker.password-file"}


async def test_packets_that_are_too_small_for_our_messages(broker, mqtt_case, ask):
    found = await ask(mqtt_case(broker(settings={"max_packet_size": "20000"}).port), "broker")
    assert found["broker.packet-small"].details["wanted"] == 65536 + 4096


async def test_a_broker_that_lets_in_everybody(broker, mqtt_case, ask):
    running = broker(settings={"allow_anonymous": "true", "password_file": None, "acl_file": None})
    found = await ask(mqtt_case(running.port, device=DEVICE_ACCOUNT), "acl")
    assert {"acl.anonymous", "acl.gateway-may-publish-up", "acl.device-for-another"} <= set(found)
    assert {"acl.device-answers", "acl.device-reads-others"} <= set(found)


async def test_a_broker_with_accounts_and_without_an_acl(broker, mqtt_case, ask):
    found = await ask(mqtt_case(broker(settings={"acl_file": None}).port, device=DEVICE_ACCOUNT), "acl")
    assert "acl.anonymous" not in found
    assert "acl.any-password" not in found
    assert {"acl.gateway-may-publish-up", "acl.device-for-another", "acl.device-reads-others"} <= set(found)


async def test_an_acl_that_knows_our_fleet_alone_and_is_too_wide_there(broker, mqtt_case, ask):
    acl = "pattern readwrite securenet/v1/plant/+/up\nuser gateway\ntopic readwrite securenet/v1/plant/#\n"
    found = await ask(mqtt_case(broker(acl=acl).port, device=DEVICE_ACCOUNT), "acl")
    assert {"acl.device-for-another", "acl.gateway-may-publish-up"} <= set(found)
    assert "acl.device-not-at-home" not in found


async def test_an_acl_that_keeps_the_gateway_from_answering(broker, mqtt_case, ask):
    acl = "pattern write securenet/v1/+/%u/up\nuser gateway\ntopic read securenet/v1/+/+/up\n"
    found = await ask(mqtt_case(broker(acl=acl).port), "acl")
    assert {"acl.gateway-may-not-answer", "acl.gateway-may-not-tell"} <= set(found)
    assert "acl.gateway-may-publish-up" not in found


async def test_an_acl_that_keeps_the_device_from_its_own_topic(broker, mqtt_case, ask):
    acl = (
        "user gateway\ntopic read securenet/v1/+/+/up\ntopic write securenet/v1/+/+/receipt/#\n"
        "topic write securenet/v1/+/gateway/+/status\n"
    )
    found = await ask(mqtt_case(broker(acl=acl).port, device=DEVICE_ACCOUNT), "acl")
    assert set(found) == {"acl.device-not-at-home"}


async def test_a_device_account_that_does_not_hold(broker, mqtt_case, ask):
    found = await ask(mqtt_case(broker().port, device=Account(DEVICE, b"wrong")), "acl")
    assert "acl.device-refused" in found


async def test_tls_and_its_chain(broker, mqtt_case, ask, tmp_path):
    ours = Authority(tmp_path / "tls")
    ours.issue("broker", "localhost", x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost"))
    Authority(tmp_path / "other", "another authority")
    running = broker(tls=tmp_path / "tls")
    tls = f'tls = true\nca_file = "{tmp_path}/tls/ca.crt"'
    found = await ask(mqtt_case(running.tls_port, more=tls), "broker")
    ends = {"broker.certificate-expires", "broker.certificate-expired-soon"} & set(found)
    assert len(ends) == 1, found  # it is valid for a day
    assert "broker.tls" not in found
    other = tls.replace("/tls/", "/other/")
    assert set(await ask(mqtt_case(running.tls_port, more=other), "broker")) == {"broker.tls"}
    missing = tls.replace("/tls/", "/nowhere/")
    assert set(await ask(mqtt_case(running.tls_port, more=missing), "broker")) == {"broker.tls-files"}
    assert set(await ask(mqtt_case(running.tls_port), "broker")) == {"broker.unreachable"}  # plain to a TLS port
    found = await ask(mqtt_case(running.tls_port, more=tls, device=DEVICE_ACCOUNT), "acl")
    assert set(found) == {"acl.ok"}


async def test_strangers_are_seen_behind_tls_as_well(broker, mqtt_case, ask, tmp_path):
    ours = Authority(tmp_path / "tls")
    ours.issue("broker", "localhost", x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    running = broker(tls=tmp_path / "tls", settings={"allow_anonymous": "true"})
    found = await ask(mqtt_case(running.tls_port, more=f'tls = true\nca_file = "{tmp_path}/tls/ca.crt"'), "acl")
    assert "acl.anonymous" in found


async def test_a_broker_without_mqtt_is_not_asked(case_of):
    assert not BY_NAME["broker"].applies(case_of("[mqtt]\nenabled = false\n").config)


async def test_a_mosquitto_conf_of_this_machine_is_read(broker, mqtt_case, ask, tmp_path):
    (tmp_path / "etc/mosquitto/conf.d").mkdir(parents=True)
    (tmp_path / "etc/mosquitto/mosquitto.conf").write_text("persistence false\n# persistence true\n")
    port = broker().port
    found = await ask(mqtt_case(port), "broker")
    assert "broker.not-persistent" not in found  # a file of another broker says nothing of this one
    (tmp_path / "etc/mosquitto/mosquitto.conf").write_text(f"persistence false\nlistener {port} 127.0.0.1\n")
    found = await ask(mqtt_case(port), "broker")
    assert {"broker.not-persistent", "broker.queue-by-number"} <= set(found)
    (tmp_path / "etc/mosquitto/conf.d/s.conf").write_text("persistence true\nmax_queued_messages 0\n")
    found = await ask(mqtt_case(port), "broker")
    assert not {"broker.not-persistent", "broker.queue-by-number"} & set(found)


def test_settings_are_read_in_their_order():
    assert read_settings(["a 1\n#b 2\n", "a 2\n\nc\n"]) == {"a": ["1", "2"], "c": [""]}
