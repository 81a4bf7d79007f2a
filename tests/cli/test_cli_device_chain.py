"""Devices let in and out by transaction, against a real node."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest
from cli_chain_kit import b64, chain_world, csv_of, device_key, run

from gateway.config.model import JournalConfig
from gateway.journal import open_journal
from gateway.journal.identities import IdentityCursor, IdentityRow
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


@pytest.fixture
def imported(world, tmp_path):
    """Import a list; the answer of the command."""

    def call(text, *options, who=None, form="csv"):
        path = tmp_path / f"list.{form}"
        path.write_text(text)
        return world.call("device", "import", f"--{form}", path, *options, who=who or world.operator)

    return call


def register(world, name, number=1, fleet="plant", who=None):
    key = b64(device_key(number))
    return world.call("device", "register", name, "--fleet", fleet, "--public-key", key, who=who or world.operator)


def status(world, name):
    return world.registry().functions.recordOf(world.web3.keccak(text=name)).call()[2]


def test_a_device_is_registered_once_and_a_second_time_costs_nothing(world):
    assert register(world, "dev-1").json["registered"] == 1
    before = world.transactions()
    again = register(world, "dev-1")
    assert (again.exit_code, again.json["already"], world.transactions()) == (ExitCode.OK, 1, before)
    assert world.registered() == ["dev-1"]


def test_the_same_id_with_another_key_or_fleet_is_a_conflict(world):
    register(world, "dev-1")
    before = world.transactions()
    for change, words in (({"number": 2}, "another public key"), ({"fleet": "yard"}, "another fleet")):
        found = register(world, "dev-1", **change)
        assert found.exit_code == ExitCode.NEGATIVE
        assert words in found.json["details"][0]["problem"]
    assert world.transactions() == before


def test_an_id_that_names_a_miner_is_no_device(world):
    assert world.call("miner", "register", who=world.operator).exit_code == ExitCode.OK
    assert "as a miner" in register(world, "gw-1").json["details"][0]["problem"]
    found = world.call("device", "revoke", "gw-1", "--yes", who=world.operator)
    assert (found.exit_code, status(world, "gw-1")) == (ExitCode.NEGATIVE, 1)
    assert "is a miner" in found.json["error"]


@pytest.mark.parametrize(
    ("fleet", "key", "words"),
    [
        ("plant floor", b64(device_key(1)), "fleet"),
        ("plant", "AAAA", "bytes"),
        ("plant", b64(bytes(32)), "small order"),
        ("plant", "junk!", "base64"),
    ],
    ids=["fleet", "short key", "small order", "no base64"],
)
def test_what_cannot_be_registered_is_refused_before_the_chain_is_asked(world, fleet, key, words):
    found = world.call("device", "register", "dev-1", "--fleet", fleet, "--public-key", key, who=world.operator)
    assert found.exit_code == ExitCode.USAGE
    assert words in found.json["error"]


def test_status_is_changed_by_transaction_and_what_is_so_already_is_left_alone(world):
    for number, name in enumerate(("dev-1", "dev-2"), 1):
        register(world, name, number)
    done = world.call("device", "suspend", "dev-1", "dev-2", "dev-1", who=world.operator)
    assert (done.json["changed"], status(world, "dev-1"), status(world, "dev-2")) == (["dev-1", "dev-2"], 2, 2)
    done = world.call("device", "reinstate", "dev-1", who=world.operator)
    assert (done.json["changed"], status(world, "dev-1")) == (["dev-1"], 1)
    done = world.call("device", "suspend", "dev-1", "dev-2", who=world.operator)
    assert (done.json["changed"], done.json["unchanged"]) == (["dev-1"], ["dev-2"])


def test_revoking_asks_and_is_for_ever(world):
    register(world, "dev-1")
    unasked = world.call("device", "revoke", "dev-1", who=world.operator)
    assert (unasked.exit_code, status(world, "dev-1")) == (ExitCode.USAGE, 1)
    assert "--yes" in unasked.json["error"]
    assert world.call("device", "revoke", "dev-1", "--yes", who=world.operator).exit_code == ExitCode.OK
    found = world.call("device", "reinstate", "dev-1", who=world.operator)
    assert (found.exit_code, found.json["details"][0]["error"]) == (ExitCode.NEGATIVE, "RevokedForEver")
    assert world.call("device", "revoke", "dev-1", "--yes", who=world.operator).json["unchanged"] == ["dev-1"]


def test_an_unknown_id_stops_before_anything_is_sent(world):
    register(world, "dev-1")
    before = world.transactions()
    found = world.call("device", "suspend", "dev-1", "nobody", who=world.operator)
    assert (found.exit_code, found.json["details"][0]["error"]) == (ExitCode.NEGATIVE, "NotRegistered")
    assert "nobody" in found.json["error"]
    assert world.transactions() == before
    assert world.call("device", "suspend", "no id", who=world.operator).exit_code == ExitCode.USAGE


def test_without_the_role_nothing_is_sent_and_the_role_is_named(world, imported):
    register(world, "dev-1")
    before = world.transactions(1)
    for found, role in (
        (register(world, "dev-2", 2, who=world.stranger), "REGISTRAR_ROLE"),
        (imported(csv_of(3, 10), who=world.stranger), "REGISTRAR_ROLE"),
        (imported(csv_of(3, 10), "--dry-run", who=world.stranger), "REGISTRAR_ROLE"),
        (world.call("device", "suspend", "dev-1", who=world.stranger), "SUSPENDER_ROLE"),
        (world.call("device", "revoke", "dev-1", "--yes", who=world.stranger), "REGISTRAR_ROLE"),
    ):
        assert found.exit_code == ExitCode.NEGATIVE
        assert role in found.json["error"]
        assert found.json["details"][0]["error"] == "AccessControlUnauthorizedAccount"
    assert world.transactions(1) == before


def test_an_account_with_the_role_and_no_money_is_told_so(world, imported):
    poor = world.web3.eth.account.from_key(b"\x07" * 32).address
    registry = world.registry().functions
    registry.grantRole(registry.REGISTRAR_ROLE().call(), poor).transact({"from": world.web3.eth.accounts[0]})
    dry = imported(csv_of(3), "--dry-run", who=world.poor)
    assert (dry.exit_code, dry.json["enough"]) == (ExitCode.OK, False)
    found = imported(csv_of(3), who=world.poor)
    assert found.exit_code == ExitCode.CHAIN
    assert "has 0 wei" in found.json["error"]
    assert world.registered() == []


def test_a_thousand_devices_are_imported_in_batches_by_fleet(world, imported):
    text = csv_of(600) + csv_of(400, 601, "yard").split("\n", 1)[1]
    found = imported(text, "--batch", "250")
    assert (found.exit_code, found.json["registered"]) == (ExitCode.OK, 1000)
    assert [each["devices"] for each in found.json["transactions"]] == [250, 250, 100, 250, 150]
    assert found.json["gas_used"] < 1000 * 45_000
    assert world.registered() == [f"dev-{n}" for n in range(1, 1001)]
    before = world.transactions()
    again = imported(text, "--batch", "250")
    assert (again.json["registered"], again.json["already"], world.transactions()) == (0, 1000, before)


def heed_interrupts():
    """Undo what a shell does to its background jobs: they ignore Ctrl-C, and so would their children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_import_that_was_interrupted_goes_on_where_it_was(world, tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(csv_of(1000))
    command = ["device", "import", "--csv", path, "--batch", "20", "--config", world.config, *world.operator]
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
        preexec_fn=heed_interrupts,  # noqa: PLW1509 -- nothing else runs in this process yet
    )
    deadline = time.monotonic() + 30
    while len(world.registered()) < 60 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    done = len(world.registered())
    assert process.returncode == ExitCode.INTERRUPTED, said
    assert "Traceback" not in said
    assert "Run the same command again" in said
    assert 60 <= done < 1000
    dry = run(*command, "--dry-run", "--json")
    assert (dry.json["already"], dry.json["devices"]) == (done, 1000 - done)
    rest = run(*command, "--batch", "250", "--json")
    assert (rest.exit_code, rest.json["registered"], rest.json["already"]) == (ExitCode.OK, 1000 - done, done)
    assert sorted(world.registered()) == sorted({f"dev-{n}" for n in range(1, 1001)})


