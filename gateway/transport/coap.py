"""The CoAP transport: devices post envelopes to ``/v1/up`` and get a receipt or a reason (FORMATS.md §4).

Read it from the wire inwards: ``coap_socket`` (the UDP socket, shared with aiocoap) → ``coap_wire`` (bytes to
messages) → ``coap_exchange`` (acknowledge, repeat, retransmit) → ``coap_resource`` (what is asked, and may it be) →
the house. ``coap_codes`` says its decision in CoAP. Beside that road: ``coap_blocks`` (RFC 7959), ``coap_echo``
(RFC 9175), ``coap_oscore`` (RFC 8613), ``coap_observe`` (RFC 7641). This file joins them and keeps the time.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog
from aiocoap.credentials import CredentialsMap  # type: ignore[import-untyped] # aiocoap ships no types

from gateway.config.model import CoapConfig, LimitsConfig
from gateway.transport import coap_observe
from gateway.transport.coap_codes import Response
from gateway.transport.coap_echo import KEY_BYTES
from gateway.transport.coap_exchange import Exchange, MessageLayer, Origin
from gateway.transport.coap_resource import Answer, Times, UploadSite
from gateway.transport.coap_socket import (
    Address,
    CoapEndpoint,
    LibraryLog,
    is_multicast,
    open_endpoint,
    peer_of,
)
from gateway.transport.coap_wire import (
    ACK,
    CON,
    EMPTY,
    NON,
    RST,
    Ask,
    Datagram,
    FormatError,
    decode,
    empty,
    read_options,
)
from gateway.transport.port import Intake, LinkState, LinkStatus

log = structlog.get_logger("coap")

TICK_S = 0.1
BIND_FIRST_WAIT_S = 0.5
BIND_LONGEST_WAIT_S = 30.0
OWED_WAIT_S = 3.0
EDHOC_PATH = (b".well-known", b"edhoc")
RESPONSE_CLASSES = range(2 << 5, 6 << 5)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class CoapTransport:
    """A CoAP server, and a client for the resources that it observes. Implements ``Transport``.

    ``oscore`` is the content of ``config.oscore_file``, None without OSCORE. ``wall_ms`` gives milliseconds since
    1970, ``monotonic_s`` monotonic seconds.
    """

    name = "coap"

    def __init__(
        self,
        config: CoapConfig,
        limits: LimitsConfig,
        *,
        oscore: bytes | None = None,
        wall_ms: Callable[[], int] = _wall_ms,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._oscore = oscore
        self._wall_ms = wall_ms
        self._monotonic_s = monotonic_s
        self._site = UploadSite(limits, config.reply_timeout_s, secrets.token_bytes(KEY_BYTES))
        self._layer = MessageLayer(self._send, first_mid=secrets.randbits(16), jitter=random.random)
        self._library_log = LibraryLog(monotonic_s)
        self._counters = dict.fromkeys(
            (
                "datagrams",
                "malformed_datagrams",
                "multicast_ignored",
                "bind_failures",
                "library_faults",
                "send_errors",
                *coap_observe.COUNTERS,
            ),
            0,
        )
        self._observations = [
            coap_observe.Observation(
                entry,
                limit_bytes=limits.message_bytes,
                intake=lambda: self._site.intake,
                wall_ms=wall_ms,
                counters=self._counters,
            )
            for entry in config.observe
        ]
        self._endpoint: CoapEndpoint | None = None
        self._closing = asyncio.Event()
        self._awake = asyncio.Event()
        self._done = asyncio.Event()
        self._done.set()
        self._stopping = False
        self._leaving = False
        self._leave_by_s = 0.0
        self._status = LinkStatus(LinkState.STOPPED, monotonic_s(), "not started")

    # What the house calls.

    async def run(self, intake: Intake) -> None:
        """Serve until ``close``; a port that is taken is tried again.

        Raises:
            OscoreError: OSCORE is configured and cannot be had.
        """
        self._done.clear()
        self._library_log.attach()
        try:
            if not self._stopping:
                self._site.intake = intake
            await self._bind_and_serve()
        finally:
            self._library_log.detach()
            self._site.intake = None
            if self._closing.is_set():
                self._set_status(LinkState.STOPPED, "closed")
            self._done.set()

    def retune(self, limits: LimitsConfig) -> None:
        """Other rates, from the next request on."""
        self._site.retune(limits)

    def stop_intake(self) -> None:
        """Answer new uploads with 5.03; replies to what was handed over are still sent."""
        self._stopping = True
        self._site.intake = None

    async def close(self) -> None:
        """Wait for the replies that are owed, send them, and let the socket go."""
        self.stop_intake()
        if self._endpoint is None:
            self._closing.set()
        self._leave_by_s = self._monotonic_s() + OWED_WAIT_S
        self._leaving = True
        self._awake.set()
        await self._done.wait()

    def status(self) -> LinkStatus:
        """Where the socket stands, and how many of the observations hold."""
        if self._status.state is not LinkState.UP or not self._observations:
            return self._status
        held = sum(each.is_registered for each in self._observations)
        return self._status._replace(
            detail=f"{self._status.detail}; {held} of {len(self._observations)} observations held"
        )

    def counters(self) -> dict[str, int]:
        """Counts since the start, and how full the bounded tables are."""
        endpoint = self._endpoint
        return {
            **self._counters,
            **self._site.counters,
            "repeated_messages": self._layer.repeated,
            "separate_given_up": self._layer.given_up,
            "library_warnings": self._library_log.warnings,
            "library_faults": self._counters["library_faults"] + (endpoint.faults if endpoint else 0),
            "send_errors": self._counters["send_errors"] + (endpoint.send_errors if endpoint else 0),
        }

    @property
    def port(self) -> int | None:
        """The port that is bound, None when none is."""
        return self._endpoint.port if self._endpoint else None

    # Binding and serving.

    async def _bind_and_serve(self) -> None:
        if self._oscore is None:
            await self._keep_bound(None)
            return
        from gateway.transport import coap_oscore  # noqa: PLC0415 -- only who uses OSCORE pays for it

        try:
            credentials = coap_oscore.load_credentials(self._oscore, self._oscore_folder)
        except coap_oscore.OscoreError as error:
            self._set_status(LinkState.DOWN, str(error))
            raise
        try:
            await self._keep_bound(credentials)
        finally:
            credentials.close()

    async def _keep_bound(self, credentials: CredentialsMap | None) -> None:
        wait_s = BIND_FIRST_WAIT_S
        self._set_status(LinkState.CONNECTING, f"binding {self._where}")
        while not self._closing.is_set():
            try:
                self._endpoint = await self._open(credentials)
            except OSError as error:
                self._bind_failed(error)
                await self._closed_within(wait_s)
                wait_s = min(wait_s * 2, BIND_LONGEST_WAIT_S)
                continue
            try:
                self._set_status(LinkState.UP, f"serving {self._where}")
                log.info("coap.up", address=self._where)
                await self._serve(self._endpoint)
            finally:
                await self._endpoint.close()
                self._counters["library_faults"] += self._endpoint.faults
                self._counters["send_errors"] += self._endpoint.send_errors
                self._endpoint = None

    async def _open(self, credentials: CredentialsMap | None) -> CoapEndpoint:
        site: object = None
        if credentials is not None:
            from gateway.transport import coap_oscore  # noqa: PLC0415 -- as above

            site = coap_oscore.protected_site(self._handle, credentials)
        endpoint = await open_endpoint(
            self._config.host, self._config.port, self._first_look, site=site, credentials=credentials
        )
        if credentials is not None:
            coap_oscore.protect_requests(endpoint.context)
        return endpoint

    async def _serve(self, endpoint: CoapEndpoint) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._keep_time(), name="coap clock")]
            tasks += [
                group.create_task(each.run(endpoint.context), name="coap observation") for each in self._observations
            ]
            await self._closing.wait()
            for task in tasks:
                task.cancel()

    async def _keep_time(self) -> None:
        """Tick while anything is under way, and sleep while nothing is."""
        while True:
            await self._awake.wait()
            self._awake.clear()
            is_busy = True
            while is_busy:
                await asyncio.sleep(TICK_S)
                now_s = self._monotonic_s()
                self._layer.tick(now_s)
                self._site.pending.tick(now_s)
                if self._leaving:
                    self._leave_when_settled(now_s)
                is_busy = self._site.pending.open > 0 or not self._layer.is_idle

    def _leave_when_settled(self, now_s: float) -> None:
        """Everything that was handed over is answered first; then acknowledgements are waited for, but not long."""
        if self._site.pending.open:
            self._leave_by_s = now_s + OWED_WAIT_S
        elif not self._layer.owed or now_s >= self._leave_by_s:
            self._closing.set()

    def _bind_failed(self, error: OSError) -> None:
        self._counters["bind_failures"] += 1
        detail = f"cannot bind {self._where}: {error.strerror or type(error).__name__}"
        if self._status.detail != detail:  # once when it goes down; "serving" is the line when it is back
            log.error("coap.down", detail=detail)
            self._set_status(LinkState.DOWN, detail)

    async def _closed_within(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return

    def _set_status(self, state: LinkState, detail: str) -> None:
        self._status = LinkStatus(state, self._monotonic_s(), detail)

    @property
    def _oscore_folder(self) -> Path | None:
        """Where relative paths in the credentials file start; a systemd credential has no place of its own."""
        name = self._config.oscore_file
        return None if name.startswith("credential:") else Path(name).absolute().parent

    @property
    def _where(self) -> str:
        host = self._config.host
        return f"[{host}]:{self._config.port}" if ":" in host else f"{host}:{self._config.port}"

    # The road of a datagram.

    def _first_look(self, data: bytes, address: Address, pktinfo: bytes | None) -> bool:
        """Deal with one datagram; False when it is aiocoap's (a response to us, OSCORE, EDHOC)."""
        self._counters["datagrams"] += 1
        if is_multicast(pktinfo):
            self._counters["multicast_ignored"] += 1
            return True
        origin = Origin(address, peer_of(address), pktinfo)
        try:
            datagram = decode(data)
        except FormatError as fault:
            self._counters["malformed_datagrams"] += 1
            if fault.reset is not None:
                self._send(origin, fault.reset)
            return True
        if datagram.is_request:
            return self._request(datagram, origin)
        if datagram.code == EMPTY and datagram.mtype in (ACK, RST):
            return self._layer.settle(origin, datagram.mid)
        if datagram.code in RESPONSE_CLASSES and self._has_library_work:
            return False
        if datagram.mtype == CON:  # a ping, or nothing that we asked for (RFC 7252 §4.2, §4.3)
            self._send(origin, empty(RST, datagram.mid))
        return True

    @property
    def _has_library_work(self) -> bool:
        return bool(self._observations) or self._oscore is not None

    def _request(self, request: Datagram, origin: Origin) -> bool:
        if request.mtype not in (CON, NON):
            return True
        ask = read_options(request.code, request.options)
        if ask.protected or ask.path == EDHOC_PATH:
            if self._oscore is not None:
                return False
            ask = ask._replace(bad_option=ask.bad_option or ask.protected, protected=False)
        exchange = self._layer.begin(origin, request, self._monotonic_s())
        if exchange is None or (ask.bad_option and not exchange.confirmable):  # RFC 7252 §5.4.1
            return True
        exchange.no_response = ask.no_response
        self._handle(ask, request.payload, origin, partial(self._answer, exchange))
        return True

    def _handle(self, ask: Ask, payload: bytes, origin: Origin, answer: Answer) -> None:
        """Ask the site, whichever way the request came; the clock runs until nothing is owed for it any more."""
        self._awake.set()
        self._site.handle(ask, payload, origin, self._times(), answer)

    def _answer(self, exchange: Exchange, response: Response) -> None:
        self._layer.answer(exchange, response, self._monotonic_s())

    def _send(self, origin: Origin, data: bytes) -> None:
        if self._endpoint is not None:
            # The endpoint is the address and the reply path its packet information, as _first_look made them.
            self._endpoint.send(origin.endpoint, origin.reply_path, data)  # type: ignore[arg-type] # opaque to others

    def _times(self) -> Times:
        return Times(self._monotonic_s(), self._wall_ms())
