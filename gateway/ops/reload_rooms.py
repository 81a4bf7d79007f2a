"""The rooms that can change while the gateway runs, each by what it offers: for ``Reloader``, in this order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from gateway.chain.port import ChainError
from gateway.checks.chain import Bench
from gateway.config.model import ChainConfig, ClockConfig, Config, IpfsConfig, LogConfig, LoggingConfig
from gateway.ingest.admission import retune
from gateway.ops.reload import NotApplied, Room
from gateway.ops.secrets import SecretError, read_optional_secret, secret_path
from gateway.transport.coap import CoapTransport
from gateway.transport.mqtt import MqttTransport
from gateway.transport.mqtt_tls import TlsRefused
from gateway.transport.port import LinkState

_UP_S: Final = 3.0
_LOOK_S: Final = 0.02


class _Logging(Protocol):
    def change(self, config: LoggingConfig) -> None: ...


class _Clerk(Protocol):
    def retune(self, config: LogConfig) -> None: ...


class _Clock(Protocol):
    def apply(self, config: ClockConfig) -> None: ...


class _Delivery(Protocol):
    async def change_sources(self, config: IpfsConfig) -> None: ...


def mqtt_room(transport: MqttTransport) -> Room:
    """Other broker, credentials, TLS files: tried first, then a gentle reconnect. First of all: it can fail.

    A link that is down reads its password again at any reload: whoever corrected the file reloads, and nothing else.
    """

    async def apply(config: Config) -> None:
        mqtt = config.mqtt
        _require_host_name("mqtt.host", mqtt.host)
        try:
            password = await asyncio.to_thread(read_optional_secret, mqtt.password_file)
            key_file = str(secret_path(mqtt.key_file)) if mqtt.key_file else ""
            await transport.change(mqtt, password=password, tls_key_file=key_file)
        except (SecretError, TlsRefused) as error:
            raise NotApplied(str(error)) from None

    return Room("mqtt", apply, lambda: transport.status().state is LinkState.DOWN)


def _require_host_name(key: str, host: str) -> None:
    """Ask what looking a name up asks first (``broker..local``, a label of 64 letters): it raises no OSError there.

    Raises:
        NotApplied: no name can be like that.
    """
    try:
        host.encode("idna")
    except UnicodeError:
        raise NotApplied(f"{key} is no host name: a label between two dots has 1 to 63 letters") from None


class _Custody(Protocol):
    async def change_endpoints(self, config: ChainConfig) -> None: ...


class Served(Protocol):
    """Something that serves until it is cancelled; ``state`` is up once it does (``HttpServer``)."""

    async def run(self) -> None:
        """Serve."""
        ...

    def status(self) -> ServedStatus:
        """How it is doing."""
        ...


class ServedStatus(Protocol):
    """``state`` is ``up``, ``down`` or ``off``; ``detail`` says why."""

    @property
    def state(self) -> str:
        """In a word."""
        ...

    @property
    def detail(self) -> str:
        """Why."""
        ...

    @property
    def address(self) -> str | None:
        """Where, once it is up."""
        ...


class Page:
    """The status page, which is taken down and put up again when its configuration changes.

    Args:
        make: makes the server for a configuration; raises ``SecretError`` when its token cannot be read.
        config: the one to begin with.
    """

    def __init__(self, make: Callable[[Config], Served], config: Config) -> None:
        self._make = make
        self.server = make(config)
        self._serving: asyncio.Task[None] | None = None
        self._exchanged = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled, or until the server fails."""
        while True:
            self._exchanged.clear()
            serving = self._serving = asyncio.create_task(self.server.run(), name="page-server")
            try:
                await asyncio.wait({serving})
            finally:
                serving.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await serving
            if not self._exchanged.is_set():
                return

    async def exchange(self, config: Config) -> None:
        """Serve as another configuration says.

        Raises:
            NotApplied: it cannot; the page is served as before.
        """
        before = self.server
        try:
            fresh = await asyncio.to_thread(self._make, config)
        except SecretError as error:
            raise NotApplied(str(error)) from None
        await self._put_up(fresh)
        if fresh.status().state == "down" and before.status().state != "down":
            detail = fresh.status().detail
            await self._put_up(before)
            raise NotApplied(detail)

    async def _put_up(self, server: Served) -> None:
        self.server = server
        if self._serving is None or self._serving.done():
            return
        self._exchanged.set()
        self._serving.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_UP_S):
                while server.status().state == "off":  # noqa: ASYNC110 -- a server has no event for it
                    await asyncio.sleep(_LOOK_S)


def page_room(page: Page) -> Room:
    """The status page, served anew: other address, names, token."""

    async def apply(config: Config) -> None:
        _require_host_name("http.host", config.http.host)
        await page.exchange(config)

    return Room("http", apply)


def ipfs_room(delivery: _Delivery) -> Room:
    """Other sources of models, from the next file on."""

    async def apply(config: Config) -> None:
        await delivery.change_sources(config.ipfs)

    return Room("ipfs", apply)


def chain_room(custody: _Custody) -> Room:
    """Other endpoints of the same chain, tried first."""

    async def apply(config: Config) -> None:
        try:
            await custody.change_endpoints(config.chain)
        except ChainError as error:
            raise NotApplied(str(error)) from None

    return Room("chain", apply)


def quiet_rooms(
    bench: Bench, clerk: _Clerk, clock: _Clock, logging: _Logging | None, coap: CoapTransport | None
) -> list[Room]:
    """The rooms that cannot fail: limits, intervals, the clock's rule, the log's level where somebody set one up."""

    def limits(config: Config) -> None:
        retune(bench, config)
        if coap is not None:
            coap.retune(config.limits)

    changes: dict[str, Callable[[Config], None]] = {
        "limits": limits,
        "log": lambda config: clerk.retune(config.log),
        "clock": lambda config: clock.apply(config.clock),
    }
    if logging is not None:
        output = logging
        changes["logging"] = lambda config: output.change(config.logging)
    return [Room(name, _at_once(change)) for name, change in changes.items()]


def _at_once(change: Callable[[Config], None]) -> Callable[[Config], Awaitable[None]]:
    async def apply(config: Config) -> None:
        change(config)

    return apply
