"""A box without a battery: its clock is wrong after a power cut, and right when somebody has set it."""

from __future__ import annotations

import platform
import random
import subprocess
import sys
from pathlib import Path

import pytest
from field_blind import ADJTIMEX
from field_faults import FAULTS
from field_kit import assert_status, doctor, event_after, status_of, until
from kill.kill_check import assert_every_promise_is_kept
from support.anvil import skip_or_fail

from gateway.tlog.entry import ClockEntry, parse_entry

RATE = 30.0
RIGHT, IN_THE_SEVENTIES = "+0", "-19000d"
HIDE_RUN = 'mount -t tmpfs tmpfs /run && exec "$0" "$@"'

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@pytest.fixture
def clock_file(tmp_path):
    made = tmp_path / "clock"
    made.write_text(IN_THE_SEVENTIES)
    return made


@pytest.fixture
def another_clock(clock_file):
    """Prefix of a command whose clock is what the file says, on a machine where nothing is known to keep the time."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        skip_or_fail("libfaketime is not installed (apt-get install faketime)")
    if platform.machine() not in ADJTIMEX:
        skip_or_fail(f"the system calls of {platform.machine()} are not known here")
    hidden = ("unshare", "--mount", "sh", "-c", HIDE_RUN)
    tried = subprocess.run([*hidden, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        skip_or_fail(f"a mount namespace needs root: {tried.stderr.strip()}")
    faked = {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock_file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
    blind = (sys.executable, str(Path(__file__).with_name("field_blind.py")))
    return (*hidden, *blind, "env", *(f"{name}={value}" for name, value in faked.items()))


async def test_a_clock_that_is_wrong_until_somebody_sets_it(gateway_of, mqtt, fleet, clock_file, another_clock):
    gateway = gateway_of(mqtt=mqtt)
    gateway.prefix = another_clock
    fault = FAULTS["clock"]
    gateway.start()
    await gateway.ready()
    async with fleet.publishing(RATE):
        await until(lambda: fleet.receipts > 20)
        assert (await event_after(gateway, fault.event))["now"].startswith("197")
        assert (await gateway.status())["clock"]["max_error_ms"] is None, "the kernel could be asked after all"
        await assert_status(gateway, fault)
        await doctor(gateway, fault.finding, prefix=another_clock)
        clock_file.write_text(RIGHT)
        await event_after(gateway, fault.back)
        before = fleet.receipts
        await until(lambda: fleet.receipts > before + 20)
    assert not [each for each in (await status_of(gateway))["warnings"] if str(fault.status) in each]
    assert len(gateway.events(fault.event)) == 1, "it is told once"
    assert await fleet.drain(30) == 0
    assert await gateway.stop() == 0
    with gateway.reader() as reader:
        entries = [parse_entry(row.entry) for row in reader.entries(0, reader.size())]
    assert [each.event for each in entries if isinstance(each, ClockEntry)] == ["untrusted", "trusted"]
    await assert_every_promise_is_kept(gateway, fleet.messages, random.Random(4))


async def test_a_link_over_tls_waits_for_the_clock(gateway_of, over_tls, clock_file, another_clock):
    gateway = gateway_of(mqtt=over_tls)
    gateway.prefix = another_clock
    gateway.start()
    down = await event_after(gateway, "mqtt.down")
    assert "certificate" in down["detail"]
    assert not gateway.events("certificate.expires"), "by a clock that is not believed no end is told"
    await doctor(gateway, "certificates.not-yet", prefix=another_clock)
    clock_file.write_text(RIGHT)
    await event_after(gateway, "mqtt.up")
    await gateway.ready()
    assert await gateway.stop() == 0
