"""What tests/aarch64/run unpacks for a Python version: the gateway's dependencies and pytest's, as locked.

Without the one that has no wheel for aarch64, which is in benchmarks/wheels.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.wheels import EXTRAS, LOCK, WHEELS, Target, closure

FOR_TESTS = ("hypothesis", "iniconfig", "packaging", "pluggy", "psutil", "pygments", "pytest", "pytest-asyncio",
             "pytest-timeout", "sortedcontainers")  # fmt: skip


def main() -> None:
    target = Target(sys.argv[1], 28)
    environment = target.environment()
    versions = target.locked(LOCK.read_text())
    missing = json.loads(WHEELS.read_text())[target.name]["missing"]
    for name in sorted({*closure(EXTRAS, environment), *FOR_TESTS} - set(missing)):
        print(f"{name}=={versions[name]}")


if __name__ == "__main__":
    main()
