"""The units, as systemd's own tools see them."""

import dataclasses
import re
import shutil
import subprocess
import typing
from pathlib import Path

import pytest
from support.booted import need

from gateway.config.model import Config
from gateway.ops.exitcodes import ExitCode

UNITS = Path(__file__).resolve().parents[2] / "systemd"
GATEWAY = UNITS / "securenet-gateway.service"
SERVICES = ("securenet-gateway.service", "securenet-fsck.service")


def analyze(*arguments):
    need(
        shutil.which("systemd-analyze") is not None,
        "systemd is not installed (apt-get install systemd)",
        from_apt=True,
    )
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


def values(unit, name):
    return re.findall(rf"^{name}=(.*)$", unit.read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_may_do_is_scored_two_at_most(name):
    done = analyze("security", "--offline=true", "--threshold=20", "--no-pager", str(UNITS / name))
    score = float(re.search(r"Overall exposure level for .*: ([0-9.]+)", done.stdout)[1])
    assert score <= 2.0
    assert done.returncode == 0


def test_systemd_finds_no_fault_but_the_two_keys_that_it_does_not_know_yet(tmp_path):
    for unit in [*UNITS.glob("*.service"), *UNITS.glob("*.timer")]:
        (tmp_path / unit.name).write_text(unit.read_text().replace("/usr/bin/securenet", "/bin/true"))
    done = analyze("verify", "--man=no", "--recursive-errors=no", *map(str, sorted(tmp_path.iterdir())))
    faults = [line for line in done.stderr.splitlines() if not re.search("'Restart(Steps|MaxDelaySec)'", line)]
    assert faults == []


def test_an_end_by_sighup_is_no_clean_end():
    """So systemd takes it (systemd.service(5)): a reload asked for in the first moment would be the last."""
    assert values(GATEWAY, "RestartForceExitStatus") == ["SIGHUP"]


def test_it_is_not_started_again_where_that_would_not_help():
    (line,) = values(GATEWAY, "RestartPreventExitStatus")
    assert {int(code) for code in line.split()} == {
        ExitCode.USAGE,
        ExitCode.REGISTRY,
        ExitCode.JOURNAL,
        ExitCode.SECRET,
        ExitCode.CONFIG,
    }


def test_every_secret_that_the_configuration_names_by_default_is_passed_on_from_the_key_directory():
    passed = dict(line.split(":", 1) for line in values(GATEWAY, "LoadCredential"))
    assert all(source == f"securenet.{name}" for name, source in passed.items())
    wanted = set()
    for section in dataclasses.fields(Config):
        kind = typing.get_type_hints(Config)[section.name]
        for field in dataclasses.fields(kind):
            if isinstance(field.default, str) and field.default.startswith("credential:"):
                wanted.add(field.default.removeprefix("credential:"))
    assert wanted <= set(passed)


def test_the_program_is_started_by_one_name_in_every_unit():
    for name in SERVICES:
        (line,) = values(UNITS / name, "ExecStart")
        assert line.startswith("/usr/bin/securenet ")
        assert "--config /etc/securenet/gateway.toml" in line


def test_the_user_and_the_directories_are_what_systemds_tools_make_of_them(tmp_path):
    need(
        shutil.which("systemd-sysusers") is not None,
        "systemd-sysusers is missing (apt-get install systemd)",
        from_apt=True,
    )
    for folder in ("etc", "usr/lib/sysusers.d", "usr/lib/tmpfiles.d"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "usr/lib/sysusers.d/securenet.conf").write_text((UNITS / "securenet.sysusers").read_text())
    (tmp_path / "usr/lib/tmpfiles.d/securenet.conf").write_text((UNITS / "securenet.tmpfiles").read_text())
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", "securenet.conf"], check=True, capture_output=True)
    assert re.search("^securenet:.*:/usr/sbin/nologin$", (tmp_path / "etc/passwd").read_text(), flags=re.MULTILINE)
    done = subprocess.run(
        ["systemd-tmpfiles", "--create", f"--root={tmp_path}", "securenet.conf"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    modes = {
        name: (tmp_path / name).stat().st_mode & 0o7777
        for name in ("etc/securenet", "etc/credstore", "var/lib/securenet")
    }
    assert modes == {"etc/securenet": 0o750, "etc/credstore": 0o700, "var/lib/securenet": 0o700}
