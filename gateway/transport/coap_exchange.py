"""The message layer of CoAP's server side (RFC 7252 §4), bounded, without a socket and without a clock.

Every request becomes an ``Exchange``. A repeated one (same endpoint, same message id, same content) never reaches the
house twice while it is remembered: it gets the same datagram again. Another content is another request: a device that
counts its message ids from the same number at each start would otherwise get the answer to an earlier message.

Answers ride on the acknowledgement when they are quick; otherwise an empty acknowledgement goes first and the answer
follows as a confirmable message that is retransmitted.

What is remembered is bounded in number, bytes and time, oldest first out. Forgetting is harmless here: a message
that comes in again after that is a ``duplicate`` with its first receipt, byte for byte (FORMATS.md §3).

The caller feeds ``begin`` and ``settle``, calls ``answer`` once for each exchange, and ``tick`` a few times a second
until ``is_idle``.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import NamedTuple

from gateway.transport.coap_codes import Response
from gateway.transport.coap_wire import ACK, CON, NON, Datagram, empty, encode_response

EXCHANGE_LIFETIME_S = 247.0  # RFC 7252 §4.8.2
ACK_DELAY_S = 0.5  # a client first repeats after 2 s; most answers are there within 50 ms
ACK_TIMEOUT_S = 2.0
ACK_RANDOM_FACTOR = 1.5
MAX_RETRANSMIT = 4
MOST_EXCHANGES = 16_384
MOST_REPLY_BYTES = 8 << 20
MOST_SEPARATE = 1_024


class Origin(NamedTuple):
    """Where a request came from. ``endpoint`` tells exchanges apart, ``peer`` is the address alone.

    ``reply_path`` is what the driver needs to send there; nobody else looks inside.
    """

    endpoint: Hashable
    peer: str
    reply_path: object = None


class Exchange:
    """One request on its way to an answer."""

    __slots__ = ("answered", "confirmable", "content", "mid", "no_response", "origin", "received_s", "reply", "token")

    def __init__(self, origin: Origin, request: Datagram, now_s: float) -> None:
        self.origin = origin
        self.mid = request.mid
        self.token = request.token
        self.confirmable = request.mtype == CON
        self.content = _content(request)
        self.received_s = now_s
        self.no_response = 0
        self.answered = False
        self.reply: bytes | None = None


def _content(request: Datagram) -> int:
    """What a repetition has in common with the first; Python's hash is keyed, so nobody makes two meet."""
    return hash((request.code, request.token, tuple(request.options), request.payload))


class _Separate:
    """A confirmable answer that waits for its acknowledgement."""

    __slots__ = ("data", "due_s", "origin", "tries", "wait_s")

    def __init__(self, origin: Origin, data: bytes, due_s: float, wait_s: float) -> None:
        self.origin = origin
        self.data = data
        self.due_s = due_s
        self.wait_s = wait_s
        self.tries = 0


