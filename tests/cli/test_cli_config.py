from pathlib import Path

import pytest
from cli_world import b64, device_line, miner_line

from gateway.crypto.keystore import ScryptCost, lock
from gateway.ops.exitcodes import ExitCode


def test_a_sound_configuration_holds(world, securenet):
    answer = securenet("check-config", "--config", world.config, "--json")
    assert (answer.exit_code, answer.json["ok"]) == (ExitCode.OK, True)


def test_every_fault_is_told_at_once_with_its_line(tmp_path, securenet):
    path = tmp_path / "bad.toml"
    path.write_text('[gateway]\nid = "gw 1"\nfleet = "f"\nflet = 1\n[mqtt]\nport = 0\n', encoding="utf-8")
    answer = securenet("check-config", "--config", path, "--json")
    assert answer.exit_code == ExitCode.CONFIG
    assert [(fault["line"], fault["key"]) for fault in answer.json["details"]] == [
        (2, "gateway.id"),
        (4, "gateway.flet"),
        (6, "mqtt.port"),
    ]
    assert "did you mean fleet?" in securenet("check-config", "--config", path).stderr


def test_a_missing_configuration_is_a_config_fault_without_a_traceback(tmp_path, securenet):
    answer = securenet("show-config", "--config", tmp_path / "none.toml")
    assert answer.exit_code == ExitCode.CONFIG
    assert "example-config" in answer.stderr


@pytest.mark.parametrize(
    ("breakage", "key"),
    [
        (lambda world: world.registry.unlink(), "registry.file"),
        (lambda world: world.registry.write_text("{}\n"), "registry.file"),
        (lambda world: world.write_registry(), "registry.file"),
        (lambda world: world.log_key_file.chmod(0o644), "gateway.log_key_file"),
        (lambda world: world.log_key_file.write_text("no key"), "gateway.log_key_file"),
    ],
    ids=["no registry", "bad registry", "no miner in it", "key open to others", "no key"],
)
def test_files_that_cannot_be_used_are_faults_of_the_key_that_names_them(world, securenet, breakage, key):
    breakage(world)
    answer = securenet("check-config", "--config", world.config, "--json")
    assert answer.exit_code == ExitCode.CONFIG
    assert [fault["key"] for fault in answer.json["details"]] == [key]
    assert answer.json["details"][0]["line"] > 0
    assert securenet("check-config", "--config", world.config, "--syntax-only").exit_code == ExitCode.OK


def test_show_config_prints_what_loads_into_the_same_configuration(world, securenet, tmp_path):
    shown = tmp_path / "shown.toml"
    shown.write_text(securenet("show-config", "--config", world.config).stdout, encoding="utf-8")
    first = securenet("show-config", "--config", world.config, "--json").json
    assert securenet("show-config", "--config", shown, "--json").json == first
    assert first["mqtt"]["enabled"] is False


def test_the_example_is_the_committed_file(securenet):
    committed = Path(__file__).parents[2] / "config" / "gateway.example.toml"
    assert securenet("example-config").stdout == committed.read_text(encoding="utf-8")


def test_show_config_never_opens_the_secret(world, securenet):
    world.log_key_file.chmod(0o600)
    text = securenet("show-config", "--config", world.config).stdout
    assert "PRIVATE KEY" not in text
    assert str(world.log_key_file) in text


CHAIN = """
[chain]
rpc = ["http://127.0.0.1:8545"]
chain_id = 1
registry = "0x1111111111111111111111111111111111111111"
anchor_log = "0x2222222222222222222222222222222222222222"
[anchor]
key_file = "{folder}/anchoring.json"
passphrase_file = "{folder}/anchoring.pass"
"""


def with_chain(world, passphrase=b"right"):
    for name, data in (
        ("anchoring.json", lock(b"\x01" * 32, b"right", ScryptCost(1024, 8, 1))),
        ("anchoring.pass", passphrase),
    ):
        path = world.config.parent / name
        path.touch(mode=0o600)
        path.write_bytes(data)
    text = world.config.read_text(encoding="utf-8") + CHAIN.format(folder=world.config.parent)
    world.config.write_text(text, encoding="utf-8")


def test_with_a_chain_the_registry_file_is_not_looked_at_and_the_keystore_is(world, securenet):
    world.registry.unlink()
    with_chain(world)
    assert securenet("check-config", "--config", world.config).exit_code == ExitCode.OK


@pytest.mark.parametrize(
    ("breakage", "key"),
    [
        (lambda folder: (folder / "anchoring.json").unlink(), "anchor.key_file"),
        (lambda folder: (folder / "anchoring.json").write_text("{}"), "anchor.key_file"),
        (lambda folder: (folder / "anchoring.pass").unlink(), "anchor.passphrase_file"),
        (lambda folder: (folder / "anchoring.pass").chmod(0o644), "anchor.passphrase_file"),
    ],
    ids=["no keystore", "a keystore that is none", "no passphrase", "a passphrase open to others"],
)
def test_an_anchoring_key_that_cannot_be_opened_is_a_fault_of_its_key(world, securenet, breakage, key):
    with_chain(world)
    breakage(world.config.parent)
    answer = securenet("check-config", "--config", world.config, "--json")
    assert answer.exit_code == ExitCode.CONFIG
    assert [fault["key"] for fault in answer.json["details"]] == [key]


def test_a_wrong_passphrase_is_told_and_never_shown(world, securenet):
    with_chain(world, b"wrong-secret")
    answer = securenet("check-config", "--config", world.config)
    assert answer.exit_code == ExitCode.CONFIG
    assert "passphrase" in answer.stderr
    assert "wrong-secret" not in answer.stderr


def test_a_registry_that_has_another_key_for_this_gateway_is_a_fault(world, securenet):
    """The gateway would start, and take nothing (miner-unknown)."""
    world.write_registry(device_line(), miner_line(public_key=b64(b"\x01" * 32)))
    answer = securenet("check-config", "--config", world.config, "--json")
    assert answer.exit_code == ExitCode.CONFIG
    assert [fault["key"] for fault in answer.json["details"]] == ["registry.file"]
    assert "another key" in answer.json["details"][0]["problem"]


def test_a_registry_that_has_this_gateway_suspended_is_a_fault(world, securenet):
    world.write_registry(device_line(), miner_line(status="suspended"))
    answer = securenet("check-config", "--config", world.config, "--json")
    assert answer.exit_code == ExitCode.CONFIG
    assert "suspended" in answer.json["details"][0]["problem"]


def test_faults_of_files_stand_in_the_order_of_their_lines(world, securenet):
    world.registry.unlink()
    world.log_key_file.unlink()
    lines = [fault["line"] for fault in securenet("check-config", "--config", world.config, "--json").json["details"]]
    assert len(lines) == 2
    assert lines == sorted(lines)
