"""CENTAUTH, the key authority: who asks, may they, and what do they get (docs/spec/authority.md).

For every request, in this order, each step named by the refusal that ends it:

    1. the certificate is a publisher's                    not-on-the-list
    2. the publisher may publish the model                 model-not-allowed
    3. data key: it is theirs, or the version is new       of-another-publisher, version-not-rising, store-full
       wraps: the key is there and theirs                  no-key, of-another-publisher
    4. wraps: somebody can say who holds a grant           no-grants, too-many-gateways
    5. the audit has it on disk, then the answer leaves    unavailable

What is refused is in the audit too. Not handled here: how requests come (``authority_service``, ``authority_files``),
and whose a certificate is beyond its bytes (TLS).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol

import structlog

from gateway.vault.authority_audit import Audit, Event
from gateway.vault.authority_disk import StoreRefused
from gateway.vault.authority_publishers import Publisher, Publishers
from gateway.vault.authority_store import Store
from gateway.vault.authority_words import (
    Answer,
    Ask,
    AuthorityRefused,
    DataKey,
    LeftOut,
    Refusal,
    WrappedKey,
    Wraps,
)
from gateway.vault.manifest import RECIPIENTS_MAX
from gateway.vault.wrap import Recipient, wrap_for

log = structlog.get_logger("authority")

SIGNING: Final = "signing"
"""The seed of the key that signs answers in files."""
AUDIT: Final = "audit"
"""The key of the audit's head."""
CA: Final = "ca"
"""The private key of the certificate authority, if there is one."""


class Recipients(NamedTuple):
    """Who gets a key of a model, with which HPKE key, by whose word; and which gateways with a grant get none."""

    source: str
    from_chain: bool
    keys: Mapping[str, Recipient]
    left_out: tuple[LeftOut, ...] = ()


class Grants(Protocol):
    """Who holds a grant: the chain, or for a site without one a file that its operator signed."""

    async def recipients(self, model_id: str) -> Recipients:
        """Ask who holds a grant of this model now.

        Raises:
            AuthorityRefused: ``no-grants``: nobody can say.
        """
        ...


class Caller(NamedTuple):
    """Who asks: the SHA-256 of the certificate that was proven, and how the request came."""

    certificate_sha256: bytes
    via: str


def certificate_sha256(der: bytes) -> bytes:
    """What a publisher is known by."""
    return hashlib.sha256(der).digest()


