"""JSON-RPC over HTTP with limits: a bounded answer in a bounded time, no redirect, no proxy, no URL in any log.

The provider of web3 reads an answer without a bound, writes the URL (which may have an API key in it) to its debug
log, and parses with the depth that the interpreter allows. ``gateway.chain.web3_provider`` puts ``AsyncWeb3`` on top
of this one. Importing this module imports aiohttp, and not web3 (docs/adr/0189): do it where a chain is configured.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum, auto
from http import HTTPStatus
from typing import Any, Final, NamedTuple, TypeVar

import aiohttp

from gateway.chain import wire

Parsed = TypeVar("Parsed")

BODY_BYTES: Final = 2**20
ERROR_BYTES: Final = 64 * 1024
THREAD_BYTES: Final = 128 * 1024
"""Answers above it are parsed on a thread: the loop has devices to answer."""
LONGEST_WISH_S: Final = 600.0
_CHUNK: Final = 64 * 1024
_KEEP_ALIVE_S: Final = 4.0
"""Below the shortest idle time after which servers close (5 s): a connection is not used in the moment it ends."""
_CONNECTIONS: Final = 4

_REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (aiohttp.ClientConnectorDNSError, "its name is not known"),
    (aiohttp.ClientConnectorCertificateError, "its certificate does not hold"),
    (aiohttp.ClientSSLError, "no TLS with it"),
    (aiohttp.ClientConnectorError, "no connection to it"),
    (aiohttp.ServerDisconnectedError, "it hung up"),
    (aiohttp.ClientPayloadError, "its answer broke off"),
    (ConnectionError, "it hung up"),
)


class Why(StrEnum):
    """Why there is no answer."""

    TIME_OUT = auto()
    TOO_LARGE = auto()
    OTHER = auto()


class NoAnswer(Exception):
    """The endpoint gave no answer; the words are ours. ``wish_s``: how long it wants to be left alone."""

    def __init__(self, why: Why, words: str, wish_s: float = 0.0) -> None:
        super().__init__(words)
        self.why = why
        self.wish_s = wish_s


class _Reply(NamedTuple):
    status: int
    retry_after: str
    body: bytearray


class BoundedProvider:
    """One URL. ``close`` it in the end.

    Args:
        url: where requests are posted; never shown.
        timeout_s: a request may take so long, from the first byte sent to the last received.
        wall_s: seconds since 1970, for a Retry-After that is a date.
    """

    def __init__(self, url: str, *, timeout_s: float, wall_s: Callable[[], float]) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._wall_s = wall_s
        self._ids = itertools.count(1)
        self._session: aiohttp.ClientSession | None = None

    def __str__(self) -> str:
        return "RPC connection"

    async def ask(
        self, method: str, params: Sequence[Any], parse: Callable[[wire.Answer], Parsed], limit: int = BODY_BYTES
    ) -> Parsed:
        """Ask, and parse the answer (on a thread when it is large).

        Raises:
            NoAnswer: none came, or not all of it, or something else than JSON-RPC.
            WireError: from ``parse``, or the envelope is none.
        """
        number = next(self._ids)
        reply = await self._post(wire.request(number, method, params), limit)

        def opened() -> Parsed:
            return parse(self._open(reply, number))

        return await asyncio.to_thread(opened) if len(reply.body) > THREAD_BYTES else opened()

    async def disconnect(self) -> None:
        """Close the connections; the next request opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _post(self, asked: bytes, limit: int) -> _Reply:
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._open_session().post(self._url, data=asked, allow_redirects=False) as response,
            ):
                bound = limit if response.status == HTTPStatus.OK else ERROR_BYTES
                retry_after = response.headers.get("Retry-After", "")
                return _Reply(response.status, retry_after, await _read(response, bound))
        except TimeoutError:
            raise NoAnswer(Why.TIME_OUT, f"no answer within {self._timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NoAnswer(Why.OTHER, _reason(error)) from None  # its text may have the URL in it

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=_KEEP_ALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Content-Type": "application/json", "User-Agent": "securenet-gateway"},
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timeout_s),
                trust_env=False,
            )
        return self._session

    def _open(self, reply: _Reply, number: int) -> wire.Answer:
        """Find the answer in a reply; many endpoints send a JSON-RPC error with another status than 200."""
        status = reply.status
        if status == HTTPStatus.OK:
            return wire.answer(reply.body, number)
        wish_s = wish(reply.retry_after, self._wall_s())
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            raise NoAnswer(Why.OTHER, "it wants fewer requests (HTTP 429)", wish_s)
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            raise NoAnswer(Why.TOO_LARGE, "the answer would be too large (HTTP 413)")
        try:
            said = wire.answer(reply.body, number)
        except wire.WireError:
            said = wire.Answer(None, None)
        if said.error is not None:
            return said
        raise NoAnswer(_status_why(status), _status_words(status), wish_s)


def wish(retry_after: str, wall_s: float) -> float:
    """How long a Retry-After header asks to be left alone, at most ten minutes; 0 when it says nothing of use."""
    header = retry_after[:64].strip()
    if header.isascii() and header.isdigit():
        return min(float(header), LONGEST_WISH_S)
    try:
        date = parsedate_to_datetime(header)
        at_s = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(0.0, at_s - wall_s), LONGEST_WISH_S)


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytearray:
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        body += chunk
        if len(body) > limit:
            response.close()
            raise NoAnswer(Why.TOO_LARGE, f"its answer is larger than {limit} bytes")
    return body


def _reason(error: Exception) -> str:
    for kind, words in _REASONS:
        if isinstance(error, kind):
            return words
    return f"the request failed ({type(error).__name__})"


def _status_why(status: int) -> Why:
    late = {HTTPStatus.GATEWAY_TIMEOUT, HTTPStatus.REQUEST_TIMEOUT, 524}
    return Why.TIME_OUT if status in late else Why.OTHER


def _status_words(status: int) -> str:
    if 300 <= status < 400:  # noqa: PLR2004 -- the redirects of HTTP
        return f"it redirects (HTTP {status}): name the address that it points to"
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return f"it refuses us (HTTP {status}): is the key in its URL right?"
    return f"it answers HTTP {status}"
