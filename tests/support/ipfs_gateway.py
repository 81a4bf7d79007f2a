"""A trustless gateway, and the RPC of a node, over blocks in memory: well-behaved until told otherwise.

    async with IpfsGateway(blocks) as gateway:
        gateway.fault = redirect            # for every request from now on
        GatewaySource(gateway.url)

It answers ``format=raw`` and ``format=car`` (depth first), as specs.ipfs.tech/http-gateways/trustless-gateway has it.
``asked`` has the format and CID of every request; ``sent`` counts the bytes of faults that never end.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Self

from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.vault import car, unixfs
from gateway.vault.cid import Block, Cid, Codec, parse_cid

Fault = Callable[["IpfsGateway", web.Request, Cid], Awaitable[web.StreamResponse | None]]
"""An answer instead of the right one, or None for the right one."""

RAW_TYPE = "application/vnd.ipld.raw"


class IpfsGateway:
    def __init__(self, blocks: Iterable[Block] = (), *, streams: bool = True, dups: bool = True) -> None:
        self.blocks = {block.cid: block.data for block in blocks}
        self.streams = streams
        self.dups = dups
        self.fault: Fault | None = None
        self.asked: list[tuple[str, Cid]] = []
        self.sent = 0
        self.imported = b""
        self.import_status = 200
        self.takes = False
        app = web.Application()
        app.router.add_get("/ipfs/{cid}", self._get)
        app.router.add_post("/api/v0/block/get", self._get)
        app.router.add_post("/api/v0/dag/import", self._import)
        self._server = TestServer(app)

    async def __aenter__(self) -> Self:
        await self._server.start_server()
        self.url = str(self._server.make_url("/")).rstrip("/")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()

    async def _get(self, request: web.Request) -> web.StreamResponse:
        cid = parse_cid(request.match_info.get("cid") or request.query["arg"])
        kind = kind_of(request)
        self.asked.append((kind, cid))
        if self.fault is not None and (answer := await self.fault(self, request, cid)) is not None:
            return answer
        if cid not in self.blocks:
            return web.Response(status=500 if kind == "rpc" else 404, text="ipld: could not find it")
        if kind in {"raw", "rpc"}:
            return web.Response(body=self.blocks[cid], content_type=RAW_TYPE)
        if not self.streams:
            return web.Response(status=406)
        return await self.stream(request, (car.section(block) for block in self.walk(cid)), root=cid)

    async def _import(self, request: web.Request) -> web.StreamResponse:
        """Take what is sent, and answer what the test wants answered; with ``takes``, as a node that keeps it."""
        form = await request.read()
        self.sent = len(form)
        if self.takes:
            (root,) = self._keep(form.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0])
            said = {"Root": {"Cid": {"/": str(root)}, "PinErrorMsg": ""}}
            return web.json_response(said)
        return web.Response(body=self.imported, status=self.import_status)

    def _keep(self, data: bytes) -> Iterable[Cid]:
        """Take the blocks of a CAR; its roots."""
        header = car.read_header(data)
        assert header is not None
        at, roots = header
        while (head := car.section_head(data, at)) is not None:
            start = head.data_at
            at = start + head.data_bytes
            if head.cid is not None:
                self.blocks[head.cid] = data[start:at]
        return roots

    async def stream(self, request: web.Request, sections: Iterable[bytes], *, root: Cid) -> web.StreamResponse:
        """Send a CAR of these sections."""
        response = web.StreamResponse(headers={"Content-Type": f"{car.MEDIA_TYPE}; version=1; order=dfs; dups=y"})
        await response.prepare(request)
        await response.write(car.header([root]))
        for section in sections:
            await response.write(section)
        await response.write_eof()
        return response

    def walk(self, root: Cid) -> Iterable[Block]:
        """The blocks of a file that are here, depth first."""
        seen: set[Cid] = set()
        ahead = [root]
        while ahead:
            cid = ahead.pop()
            if cid not in self.blocks:
                return
            block = Block(cid, self.blocks[cid])
            if self.dups or cid not in seen:
                yield block
            seen.add(cid)
            if cid.codec is Codec.DAG_PB:
                ahead += [link for link, _ in reversed(unixfs.parse_node(block, 1 << 16).links)]


def kind_of(request: web.Request) -> str:
    """raw, car, or rpc for the RPC of a node."""
    return request.query.get("format", "rpc")


def only(kind: str, fault: Fault) -> Fault:
    """The fault for this format alone."""

    async def answer(gateway: IpfsGateway, request: web.Request, cid: Cid) -> web.StreamResponse | None:
        return await fault(gateway, request, cid) if kind_of(request) == kind else None

    return answer


async def wrong_block(gateway: IpfsGateway, request: web.Request, cid: Cid) -> web.StreamResponse | None:
    if kind_of(request) == "car":
        return await gateway.stream(request, [car.section(Block(cid, b"another"))], root=cid)
    return web.Response(body=b"another", content_type=RAW_TYPE)


async def endless(gateway: IpfsGateway, request: web.Request, cid: Cid) -> web.StreamResponse:
    """Bytes without end: a raw block, or the data of the first section."""
    return await _forever(gateway, request, bytes(1 << 16), 0.0, first=car.header([cid]))


async def drip(gateway: IpfsGateway, request: web.Request, cid: Cid) -> web.StreamResponse:
    """A byte now and then: of a raw block, or of a header that is said to have 58."""
    return await _forever(gateway, request, b"\x3a", 0.02)


async def foreign_blocks(gateway: IpfsGateway, request: web.Request, cid: Cid) -> web.StreamResponse:
    """A CAR of blocks that no file has (dag-cbor), without end."""
    section = bytes((37,)) + bytes.fromhex("01711220") + bytes(32) + b"\xa0"
    return await _forever(gateway, request, section * 100, 0.0, first=car.header([cid]))


async def redirect(gateway: IpfsGateway, request: web.Request, cid: Cid) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": f"http://127.0.0.1:1/ipfs/{cid}"})


async def gzip_bomb(gateway: IpfsGateway, request: web.Request, cid: Cid) -> web.StreamResponse:
    body = gzip.compress(bytes(1 << 20), 9) * 256
    return web.Response(body=body, headers={"Content-Encoding": "gzip", "Content-Type": RAW_TYPE})


async def page(gateway: IpfsGateway, request: web.Request, cid: Cid) -> web.StreamResponse:
    """What a gateway answers that is none: a page for people."""
    return web.Response(text="<html>welcome</html>", content_type="text/html")


async def broken(gateway: IpfsGateway, request: web.Request, cid: Cid) -> web.StreamResponse:
    return web.Response(status=500, text="\x1b[31mboom")


async def hang_up(gateway: IpfsGateway, request: web.Request, cid: Cid) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def silence(gateway: IpfsGateway, request: web.Request, cid: Cid) -> web.StreamResponse:
    await asyncio.sleep(3600)
    return web.Response()


async def _forever(
    gateway: IpfsGateway, request: web.Request, chunk: bytes, pause_s: float, first: bytes = b""
) -> web.StreamResponse:
    is_car = kind_of(request) == "car"
    response = web.StreamResponse(headers={"Content-Type": car.MEDIA_TYPE if is_car else RAW_TYPE})
    await response.prepare(request)
    try:
        if is_car and first:
            await response.write(first)
        while True:
            await response.write(chunk)
            gateway.sent += len(chunk)
            await asyncio.sleep(pause_s)
    except ConnectionError:
        return response


async def chunked(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    """A file in pieces, as a publisher has it."""
    for at in range(0, len(data), size):
        yield data[at : at + size]
