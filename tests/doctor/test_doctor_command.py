"""``securenet doctor`` as people and scripts call it, and the commands of its page."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.anvil import skip_or_fail
from support.gateway import Gateway
from support.mosquitto import free_port

from gateway.cli.main import cli
from gateway.doctor.table import CHECKS, sheets
from gateway.ops.exitcodes import ExitCode

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations" / "doctor.md"


@pytest.fixture
def gateway(tmp_path):
    made = Gateway(
        tmp_path / "gw", [], {"coap": {"port": free_port(), "host": "127.0.0.1"}, "http": {"enabled": False}}
    )
    tmp_path.chmod(0o700)
    made.folder.chmod(0o700)
    yield made
    made.end()


def securenet(*arguments, **env):
    return CliRunner().invoke(cli, [str(each) for each in arguments], env=env)


def test_the_checks_are_listed():
    told = json.loads(securenet("doctor", "--list", "--json").stdout)["checks"]
    assert [each["name"] for each in told] == [check.name for check in CHECKS]
    assert "disk" in securenet("doctor", "--list").stdout


def test_a_check_that_does_not_exist(gateway):
    result = securenet("doctor", "--config", gateway.config, "--only", "weather")
    assert result.exit_code == ExitCode.USAGE
    assert "clock" in result.output


def test_warnings_and_errors_have_their_exit_codes(gateway):
    common = ("doctor", "--config", gateway.config, "--json", "--only")
    fine = securenet(*common, "config")
    assert (fine.exit_code, json.loads(fine.stdout)["severity"]) == (ExitCode.OK, "ok")
    silent = securenet(*common, "gateway")
    assert (silent.exit_code, json.loads(silent.stdout)["severity"]) == (ExitCode.NEGATIVE, "warning")
    missing = securenet(*common, "disk")
    assert (missing.exit_code, json.loads(missing.stdout)["severity"]) == (ExitCode.UNAVAILABLE, "error")
    finding = json.loads(missing.stdout)["findings"][0]
    assert set(finding) == {"check", "name", "severity", "what", "remedy", "details"}
    assert finding["name"] == "disk.missing"


def test_a_broken_configuration_is_a_finding_with_the_rest(tmp_path):
    config = tmp_path / "gateway.toml"
    config.write_text('[gateway]\nid = "gw-1"\n')
    result = securenet("doctor", "--config", config, "--only", "config", "--only", "clock", "--only", "disk")
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert "gateway.fleet" in result.stdout
    assert "securenet check-config" in result.stdout
    assert "not asked without a configuration: disk" in result.stdout
    assert "clock" in result.stdout


def test_a_file_of_credentials_that_others_may_read(gateway, tmp_path):
    file = tmp_path / "device"
    file.write_text("dev-1\nsecret\n")
    file.chmod(0o644)
    result = securenet("doctor", "--config", gateway.config, "--device-credentials", file)
    assert result.exit_code == ExitCode.SECRET
    assert "secret" not in result.output.replace("securenet", "")
    file.chmod(0o600)
    file.write_text("dev-1\n")
    assert securenet("doctor", "--config", gateway.config, "--device-credentials", file).exit_code == ExitCode.SECRET


async def test_beside_a_running_gateway(gateway):
    gateway.start()
    await gateway.ready()
    command = [sys.executable, "-m", "gateway", "doctor", "--config", str(gateway.config), "--json"]
    checks = ("gateway", "config", "keys", "journal", "registry", "disk", "machine", "page")
    only = [word for name in checks for word in ("--only", name)]
    done = subprocess.run([*command, *only], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    found = {each["name"]: each for each in json.loads(done.stdout)["findings"]}
    assert {"gateway.ok", "config.ok", "keys.ok", "journal.ok", "registry.no-devices"} <= set(found), found
    assert not [name for name, each in found.items() if each["severity"] == "error"]
    status = await gateway.status()
    assert status is not None
    assert status["ready"]


def test_help_imports_no_chain_and_no_web_server():
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom gateway.cli.main import cli\n"
        "for name in ('doctor', 'support-bundle'):\n"
        "    assert CliRunner().invoke(cli, [name, '--help']).exit_code == 0\n"
        "import gateway.doctor.table\n"
        "print([each for each in ('web3', 'eth_account', 'mqttium') if each in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_page_has_the_remedies_of_the_program():
    text = PAGE.read_text(encoding="utf-8")
    for sheet in sheets():
        for name, kind in sheet.kinds.items():
            assert f"| `{sheet.check}.{name}` | {kind.severity.word} | {kind.remedy} |" in text, (
                f"{sheet.check}.{name}"
            )


@pytest.mark.slow
def test_every_command_of_the_page_runs(gateway, tmp_path):
    commands = re.findall(r"^    ((?:sudo -u securenet )?securenet .*|tar .*)$", PAGE.read_text(), re.MULTILINE)
    assert len(commands) >= 6
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command.removeprefix("sudo -u securenet ")],
            cwd=tmp_path,
            env=os.environ | {"PATH": path, "SECURENET_CONFIG": str(gateway.config)},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode in {0, 1, 71}, f"{command}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, command
        assert done.stdout


def test_on_a_narrow_terminal_lines_are_broken_between_words_and_commands_stay_whole(tmp_path):
    """A remedy is copied from the screen: a command may stand on a line of its own, and is never cut."""
    script = shutil.which("script")
    if script is None:
        skip_or_fail("script is not installed (apt-get install bsdutils)")
    command = f"COLUMNS=60 {sys.executable} -m gateway doctor --only disk --config {tmp_path}/gateway.toml"
    (tmp_path / "gateway.toml").write_text('[gateway]\nid = "gw-1"\nfleet = "f"\ndata_dir = "/nowhere/data"\n')
    done = subprocess.run([script, "-qec", command, "/dev/null"], capture_output=True, text=True, check=False)
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert "`install -d -o securenet -g securenet -m 0750 /nowhere/data`," in [line.strip() for line in lines]
    assert all(len(line) <= 60 or "`" in line for line in lines)
    assert len(lines) > 3
