"""Which wheels an aarch64 gateway would get: every dependency, as pinned, for two glibcs and two Pythons.

    python tests/benchmarks/wheels.py            # asks the package index, about two minutes; prints JSON
    python tests/benchmarks/wheels.py --write    # and rewrites wheels.json and the tables of docs/sizing.md

What is asked for: the gateway's own dependencies and those of its extras chain, litert and oscore, found by following
the metadata of what is installed here under the markers of the target, at the versions of requirements/dev.lock.
pip is asked (``--dry-run --only-binary=:all: --no-deps --platform …``) and answers from the index; a package that it
cannot have is left out and the rest asked again. *manylinux_2_28* stands for a glibc of 2.28 or newer (Debian 10 and
later), and takes wheels for any older one; *manylinux_2_17* is the floor that wheels were built for before.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag
from packaging.utils import canonicalize_name, parse_wheel_filename

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.sizing_page import WHEELS, rewrite

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements" / "dev.lock"
PROJECT = "securenet-gateway"
EXTRAS = ("chain", "litert", "oscore")
GLIBC_FLOOR = 17
_NO_WHEEL = re.compile(r"No matching distribution found for ([A-Za-z0-9._-]+)==")
_PLAIN = frozenset(Tag(python, "none", "any") for python in ("py2", "py3"))
_FLOOR = re.compile(r"manylinux_2_(\d+)_|(manylinux2014)_")

Figures = dict[str, Any]


class IndexAway(Exception):
    """The package index did not answer; what it would have said is not known."""


class Target(NamedTuple):
    """A machine that wheels are wanted for."""

    python: str
    glibc: int
    machine: str = "aarch64"

    @property
    def name(self) -> str:
        return f"manylinux_2_{self.glibc}_{self.machine}, Python {self.python}"

    def platforms(self) -> list[str]:
        """Every platform tag that its pip would take, newest first."""
        tags = [f"manylinux_2_{minor}_{self.machine}" for minor in range(self.glibc, GLIBC_FLOOR - 1, -1)]
        return [*tags, f"manylinux2014_{self.machine}"]

    def environment(self) -> dict[str, str]:
        """What the markers of requirements are asked with."""
        return dict(default_environment()) | {
            "implementation_name": "cpython",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
        }

    def locked(self, lock: str) -> dict[str, str]:
        """The versions that the lock file has for its Python, with those that it has for x86-64 alone (EDHOC's)."""
        return pins(lock, self._replace(machine="x86_64").environment())


TARGETS = tuple(Target(python, glibc) for glibc in (28, 17) for python in ("3.11", "3.13"))


def requires_of(name: str) -> list[str]:
    """What an installed distribution says that it needs."""
    return metadata.requires(name) or []


def closure(
    extras: Iterable[str], environment: Mapping[str, str], requires: Callable[[str], list[str]] = requires_of
) -> set[str]:
    """Every distribution that the gateway with these extras needs there, itself not among them."""
    seen: dict[str, frozenset[str]] = {}
    waiting = [(PROJECT, frozenset(extras))]
    while waiting:
        name, wanted = waiting.pop()
        if name in seen and wanted <= seen[name]:
            continue
        seen[name] = wanted | seen.get(name, frozenset())
        for line in requires(name):
            needed = Requirement(line)
            if needed.marker is None or any(
                needed.marker.evaluate({**environment, "extra": extra}) for extra in (*seen[name], "")
            ):
                waiting.append((canonicalize_name(needed.name), frozenset(needed.extras)))
    return set(seen) - {PROJECT}


def pins(lock: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The versions that a lock file has for that environment."""
    found = {}
    for line in lock.splitlines():
        if not line or line[0] in " #":
            continue
        pinned = Requirement(line.rstrip("\\ "))
        if pinned.marker is None or pinned.marker.evaluate(dict(environment)):
            (version,) = pinned.specifier
            found[canonicalize_name(pinned.name)] = version.version
    return found


def needed_by(environment: Mapping[str, str]) -> dict[str, str]:
    """For each distribution, which part of the gateway wants it: the gateway itself, or the first extra that does."""
    found: dict[str, str] = {}
    for part, extras in (("gateway", ()), *((extra, (extra,)) for extra in EXTRAS)):
        for name in closure(extras, environment):
            found.setdefault(name, part)
    return found


def glibc_of(wheel: str) -> int | None:
    """The glibc 2.x that a wheel asks for; None: it is plain Python, or asks for none."""
    floors = [17 if match[2] else int(match[1]) for match in _FLOOR.finditer(wheel)]
    return min(floors, default=None)


def resolve(
    target: Target, wanted: Mapping[str, str], doubtful: Iterable[str] = ()
) -> tuple[dict[str, str], list[str]]:
    """Ask the index; returns the wheel of each, and those without one. The doubtful are asked for one by one.

    Raises:
        IndexAway: it did not answer.
    """
    alone = sorted(set(doubtful) & set(wanted))
    found: dict[str, str] = {}
    missing: list[str] = []
    for names in (sorted(set(wanted) - set(alone)), *([name] for name in alone)):
        while asked := [f"{name}=={wanted[name]}" for name in names if name not in missing]:
            answer = _pip(target, asked)
            if not isinstance(answer, str):
                found |= answer
                break
            missing.append(canonicalize_name(answer))
    return found, sorted(missing)


def _wheels(rows: Sequence[Figures], target: Target) -> dict[str, str] | str:
    """The file of each; or the name of one that does not want that Python. A dry run holds it to pip's own Python."""
    found = {}
    for row in rows:
        name = canonicalize_name(row["metadata"]["name"])
        if not SpecifierSet(row["metadata"].get("requires_python", "")).contains(f"{target.python}.0"):
            return name
        found[name] = row["download_info"]["url"].rpartition("/")[2]
    return found


def _pip(target: Target, asked: Sequence[str]) -> dict[str, str] | str:
    """The wheels of all of them, or the name of one that has none."""
    with tempfile.TemporaryDirectory(prefix="securenet-wheels-") as folder:
        report = Path(folder) / "report.json"
        platforms = [word for tag in target.platforms() for word in ("--platform", tag)]
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed", "--no-deps",
             "--disable-pip-version-check", "--only-binary=:all:", "--python-version", target.python, *platforms,
             "--implementation", "cp", "--ignore-requires-python", "--target", folder, "--report", str(report),
             *asked],
            capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        if done.returncode == 0:
            rows = json.loads(report.read_text())["install"]
            return _wheels(rows, target)
    without = _NO_WHEEL.search(done.stderr)
    if without is None or not _answers():
        raise IndexAway(done.stderr[-2000:])
    return without[1]


def _answers() -> bool:
    """Whether the index has pip itself: of all that it has it says "none" when it is away, as of a missing wheel."""
    here = {name: value for name, value in os.environ.items() if name != "PIP_FIND_LINKS"}
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed", "--no-deps",
         "--disable-pip-version-check", "--no-cache-dir", "pip"],
        capture_output=True, check=False, timeout=600, env=here,
    )  # fmt: skip
    return done.returncode == 0