def test_conflicts_are_all_told_with_their_lines_before_anything_is_sent(world, imported):
    register(world, "dev-3", 77)
    register(world, "dev-5", 5, fleet="yard")
    before = world.transactions()
    found = imported(csv_of(10), "--batch", "2")
    assert (found.exit_code, world.transactions()) == (ExitCode.NEGATIVE, before)
    assert [(each["line"], each["id"]) for each in found.json["details"]] == [(4, "dev-3"), (6, "dev-5")]


def test_what_is_registered_but_silent_is_told(world, imported):
    register(world, "dev-1")
    world.call("device", "suspend", "dev-1", who=world.operator)
    found = imported(csv_of(2))
    assert (found.json["registered"], found.json["not_active"]) == (1, ["dev-1"])


def test_a_dry_run_says_gas_and_cost_and_sends_nothing(world, imported):
    before = world.transactions()
    found = imported(csv_of(300), "--dry-run")
    assert (found.exit_code, world.transactions()) == (ExitCode.OK, before)
    assert (found.json["devices"], found.json["batches"], found.json["enough"]) == (300, 3, True)
    spent = imported(csv_of(300))
    assert spent.json["gas_used"] <= found.json["gas"] <= spent.json["gas_used"] * 1.1
    text = run(
        "device", "import", "--csv", world.config.parent / "list.csv", "--dry-run", "--config", world.config,
        "--from", world.web3.eth.accounts[0],
    )  # fmt: skip
    assert "300 are already" in text.stdout
    assert "Nothing was sent" in text.stdout


