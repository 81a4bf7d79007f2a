"""What the gateway serves over CoAP: ``POST /v1/up`` and ``/.well-known/core`` (FORMATS.md §4).

A request comes in as an ``Ask``, whichever way it travelled (plain, or out of OSCORE); exactly one ``Response`` goes
back through the function that came with it, at once or when the house has decided. No socket and no clock here:
``now_s`` is monotonic, ``now_ms`` wall time.

The order in which a request is judged is the order of ``_REFUSALS`` and then of ``_upload``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from gateway.config.model import LimitsConfig
from gateway.message import Encoding, Outcome, Pushback, PushbackReason, RawMessage, RejectReason
from gateway.transport import coap_codes as codes
from gateway.transport.coap_blocks import BlockFault, BodyAssembler, BodyKey, BodyShelf, cut
from gateway.transport.coap_codes import Response
from gateway.transport.coap_echo import PeerLoad, is_fresh_echo, make_echo
from gateway.transport.coap_exchange import Origin
from gateway.transport.coap_wire import GET, LAST_METHOD, POST, Ask, Block
from gateway.transport.port import Intake

UPLOAD_PATH = (b"v1", b"up")
CORE_PATH = (b".well-known", b"core")
UPLOAD_LINK = '</v1/up>;rt="securenet.up";ct="18 50"'
LARGEST_BLOCK = Block(0, False, 6)  # noqa: FBT003 -- the fields of RFC 7959 §2.2 in their order
RETRY_AFTER_S = 5
MOST_ESTIMATED_PEERS = 16_384

ENCODING_OF_FORMAT: dict[int | None, Encoding | None] = {
    None: None,
    codes.COSE_SIGN1: Encoding.COSE,
    codes.JOSE_JSON: Encoding.JWS,
}

Answer = Callable[[Response], None]


class Times(NamedTuple):
    """One reading of both clocks: monotonic seconds, and wall-clock milliseconds since 1970."""

    now_s: float
    now_ms: int


class _Promise:
    """A message that was handed over and whose reply is owed. ``reply`` is what the house calls, once."""

    __slots__ = ("answer", "due_s", "pending")

    def __init__(self, answer: Answer, due_s: float, pending: PendingReplies) -> None:
        self.answer: Answer | None = answer
        self.due_s = due_s
        self.pending = pending

    def reply(self, outcome: Outcome) -> None:
        self.pending.keep(self, outcome)


class PendingReplies:
    """Replies that are owed, oldest first; one that takes too long is answered 5.03 and may come late in peace."""

    def __init__(self, timeout_s: float, counters: dict[str, int]) -> None:
        self._timeout_s = timeout_s
        self._counters = counters
        self._queue: deque[_Promise] = deque()
        self.open = 0

    def promise(self, answer: Answer, now_s: float) -> _Promise:
        """Note that ``answer`` is owed from now on."""
        promise = _Promise(answer, now_s + self._timeout_s, self)
        self._queue.append(promise)
        self.open += 1
        return promise

    def keep(self, promise: _Promise, outcome: Outcome) -> None:
        """The house has decided."""
        answer = promise.answer
        if answer is None:
            self._counters["replies_late"] += 1
            return
        promise.answer = None
        self.open -= 1
        response = codes.response_of(outcome)
        self._counters["pushed_back" if isinstance(outcome, Pushback) else "replied"] += 1
        answer(response)

    def break_off(self, promise: _Promise) -> None:
        """The house did not take the message: nothing is owed."""
        promise.answer = None
        self.open -= 1

    def tick(self, now_s: float) -> None:
        """Answer 5.03 for whatever has waited too long."""
        queue = self._queue
        while queue and (queue[0].answer is None or queue[0].due_s <= now_s):
            promise = queue.popleft()
            answer = promise.answer
            if answer is not None:
                self._counters["replies_timed_out"] += 1
                self.break_off(promise)
                answer(_PUSHED_BACK)


_PUSHED_BACK = codes.pushed_back(Pushback(PushbackReason.PUSHBACK, RETRY_AFTER_S))


class UploadSite:
    """The two resources. ``offer`` is set while there is an intake, None when nothing more is handed over."""

    def __init__(self, limits: LimitsConfig, reply_timeout_s: float, echo_key: bytes) -> None:
        self._limit_bytes = limits.message_bytes
        self._echo_key = echo_key
        self._bodies = BodyAssembler(limits.message_bytes)
        self._shelf = BodyShelf()
        self._load = PeerLoad(
            limits.coap_peer_rate_per_s, limits.coap_peer_burst, min(limits.peers, MOST_ESTIMATED_PEERS)
        )
        self.intake: Intake | None = None
        self.counters: dict[str, int] = dict.fromkeys(
            (
                "requests",
                "handed_over",
                "replied",
                "pushed_back",
                "replies_late",
                "replies_timed_out",
                "echo_asked",
                "too_large",
                "blocks_refused",
                "other_requests",
            ),
            0,
        )
        self.pending = PendingReplies(reply_timeout_s, self.counters)

    def retune(self, limits: LimitsConfig) -> None:
        """Other rates, from the next request on; the size of a message stays."""
        self._load.retune(limits.coap_peer_rate_per_s, limits.coap_peer_burst)

    def handle(self, ask: Ask, payload: bytes, origin: Origin, times: Times, answer: Answer) -> None:
        """Answer one request, now or later. ``ask.protected``: it came out of OSCORE."""
        self.counters["requests"] += 1
        if ask.method == POST and ask.path == UPLOAD_PATH:
            refusal = self._upload(ask, payload, origin, times, answer)
            if refusal is not None:
                answer(refusal)
            return
        self.counters["other_requests"] += 1
        answer(self._other(ask))

    def _other(self, ask: Ask) -> Response:
        """Everything that is no upload."""
        general = _general_refusal(ask)
        if general is not None:
            return general
        if not GET <= ask.method <= LAST_METHOD:
            return Response(codes.METHOD_NOT_ALLOWED)
        if ask.path == CORE_PATH and ask.method == GET:
            return _core(ask)
        if ask.path in (CORE_PATH, UPLOAD_PATH):
            return Response(codes.METHOD_NOT_ALLOWED)
        return Response(codes.NOT_FOUND)

    def _upload(self, ask: Ask, payload: bytes, origin: Origin, times: Times, answer: Answer) -> Response | None:
        """Refuse an upload, or hand it over (None): what is cheapest to see comes first."""
        refusal = _general_refusal(ask)
        if refusal is not None:
            return refusal
        if ask.content_format not in ENCODING_OF_FORMAT:
            return Response(codes.UNSUPPORTED_FORMAT)
        if ask.accept not in (None, codes.COSE_SIGN1):
            return Response(codes.NOT_ACCEPTABLE)
        if ask.block2 is not None and ask.block2.num > 0 and ask.block1 is None:
            return self._next_piece(ask.block2, origin, times)
        if self.intake is None:
            return _with_block1(_PUSHED_BACK, ask)
        key = BodyKey(origin.endpoint, ask.content_format, ask.request_tag)
        verified = ask.protected or self._has_echo(ask, origin, times)
        if not verified and self._must_ask(ask, key, origin, times):
            self.counters["echo_asked"] += 1
            echo = make_echo(self._echo_key, origin.peer, int(times.now_s * 1000))
            return _with_block1(Response(codes.UNAUTHORIZED, echo=echo), ask)
        if ask.block1 is not None:
            taken = self._bodies.take(
                key, origin.peer, ask.block1, payload, times.now_s, verified=verified, announced=ask.size1 or 0
            )
            if not isinstance(taken, bytes):
                return self._between_blocks(taken, ask, ask.block1)
            payload = taken
        return self._hand_over(ask, payload, origin, times, answer)

    def _hand_over(self, ask: Ask, payload: bytes, origin: Origin, times: Times, answer: Answer) -> Response | None:
        in_blocks = partial(self._in_blocks, answer, ask, origin, times.now_s)
        promise = self.pending.promise(in_blocks, times.now_s)
        raw = RawMessage(
            payload,
            "coap",
            origin.peer,
            times.now_ms,
            promise.reply,
            declared=ENCODING_OF_FORMAT[ask.content_format],
        )
        if self.intake is None or not self.intake.offer(raw):
            self.pending.break_off(promise)
            self.counters["pushed_back"] += 1
            return _with_block1(_PUSHED_BACK, ask)
        self.counters["handed_over"] += 1
        self._load.charge(origin.peer, times.now_s)
        return None

    def _has_echo(self, ask: Ask, origin: Origin, times: Times) -> bool:
        if ask.echo is None:
            return False
        return is_fresh_echo(self._echo_key, origin.peer, int(times.now_s * 1000), ask.echo)

    def _must_ask(self, ask: Ask, key: BodyKey, origin: Origin, times: Times) -> bool:
        if self._load.is_over_half(origin.peer, times.now_s):
            return not (ask.block1 is not None and ask.block1.num > 0 and self._bodies.is_verified(key))
        return ask.block1 is not None and ask.block1.num == 0 and ask.block1.more and self._bodies.is_crowded

    def _between_blocks(self, taken: BlockFault | None, ask: Ask, block1: Block) -> Response:
        if taken is None:
            return Response(codes.CONTINUE, block1=block1.value)
        if taken is BlockFault.TOO_LARGE:
            self.counters["too_large"] += 1
            return _with_block1(codes.too_large(self._limit_bytes), ask)
        self.counters["blocks_refused"] += 1
        if taken is BlockFault.INCOMPLETE:
            return Response(codes.ENTITY_INCOMPLETE)
        return Response(codes.BAD_REQUEST, RejectReason.MALFORMED.value.encode())

    def _in_blocks(self, answer: Answer, ask: Ask, origin: Origin, now_s: float, response: Response) -> None:
        """Answer in the client's blocks: its Block1 is echoed, and a long receipt goes out in pieces."""
        response = _with_block1(response, ask)
        wanted = ask.block2 or LARGEST_BLOCK
        if len(response.payload) > wanted.size:
            self._shelf.put(origin.endpoint, response.payload, now_s)
            response = _piece(response, wanted) or response
        answer(response)

    def _next_piece(self, wanted: Block, origin: Origin, times: Times) -> Response:
        body = self._shelf.get(origin.endpoint, times.now_s)
        if body is None:
            return Response(codes.ENTITY_INCOMPLETE)
        piece = _piece(Response(codes.CHANGED, body, codes.COSE_SIGN1), wanted)
        return piece or Response(codes.BAD_REQUEST, RejectReason.MALFORMED.value.encode())


