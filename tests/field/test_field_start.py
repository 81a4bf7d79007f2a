"""A gateway that cannot start says why in one error, by its exit code and by an event, and starts when it can."""

from __future__ import annotations

import os
import pty
import signal
import subprocess

import pytest
from field_faults import FAULTS, STARTED
from field_kit import WITHOUT_ROOTS_POWER, event_after, fill, mount, refuses_to_start, told, unmount
from support.anvil import skip_or_fail
from support.gateway import ROOT
from support.mosquitto import free_port

from gateway.ops.exitcodes import ExitCode

NOBODY = 65534


@pytest.fixture
def gateway(gateway_of):
    return gateway_of(coap={"host": "127.0.0.1", "port": free_port()})


async def starts(gateway):
    """The cause is gone: the next start comes up, and says so."""
    before = len(gateway.events(STARTED))
    gateway.start()
    await gateway.ready()
    await event_after(gateway, STARTED, before)
    assert await gateway.stop() == 0


async def test_a_broken_configuration(gateway):
    good = gateway.config.read_text()
    gateway.config.write_text(good.replace('format = "json"', 'format = "xml"') + "[nonsense]\n")
    said = await refuses_to_start(gateway, "config-at-start")
    assert "logging.format" in said
    assert "nonsense" in said
    gateway.config.write_text(good)
    await starts(gateway)


def test_on_a_terminal_the_error_stands_alone(gateway):
    gateway.config.write_text("[nonsense]\n")
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        command = [*gateway.program, "run", "--config", str(gateway.config)]
        done = subprocess.run(command, stderr=theirs, stdout=theirs, cwd=ROOT, check=False)
        os.close(theirs)
        said = screen.read(65536).decode()
    assert done.returncode == ExitCode.CONFIG
    assert said.startswith("securenet: "), said
    assert "not_started" not in said


async def test_a_configuration_that_breaks_is_refused_at_a_reload_and_the_old_one_stays(gateway):
    good = gateway.config.read_text()
    gateway.start()
    await gateway.ready()
    gateway.config.write_text(good + "[nonsense]\n")
    gateway.process.send_signal(signal.SIGHUP)
    fault = FAULTS["config-at-reload"]
    await told(gateway, "config-at-reload")
    assert (await gateway.status())["ready"]
    gateway.config.write_text(good)
    gateway.process.send_signal(signal.SIGHUP)
    await event_after(gateway, fault.back)
    assert not any(fault.status in each for each in (await gateway.status())["warnings"])
    assert await gateway.stop() == 0


async def test_a_registry_that_breaks_is_refused_at_a_reload_and_the_old_one_stays(gateway):
    good = gateway.registry.read_text()
    gateway.start()
    await gateway.ready()
    before = (await gateway.status())["registry"]
    gateway.registry.write_text(good + "junk\n")
    gateway.process.send_signal(signal.SIGHUP)
    await told(gateway, "registry-at-reload")
    assert (await gateway.status())["registry"] == before
    gateway.registry.write_text(good)
    gateway.process.send_signal(signal.SIGHUP)
    fault = FAULTS["registry-at-reload"]
    await event_after(gateway, fault.back)
    assert not any(fault.status in each for each in (await gateway.status())["warnings"])
    assert await gateway.stop() == 0


async def test_a_broken_registry(gateway):
    good = gateway.registry.read_text()
    gateway.registry.write_text(good + "junk\n")
    await refuses_to_start(gateway, "registry-at-start")
    gateway.registry.write_text(good)
    await starts(gateway)


async def test_a_missing_key(gateway):
    key = gateway.folder / "log.pem"
    aside = key.rename(gateway.folder / "aside.pem")
    assert str(key) in await refuses_to_start(gateway, "key-missing")
    aside.rename(key)
    await starts(gateway)


async def test_a_key_that_others_may_read(gateway):
    key = gateway.folder / "log.pem"
    key.chmod(0o640)
    assert f"chmod 600 {key}" in await refuses_to_start(gateway, "key-open")
    key.chmod(0o600)
    await starts(gateway)


@pytest.mark.parametrize("used", [False, True], ids=["before the first start", "after it"])
async def test_a_data_directory_of_somebody_else(gateway, used):
    if os.geteuid():
        skip_or_fail("giving a directory to somebody else needs root")
    if used:
        await starts(gateway)
    gateway.data.mkdir(exist_ok=True)
    for each in (gateway.data, *gateway.data.iterdir()):
        os.chown(each, NOBODY, NOBODY)
    gateway.prefix = WITHOUT_ROOTS_POWER
    said = await refuses_to_start(gateway, "data-not-writable", prefix=gateway.prefix)
    assert "not permitted" in said
    for each in (gateway.data, *gateway.data.iterdir()):
        os.chown(each, 0, 0)
    await starts(gateway)


@pytest.mark.parametrize("used", [False, True], ids=["before the first start", "after it"])
async def test_a_disk_that_is_read_only(gateway, used):
    gateway.data.mkdir()
    mount("-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs", gateway.data)
    try:
        if used:
            await starts(gateway)
        mount("-o", "remount,ro", gateway.data)
        await refuses_to_start(gateway, "disk-read-only-at-start")
        mount("-o", "remount,rw", gateway.data)
        await starts(gateway)
    finally:
        unmount(gateway.data)


@pytest.mark.parametrize("used", [False, True], ids=["before the first start", "after it"])
async def test_a_disk_that_is_full(gateway, used):
    gateway.data.mkdir()
    mount("-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs", gateway.data)
    try:
        if used:
            await starts(gateway)
        filled = fill(gateway.data)
        await refuses_to_start(gateway, "disk-full-at-start")
        filled.unlink()
        await starts(gateway)
    finally:
        unmount(gateway.data)
