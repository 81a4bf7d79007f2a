"""Deploying, looking, and counting money, against a real node."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cli_chain_kit import chain_world, run

from gateway.config.load import parse_config
from gateway.ops.exitcodes import ExitCode


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    with chain_world(tmp_path_factory.mktemp("chain")) as world:
        world.deploy()
        yield world


@pytest.fixture
def world(town, tmp_path):
    with town.undone():
        yield town.configure(tmp_path)


def test_what_deploy_prints_is_a_configuration_that_holds(world):
    table = tomllib.loads(world.section)["chain"]
    assert table["chain_id"] == 31337
    config = parse_config('[gateway]\nid = "gw-1"\nfleet = "plant"\n' + world.section, Path("x"))
    assert config.chain.deploy_block == table["deploy_block"] > 0


def test_the_deployer_has_every_role_unless_others_are_named(world):
    others = world.web3.eth.accounts[4:7]
    options = zip(("--admin", "--registrar", "--suspender"), others, strict=True)
    made = run(
        "chain",
        "deploy",
        "--rpc",
        world.node.url,
        *world.operator,
        *(word for pair in options for word in pair),
        "--json",
    )
    assert made.json["roles"] == dict(zip(("admin", "registrar", "suspender"), others, strict=True))
    contract = world.web3.eth.contract(address=made.json["registry"], abi=world.registry().abi)
    assert contract.functions.hasRole(contract.functions.SUSPENDER_ROLE().call(), others[2]).call()
    assert not contract.functions.hasRole(
        contract.functions.REGISTRAR_ROLE().call(), world.web3.eth.accounts[0]
    ).call()


def test_a_dry_run_of_deploy_says_the_cost_and_sends_nothing(world):
    before = world.transactions()
    sender = world.web3.eth.accounts[0]
    found = run("chain", "deploy", "--rpc", world.node.url, "--dry-run", "--from", sender, "--json")
    assert (found.exit_code, found.json["enough"], world.transactions()) == (ExitCode.OK, True, before)
    assert 5_000_000 < found.json["gas"] < 6_500_000
    assert "Nothing was sent" in run("chain", "deploy", "--rpc", world.node.url, "--dry-run", "--from", sender).stdout


def test_another_chain_id_is_refused_before_anything_is_sent(world):
    before = world.transactions()
    found = run("chain", "deploy", "--rpc", world.node.url, "--chain-id", 1, *world.operator)
    assert (found.exit_code, world.transactions()) == (ExitCode.CONFIG, before)
    assert "31337" in found.stderr


def test_an_account_without_funds_is_told_how_much_is_missing(world):
    found = run("chain", "deploy", "--rpc", world.node.url, *world.poor)
    assert found.exit_code == ExitCode.CHAIN
    assert "has 0 wei" in found.stderr
    assert "more" in found.stderr


def test_a_fee_above_the_limit_is_not_paid(world):
    before = world.transactions()
    found = run("chain", "deploy", "--rpc", world.node.url, *world.operator, "--max-fee-gwei", "0.000000001")
    assert (found.exit_code, world.transactions()) == (ExitCode.CHAIN, before)
    assert "--max-fee-gwei" in found.stderr


def test_what_is_missing_is_deployed_for_a_registry_that_is_there(world):
    standing = tomllib.loads(world.section)["chain"]
    before = world.transactions()
    made = world.deploy("--registry-address", standing["registry"], "--deploy-block", standing["deploy_block"])
    assert (made["registry"], made["deploy_block"]) == (standing["registry"], standing["deploy_block"])
    assert made["anchor_log"] != standing["anchor_log"]
    assert world.transactions() == before + 2
    there = ("--registry-address", standing["registry"], "--anchor-log-address", standing["anchor_log"])
    alone = world.deploy(*there, "--deploy-block", standing["deploy_block"])
    assert (alone["registry"], alone["anchor_log"]) == (standing["registry"], standing["anchor_log"])
    assert alone["model_registry"] not in {standing["model_registry"], made["model_registry"]}
    assert world.transactions() == before + 3


def test_a_log_without_its_registry_is_a_wrong_command_line(world):
    address = world.web3.eth.accounts[5]
    found = run("chain", "deploy", "--rpc", world.node.url, *world.operator, "--anchor-log-address", address)
    assert found.exit_code == ExitCode.USAGE
    assert "--registry-address" in found.stderr


def test_a_registry_address_without_code_is_told_in_words(world):
    found = run(
        "chain", "deploy", "--rpc", world.node.url, *world.operator, "--registry-address", world.web3.eth.accounts[5]
    )
    assert found.exit_code == ExitCode.NEGATIVE
    assert "there is no contract at" in found.stderr


def test_legacy_gas_deploys_too(world):
    made = run("chain", "deploy", "--rpc", world.node.url, *world.operator, "--legacy-gas", "--json")
    assert made.exit_code == ExitCode.OK, made.output
    block = world.web3.eth.get_block(made.json["deploy_block"], full_transactions=True)
    assert block["transactions"][0]["type"] == 0


def test_a_url_with_a_query_may_hold_a_key_and_is_not_printed(world):
    url = f"{world.node.url}/?apikey=0123456789hush"
    made = run("chain", "deploy", "--rpc", url, *world.operator)
    assert made.exit_code == ExitCode.OK, made.output
    assert "hush" not in made.output
    assert 'rpc = ["credential:rpc-url"]' in made.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), ExitCode.USAGE, "--key-file is missing"),
        (("--key-file", "none.json", "--passphrase-file", "none"), ExitCode.SECRET, "cannot be read"),
        (("--rpc", "ftp://x"), ExitCode.USAGE, "--rpc"),
        (("--rpc", "http://user:hush@localhost"), ExitCode.USAGE, "credential:NAME"),
        (("--admin", "0x12"), ExitCode.USAGE, "40 hexadecimal digits"),
    ],
    ids=["no key", "no file", "no http", "password in the URL", "no address"],
)
def test_a_wrong_command_line_is_told_before_the_chain_is_asked(arguments, code, words):
    found = run("chain", "deploy", "--rpc", "http://127.0.0.1:1", *arguments)
    assert found.exit_code == code, found.output
    assert words in found.stderr
    assert "hush" not in found.output


def test_a_wrong_passphrase_is_a_secret_error(world, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong\n")
    wrong.chmod(0o600)
    found = run("chain", "deploy", "--rpc", world.node.url, *world.operator[:3], wrong)
    assert found.exit_code == ExitCode.SECRET
    assert "MAC mismatch" in found.stderr


def test_status_names_what_is_missing_and_is_content_when_nothing_is(world):
    found = world.call("chain", "status")
    assert found.exit_code == ExitCode.NEGATIVE
    assert "not registered" in found.json["problems"][0]
    assert world.call("miner", "register", who=world.operator).exit_code == ExitCode.OK
    found = world.call("chain", "status")
    assert (found.exit_code, found.json["problems"]) == (ExitCode.OK, [])
    assert found.json["miner"]["status"] == "active"
    assert found.json["account"]["address"] == world.web3.eth.accounts[3]
    assert found.json["log"] | {"root": ""} == {
        "origin": "securenet/plant/gw-1",
        "size": 0,
        "root": "",
        "frozen": False,
    }
    assert "gw-1, active" in run("chain", "status", "--config", world.config).stdout


def test_status_tells_of_another_account_and_a_suspension(world, tmp_path):
    assert world.call("miner", "register", who=world.operator).exit_code == ExitCode.OK
    assert world.call("miner", "suspend", who=world.operator).exit_code == ExitCode.OK
    (tmp_path / "anchoring.json").write_bytes((world.root / "stranger.json").read_bytes())
    problems = " ".join(world.call("chain", "status").json["problems"])
    assert "is suspended" in problems
    assert "securenet miner renew" in problems


def test_status_of_two_endpoints_names_the_dead_one_and_asks_the_other(world, tmp_path):
    dead = "http://127.0.0.1:1"
    world.configure(tmp_path, world.section.replace("rpc = [", f'rpc = ["{dead}", '))
    found = world.call("chain", "status")
    first, second = found.json["endpoints"]
    assert "no connection" in first["fault"]
    assert second["head"] > 0
    assert found.json["contracts"] == "verified"
    assert found.exit_code == ExitCode.NEGATIVE


def test_status_without_any_endpoint_has_its_own_code(world, tmp_path):
    world.configure(tmp_path, world.section.replace(str(world.node.port), "1"))
    assert world.call("chain", "status").exit_code == ExitCode.CHAIN


def test_status_tells_of_a_wrong_contract(world, tmp_path):
    table = tomllib.loads(world.section)["chain"]
    world.configure(tmp_path, world.section.replace(table["anchor_log"], world.web3.eth.accounts[9]))
    found = world.call("chain", "status")
    assert found.exit_code == ExitCode.NEGATIVE
    assert any("has no code" in problem for problem in found.json["problems"])


def test_without_a_chain_the_commands_say_what_to_set(world, tmp_path):
    world.configure(tmp_path, "")
    for command in (("chain", "status"), ("chain", "fund-check"), ("miner", "show"), ("device", "suspend", "x")):
        found = world.call(*command)
        assert found.exit_code == ExitCode.CONFIG, command
        assert "[chain] rpc" in found.json["error"]


def test_status_by_options_needs_no_configuration(world, tmp_path):
    table = tomllib.loads(world.section)["chain"]
    world.config = tmp_path / "none.toml"
    where = ("--rpc", world.node.url, "--registry-address", table["registry"], "--anchor-log", table["anchor_log"])
    found = world.call("chain", "status", *where)
    assert (found.exit_code, found.json["chain_id"]) == (ExitCode.OK, 31337)


def test_money_is_counted_in_anchors_and_days(world):
    rich = world.call("chain", "fund-check")
    assert (rich.exit_code, rich.json["enough"]) == (ExitCode.OK, True)
    assert rich.json["days"] == pytest.approx(rich.json["anchors"] * 600 / 86400, rel=0.01, abs=0.1)
    poor = world.call("chain", "fund-check", "--account", "0x" + "12" * 20)
    assert (poor.exit_code, poor.json["anchors"]) == (ExitCode.NEGATIVE, 0)


def test_the_reserve_for_one_transaction_is_no_money_to_spend(world):
    account = "0x" + "12" * 20
    reserve = world.call("chain", "fund-check", "--account", account).json["reserve_wei"]
    world.web3.provider.make_request("anvil_setBalance", [account, hex(reserve - 1)])
    found = world.call("chain", "fund-check", "--account", account, "--days", "0")
    assert found.json["anchors"] == 0
    world.web3.provider.make_request("anvil_setBalance", [account, hex(2 * reserve)])
    assert world.call("chain", "fund-check", "--account", account, "--days", "0").json["anchors"] > 0


def test_funds_are_sent_exactly(world):
    account = "0x" + "13" * 20
    sent = world.call("chain", "fund", "--ether", "0.000000000000000003", "--account", account, who=world.operator)
    assert sent.exit_code == ExitCode.OK, sent.output
    assert world.web3.eth.get_balance(world.web3.to_checksum_address(account)) == 3
    for amount in ("0", "-1", "nan", "inf", "1e-19", "much"):
        assert world.call("chain", "fund", "--ether", amount, who=world.operator).exit_code == ExitCode.USAGE


def test_waiting_for_finality_waits_for_blocks_on_top(world):
    found = world.call("miner", "register", "--wait", "final", "--timeout", "1", who=world.operator)
    assert found.exit_code == ExitCode.CHAIN
    assert "not final" in found.json["error"]
    assert found.json["details"][0]["tx_hash"].startswith("0x")
    world.web3.provider.make_request("anvil_mine", ["0x8"])
    again = world.call("miner", "register", who=world.operator)
    assert (again.exit_code, again.json["registered"]) == (ExitCode.OK, False)


def test_a_chain_for_development_runs_until_it_is_told_to_end():
    command = [sys.executable, "-m", "gateway", "chain", "dev", "--port", "0", "--block-time", "0.1", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        said = ""
        while not said.endswith("\n}\n"):
            said += process.stdout.readline()
        known = json.loads(said)
        assert (known["chain_id"], len(known["accounts"])) == (31337, 10)
        sender = known["accounts"][0]["address"]
        found = run("chain", "deploy", "--rpc", known["url"], "--dry-run", "--from", sender, "--json")
        assert (found.exit_code, found.json["enough"]) == (ExitCode.OK, True)
        process.terminate()
        assert process.wait(20) == ExitCode.OK
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_without_a_chain_no_ethereum_library_is_imported(tmp_path):
    registry = tmp_path / "registry.jsonl"
    registry.write_text("")
    code = (
        "import sys\nfrom gateway.cli.main import cli\n"
        f"try:\n    cli(['device', 'list', '--registry', {str(registry)!r}])\nexcept SystemExit: pass\n"
        "for group in ('chain', 'miner', 'anchor', 'device'):\n"
        "    try:\n        cli([group, '--help'])\n    except SystemExit: pass\n"
        "print([name for name in sys.modules if name.startswith(('web3', 'eth_', 'aiohttp', 'hexbytes'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_without_the_ethereum_libraries_the_command_that_installs_them_is_named(tmp_path):
    code = (
        "import sys\nfor name in ('web3', 'eth_abi', 'eth_hash'): sys.modules[name] = None\n"
        "from gateway.cli.main import cli\n"
        "cli(['chain', 'deploy', '--rpc', 'http://127.0.0.1:1', '--dry-run', '--from', '0x' + '12' * 20])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == ExitCode.CONFIG, done.stderr
    assert "pip install 'securenet-gateway[chain]'" in done.stderr
