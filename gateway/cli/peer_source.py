"""A published log as files (c2sp.org/tlog-tiles): from a directory, or from a web server. Every read has a limit.

A web server gets a deadline and a limit for each file, and a limit for all of them. It cannot send anyone elsewhere:
a redirect is an error that names where it points.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from gateway.tlog.checkpoint import NOTE_BYTES_MAX
from gateway.tlog.layout import ENTRY_BYTES_MAX, TILE_WIDTH, entries_path, tile_path
from gateway.tlog.merkle import HASH_BYTES
from gateway.tlog.peer import SourceFault

if TYPE_CHECKING:
    from aiohttp import ClientSession

FILE_S: Final = 30.0
TOTAL_BYTES: Final = 16 << 30
"""Half a billion entries."""
_BUNDLE_BYTES: Final = TILE_WIDTH * (ENTRY_BYTES_MAX + 2)
_CHUNK: Final = 1 << 16
_OK, _NOT_FOUND, _GONE = 200, 404, 410
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class PeerDirectory:
    """A directory as ``log publish`` writes it, or a copy of one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is kept open."""

    def checkpoint(self) -> bytes:
        """Return the published checkpoint.

        Raises:
            SourceFault: it cannot be had.
        """
        return _there(self._read("checkpoint", NOTE_BYTES_MAX), "checkpoint")

    def tile(self, level: int, index: int, width: int) -> bytes:
        """Return the first hashes of a tile; see ``gateway.tlog.peer.PeerFiles``."""
        return _tile(self._read, level, index, width)

    def bundle(self, index: int, width: int) -> bytes | None:
        """Return an entry bundle."""
        return self._read(entries_path(index, width), _BUNDLE_BYTES)

    def _read(self, path: str, limit: int) -> bytes | None:
        try:
            # Whoever handed the directory over may have put a pipe there, which nobody would ever open to write.
            with os.fdopen(os.open(self._directory / path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise SourceFault(f"{path} is no regular file")
                data = file.read(limit + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SourceFault(f"{path} cannot be read: {error.strerror}") from None
        return _within(data, limit, path)


class PeerSite:
    """A web server with a published log below ``url``.

    Args:
        url: http:// or https://, without a query.
        total_bytes: the most that is read of it in all.

    Raises:
        ValueError: it is no such URL.
    """

    def __init__(self, url: str, total_bytes: int = TOTAL_BYTES) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("a published log is at http://… or https://…, without ? and #")
        if parts.username is not None or not url.isascii() or not url.isprintable():
            raise ValueError("a published log needs no password, and its URL is plain ASCII")
        self._url = url.rstrip("/")
        self._left = total_bytes
        self._runner = asyncio.Runner()
        self._session: ClientSession | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._session is not None:
            self._runner.run(self._session.close())
        self._runner.close()

    def checkpoint(self) -> bytes:
        """Return the published checkpoint.

        Raises:
            SourceFault: it cannot be had.
        """
        return _there(self._read("checkpoint", NOTE_BYTES_MAX), "checkpoint")

    def tile(self, level: int, index: int, width: int) -> bytes:
        """Return the first hashes of a tile; see ``gateway.tlog.peer.PeerFiles``."""
        return _tile(self._read, level, index, width)

    def bundle(self, index: int, width: int) -> bytes | None:
        """Return an entry bundle."""
        return self._read(entries_path(index, width), _BUNDLE_BYTES)

    def _read(self, path: str, limit: int) -> bytes | None:
        from aiohttp import ClientError  # noqa: PLC0415 -- comes with the extra chain

        try:
            return self._runner.run(self._got(path, limit))
        except (ClientError, OSError, TimeoutError, ValueError) as error:
            reason = "it took too long" if isinstance(error, TimeoutError) else type(error).__name__
            raise SourceFault(f"{path} cannot be fetched ({reason})") from None

    async def _got(self, path: str, limit: int) -> bytes | None:
        session = self._opened()
        async with session.get(f"{self._url}/{path}", allow_redirects=False) as response:
            if response.status in {_NOT_FOUND, _GONE}:
                return None
            if response.status in _REDIRECTS:
                where = response.headers.get("Location", "nowhere")[:200]
                raise SourceFault(
                    f"{path} is elsewhere, says the server: {where!r}; name that address if you trust it"
                )
            if response.status != _OK:
                raise SourceFault(f"the server answers {response.status} for {path}")
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise SourceFault(f"the server encodes {path} although it was asked not to")
            parts: list[bytes] = []
            size = 0
            async for part in response.content.iter_chunked(_CHUNK):
                parts.append(part)
                size += len(part)
                self._left -= len(part)
                if size > limit:
                    raise SourceFault(f"{path} is longer than the {limit} bytes that it can have")
                if self._left < 0:
                    raise SourceFault("more was sent than is read of one log; raise --max-mib if it is that large")
            return b"".join(parts)

    def _opened(self) -> ClientSession:
        from aiohttp import ClientSession, ClientTimeout, DummyCookieJar  # noqa: PLC0415 -- likewise

        if self._session is None:
            self._session = ClientSession(
                timeout=ClientTimeout(total=FILE_S),
                headers={"Accept-Encoding": "identity"},
                cookie_jar=DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


def _tile(read: Callable[[str, int], bytes | None], level: int, index: int, width: int) -> bytes:
    """Read a tile of that width; the full one will do when the log has grown since."""
    wanted = width * HASH_BYTES
    path = tile_path(level, index, width)
    data = read(path, TILE_WIDTH * HASH_BYTES)
    if data is None and width < TILE_WIDTH:
        data = read(tile_path(level, index), TILE_WIDTH * HASH_BYTES)
        data = None if data is None else data[:wanted]
    data = _there(data, path)
    if len(data) != wanted:
        raise SourceFault(f"{path} has {len(data)} bytes, not {wanted}")
    return data


def _there(data: bytes | None, path: str) -> bytes:
    if data is None:
        raise SourceFault(f"{path} is not there")
    return data


def _within(data: bytes, limit: int, path: str) -> bytes:
    if len(data) > limit:
        raise SourceFault(f"{path} is longer than the {limit} bytes that it can have")
    return data
