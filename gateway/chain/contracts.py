"""The contracts as typed calls (docs/spec/contracts.md): bytes for a view, values out of its answers.

Importing this imports ``eth_abi``, a part of the extra ``chain``; nothing here does I/O.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import IntEnum
from functools import cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_hash.auto import keccak

from gateway.chain.port import CallReverted, ChainMisconfigured, EndpointFault, View

VERSIONS: Final = ("securenet.identity-registry/1", "securenet.anchor-log/1")
MAX_BATCH: Final = 256


class Kind(IntEnum):
    """What an id names."""

    DEVICE = 1
    MINER = 2


class ChainStatus(IntEnum):
    """Where a registration stands."""

    ACTIVE = 1
    SUSPENDED = 2
    REVOKED = 3


class ChainAlg(IntEnum):
    """The algorithm of a registered key."""

    ED25519 = 1
    ES256 = 2


class Latest(NamedTuple):
    """The head of a log on chain; size 0 when nothing was anchored."""

    size: int
    root: bytes
    frozen: bool


class DeviceFacts(NamedTuple):
    """What a device is registered with."""

    id: str
    alg: ChainAlg
    public_key: bytes


class MinerFacts(NamedTuple):
    """What a gateway is registered with, in the order of the contract's struct."""

    id: str
    fleet: str
    log_key: bytes
    hpke_key: bytes
    account: bytes


class Contracts(NamedTuple):
    """Where the two contracts are, 20 bytes each."""

    registry: bytes
    anchor_log: bytes


def topic_of(signature: str) -> bytes:
    """keccak256 of an event's or a role's signature."""
    return bytes(keccak(signature.encode()))


def _selector(signature: str) -> bytes:
    return topic_of(signature)[:4]


def id_hash(name: str) -> bytes:
    """What the contract knows an id by: keccak256 of its UTF-8 bytes."""
    return bytes(keccak(name.encode()))


def log_id(origin: str) -> bytes:
    """What the contract knows a log by: keccak256 of its origin."""
    return bytes(keccak(origin.encode()))


def address_of(text: str) -> bytes:
    """The 20 bytes of an address as it stands in the configuration.

    Raises:
        ValueError: it is no address.
    """
    data = bytes.fromhex(text.removeprefix("0x"))
    if len(data) != 20:  # noqa: PLR2004 -- the length of an address
        raise ValueError("an address has 20 bytes")
    return data


# --- calls ---


def _call(signature: str, *values: object) -> bytes:
    types = signature[signature.index("(") + 1 : -1]
    return _selector(signature) + encode(_split(types), values)


@cache
def _split(types: str) -> tuple[str, ...]:
    """Split at the commas outside brackets."""
    parts, depth, start = [], 0, 0
    for at, character in enumerate(types):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append(types[start:at])
            start = at + 1
    return (*parts, types[start:]) if types else ()


def anchor_call(log: bytes, size: int, root: bytes) -> bytes:
    """``AnchorLog.anchor``."""
    return _call("anchor(bytes32,uint64,bytes32)", log, size, root)


def open_call(log: bytes) -> bytes:
    """``AnchorLog.open``."""
    return _call("open(bytes32)", log)


def register_devices_call(fleet: str, devices: Sequence[DeviceFacts]) -> bytes:
    """``IdentityRegistry.registerDevices``; at most ``MAX_BATCH`` devices."""
    return _call("registerDevices(string,(string,uint8,bytes)[])", fleet, [tuple(device) for device in devices])


def register_miner_call(miner: MinerFacts) -> bytes:
    """``IdentityRegistry.registerMiner``."""
    return _call("registerMiner((string,string,bytes32,bytes,address))", tuple(miner))


def renew_miner_call(miner: MinerFacts) -> bytes:
    """``IdentityRegistry.renewMiner``."""
    return _call("renewMiner((string,string,bytes32,bytes,address))", tuple(miner))


def status_call(verb: str, ids: Sequence[str]) -> bytes:
    """``IdentityRegistry.suspend``, ``reinstate`` or ``revoke``; at most ``MAX_BATCH`` ids."""
    if verb not in {"suspend", "reinstate", "revoke"}:
        raise ValueError("a status changes by suspend, reinstate or revoke")
    return _call(f"{verb}(string[])", list(ids))


async def latest(view: View, anchor_log: bytes, log: bytes, block: int | None = None) -> Latest:
    """Ask for the head of a log.

    Raises:
        EndpointFault, CallReverted: as from the view.
    """
    answer = await view.call(anchor_log, _call("latest(bytes32)", log), block)
    return Latest(*_answer(("uint64", "bytes32", "bool"), answer))