class MessageLayer:
    """Exchanges and what was said in them.

    ``send`` puts a datagram on the wire; ``first_mid`` and ``jitter`` (0 to 1) come from a random source, so that
    neither message ids nor retransmissions of several gateways fall together.
    """

    def __init__(
        self,
        send: Callable[[Origin, bytes], None],
        *,
        first_mid: int,
        jitter: Callable[[], float],
        most_exchanges: int = MOST_EXCHANGES,
        most_reply_bytes: int = MOST_REPLY_BYTES,
    ) -> None:
        self._send = send
        self._next_mid = first_mid & 0xFFFF
        self._jitter = jitter
        self._most_exchanges = most_exchanges
        self._most_reply_bytes = most_reply_bytes
        self._exchanges: OrderedDict[tuple[Hashable, int], Exchange] = OrderedDict()
        self._unacknowledged: deque[Exchange] = deque()
        self._separate: dict[tuple[Hashable, int], _Separate] = {}
        self.reply_bytes = 0
        self.repeated = 0
        self.given_up = 0

    def __len__(self) -> int:
        return len(self._exchanges)

    @property
    def owed(self) -> int:
        """Separate answers that nobody has acknowledged yet."""
        return len(self._separate)

    @property
    def is_idle(self) -> bool:
        """Nothing will be due without another ``begin`` or ``answer``."""
        return not self._unacknowledged and not self._separate

    def begin(self, origin: Origin, request: Datagram, now_s: float) -> Exchange | None:
        """Open the exchange of ``request``; None when it is a repetition, which has been dealt with."""
        key = (origin.endpoint, request.mid)
        known = self._exchanges.get(key)
        if known is not None:
            if now_s - known.received_s <= EXCHANGE_LIFETIME_S and known.content == _content(request):
                self._repeat(known)
                return None
            self._forget(key)
        exchange = Exchange(origin, request, now_s)
        self._exchanges[key] = exchange
        if exchange.confirmable:
            self._unacknowledged.append(exchange)
        if len(self._exchanges) > self._most_exchanges:
            self._forget(next(iter(self._exchanges)))
        return exchange

    def _repeat(self, exchange: Exchange) -> None:
        self.repeated += 1
        if not exchange.confirmable:
            return
        if exchange.reply is None:
            self._acknowledge(exchange)
        else:
            self._send(exchange.origin, exchange.reply)

    def answer(self, exchange: Exchange, response: Response, now_s: float) -> None:
        """Send the one answer of ``exchange``; a second call is a fault of ours and does nothing."""
        if exchange.answered:
            return
        exchange.answered = True
        suppressed = exchange.no_response >> (response.code >> 5) - 1 & 1  # RFC 7967 §2.1
        if not exchange.confirmable:
            if not suppressed:
                self._send(exchange.origin, encode_response(NON, self._new_mid(), exchange.token, response))
            return
        if exchange.reply is not None:  # acknowledged empty: the answer comes by itself
            if not suppressed:
                self._send_separate(exchange, response, now_s)
            return
        if suppressed:
            self._acknowledge(exchange)
            return
        self._remember(exchange, encode_response(ACK, exchange.mid, exchange.token, response))

    def settle(self, origin: Origin, mid: int) -> bool:
        """An acknowledgement or reset came in; False when it belongs to nothing here."""
        return self._separate.pop((origin.endpoint, mid), None) is not None

    def tick(self, now_s: float) -> None:
        """Do what is due: empty acknowledgements, retransmissions, forgetting."""
        waiting = self._unacknowledged
        while waiting and (waiting[0].answered or now_s - waiting[0].received_s >= ACK_DELAY_S):
            exchange = waiting.popleft()
            if exchange.reply is None and not exchange.answered:
                self._acknowledge(exchange)
        due = [(key, separate) for key, separate in self._separate.items() if separate.due_s <= now_s]
        for key, separate in due:
            self._retransmit(key, separate, now_s)
        while self._exchanges:
            key, oldest = next(iter(self._exchanges.items()))
            if now_s - oldest.received_s <= EXCHANGE_LIFETIME_S:
                return
            self._forget(key)

    def _acknowledge(self, exchange: Exchange) -> None:
        self._remember(exchange, empty(ACK, exchange.mid))

    def _remember(self, exchange: Exchange, reply: bytes) -> None:
        self._send(exchange.origin, reply)
        key = (exchange.origin.endpoint, exchange.mid)
        exchange.reply = reply
        if self._exchanges.get(key) is not exchange:
            return
        self.reply_bytes += len(reply)
        while self.reply_bytes > self._most_reply_bytes:
            self._forget(next(iter(self._exchanges)))

    def _forget(self, key: tuple[Hashable, int]) -> None:
        exchange = self._exchanges.pop(key)
        if exchange.reply is not None:
            self.reply_bytes -= len(exchange.reply)

    def _send_separate(self, exchange: Exchange, response: Response, now_s: float) -> None:
        mid = self._new_mid()
        if len(self._separate) >= MOST_SEPARATE:
            self._send(exchange.origin, encode_response(NON, mid, exchange.token, response))
            return
        data = encode_response(CON, mid, exchange.token, response)
        wait_s = ACK_TIMEOUT_S * (1 + (ACK_RANDOM_FACTOR - 1) * self._jitter())
        self._separate[exchange.origin.endpoint, mid] = _Separate(exchange.origin, data, now_s + wait_s, wait_s)
        self._send(exchange.origin, data)

    def _retransmit(self, key: tuple[Hashable, int], separate: _Separate, now_s: float) -> None:
        if separate.tries >= MAX_RETRANSMIT:
            self.given_up += 1
            del self._separate[key]
            return
        separate.tries += 1
        separate.wait_s *= 2
        separate.due_s = now_s + separate.wait_s
        self._send(separate.origin, separate.data)

    def _new_mid(self) -> int:
        mid = self._next_mid
        self._next_mid = mid + 1 & 0xFFFF
        return mid
