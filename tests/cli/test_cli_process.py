"""The command line as a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from gateway.ops.exitcodes import ExitCode

HEAVY = ("aiocoap", "mqttium", "cbor2", "cryptography", "nacl", "rich", "structlog", "sqlite3", "asyncio")


def securenet(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "gateway", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom gateway.cli.main import cli\n"
        "try:\n    cli(['--help'])\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(("typed", "told"), [("stauts", " Did you mean 'status'?"), ("xyz", "")])
def test_a_misspelt_command_is_answered_with_the_nearest(typed, told):
    done = securenet(typed)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"Error: No such command '{typed}'.{told}"


@pytest.mark.parametrize("command", ["run", "check-config", "show-config", "status", "device list", "log fsck"])
def test_a_missing_configuration_ends_with_its_code_and_no_traceback(tmp_path, command):
    done = securenet(*command.split(), "--config", tmp_path / "none.toml")
    assert done.returncode == ExitCode.CONFIG
    assert "Traceback" not in done.stderr
    said = [line for line in done.stderr.splitlines() if not line.startswith("{")]  # ``run`` logs the event, too
    assert said[0].startswith("securenet: ")


def test_the_configuration_may_be_named_by_the_environment(world):
    done = securenet("show-config", "--json", SECURENET_CONFIG=str(world.config))
    assert json.loads(done.stdout)["gateway"]["id"] == "gw-1"


@pytest.mark.parametrize(
    ("breakage", "code"),
    [
        (lambda world: world.registry.write_text("junk\n"), ExitCode.REGISTRY),
        (lambda world: world.log_key_file.chmod(0o644), ExitCode.SECRET),
        (lambda world: world.log_key_file.unlink(), ExitCode.SECRET),
    ],
    ids=["registry", "key open to others", "no key"],
)
def test_a_gateway_that_cannot_start_says_why_by_its_code(world, breakage, code):
    breakage(world)
    done = securenet("run", "--config", world.config)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_a_running_gateway_answers_status_and_stops_at_sigterm(world, tmp_path):
    port = 20000 + os.getpid() % 20000
    with world.config.open("a", encoding="utf-8") as config:
        config.write(f'[coap]\nhost = "127.0.0.1"\nport = {port}\n')
    errors = (tmp_path / "stderr").open("wb")
    process = subprocess.Popen([sys.executable, "-m", "gateway", "run", "--config", world.config], stderr=errors)
    try:
        deadline = time.monotonic() + 30
        done = securenet("status", "--config", world.config, "--json")
        while done.returncode == ExitCode.NO_GATEWAY and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
            done = securenet("status", "--config", world.config, "--json")
        assert done.returncode == ExitCode.OK, (done.stderr, done.stdout, (tmp_path / "stderr").read_text())
        assert isinstance(json.loads(done.stdout), dict)
        second = securenet("run", "--config", world.config)
        assert second.returncode == ExitCode.UNAVAILABLE
        assert "Traceback" not in second.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == ExitCode.OK
    finally:
        process.kill()
        process.wait()
        errors.close()
    events = [json.loads(line) for line in (tmp_path / "stderr").read_text().splitlines()]
    assert [event["event"] for event in events][-1] == "gateway.stopped"


@pytest.mark.parametrize("how", [(), ("--json",)], ids=["for people", "for programs"])
def test_an_output_that_takes_nothing_ends_with_its_code_and_no_traceback(how):
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123 -- a device, not a path of ours
        done = subprocess.run(
            [sys.executable, "-m", "gateway", "example-config", *how],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert "Traceback" not in done.stderr
    assert "the output cannot be written: No space left on device" in done.stderr
    assert done.returncode == ExitCode.CANNOT_CREATE


def test_ctrl_c_ends_a_question_with_the_code_for_it(world):
    """The doctor waits for a broker that takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        text = world.config.read_text(encoding="utf-8")
        port = silent.getsockname()[1]
        world.config.write_text(text.replace("[mqtt]\nenabled = false", f"[mqtt]\nport = {port}"), encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "doctor", "--only", "broker", "--config", str(world.config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        silent.settimeout(30)
        with silent.accept()[0]:
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=30)[1]
    assert process.returncode == ExitCode.INTERRUPTED
    assert said == "securenet: interrupted\n"
