"""A real Ethereum node: anvil from contracts/node_modules (`make contracts`), or from the PATH, on a free port."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Self

import pytest
from support.mosquitto import free_port
from web3 import Web3
from web3.types import RPCEndpoint

CONTRACTS = Path(__file__).resolve().parents[2] / "contracts"
CHAIN_ID = 31337
START_S = 20.0
BLOCKS_S = 2.0


def skip_or_fail(message: str) -> None:
    """Ends the test: a tool that is missing is a reason to skip on a desk, and a fault in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def anvil_path() -> Path:
    """The node's program: the binary itself, so that ending it needs no launcher's help."""
    found = sorted((CONTRACTS / "node_modules" / "@foundry-rs").glob("anvil-*/bin/anvil*"))
    if found:
        return found[0]
    elsewhere = shutil.which("anvil")
    if elsewhere is None:
        skip_or_fail("anvil is not installed (make contracts; not on x86-64 Linux: any anvil on the PATH)")
    return Path(str(elsewhere))


def node_path() -> str:
    """The JavaScript runtime, beside the installed packages of the build."""
    found = shutil.which("node")
    if found is None or not (CONTRACTS / "node_modules" / "solc").is_dir():
        skip_or_fail("node or solc is not installed (make contracts)")
    return str(found)


class Anvil:
    """One node process: ten funded accounts that it signs for, a block for every transaction.

    The hard fork is named, so that gas is counted by the same rules whatever anvil's default becomes, with the limit
    on one transaction (EIP-7825) that mainnet has.
    """

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [
            str(anvil_path()),
            *("--port", str(self.port), "--chain-id", str(CHAIN_ID)),
            *("--hardfork", "osaka", "--enable-tx-gas-limit", "--silent", *options),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_S
        while not self.web3().is_connected():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                pytest.fail(f"anvil did not start: {self._command}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def web3(self) -> Web3:
        """A new client of this node."""
        return Web3(Web3.HTTPProvider(self.url, request_kwargs={"timeout": 30}))


class Checkpoint:
    """A node's chain as it is now, to be gone back to.

    Args:
        web3: a client of the node.
    """

    def __init__(self, web3: Web3) -> None:
        self._web3 = web3
        self._height = web3.eth.block_number
        self._snapshot = self._ask("evm_snapshot")

    def restore(self) -> None:
        """Go back, and make a block for every transaction again.

        A block that is being made meanwhile would stay on top of the older state. So blocks under way are waited for,
        and what waits for one that nobody makes is dropped.
        """
        deadline = time.monotonic() + BLOCKS_S
        while self._ask("anvil_getAutomine") and int(self._ask("txpool_status")["pending"], 16):
            if time.monotonic() > deadline:
                break  # no block will have them: their bids are too low
            time.sleep(0.01)
        self._ask("anvil_dropAllTransactions")
        assert self._ask("evm_revert", self._snapshot) is True, "the node forgot its snapshot"
        assert self._web3.eth.block_number == self._height, "a block was made while the node went back"
        self._ask("evm_setAutomine", True)

    def _ask(self, method: str, *params: object) -> Any:
        answer = self._web3.provider.make_request(RPCEndpoint(method), list(params))
        assert "error" not in answer, answer
        return answer["result"]
