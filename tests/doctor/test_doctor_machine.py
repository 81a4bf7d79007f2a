"""The checks that look at this machine, its files, its systemd and a journal: at the real ones where they are."""

import asyncio
import json
import os
import signal
import sys
import time
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from doctor_journal import fill
from hypothesis import given
from hypothesis import strategies as st
from support.anvil import skip_or_fail
from support.certificates import Authority

from gateway.crypto.keystore import ScryptCost, lock
from gateway.doctor import disk_ask, machine_ask
from gateway.doctor.case import page_port
from gateway.doctor.command import MAX_BYTES, output_of
from gateway.doctor.readings import kilobytes_in, number_in, text_in
from gateway.doctor.unit_ask import bound, exposure_in


def pem(path, seed=b"\x07" * 32, mode=0o600):
    key = Ed25519PrivateKey.from_private_bytes(seed)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(mode)
    return path


# --- keys and certificates ---


def section(tmp_path, mode=0o600):
    key = pem(tmp_path / "log.pem", mode=mode)
    return f'log_key_file = "{key}"', f'[registry]\nfile = "{tmp_path / "registry.jsonl"}"\n[mqtt]\nenabled = false\n'


def registry(tmp_path, seed=b"\x07" * 32, gateway="gw-1", status="active"):
    public = b64encode(Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()).decode()
    common = {"fleet": "plant", "alg": "Ed25519", "public_key": public, "status": status}
    miner = {"kind": "miner", "id": gateway, "log": f"securenet/plant/{gateway}", **common}
    other = b64encode(Ed25519PrivateKey.from_private_bytes(b"\x08" * 32).public_key().public_bytes_raw()).decode()
    device = {"kind": "device", "id": "dev-1", **common, "public_key": other}
    (tmp_path / "registry.jsonl").write_text(json.dumps(miner) + "\n" + json.dumps(device) + "\n")


async def test_keys_that_fit(case_of, ask, tmp_path):
    head, text = section(tmp_path)
    registry(tmp_path)
    tmp_path.chmod(0o700)
    assert set(await ask(case_of(text, head), "keys")) == {"keys.ok"}


async def test_a_log_key_that_others_may_read(case_of, ask, tmp_path):
    head, text = section(tmp_path, mode=0o644)
    registry(tmp_path)
    found = await ask(case_of(text, head), "keys")
    assert f"chmod 600 {tmp_path}/log.pem" in found["keys.log-key"].remedy


async def test_a_log_key_that_is_not_there(case_of, ask, tmp_path):
    head, text = section(tmp_path)
    (tmp_path / "log.pem").unlink()
    registry(tmp_path)
    assert "keys.log-key" in await ask(case_of(text, head), "keys")


async def test_a_log_key_that_the_registry_does_not_know(case_of, ask, tmp_path):
    head, text = section(tmp_path)
    registry(tmp_path, seed=b"\x09" * 32)
    assert "keys.miner-other-key" in await ask(case_of(text, head), "keys")
    registry(tmp_path, gateway="gw-2")
    assert "keys.miner-unknown" in await ask(case_of(text, head), "keys")


async def test_a_rotation_that_was_not_finished_and_an_open_directory(case_of, ask, tmp_path):
    head, text = section(tmp_path)
    registry(tmp_path)
    (tmp_path / "log.pem.next").write_bytes(b"")
    tmp_path.chmod(0o777)
    found = await ask(case_of(text, head), "keys")
    tmp_path.chmod(0o700)
    assert {"keys.left-over", "keys.directory-open"} == set(found)


async def test_credentials_of_systemd_are_looked_for_where_they_are(case_of, ask, tmp_path, monkeypatch):
    registry(tmp_path)
    _head, text = section(tmp_path)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert "keys.elsewhere" in await ask(case_of(text), "keys")
    (tmp_path / "log.pem").rename(tmp_path / "log-key")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert "keys.elsewhere" not in await ask(case_of(text), "keys")


