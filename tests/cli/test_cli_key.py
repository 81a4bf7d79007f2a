"""``key create``, ``show`` and ``rotate``, from the command line to the files and back."""

import json
import subprocess
import sys

import pytest

pytest.importorskip("eth_account", reason="the extra 'chain' is not installed")

from eth_account import Account

from gateway.ops.exitcodes import ExitCode
from gateway.ops.secrets import load_anchoring_key, load_hpke_key, load_log_key

KINDS = ("log", "anchoring", "hpke")


class Keys:
    """A configuration and the keys that it names; ``call`` is ``securenet key …`` under it."""

    def __init__(self, folder, securenet):
        self.folder, self.securenet = folder, securenet
        self.config = folder / "gateway.toml"
        self.log, self.hpke = folder / "log.pem", folder / "hpke.pem"
        self.anchoring, self.passphrase = folder / "anchor.json", folder / "anchor.pass"
        self.configure()

    def configure(self, log=None, hpke=None, anchoring=None, passphrase=None, more=""):
        self.config.write_text(
            f'[gateway]\nid = "gw-1"\nfleet = "plant"\ndata_dir = "{self.folder}/data"\n'
            f'log_key_file = "{log or self.log}"\nhpke_key_file = "{self.hpke if hpke is None else hpke}"\n'
            f'[registry]\nfile = "{self.folder}/registry.jsonl"\n'
            f'[anchor]\nkey_file = "{anchoring or self.anchoring}"\n'
            f'passphrase_file = "{passphrase or self.passphrase}"\n' + more,
            encoding="utf-8",
        )

    def call(self, *arguments):
        return self.securenet("key", *arguments, "--config", self.config)

    def json(self, *arguments):
        answer = self.call(*arguments, "--json")
        assert answer.exit_code == ExitCode.OK, answer.output
        return answer.json

    def file(self, kind):
        return {"log": self.log, "anchoring": self.anchoring, "hpke": self.hpke}[kind]

    def names(self):
        return sorted(each.name for each in self.folder.iterdir())


CHAIN = (
    f'[chain]\nrpc = ["http://127.0.0.1:1"]\nchain_id = 5\nregistry = "0x{"11" * 20}"\nanchor_log = "0x{"22" * 20}"\n'
)


@pytest.fixture
def keys(tmp_path, securenet):
    return Keys(tmp_path, securenet)


@pytest.fixture
def made(keys):
    keys.json("create")
    return keys


def public(shown, kind):
    return shown["verifier_key"] if kind == "log" else shown[kind]["address" if kind == "anchoring" else "public_key"]


def test_without_a_chain_only_the_log_key_is_made(keys, securenet):
    keys.config.write_text(
        f'[gateway]\nid = "gw-1"\nfleet = "plant"\nlog_key_file = "{keys.log}"\n', encoding="utf-8"
    )
    answer = keys.json("create")
    assert keys.names() == ["gateway.toml", "log.pem"]
    assert answer["file"] == str(keys.log)
    assert not {"anchoring", "hpke"} & answer.keys()


@pytest.mark.parametrize("which", [[], ["all"]])
def test_every_key_that_is_named_is_made_closed_to_others_and_shown_alike(keys, which):
    answer = keys.json("create", *which)
    for path in (keys.log, keys.hpke, keys.anchoring, keys.passphrase):
        assert path.stat().st_mode & 0o777 == 0o600
    shown = keys.json("show", *which)
    for kind in KINDS:
        assert public(answer, kind) == public(shown, kind) == public(keys.json("show", kind), kind)
    account = load_anchoring_key(str(keys.anchoring), str(keys.passphrase))
    assert bytes.fromhex(shown["anchoring"]["address"][2:]) == account.address
    assert shown["hpke"]["public_key"] == "0x" + load_hpke_key(str(keys.hpke)).public.hex()
    passphrase = keys.passphrase.read_text().strip()
    assert len(bytes.fromhex(passphrase)) == 32
    private = Account.decrypt(json.loads(keys.anchoring.read_text()), passphrase)
    assert Account.from_key(private).address == shown["anchoring"]["address"]


def test_what_is_there_stays_and_what_is_missing_is_made(made):
    before = {path: path.read_bytes() for path in (made.log, made.anchoring, made.passphrase)}
    made.hpke.unlink()
    answer = made.json("create")
    assert answer["hpke"]["file"] == str(made.hpke)
    assert answer["skipped"].keys() == {"log", "anchoring"}
    assert {path: path.read_bytes() for path in before} == before
    for which in ((), ("all",), *((kind,) for kind in KINDS)):
        again = made.call("create", *which)
        assert (again.exit_code, "nothing was written" in again.stderr) == (ExitCode.CANNOT_CREATE, True)


