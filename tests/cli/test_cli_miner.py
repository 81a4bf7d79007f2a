"""The gateway in the registry, against a real node."""

import tomllib

import pytest
from cli_chain_kit import CHEAP, PASSPHRASE, b64, chain_world, dev_key, device_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.chain.contracts import log_id
from gateway.crypto.keystore import lock
from gateway.ops.exitcodes import ExitCode
from gateway.tlog.checkpoint import VerifierKey

ORIGIN = "securenet/plant/gw-1"


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    with chain_world(tmp_path_factory.mktemp("chain")) as world:
        world.deploy()
        yield world


@pytest.fixture
def world(town, tmp_path):
    with town.undone():
        yield town.configure(tmp_path)


def register(world, *options):
    return world.call("miner", "register", *options, who=world.operator)


def test_a_gateway_is_registered_from_its_configuration_and_its_log_is_opened(world):
    done = register(world)
    assert (done.exit_code, done.json["registered"]) == (ExitCode.OK, True)
    assert [each["what"] for each in done.json["transactions"]] == ["registered", "opened"]
    account = world.web3.eth.accounts[3]
    assert world.registry().functions.isActiveMiner(account, log_id(ORIGIN)).call()
    shown = world.call("miner", "show").json
    assert (shown["status"], shown["account"], shown["log_size"]) == ("active", account, 0)
    assert shown["log_key"] == done.json["log_key"]


def test_registering_again_sends_nothing_not_even_an_opening(world):
    register(world)
    before = world.transactions()
    again = register(world)
    assert (again.exit_code, again.json["registered"], again.json["transactions"]) == (ExitCode.OK, False, [])
    assert world.transactions() == before


def test_an_opening_that_is_missing_is_made_up_for(world):
    facts = ("gw-1", "plant", *(bytes.fromhex(register_facts(world)[name][2:]) for name in ("log_key", "hpke_key")))
    world.registry().functions.registerMiner((*facts, world.web3.eth.accounts[3])).transact(
        {"from": world.web3.eth.accounts[0]}
    )
    assert [each["what"] for each in register(world).json["transactions"]] == ["opened"]


def register_facts(world):
    with world.undone():
        return register(world).json


def test_another_key_under_the_same_id_is_a_conflict_that_names_renewal(world):
    register(world)
    found = register(world, "--log-key", b64(device_key(7)))
    assert found.exit_code == ExitCode.NEGATIVE
    assert "another log key" in found.json["error"]
    assert "securenet miner renew" in found.json["error"]


def test_another_gateway_needs_all_its_facts(world):
    found = register(world, "gw-2")
    assert found.exit_code == ExitCode.USAGE
    assert "--log-key, --hpke-key and --account" in found.json["error"]
    keys = (
        "--log-key",
        VerifierKey("securenet/plant/gw-2", device_key(8)).text,
        "--hpke-key",
        "0x" + "00" * 31 + "09",
    )
    done = register(world, "gw-2", *keys, "--account", world.web3.eth.accounts[4])
    assert (done.exit_code, done.json["origin"]) == (ExitCode.OK, "securenet/plant/gw-2")
    assert world.call("miner", "show", "gw-2").json["log_key"] == f"0x{device_key(8).hex()}"


def test_a_registrar_needs_no_configuration_when_all_is_said(world, tmp_path):
    table = tomllib.loads(world.section)["chain"]
    world.config = tmp_path / "none.toml"
    where = ("--rpc", world.node.url, "--registry-address", table["registry"], "--anchor-log", table["anchor_log"])
    keys = ("--log-key", b64(device_key(8)), "--hpke-key", "0x" + "00" * 31 + "09")
    options = ("--fleet", "yard", *keys, "--account", world.web3.eth.accounts[4])
    assert register(world, "gw-3", *where, *options[2:]).exit_code == ExitCode.CONFIG
    done = register(world, "gw-3", *where, *options)
    assert (done.exit_code, done.json["origin"]) == (ExitCode.OK, "securenet/yard/gw-3")
    assert register(world, "gw-3", *where[2:], *options).exit_code == ExitCode.USAGE


def test_a_taken_account_is_told_in_words(world):
    register(world)
    keys = ("--log-key", b64(device_key(8)), "--hpke-key", "0x" + "00" * 31 + "09")
    found = register(world, "gw-2", *keys, "--account", world.web3.eth.accounts[3])
    assert (found.exit_code, found.json["details"][0]["error"]) == (ExitCode.NEGATIVE, "AccountTaken")
    assert "bound to another miner" in found.json["error"]


@pytest.mark.parametrize(
    ("option", "value"), [("--log-key", "AAAA"), ("--hpke-key", "0x12"), ("--log-key", "0xzz"), ("--account", "me")]
)
def test_a_key_that_is_none_is_a_usage_error(world, option, value):
    assert register(world, option, value).exit_code == ExitCode.USAGE


def test_a_gateway_without_an_hpke_key_is_told_to_make_one(world):
    text = world.config.read_text()
    world.config.write_text("\n".join(line for line in text.splitlines() if not line.startswith("hpke")) + "\n")
    found = register(world)
    assert found.exit_code == ExitCode.USAGE
    assert "securenet key create" in found.json["error"]


def test_a_rotation_under_way_is_what_renewal_registers(world, tmp_path):
    register(world)
    assert world.call("miner", "renew", who=world.operator).json["renewed"] is False
    private = Ed25519PrivateKey.from_private_bytes(b"\x21" * 32)
    next_key = tmp_path / "log-key.pem.next"
    next_key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    next_key.chmod(0o600)
    next_account = tmp_path / "anchoring.json.next"
    next_account.write_bytes(lock(dev_key(5), PASSPHRASE.encode(), CHEAP))
    next_account.chmod(0o600)
    done = world.call("miner", "renew", who=world.operator)
    assert (done.exit_code, done.json["renewed"]) == (ExitCode.OK, True)
    shown = world.call("miner", "show").json
    assert shown["log_key"] == f"0x{private.public_key().public_bytes_raw().hex()}"
    assert shown["account"] == world.web3.eth.accounts[5]
    assert not world.registry().functions.isActiveMiner(world.web3.eth.accounts[3], log_id(ORIGIN)).call()


def test_renewing_who_was_never_registered_is_refused(world):
    found = world.call("miner", "renew", who=world.operator)
    assert (found.exit_code, found.json["details"][0]["error"]) == (ExitCode.NEGATIVE, "NotRegistered")


def test_a_miner_is_suspended_reinstated_and_revoked(world):
    register(world)
    for verb, status in (("suspend", "suspended"), ("reinstate", "active")):
        assert world.call("miner", verb, who=world.operator).exit_code == ExitCode.OK
        assert world.call("miner", "show").json["status"] == status
    assert world.call("miner", "revoke", "gw-1", who=world.operator).exit_code == ExitCode.USAGE
    assert world.call("miner", "revoke", "gw-1", "--yes", who=world.operator).exit_code == ExitCode.OK
    assert world.call("miner", "show").json["status"] == "revoked"


def test_who_is_not_registered_is_a_no(world):
    assert world.call("miner", "show", "nobody").exit_code == ExitCode.NEGATIVE
    key = b64(device_key(1))
    world.call("device", "register", "dev-1", "--fleet", "plant", "--public-key", key, who=world.operator)
    assert world.call("miner", "show", "dev-1").exit_code == ExitCode.NEGATIVE
    assert "is a device" in world.call("miner", "suspend", "dev-1", who=world.operator).json["error"]
