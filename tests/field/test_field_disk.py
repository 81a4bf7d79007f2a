"""A disk that fills up, or that the kernel closes after an error, under a gateway that takes messages."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from field_faults import FAULTS, STARTED
from field_kit import WITHOUT_ROOTS_POWER, event_after, fill, mount, refuses_to_start, status_of, told, unmount, until
from kill.kill_check import assert_every_promise_is_kept
from support.anvil import skip_or_fail

RATE = 60.0
SBIN = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"

pytestmark = [pytest.mark.broker]


async def nothing_is_answered(fleet) -> None:
    """While it lasts no message gets a receipt, and none is acknowledged to its device's broker session for ever."""
    receipts = fleet.receipts
    await asyncio.sleep(1)
    assert fleet.receipts == receipts


async def test_a_disk_that_fills_up(gateway_of, mqtt, fleet):
    gateway = gateway_of(mqtt=mqtt)
    gateway.data.mkdir()
    mount("-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs", gateway.data)
    try:
        gateway.start()
        await gateway.ready()
        async with fleet.publishing(RATE):
            await until(lambda: fleet.receipts > 20)
            filled = fill(gateway.data)
            await told(gateway, "disk-full")
            await nothing_is_answered(fleet)
            began = time.monotonic()
            filled.unlink()
            await event_after(gateway, FAULTS["disk-full"].back)
            await gateway.ready()
            print(f"it goes on {time.monotonic() - began:.1f} s after there is room")
        assert await fleet.drain(30) == 0
        assert await gateway.stop() == 0
        await assert_every_promise_is_kept(gateway, fleet.messages, random.Random(1))
    finally:
        gateway.end()
        unmount(gateway.data)


@pytest.fixture
def card(tmp_path):
    """A file system that can break: ext4 on a loop device, mounted as a card is, read-only after errors."""
    if shutil.which("mkfs.ext4", path=SBIN) is None:
        skip_or_fail("mkfs.ext4 is not installed (apt-get install e2fsprogs)")
    image = tmp_path / "card.img"
    with image.open("wb") as file:
        file.truncate(48 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True, env={"PATH": SBIN})
    return Card(image, tmp_path / "gateway" / "data")


class Card:
    def __init__(self, image: Path, at: Path) -> None:
        self._image, self._at = image, at

    def mount(self) -> None:
        mount("-o", "loop,errors=remount-ro", self._image, self._at)

    def breaks(self) -> None:
        """The kernel finds an error, as it would on a card that wears out, and writes no more."""
        said = subprocess.run(["findmnt", "-no", "SOURCE", str(self._at)], check=True, capture_output=True, text=True)
        trigger = Path("/sys/fs/ext4") / Path(said.stdout.strip()).name / "trigger_fs_error"
        if not trigger.exists():
            skip_or_fail(f"this kernel has no {trigger.name}")
        trigger.write_text("a test of the gateway")

    def repair(self) -> None:
        subprocess.run(["fsck.ext4", "-fy", str(self._image)], check=False, capture_output=True, env={"PATH": SBIN})


async def test_a_disk_that_the_kernel_makes_read_only(gateway_of, mqtt, fleet, card):
    gateway = gateway_of(mqtt=mqtt, ingest={"shutdown_s": 2})
    gateway.data.mkdir()
    card.mount()
    try:
        gateway.start()
        await gateway.ready()
        async with fleet.publishing(RATE):
            await until(lambda: fleet.receipts > 20)
            card.breaks()
            await told(gateway, "disk-read-only")
            await nothing_is_answered(fleet)
            before = len(gateway.events(STARTED))
            assert await gateway.stop() == 0, (
                "it stops in time, and leaves with their senders what it could not store"
            )
            await refuses_to_start(gateway, "disk-read-only-at-start")
            unmount(gateway.data)
            card.repair()
            card.mount()
            gateway.start()
            await event_after(gateway, FAULTS["disk-read-only"].back, before)
            await gateway.ready()
        assert await fleet.drain(30) == 0
        assert await gateway.stop() == 0
        await assert_every_promise_is_kept(gateway, fleet.messages, random.Random(1))
    finally:
        gateway.end()
        unmount(gateway.data)


async def test_a_directory_of_the_published_log_that_is_not_writable(gateway_of, mqtt, fleet, tmp_path):
    published = tmp_path / "www"
    published.mkdir(mode=0o500)
    gateway = gateway_of(mqtt=mqtt, log={"publish_dir": str(published), "checkpoint_interval_s": 0.5})
    gateway.prefix = () if os.geteuid() else WITHOUT_ROOTS_POWER
    gateway.start()
    await gateway.ready()
    async with fleet.publishing(RATE):
        await told(gateway, "publish-dir")
        before = fleet.receipts
        await until(lambda: fleet.receipts > before + 20)
    assert await fleet.drain(30) == 0
    assert not list(published.iterdir())
    published.chmod(0o700)
    await event_after(gateway, FAULTS["publish-dir"].back)
    assert (published / "checkpoint").exists(), "without a message more"
    assert not [each for each in (await status_of(gateway))["warnings"] if "published" in each]
    assert len(gateway.events("log.not_published")) == 1, "it is told once"
    assert await gateway.stop() == 0