def _general_refusal(ask: Ask) -> Response | None:
    """What holds for every resource (RFC 7252 §5.4.1, §5.7.2)."""
    if ask.proxied:
        return Response(codes.PROXYING_NOT_SUPPORTED)
    if ask.bad_option:
        return Response(codes.BAD_OPTION)
    return None


def _with_block1(response: Response, ask: Ask) -> Response:
    return response if ask.block1 is None else response._replace(block1=ask.block1._replace(more=False).value)


def _piece(response: Response, wanted: Block) -> Response | None:
    """The part of ``response`` that ``wanted`` asks for, None when there is no such part."""
    if wanted.szx > LARGEST_BLOCK.szx:
        return None
    found = cut(response.payload, wanted)
    if found is None:
        return None
    payload, block = found
    return response._replace(payload=payload, block2=block.value)


def _core(ask: Ask) -> Response:
    """The list of resources (RFC 6690), filtered by the query (§4.1)."""
    if ask.accept not in (None, codes.LINK_FORMAT):
        return Response(codes.NOT_ACCEPTABLE)
    listed = all(_matches(part) for part in ask.query)
    response = Response(codes.CONTENT, UPLOAD_LINK.encode() if listed else b"", codes.LINK_FORMAT)
    if ask.block2 is None:
        return response
    return _piece(response, ask.block2) or Response(codes.BAD_REQUEST, RejectReason.MALFORMED.value.encode())


_LINK_ATTRIBUTES: dict[bytes, tuple[bytes, ...]] = {
    b"href": (b"/v1/up",),
    b"rt": (b"securenet.up",),
    b"ct": (b"18", b"50"),
}


def _matches(part: bytes) -> bool:
    name, _, value = part.partition(b"=")
    have = _LINK_ATTRIBUTES.get(name, ())
    if value.endswith(b"*"):
        return any(each.startswith(value[:-1]) for each in have)
    return value in have
