"""Does the steps of ``install``: one after the other, below a root directory, each only where it is needed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from secrets import token_hex
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.cli.install_steps import (
    KeepFile,
    Link,
    MakeDirectory,
    MakeLogKey,
    Owner,
    Remove,
    RemoveMatching,
    RemoveTree,
    Run,
    Step,
    WriteFile,
    in_words,
)
from gateway.cli.key_files import is_there, write_secret
from gateway.cli.key_kinds import log_facts
from gateway.cli.options import config_at
from gateway.cli.output import CliError
from gateway.ops.exitcodes import ExitCode
from gateway.ops.secrets import SecretError, load_log_key

_FILE_MODE: Final = 0o644
_KEPT_MODE: Final = 0o640
_COMMAND_S: Final = 120.0
_LOG_CREDENTIAL: Final = "credential:log-key"


class Done(NamedTuple):
    """A step, and whether it changed anything; a dry run changes nothing and says so of each."""

    words: str
    changed: bool


class Installer:
    """Does steps below ``root``. Commands are run, and owners set, on the running system alone.

    An image gets its owners when it boots: systemd-tmpfiles sets them.
    """

    def __init__(self, root: Path, *, dry_run: bool) -> None:
        self._root = root
        self._live = root == Path("/")
        self._dry_run = dry_run

    def do(self, step: Step) -> Done:
        """Do one step.

        Raises:
            CliError: the system refuses.
        """
        if self._dry_run:
            return Done(in_words(step), changed=False)
        try:
            return Done(in_words(step), self._do(step))
        except OSError as error:
            reason = error.strerror or str(error)
            raise CliError(
                ExitCode.CANNOT_CREATE, f"cannot {in_words(step)}: {reason}; mend it and call again: done steps stay"
            ) from None

    def _do(self, step: Step) -> bool:
        match step:
            case MakeDirectory():
                return self._make_directory(step)
            case WriteFile(path, text):
                return self._write(self._at(path), text.encode(), _FILE_MODE, Owner.ROOT)
            case KeepFile(path, text, owner):
                return not is_there(self._at(path)) and self._write(self._at(path), text.encode(), _KEPT_MODE, owner)
            case MakeLogKey():
                return self._make_log_key(step)
            case Link(path, target):
                return self._link(self._at(path), target)
            case Run(command, may_fail):
                return self._live and _run(command, may_fail=may_fail)
            case Remove(path):
                return _remove(self._at(path))
            case RemoveTree(path):
                return _remove_tree(self._at(path))
            case RemoveMatching(directory, pattern):
                return _remove_matching(self._at(directory), pattern)

    def _at(self, path: PurePosixPath) -> Path:
        return self._root / path.relative_to("/")

    def _make_directory(self, step: MakeDirectory) -> bool:
        path = self._at(step.path)
        before = _facts(path)
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.chmod(step.mode)
        self._give(path, step.owner)
        return _facts(path) != before

    def _write(self, path: Path, data: bytes, mode: int, owner: Owner) -> bool:
        """Write a whole file or none, unless it is there and the same."""
        if path.is_file() and not path.is_symlink() and path.read_bytes() == data:
            return False
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{token_hex(4)}.tmp")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(mode)
            self._give(temporary, owner)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def _make_log_key(self, step: MakeLogKey) -> bool:
        config = config_at(self._at(step.config))
        if config.gateway.log_key_file != _LOG_CREDENTIAL:
            return False
        path, registry = self._at(step.path), self._at(step.registry)
        changed = not is_there(path)
        if changed:
            key = Ed25519PrivateKey.generate()
            write_secret(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        if is_there(registry) or config.chain.rpc or str(config.registry.file) != str(step.registry):
            return changed
        try:
            public = Ed25519PrivateKey.from_private_bytes(load_log_key(str(path))).public_key().public_bytes_raw()
        except SecretError as error:
            raise CliError(ExitCode.SECRET, str(error)) from None
        line = json.dumps(log_facts(config, public)["registry_line"])
        return self._write(registry, f"{line}\n".encode(), _KEPT_MODE, Owner.GROUP)

    @staticmethod
    def _link(path: Path, target: PurePosixPath) -> bool:
        if path.is_symlink() and str(path.readlink()) == str(target):
            return False
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)
        return True

    def _give(self, path: Path, owner: Owner) -> None:
        if self._live:
            user, _colon, group = owner.value.partition(":")
            shutil.chown(path, user, group)


def _facts(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mode, status.st_uid, status.st_gid


def _run(command: tuple[str, ...], *, may_fail: bool) -> bool:
    """Run a command of systemd; a system that systemd did not boot has nobody to hear systemctl."""
    if command[0] == "systemctl" and not Path("/run/systemd/system").is_dir():
        return False
    if shutil.which(command[0]) is None:
        raise CliError(ExitCode.UNAVAILABLE, f"{command[0]} is not installed: the gateway is a service of systemd")
    try:
        ended = subprocess.run(  # noqa: S603 -- a command of the table
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_COMMAND_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise CliError(ExitCode.UNAVAILABLE, f"{' '.join(command)} does not end") from None
    if ended.returncode and not may_fail:
        raise CliError(ExitCode.UNAVAILABLE, f"{' '.join(command)}: {ended.stderr.strip() or ended.returncode}")
    return True


def _remove(path: Path) -> bool:
    if not is_there(path):
        return False
    path.unlink()
    return True


def _remove_tree(path: Path) -> bool:
    if path.is_symlink() or not path.is_dir():
        return False
    shutil.rmtree(path)
    return True


def _remove_matching(directory: Path, pattern: str) -> bool:
    if not directory.is_dir():
        return False
    found = [each for each in directory.iterdir() if fnmatch(each.name, pattern)]
    for each in found:
        each.unlink()
    return bool(found)