async def test_a_keystore_is_opened_and_a_wrong_passphrase_told(case_of, ask, tmp_path):
    head, _text = section(tmp_path)
    (tmp_path / "anchor.json").write_bytes(lock(b"\x01" * 32, b"open sesame", ScryptCost(1024, 8, 1)))
    (tmp_path / "pass").write_bytes(b"another one\n")
    for name in ("anchor.json", "pass"):
        (tmp_path / name).chmod(0o600)
    text = (
        '[chain]\nrpc = ["http://127.0.0.1:1"]\nchain_id = 1\n'
        f'registry = "0x{"1" * 40}"\nanchor_log = "0x{"2" * 40}"\n'
        f'[anchor]\nkey_file = "{tmp_path}/anchor.json"\npassphrase_file = "{tmp_path}/pass"\n'
    )
    found = await ask(case_of(text, head), "keys")
    assert "keys.anchoring-key" in found
    assert "open sesame" not in str(found)
    assert "another one" not in str(found)


async def test_certificates_are_read_and_held_against_their_key(case_of, ask, tmp_path):
    ours = Authority(tmp_path / "tls")
    ours.issue("one", "gw-1")
    ours.issue("two", "gw-1")
    for stem in ("one", "two"):
        (tmp_path / f"tls/{stem}.key").chmod(0o600)

    def case(key):
        tls = f"{tmp_path}/tls"
        return case_of(
            f'[mqtt]\ntls = true\nca_file = "{tls}/ca.crt"\ncert_file = "{tls}/one.crt"\nkey_file = "{key}"\n'
        )

    found = await ask(case(f"{tmp_path}/tls/one.key"), "certificates")
    assert set(found) == {"certificates.expires-now"}  # for a day
    found = await ask(case(f"{tmp_path}/tls/two.key"), "certificates")
    assert "certificates.key-mismatch" in found
    found = await ask(replace(case(f"{tmp_path}/tls/one.key"), now_ms=0), "certificates")
    assert set(found) == {"certificates.not-yet"}
    (tmp_path / "tls/ca.crt").write_text("no certificate")
    assert "certificates.unreadable" in await ask(case(f"{tmp_path}/tls/one.key"), "certificates")


# --- journal, registry ---


async def test_a_journal_that_is_sound_and_one_that_is_not(case_of, ask, tmp_path):
    case = case_of()
    assert set(await ask(case, "journal")) == {"journal.none"}
    await fill(tmp_path / "data", case.now_ms)
    found = await ask(case, "journal")
    assert found["journal.ok"].details["log_size"] == 1
    database = next(each for each in (tmp_path / "data").iterdir() if each.suffix in {".db", ".sqlite", ".sqlite3"})
    database.write_bytes(b"this is no database" * 1000)
    assert {"journal.damaged", "journal.unreadable"} & set(await ask(case, "journal"))


async def test_a_registry_file_that_is_refused(case_of, ask, tmp_path):
    head, text = section(tmp_path)
    (tmp_path / "registry.jsonl").write_text("{}\n")
    assert set(await ask(case_of(text, head), "registry")) == {"registry.file"}
    registry(tmp_path)
    assert set(await ask(case_of(text, head), "registry")) == {"registry.ok"}
    registry(tmp_path, status="suspended")
    assert set(await ask(case_of(text, head), "registry")) == {"registry.no-devices"}


# --- machine, python, page, unit ---


async def test_the_figures_of_this_machine(case_of, ask):
    facts = machine_ask.machine_facts(Path("/"), os.getpid())
    assert facts.random_ready
    assert facts.available_bytes
    assert facts.available_bytes <= facts.total_bytes
    assert facts.gateway_bytes
    assert facts.gateway_bytes > 1 << 20
    assert facts.files
    assert facts.somaxconn
    assert await ask(case_of(), "machine")


def test_lost_datagrams_are_counted():
    snmp = "Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors\nUdp: 9 0 3 7 3\nUdpLite: a\nUdpLite: 1\n"
    assert machine_ask.udp_lost(snmp) == 3
    assert machine_ask.udp_lost("") == 0


@given(st.text(max_size=200))
def test_no_text_breaks_the_readers(text):
    assert machine_ask.udp_lost(text) >= 0
    assert bound(text, 80) in {(False, False), (True, True), (True, False)}
    assert kilobytes_in(text, "MemAvailable") is None or "MemAvailable" in text


@pytest.mark.slow
async def test_what_is_installed_here_loads(case_of, ask):
    found = await ask(case_of(), "python")
    assert not {each for each in found if each in {"python.broken", "python.illegal-instruction", "python.missing"}}


