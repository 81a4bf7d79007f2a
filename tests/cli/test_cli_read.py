"""Registry, keys, quarantine and status, as the command line shows them."""

import re
import shutil
import stat
import subprocess
import sys

import pytest
from cli_world import DEVICE, LOG_KEY, device_line, miner_line
from support.anvil import skip_or_fail

from gateway.cli.main import COMMANDS
from gateway.ops.exitcodes import ExitCode


def test_help_lists_every_command_without_importing_one(securenet):
    text = securenet("--help").stdout
    assert all(name in text for name in COMMANDS)


def test_an_unknown_command_is_a_usage_error(securenet):
    assert securenet("frobnicate").exit_code == ExitCode.USAGE


def test_a_device_is_shown_and_an_unknown_one_is_a_no(world, securenet):
    answer = securenet("device", "show", DEVICE, "--config", world.config, "--json")
    assert (answer.exit_code, answer.json["status"]) == (ExitCode.OK, "active")
    assert securenet("device", "show", "nobody", "--config", world.config).exit_code == ExitCode.NEGATIVE


def test_devices_are_listed_by_status(world, securenet):
    answer = securenet("device", "list", "--status", "suspended", "--registry", world.registry, "--json")
    assert [device["id"] for device in answer.json["devices"]] == ["dev-2"]
    assert DEVICE in securenet("device", "list", "--config", world.config).stdout


def test_a_bad_registry_is_named_with_its_line(world, securenet):
    world.write_registry(device_line(), device_line())
    answer = securenet("device", "list", "--registry", world.registry, "--json")
    assert answer.exit_code == ExitCode.REGISTRY
    assert answer.json["details"][0]["line"] == 2


def test_a_key_is_made_once_closed_to_others_and_named_for_verifier_and_registry(world, securenet):
    world.log_key_file.unlink()
    made = securenet("key", "create", "--config", world.config, "--json")
    assert made.exit_code == ExitCode.OK
    assert stat.S_IMODE(world.log_key_file.stat().st_mode) == 0o600
    assert securenet("key", "create", "--config", world.config).exit_code == ExitCode.CANNOT_CREATE
    shown = securenet("key", "show", "--config", world.config, "--json").json
    assert shown["verifier_key"] == made.json["verifier_key"]
    world.write_registry(shown["registry_line"])
    assert securenet("check-config", "--config", world.config).exit_code == ExitCode.OK


def test_the_key_of_the_world_is_shown_as_its_verifier_key(world, securenet):
    shown = securenet("key", "show", "--config", world.config, "--json").json
    assert shown["verifier_key"] == LOG_KEY.text
    assert shown["registry_line"] == miner_line()


def test_a_key_open_to_others_is_a_secret_error(world, securenet):
    world.log_key_file.chmod(0o640)
    answer = securenet("key", "show", "--config", world.config)
    assert answer.exit_code == ExitCode.SECRET
    assert "chmod 600" in answer.stderr


def test_without_a_journal_the_reading_commands_say_so(world, securenet):
    for command in (["quarantine", "list"], ["log", "show"], ["log", "fsck"]):
        answer = securenet(*command, "--data-dir", world.data_dir)
        assert answer.exit_code == ExitCode.NO_INPUT, command
        assert "no journal" in answer.stderr


def test_the_quarantine_is_listed_shown_and_exported(world, securenet, tmp_path):
    world.fill(quarantine=[("malformed", None, b"\x1b[31m"), ("bad-signature", DEVICE, b"\xd2junk")])
    listed = securenet("quarantine", "list", "--config", world.config, "--json").json
    assert listed["counts"] == {"bad-signature": 1, "malformed": 1}
    first, second = (message["id"] for message in listed["messages"])
    chosen = securenet("quarantine", "list", "--config", world.config, "--reason", "bad-signature", "--json").json
    assert [message["id"] for message in chosen["messages"]] == [second]
    assert securenet("quarantine", "show", first, "--config", world.config, "--json").json["payload"] == "1b5b33316d"
    out = tmp_path / "evidence"
    assert securenet("quarantine", "export", second, "--out", out, "--config", world.config).exit_code == ExitCode.OK
    assert out.read_bytes() == b"\xd2junk"
    again = securenet("quarantine", "export", second, "--out", out, "--config", world.config)
    assert again.exit_code == ExitCode.CANNOT_CREATE
    assert securenet("quarantine", "show", 999_999, "--config", world.config).exit_code == ExitCode.NEGATIVE


def test_text_of_a_peer_reaches_the_terminal_escaped(world, securenet):
    world.fill(quarantine=[("malformed", "\x1b[31mred\u202e", b"x")])
    text = securenet("quarantine", "list", "--config", world.config).stdout
    assert "\x1b" not in text
    assert "\\x1b[31mred\\u202e" in text


def test_status_without_a_gateway_has_its_own_code(world, securenet):
    world.data_dir.mkdir()
    answer = securenet("status", "--config", world.config, "--json")
    assert (answer.exit_code, answer.json["code"]) == (ExitCode.NO_GATEWAY, "no_gateway")


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "demo"])
def test_every_command_has_help(securenet, command):
    assert securenet(command, "--help").exit_code == ExitCode.OK


def test_a_table_in_a_pipe_has_a_line_a_row_and_nothing_behind_it(world, securenet):
    world.fill(messages=2, quarantine=[("malformed", DEVICE, b"<x>")])
    for arguments in (("log", "show"), ("quarantine", "list"), ("device", "list")):
        lines = securenet(*arguments, "--config", world.config).stdout.splitlines()
        assert lines == [line.rstrip() for line in lines], arguments


def test_on_a_terminal_of_80_columns_times_and_numbers_stay_whole(world):
    script = shutil.which("script")
    if script is None:
        skip_or_fail("script is not installed (apt-get install bsdutils)")
    world.fill(messages=1, quarantine=[("bad-signature", "dev-x", b"<x>")])
    command = f"COLUMNS=80 {sys.executable} -m gateway quarantine list --config {world.config}"
    said = subprocess.run([script, "-qec", command, "/dev/null"], capture_output=True, text=True, check=True).stdout
    assert re.search(r"2024-11-21 05:00:00Z +bad-signature +dev-x +\S+ +our words", said), said
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in said.splitlines()) <= 80


def test_whoever_looks_in_the_wrong_place_is_told_where_they_looked(world, securenet, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path / "elsewhere") in securenet("status", "--data-dir", "elsewhere").stderr
    assert str(tmp_path / "elsewhere") in securenet("log", "show", "--data-dir", "elsewhere").stderr


def test_yes_and_no_are_written_as_words(world, securenet):
    world.fill(messages=1)
    assert "signatures_checked  yes" in securenet("log", "fsck", "--config", world.config).stdout
