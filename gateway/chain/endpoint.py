"""One endpoint: what it may be asked and when, what it said before, and what is wrong with it.

Everything that an endpoint does wrong ends here in an ``EndpointFault`` with its label and our words, and a rest.
The label is scheme, host and port: the rest of a URL may be a key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import structlog
from yarl import URL

from gateway.chain import wire, words
from gateway.chain.heads import REORG_BLOCKS, HeadRule, Seen, final_fault, head_fault
from gateway.chain.pace import Pace, Rest
from gateway.chain.port import Block, ChainMisconfigured, EndpointFault, EndpointHealth
from gateway.chain.provider import BODY_BYTES, BoundedProvider, NoAnswer
from gateway.config.model import ChainConfig

log = structlog.get_logger("chain")

Parsed = TypeVar("Parsed")

BLOCK_BYTES: Final = 4 * 2**20
"""A header comes with the hashes of its transactions."""
MAX_URL: Final = 2048
_SECRET_CHARACTERS: Final = 6


class Clock(Protocol):
    """Both clocks of the machine."""

    @property
    def monotonic_s(self) -> Callable[[], float]:
        """Seconds that never go back."""
        ...

    @property
    def wall_ms(self) -> Callable[[], int]:
        """Milliseconds since 1970."""
        ...


class Refusal(Exception):
    """The endpoint answered with a JSON-RPC error."""

    def __init__(self, error: wire.RpcError) -> None:
        super().__init__(f"it refuses: {error}")
        self.error = error


class Opened(NamedTuple):
    """The newest and the newest final block of an endpoint that held all checks."""

    head: Block
    final: Block


class Endpoint:
    """One entry of ``chain.rpc``.

    Args:
        entry: a URL, or credential:NAME.
        config: the chain that it must serve.
        clock: both clocks.
        resolve: turns the entry into a URL when it is first used; raises ``ChainMisconfigured``.
        wall_trusted: whether the wall clock is believed; until then a head is late when it does not move on.
    """

    def __init__(
        self,
        entry: str,
        config: ChainConfig,
        clock: Clock,
        resolve: Callable[[str], str],
        wall_trusted: Callable[[], bool] = lambda: True,
    ) -> None:
        self._wall_trusted = wall_trusted
        self._entry = entry
        self._config = config
        self._clock = clock
        self._resolve = resolve
        self._provider: BoundedProvider | None = None
        self._pace = Pace(config.requests_per_s)
        self._opening = asyncio.Lock()
        self._seen = Seen()
        self._head: Block | None = None
        self._introduced = False
        self._secrets: tuple[str, ...] = ()
        by_depth = config.finality == "confirmations"
        self._by_depth = by_depth
        self._rule = HeadRule(config.max_head_age_s, max(REORG_BLOCKS, config.confirmations if by_depth else 0))
        self.rest = Rest()
        self.misconfigured = False
        self.fault_words = ""
        self.label = entry if entry.startswith("credential:") else _label(_parsed(entry))

    def health(self) -> EndpointHealth:
        """How it was when it was last asked."""
        head = self._head
        age_s = None if head is None else self._clock.wall_ms() / 1000 - head.timestamp_s
        return EndpointHealth(self.label, None if head is None else head.number, age_s, self.fault_words)

    def rests_s(self) -> float:
        """How long it still rests."""
        return self.rest.left_s(self._clock.monotonic_s())

    async def open(self) -> Opened:
        """Ask for the newest blocks, and hold them against all that is known.

        Raises:
            EndpointFault: it fails.
            ChainMisconfigured: it serves another chain, or its entry names none.
        """
        async with self._opening:  # one after the other: an older answer must not be held against a newer one
            if not self._introduced:
                await self._introduce()
            if self._by_depth:
                head = await self._tagged("latest")
                final = await self._buried(head)
            else:
                final = await self._tagged("finalized")
                head = await self._tagged("latest")
            self._head = head
            now_s = self._clock.wall_ms() / 1000 if self._wall_trusted() else None
            monotonic_s = self._clock.monotonic_s()
            fault = head_fault(self._seen, head, now_s, self._rule, monotonic_s)
            fault = fault or final_fault(self._seen, head, final)
            if fault:
                raise self.fault(fault)
            self._seen = self._seen.with_(head, final, monotonic_s)
            return Opened(head, final)

    def served(self) -> None:
        """A view of it ended well."""
        self.rest.served()
        if self.fault_words:
            self.fault_words = ""
            self.misconfigured = False
            log.info("chain.endpoint_up", endpoint=self.label)

    async def ask(
        self, method: str, params: Sequence[Any], parse: Callable[[Any], Parsed], limit: int = BODY_BYTES
    ) -> Parsed:
        """Ask in turn, and parse the result.

        Raises:
            Refusal: a JSON-RPC error; what it means depends on what was asked.
            NoAnswer: none came.
            WireError: the answer is not one to this question.
            EndpointFault: it wants fewer requests.
        """
        provider = self._connected()
        wait_s = self._pace.wait_s(self._clock.monotonic_s())
        if wait_s:
            await asyncio.sleep(wait_s)

        def result(answer: wire.Answer) -> Parsed:
            if answer.error is not None:
                raise Refusal(answer.error)
            return parse(answer.result)

        try:
            return await provider.ask(method, params, result, limit)
        except Refusal as refusal:
            if words.is_rate_limit(refusal.error):
                raise self.fault(f"it wants fewer requests: {refusal.error}") from None
            raise

    async def must(
        self, method: str, params: Sequence[Any], parse: Callable[[Any], Parsed], limit: int = BODY_BYTES
    ) -> Parsed:
        """Ask where every failure is a fault.

        Raises:
            EndpointFault: it failed.
        """
        try:
            return await self.ask(method, params, parse, limit)
        except (Refusal, NoAnswer, wire.WireError) as failed:
            raise self.failed(method, failed) from None

    def failed(self, method: str, failed: Refusal | NoAnswer | wire.WireError) -> EndpointFault:
        """The fault that a failed question is."""
        if isinstance(failed, wire.WireError):
            return self.fault(f"its answer to {method} is wrong: {failed}")
        return self.fault(f"{method}: {failed}", failed.wish_s if isinstance(failed, NoAnswer) else 0.0)

    def fault(self, what: str, wish_s: float = 0.0) -> EndpointFault:
        """Let it rest, and say why; the caller raises what comes back."""
        self._down(what, wish_s, misconfigured=False)
        return EndpointFault(f"{self.label}: {self.fault_words}")

    def disprove(self, what: str) -> ChainMisconfigured:
        """Let it rest until a person has acted, and say why; the caller raises what comes back."""
        self._down(what, 0.0, misconfigured=True)
        return ChainMisconfigured(f"{self.label}: {self.fault_words}")

    def redacted(self, text: str) -> str:
        """The endpoint's words without what is secret in its URL."""
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return wire.printable(text, 2 * wire.MAX_TEXT)

    async def close(self) -> None:
        """Close the connections."""
        if self._provider is not None:
            await self._provider.disconnect()

    def _down(self, what: str, wish_s: float, *, misconfigured: bool) -> None:
        first = not self.fault_words or misconfigured is not self.misconfigured
        self.fault_words = self.redacted(what)
        self.misconfigured = misconfigured
        self._introduced = False
        self.rest.failed(self._clock.monotonic_s(), wish_s)
        if first:
            level = log.error if misconfigured else log.warning
            level("chain.endpoint_down", endpoint=self.label, detail=self.fault_words)

    def _connected(self) -> BoundedProvider:
        if self._provider is None:
            try:
                url = self._resolve(self._entry).strip()
                parsed = _parsed(url)
            except ChainMisconfigured as error:
                raise self.disprove(str(error)) from None
            self._secrets = _secrets(parsed)
            self.label = _label(parsed)
            self._provider = BoundedProvider(
                url, timeout_s=self._config.timeout_s, wall_s=lambda: self._clock.wall_ms() / 1000
            )
        return self._provider

    async def _introduce(self) -> None:
        found = await self.must("eth_chainId", [], lambda value: wire.quantity(value, "the chain id"))
        if found != self._config.chain_id:
            raise self.disprove(
                f"it serves chain {found}, and chain.chain_id is {self._config.chain_id}: correct one of them"
            )
        self._introduced = True

    async def _tagged(self, tag: str) -> Block:
        hint = 'if the chain has no such tag, set chain.finality = "confirmations"' if tag == "finalized" else ""
        try:
            found = await self.ask("eth_getBlockByNumber", [tag, False], wire.block, BLOCK_BYTES)
        except (NoAnswer, wire.WireError) as failed:
            raise self.failed("eth_getBlockByNumber", failed) from None
        except Refusal as refusal:
            raise self.fault("; ".join(filter(None, (f"no {tag} block: {refusal}", hint)))) from None
        if found is None:
            raise self.fault("; ".join(filter(None, (f"it has no {tag} block", hint))))
        return found

    async def _buried(self, head: Block) -> Block:
        """The block that is deep enough to be final; what was final stays final when the head falls back a little."""
        number = max(0, head.number - self._config.confirmations)
        if self._seen.final is not None:
            number = max(number, min(self._seen.final.number, head.number))
        found = await self.block(number)
        if found is None:
            raise self.fault(f"it has no block {number}, and its newest is {head.number}")
        return found

    async def block(self, number: int) -> Block | None:
        """The canonical block of this height, None for none."""
        return await self.must(
            "eth_getBlockByNumber", [hex(number), False], lambda value: wire.block(value, number), BLOCK_BYTES
        )


def plain_url(entry: str) -> str:
    """The resolver of those who have no credentials: every entry is a URL itself.

    Raises:
        ChainMisconfigured: it is a credential.
    """
    if entry.startswith("credential:"):
        raise ChainMisconfigured(f"nothing here can read {wire.printable(entry)}: name the URL")
    return entry


def _parsed(url: str) -> URL:
    try:
        parsed = URL(url)
        port = parsed.port
    except ValueError:
        parsed, port = URL(), None
    if parsed.scheme not in {"http", "https"} or not parsed.host or not port or len(url) > MAX_URL:
        raise ChainMisconfigured("an entry of chain.rpc is no http or https URL")
    return parsed


def _label(url: URL) -> str:
    return wire.printable(str(url.origin()))


def _secrets(url: URL) -> tuple[str, ...]:
    """What may be a key: credentials, segments of the path, values of the query; the longest first."""
    found = {url.user or "", url.password or "", *url.parts, *url.query.values(), url.raw_query_string, url.raw_path}
    return tuple(sorted((part for part in found if len(part) >= _SECRET_CHARACTERS), key=len, reverse=True))
