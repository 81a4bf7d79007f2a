"""ModelRegistry as typed calls (docs/spec/contracts.md): bytes for a transaction, values out of its views.

Every view is asked at the number of a block, because a receiver acts on what is final. A node that keeps no state of
that block fails the view; what ``gateway.chain.model_events`` makes of the events needs no state, and is the
receiver's way (docs/adr/0125). Roles are asked for with ``gateway.chain.contracts.has_role``.

Importing this imports ``eth_abi``, a part of the extra ``chain``; nothing here does I/O but through a view.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from gateway.chain.contracts import MAX_BATCH, ChainAlg, id_hash, topic_of
from gateway.chain.port import CallReverted, ChainMisconfigured, EndpointFault, View
from gateway.crypto.keys import KeyRefused, PublicKey, parse_public_key
from gateway.message import Alg

MODEL_REGISTRY_VERSION: Final = "securenet.model-registry/1"
PUBLISHER_ROLE: Final = "PUBLISHER_ROLE"
GRANTER_ROLE: Final = "GRANTER_ROLE"

_REASON: Final = re.compile(r"[a-z0-9-]{1,32}")
_REASON_BYTES: Final = 32
_ALGS: Final = {ChainAlg.ED25519: Alg.ED25519, ChainAlg.ES256: Alg.ES256}
_ALG_NUMBERS: Final = {ours: theirs for theirs, ours in _ALGS.items()}


class Result(IntEnum):
    """What a gateway did with a version of a model."""

    LOADED = 1
    REFUSED = 2
    RETURNED = 3
    """It left the version for the last good one."""


class ModelOnChain(NamedTuple):
    """The newest version of a model, and what may run of it, as of one block.

    The manifest's envelope has this SHA-256, and is signed with ``publisher_key``. It must not be loaded from
    ``valid_until_s`` (since 1970) on. No version below ``floor`` may run.
    """

    version: int
    manifest_cid: str
    manifest_sha256: bytes
    valid_until_s: int
    revoked: bool
    floor: int
    publisher_key: PublicKey


# --- calls ---


def publish_call(model_id: str, version: int, manifest_cid: str, manifest_sha256: bytes, valid_until_s: int) -> bytes:
    """``publish``, by a publisher that owns the model or finds it owned by nobody."""
    values = (model_id, version, manifest_cid, manifest_sha256, valid_until_s)
    return _call("publish", ("string", "uint64", "string", "bytes32", "uint64"), *values)


def revoke_call(model_id: str, version: int) -> bytes:
    """``revoke``, by the model's owner; it is for ever."""
    return _call("revoke", ("string", "uint64"), model_id, version)


def set_floor_call(model_id: str, min_version: int) -> bytes:
    """``setFloor``, by the model's owner; it rises to the newest version at most, and never falls."""
    return _call("setFloor", ("string", "uint64"), model_id, min_version)


def grant_call(model_id: str, gateway_ids: Sequence[str]) -> bytes:
    """``grant``, by the granter or the model's owner; at most ``MAX_BATCH`` gateways."""
    return _call("grant", ("string", "string[]"), model_id, list(gateway_ids))


def ungrant_call(model_id: str, gateway_ids: Sequence[str]) -> bytes:
    """``ungrant``, by the granter or the model's owner; at most ``MAX_BATCH`` gateways."""
    return _call("ungrant", ("string", "string[]"), model_id, list(gateway_ids))


def report_access_call(model_id: str, version: int, result: Result, reason: str = "") -> bytes:
    """``reportAccess``, by the account of an active miner.

    Raises:
        ValueError: a reason is 1 to 32 characters of ``[a-z0-9-]``; what is loaded has none, a refusal has one.
    """
    missing = result is Result.REFUSED and not reason
    if missing or (reason and (result is Result.LOADED or not _REASON.fullmatch(reason))):
        raise ValueError("a refusal has a reason of 1 to 32 characters of a-z 0-9 -, and what is loaded has none")
    outcome = (int(result), reason.encode("ascii").ljust(_REASON_BYTES, b"\0"))
    return _call("reportAccess", ("string", "uint64", "(uint8,bytes32)"), model_id, version, outcome)


def register_publisher_call(account: bytes, key: PublicKey) -> bytes:
    """``registerPublisher``, by the admin: lets a publisher in, or gives it another signing key."""
    values = (f"0x{account.hex()}", int(_ALG_NUMBERS[key.alg]), key.data)
    return _call("registerPublisher", ("address", "uint8", "bytes"), *values)


def assign_call(model_id: str, account: bytes) -> bytes:
    """``assign``, by the admin: gives a model to a publisher."""
    return _call("assign", ("string", "address"), model_id, f"0x{account.hex()}")


