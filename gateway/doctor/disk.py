"""The disk below the data directory: room, health and speed (pure)."""

from __future__ import annotations

from typing import Final, NamedTuple

from gateway.config.model import Config
from gateway.doctor.finding import Finding, Sheet, error, note, warning

SPARE_BYTES: Final = 256 << 20
FEW_INODES: Final = 1000
SLOW_MS: Final = 50.0
VERY_SLOW_MS: Final = 500.0
WORN: Final = 0x09
WORN_OUT: Final = 0x0B
EOL_WARNING: Final = 2
OLD_FSCK_DAYS: Final = 365

SHEET: Final = Sheet(
    "disk",
    {
        "missing": error(
            "Make it, for the gateway's user: `install -d -o securenet -g securenet -m 0750 {path}`, or correct "
            "`gateway.data_dir`."
        ),
        "not-writable": error(
            "Give it to the gateway's user: `chown -R securenet:securenet {path}`. If you are somebody else, ask as "
            "that user: `sudo -u securenet securenet doctor --only disk`."
        ),
        "not-yours": note("Ask as the gateway's user: `sudo -u securenet securenet doctor --only disk`."),
        "read-only": error(
            "The kernel mounts it read-only after errors, or fstab says so. See `journalctl -k -p err`; check the "
            "file system, `fsck -f {device}`, with the gateway stopped; then `mount -o remount,rw {mount}`."
        ),
        "full": error(
            "Nothing can be taken in. Make room, `df -h {path}`, `journalctl --vacuum-size=200M`, or lower "
            "`journal.budget_bytes`."
        ),
        "budget-too-large": warning(
            "The disk will be full before the budget is. Lower `journal.budget_bytes` to at most {most}, or make "
            "room: `df -h {path}`."
        ),
        "inodes": warning("Many small files fill the file system: find them, `df -i {path}`."),
        "slow": warning(
            "Each group of messages waits for it. Look for what else writes, `iostat -x 1`, and for errors, "
            "`journalctl -k -p warning`; a better card (A2, industrial) or an SSD is the cure."
        ),
        "very-slow": error(
            "Messages are answered too late. A card that dies does this: see `journalctl -k -p warning`, "
            "copy the data directory, change the card."
        ),
        "worn": warning(
            "Plan the change of the card or eMMC: back up first (`securenet backup --out FILE`) and order one; "
            "`mmc extcsd read {device}`."
        ),
        "worn-out": error(
            "Change the card or eMMC now: back up first (`securenet backup --out FILE`); `mmc extcsd read {device}`."
        ),
        "errors": error(
            "Check the file system with the gateway stopped: `systemctl stop securenet-gateway`, `fsck -f {device}`; "
            "then `securenet log fsck`."
        ),
        "fsck-old": note("At the next visit, from a rescue system: `fsck -f {device}`."),
    },
)


class Facts(NamedTuple):
    """What was learned; None where nothing was."""

    path: str
    exists: bool = True
    writable: bool = True
    owned: bool = True
    """Whether whoever asks is the directory's owner, or root: else ``writable`` says nothing."""
    read_only: bool = False
    mount: str = "/"
    device: str = ""
    free_bytes: int = 1 << 40
    total_bytes: int = 1 << 40
    used_by_us_bytes: int = 0
    inodes: int = 0
    inodes_free: int = 0
    fsync_ms: float | None = None
    life: tuple[int, ...] = ()
    """0x01 (new) to 0x0b (beyond its life), for each kind of memory of an eMMC or SD card (JESD84-B51)."""
    pre_eol: int | None = None
    fs_errors: int | None = None
    fsck_days: float | None = None


def judge(config: Config, facts: Facts) -> list[Finding]:
    """Whether the disk can carry the journal."""
    if not facts.exists:
        return [SHEET.found("missing", f"{facts.path} is not there", path=facts.path)]
    found = [*_room(config, facts), *_health(facts)]
    if facts.read_only:
        what = f"{facts.mount} is mounted read-only"
        found.insert(0, SHEET.found("read-only", what, mount=facts.mount, device=facts.device))
    elif not facts.writable:
        name = "not-writable" if facts.owned else "not-yours"
        found.insert(0, SHEET.found(name, f"you cannot write to {facts.path}", path=facts.path))
    if facts.fsync_ms is not None and facts.fsync_ms > SLOW_MS:
        name = "very-slow" if facts.fsync_ms > VERY_SLOW_MS else "slow"
        what = f"a write that is synced takes {facts.fsync_ms:.0f} ms (median)"
        found.append(SHEET.found(name, what, fsync_ms=round(facts.fsync_ms, 2)))
    return found or [
        SHEET.fine(
            f"{facts.free_bytes >> 20} MiB free at {facts.path}"
            + ("" if facts.fsync_ms is None else f", a synced write takes {facts.fsync_ms:.1f} ms"),
            free_bytes=facts.free_bytes,
            fsync_ms=facts.fsync_ms,
        )
    ]


def _room(config: Config, facts: Facts) -> list[Finding]:
    found = []
    budget = config.journal.budget_bytes
    needed = max(0, budget - facts.used_by_us_bytes)
    if facts.free_bytes < min(SPARE_BYTES, needed // 4) or facts.free_bytes < 1 << 20:
        what = f"{facts.free_bytes >> 20} MiB are free at {facts.path}"
        found.append(SHEET.found("full", what, path=facts.path, free_bytes=facts.free_bytes))
    elif facts.free_bytes < needed:
        what = f"the journal may grow by {needed >> 20} MiB, and {facts.free_bytes >> 20} MiB are free"
        most = max(16 << 20, (facts.used_by_us_bytes + facts.free_bytes) * 9 // 10)
        found.append(SHEET.found("budget-too-large", what, path=facts.path, most=most))
    if facts.inodes and facts.inodes_free < FEW_INODES:
        what = f"{facts.inodes_free} of {facts.inodes} inodes are free"
        found.append(SHEET.found("inodes", what, path=facts.path))
    return found


def _health(facts: Facts) -> list[Finding]:
    found, named = [], {"path": facts.path, "device": facts.device}
    worst = max(facts.life, default=0)
    if worst >= WORN_OUT or (facts.pre_eol or 0) > EOL_WARNING:
        found.append(SHEET.found("worn-out", f"{facts.device} is at the end of its life", **named, life=facts.life))
    elif worst >= WORN or facts.pre_eol == EOL_WARNING:
        used = f"{(worst - 1) * 10} to {worst * 10} % of its life" if worst else "most of its reserve"
        found.append(SHEET.found("worn", f"{facts.device} has used {used}", **named, life=facts.life))
    if facts.fs_errors:
        what = f"the file system of {facts.mount} has noted {facts.fs_errors} errors"
        found.append(SHEET.found("errors", what, device=facts.device, errors=facts.fs_errors))
    if facts.fsck_days is not None and facts.fsck_days > OLD_FSCK_DAYS:
        what = f"{facts.device} was last checked {facts.fsck_days:.0f} days ago"
        found.append(SHEET.found("fsck-old", what, device=facts.device))
    return found
