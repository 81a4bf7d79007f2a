"""The checks of disk and clock, at this machine's own."""

import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from doctor_journal import fill
from hypothesis import given
from hypothesis import strategies as st
from support.anvil import skip_or_fail

from gateway.doctor.disk_ask import checked_days, gather, mount_of

# --- disk ---


async def test_the_disk_of_this_machine_is_measured(case_of, ask, tmp_path):
    (tmp_path / "data").mkdir()
    facts = gather(tmp_path / "data", Path("/"))
    assert facts.writable
    assert facts.fsync_ms is not None
    assert 0 < facts.fsync_ms < 10_000
    assert facts.free_bytes == pytest.approx(os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize, rel=0.2)
    assert not list((tmp_path / "data").iterdir())
    assert not {"disk.missing", "disk.read-only", "disk.not-writable"} & set(await ask(case_of(), "disk"))


async def test_a_data_directory_that_is_not_there(case_of, ask):
    found = await ask(case_of(), "disk")
    assert set(found) == {"disk.missing"}
    assert "install -d" in found["disk.missing"].remedy


async def test_a_disk_that_is_mounted_read_only(case_of, ask, tmp_path):
    mountpoint = tmp_path / "data"
    mountpoint.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(mountpoint)], capture_output=True, check=False
    )
    if done.returncode:
        skip_or_fail("mounting a tmpfs needs root in a machine that allows it")
    try:
        found = await ask(case_of(), "disk")
        assert "disk.read-only" in found
        assert found["disk.read-only"].details["mount"] == str(mountpoint)
    finally:
        subprocess.run(["umount", str(mountpoint)], check=True)


async def test_a_disk_that_is_full(case_of, ask, tmp_path):
    mountpoint = tmp_path / "data"
    mountpoint.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mountpoint)], capture_output=True, check=False
    )
    if done.returncode:
        skip_or_fail("mounting a tmpfs needs root in a machine that allows it")
    try:
        (mountpoint / "fill").write_bytes(bytes(64 << 10))
        assert "disk.full" in await ask(case_of(), "disk")
    finally:
        subprocess.run(["umount", str(mountpoint)], check=True)


def test_the_health_of_a_card_is_read_from_the_kernel(tmp_path):
    number = (tmp_path / "x").parent.stat().st_dev
    disk = tmp_path / "sys/devices/mmcblk0"
    (disk / "device").mkdir(parents=True)
    (disk / "mmcblk0p2").mkdir()
    (disk / "mmcblk0p2/partition").write_text("2\n")
    (disk / "device/life_time").write_text("0x0a 0x02\n")
    (disk / "device/pre_eol_info").write_text("0x02\n")
    link = tmp_path / f"sys/dev/block/{os.major(number)}:{os.minor(number)}"
    link.parent.mkdir(parents=True)
    link.symlink_to(disk / "mmcblk0p2")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text("29 1 179:2 / / rw,noatime shared:1 - ext4 /dev/mmcblk0p2 rw\n")
    (tmp_path / "sys/fs/ext4/mmcblk0p2").mkdir(parents=True)
    (tmp_path / "sys/fs/ext4/mmcblk0p2/errors_count").write_text("3\n")
    facts = gather(tmp_path, tmp_path)
    assert facts.life == (0x0A, 0x02)
    assert facts.pre_eol == 2
    assert facts.fs_errors == 3
    assert facts.device == "/dev/mmcblk0p2"


def test_the_mount_that_holds_a_path_is_the_longest():
    info = (
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "2 1 8:2 / /var rw - ext4 /dev/sda2 rw\n"
        "3 2 8:3 / /var/lib\\040x ro,nodev - ext4 /dev/sda3 ro\n"
    )
    assert mount_of(info, "/var/lib x/data") == ("/var/lib x", "/dev/sda3", ("ro", "nodev"))
    assert mount_of(info, "/var/libx")[0] == "/var"
    assert mount_of(info, "/home")[0] == "/"


@given(st.text(max_size=300), st.text(max_size=50))
def test_no_mountinfo_breaks_the_reader(text, path):
    assert len(mount_of(text, "/" + path)) == 3


def test_the_last_check_of_a_file_system_is_read(tmp_path):
    image = tmp_path / "image"
    image.write_bytes(bytes(4 << 20))
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    if subprocess.run(["which", "mkfs.ext4"], env={"PATH": path}, capture_output=True, check=False).returncode:
        skip_or_fail("e2fsprogs is not installed")
    subprocess.run(["mkfs.ext4", "-q", str(image)], env={"PATH": path}, check=True)
    said = subprocess.run(
        ["dumpe2fs", "-h", str(image)],
        env={"PATH": path, "TZ": "UTC", "LC_ALL": "C"},
        capture_output=True,
        check=True,
    ).stdout.decode()
    days = checked_days(said, int(time.time() * 1000) + 3 * 86_400_000)
    assert days is not None
    assert 2 <= days <= 4
    assert checked_days("", 0) is None


# --- clock ---


async def test_a_clock_that_is_behind_the_journal(case_of, ask, tmp_path):
    case = case_of()
    await fill(tmp_path / "data", case.now_ms - 1000)
    assert "clock.behind" not in await ask(case, "clock")
    found = await ask(replace(case, now_ms=case.now_ms - 86_400_000), "clock")
    assert "newest entry of the log" in found["clock.behind"].what or "installed" in found["clock.behind"].what
    early = await ask(replace(case, now_ms=0), "clock")  # a Raspberry Pi without an RTC begins in 1970
    assert early["clock.behind"].severity.word == "error"


async def test_a_real_time_clock_that_is_off(case_of, ask, tmp_path):
    rtc = tmp_path / "sys/class/rtc/rtc0"
    rtc.mkdir(parents=True)
    (rtc / "since_epoch").write_text("1000000\n")
    found = await ask(case_of(root=tmp_path), "clock")
    assert "clock.rtc-off" in found
    assert "clock.no-rtc" not in found
