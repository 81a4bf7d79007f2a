"""Who is answered over HTTP, and under which headers.

The page is for a browser on this machine, and a browser carries strangers' scripts. So a request has to name us
(DNS rebinding), a script of another site gets nothing, and whatever changes something needs the token, an origin that
is ours, and a header that no form can send (CSRF). The decisions are pure; the middleware asks them in order.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import re
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from gateway.ops.http.keys import ASKED_BY, TOKENLESS, problem

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""On every answer; a handler may set ``Cache-Control`` itself."""

_BEGUN: Final = web.RequestKey("begun", bool)
_HOST: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]{1,5})?", re.ASCII)
_UNAUTHORIZED: Final = 401
_READS: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})


class Refusal(NamedTuple):
    """Why a request is not answered."""

    status: int
    error: str
    hint: str


def host_name(header: str) -> str | None:
    """The host in a ``Host`` header, lower case and without its port; None when it is none."""
    match = _HOST.fullmatch(header)
    return None if match is None else (match["v6"] or match["name"]).lower()


def is_our_name(name: str, bound: str | None, allowed: Collection[str]) -> bool:
    """Whether ``name`` is ours: localhost, a loopback address, the address asked, or one that is configured.

    An address cannot be rebound, so the one that the connection came to is enough.
    """
    if name == "localhost" or name in allowed:
        return True
    try:
        address = _plain(name)
        return address.is_loopback or (bound is not None and address == _plain(bound))
    except ValueError:
        return False


def _plain(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped


def refusal_of_host(hosts: list[str], bound: str | None, allowed: Collection[str]) -> Refusal | None:
    """Step 1: the request names us, once."""
    name = host_name(hosts[0]) if len(hosts) == 1 else None
    if name is None:
        return Refusal(400, "the request names no host, or more than one", "send one Host header")
    if not is_our_name(name, bound, allowed):
        return Refusal(
            421,
            "this gateway does not answer to that name",
            "ask by its address, or add the name to http.allowed_hosts",
        )
    return None


def refusal_of_site(method: str, headers: Mapping[str, str]) -> Refusal | None:
    """Step 2: it reads, or it comes from our own page; of another site only a link that a person follows."""
    site, origin = headers.get("Sec-Fetch-Site"), headers.get(hdrs.ORIGIN)
    foreign = Refusal(403, "the request comes from another site", "open the gateway's own page")
    if method in _READS:
        followed = headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"
        return None if site in {None, "none", "same-origin"} or followed else foreign
    if method != hdrs.METH_POST:
        return Refusal(405, "only GET, HEAD and POST are answered", "")
    ours = origin is not None and origin.partition("://")[2] == headers.get(hdrs.HOST)
    if (origin is not None and not ours) or site not in {None, "same-origin"} or (origin is None and site is None):
        return foreign
    if ASKED_BY not in headers:
        return Refusal(403, f"the header {ASKED_BY} is missing", "it shows that no form of another site sent this")
    return None


def refusal_of_token(headers: Mapping[str, str], token: bytes | None) -> Refusal | None:
    """Step 3: what changes something has the token; comparing takes the same time for every wrong one."""
    if token is None:
        return Refusal(403, "this page is read-only", "set http.token_file to unlock its actions")
    scheme, _space, given = headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("utf-8", "replace"), token):
        return Refusal(_UNAUTHORIZED, "the token is missing or wrong", "it is in the file that http.token_file names")
    return None


def guard(allowed_hosts: Collection[str], token: bytes | None, request_s: float) -> tuple[Middleware, ...]:
    """The middleware that asks the steps in order, and gives every ``no`` the same form."""
    allowed = frozenset(name.lower() for name in allowed_hosts)

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = _refusal(request, allowed, token)
        if refusal is not None:
            challenge = {"WWW-Authenticate": "Bearer"} if refusal.status == _UNAUTHORIZED else None
            return problem(*refusal, headers=challenge)
        try:
            async with asyncio.timeout(request_s):
                return await handler(request)
        except web.HTTPRedirection:
            raise
        except web.HTTPException as answer:
            return problem(answer.status, answer.reason.lower(), "")
        except TimeoutError:
            if has_begun(request) and request.transport is not None:
                request.transport.abort()  # half an answer is out: the reader sees that it is not whole
            return problem(503, "the answer took too long", "ask for less, or again later")

    return (guarded,)


def _refusal(request: web.Request, allowed: Collection[str], token: bytes | None) -> Refusal | None:
    transport = request.transport
    sockname = None if transport is None else transport.get_extra_info("sockname")
    refusal = refusal_of_host(
        request.headers.getall(hdrs.HOST, []), sockname[0] if sockname else None, allowed
    ) or refusal_of_site(request.method, request.headers)
    if refusal is None and request.method not in _READS and request.path not in request.app[TOKENLESS]:
        refusal = refusal_of_token(request.headers, token)
    return refusal


def has_begun(request: web.BaseRequest) -> bool:
    """Whether an answer is on its way, so that no other can be given."""
    return _BEGUN in request


async def dress(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Put ``HEADERS`` on an answer, and take the software's versions off it (aiohttp's ``on_response_prepare``)."""
    request[_BEGUN] = True
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers[hdrs.SERVER] = "securenet"