async def test_a_module_that_dies_of_an_illegal_instruction_is_told(tmp_path, monkeypatch):
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy/__init__.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    said = await output_of([sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import numpy"])
    assert said is not None
    assert said.code == -signal.SIGILL


async def test_who_listens_is_read_from_the_kernel(case_of, ask):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        case = case_of(f"[http]\nport = {port}\n", status={"uptime_s": 1})
        assert set(await ask(case, "page")) == {"page.ok"}
        any_port = case_of("[http]\nport = 0\n", status={"http": {"address": f"http://127.0.0.1:{port}/"}})
        assert page_port(any_port) == port
        assert set(await ask(any_port, "page")) == {"page.ok"}
        assert page_port(replace(any_port, status={"http": {"address": "http://[:x"}})) == 0
    await server.wait_closed()
    assert set(await ask(case, "page")) == {"page.silent"}


async def test_a_stranger_on_the_page_s_port(case_of, ask):
    async def answer(reader, writer):
        writer.write(b"220 mail ready\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        case = case_of(f"[http]\nport = {server.sockets[0].getsockname()[1]}\n", status={"uptime_s": 1})
        assert set(await ask(case, "page")) == {"page.stranger"}


def test_sockets_that_listen_beyond_loopback_are_seen():
    head = "  sl  local_address rem_address   st\n"
    assert bound(head + "   0: 0100007F:2116 00000000:0000 0A 0\n", 8470) == (True, False)
    assert bound(head + "   0: 00000000:2116 00000000:0000 0A 0\n", 8470) == (True, True)
    assert bound(head + "   0: 0100007F:2116 00000000:0000 01 0\n", 8470) == (False, False)


async def test_a_machine_without_systemd(case_of, ask, tmp_path):
    assert set(await ask(case_of(root=tmp_path), "unit")) == {"unit.no-systemd"}


async def test_a_unit_that_systemd_does_not_have(case_of, ask, tmp_path):
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    found = await ask(case_of(root=tmp_path, unit="securenet-no-such.service"), "unit")
    assert set(found) == {"unit.not-installed"}


async def test_the_sandbox_s_score_is_read_as_systemd_writes_it(tmp_path):
    (tmp_path / "some.service").write_text("[Service]\nExecStart=/bin/true\n")
    said = await output_of(
        ["systemd-analyze", "security", "--no-pager", "--offline=true", str(tmp_path / "some.service")], 30.0
    )
    if said is None or "unrecognized option" in said.text:
        skip_or_fail("systemd-analyze with --offline is not installed (apt-get install systemd)")
    assert exposure_in(said.text) is not None, said.text
    assert exposure_in(said.text) > 5
    assert exposure_in("") is None


async def test_a_configuration_with_a_key_in_a_url_that_all_may_read(case_of, ask):
    text = (
        '[chain]\nrpc = ["https://rpc.example/v3/0123456789abcdef"]\nchain_id = 1\n'
        f'registry = "0x{"1" * 40}"\nanchor_log = "0x{"2" * 40}"\n'
    )
    case = case_of(text)
    case.config_path.chmod(0o646)
    assert set(await ask(case, "config")) == {"config.readable-keys", "config.writable"}
    case.config_path.chmod(0o640)
    assert set(await ask(case, "config")) == {"config.ok"}


# --- the helpers ---


async def test_a_program_is_bounded_in_time_and_size():
    began = time.monotonic()
    assert await output_of(["sleep", "30"], 0.2) is None
    assert time.monotonic() - began < 5
    said = await output_of(["head", "-c", str(2 * MAX_BYTES), "/dev/zero"])
    assert said is not None
    assert len(said.text) == MAX_BYTES
    assert await output_of(["/no/such/program"]) is None


def test_what_cannot_be_read_is_nothing(tmp_path):
    assert text_in(tmp_path / "none") == ""
    assert number_in(tmp_path / "none") is None
    (tmp_path / "hex").write_text("0x1f\n")
    assert number_in(tmp_path / "hex") == 31
    assert kilobytes_in("MemFree:   5 kB\n", "MemFree") == 5120
    assert disk_ask.gather(tmp_path / "none", tmp_path).exists is False
