"""``securenet authority``: an authority made, served, asked over a gap, rotated, audited; against a real node."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.anvil import CHAIN_ID, Anvil
from support.contracts_kit import Chain, Gateway, Models

from gateway.cli import authority_work
from gateway.cli.main import cli
from gateway.ops import logging as ops_logging
from gateway.ops.exitcodes import ExitCode
from gateway.vault import authority_service
from gateway.vault.authority_carried import AnswerAwaited, AuthorityFiles
from gateway.vault.authority_client import AuthorityClient, ClientFiles
from gateway.vault.authority_house import opened
from gateway.vault.wrap import unwrap, wrap_info

DIGEST = bytes(range(32))
GATEWAY = X25519PrivateKey.from_private_bytes(b"\x11" * 32)
OPERATOR = Ed25519PrivateKey.from_private_bytes(b"\x21" * 32)


def secret(path, data):
    path.touch(mode=0o600)
    path.write_bytes(data)
    return path


class Desk:
    """An authority's directory, and the command line with its options."""

    def __init__(self, root):
        self.root, self.directory = root, root / "authority"
        self.words = None
        self.root_key = secret(root / "root-key", b"\x04" * 32)  # it costs no scrypt
        self.made = None

    def call(self, *arguments, words=None):
        result = CliRunner().invoke(
            cli,
            ["authority", *map(str, arguments), "--dir", str(self.directory), *self.opener(words), "--json"],
        )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        result.json = json.loads(result.stdout) if result.stdout else None
        return result

    def opener(self, words=None):
        if words is False:
            return []
        words = words or self.words
        return ["--root-key", str(self.root_key)] if words is None else ["--passphrase-file", str(words)]

    def init(self, *options):
        self.made = self.call("init", *options)
        assert self.made.exit_code == ExitCode.OK, self.made.output
        return self

    def enlist(self, name, *models):
        """A publisher with a certificate by the authority's own CA; its files."""
        key = ec.generate_private_key(ec.SECP256R1())
        secret(self.root / f"{name}.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "whatever they say")])
        csr = x509.CertificateSigningRequestBuilder(subject).sign(key, hashes.SHA256())
        (self.root / f"{name}.csr").write_bytes(csr.public_bytes(Encoding.PEM))
        options = [each for model in models for each in ("--model", model)]
        files = ("--csr", self.root / f"{name}.csr", "--out", self.root / f"{name}.crt")
        done = self.call("publishers", "add", name, *files, *options)
        assert done.exit_code == ExitCode.OK, done.output
        return ClientFiles(self.root / f"{name}.crt", self.root / f"{name}.key", self.directory / "ca.crt")

    def over_the_gap(self, files):
        return AuthorityFiles(
            self.root / "gap", files.certificate, files.key, bytes.fromhex(self.made.json["public_key"])
        )

    def events(self):
        found = self.call("audit", "--limit", "1000")
        assert found.exit_code == ExitCode.OK, found.output
        return [line["event"] for line in found.json["newest"]]


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path).init("--tls", "localhost", "--tls", "127.0.0.1")


@pytest.fixture
def worded(tmp_path):
    """One that is opened by a passphrase."""
    desk = Desk(tmp_path)
    desk.words = secret(tmp_path / "pass", b"correct horse\n")
    return desk.init("--tls", "localhost")


@pytest.fixture(scope="module")
def chain():
    with Anvil("--slots-in-an-epoch", "1") as node:
        made = Chain(node.web3())
        models = Models(made)
        key = GATEWAY.public_key().public_bytes_raw()
        made.register_miner(Gateway("gw-1", made.miner, hpke_key=key))
        made.register_miner(Gateway("gw-2", made.other, number=901, hpke_key=key))
        models.send(models.granter, "grant", "kdd", ["gw-1", "gw-2"])
        made.suspend("gw-2")
        made.web3.provider.make_request("anvil_mine", ["0x8"])
        where = ("--rpc", node.url, "--chain-id", CHAIN_ID, "--registry-address", made.registry.address)
        yield (*where, "--model-registry", models.contract.address)


def awaited(call, *arguments):
    with pytest.raises(AnswerAwaited) as found:
        call(*arguments)
    return found.value


def test_an_authority_is_made_once_and_closed_to_others(desk):
    assert len(bytes.fromhex(desk.made.json["public_key"])) == 32
    assert {path.name for path in desk.directory.iterdir()} == {
        "audit",
        "ca.crt",
        "publishers.toml",
        "server.crt",
        "server.key",
        "store.json",
    }
    assert desk.directory.stat().st_mode & 0o077 == 0
    again = desk.call("init")
    assert again.exit_code == ExitCode.SECRET
    assert "holds a store already" in again.json["error"]