class Authority:
    """The authority at work. One request at a time touches the store and the audit.

    Args:
        store: open; it stays the caller's to close.
        audit: open to be written to.
        publishers: reads the list; called for each request.
        grants: who holds a grant; None where only data keys are issued.
        wall_ms: milliseconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        audit: Audit,
        publishers: Callable[[], Publishers],
        grants: Grants | None,
        wall_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._audit = audit
        self._publishers = publishers
        self._grants = grants
        self._wall_ms = wall_ms
        self._turn = asyncio.Lock()

    async def answer(self, caller: Caller, ask: Ask) -> Answer:
        """Do what is asked; what it comes to is in the audit when this returns or refuses.

        Raises:
            AuthorityRefused: why not.
        """
        try:
            publisher = await asyncio.to_thread(self._who, caller)
        except AuthorityRefused as refused:
            await self.refuse(caller, refused, ask)
            raise
        try:
            return await self._decide(caller, publisher, ask)
        except AuthorityRefused as refused:
            await self.refuse(caller, refused, ask, publisher.name)
            raise

    async def refuse(self, caller: Caller, refused: AuthorityRefused, ask: Ask | None = None, name: str = "") -> None:
        """Put a refusal into the audit.

        Raises:
            AuthorityRefused: ``unavailable``: the audit did not take it.
        """
        detail = {"reason": str(refused.reason), "why": refused.detail, **_about(ask)}
        await self._record(_event("refused", caller, name, ask, detail))
        log.warning("authority.refused", reason=str(refused.reason), publisher=name, via=caller.via)

    def _who(self, caller: Caller) -> Publisher:
        try:
            publisher = self._publishers().by_certificate.get(caller.certificate_sha256)
        except StoreRefused as failed:
            raise _failed(failed) from None
        if publisher is None:
            raise AuthorityRefused(
                Refusal.NOT_ON_THE_LIST, f"no publisher has the certificate {caller.certificate_sha256.hex()}"
            )
        return publisher

    async def _decide(self, caller: Caller, publisher: Publisher, ask: Ask) -> Answer:
        if not publisher.may_publish(ask.model_id):
            raise AuthorityRefused(Refusal.MODEL_NOT_ALLOWED, f"{publisher.name} is not on the list for this model")
        try:
            if ask.ciphertext_sha256 is None:
                return await self._issue(caller, publisher, ask)
            return await self._wrap(caller, publisher, ask, ask.ciphertext_sha256)
        except StoreRefused as failed:
            raise _failed(failed) from None

    async def _issue(self, caller: Caller, publisher: Publisher, ask: Ask) -> DataKey:
        async with self._turn:
            key, made = await asyncio.to_thread(self._key, publisher, ask)
        await self._record(_event("issue", caller, publisher.name, ask, {"made": made}))
        log.info("authority.issued", publisher=publisher.name, model=ask.model_id, version=ask.version, made=made)
        return DataKey(ask.model_id, ask.version, key)

    def _key(self, publisher: Publisher, ask: Ask) -> tuple[bytes, bool]:
        try:
            return self._store.issue(ask.model_id, ask.version, publisher.name, self._wall_ms())
        except OSError as error:
            raise StoreRefused(f"the key could not be stored: {error.strerror}", "see to the disk") from None

    async def _wrap(self, caller: Caller, publisher: Publisher, ask: Ask, digest: bytes) -> Wraps:
        self._store.key(ask.model_id, ask.version, publisher.name)
        if self._grants is None:
            raise AuthorityRefused(Refusal.NO_GRANTS, "this authority was told of no chain and no file of grants")
        found = await self._grants.recipients(ask.model_id)
        if len(found.keys) > RECIPIENTS_MAX or len(found.left_out) > RECIPIENTS_MAX:
            raise AuthorityRefused(
                Refusal.TOO_MANY_GATEWAYS, f"a manifest has room for {RECIPIENTS_MAX} gateways; take grants back"
            )
        wrapped = await asyncio.to_thread(self._wrapped, publisher, ask, digest, found.keys)
        detail = {
            "ciphertext_sha256": digest.hex(),
            "grants": found.source,
            "from_chain": found.from_chain,
            "for": [each.gateway_id for each in wrapped],
            "left_out": [list(each) for each in found.left_out],
        }
        await self._record(_event("wraps", caller, publisher.name, ask, detail))
        log.info("authority.wrapped", publisher=publisher.name, model=ask.model_id, gateways=len(wrapped))
        return Wraps(ask.model_id, ask.version, digest, found.source, wrapped, found.left_out)

    def _wrapped(
        self, publisher: Publisher, ask: Ask, digest: bytes, keys: Mapping[str, Recipient]
    ) -> tuple[WrappedKey, ...]:
        key = self._store.key(ask.model_id, ask.version, publisher.name)
        found = wrap_for(keys, key, ask.model_id, ask.version, digest)
        return tuple(WrappedKey(gateway_id, each) for gateway_id, each in found.items())

    async def _record(self, event: Event) -> None:
        async with self._turn:
            try:
                await asyncio.to_thread(self._audit.append, event, self._wall_ms())
            except (OSError, ValueError) as error:
                log.error("authority.audit_failed", detail=str(error))
                raise AuthorityRefused(
                    Refusal.UNAVAILABLE, "the authority's audit takes nothing; see its log"
                ) from None


def _failed(error: StoreRefused) -> AuthorityRefused:
    log.error("authority.failed", problem=error.problem, hint=error.hint)
    return AuthorityRefused(Refusal.UNAVAILABLE, "the authority failed; its log says how")


def _event(what: str, caller: Caller, name: str, ask: Ask | None, detail: Mapping[str, object]) -> Event:
    model, version = ("", 0) if ask is None else (ask.model_id, ask.version)
    return Event(what, name, caller.certificate_sha256.hex(), caller.via, model, version, detail)


def _about(ask: Ask | None) -> dict[str, object]:
    if ask is None:
        return {}
    return {"asked": "data-key"} if ask.ciphertext_sha256 is None else {"asked": "wraps"}
