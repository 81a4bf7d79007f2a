"""The demo's IPFS node, where one is at hand: Kubo, alone, on loopback, gone with the demo."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from gateway.cli.demo_chain import NICE
from gateway.cli.demo_parts import Child, DemoError
from gateway.cli.output import plain

NONE: Final = "none"
_BUILT: Final = Path(__file__).resolve().parents[2] / "tests" / "tools" / "kubo" / "ipfs"
"""Where ``make kubo`` puts it, in a checkout."""
_INIT_S: Final = 60.0
_WATCHED: Final = """
import os, signal, subprocess, sys, threading
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
def watch():
    while os.read(0, 64):
        pass
    child.kill()
threading.Thread(target=watch, daemon=True).start()
signal.signal(signal.SIGTERM, lambda *_: child.terminate())
sys.exit(child.wait())
"""


def find_kubo(asked: str) -> str:
    """The program: as asked for, or the one that is at hand; empty when there is none, or none is wanted.

    Raises:
        DemoError: the one that was asked for is not there.
    """
    if asked == NONE:
        return ""
    if asked:
        found = shutil.which(asked)
        if found is None:
            raise DemoError(f"{asked} is no program; name an ipfs (Kubo), or take --kubo none")
        return found
    return str(_BUILT) if _BUILT.is_file() else shutil.which("ipfs") or ""


def kubo_child(program: str, folder: Path, port: int) -> Child:
    """A node that knows nobody: no peers, no routing, its RPC on loopback alone. Its repository is made here.

    Raises:
        DemoError: the repository cannot be made.
    """
    home = folder / "kubo"
    command = [program, "--repo-dir", str(home), "init", "--empty-repo", "--profile", "test"]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=_INIT_S)  # noqa: S603 -- by its path
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DemoError(f"{program} makes no repository ({error}); take --kubo none") from None
    if done.returncode:
        words = plain(done.stderr.decode("utf-8", "replace").strip(), 400)
        raise DemoError(f"{program} makes no repository: {words}. Take --kubo none")
    settings = home / "config"
    settings.write_text(json.dumps(_alone(json.loads(settings.read_text(encoding="utf-8")), port)), encoding="utf-8")
    daemon = [program, "--repo-dir", str(home), "daemon", "--offline"]
    return Child("IPFS node", [sys.executable, "-P", "-c", _WATCHED, *daemon], folder / "kubo.log", nice=NICE)


def _alone(config: dict[str, Any], port: int) -> dict[str, Any]:
    """Kubo's settings, for a node without neighbours (pure)."""
    addresses = {"API": f"/ip4/127.0.0.1/tcp/{port}", "Gateway": [], "Swarm": []}
    return config | {
        "Addresses": config.get("Addresses", {}) | addresses,
        "Bootstrap": [],
        "Routing": {"Type": "none", "DelegatedRouters": []},
        "Ipns": config.get("Ipns", {}) | {"DelegatedPublishers": []},
        "AutoConf": {"Enabled": False},
        "DNS": {"Resolvers": {}},
    }