def test_what_opens_the_store_is_asked_for_and_named_when_it_is_wrong(worded, tmp_path):
    desk = worded
    assert desk.call("rotate", words=False).exit_code == ExitCode.USAGE
    wrong = desk.call("rotate", words=secret(tmp_path / "other", b"wrong"))
    assert (wrong.exit_code, "not opened by this passphrase" in wrong.json["error"]) == (ExitCode.SECRET, True)
    (tmp_path / "open").write_text("correct horse")
    (tmp_path / "open").chmod(0o644)
    assert desk.call("rotate", words=tmp_path / "open").exit_code == ExitCode.SECRET
    desk.directory.chmod(0o755)
    assert "chmod 700" in desk.call("audit").json["error"]


def test_a_publisher_beyond_the_gap_gets_its_key_and_wraps_by_the_chain(desk, chain, tmp_path):
    files = desk.enlist("acme", "kdd")
    publisher = desk.over_the_gap(files)
    asked = awaited(publisher.data_key, "kdd", 3)
    assert desk.call("wraps", asked.request, "--out", asked.answer, *chain).exit_code == ExitCode.USAGE
    done = desk.call("issue", asked.request, "--out", asked.answer)
    assert (done.exit_code, done.json["model"], done.json["version"]) == (ExitCode.OK, "kdd", 3)
    key = publisher.data_key("kdd", 3)
    assert key.hex() not in done.output
    again = desk.call("issue", asked.request, "--out", asked.answer)
    assert again.exit_code == ExitCode.CANNOT_CREATE
    asked = awaited(publisher.wraps, "kdd", 3, DIGEST)
    done = desk.call("wraps", asked.request, "--out", asked.answer, *chain)
    assert done.exit_code == ExitCode.OK, done.output
    assert (done.json["gateways"], done.json["left_out"]) == (["gw-1"], {"gw-2": "not-active"})
    (found,) = publisher.wraps("kdd", 3, DIGEST)
    assert unwrap(found.key, GATEWAY, wrap_info("kdd", 3, DIGEST, "gw-1")) == key
    assert [each for each in desk.events() if each in {"issue", "wraps"}] == ["issue", "wraps"]


def test_refusals_end_with_1_and_their_reason_and_are_in_the_audit(desk, tmp_path):
    publisher = desk.over_the_gap(desk.enlist("acme", "kdd"))
    asked = awaited(publisher.data_key, "mnist", 1)
    refused = desk.call("issue", asked.request, "--out", asked.answer)
    assert (refused.exit_code, refused.json["details"][0]["error"]) == (ExitCode.NEGATIVE, "model-not-allowed")
    assert not asked.answer.exists()
    (tmp_path / "nothing").write_text("{}")
    refused = desk.call("issue", tmp_path / "nothing", "--out", tmp_path / "out")
    assert (refused.exit_code, refused.json["details"][0]["error"]) == (ExitCode.NEGATIVE, "malformed")
    assert desk.call("issue", tmp_path / "none", "--out", tmp_path / "out").exit_code == ExitCode.NO_INPUT
    assert desk.events().count("refused") == 2


