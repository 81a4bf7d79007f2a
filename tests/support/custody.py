"""A world with a chain: a real node, both contracts, and what a gateway needs to anchor there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from support.anvil import CHAIN_ID, Anvil
from support.contracts_kit import X25519_KEY, Chain
from support.gateway import Gateway

from firmware_sim.keys import DeviceRecord
from gateway.crypto.anchoring_key import address_of, checksum_address
from gateway.crypto.keystore import ScryptCost, lock

PASSPHRASE = b"correct horse battery staple"
PRIVATE = bytes(31) + b"\x2a"
"""Of the anchoring account; it has no money before ``CustodyWorld.fund``."""
CHEAP = ScryptCost(n=1024, r=8, p=1)
_ALG = {"Ed25519": 1, "ES256": 2}
_BATCH = 100


class CustodyWorld:
    """A node with both contracts; devices, miner and money come when a test says so.

    Args:
        anvil: a running node.
        folder: gets the keystore and its passphrase.
    """

    def __init__(self, anvil: Anvil, folder: Path) -> None:
        self.anvil = anvil
        self.web3 = anvil.web3()
        self.chain = Chain(self.web3)
        self.account = checksum_address(address_of(PRIVATE))
        folder.mkdir(parents=True, exist_ok=True)
        self._keystore = _secret(folder / "anchoring.json", lock(PRIVATE, PASSPHRASE, CHEAP))
        self._passphrase = _secret(folder / "anchoring.pass", PASSPHRASE)

    def sections(self, **anchor: object) -> dict[str, dict[str, object]]:
        """[chain] and [anchor] of a gateway's configuration; quick, unless ``anchor`` says otherwise."""
        return {
            "chain": {
                "rpc": [self.anvil.url],
                "chain_id": CHAIN_ID,
                "registry": self.chain.registry.address,
                "anchor_log": self.chain.log.address,
                "finality": "confirmations",
                "confirmations": 1,
                "poll_s": 0.2,
                "requests_per_s": 1000.0,
                "max_head_age_s": 86400,
            },
            "anchor": {
                "key_file": self._keystore,
                "passphrase_file": self._passphrase,
                "interval_s": 1.0,
                "min_interval_s": 1.0,
                "replace_after_s": 5.0,
            }
            | anchor,
        }

    def fund(self, ether: int = 10) -> None:
        """Give the anchoring account money."""
        self.anvil_call("anvil_setBalance", self.account, hex(ether * 10**18))

    def register_devices(self, records: Sequence[DeviceRecord], fleet: str = Gateway.fleet) -> None:
        """Let devices in, by transactions of a hundred."""
        rows = [(record.device_id, _ALG[record.key.alg], record.key.public_key) for record in records]
        for start in range(0, len(rows), _BATCH):
            self.chain.register(fleet, *rows[start : start + _BATCH])

    def register_miner(self, gateway: Gateway, account: str | None = None) -> None:
        """Let the gateway in, with its log key, and open its log."""
        struct = (gateway.id, gateway.fleet, gateway.log_key.data, X25519_KEY, account or self.account)
        self.chain.send(self.chain.registrar, self.chain.registry, "registerMiner", struct)
        self.chain.send(self.chain.stranger, self.chain.log, "open", self.log_id(gateway))

    def log_id(self, gateway: Gateway) -> bytes:
        """What the chain knows the gateway's log by."""
        return bytes(self.web3.keccak(text=gateway.origin))

    def mine(self, blocks: int = 1) -> None:
        """Let blocks pass."""
        self.anvil_call("anvil_mine", hex(blocks))

    def anvil_call(self, method: str, *values: object) -> Any:
        """A request to the node; its result."""
        answer = self.web3.provider.make_request(method, list(values))
        assert "error" not in answer, answer
        return answer["result"]

    def anchored(self, gateway: Gateway) -> list[tuple[int, bytes]]:
        """Every anchor of the gateway's log, size and root, in the order of the chain."""
        found = self.chain.log.events.Anchored().get_logs(
            from_block=0, argument_filters={"logId": self.log_id(gateway)}
        )
        return [(event["args"]["size"], event["args"]["root"]) for event in found]


def _secret(path: Path, data: bytes) -> str:
    path.touch(mode=0o600)
    path.write_bytes(data)
    return str(path)


async def until(true: Callable[[], bool], timeout_s: float = 30.0, step: Callable[[], None] = lambda: None) -> None:
    """Wait for something; ``step`` is done at each look.

    Raises:
        TimeoutError: it did not come.
    """
    deadline = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError
        await asyncio.to_thread(step)
        await asyncio.sleep(0.05)