async def record_of(view: View, registry: bytes, name: str) -> tuple[Kind, ChainStatus] | None:
    """Ask what an id is registered as, None when it is not.

    Raises:
        EndpointFault, CallReverted: as from the view.
    """
    answer = await view.call(registry, _call("recordOf(bytes32)", id_hash(name)))
    _, kind, status = _answer(("bytes30", "uint8", "uint8"), answer)
    if not kind:
        return None
    try:
        return Kind(kind), ChainStatus(status)
    except ValueError:
        raise EndpointFault("an answer came that the contract does not give") from None


async def has_role(view: View, registry: bytes, role: str, account: bytes) -> bool:
    """Ask whether an account has a role: ``DEFAULT_ADMIN_ROLE``, ``REGISTRAR_ROLE`` or ``SUSPENDER_ROLE``.

    Raises:
        EndpointFault, CallReverted: as from the view.
    """
    role_id = bytes(32) if role == "DEFAULT_ADMIN_ROLE" else topic_of(role)
    answer = await view.call(registry, _call("hasRole(bytes32,address)", role_id, account))
    return bool(_answer(("bool",), answer)[0])


async def verify_contracts(view: View, contracts: Contracts) -> None:
    """See that both addresses hold our contracts, and that the log asks that registry.

    Raises:
        ChainMisconfigured: they do not; the message says which and what to do.
        EndpointFault: as from the view.
    """
    for name, address in zip(("registry", "anchor_log"), contracts, strict=True):
        if not await view.code(address):
            raise ChainMisconfigured(
                f"chain.{name} 0x{address.hex()} has no code on this chain; check the address and chain.chain_id"
            )
    for name, address, signature, types, wanted in (
        ("registry", contracts.registry, "VERSION()", "string", VERSIONS[0]),
        ("registry", contracts.registry, "MAX_BATCH()", "uint256", MAX_BATCH),
        ("anchor_log", contracts.anchor_log, "VERSION()", "string", VERSIONS[1]),
        ("anchor_log", contracts.anchor_log, "REGISTRY()", "address", f"0x{contracts.registry.hex()}"),
    ):
        found = await _ask_about(view, address, signature, types)
        if found != wanted:
            raise ChainMisconfigured(
                f"chain.{name} 0x{address.hex()} is not the contract that this version knows ({signature[:-2]} is "
                f"{str(found)[:60]!r}, not {str(wanted)!r}); check the addresses"
            )


async def _ask_about(view: View, address: bytes, signature: str, kind: str) -> object:
    try:
        answer = await view.call(address, _call(signature))
    except CallReverted:
        return "nothing"
    try:
        return decode((kind,), answer)[0]
    except (DecodingError, ValueError, OverflowError):
        return "another type"


def _answer(types: tuple[str, ...], data: bytes) -> tuple[Any, ...]:
    try:
        return tuple(decode(types, data))
    except (DecodingError, ValueError, OverflowError):
        raise EndpointFault("an answer came that the contract does not give") from None


# --- errors and artifacts ---


@cache
def artifact(name: str) -> dict[str, Any]:
    """ABI and bytecode of ``IdentityRegistry``, ``AnchorLog`` or ``ModelRegistry``, as committed."""
    text = files("gateway.chain").joinpath("artifacts", f"{name}.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@cache
def _errors() -> dict[bytes, tuple[str, tuple[str, ...]]]:
    known = {}
    for name in ("IdentityRegistry", "AnchorLog", "ModelRegistry"):
        for entry in artifact(name)["abi"]:
            if entry["type"] == "error":
                types = tuple(value["type"] for value in entry["inputs"])
                known[_selector(f"{entry['name']}({','.join(types)})")] = (entry["name"], types)
    return known


def error_of(data: bytes) -> tuple[str, tuple[object, ...]]:
    """What a contract said when it reverted: the error's name and arguments; ``("", ())`` for what is not ours."""
    name, types = _errors().get(data[:4], ("", ()))
    try:
        return name, tuple(decode(types, data[4:]))
    except (DecodingError, ValueError, OverflowError):
        return "", ()


def creation_code(name: str, *args: object) -> bytes:
    """The data of the transaction that deploys a contract: bytecode and constructor arguments."""
    made = artifact(name)
    types = next(
        ([value["type"] for value in entry["inputs"]] for entry in made["abi"] if entry["type"] == "constructor"),
        [],
    )
    return bytes.fromhex(made["bytecode"].removeprefix("0x")) + encode(types, args)
