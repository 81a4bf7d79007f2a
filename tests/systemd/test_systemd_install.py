import dataclasses
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path, PurePosixPath

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.install import install, uninstall
from gateway.cli.install_steps import (
    KeepFile,
    MakeLogKey,
    RemoveMatching,
    RemoveTree,
    Run,
    Sources,
    Wanted,
    configured,
    hidden,
    in_words,
    install_steps,
    uninstall_steps,
)
from gateway.config.example import example_toml
from gateway.config.load import load_config
from gateway.config.model import FLEET, ID
from gateway.ops.exitcodes import ExitCode
from gateway.ops.secrets import load_log_key
from gateway.registry.file import FileRegistry

ROOT = Path(__file__).resolve().parents[2]
NAMED = ("--id", "gw-1", "--fleet", "plant-7")
PROGRAM = ("--program", "/opt/securenet/bin/securenet")


def call(command, *arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def tree(root):
    """Every path below, with its mode and what it holds."""
    seen = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        held = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
        seen[str(path.relative_to(root))] = (stat.filemode(status.st_mode), held)
    return seen


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "image"
    root.mkdir()
    return root


def test_an_image_gets_all_that_a_first_start_needs(root):
    result = call(install, "--root", root, *NAMED, *PROGRAM)
    assert result.exit_code == 0, result.output
    modes = {name: mode for name, (mode, _held) in tree(root).items()}
    assert modes["etc/securenet"] == "drwxr-x---"
    assert modes["etc/securenet/gateway.toml"] == "-rw-r-----"
    assert modes["etc/securenet/registry.jsonl"] == "-rw-r-----"
    assert modes["etc/credstore"] == "drwx------"
    assert modes["etc/credstore/securenet.log-key"] == "-rw-------"
    assert modes["var/lib/securenet"] == "drwx------"
    unit = (root / "etc/systemd/system/securenet-gateway.service").read_text()
    assert "ExecStart=/opt/securenet/bin/securenet run " in unit
    link = root / "etc/systemd/system/multi-user.target.wants/securenet-gateway.service"
    assert str(link.readlink()) == "/etc/systemd/system/securenet-gateway.service"
    config = load_config(root / "etc/securenet/gateway.toml")
    assert (config.gateway.id, config.gateway.fleet) == ("gw-1", "plant-7")
    assert len(load_log_key(str(root / "etc/credstore/securenet.log-key"))) == 32
    registry = FileRegistry(root / "etc/securenet/registry.jsonl")
    registry.load()
    assert registry.snapshot.miner("gw-1") is not None


def test_a_second_time_changes_nothing_and_a_dry_run_neither(root):
    call(install, "--root", root, *NAMED, *PROGRAM)
    before = tree(root)
    again = call(install, "--root", root, *NAMED, *PROGRAM)
    assert "done " not in again.output
    assert tree(root) == before
    dry = call(install, "--root", root, *NAMED, *PROGRAM, "--dry-run")
    assert dry.output.count("would ") == again.output.count("there ")
    assert tree(root) == before


def test_a_dry_run_on_nothing_leaves_nothing(root):
    assert call(install, "--root", root, *NAMED, *PROGRAM, "--dry-run").exit_code == 0
    assert tree(root) == {}


def test_what_the_operator_wrote_is_never_written_over(root):
    call(install, "--root", root, *NAMED, *PROGRAM)
    config = root / "etc/securenet/gateway.toml"
    config.write_text(config.read_text().replace("# port = 1883", "port = 1884"))
    unit = root / "etc/systemd/system/securenet-gateway.service"
    fresh = unit.read_text()
    unit.write_text("# an older version\n")
    key = (root / "etc/credstore/securenet.log-key").read_bytes()
    call(install, "--root", root, "--id", "gw-2", "--fleet", "other", *PROGRAM)
    assert "port = 1884" in config.read_text()
    assert load_config(config).gateway.id == "gw-1"
    assert (root / "etc/credstore/securenet.log-key").read_bytes() == key
    assert unit.read_text() == fresh


def test_uninstall_keeps_configuration_keys_and_log_until_it_is_to_purge(root):
    call(install, "--root", root, *NAMED, *PROGRAM)
    (root / "var/lib/securenet/journal.db").write_bytes(b"the log")
    (root / "etc/credstore/of-another-service").write_bytes(b"not ours")
    result = call(uninstall, "--root", root)
    assert "still there" in result.output
    left = {name for name, (mode, _held) in tree(root).items() if not mode.startswith("d")}
    assert left == {
        "etc/credstore/of-another-service",
        "etc/credstore/securenet.log-key",
        "etc/securenet/gateway.example.toml",
        "etc/securenet/gateway.toml",
        "etc/securenet/registry.jsonl",
        "var/lib/securenet/journal.db",
    }
    assert call(uninstall, "--root", root, "--purge").exit_code == 0
    assert {name for name, (mode, _held) in tree(root).items() if not mode.startswith("d")} == {
        "etc/credstore/of-another-service"
    }
    assert call(uninstall, "--root", root, "--purge").exit_code == 0


def test_what_the_package_owns_is_left_to_it(root):
    packaged = root / "usr/lib/systemd/system/securenet-gateway.service"
    packaged.parent.mkdir(parents=True)
    packaged.write_text("")
    assert call(install, "--root", root, *NAMED).exit_code == 0
    assert not (root / "etc/systemd").exists()
    refused = call(uninstall, "--root", root)
    assert refused.exit_code == ExitCode.USAGE
    assert "apt remove securenet-gateway" in refused.output


@pytest.mark.parametrize("program", ["/root/.venv/bin/securenet", "/home/me/bin/securenet", "bin/securenet"])
def test_a_program_that_the_service_could_not_see_is_refused_with_a_way_out(root, program):
    result = call(install, "--root", root, "--program", program)
    assert result.exit_code == ExitCode.USAGE
    assert tree(root) == {}
    assert hidden(PurePosixPath("/opt/securenet/bin/securenet")) is None


@pytest.mark.parametrize(
    "names", [("--id", "gw-1"), ("--id", 'x"\n[http]', "--fleet", "f"), ("--id", "g", "--fleet", "")]
)
def test_names_that_no_configuration_may_have_are_refused(root, names):
    assert call(install, "--root", root, *PROGRAM, *names).exit_code == ExitCode.USAGE
    assert tree(root) == {}


@given(st.from_regex(rf"\A{ID}\Z"), st.from_regex(rf"\A{FLEET}\Z"))
def test_the_configuration_is_the_example_with_two_names_in_it(gateway_id, fleet):
    wanted, example = tomllib.loads(configured(example_toml(), fleet, gateway_id)), tomllib.loads(example_toml())
    assert wanted["gateway"].pop("id") == gateway_id
    assert wanted["gateway"].pop("fleet") == fleet
    del example["gateway"]["id"], example["gateway"]["fleet"]
    assert wanted == example


def test_every_step_has_its_words_and_secrets_are_written_after_their_directory():
    sources = Sources(
        dict.fromkeys(("securenet-gateway.service", "securenet-fsck.service", "securenet-fsck.timer"), ""), "", "", ""
    )
    steps = install_steps(Wanted(PurePosixPath("/opt/x"), packaged=False, fleet="f", gateway_id="g"), sources)
    everything = [*steps, *uninstall_steps(purge=True)]
    assert len({in_words(step) for step in everything}) >= len(everything) - 1  # daemon-reload stands in both
    kinds = [type(step) for step in steps]
    assert kinds.index(KeepFile) < kinds.index(MakeLogKey)
    assert kinds[-1] is Run
    kept = uninstall_steps(purge=False)
    assert not any(isinstance(step, RemoveTree | RemoveMatching) for step in kept)


def test_without_root_only_a_dry_run_and_an_image_are_done(root, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    refused = call(install)
    assert refused.exit_code == ExitCode.UNAVAILABLE
    assert "only root may do this" in refused.output
    assert call(uninstall).exit_code == ExitCode.UNAVAILABLE
    assert call(install, "--dry-run", *PROGRAM).exit_code == 0
    assert call(install, "--root", root, *NAMED, *PROGRAM).exit_code == 0
    assert (root / "etc/credstore/securenet.log-key").is_file()


def test_a_refusal_of_the_file_system_names_the_step(root):
    (root / "etc").write_text("a file in the place of a directory")
    result = call(install, "--root", root, *NAMED, *PROGRAM)
    assert result.exit_code == ExitCode.CANNOT_CREATE
    assert "/etc/sysusers.d/securenet.conf" in result.output


def test_the_steps_are_plain_values():
    for step in uninstall_steps(purge=True):
        assert step == type(step)(*step)
        assert not dataclasses.is_dataclass(step)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_command_of_the_page_for_pip_runs_in_its_order(tmp_path):
    page = (ROOT / "docs/operations/install.md").read_text()
    script = "\n".join(re.findall(r"^```sh pip\n(.*?)^```$", page, re.DOTALL | re.MULTILINE))
    place, image = tmp_path / "opt", tmp_path / "image"
    laid = "securenet install --id"
    assert script.count(laid) == 1
    script = script.replace(laid, f"securenet install --root {image} --program /opt/securenet/bin/securenet --id")
    script = script.replace("/opt/securenet/bin/", f"{place}/bin/").replace("venv /opt/securenet", f"venv {place}")
    script = script.replace(f"--program {place}/bin/", "--program /opt/securenet/bin/").replace("mkdir -p image", "")
    script = script.replace("--root image", f"--root {image}")
    image.mkdir()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-ec", script], cwd=ROOT, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (image / "etc/systemd/system/securenet-gateway.service").is_file()
    assert done.stdout.count("there  write /etc/systemd/system/securenet-gateway.service") == 1
