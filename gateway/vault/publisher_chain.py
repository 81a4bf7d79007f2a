"""A bundle is published on chain: looked at first, sent once, and waited for (I/O).

The transaction's hash is in the state file before the transaction is broadcast: a run that was killed finds its own
transaction again, and a version can be published only once in any case. Importing this imports ``eth_abi``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from gateway.chain.contracts import has_role
from gateway.chain.models import (
    PUBLISHER_ROLE,
    model_owner,
    model_state,
    publish_call,
    publisher_key_of,
    verify_model_contract,
)
from gateway.chain.operator import Estimate, NotSettled, Operator, Signer, Terms, Tx, estimate
from gateway.chain.port import Chain, ChainUnavailable, EndpointFault, TxReceipt, View
from gateway.crypto.keys import PublicKey
from gateway.vault.manifest import manifest_sha256
from gateway.vault.publisher_record import Record
from gateway.vault.publisher_state import State
from gateway.vault.publisher_words import PublishRefusal, PublishRefused

_CID_CHARACTERS: Final = 59
"""A CIDv1 of sha2-256 in base32."""


class Registry(NamedTuple):
    """Where versions are published: the chain, the contract, the publisher's account, and his terms."""

    chain: Chain
    models: bytes
    signer: Signer
    terms: Terms


async def look(registry: Registry, view: View, record: Record, key: PublicKey, mine: bytes | None = None) -> bool:
    """See that the account may publish this version, signed with this key; whether it is there already.

    Args:
        registry: where.
        view: of its chain.
        record: what is to be published.
        key: which it is signed with.
        mine: the SHA-256 of the manifest, once there is one.

    Raises:
        PublishRefused: ``not-a-publisher``, ``publisher-key``, ``not-the-owner``, ``version-taken``,
            ``version-not-rising``.
        ChainMisconfigured: the contract is not ours.
        EndpointFault: as from the view.
    """
    models, account = registry.models, registry.signer.address
    name = f"0x{account.hex()}"
    await verify_model_contract(view, models)
    found = await model_state(view, models, record.model_id, view.head.number)
    if found is not None and found.version == record.version and mine == found.manifest_sha256:
        return True
    known = await publisher_key_of(view, models, account)
    if known is None or not await has_role(view, models, PUBLISHER_ROLE, account):
        raise _refused(
            PublishRefusal.NOT_A_PUBLISHER,
            f"the account {name} is no publisher on this chain",
            "let the admin register it with your signing key: securenet model publisher",
        )
    if known != key:
        raise _refused(
            PublishRefusal.PUBLISHER_KEY,
            f"the chain knows the account {name} with another signing key",
            "sign with that key, or let the admin register this one: securenet model publisher",
        )
    owner = await model_owner(view, models, record.model_id)
    if owner not in (None, account):
        raise _refused(
            PublishRefusal.NOT_THE_OWNER,
            f"the model {record.model_id} belongs to the account 0x{(owner or b'').hex()}",
            "publish under another model id, or let the admin assign the model",
        )
    if found is None or found.version < record.version:
        return False
    if found.version == record.version:
        raise _refused(
            PublishRefusal.VERSION_TAKEN,
            f"the chain has {record.model_id} version {record.version} already, with another manifest",
            "a version is published once: export the model with a higher one",
        )
    raise _refused(
        PublishRefusal.VERSION_NOT_RISING,
        f"the chain has {record.model_id} version {found.version} already",
        "export the model with a higher version",
    )


async def estimated(registry: Registry, view: View, record: Record, valid_until_s: int) -> Estimate:
    """What publishing would take; nothing is sent.

    Raises:
        Refused, NotSent, EndpointFault: as ``gateway.chain.operator.estimate``.
    """
    cid = f"b{'a' * (_CID_CHARACTERS - 1)}"
    return await estimate(
        view, registry.signer.address, _tx(registry, record, (cid, b"\xff" * 32, valid_until_s)), registry.terms
    )


async def publish(  # noqa: PLR0913 -- the state and who keeps it, the chain and how to wait
    registry: Registry,
    record: Record,
    key: PublicKey,
    state: State,
    save: Callable[[State], None],
    *,
    monotonic_s: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> TxReceipt | None:
    """Publish a bundle, unless that was done; its receipt, None when somebody else's transaction did it.

    Args:
        registry: where.
        record: of what.
        key: which the manifest is signed with.
        state: of ``Bundler.bundle``.
        save: keeps a state.
        monotonic_s: seconds that never go back.
        sleep: between two looks.

    Raises:
        PublishRefused: as ``look``.
        Refused, NotSent, NotSettled, ChainError: as ``Operator.send``.
    """
    if state.envelope is None or state.manifest_cid is None:
        raise RuntimeError("a version is published when its bundle is stored")
    digest = manifest_sha256(state.envelope)
    if state.tx_hash is not None:
        receipt = await _sent_before(registry, state.tx_hash, monotonic_s, sleep)
        if receipt is not None:
            return receipt
    async with registry.chain.view() as view:
        if await look(registry, view, record, key, digest):
            return None
    kept = state

    def sent(tx_hash: bytes) -> None:
        nonlocal kept
        kept = kept._replace(tx_hash=tx_hash)
        save(kept)

    operator = Operator(registry.chain, registry.signer, registry.terms, sent, clock=monotonic_s, sleep=sleep)
    return await operator.send(_tx(registry, record, (state.manifest_cid, digest, state.expires_ms // 1000)))


async def _sent_before(
    registry: Registry, tx_hash: bytes, monotonic_s: Callable[[], float], sleep: Callable[[float], Awaitable[None]]
) -> TxReceipt | None:
    """Wait for the transaction of an earlier run; None when it failed, or nobody knows it any more."""
    terms, deadline = registry.terms, monotonic_s() + registry.terms.timeout_s
    fault = ""
    while True:
        try:
            async with registry.chain.view() as view:
                receipt = await view.receipt(tx_hash)
                if receipt is not None and not receipt.succeeded:
                    return None
                if receipt is not None and (not terms.wait_final or view.final.number >= receipt.block_number):
                    return receipt
                if receipt is None and not await view.knows(tx_hash):
                    return None
            fault = ""
        except (ChainUnavailable, EndpointFault) as error:
            fault = f" ({error})"
        if monotonic_s() >= deadline:
            raise NotSettled(
                f"the transaction 0x{tx_hash.hex()} of an earlier run is in no "
                f"{'final ' if terms.wait_final else ''}block after {terms.timeout_s:g} s{fault}; run this again",
                tx_hash,
            )
        await sleep(terms.poll_s)


def _tx(registry: Registry, record: Record, said: tuple[str, bytes, int]) -> Tx:
    call = publish_call(record.model_id, record.version, *said)
    return Tx(registry.models, call, f"publishing {record.model_id} version {record.version}")


def _refused(reason: PublishRefusal, problem: str, hint: str) -> PublishRefused:
    return PublishRefused(reason, problem, hint)
