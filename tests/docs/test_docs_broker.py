"""The commands of the broker's page, run beside Debian's own configuration, and the broker that comes out."""

import os
import shutil
import socket
import ssl
import subprocess
import time

import pytest
from docs_page import ROOT, blocks
from support.anvil import skip_or_fail
from support.mosquitto import free_port, mosquitto_path

pytestmark = pytest.mark.broker

FOLDER = ROOT / "config" / "mosquitto"
NAME = "broker.plant-7.test"
DEBIAN = """
pid_file {root}/run/mosquitto.pid

persistence true
persistence_location {root}/var/lib/mosquitto/

log_dest stderr

include_dir {root}/etc/mosquitto/conf.d
"""
PLAYED = f"""
apt-get() {{ true; }}
chown() {{ true; }}
hostname() {{ echo {NAME}; }}
systemctl() {{ echo "$*" >> "$ROOT/called"; }}
mosquitto_passwd() {{ printf 'secret\\nsecret\\n' | command mosquitto_passwd "$@"; }}
"""


@pytest.fixture
def box(tmp_path):
    """A folder in the place of a box whose mosquitto was just installed, after the page's commands."""
    if shutil.which("openssl") is None or shutil.which("mosquitto_passwd") is None:
        skip_or_fail("openssl or mosquitto_passwd is not installed (apt-get install openssl mosquitto)")
    for place in ("etc/mosquitto/conf.d", "etc/mosquitto/certs", "var/lib/mosquitto", "run"):
        (tmp_path / place).mkdir(parents=True)
    user = "user root\n" if os.geteuid() == 0 else ""
    (tmp_path / "etc/mosquitto/mosquitto.conf").write_text(user + DEBIAN.format(root=tmp_path))
    commands = "\n".join(blocks(FOLDER / "README.md")).replace(" -o mosquitto", "")
    done = subprocess.run(
        ["bash", "-eu", "-c", PLAYED + commands.replace("/etc/", f"{tmp_path}/etc/")],
        cwd=FOLDER,
        env={**os.environ, "ROOT": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "called").read_text() == "restart mosquitto\n"
    return tmp_path


def login(link, name, password):
    """The reason code of the CONNACK to an MQTT 5 CONNECT."""
    fields = b"".join(len(each).to_bytes(2, "big") + each.encode() for each in ("probe", name, password))
    body = b"\x00\x04MQTT\x05\xc2\x00\x0a\x00" + fields
    link.sendall(b"\x10" + bytes([len(body)]) + body)
    return link.recv(64)[3]


def test_the_broker_of_the_page_starts_beside_debians_configuration_and_lets_in_whom_it_should(box):
    tls_port, plain_port = free_port(), free_port()
    own = box / "etc/mosquitto/conf.d/securenet.conf"
    text = own.read_text().replace("/etc/", f"{box}/etc/").replace("/var/lib/", f"{box}/var/lib/")
    text = text.replace("listener 8883", f"listener {tls_port} 127.0.0.1")
    own.write_text(text.replace("listener 1883 127.0.0.1", f"listener {plain_port} 127.0.0.1"))
    broker = subprocess.Popen(
        [mosquitto_path(), "-c", str(box / "etc/mosquitto/mosquitto.conf")], stderr=subprocess.PIPE, text=True
    )
    try:
        end_s = time.monotonic() + 10
        while True:
            try:
                plain = socket.create_connection(("127.0.0.1", plain_port), timeout=5)
                break
            except ConnectionRefusedError:
                assert broker.poll() is None, broker.stderr.read()
                assert time.monotonic() < end_s
                time.sleep(0.05)
        with plain:
            assert login(plain, "gateway", "secret") == 0
        with socket.create_connection(("127.0.0.1", plain_port), timeout=5) as wrong:
            assert login(wrong, "gateway", "another") in {0x86, 0x87}
        context = ssl.create_default_context(cafile=box / "etc/mosquitto/certs/ca.crt")
        with (
            socket.create_connection(("127.0.0.1", tls_port), timeout=5) as raw,
            context.wrap_socket(raw, server_hostname=NAME) as device,
        ):
            assert login(device, "pump-7", "secret") == 0
    finally:
        broker.terminate()
        broker.communicate(timeout=10)


def test_password_file_acl_and_keys_are_open_to_nobody_else(box):
    for name in ("securenet.passwd", "securenet.acl", "certs/broker.key", "certs/ca.key"):
        assert (box / "etc/mosquitto" / name).stat().st_mode & 0o077 == 0, name
