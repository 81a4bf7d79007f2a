"""``reload``, and ``run --fallback`` with a configuration that is broken."""

import asyncio
import signal
import socket
import subprocess
import sys

import pytest
from support.gateway import ROOT, SECURENET, Gateway
from support.mosquitto import free_port

from gateway.ops.control import CONTROL_SOCKET, ControlServer
from gateway.ops.exitcodes import ExitCode
from gateway.ops.last_good import LAST_GOOD, keep


async def asked(world_dir, answer, *options):
    """Run ``securenet reload`` against a control socket that gives this answer; its exit code and what it wrote."""

    async def reload(_):
        return answer

    async with ControlServer(world_dir / CONTROL_SOCKET, {"reload": reload}):
        process = await asyncio.create_subprocess_exec(
            *SECURENET,
            *("reload", "--data-dir", str(world_dir), *options),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=ROOT,
        )
        said, _ = await process.communicate()
        return process.returncode, said.decode()


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        ({"changed": ["limits.device_burst"], "restart": []}, 0, "In force: limits.device_burst\n"),
        (
            {"changed": [], "restart": ["coap.port"]},
            0,
            "Nothing else is in force than before.\nAfter a restart: coap.",
        ),
        ({"under_way": True}, 0, "securenet status"),
        (
            {"faults": ["line 3: a.b: is bad; mend it"]},
            ExitCode.CONFIG,
            "keeps its old configuration:\n  line 3: a.b",
        ),
    ],
)
async def test_what_became_of_a_reload_is_said_and_the_exit_code_agrees(tmp_path, answer, code, says):
    got, said = await asked(tmp_path, {"ok": True, **answer})
    assert got == code
    assert says in said


def test_without_a_gateway_nothing_is_reloaded(securenet, tmp_path):
    assert securenet("reload", "--data-dir", tmp_path).exit_code == ExitCode.NO_GATEWAY


@pytest.fixture
def gateway(tmp_path):
    port = free_port(socket.SOCK_DGRAM)
    made = Gateway(
        tmp_path / "gateway", [], {"coap": {"host": "127.0.0.1", "port": port}, "http": {"enabled": False}}
    )
    yield made
    made.end()


async def test_a_broken_file_and_a_fallback_start_the_last_good_configuration(gateway):
    good = gateway.config.read_text()
    gateway.data.mkdir()
    keep(gateway.data, good)
    gateway.config.write_text(good + "\n[limits]\ndevice_burst = 0\nmax_age_s = -1\n")
    command = [sys.executable, "-m", "gateway", "run", "--fallback", "--config", str(gateway.config)]
    with gateway.log.open("ab") as log:
        gateway.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)
    await gateway.ready()
    (told,) = gateway.events("config.fallback")
    assert told["faults"] == 2
    assert "device_burst" in told["fault_1"]
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(30) == 0


@pytest.mark.parametrize(("options", "kept"), [([], True), (["--fallback"], False)])
def test_without_the_option_or_without_a_last_good_file_a_broken_one_ends_it(gateway, options, kept):
    good = gateway.config.read_text()
    gateway.data.mkdir()
    if kept:
        keep(gateway.data, good)
    assert (gateway.data / LAST_GOOD).exists() == kept
    gateway.config.write_text(good + "\nnonsense\n")
    done = subprocess.run(
        [*SECURENET, "run", *options, "--config", str(gateway.config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == ExitCode.CONFIG
    assert "is not TOML" in done.stderr
    assert ("no last good" in done.stderr) == bool(options)
