"""A real IPFS node: Kubo from tests/tools/kubo (built there once), or from the PATH, alone and on free ports.

    with Kubo() as node:
        KuboSource(node.rpc), GatewaySource(node.gateway)

The node talks to nobody: no bootstrap peers, no routing, no listening for others.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

import pytest
from support.anvil import skip_or_fail
from support.mosquitto import free_port

TOOL = Path(__file__).resolve().parents[1] / "tools" / "kubo"
START_S = 40.0


def kubo_path() -> str:
    """The node's program."""
    built = TOOL / "ipfs"
    if built.is_file():
        return str(built)
    elsewhere = shutil.which("ipfs")
    if elsewhere is None:
        if shutil.which("go") is None:  # CI has it where a Go toolchain is at hand
            pytest.skip("Kubo is not built, and there is no Go to build it with (or put any ipfs on the PATH)")
        skip_or_fail("Kubo is not built (make kubo; or put any ipfs on the PATH)")
    return str(elsewhere)


class Kubo:
    """One node process with a repository of its own, gone with it."""

    def __init__(self) -> None:
        self._program = kubo_path()
        self._home = tempfile.TemporaryDirectory(prefix="kubo")
        self._environment = {"PATH": os.environ["PATH"], "HOME": self._home.name, "IPFS_PATH": self._home.name}
        self._process: subprocess.Popen[bytes] | None = None
        self.rpc = f"http://127.0.0.1:{free_port()}"
        self.gateway = f"http://127.0.0.1:{free_port()}"

    def __enter__(self) -> Self:
        self.ipfs("init", "--empty-repo", "--profile", "test")
        for name, value in {
            "Addresses.API": self.rpc.replace("http://127.0.0.1:", "/ip4/127.0.0.1/tcp/"),
            "Addresses.Gateway": self.gateway.replace("http://127.0.0.1:", "/ip4/127.0.0.1/tcp/"),
            "Addresses.Swarm": [],
            "Bootstrap": [],
            "Routing.Type": "none",
            "AutoConf.Enabled": False,
            "DNS.Resolvers": {},
            "Routing.DelegatedRouters": [],
            "Ipns.DelegatedPublishers": [],
            "Gateway.NoFetch": True,
        }.items():
            self.ipfs("config", "--json", name, json.dumps(value))
        self._process = subprocess.Popen(
            [self._program, "daemon", "--offline"],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                said = self._process.communicate()[1].decode(errors="replace")
                self.__exit__()
                pytest.fail(f"kubo did not start: {said[-2000:]}")
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.communicate()
            self._process = None
        self._home.cleanup()

    def ipfs(self, *arguments: str, data: bytes = b"") -> bytes:
        """Run the command line against this node; its output."""
        done = subprocess.run(
            [self._program, *arguments],
            env=self._environment,
            input=data,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout

    def call(self, path: str) -> Any:
        """Ask the RPC for JSON."""
        request = urllib.request.Request(f"{self.rpc}/api/v0/{path}", method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def _answers(self) -> bool:
        try:
            self.call("version")
        except OSError:
            return False
        return True