# --- views ---


async def model_state(view: View, address: bytes, model_id: str, block: int) -> ModelOnChain | None:
    """Ask for all that a receiver wants to know of a model, as of one block; None when nothing was published.

    Raises:
        EndpointFault: as from the view; also when the node has no state of that block any more.
        CallReverted: as from the view.
    """
    (found,) = await _ask(
        view,
        address,
        _call("stateOf", ("string",), model_id),
        ("(uint64,string,bytes32,uint64,bool,uint64,uint8,bytes)",),
        block,
    )
    version, cid, sha256, valid_until_s, revoked, floor, alg, key = found
    if not version:
        return None
    return ModelOnChain(version, cid, sha256, valid_until_s, revoked, floor, _key_or_fault(alg, key))


async def is_granted(view: View, address: bytes, model_id: str, gateway_id: str, block: int) -> bool:
    """Ask whether a gateway has the grant of a model, as of one block. Whether it is active, the registry says.

    Raises:
        EndpointFault, CallReverted: as ``model_state``.
    """
    call = _call("isGranted", ("string", "bytes32"), model_id, id_hash(gateway_id))
    (granted,) = await _ask(view, address, call, ("bool",), block)
    return bool(granted)


async def model_owner(view: View, address: bytes, model_id: str, block: int | None = None) -> bytes | None:
    """Ask who owns a model, None when nobody does.

    Raises:
        EndpointFault, CallReverted: as ``model_state``.
    """
    (owner,) = await _ask(view, address, _call("ownerOf", ("string",), model_id), ("address",), block)
    account = bytes.fromhex(owner[2:])
    return account if any(account) else None


async def publisher_key_of(view: View, address: bytes, account: bytes, block: int | None = None) -> PublicKey | None:
    """Ask which key an account signs its next manifest with, None when it never was a publisher.

    Raises:
        EndpointFault, CallReverted: as ``model_state``.
    """
    call = _call("keyOf", ("address",), f"0x{account.hex()}")
    alg, key = await _ask(view, address, call, ("uint8", "bytes"), block)
    return _key_or_fault(alg, key) if alg else None


async def verify_model_contract(view: View, address: bytes, registry: bytes | None = None) -> None:
    """See that the address holds our ModelRegistry, and that it asks that registry, if one is given.

    Raises:
        ChainMisconfigured: it does not; the message says what to do.
        EndpointFault: as from the view.
    """
    where = f"chain.model_registry 0x{address.hex()}"
    if not await view.code(address):
        raise ChainMisconfigured(f"{where} has no code on this chain; check the address and chain.chain_id")
    wanted: list[tuple[str, str, object]] = [
        ("VERSION", "string", MODEL_REGISTRY_VERSION),
        ("MAX_BATCH", "uint256", MAX_BATCH),
    ]
    if registry is not None:
        wanted.append(("REGISTRY", "address", f"0x{registry.hex()}"))
    for name, kind, value in wanted:
        try:
            (found,) = _decoded((kind,), await view.call(address, _call(name, ())))
        except CallReverted:
            found = "nothing"
        except _NotOurs:
            found = "another type"
        if found != value:
            raise ChainMisconfigured(
                f"{where} is not the contract that this version knows ({name} is {str(found)[:60]!r}, not "
                f"{str(value)!r}); check the addresses"
            )


def key_of_chain(alg: int, data: bytes) -> PublicKey:
    """A signing key as the contract has it.

    Raises:
        ValueError: it is no key that the contract takes.
    """
    return parse_public_key(_ALGS[ChainAlg(alg)], data)


class _NotOurs(Exception):
    """Bytes that are not of the types that were asked for."""


def _call(name: str, types: tuple[str, ...], *values: object) -> bytes:
    return topic_of(f"{name}({','.join(types)})")[:4] + encode(types, values)


def _decoded(types: tuple[str, ...], data: bytes) -> tuple[Any, ...]:
    try:
        return tuple(decode(types, data))
    except (DecodingError, ValueError, OverflowError):
        raise _NotOurs from None


async def _ask(view: View, address: bytes, call: bytes, types: tuple[str, ...], block: int | None) -> tuple[Any, ...]:
    try:
        return _decoded(types, await view.call(address, call, block))
    except _NotOurs:
        raise EndpointFault(_ODD_ANSWER) from None


def _key_or_fault(alg: int, data: bytes) -> PublicKey:
    try:
        return key_of_chain(alg, data)
    except (KeyRefused, ValueError):
        raise EndpointFault(_ODD_ANSWER) from None


_ODD_ANSWER: Final = "an answer came that the contract does not give"
