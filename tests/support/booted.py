"""A real systemd as PID 1: this machine's own root under a layer that is thrown away, in namespaces of its own.

Nothing is downloaded and nothing of the machine is changed: what the booted system writes goes to a tmpfs. It has a
network of its own with nothing but a loopback, and of the machine's own services none is started.
"""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

SYSTEMD = Path("/lib/systemd/systemd")
TARGET = "securenet-test.target"

_SETUP = r"""
set -e
mount --make-rprivate /
mkdir -p "$1/layer"
mount -t tmpfs -o size=3g,mode=755 tmpfs "$1/layer"
mkdir "$1/layer/upper" "$1/layer/work" "$1/layer/root"
root="$1/layer/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/layer/upper,workdir=$1/layer/work" overlay "$root"
rm -rf "$root"/etc/systemd/system/*.wants "$root"/etc/systemd/system/*.requires "$root"/usr/sbin/policy-rc.d
rm -rf "$root"/var/log/journal
mkdir -p "$root"/etc/systemd/journald.conf.d "$root"/shared
cat >"$root/etc/systemd/system/securenet-test.target" <<'END'
[Unit]
Requires=basic.target
AllowIsolate=yes
END
: >"$root/etc/machine-id"
for each in run tmp; do mount -t tmpfs tmpfs "$root/$each"; done
mount --bind "$2" "$root/shared"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for each in null zero full random urandom tty; do
  : >"$root/dev/$each"
  mount --bind "/dev/$each" "$root/dev/$each"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs tmpfs "$root/dev/shm"
: >"$root/dev/console"
mount --bind "$(tty)" "$root/dev/console"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
cd "$root"
mkdir -p .old
pivot_root . .old
umount -l /.old
mount --make-rshared /
export container=securenet-test PATH=/usr/sbin:/usr/bin:/sbin:/bin
exec env -i container=$container PATH=$PATH /lib/systemd/systemd --unit=securenet-test.target
"""


def need(condition: bool, message: str, *, from_apt: bool) -> None:
    """Skip the test where something is missing; fail it in CI where apt could have given it."""
    if condition:
        return
    if from_apt and os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


class Booted:
    """A booted system. ``shared`` is a folder of this machine that it sees as /shared."""

    def __init__(self, folder: Path, shared: Path) -> None:
        need(os.geteuid() == 0, "only root can make the namespaces of a booted system", from_apt=False)
        need(SYSTEMD.exists(), "systemd is not installed (apt-get install systemd)", from_apt=True)
        for tool in ("unshare", "nsenter"):
            need(
                shutil.which(tool) is not None, f"{tool} is not installed (apt-get install util-linux)", from_apt=True
            )
        self.folder = folder
        self.shared = shared
        self.pid = 0
        self._console = bytearray()
        self._outer: subprocess.Popen[bytes] | None = None
        self._terminal = -1
        self._cgroup: Path | None = None

    def start(self, timeout_s: float = 60.0) -> Booted:
        """Boot; skips where the kernel does not let us."""
        probe = subprocess.run(
            [
                "unshare",
                "-m",
                "-p",
                "-C",
                "-n",
                "-u",
                "-i",
                "--fork",
                "mount",
                "-t",
                "cgroup2",
                "none",
                str(self.folder),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        need(probe.returncode == 0, f"no namespaces here: {probe.stderr.strip()}", from_apt=False)
        self._cgroup = _own_cgroup()
        self._terminal, slave = pty.openpty()
        threading.Thread(target=self._read, daemon=True).start()
        unshare = "unshare -m -p -C -n -u -i --fork --kill-child"
        enter = f'echo $$ > {self._cgroup}/cgroup.procs; exec {unshare} sh -c "$0" sh $1 $2'
        self._outer = subprocess.Popen(
            ["sh", "-c", enter, _SETUP, str(self.folder), str(self.shared)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._outer.poll() is not None:
                break
            self.pid = self.pid or self._child()
            if self.pid and self._is_up():
                return self
            time.sleep(0.1)
        message = self.console()
        self.end()
        pytest.fail(f"systemd does not boot here: {message[-3000:]}")

    def run(self, *command: str, timeout_s: float = 120.0, check: bool = True) -> str:
        """Run a command in there, as root; its output. It fails the test when the command does, unless told."""
        done = self.complete(*command, timeout_s=timeout_s)
        if check and done.returncode:
            pytest.fail(f"{' '.join(command)} ended with {done.returncode}: {done.stdout[-4000:]}")
        return done.stdout

    def complete(self, *command: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a command in there, and say how it ended."""
        return subprocess.run(
            [*self._enter(), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": ""},
        )

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """What systemd says of a unit."""
        lines = self.run("systemctl", "show", unit, f"--property={','.join(properties)}").splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def until(self, unit: str, timeout_s: float = 60.0, **wanted: str) -> dict[str, str]:
        """Wait until a unit has these properties."""
        deadline = time.monotonic() + timeout_s
        while True:
            seen = self.show(unit, *wanted)
            if all(seen.get(name) == value for name, value in wanted.items()):
                return seen
            if time.monotonic() > deadline:
                journal = self.run("journalctl", "-b", "--no-pager", "-n", "60", check=False)
                pytest.fail(f"{unit} is {seen}, not {wanted}\n{journal}")
            time.sleep(0.1)

    def console(self) -> str:
        """What was written to its console."""
        return self._console.decode(errors="replace")

    def end(self) -> None:
        """Let all of it die, and leave nothing behind."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
        if self._outer is not None:
            if self._outer.poll() is None and not self.pid:
                self._outer.kill()
            self._outer.wait(30)
            self._outer = None
        if self._terminal >= 0:
            os.close(self._terminal)
            self._terminal = -1
        self.pid = 0
        if self._cgroup is not None:
            _remove_cgroup(self._cgroup)
            self._cgroup = None

    def _enter(self) -> Sequence[str]:
        return ("nsenter", "-t", str(self.pid), "-m", "-p", "-u", "-i", "-n", "-C", "-r", "-w", "--")

    def _is_up(self) -> bool:
        if Path(f"/proc/{self.pid}/comm").read_text().strip() != "systemd":
            return False
        return self.complete("systemctl", "is-active", TARGET).stdout.strip() == "active"

    def _child(self) -> int:
        """systemd's number out here: the one child of unshare."""
        outer = self._outer
        if outer is None:
            return 0
        try:
            children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
        except OSError:
            return 0
        return int(children[0]) if children else 0

    def _read(self) -> None:
        while True:
            try:
                self._console += os.read(self._terminal, 65536)
            except OSError:
                return


def _own_cgroup() -> Path:
    """A cgroup for the whole system, where this machine has the unified hierarchy."""
    unified = Path("/sys/fs/cgroup/unified")
    top = unified if unified.is_dir() else Path("/sys/fs/cgroup")
    own = top / f"securenet-test-{os.getpid()}"
    try:
        own.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup of our own: {error}")
    return own


def _remove_cgroup(top: Path) -> None:
    deadline = time.monotonic() + 10
    while top.exists() and time.monotonic() < deadline:
        for directory in sorted((each for each in top.rglob("*") if each.is_dir()), reverse=True):
            _rmdir(directory)
        _rmdir(top)
        time.sleep(0.05)


def _rmdir(directory: Path) -> None:
    try:
        directory.rmdir()
    except OSError:
        return
