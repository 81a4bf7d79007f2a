"""The contracts as tests want them: a call returns its events and its gas, or raises the contract's error by name."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from web3 import Web3
from web3.contract import Contract
from web3.exceptions import ContractCustomError

ARTIFACTS = Path(__file__).resolve().parents[2] / "gateway" / "chain" / "artifacts"
GAS_LIMIT = 16_000_000
X25519_KEY = bytes(31) + b"\x09"
ZERO = "0x" + 40 * "0"


class Kind(IntEnum):
    NONE, DEVICE, MINER = range(3)


class Status(IntEnum):
    NONE, ACTIVE, SUSPENDED, REVOKED = range(4)


class Alg(IntEnum):
    NONE, ED25519, ES256 = range(3)


class Event(NamedTuple):
    name: str
    args: dict[str, Any]


class Done(NamedTuple):
    events: list[Event]
    gas: int


class Refused(Exception):
    """The contract's own error: its name and its arguments."""

    def __init__(self, name: str, *args: Any) -> None:
        super().__init__(name, *args)
        self.name = name
        self.values = args


def artifact(name: str) -> dict[str, Any]:
    return json.loads((ARTIFACTS / f"{name}.json").read_text())


@cache
def ed25519_key(number: int) -> bytes:
    private = ed25519.Ed25519PrivateKey.from_private_bytes(number.to_bytes(32, "big"))
    return private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


@cache
def p256_key(number: int) -> bytes:
    private = ec.derive_private_key(number, ec.SECP256R1())
    return private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def id_hash(name: str) -> bytes:
    return bytes(Web3.keccak(text=name))


def log_id(fleet: str, name: str) -> bytes:
    return bytes(Web3.keccak(text=f"securenet/{fleet}/{name}"))


def device(name: str, number: int, alg: Alg = Alg.ED25519) -> tuple[str, int, bytes]:
    return (name, int(alg), ed25519_key(number) if alg is Alg.ED25519 else p256_key(number))


@dataclass(frozen=True)
class Gateway:
    """A miner, in the order of the contract's struct."""

    id: str
    account: str
    fleet: str = "plant"
    number: int = 900
    hpke_key: bytes = X25519_KEY

    @property
    def log_key(self) -> bytes:
        return ed25519_key(self.number)

    @property
    def log_id(self) -> bytes:
        return log_id(self.fleet, self.id)

    def struct(self) -> tuple[str, str, bytes, bytes, str]:
        return (self.id, self.fleet, self.log_key, self.hpke_key, self.account)

    def facts(self) -> dict[str, Any]:
        """What MinerRegistered and MinerRenewed carry."""
        return {
            "idHash": id_hash(self.id),
            "logId": self.log_id,
            "account": self.account,
            "id": self.id,
            "fleet": self.fleet,
            "logKey": self.log_key,
            "hpkeKey": self.hpke_key,
        }