def test_an_own_passphrase_is_used_and_kept(keys):
    keys.passphrase.touch(0o600)
    keys.passphrase.write_text("my own words\n")
    answer = keys.json("create", "anchoring")
    assert answer["anchoring"]["passphrase_made"] is False
    assert keys.passphrase.read_text() == "my own words\n"
    assert load_anchoring_key(str(keys.anchoring), str(keys.passphrase))


def test_a_credential_is_made_where_out_says(keys, tmp_path, monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    keys.configure("credential:log-key", "credential:hpke", "credential:anchor", "credential:pass", CHAIN)
    refused = keys.call("create")
    assert refused.exit_code == ExitCode.USAGE
    for kind in KINDS:
        assert f"securenet key create {kind} --out FILE" in refused.stderr
        assert keys.call("create", kind).exit_code == ExitCode.USAGE
    for kind in ("log", "hpke"):
        keys.json("create", kind, "--out", tmp_path / f"{kind}.out")
        assert public(keys.json("show", kind, "--file", tmp_path / f"{kind}.out"), kind)
    no_passphrase = keys.call("create", "anchoring", "--out", tmp_path / "a.out")
    assert (no_passphrase.exit_code, "--passphrase-file" in no_passphrase.stderr) == (ExitCode.SECRET, True)
    words = ("--passphrase-file", tmp_path / "words")
    made = keys.json("create", "anchoring", "--out", tmp_path / "a.out", *words)
    assert keys.json("show", "anchoring", "--file", tmp_path / "a.out", *words)["anchoring"] == {
        "address": made["anchoring"]["address"],
        "opened": True,
    }
    unproven = keys.json("show", "anchoring", "--file", tmp_path / "a.out")
    assert unproven["anchoring"] == {"address": made["anchoring"]["address"], "opened": False}
    assert "its passphrase cannot be read" in keys.call("show", "anchoring", "--file", tmp_path / "a.out").stdout


def test_the_options_of_before_mean_the_log_key(keys, tmp_path):
    made = keys.json("create", "--out", tmp_path / "other.pem")
    assert keys.json("show", "--file", tmp_path / "other.pem")["verifier_key"] == made["verifier_key"]
    assert load_log_key(str(tmp_path / "other.pem"))


def test_out_and_file_are_for_one_key(keys, tmp_path):
    assert keys.call("create", "all", "--out", tmp_path / "x").exit_code == ExitCode.USAGE
    assert keys.call("show", "all", "--file", tmp_path / "x").exit_code == ExitCode.USAGE
    keys.configure(hpke="")
    for command in (("create", "hpke"), ("show", "hpke"), ("rotate", "hpke")):
        answer = keys.call(*command)
        assert (answer.exit_code, "names no hpke key" in answer.stderr) == (ExitCode.USAGE, True)


def test_a_hybrid_key_is_made_shown_and_stays_hybrid_when_it_is_replaced(keys):
    keys.configure()
    made = keys.json("create", "hpke", "--hybrid")["hpke"]
    assert (made["kem"], len(made["public_key"])) == ("MLKEM768-X25519", 2 + 2 * 1216)
    assert keys.json("show", "hpke")["hpke"]["public_key"] == made["public_key"]
    assert load_hpke_key(str(keys.hpke)).is_hybrid
    following = keys.json("rotate", "hpke")
    assert (following["kem"], following["public_key"] != made["public_key"]) == ("MLKEM768-X25519", True)


def test_a_miner_on_a_chain_is_told_that_it_needs_an_hpke_key(keys):
    keys.configure(hpke="", more=CHAIN)
    assert "gateway.hpke_key_file is empty" in keys.json("create")["skipped"]["hpke"]


def test_a_key_that_cannot_be_read_is_told_beside_those_that_can(made):
    made.hpke.chmod(0o644)
    answer = made.call("show", "--json")
    assert answer.exit_code == ExitCode.SECRET
    assert [fault["ref"] for fault in answer.json["faults"]] == [str(made.hpke)]
    assert {"verifier_key", "anchoring"} <= answer.json.keys()
    human = made.call("show")
    assert f"chmod 600 {made.hpke}" in human.stderr
    assert "Anchoring account" in human.stdout


def test_a_wrong_passphrase_is_a_fault_and_shows_nothing(made):
    made.passphrase.write_text("hunter2")
    answer = made.call("show", "anchoring")
    assert (answer.exit_code, "not opened by its passphrase" in answer.stderr) == (ExitCode.SECRET, True)
    assert "hunter2" not in answer.output


@pytest.mark.parametrize("kind", KINDS)
def test_a_rotation_takes_two_steps_and_keeps_the_old_key(made, kind):
    path = made.file(kind)
    before, shown = path.read_bytes(), made.json("show", kind)
    begun = made.json("rotate", kind)
    following = path.with_name(path.name + ".next")
    assert (path.read_bytes(), following.stat().st_mode & 0o777) == (before, 0o600)
    assert made.json("show", kind) == shown
    again = made.json("rotate", kind)
    assert again["begun_before"]
    assert {**again, "begun_before": False} == begun
    new = following.read_bytes()
    finished = made.json("rotate", kind, "--finish")
    assert path.read_bytes() == new
    (old,) = [each for each in made.folder.iterdir() if ".old-" in each.name]
    assert (old.read_bytes(), old.stat().st_mode & 0o777) == (before, 0o600)
    assert finished["old_file"] == str(old)
    assert public(made.json("show", kind), kind) != public(shown, kind)
    repeated = made.call("rotate", kind, "--finish")
    assert (repeated.exit_code, "Nothing was left to do" in repeated.stdout) == (ExitCode.OK, True)
    assert "Restart the gateway" in repeated.stdout


def test_the_next_step_is_the_registry_line_without_a_chain_and_the_renewal_with_one(made):
    line = json.dumps(made.json("rotate", "log")["registry_line"])
    human = made.call("rotate", "log").stdout
    assert f"in the place of the old one in {made.folder}/registry.jsonl: {line}" in human
    assert "miner renew" not in human
    made.configure(more=CHAIN)
    begun = made.json("rotate", "log")
    assert f"with the log key {begun['public_key']} (securenet miner renew)" in begun["next"][0]
    assert made.json("rotate", "anchoring")["address"] in begun_steps(made, "anchoring")
    assert made.json("rotate", "hpke")["public_key"] in begun_steps(made, "hpke")


def begun_steps(keys, kind):
    return " ".join(keys.json("rotate", kind)["next"])


def test_the_command_for_the_second_step_is_complete(made, tmp_path):
    made.json("create", "log", "--out", tmp_path / "my key")
    steps = made.json("rotate", "log", "--file", tmp_path / "my key")["next"]
    assert f"--finish --config {made.config} --file '{tmp_path / 'my key'}'" in " ".join(steps)


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_read_is_not_put_in_place(made, kind):
    path = made.file(kind)
    before = path.read_bytes()
    assert made.call("rotate", kind, "--finish").exit_code == ExitCode.NEGATIVE
    path.with_name(path.name + ".next").write_bytes(b"junk")
    path.with_name(path.name + ".next").chmod(0o600)
    for more in ((), ("--finish",)):
        assert made.call("rotate", kind, *more).exit_code == ExitCode.SECRET
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_that_was_never_made_is_not_rotated(keys, kind):
    assert keys.call("rotate", kind).exit_code == ExitCode.SECRET
    assert keys.names() == ["gateway.toml"]


def test_no_command_prints_a_secret(made):
    secrets = {
        load_log_key(str(made.log)).hex(),
        load_hpke_key(str(made.hpke)).private.private_bytes_raw().hex(),
        made.passphrase.read_text().strip(),
        Account.decrypt(json.loads(made.anchoring.read_text()), made.passphrase.read_text().strip()).hex(),
        "PRIVATE KEY",
    }
    commands = [("show",), *(("rotate", kind) for kind in KINDS), *(("rotate", kind, "--finish") for kind in KINDS)]
    for command in commands:
        for more in ((), ("--json",)):
            output = made.call(*command, *more).output
            assert not [secret for secret in secrets if secret in output]


def test_without_the_extra_the_log_key_is_made_and_the_account_names_the_command(made, monkeypatch):
    for name in ("eth_hash", "eth_hash.auto", "eth_account"):
        monkeypatch.setitem(sys.modules, name, None)
    made.anchoring.unlink()
    answer = made.call("create", "anchoring")
    assert answer.exit_code == ExitCode.SECRET
    assert "pip install 'securenet-gateway[chain]'" in answer.stderr
    made.log.unlink()
    assert made.call("create", "log").exit_code == ExitCode.OK


def test_the_log_key_alone_imports_no_ethereum_library(keys):
    keys.config.write_text(
        f'[gateway]\nid = "gw-1"\nfleet = "plant"\nlog_key_file = "{keys.log}"\n', encoding="utf-8"
    )
    code = (
        "import sys\nfrom gateway.cli.main import cli\n"
        f"try:\n    cli(['key', 'create', '--config', {str(keys.config)!r}])\nexcept SystemExit: pass\n"
        "print([name for name in ('web3', 'eth_account', 'eth_hash', 'eth_keyfile') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