def ask(targets: Sequence[Target] = TARGETS) -> Figures:
    """What the index has for every target."""
    lock = LOCK.read_text()
    before: Figures = json.loads(WHEELS.read_text()) if WHEELS.exists() else {}
    doubtful = {name for one in before.values() for name in one["missing"]}
    found: Figures = {}
    for target in targets:
        environment = target.environment()
        parts, versions = needed_by(environment), target.locked(lock)
        unpinned = sorted(set(parts) - set(versions))
        wheels, missing = resolve(target, {name: versions[name] for name in parts if name in versions}, doubtful)
        found[target.name] = {
            "asked": {part: sum(1 for name in parts if parts[name] == part) for part in ("gateway", *EXTRAS)},
            "native": {
                name: {"version": versions[name], "needs": parts[name], "glibc": glibc_of(wheel)}
                for name, wheel in sorted(wheels.items())
                if parse_wheel_filename(wheel)[3].isdisjoint(_PLAIN)
            },
            "missing": {name: {"version": versions[name], "needs": parts[name]} for name in missing},
            "unpinned": unpinned,
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="rewrite wheels.json and docs/sizing.md")
    options = parser.parse_args()
    figures = ask()
    text = json.dumps(figures, indent=2) + "\n"
    print(text, end="")
    if options.write:
        WHEELS.write_text(text)
        rewrite()


if __name__ == "__main__":
    main()
