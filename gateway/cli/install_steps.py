"""What ``install`` and ``uninstall`` do, as a table of plain values in the order in which they are done (pure)."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import PurePosixPath as Path
from typing import Final, NamedTuple

USER: Final = "securenet"
CONFIG_DIR: Final = Path("/etc/securenet")
CONFIG: Final = CONFIG_DIR / "gateway.toml"
REGISTRY: Final = CONFIG_DIR / "registry.jsonl"
DATA_DIR: Final = Path("/var/lib/securenet")
KEY_DIR: Final = Path("/etc/credstore")
LOG_KEY: Final = KEY_DIR / "securenet.log-key"
KEYS: Final = "securenet.*"
UNIT_DIR: Final = Path("/etc/systemd/system")
PACKAGED_UNIT: Final = Path("/usr/lib/systemd/system/securenet-gateway.service")
GATEWAY_UNIT: Final = "securenet-gateway.service"
TIMER_UNIT: Final = "securenet-fsck.timer"
UNITS: Final = (GATEWAY_UNIT, "securenet-fsck.service", TIMER_UNIT)
SYSUSERS: Final = Path("/etc/sysusers.d/securenet.conf")
TMPFILES: Final = Path("/etc/tmpfiles.d/securenet.conf")
_WANTED: Final = ((GATEWAY_UNIT, "multi-user.target"), (TIMER_UNIT, "timers.target"))
_PROGRAM: Final = "/usr/bin/securenet"
_HIDDEN: Final = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 -- named to be refused


class Owner(StrEnum):
    """Whose a file or directory is."""

    ROOT = "root:root"
    GROUP = f"root:{USER}"
    """root's, and the gateway may read it."""
    GATEWAY = f"{USER}:{USER}"


class MakeDirectory(NamedTuple):
    """A directory with its mode; one that is there gets mode and owner, too."""

    path: Path
    mode: int
    owner: Owner


class WriteFile(NamedTuple):
    """A file of the programme's own: brought up to date whenever it differs."""

    path: Path
    text: str


class KeepFile(NamedTuple):
    """A file that the operator owns from the moment it is there: written once, never again."""

    path: Path
    text: str
    owner: Owner


class MakeLogKey(NamedTuple):
    """The log key, if the configuration wants it here and there is none, and likewise the registry with its line."""

    path: Path
    registry: Path
    config: Path


class Link(NamedTuple):
    """Enable a unit: a link that systemd follows at boot."""

    path: Path
    target: Path


class Run(NamedTuple):
    """A command, for the running system alone; an image has the same done when it boots."""

    command: tuple[str, ...]
    may_fail: bool = False


class Remove(NamedTuple):
    """Remove a file or link if it is there."""

    path: Path


class RemoveTree(NamedTuple):
    """Remove a directory with all that is in it."""

    path: Path


class RemoveMatching(NamedTuple):
    """Remove the files of a directory whose names match."""

    directory: Path
    pattern: str


Step = MakeDirectory | WriteFile | KeepFile | MakeLogKey | Link | Run | Remove | RemoveTree | RemoveMatching


class Sources(NamedTuple):
    """The texts that the installed programme carries, by name."""

    units: dict[str, str]
    sysusers: str
    tmpfiles: str
    example: str


class Wanted(NamedTuple):
    """What is to be laid out: by which program the units start, and who the gateway is, where that is said."""

    program: Path
    packaged: bool
    fleet: str | None
    gateway_id: str | None


def hidden(program: Path) -> str | None:
    """Why a unit that may see no home and no temporary directory cannot start ``program``; None when it can."""
    for place in _HIDDEN:
        if program.is_relative_to(place):
            return (
                f"{program} lies in {place}, which the service cannot see; "
                "install into /opt/securenet (python3 -m venv /opt/securenet), or name another with --program"
            )
    return None if program.is_absolute() else f"{program} is no absolute path"


def install_steps(wanted: Wanted, sources: Sources) -> list[Step]:
    """The steps of ``install``. Each may be done again: what is as it should be stays untouched."""
    steps: list[Step] = []
    if not wanted.packaged:
        steps += [WriteFile(SYSUSERS, sources.sysusers), WriteFile(TMPFILES, sources.tmpfiles)]
        steps += [WriteFile(UNIT_DIR / name, _unit(sources.units[name], wanted.program)) for name in UNITS]
    steps += [
        Run(("systemd-sysusers", "securenet.conf")),
        MakeDirectory(CONFIG_DIR, 0o750, Owner.GROUP),
        MakeDirectory(KEY_DIR, 0o700, Owner.ROOT),
        MakeDirectory(DATA_DIR, 0o700, Owner.GATEWAY),
        WriteFile(CONFIG_DIR / "gateway.example.toml", sources.example),
    ]
    if wanted.fleet is not None and wanted.gateway_id is not None:
        text = configured(sources.example, wanted.fleet, wanted.gateway_id)
        steps += [KeepFile(CONFIG, text, Owner.GROUP), MakeLogKey(LOG_KEY, REGISTRY, CONFIG)]
    if not wanted.packaged:
        steps += [Link(UNIT_DIR / f"{target}.wants" / unit, UNIT_DIR / unit) for unit, target in _WANTED]
    steps.append(Run(("systemctl", "daemon-reload")))
    return steps


def uninstall_steps(*, purge: bool) -> list[Step]:
    """The steps of ``uninstall``. Configuration, keys and the log stay, unless they are to be purged."""
    steps: list[Step] = [Run(("systemctl", "disable", "--now", TIMER_UNIT, GATEWAY_UNIT), may_fail=True)]
    steps += [Remove(UNIT_DIR / f"{target}.wants" / unit) for unit, target in _WANTED]
    steps += [Remove(UNIT_DIR / name) for name in UNITS]
    steps += [Remove(SYSUSERS), Remove(TMPFILES), Run(("systemctl", "daemon-reload"), may_fail=True)]
    if purge:
        steps += [RemoveTree(CONFIG_DIR), RemoveTree(DATA_DIR), RemoveMatching(KEY_DIR, KEYS)]
    return steps


def configured(example: str, fleet: str, gateway_id: str) -> str:
    """The example with this gateway's id and fleet in it."""
    text = re.sub(r'^id = ".*"$', f'id = "{gateway_id}"', example, count=1, flags=re.MULTILINE)
    return re.sub(r'^fleet = ".*"$', f'fleet = "{fleet}"', text, count=1, flags=re.MULTILINE)


def in_words(step: Step) -> str:
    """What a step does, in one line."""
    match step:
        case MakeDirectory(path, mode, owner):
            return f"directory {path}, mode {mode:04o}, {owner}"
        case WriteFile(path, _):
            return f"write {path}"
        case KeepFile(path, _, owner):
            return f"write {path} if it is not there, mode 0640, {owner}"
        case MakeLogKey(path, registry, _):
            return f"make the log key {path} if it is not there, and {registry} with this gateway's line"
        case Link(path, target):
            return f"link {path} to {target}"
        case Run(command, _):
            return f"run {' '.join(command)}"
        case Remove(path):
            return f"remove {path}"
        case RemoveTree(path):
            return f"remove {path} and all that is in it"
        case RemoveMatching(directory, pattern):
            return f"remove {directory / pattern}"


def _unit(text: str, program: Path) -> str:
    return text.replace(f"={_PROGRAM} ", f"={program} ")
