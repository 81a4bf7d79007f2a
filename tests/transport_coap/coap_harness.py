"""A running CoAP transport, a scripted intake, and a client that sends any bytes."""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import replace
from pathlib import Path

from gateway.config.model import CoapConfig, LimitsConfig
from gateway.message import Accepted, Outcome, RawMessage
from gateway.transport.coap import CoapTransport
from gateway.transport.coap_wire import CON, CONTENT_FORMAT, POST, URI_PATH, Datagram, decode, encode
from gateway.transport.port import LinkState

RECEIPT = b"\xd2receipt"


class FakeIntake:
    """An intake that decides by script: ``outcome`` for all, or a function of the message, or nothing at all."""

    def __init__(self, outcome=None, *, delay_s: float = 0.0, takes: bool = True, silent: bool = False) -> None:
        self.outcome = outcome or Accepted(RECEIPT)
        self.delay_s = delay_s
        self.takes = takes
        self.silent = silent
        self.taken: list[RawMessage] = []
        self.refused = 0

    def offer(self, raw: RawMessage) -> bool:
        if not self.takes:
            self.refused += 1
            return False
        self.taken.append(raw)
        if not self.silent:
            outcome: Outcome = self.outcome(raw) if callable(self.outcome) else self.outcome
            asyncio.get_running_loop().call_later(self.delay_s, raw.reply, outcome)
        return True


class Gateway:
    """A transport on a free port of the loopback."""

    def __init__(self, *, intake=None, limits=None, oscore_file: Path | None = None, **config) -> None:
        self.intake = intake or FakeIntake()
        self.offset_s = 0.0
        self.transport = CoapTransport(
            replace(CoapConfig(host="::1", port=0, oscore_file=str(oscore_file or "")), **config),
            limits or LimitsConfig(),
            oscore=oscore_file.read_bytes() if oscore_file else None,
            wall_ms=lambda: 1_700_000_000_000,
            monotonic_s=lambda: time.monotonic() + self.offset_s,
        )
        self.task: asyncio.Task[None] | None = None

    async def start(self, *, until=LinkState.UP) -> None:
        self.task = asyncio.create_task(self.transport.run(self.intake))
        await eventually(lambda: self.transport.status().state is until or self.task.done())
        if self.task.done():
            await self.task

    async def stop(self) -> None:
        if self.task is not None and not self.task.done():
            async with asyncio.timeout(10):
                await self.transport.close()
                await self.task

    @property
    def uri(self) -> str:
        host = self.transport._config.host
        host = "[::1]" if host in ("::1", "::") else host
        return f"coap://{host}:{self.transport.port}"

    @property
    def counts(self):
        return self.transport.counters()


async def eventually(condition, timeout_s: float = 10.0) -> None:
    """Wait until ``condition`` holds; a test that waits in vain fails here."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


class RawClient:
    """A UDP socket that speaks whatever it is told."""

    def __init__(self, port: int, host: str = "::1") -> None:
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect((host, port))
        self.mid = 100

    def send(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except (BlockingIOError, ConnectionRefusedError):
            return

    async def receive(self, timeout_s: float = 5.0) -> Datagram:
        async with asyncio.timeout(timeout_s):
            return decode(await asyncio.get_running_loop().sock_recv(self._socket, 65536))

    async def nothing(self, for_s: float = 0.25) -> bool:
        try:
            await self.receive(for_s)
        except TimeoutError:
            return True
        return False

    async def ask(
        self, *, mtype=CON, code=POST, path=("v1", "up"), options=(), payload=b"\xd2", token=b"t"
    ) -> Datagram:
        """Send one request and await one datagram."""
        self.mid += 1
        every = [(URI_PATH, part.encode()) for part in path] + list(options)
        every.sort(key=lambda option: option[0])
        self.send(encode(Datagram(mtype, code, self.mid, token, every, payload)))
        return await self.receive()

    def close(self) -> None:
        self._socket.close()


def cose_format() -> tuple[int, bytes]:
    return CONTENT_FORMAT, b"\x12"


def dotted(code: int) -> str:
    return f"{code >> 5}.{code & 31:02}"
