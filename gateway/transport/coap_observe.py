"""Observing resources that devices serve (RFC 7641): each notification is one envelope.

An ``Observation`` registers, listens, and registers again with back-off when the device is silent for longer than
its Max-Age said, ends the observation, or cannot be reached. There is nobody to answer: what the house decides is
only counted, and a notification that it pushes back is tried again a few times; a newer one takes its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import aiocoap  # type: ignore[import-untyped] # aiocoap ships no types
import aiocoap.error  # type: ignore[import-untyped] # likewise
import structlog

from gateway.config.model import ObserveConfig
from gateway.message import Encoding, Outcome, Pushback, RawMessage
from gateway.transport.coap_resource import ENCODING_OF_FORMAT
from gateway.transport.coap_socket import peer_of
from gateway.transport.port import Intake

log = structlog.get_logger("coap")

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 300.0
ANSWER_TIMEOUT_S = 100.0  # a little more than MAX_TRANSMIT_WAIT, RFC 7252 §4.8.2
DEFAULT_MAX_AGE_S = 60
SLACK_S = 10.0  # RFC 7641 §3.3.1: wait a little longer than Max-Age
MOST_TRIES = 5
RETRY_S = 1

COUNTERS = (
    "observe_registered",
    "observe_lost",
    "observe_notifications",
    "observe_refused_by_device",
    "observe_too_large",
    "observe_retried",
    "observe_overtaken",
    "observe_given_up",
)


class TooLargeError(Exception):
    """A device serves more than a message may have."""


class Observation:
    """One observed resource. ``run`` is its task; ``intake`` is asked anew for every notification."""

    def __init__(
        self,
        entry: ObserveConfig,
        *,
        limit_bytes: int,
        intake: Callable[[], Intake | None],
        wall_ms: Callable[[], int],
        counters: dict[str, int],
    ) -> None:
        self._entry = entry
        self._limit_bytes = limit_bytes
        self._intake = intake
        self._wall_ms = wall_ms
        self._counters = counters
        self._first_wait_s = FIRST_WAIT_S
        self._retry: asyncio.TimerHandle | None = None
        self.is_registered = False

    async def run(self, context: Any) -> None:  # noqa: ANN401 -- aiocoap's Context, untyped
        """Observe until cancelled."""
        wait_s = self._first_wait_s
        try:
            while True:
                notified = 0
                try:
                    async with aclosing(self._notifications(context)) as notifications:
                        async for message in notifications:
                            notified += 1
                            await self._take(context, message)
                    reason = "the device ended it"
                except (aiocoap.error.Error, OSError, TimeoutError, TooLargeError) as error:
                    reason = type(error).__name__
                self._lost(reason)
                wait_s = self._first_wait_s if notified > 1 else min(wait_s * 2, LONGEST_WAIT_S)
                await asyncio.sleep(wait_s)
        finally:
            if self._retry is not None:
                self._retry.cancel()

    def _lost(self, reason: str) -> None:
        if self.is_registered:
            self._counters["observe_lost"] += 1
            log.warning("coap.observation_lost", device=self._entry.device, reason=reason)
        self.is_registered = False

    async def _notifications(self, context: Any) -> AsyncGenerator[Any, None]:  # noqa: ANN401 -- aiocoap is untyped
        """Register, then yield the first answer and every notification until the observation ends or is stale."""
        request = context.request(self._ask(observe=0), handle_blockwise=False)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                message = await request.response
            if message.opt.observe is not None and not self.is_registered:
                self.is_registered = True
                self._counters["observe_registered"] += 1
                log.info("coap.observing", device=self._entry.device)
            listening = aiter(request.observation)
            while True:
                yield message
                if message.opt.observe is None:
                    return
                max_age_s = DEFAULT_MAX_AGE_S if message.opt.max_age is None else message.opt.max_age
                try:
                    async with asyncio.timeout(max_age_s + SLACK_S):
                        message = await anext(listening)
                except StopAsyncIteration:
                    return
        finally:
            if not request.observation.cancelled:
                request.observation.cancel()
            request._stop_interest()  # noqa: SLF001 -- a cancelled observation is otherwise kept until it speaks again

    def _ask(self, **options: object) -> Any:  # noqa: ANN401 -- aiocoap's Message, untyped
        return aiocoap.Message(code=aiocoap.GET, uri=self._entry.uri, **options)

    async def _take(self, context: Any, message: Any) -> None:  # noqa: ANN401 -- aiocoap is untyped
        """One notification: complete it, hand it over."""
        if not message.code.is_successful():
            self._counters["observe_refused_by_device"] += 1
            return
        payload = await self._whole(context, message)
        self._counters["observe_notifications"] += 1
        declared = ENCODING_OF_FORMAT.get(
            None if message.opt.content_format is None else int(message.opt.content_format), Encoding.OTHER
        )
        remote = getattr(message.remote, "underlying_address", message.remote)
        self._offer(payload, peer_of(remote.sockaddr), declared, tries=1)

    async def _whole(self, context: Any, message: Any) -> bytes:  # noqa: ANN401 -- aiocoap is untyped
        """Fetch what is missing of a notification (RFC 7959 §2.6), within the message limit."""
        body = bytearray(message.payload)
        part = message
        while part.opt.block2 is not None and part.opt.block2.more:
            if len(body) >= self._limit_bytes:
                self._counters["observe_too_large"] += 1
                raise TooLargeError
            szx = part.opt.block2.size_exponent
            wanted = (len(body) >> (szx + 4), False, szx)
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                part = await context.request(self._ask(block2=wanted), handle_blockwise=False).response
            block = part.opt.block2
            if block is None or block.start != len(body) or part.opt.etag != message.opt.etag or not part.payload:
                raise aiocoap.error.UnexpectedBlock2
            body += part.payload
        return bytes(body)

    def _offer(self, payload: bytes, peer: str, declared: Encoding | None, *, tries: int) -> None:
        def again(after_s: int) -> None:
            if tries >= MOST_TRIES:
                self._counters["observe_given_up"] += 1
                return
            if self._retry is not None:  # an older one was waiting: the newer one takes its place
                self._retry.cancel()
                self._counters["observe_overtaken"] += 1
            self._counters["observe_retried"] += 1
            self._retry = asyncio.get_running_loop().call_later(max(after_s, RETRY_S), once_more)

        def once_more() -> None:
            self._retry = None
            self._offer(payload, peer, declared, tries=tries + 1)

        def reply(outcome: Outcome) -> None:
            if isinstance(outcome, Pushback):
                again(outcome.retry_after_s)

        intake = self._intake()
        raw = RawMessage(payload, "coap", peer, self._wall_ms(), reply, device=self._entry.device, declared=declared)
        if intake is None or not intake.offer(raw):
            again(RETRY_S)
