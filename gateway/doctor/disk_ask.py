"""Asks the kernel about the disk, and measures what a synced write takes: sixteen writes of a page."""

from __future__ import annotations

import errno
import os
import re
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from gateway.doctor import disk
from gateway.doctor.case import Case
from gateway.doctor.command import output_of
from gateway.doctor.finding import Finding
from gateway.doctor.readings import number_in, text_in
from gateway.doctor.runner import aside

_WRITES: Final = 16
_ENOUGH_S: Final = 3.0
_PAGE: Final = bytes(4096)
_MAX_FILES: Final = 100_000
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


async def ask_disk(case: Case) -> list[Finding]:
    """Everything about the disk of the data directory."""
    facts = await aside(gather, case.sound.gateway.data_dir, case.root)
    if facts.exists and facts.device.startswith("/dev/"):
        facts = facts._replace(fsck_days=await _fsck_days(facts.device, case.now_ms))
    return disk.judge(case.sound, facts)


def gather(path: Path, root: Path) -> disk.Facts:
    """What the kernel says, and the time of a synced write where we may write."""
    try:
        found, owner = os.statvfs(path), path.stat()
    except OSError:
        return disk.Facts(str(path), exists=False)
    mount, device, options = mount_of(text_in(root / "proc/self/mountinfo", 1 << 20), os.path.realpath(path))
    block = _block_device(root, owner.st_dev)
    writable = os.access(path, os.W_OK)
    fsync_ms, refused = _fsync_ms(path) if writable else (None, False)
    return disk.Facts(
        path=str(path),
        writable=writable,
        owned=os.geteuid() in {0, owner.st_uid},
        read_only=bool(found.f_flag & os.ST_RDONLY) or "ro" in options or refused,
        mount=mount,
        device=device,
        free_bytes=found.f_bavail * found.f_frsize,
        total_bytes=found.f_blocks * found.f_frsize,
        used_by_us_bytes=_used(path),
        inodes=found.f_files,
        inodes_free=found.f_favail,
        fsync_ms=fsync_ms,
        life=_life(block),
        pre_eol=None if block is None else number_in(block / "device/pre_eol_info"),
        fs_errors=number_in(root / "sys/fs/ext4" / Path(device).name / "errors_count") if device else None,
    )


def mount_of(mountinfo: str, path: str) -> tuple[str, str, tuple[str, ...]]:
    """Mount point, device and options of the file system that holds ``path`` (proc(5), mountinfo)."""
    best: tuple[str, str, tuple[str, ...]] = ("/", "", ())
    longest = -1
    for line in mountinfo.splitlines():
        words = line.split(" ")
        if "-" not in words[6:]:
            continue
        point = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), words[4])
        if path == point or path.startswith(point.rstrip("/") + "/"):
            rest = words[words.index("-", 6) + 1 :]
            if len(point) >= longest and len(rest) > 1:  # a later mount on the same point hides the earlier one
                longest = len(point)
                best = (point, rest[1], tuple(words[5].split(",")))
    return best


def _block_device(root: Path, number: int) -> Path | None:
    """The disk, not the partition, in /sys."""
    at = root / f"sys/dev/block/{os.major(number)}:{os.minor(number)}"
    try:
        real = at.resolve(strict=True)
    except OSError:
        return None
    return real.parent if (real / "partition").exists() else real


def _life(block: Path | None) -> tuple[int, ...]:
    """An eMMC tells two: of its two kinds of memory."""
    if block is None:
        return ()
    words = text_in(block / "device/life_time", 64).split()
    return tuple(int(word, 16) for word in words if re.fullmatch(r"0x[0-9a-fA-F]{1,2}", word))


def _used(path: Path) -> int:
    """Bytes of the files below the data directory."""
    used = 0
    for number, (folder, _folders, names) in enumerate(os.walk(path)):
        if number > _MAX_FILES:
            break
        for name in names:
            try:
                used += os.lstat(os.path.join(folder, name)).st_blocks * 512  # noqa: PTH118 -- for many files
            except OSError:
                continue
    return used


def _fsync_ms(path: Path) -> tuple[float | None, bool]:
    """The median of a few writes of a page, each with fdatasync, in a file without a name; it ends after 3 s.

    Also whether they were refused because the file system is read-only: one that the kernel closed after an error
    may still be shown as writable.
    """
    times: list[float] = []
    try:
        handle = os.open(path, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        return None, error.errno == errno.EROFS
    try:
        began = time.monotonic()
        while len(times) < _WRITES and time.monotonic() - began < _ENOUGH_S:
            before = time.monotonic()
            os.write(handle, _PAGE)
            os.fdatasync(handle)
            times.append((time.monotonic() - before) * 1000)
    except OSError as error:
        return None, error.errno == errno.EROFS
    finally:
        os.close(handle)
    return statistics.median(times), False


async def _fsck_days(device: str, now_ms: int) -> float | None:
    """Days since an ext file system was checked; root alone may ask."""
    if os.geteuid():
        return None
    said = await output_of(["dumpe2fs", "-h", device])
    if said is None or said.code:
        return None
    return checked_days(said.text, now_ms)


def checked_days(said: str, now_ms: int) -> float | None:
    """``Last checked`` of dumpe2fs(8), as days before now."""
    match = re.search(r"^Last checked:\s+(\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4})$", said, re.MULTILINE)
    if match is None:
        return None
    checked = datetime.strptime(match[1], "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
    return (now_ms / 1000 - checked.timestamp()) / 86400
