"""Who holds a grant, and with which key: asked of the chain (docs/adr/0136).

What lets a gateway in counts when its block is final: its grant, its registration, its HPKE key. What shuts it out,
a grant that is taken back, a suspension, a revocation, counts from the newest block on. A gateway whose key changes
in blocks that are not final yet is left out until they are: its old key may be why it changes.

Importing this module imports ``eth_abi``, a part of the extra ``chain``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, NamedTuple, Protocol

import structlog

from gateway.chain.contracts import ChainStatus, Kind, topic_of
from gateway.chain.events import MinerRegistered, StatusChanged, decode_registry
from gateway.chain.model_events import GrantChanged, decode_model_event
from gateway.chain.models import verify_model_contract
from gateway.chain.port import ChainError, EndpointFault, LogFilter, LogRecord, TooManyLogs, View
from gateway.crypto.keys import KeyRefused
from gateway.vault.authority import Recipients
from gateway.vault.authority_words import AuthorityRefused, LeftOut, Refusal
from gateway.vault.wrap import Recipient, parse_recipient

BLOCKS_AT_ONCE: Final = 5000
log = structlog.get_logger("authority")

EVENTS_MAX: Final = 1_000_000
"""Events of gateways and grants that are folded: more is no chain of ours."""

_TOPICS: Final = (
    topic_of("MinerRegistered(bytes32,bytes32,address,string,string,bytes32,bytes)"),
    topic_of("MinerRenewed(bytes32,bytes32,address,string,string,bytes32,bytes)"),
    topic_of("StatusChanged(bytes32,string,uint8,uint8)"),
    topic_of("Granted(bytes32,bytes32,string,string)"),
    topic_of("Ungranted(bytes32,bytes32,string,string)"),
)


class Views(Protocol):
    """The part of ``gateway.chain.port.Chain`` that is used here."""

    @property
    def chain_id(self) -> int:
        """The pinned chain id."""
        ...

    def view(self) -> AbstractAsyncContextManager[View]:
        """Open a view of an endpoint that is well."""
        ...


class Where(NamedTuple):
    """The contracts, and the block of the first one's deployment."""

    registry: bytes
    model_registry: bytes
    deploy_block: int
    blocks: int = BLOCKS_AT_ONCE


class Standing(NamedTuple):
    """A gateway as the chain has it."""

    hpke_key: bytes
    active: bool


class Fold:
    """What the events come to, up to some block."""

    def __init__(self) -> None:
        self.gateways: dict[str, Standing] = {}
        self.grants: dict[str, set[str]] = {}
        self._events = 0

    def copy(self) -> Fold:
        """Another one, to fold newer blocks into."""
        other = Fold()
        other.gateways = dict(self.gateways)
        other.grants = {model_id: set(held) for model_id, held in self.grants.items()}
        other._events = self._events
        return other

    def fold(self, record: LogRecord, where: Where) -> None:
        """Take an event up; those of devices are passed over.

        Raises:
            EndpointFault: it is none of the contracts', or the events are not complete.
        """
        self._events += 1
        if self._events > EVENTS_MAX:
            raise EndpointFault("more events of gateways and grants than any chain of ours has")
        if record.address == where.model_registry:
            changed = decode_model_event(record)
            if isinstance(changed, GrantChanged):
                held = self.grants.setdefault(changed.model_id, set())
                (held.add if changed.granted else held.discard)(changed.gateway_id)
            return
        event = decode_registry(record)
        if isinstance(event, MinerRegistered):
            before = self.gateways.get(event.id)
            self.gateways[event.id] = Standing(event.hpke_key, before is None or before.active)
        elif isinstance(event, StatusChanged) and event.kind is Kind.MINER:
            known = self.gateways.get(event.id)
            if known is None:
                raise EndpointFault("a gateway changes its status that was never registered; is deploy_block right?")
            self.gateways[event.id] = known._replace(active=event.status is ChainStatus.ACTIVE)


def recipients_of(model_id: str, final: Fold, head: Fold, source: str) -> Recipients:
    """Who gets a key of this model, and which gateways with a grant get none (pure)."""
    keys: dict[str, Recipient] = {}
    left_out: list[LeftOut] = []
    then, now = final.grants.get(model_id, set()), head.grants.get(model_id, set())
    for gateway_id in sorted(then | now):
        if gateway_id not in now:
            found: Recipient | str = "ungranted"
        elif gateway_id not in then:
            found = "grant-not-final"
        else:
            found = _judge(final.gateways.get(gateway_id), head.gateways.get(gateway_id))
        if isinstance(found, Recipient):
            keys[gateway_id] = found
        else:
            left_out.append(LeftOut(gateway_id, found))
    return Recipients(source, from_chain=True, keys=keys, left_out=tuple(left_out))