def test_every_faulty_line_is_told_at_once(world, imported):
    good = csv_of(2)
    key = b64(device_key(1))
    bad = f"dev 9,plant,Ed25519,{key}\ndev-1,plant,Ed25519,{key}\ndev-10,plant,RSA,AAAA\ndev-11\n"
    before = world.transactions()
    found = imported(good + bad)
    assert (found.exit_code, world.transactions()) == (ExitCode.NO_INPUT, before)
    assert [fault["line"] for fault in found.json["details"]] == [4, 5, 6, 7]
    assert "stands in line 2 already" in found.json["details"][1]["problem"]


def test_the_registry_files_format_is_imported_and_its_miners_passed_over(world, imported):
    def line(number, **changes):
        members = {"kind": "device", "id": f"dev-{number}", "fleet": "plant", "alg": "Ed25519"}
        members |= {"public_key": b64(device_key(number)), "status": "active"} | changes
        return "{" + ", ".join(f'"{name}": "{value}"' for name, value in members.items()) + "}\n"

    miner = line(9, kind="miner", id="gw-9", log="securenet/plant/gw-9")
    assert imported(line(1) + miner + "\n" + line(2), form="jsonl").json["registered"] == 2
    refused = imported(line(3, status="revoked") + line(4, status="suspended"), form="jsonl")
    assert (refused.exit_code, len(refused.json["details"])) == (ExitCode.NO_INPUT, 2)


def test_a_list_that_is_not_there_or_named_twice_is_told(world, tmp_path):
    path = tmp_path / "none.csv"
    assert world.call("device", "import", "--csv", path, who=world.operator).exit_code == ExitCode.NO_INPUT
    assert world.call("device", "import", "--csv", tmp_path, who=world.operator).exit_code == ExitCode.NO_INPUT
    for options in ((), ("--csv", path, "--jsonl", path)):
        assert world.call("device", "import", *options, who=world.operator).exit_code == ExitCode.USAGE


def test_a_wrong_deploy_block_is_caught_by_the_chain_itself(world, tmp_path):
    register(world, "dev-1")
    late = world.web3.eth.block_number + 1
    section = "\n".join(line for line in world.section.splitlines() if not line.startswith("deploy_block"))
    world.configure(tmp_path, f"{section}\ndeploy_block = {late}\n")
    found = register(world, "dev-1", 2)
    assert (found.exit_code, found.json["details"][0]["error"]) == (ExitCode.NEGATIVE, "AlreadyRegistered")


def test_with_a_chain_the_journal_says_who_is_registered(world, tmp_path):
    assert run("device", "list", "--config", world.config).exit_code == ExitCode.NO_INPUT
    rows = [
        IdentityRow("dev-1", 1, "plant", 1, device_key(1), 1),
        IdentityRow("gw-1", 2, "plant", 1, device_key(2), 1, b"a" * 20, b"h" * 32),
        IdentityRow("dev-2", 1, "yard", 1, device_key(3), 3),
    ]

    async def fill(known):
        journal = open_journal(tmp_path / "data", JournalConfig(), origin="securenet/plant/gw-1").journal
        if known:
            await journal.apply_identities(rows, IdentityCursor("source", 7, b"h" * 32, 1))
        await journal.close()

    asyncio.run(fill(known=False))
    assert run("device", "list", "--config", world.config).exit_code == ExitCode.NEGATIVE
    asyncio.run(fill(known=True))
    listed = run("device", "list", "--config", world.config, "--json").json
    assert [(each["id"], each["status"]) for each in listed["devices"]] == [("dev-1", "active"), ("dev-2", "revoked")]
    assert "block 7" in listed["source"]
    shown = run("device", "show", "dev-2", "--config", world.config, "--json").json
    assert (shown["fleet"], shown["public_key"]) == ("yard", b64(device_key(3)))
    assert run("device", "show", "gw-1", "--config", world.config).exit_code == ExitCode.NEGATIVE
