"""The support bundle: what is in it, what is never in it, and how it is written."""

import asyncio
import gzip
import io
import json
import random
import stat
import subprocess
import sys
import tarfile
from base64 import b64encode, urlsafe_b64encode
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from support.anvil import Anvil
from support.custody import PASSPHRASE, PRIVATE, CustodyWorld, custody_gateway
from support.fleet import Fleet, devices
from support.mosquitto import ACCOUNTS, Mosquitto

from gateway.cli.main import cli
from gateway.doctor.bundle import MANIFEST, MAX_PIECE, Piece, pack
from gateway.doctor.redact import MARK, Pseudonyms, has_secret, plain_url, redacted, scrubbed, strictly
from gateway.ops.exitcodes import ExitCode

LOG_SEED = bytes(range(32))  # of tests/support/gateway.py
URL_KEY = "k3yInTheUrl0123456789abcdef"


def unpacked(data):
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        return {
            member.name.partition("/")[2]: (member, archive.extractfile(member).read())
            for member in archive.getmembers()
        }


def forms(secret):
    """A secret as it might be written."""
    found = {secret, secret.hex().encode(), secret.hex().upper().encode()}
    return found | {b64encode(secret).rstrip(b"="), urlsafe_b64encode(secret).rstrip(b"=")}


# --- the archive ---


def test_the_manifest_names_every_file_with_its_hash():
    data = pack([Piece("a.txt", "an a", b"aaa\n"), Piece("b.json", "a b", missing="no b")], "f", {"what": "x"}, 1000)
    files = unpacked(data)
    manifest = json.loads(files[MANIFEST][1])
    assert manifest["what"] == "x"
    row = {"name": "a.txt", "about": "an a", "bytes": 4, "sha256": sha256(b"aaa\n").hexdigest()}
    assert manifest["files"] == [row]
    assert manifest["left_out"] == [{"name": "b.json", "about": "a b", "why": "no b"}]
    assert set(files) == {MANIFEST, "a.txt"}
    member = files["a.txt"][0]
    assert (member.mode, member.uid, member.uname, member.mtime) == (0o600, 0, "", 1000)


def test_the_same_pieces_make_the_same_bytes():
    pieces = [Piece("a.txt", "an a", b"aaa\n")]
    assert pack(pieces, "f", {}, 1000) == pack(pieces, "f", {}, 1000)