def _judge(then: Standing | None, now: Standing | None) -> Recipient | str:
    if then is None or now is None:
        return "not-a-gateway"
    if not (then.active and now.active):
        return "not-active"
    if then.hpke_key != now.hpke_key:
        return "key-not-final"
    try:
        return parse_recipient(then.hpke_key)
    except KeyRefused:
        return "key-refused"


class _Known(NamedTuple):
    """The fold of all blocks up to this one, which was final."""

    fold: Fold
    block: int
    block_hash: bytes


class ChainGrants:
    """``Grants`` by the chain. The final state is kept in memory: only newer blocks are read the next time.

    Args:
        chain: the client.
        where: the contracts.
        timeout_s: one question may take so long; the first one reads all blocks.
        told: hears blocks read, and of how many.
    """

    def __init__(
        self,
        chain: Views,
        where: Where,
        timeout_s: float = 90.0,
        told: Callable[[int, int], None] = lambda _done, _all: None,
    ) -> None:
        self._chain = chain
        self._where = where
        self._timeout_s = timeout_s
        self._told = told
        self._lock = asyncio.Lock()
        self._known: _Known | None = None
        self._verified: set[str] = set()

    async def recipients(self, model_id: str) -> Recipients:
        """Ask who holds a grant of this model now.

        Raises:
            AuthorityRefused: ``no-grants``: the chain does not say.
        """
        try:
            async with asyncio.timeout(self._timeout_s), self._lock, self._chain.view() as view:
                return await self._ask(view, model_id)
        except TimeoutError:
            raise AuthorityRefused(
                Refusal.NO_GRANTS, f"the chain was not read in {self._timeout_s:g} s; come again"
            ) from None
        except ChainError as error:
            raise AuthorityRefused(Refusal.NO_GRANTS, f"the chain does not say: {error}"[:400]) from None

    async def catch_up(self) -> bool:
        """Read what is final, however long that takes; whether it went well."""
        try:
            async with self._lock, self._chain.view() as view:
                await self._verify(view)
                known = await self._follow(view)
        except ChainError as error:
            log.warning("authority.chain_unread", detail=str(error))
            return False
        log.info("authority.chain_read", block=known.block, gateways=len(known.fold.gateways))
        return True

    async def _verify(self, view: View) -> None:
        if view.endpoint not in self._verified:
            await verify_model_contract(view, self._where.model_registry, self._where.registry)
            self._verified.add(view.endpoint)

    async def _ask(self, view: View, model_id: str) -> Recipients:
        await self._verify(view)
        known = await self._follow(view)
        head = known.fold.copy()
        await self._read(view, head, known.block + 1, view.head.number)
        source = f"eip155:{self._chain.chain_id} block {known.block} 0x{known.block_hash.hex()}"
        return recipients_of(model_id, known.fold, head, source)

    async def _follow(self, view: View) -> _Known:
        """Fold what became final since; from the beginning where the endpoint has another history."""
        known = self._known
        if known is not None:
            if known.block > view.head.number:
                raise EndpointFault(f"{view.endpoint} is behind block {known.block}, which was final before")
            there = await view.block(known.block)
            if there is None or there.hash != known.block_hash:
                log.warning("authority.other_history", endpoint=view.endpoint, block=known.block)
                known = None
        fold = Fold() if known is None else known.fold.copy()
        start = self._where.deploy_block if known is None else known.block + 1
        read = await self._read(view, fold, start, view.final.number)
        self._known = _Known(fold, view.final.number, view.final.hash) if read or known is None else known
        return self._known

    async def _read(self, view: View, fold: Fold, start: int, end: int) -> bool:
        """Fold the events of these blocks; whether there are any blocks."""
        first, span = start, self._where.blocks
        wanted = LogFilter((self._where.registry, self._where.model_registry), (_TOPICS,))
        while start <= end:
            last = min(end, start + span - 1)
            try:
                records = await view.logs(wanted, start, last)
            except TooManyLogs:
                if span == 1:
                    raise EndpointFault(f"{view.endpoint} does not tell the events of block {start}") from None
                span = max(1, (last - start + 1) // 2)
                continue
            for record in records:
                fold.fold(record, self._where)
            start, span = last + 1, min(self._where.blocks, span * 2)
            self._told(start - first, end + 1 - first)
        return first <= end
