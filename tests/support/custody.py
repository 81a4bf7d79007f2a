"""A world with a chain: a real node, both contracts, and what a gateway needs to anchor there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from support.anvil import CHAIN_ID, Anvil
from support.contracts_kit import X25519_KEY, Chain
from support.gateway import Gateway, secret_file
from support.mosquitto import ACCOUNTS

from firmware_sim.keys import DeviceRecord, FleetKeys, registry_lines
from gateway.crypto.anchoring_key import address_of, checksum_address
from gateway.crypto.keystore import ScryptCost, lock

PASSPHRASE = b"correct horse battery staple"
PRIVATE = bytes(31) + b"\x2a"
"""Of the anchoring account; it has no money before ``CustodyWorld.fund``."""
CHEAP = ScryptCost(n=1024, r=8, p=1)
UNLIMITED: dict[str, object] = {
    "device_rate_per_s": 100_000,
    "device_burst": 1_000_000,
    "mqtt_peer_rate_per_s": 100_000,
    "mqtt_peer_burst": 1_000_000,
}
"""For a fleet that waits out an outage and comes back all at once; what a limit refuses is another test's subject."""
_ALG = {"Ed25519": 1, "ES256": 2}
_BATCH = 100


class LastingAnvil(Anvil):
    """A node that keeps its chain in a file: stopped and started, it goes on where it was.

    What waited for a block is forgotten, as a node's pool is. It mines at once again: ``CustodyWorld.block_every``.
    """

    def __init__(self, state: Path, *options: str) -> None:
        super().__init__("--state", str(state), *options)

    @property
    def pid(self) -> int:
        """Of the running node."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """End it: from now on its port refuses."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def start(self) -> None:
        """Start it again on the same port, with the same chain."""
        self.__enter__()


class OnChain(NamedTuple):
    """One anchor as the chain has it."""

    size: int
    root: bytes
    block: int
    tx_hash: bytes
    account: str


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

    def block_every(self, seconds: int) -> None:
        """From now on a block comes with the clock, with whatever waits, and not with each transaction."""
        self.anvil_call("evm_setAutomine", False)
        self.anvil_call("evm_setIntervalMining", seconds)

    def block_when_told(self) -> None:
        """From now on a block comes with ``mine`` alone."""
        self.block_every(0)

    def block_each(self) -> None:
        """From now on each transaction has a block of its own, at once; how a node begins."""
        self.anvil_call("evm_setIntervalMining", 0)
        self.anvil_call("evm_setAutomine", True)

    def register_devices(self, records: Sequence[DeviceRecord], fleet: str = Gateway.fleet) -> None:
        """Let devices in, by transactions of a hundred."""
        rows = [(record.device_id, _ALG[record.key.alg], record.key.public_key) for record in records]
        for start in range(0, len(rows), _BATCH):
            self.chain.register(fleet, *rows[start : start + _BATCH])

    def register_miner(self, gateway: Gateway, account: str | None = None, hpke_key: bytes = X25519_KEY) -> None:
        """Let the gateway in, with its log key, and open its log."""
        struct = (gateway.id, gateway.fleet, gateway.log_key.data, hpke_key, account or self.account)
        self.chain.send(self.chain.registrar, self.chain.registry, "registerMiner", struct)
        self.chain.send(self.chain.stranger, self.chain.log, "open", self.log_id(gateway))

    def renew_miner(self, gateway: Gateway, log_key: bytes | None = None, account: str | None = None) -> None:
        """Give the gateway another log key or another account."""
        struct = (gateway.id, gateway.fleet, log_key or gateway.log_key.data, X25519_KEY, account or self.account)
        self.chain.send(self.chain.registrar, self.chain.registry, "renewMiner", struct)

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

    def forge(self, gateway: Gateway, size: int, root: bytes) -> list[str]:
        """Anchor as whoever stole the anchoring key; returns the names of the events."""
        self.anvil_call("anvil_impersonateAccount", self.account)
        try:
            return [event.name for event in self.chain.anchor(self.log_id(gateway), size, root, self.account).events]
        finally:
            self.anvil_call("anvil_stopImpersonatingAccount", self.account)

    def on_chain(self, gateway: Gateway) -> list[OnChain]:
        """Every anchor of the gateway's log, in the order of the chain."""
        found = self.chain.log.events.Anchored().get_logs(
            from_block=0, argument_filters={"logId": self.log_id(gateway)}
        )
        return [
            OnChain(
                event["args"]["size"],
                event["args"]["root"],
                event["blockNumber"],
                bytes(event["transactionHash"]),
                event["args"]["miner"],
            )
            for event in found
        ]

    def anchored(self, gateway: Gateway) -> list[tuple[int, bytes]]:
        """Every anchor of the gateway's log, size and root, in the order of the chain."""
        return [(each.size, each.root) for each in self.on_chain(gateway)]

    def nonce(self, account: str | None = None) -> int:
        """How many transactions of the anchoring account are in blocks."""
        return int(self.web3.eth.get_transaction_count(account or self.account))


def custody_gateway(
    world: CustodyWorld,
    folder: Path,
    port: int,
    records: Sequence[DeviceRecord],
    **changes: dict[str, object],
) -> Gateway:
    """A gateway on the chain that takes messages over MQTT without rate limits; ``changes`` by section.

    Its registry file is not read by it: it is what a proof is checked against when no chain is asked.
    """
    sections: dict[str, dict[str, object]] = {
        **world.sections(),
        "mqtt": {"port": port, "username": "gateway", "password_file": secret_file(folder, ACCOUNTS["gateway"])},
        "limits": UNLIMITED,
        "log": {"checkpoint_interval_s": 0.5},
    }
    lines = registry_lines(FleetKeys(Gateway.fleet, tuple(records)))
    return Gateway(
        folder, lines, {name: sections.get(name, {}) | changes.get(name, {}) for name in {*sections, *changes}}
    )


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