def test_what_is_too_long_is_cut_at_a_line_at_the_end_that_matters_less():
    lines = b"".join(b"%08d\n" % number for number in range(MAX_PIECE // 8))
    files = unpacked(pack([Piece("new", "", lines, newest_last=True), Piece("old", "", lines)], "f", {}, 0))
    new, old = files["new"][1], files["old"][1]
    assert lines.endswith(new)
    assert new.startswith(lines[lines.index(new) :][:9])
    assert lines.startswith(old)
    assert len(new) <= MAX_PIECE >= len(old)
    rows = {row["name"]: row for row in json.loads(files[MANIFEST][1])["files"]}
    assert rows["new"]["cut_bytes"] == len(lines) - len(new)


@given(st.lists(st.binary(max_size=400), max_size=8), st.integers(10, 1000))
def test_a_bundle_keeps_its_limit_and_says_what_stayed_out(datas, limit):
    pieces = [Piece(f"p{number}", "a piece", data) for number, data in enumerate(datas)]
    files = unpacked(pack(pieces, "f", {}, 0, limit))
    manifest = json.loads(files.pop(MANIFEST)[1])
    assert sum(len(data) for _member, data in files.values()) <= limit
    assert {row["name"] for row in manifest["files"]} == set(files)
    assert len(manifest["files"]) + len(manifest["left_out"]) == len(pieces)
    for row in manifest["files"]:
        assert sha256(files[row["name"]][1]).hexdigest() == row["sha256"]


# --- what is taken out ---


@pytest.mark.parametrize(
    "text",
    [
        "https://user:pa55word@rpc.example/v3",
        "https://rpc.example/v3/0123456789abcdef",
        "wss://rpc.example?apikey=0123456789abcdef",
        'token = "0123456789abcdef"',
        "Environment=API_KEY=0123456789abcdef",
        '{"passphrase": "0123456789abcdef"}',
        "password: 0123456789abcdef",
        "-----BEGIN PRIVATE KEY-----\n0123456789abcdef\n-----END PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----\n0123456789abcdef",
        "mnemonic='0123456789abcdef'",
    ],
)
def test_secrets_are_taken_out_and_leave_a_mark(text):
    clean = redacted(text)
    assert "0123456789abcdef" not in clean
    assert "pa55word" not in clean
    assert MARK in clean
    assert has_secret(text)


@pytest.mark.parametrize(
    "text",
    [
        'password_file = "credential:mqtt-password"',
        'token_file = ""',
        'passphrase_file = "/etc/securenet/pass"',
        'rpc = ["http://127.0.0.1:8545", "credential:rpc"]',
        'sources = ["store", "kubo:http://127.0.0.1:5001"]',
        "https://rpc.example/",
    ],
)
def test_where_a_secret_is_may_be_told(text):
    assert redacted(text) == text


def test_a_url_keeps_what_says_which_machine():
    assert plain_url("https://u:p@rpc.example:8545/v3/key?x=y") == f"https://{MARK}@rpc.example:8545/{MARK}"
    assert plain_url("http://[::1]:8545") == "http://[::1]:8545"
    assert plain_url("http://[::1") == MARK


def test_what_others_wrote_keeps_nothing_as_long_as_a_key():
    assert strictly("seen " + "ab" * 32) == f"seen {MARK}"
    assert strictly("seen " + b64encode(bytes(range(64))).decode()) == f"seen {MARK}"
    assert strictly("a word of forty-two letters at the most") == "a word of forty-two letters at the most"


@given(st.text(max_size=500))
def test_redaction_ends_and_is_settled_after_one_time(text):
    once = redacted(text)
    assert redacted(once) == once


IDS = st.from_regex(r"[A-Za-z0-9._:-]{2,20}", fullmatch=True)


@given(IDS, st.text("abc ./{}\"'", max_size=20), st.text("abc ./{}\"'", max_size=20))
def test_no_id_is_left_where_it_stands_by_itself(device, before, after):
    names = Pseudonyms(b"salt", [device])
    text = f"{before} {device}/{after} {device}: x{device}"
    clean = names.apply(text)
    assert clean.count(names.name(device)) >= 2 or device == names.name(device)


def test_ids_within_words_of_their_own_characters_are_found():
    names = Pseudonyms(b"salt", ["urn:dev:mac:00", "pump-7", "pump"])
    seven, pump, urn = (names.name(each) for each in ("pump-7", "pump", "urn:dev:mac:00"))
    assert names.apply("mqtt:pump-7.score") == f"mqtt:{seven}.score"
    assert names.apply("mqtt:urn:dev:mac:00:up.") == f"mqtt:{urn}:up."
    assert names.apply("pump pumps") == f"{pump} pumps"
    assert Pseudonyms(b"other", []).name("pump") != pump


def test_values_are_scrubbed_by_their_names():
    names = Pseudonyms(b"salt", ["pump-7"])
    said = {
        "device": "unknown-1",
        "token": "abc",
        "token_file": "credential:t",
        "pump-7": ["pump-7 came", 7],
        "n": None,
    }
    clean = scrubbed(said, names)
    assert clean == {
        "device": names.name("unknown-1"),
        "token": MARK,
        "token_file": "credential:t",
        names.name("pump-7"): [f"{names.name('pump-7')} came", 7],
        "n": None,
    }
    assert scrubbed({"device": "pump-7"}, Pseudonyms(b"", ["pump-7"], tell=True)) == {"device": "pump-7"}


# --- the whole ---


@pytest.mark.broker
@pytest.mark.slow
async def test_nothing_secret_of_a_full_run_is_in_the_bundle(tmp_path):
    records = devices(6)
    with Anvil() as anvil:
        world = CustodyWorld(anvil, tmp_path / "keys")
        world.fund()
        world.block_every(1)
        broker = Mosquitto(tmp_path / "broker").start()
        token = tmp_path / "token"
        token.touch(mode=0o600)
        token.write_text("this-is-the-token-of-the-page-0123456789\n")
        gateway = custody_gateway(
            world,
            tmp_path / "gw",
            broker.port,
            records,
            chain={
                **world.sections()["chain"],
                "rpc": [f"{anvil.url}/?apikey={URL_KEY}", f"{anvil.url}/v3/{URL_KEY}"],
            },
            http={"port": 0, "token_file": str(token)},
        )
        world.block_each()
        world.register_miner(gateway)
        world.register_devices(records[:4])  # the last two are strangers
        world.block_every(1)
        fleet = Fleet(records, random.Random(4), broker.port, ACCOUNTS["bench"], patience_s=5)
        try:
            gateway.start()
            await gateway.ready()
            async with fleet.publishing(40):
                await asyncio.sleep(4)
            with gateway.log.open("a") as log:  # what a careless library could say
                log.writelines(_careless(record.device_id) for record in records)
            data = await asyncio.to_thread(_bundle, gateway, tmp_path / "b.tar.gz")
            told = await asyncio.to_thread(_bundle, gateway, tmp_path / "told.tar.gz", "--with-device-ids")
            payloads = [message.envelope for message in fleet.messages[:50]]
        finally:
            if fleet.published_s:
                await fleet.close()
            gateway.end()
            broker.kill()
    secrets = [
        LOG_SEED,
        PRIVATE,
        PASSPHRASE,
        ACCOUNTS["gateway"].encode(),
        URL_KEY.encode(),
        token.read_bytes().strip(),
        (tmp_path / "keys/anchoring.json").read_bytes()[60:120],
        gateway.folder.joinpath("log.pem").read_bytes()[28:90],
    ]
    _assert_nothing_secret(gzip.decompress(data), secrets, payloads)
    for record in records:
        assert record.device_id.encode() not in gzip.decompress(data), record
        assert record.device_id.encode() in gzip.decompress(told)
    files = unpacked(data)
    assert {"doctor.json", "status.json", "gateway.toml", "effective.toml", "events.jsonl", "journal.json"} <= set(
        files
    )
    assert MARK in files["gateway.toml"][1].decode()
    status = json.loads(files["status.json"][1])
    assert status["accepted"] > 0
    assert sum(status["rejected"].values()) > 0
    assert [json.loads(line) for line in files["events.jsonl"][1].splitlines()]
    assert json.loads(files["journal.json"][1])["stats"]["log_size"] > 0
    names = {each["name"] for each in json.loads(files["doctor.json"][1])}
    assert "chain.endpoint-down" in names  # the node knows no paths
    assert "broker.unreachable" not in names


def _assert_nothing_secret(everything, secrets, payloads):
    for secret in secrets:
        for form in forms(secret):
            assert form not in everything, form
    for payload in payloads:
        assert payload not in everything
        assert b64encode(payload[40:80])[2:-4] not in everything
        assert payload[40:80].hex().encode() not in everything


def _careless(device):
    said = f"publish to securenet/v1/plant-7/{device}/up by http://127.0.0.1/{URL_KEY}?x=y with {LOG_SEED.hex()}"
    event = {"event": "library", "level": "warning", "timestamp": datetime.now(UTC).isoformat(), "message": said}
    return json.dumps(event | {"device": device, "passphrase": PASSPHRASE.decode()}) + "\n"


def _bundle(gateway, out, *more):
    command = [sys.executable, "-m", "gateway", "support-bundle", "--config", str(gateway.config)]
    done = subprocess.run(
        [*command, "--file", str(gateway.log), "--out", str(out), *more], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert out.stat().st_size < 4 << 20
    return out.read_bytes()


def test_a_bundle_of_a_gateway_whose_configuration_is_broken(tmp_path):
    config = tmp_path / "gateway.toml"
    config.write_text('[gateway]\nid = "gw-1"\n[chain]\nrpc = ["https://rpc.example/v3/0123456789abcdef"]\n')
    out = tmp_path / "b.tar.gz"
    result = CliRunner().invoke(cli, ["support-bundle", "--config", str(config), "--out", str(out), "--offline"])
    assert result.exit_code == 0, result.output
    files = unpacked(out.read_bytes())
    assert b"0123456789abcdef" not in b"".join(data for _member, data in files.values())
    found = {each["name"] for each in json.loads(files["doctor.json"][1])}
    assert {"config.refused", "doctor.left-out"} <= found
    left_out = {row["name"]: row["why"] for row in json.loads(files[MANIFEST][1])["left_out"]}
    assert "fleet" in left_out["effective.toml"]


def test_a_file_that_stands_there_is_left_alone(tmp_path):
    out = tmp_path / "b.tar.gz"
    out.write_text("mine")
    arguments = ["support-bundle", "--config", str(tmp_path / "none.toml"), "--offline", "--out"]
    assert CliRunner().invoke(cli, [*arguments, str(out)]).exit_code == ExitCode.CANNOT_CREATE
    assert out.read_text() == "mine"
    assert [each.name for each in tmp_path.iterdir()] == ["b.tar.gz"]
    missing = tmp_path / "no" / "b.tar.gz"
    assert CliRunner().invoke(cli, [*arguments, str(missing)]).exit_code == ExitCode.CANNOT_CREATE
    since = [*arguments, str(tmp_path / "c"), "--since", "yesterday"]
    assert CliRunner().invoke(cli, since).exit_code == ExitCode.USAGE
