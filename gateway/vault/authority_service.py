"""The authority's service: HTTPS, TLS 1.3, both sides with certificates, two requests (docs/spec/authority.md).

What a stranger can cost is bounded before anybody knows them (``authority_door``), what a publisher can cost by a
request's size and time, and by requests a minute for each certificate. No request line, header or body is logged.

Importing this module imports aiohttp, which comes with the extra ``chain``.
"""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, Self

import structlog
from aiohttp import web

from gateway.checks.rate_limit import TokenBuckets
from gateway.vault.authority import Authority, Caller, certificate_sha256
from gateway.vault.authority_client import DATA_KEY_PATH, WRAPS_PATH
from gateway.vault.authority_disk import StoreRefused
from gateway.vault.authority_door import Door, DoorLimits
from gateway.vault.authority_words import (
    REQUEST_BYTES_MAX,
    AuthorityRefused,
    Refusal,
    encode_answer,
    encode_refusal,
    malformed,
    parse_ask,
)

log = structlog.get_logger("authority")

STATUS: Final[dict[Refusal, int]] = {
    Refusal.MALFORMED: 400,
    Refusal.NOT_ON_THE_LIST: 403,
    Refusal.CERTIFICATE: 403,
    Refusal.SIGNATURE: 403,
    Refusal.MODEL_NOT_ALLOWED: 403,
    Refusal.VERSION_NOT_RISING: 409,
    Refusal.OF_ANOTHER_PUBLISHER: 409,
    Refusal.NO_KEY: 404,
    Refusal.TOO_MANY_GATEWAYS: 409,
    Refusal.STORE_FULL: 507,
    Refusal.RATE_LIMITED: 429,
    Refusal.NO_GRANTS: 503,
    Refusal.UNAVAILABLE: 503,
}

_HEADERS: Final = {"Cache-Control": "no-store"}
_LINE_BYTES: Final = 1024
_FIELDS: Final = 32
_CERTIFICATES: Final = 4096


class Limits(NamedTuple):
    """What the service spends on whom. A request is there in full after ``request_s``, or is dropped."""

    door: DoorLimits = DoorLimits()
    request_s: float = 10.0
    requests_per_minute: float = 30.0
    burst: int = 20


class ServerFiles(NamedTuple):
    """The service's certificate and key, and the authority that publishers' certificates are signed by, in PEM."""

    certificate: Path
    key: Path
    client_ca: Path


def server_context(files: ServerFiles) -> ssl.SSLContext:
    """TLS 1.3 alone, no session resumed, a client certificate required.

    Raises:
        StoreRefused: the files cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0
    try:
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
        context.load_verify_locations(files.client_ca)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        reason = (
            error.strerror if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else "not in PEM"
        )
        raise StoreRefused(
            f"the service's certificates cannot be read: {reason}", f"see to {', '.join(str(path) for path in files)}"
        ) from None
    return context


class Service:
    """The service; a context that listens while it is open.

    Args:
        authority: answers.
        context: see ``server_context``.
        address: host and port; port 0 is any.
        monotonic_s: a clock for the limits.
        limits: see there.
    """

    def __init__(
        self,
        authority: Authority,
        context: ssl.SSLContext,
        address: tuple[str, int],
        monotonic_s: Callable[[], float],
        limits: Limits | None = None,
    ) -> None:
        self._authority = authority
        self._context = context
        self._address = address
        self._monotonic_s = monotonic_s
        self._limits = limits or Limits()
        self._buckets = TokenBuckets(self._limits.requests_per_minute / 60, self._limits.burst, _CERTIFICATES)
        self._runner: web.AppRunner | None = None
        self._door: Door | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        if self._door is None:
            raise RuntimeError("the service is not open")
        return self._door.port

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            OSError: the address cannot be had.
        """
        app = web.Application(client_max_size=REQUEST_BYTES_MAX)
        app.on_response_prepare.append(_last_answer)
        app.router.add_post(DATA_KEY_PATH, self._data_key)
        app.router.add_post(WRAPS_PATH, self._wraps)
        silent = logging.getLogger("gateway.vault.authority_service.http")
        silent.disabled = True  # aiohttp's own lines hold what a request line held
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=silent,
            keepalive_timeout=self._limits.request_s,
            lingering_time=0,
            max_line_size=_LINE_BYTES,
            max_field_size=_LINE_BYTES,
            max_headers=_FIELDS,
            auto_decompress=False,
            shutdown_timeout=self._limits.request_s,
        )
        await runner.setup()
        manager = runner.server
        assert manager is not None  # noqa: S101 -- setup made it
        door = Door(manager, self._context, self._limits.door)
        try:
            await door.open(*self._address)
        except OSError:
            await runner.cleanup()
            raise
        self._runner, self._door = runner, door
        return self

    async def __aexit__(self, *_: object) -> None:
        """Take no more connections, let those that ask get their answers, close."""
        if self._door is None or self._runner is None:
            return
        await self._door.close()
        await self._runner.cleanup()
        await self._door.end()
        self._door = self._runner = None

    async def _data_key(self, request: web.Request) -> web.Response:
        return await self._handle(request, wraps=False)

    async def _wraps(self, request: web.Request) -> web.Response:
        return await self._handle(request, wraps=True)

    async def _handle(self, request: web.Request, *, wraps: bool) -> web.Response:
        caller = Caller(_peer(request), "https")
        wait_s = self._buckets.take(caller.certificate_sha256.hex(), self._monotonic_s())
        if wait_s:
            log.warning("authority.rate_limited", certificate=caller.certificate_sha256)
            return _refused(AuthorityRefused(Refusal.RATE_LIMITED, f"come again in {math.ceil(wait_s)} s"), wait_s)
        try:
            try:
                ask = parse_ask(await self._body(request), wraps=wraps)
            except AuthorityRefused as refused:
                await self._authority.refuse(caller, refused)
                raise
            answer = await self._authority.answer(caller, ask)
        except AuthorityRefused as refused:
            return _refused(refused)
        return web.Response(body=encode_answer(answer), content_type="application/json", headers=_HEADERS)

    async def _body(self, request: web.Request) -> bytes:
        try:
            async with asyncio.timeout(self._limits.request_s):
                return await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise malformed(f"a request has at most {REQUEST_BYTES_MAX} bytes") from None
        except TimeoutError:
            raise malformed("the request did not come in time") from None


async def _last_answer(_request: web.Request, response: web.StreamResponse) -> None:
    """One connection, one request."""
    response.force_close()


def _peer(request: web.Request) -> bytes:
    transport = request.transport
    tls = None if transport is None else transport.get_extra_info("ssl_object")
    der = None if tls is None else tls.getpeercert(binary_form=True)
    if not der:
        raise web.HTTPForbidden
    return certificate_sha256(der)


def _refused(refused: AuthorityRefused, wait_s: float = 0.0) -> web.Response:
    headers = _HEADERS | ({"Retry-After": str(math.ceil(wait_s))} if wait_s else {})
    return web.Response(
        status=STATUS[refused.reason],
        body=encode_refusal(refused),
        content_type="application/json",
        headers=headers,
    )


def _no_password() -> str:
    raise ValueError("nobody is asked for a passphrase")