@dataclass
class Chain:
    """Both contracts on one node, with an account for each role."""

    web3: Web3
    admin: str = field(init=False)
    registrar: str = field(init=False)
    suspender: str = field(init=False)
    miner: str = field(init=False)
    stranger: str = field(init=False)
    other: str = field(init=False)
    registry: Contract = field(init=False)
    log: Contract = field(init=False)
    deployed_gas: dict[str, int] = field(default_factory=dict)
    contracts: dict[str, Contract] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.admin, self.registrar, self.suspender, self.miner, self.stranger, self.other) = self.web3.eth.accounts[
            :6
        ]
        self.registry = self.deploy("IdentityRegistry", self.admin, self.registrar, self.suspender)
        self.log = self.deploy("AnchorLog", self.registry.address)

    def deploy(self, name: str, *args: Any) -> Contract:
        made = artifact(name)
        factory = self.web3.eth.contract(abi=made["abi"], bytecode=made["bytecode"])
        try:
            gas = factory.constructor(*args).estimate_gas({"from": self.admin})
        except ContractCustomError as error:
            raise refusal(factory, error) from None
        receipt = self._mine(factory.constructor(*args).transact({"from": self.admin, "gas": gas}))
        self.deployed_gas[name] = receipt["gasUsed"]
        contract = self.web3.eth.contract(address=receipt["contractAddress"], abi=made["abi"])
        self.contracts[contract.address] = contract
        return contract

    def send(self, sender: str, contract: Contract, function: str, *args: Any) -> Done:
        """The call as a transaction; asked as a call first, for an error with its arguments."""
        call = contract.functions[function](*args)
        try:
            call.call({"from": sender, "gas": GAS_LIMIT})
        except ContractCustomError as error:
            raise refusal(contract, error) from None
        receipt = self._mine(call.transact({"from": sender, "gas": GAS_LIMIT}))
        assert receipt["status"] == 1
        return Done([self._event(entry) for entry in receipt["logs"]], receipt["gasUsed"])

    def ask(self, function: str, *args: Any) -> Any:
        """A view of the registry."""
        return self.registry.functions[function](*args).call()

    def latest(self, log: bytes) -> tuple[int, bytes, bool]:
        return tuple(self.log.functions.latest(log).call())

    def register(self, fleet: str, *devices: tuple[str, int, bytes]) -> Done:
        return self.send(self.registrar, self.registry, "registerDevices", fleet, list(devices))

    def register_miner(self, gateway: Gateway) -> Done:
        return self.send(self.registrar, self.registry, "registerMiner", gateway.struct())

    def renew_miner(self, gateway: Gateway) -> Done:
        return self.send(self.registrar, self.registry, "renewMiner", gateway.struct())

    def suspend(self, *ids: str) -> Done:
        return self.send(self.suspender, self.registry, "suspend", list(ids))

    def reinstate(self, *ids: str) -> Done:
        return self.send(self.registrar, self.registry, "reinstate", list(ids))

    def revoke(self, *ids: str) -> Done:
        return self.send(self.registrar, self.registry, "revoke", list(ids))

    def anchor(self, log: bytes, size: int, root: bytes, sender: str | None = None) -> Done:
        return self.send(sender or self.miner, self.log, "anchor", log, size, root)

    def status(self, name: str) -> Status:
        return Status(self.ask("recordOf", id_hash(name))[2])

    def _mine(self, transaction: bytes) -> Any:
        return self.web3.eth.wait_for_transaction_receipt(transaction, timeout=30, poll_latency=0.005)

    def _event(self, entry: Any) -> Event:
        for event in self.contracts[entry["address"]].events:
            if event().topic == Web3.to_hex(entry["topics"][0]):
                return Event(event.event_name, dict(event().process_log(entry)["args"]))
        raise AssertionError(f"an event that the ABI does not know: {entry}")


class Result(IntEnum):
    NONE, LOADED, REFUSED, RETURNED = range(4)


class Models:
    """ModelRegistry beside the two others, with a publisher whose key is known and an account that grants.

    The publisher is the registrar's account, the granter the suspender's: a node has only so many.
    """

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.admin, self.publisher, self.granter = chain.admin, chain.registrar, chain.suspender
        self.contract = chain.deploy("ModelRegistry", chain.registry.address, self.admin, self.granter)

    def register(self, account: str | None = None, number: int = 800, alg: Alg = Alg.ED25519) -> Done:
        key = ed25519_key(number) if alg is Alg.ED25519 else p256_key(number)
        return self.send(self.admin, "registerPublisher", account or self.publisher, int(alg), key)

    def publish(self, model: str, version: int, sender: str | None = None, **changes: Any) -> Done:
        return self.send(sender or self.publisher, "publish", *publication(model, version, **changes))

    def report(
        self, model: str, version: int, result: Result, reason: bytes = b"", sender: str | None = None
    ) -> Done:
        outcome = (int(result), reason.ljust(32, b"\0"))
        return self.send(sender or self.chain.miner, "reportAccess", model, version, outcome)

    def send(self, sender: str, function: str, *args: Any) -> Done:
        return self.chain.send(sender, self.contract, function, *args)

    def ask(self, function: str, *args: Any) -> Any:
        return self.contract.functions[function](*args).call()


def publication(
    model: str, version: int, *, cid: str = "", sha256: bytes = b"", valid_until: int = 4_000_000_000
) -> tuple[str, int, str, bytes, int]:
    """What ``publish`` is given: facts that differ from version to version."""
    made = hashlib.sha256(f"{model}/{version}".encode()).digest()
    text = base64.b32encode(b"\x01\x70\x12\x20" + made).decode().lower().rstrip("=")
    return (model, version, cid or f"b{text}", sha256 or made, valid_until)


def refusal(contract: Contract, error: ContractCustomError) -> Refused:
    data = str(error.data)
    for entry in contract.abi:
        if entry["type"] == "error" and Web3.to_hex(error_selector(entry)) == data[:10]:
            types = [value["type"] for value in entry["inputs"]]
            return Refused(entry["name"], *contract.w3.codec.decode(types, bytes.fromhex(data[10:])))
    raise AssertionError(f"an error that the ABI does not know: {data}")


def error_selector(entry: Any) -> bytes:
    types = ",".join(value["type"] for value in entry["inputs"])
    return bytes(Web3.keccak(text=f"{entry['name']}({types})"))[:4]