def test_grants_come_over_the_gap_as_a_signed_file_with_a_warning(desk, chain, tmp_path):
    key = secret(tmp_path / "op.pem", OPERATOR.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    out = tmp_path / "grants.json"
    done = CliRunner().invoke(
        cli,
        [
            "authority",
            "grants",
            "--model",
            "kdd",
            "--sign-with",
            str(key),
            "--out",
            str(out),
            *map(str, chain),
            "--json",
        ],
    )
    assert done.exit_code == ExitCode.OK, done.output
    told = json.loads(done.stdout)
    assert told["grants"] == {"kdd": ["gw-1"]}
    publisher = desk.over_the_gap(desk.enlist("acme", "kdd"))
    asked = awaited(publisher.data_key, "kdd", 1)
    desk.call("issue", asked.request, "--out", asked.answer)
    asked = awaited(publisher.wraps, "kdd", 1, DIGEST)
    options = ("wraps", asked.request, "--out", asked.answer, "--unsafe-grants", out, "--operator-key")
    assert desk.call(*options, "abc").exit_code == ExitCode.USAGE
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()
    refused = desk.call(*options, other)
    assert (refused.exit_code, refused.json["details"][0]["error"]) == (ExitCode.CHAIN, "no-grants")
    done = desk.call(*options, told["operator_key"])
    assert done.exit_code == ExitCode.OK
    assert "not from the chain" in done.stderr
    assert [each.gateway_id for each in publisher.wraps("kdd", 1, DIGEST)] == ["gw-1"]


def test_a_chain_that_is_not_named_is_asked_for(desk, tmp_path):
    (tmp_path / "request").write_text("{}")
    options = ("wraps", tmp_path / "request", "--out", tmp_path / "out", "--rpc", "http://127.0.0.1:1")
    found = desk.call(*options, "--chain-id", "1")
    assert (found.exit_code, "--model-registry" in found.json["error"]) == (ExitCode.CONFIG, True)


def test_a_rotation_keeps_the_keys_and_may_change_the_passphrase_or_move_the_root_key_out(worded, tmp_path):
    desk = worded
    publisher = desk.over_the_gap(desk.enlist("acme", "kdd"))
    asked = awaited(publisher.data_key, "kdd", 1)
    desk.call("issue", asked.request, "--out", asked.answer)
    key = publisher.data_key("kdd", 1)
    assert desk.call("rotate").json == {"root_key": 2, "keys": 1}
    desk.words, old = secret(tmp_path / "new", b"battery staple"), desk.words
    assert desk.call("rotate", "--new-passphrase-file", desk.words, words=old).json["root_key"] == 3
    root = secret(tmp_path / "root", b"\x05" * 32)
    assert desk.call("rotate", "--new-root-key", root).json["root_key"] == 4
    assert desk.call("audit").exit_code == ExitCode.SECRET
    found = desk.call("rotate", "--root-key", root, words=False)
    assert (found.exit_code, "--new-root-key" in found.json["error"]) == (ExitCode.USAGE, True)
    asked.answer.unlink()
    done = desk.call("issue", asked.request, "--out", asked.answer, "--root-key", root, words=False)
    assert done.exit_code == ExitCode.OK, done.output
    assert publisher.data_key("kdd", 1) == key


def test_an_audit_that_was_altered_is_named_stops_everything_and_is_put_aside(desk):
    desk.enlist("acme", "kdd")
    (path,) = (desk.directory / "audit").glob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"models":["kdd"]', b'"models":["nab"]'))
    found = desk.call("audit")
    assert (found.exit_code, found.json["holds"]) == (ExitCode.NEGATIVE, False)
    (finding,) = found.json["findings"]
    assert finding["line"] == 3
    stopped = desk.call("publishers", "add", "x", "--certificate", desk.root / "acme.crt", "--model", "kdd")
    assert (stopped.exit_code, "does not hold" in stopped.json["error"]) == (ExitCode.SECRET, True)
    old = Path(desk.call("audit", "--begin-anew").json["old"])
    assert old.is_dir()
    csr = ("--csr", desk.root / "acme.csr", "--out", desk.root / "b.crt", "--model", "kdd")
    assert desk.call("publishers", "add", "b", *csr).exit_code == ExitCode.OK
    assert desk.events()[0] == "begun-anew"


def test_people_read_the_audit_and_the_list(desk):
    desk.enlist("acme", "kdd", "mnist")
    options = ["--dir", str(desk.directory)]
    found = CliRunner().invoke(cli, ["authority", "audit", *options, *desk.opener()])
    assert "publisher-added" in found.stdout
    assert "The audit holds." in found.stdout
    listed = CliRunner().invoke(cli, ["authority", "publishers", "list", *options])
    assert "acme" in listed.stdout
    assert "kdd mnist" in listed.stdout
    again = desk.call("publishers", "add", "acme", "--certificate", desk.root / "acme.crt", "--model", "kdd")
    assert (again.exit_code, "on the list already" in again.json["error"]) == (ExitCode.SECRET, True)
    assert desk.call("publishers", "add", "x", "--model", "kdd").exit_code == ExitCode.USAGE
    assert (
        desk.call("publishers", "add", "x", "--certificate", desk.root_key, "--model", "kdd").exit_code
        == ExitCode.SECRET
    )


def test_nobody_is_put_on_the_list_where_the_certificate_cannot_be_written(desk):
    desk.enlist("acme", "kdd")
    before = desk.events()
    files = ("--csr", desk.root / "acme.csr", "--out", desk.root / "acme.crt")
    taken = desk.call("publishers", "add", "b", *files, "--model", "kdd")
    assert (taken.exit_code, "nothing was written" in taken.json["error"]) == (ExitCode.CANNOT_CREATE, True)
    assert "publisher-added" not in desk.events()[len(before) :]
    files = ("--csr", desk.root / "acme.csr", "--out", desk.root / "no" / "b.crt")
    assert desk.call("publishers", "add", "b", *files, "--model", "kdd").exit_code == ExitCode.CANNOT_CREATE
    files = ("--csr", desk.root / "acme.csr", "--out", desk.root / "b.crt")
    assert desk.call("publishers", "add", "acme", *files, "--model", "kdd").exit_code == ExitCode.SECRET
    assert not (desk.root / "b.crt").exists()
    assert desk.call("publishers", "add", "b", *files, "--model", "kdd").exit_code == ExitCode.OK
    assert b"BEGIN CERTIFICATE" in (desk.root / "b.crt").read_bytes()


def test_the_store_is_closed_after_the_last_thread_that_writes_to_it(desk, monkeypatch):
    done = []

    @contextmanager
    def watched(*arguments):
        with opened(*arguments) as house:
            yield house
        done.append("closed")

    class Asked:
        """A service that is ended while a disk is slow."""

        port = 0

        def __init__(self, *_):
            pass

        async def __aenter__(self):
            asyncio.get_running_loop().run_in_executor(None, lambda: (time.sleep(0.5), done.append("written")))
            os.kill(os.getpid(), signal.SIGTERM)

        async def __aexit__(self, *_):
            pass

    silent = SimpleNamespace(flush=lambda **_: None)
    monkeypatch.setattr(ops_logging, "configure_logging", lambda _config: silent)
    monkeypatch.setattr(authority_work, "opened_house", watched)
    monkeypatch.setattr(authority_service, "Service", Asked)
    assert desk.call("serve", "--without-grants", "--listen", "localhost:0").exit_code == ExitCode.OK
    assert done == ["written", "closed"]


def test_it_serves_until_it_is_told_to_end(desk, chain):
    files = desk.enlist("acme", "kdd")
    command = [
        sys.executable,
        "-m",
        "gateway",
        "authority",
        "serve",
        "--dir",
        desk.directory,
        "--listen",
        "localhost:0",
    ]
    environment = os.environ | {"SECURENET_AUTHORITY_ROOT_KEY": str(desk.root_key)}
    with subprocess.Popen(
        [str(each) for each in (*command, *chain)], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        lines = []
        try:
            for line in process.stderr:
                lines.append(line)
                if "serving publishers on" in line:
                    break
            url = lines[-1].split()[-1]
            client = AuthorityClient(url, files, 30)
            key = client.data_key("kdd", 1)
            (found,) = client.wraps("kdd", 1, DIGEST)
            assert unwrap(found.key, GATEWAY, wrap_info("kdd", 1, DIGEST, "gw-1")) == key
            busy = desk.call("audit")
            assert (busy.exit_code, "in use" in busy.json["error"]) == (ExitCode.SECRET, True)
            began = time.monotonic()
        finally:
            process.send_signal(signal.SIGTERM)
            rest = process.stderr.read()
        assert process.wait(20) == 0, rest
        assert time.monotonic() - began < 15
    assert key.hex() not in "".join(lines) + rest
    assert "authority.wrapped" in rest
    assert desk.events()[-3:] == ["opened", "issue", "wraps"]


def test_what_cannot_be_served_is_said(desk, chain, tmp_path):
    serve = ("serve", "--without-grants")
    for listen in ("nothing", "localhost:", "localhost:99999"):
        assert desk.call(*serve, "--listen", listen).exit_code == ExitCode.USAGE
    taken = desk.call(*serve, "--listen", f"127.0.0.1:{chain[1].rpartition(':')[2]}")
    assert taken.exit_code == ExitCode.UNAVAILABLE
    missing = desk.call(*serve, "--certificate", tmp_path / "none")
    assert missing.exit_code == ExitCode.SECRET


def test_the_help_imports_neither_web3_nor_aiohttp():
    code = (
        "import sys; from click.testing import CliRunner; from gateway.cli.main import cli\n"
        "for words in (['--help'], ['authority', '--help'], ['authority', 'serve', '--help']):\n"
        "    assert CliRunner().invoke(cli, words).exit_code == 0\n"
        "print(sorted({'web3', 'aiohttp', 'eth_abi'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
