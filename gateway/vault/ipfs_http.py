"""HTTP to those who are not trusted: one time, one bound, no redirect, no unpacking, no proxy, no cookies (I/O).

Importing this module imports aiohttp, which comes with the extra ``chain``.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

import aiohttp
from yarl import URL

from gateway.vault.source import LABEL_MAX, SourceFailure, SourceFault

CHUNK: Final = 1 << 16
ERROR_BYTES: Final = 4096
URL_MAX: Final = 2048
_CONNECTIONS: Final = 4
_KEEP_ALIVE_S: Final = 4.0
"""Below the shortest idle time after which servers close: a connection is not used in the moment it ends."""
_ABSENT: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS})
HTTP_ERRORS: Final = (aiohttp.ClientError, OSError, ValueError)
_LATE: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.GATEWAY_TIMEOUT})

_REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (aiohttp.ClientConnectorDNSError, "its name is not known"),
    (aiohttp.ClientConnectorCertificateError, "its certificate does not hold"),
    (aiohttp.ClientSSLError, "no TLS with it"),
    (aiohttp.ClientConnectorError, "no connection to it"),
    (aiohttp.ServerDisconnectedError, "it hung up"),
    (aiohttp.ClientPayloadError, "its answer broke off"),
    (ConnectionError, "it hung up"),
)


class UrlRefused(ValueError):
    """A text of the configuration that is no URL to ask at."""


class HttpPeer:
    """One base URL. What goes wrong is a ``SourceFault``; how long a request may take is the caller's to say.

    Raises:
        UrlRefused: the text is no http or https URL, or has a password, a query or a fragment.
    """

    def __init__(self, kind: str, base: str) -> None:
        try:
            url = URL(base)
            sound = url.scheme in {"http", "https"} and bool(url.host) and bool(url.port) and len(base) <= URL_MAX
        except ValueError:
            sound = False
        if not sound or url.user or url.password or url.query_string or url.fragment:
            raise UrlRefused("an http:// or https:// URL without password, ? and #")
        self._base = url
        self._session: aiohttp.ClientSession | None = None
        self.label = f"{kind} {url.origin()}"[:LABEL_MAX]

    def fault(self, failure: SourceFailure, words: str) -> SourceFault:
        """A fault of this peer; the caller raises it."""
        return SourceFault(failure, self.label, words)

    @asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        body: AsyncIterable[bytes] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask; the answer has whatever status it has, but is neither a redirect nor encoded.

        Raises:
            SourceFault: there is no answer, or it broke off while it was read.
        """
        url = (self._base / path).with_query(query)
        try:
            asked = self._opened().request(method, url, allow_redirects=False, headers=headers, data=body)
            async with asked as response:
                if HTTPStatus.MULTIPLE_CHOICES <= response.status < HTTPStatus.BAD_REQUEST:
                    raise self.fault(
                        SourceFailure.REDIRECT,
                        f"it redirects (HTTP {response.status}): name the address that it points to",
                    )
                if response.headers.get("Content-Encoding", "identity").lower() not in {"", "identity"}:
                    raise self.fault(SourceFailure.ENCODED, "it encodes its answer although it was asked not to")
                yield response
        except TimeoutError:
            raise
        except HTTP_ERRORS as error:
            raise self.failed(error) from None

    def failed(self, error: Exception) -> SourceFault:
        """The fault that one of ``HTTP_ERRORS`` is, without its text, which may have the URL in it."""
        return self.fault(SourceFailure.UNREACHABLE, _reason(error))

    async def read(self, response: aiohttp.ClientResponse, limit: int) -> bytes:
        """Read a whole answer.

        Raises:
            SourceFault: it is longer than ``limit``.
        """
        body = bytearray()
        async for chunk in response.content.iter_chunked(CHUNK):
            body += chunk
            if len(body) > limit:
                response.close()
                raise self.fault(SourceFailure.TOO_LARGE, f"its answer has more than {limit} bytes")
        return bytes(body)

    def status_fault(self, status: int) -> SourceFault:
        """The fault that a status other than 200 is; the caller raises it."""
        if status in _ABSENT:
            return self.fault(SourceFailure.ABSENT, f"it does not have it (HTTP {status})")
        if status in _LATE:
            return self.fault(SourceFailure.TIMED_OUT, f"it did not find it in time (HTTP {status})")
        return self.fault(SourceFailure.STATUS, f"it answers HTTP {status}")

    async def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=_KEEP_ALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "securenet-gateway", "Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


def _reason(error: Exception) -> str:
    for kind, words in _REASONS:
        if isinstance(error, kind):
            return words
    return f"the request failed ({type(error).__name__})"
