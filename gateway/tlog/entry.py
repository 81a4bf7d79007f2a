"""The entry: one thing that happened, as the bytes that are hashed into the log.

An entry is a deterministic CBOR array that begins ``["securenet.entry/1", kind, time_ms, ...]``. The kinds are six:

* ``message``: a device's message was verified and kept. The entry has its digest and identity, not its content: the
  log can be public while the messages are not.
* ``rejections``: how many messages were refused since the last summary, by reason, and whose they claimed to be.
* ``model``: a model was loaded, refused or returned to.
* ``response``: a device was isolated or re-admitted, and the entries that led to it.
* ``key``: the log's key was replaced.
* ``clock``: from here on times are verified, are not, or the clock was set (docs/adr/0174).

An entry has one spelling. ``parse_entry`` writes what it has read once more and refuses anything that differs.
``message_entry`` runs for every message and is laid out by hand; a property test holds it equal to ``cbor.encode``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from struct import Struct
from typing import Any, NamedTuple

from gateway import cbor
from gateway.message import Score, Verdict
from gateway.tlog.layout import ENTRY_BYTES_MAX

FORMAT = "securenet.entry/1"
LABEL_BYTES_MAX = 256
MOST_REFUSED_MAX = 10
TEXT_BYTES_MAX = 1024
MODEL_EVENTS = frozenset({"loaded", "refused", "returned"})
RESPONSE_ACTIONS = frozenset({"isolated", "re-admitted"})
"""The words of FORMATS.md section 5; anything else is no entry of this format."""

CLOCK_EVENTS = frozenset({"trusted", "untrusted", "stepped"})

_INTEGER_MAX = (1 << 63) - 1
_DIGEST_BYTES = 32
_KEY_BYTES = 32
_SESSION_BYTES = 8
_ID_BYTES_MAX = 64
_DEPTH_MAX = 3  # the entry, its list of most refused, one pair of it
_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_SURROGATE = re.compile("[\ud800-\udfff]")  # no Unicode text has one alone
_WORD = re.compile(r"[a-z0-9-]{1,64}")


class EntryError(ValueError):
    """These bytes, or these values, are no log entry: class ``entry-malformed`` of docs/spec/log.md."""


class MessageEntry(NamedTuple):
    """A verified message: its identity, and what detection said.

    ``digest`` is SHA-256 of the device's signing input, ``session`` is 8 bytes, ``model`` the SHA-256 of the model's
    manifest envelope; ``label`` is there exactly when the verdict is ``classified``.
    """

    time_ms: int
    digest: bytes
    device_id: str
    session: bytes
    seq: int
    verdict: Verdict
    model: bytes | None
    score: float | None
    label: str | None


class RejectionsEntry(NamedTuple):
    """What was refused from ``from_ms`` to ``to_ms``: counts by reason, and the ten ids most refused, unverified."""

    time_ms: int
    from_ms: int
    to_ms: int
    counts: Mapping[str, int]
    most_refused: Sequence[tuple[str, int]]


class ModelEntry(NamedTuple):
    """A model's ``event``: loaded, refused or returned (to the last good one); ``manifest`` is its SHA-256."""

    time_ms: int
    model_id: str
    version: int
    manifest: bytes
    event: str
    reason: str | None


class ResponseEntry(NamedTuple):
    """A device was isolated or re-admitted for ``cause``; ``evidence`` are indexes of this log."""

    time_ms: int
    device_id: str
    action: str
    cause: str
    evidence: Sequence[int]


class KeyEntry(NamedTuple):
    """The log's Ed25519 key was replaced; both are the raw 32 bytes."""

    time_ms: int
    old_key: bytes
    new_key: bytes


class ClockEntry(NamedTuple):
    """What is to be thought of the times from here on.

    ``event``: ``untrusted`` (nothing says that the clock is right), ``trusted`` (it is believed again), or
    ``stepped`` (it was set while it was believed). ``before_ms`` is there exactly for a step: what the clock would
    say had it not been set. ``cause`` is in words.
    """

    time_ms: int
    event: str
    before_ms: int | None
    cause: str


Entry = MessageEntry | RejectionsEntry | ModelEntry | ResponseEntry | KeyEntry | ClockEntry


# --- writing ---


def message_entry(entry: MessageEntry) -> bytes:
    """Encode a ``message`` entry: the hot path, one call for each message.

    The last four fields of the entry are those of a ``Score``: ``MessageEntry(time_ms, ..., seq, *score)``.

    Raises:
        EntryError: a value is not of its shape. Our own fault, for the envelope was verified.
    """
    time_ms, digest, device_id, session, seq, verdict, model, score, label = entry
    name = device_id.encode()
    if len(digest) != _DIGEST_BYTES or len(session) != _SESSION_BYTES or not 0 < len(name) <= _ID_BYTES_MAX:
        raise EntryError("a message entry has a digest of 32 bytes, an id of 1 to 64 and a session of 8")
    if not (0 <= time_ms <= _INTEGER_MAX and 0 <= seq <= _INTEGER_MAX):
        raise EntryError("time and sequence of a message entry are 0 to 2^63 - 1")
    if verdict is Verdict.UNSCORED and (model, score, label) == _NOTHING:
        outcome = _UNSCORED
    else:
        outcome = _outcome(verdict, model, score, label)
    return b"".join(
        (
            _MESSAGE_START,
            cbor.head(0, time_ms),
            b"\x58\x20",
            digest,
            _ID_HEADS[len(name)],
            name,
            b"\x48",
            session,
            cbor.head(0, seq),
            outcome,
        )
    )


def encode_entry(entry: Entry) -> bytes:
    """Encode an entry of any kind.

    Raises:
        EntryError: the values are not those of the format, or the entry is too long for a bundle.
    """
    if isinstance(entry, MessageEntry):
        data = message_entry(entry)
    else:
        kind, fields = _fields(entry)
        _KINDS[kind](fields)
        data = cbor.encode([FORMAT, kind, *fields])
    if len(data) > ENTRY_BYTES_MAX:
        raise EntryError(f"an entry has at most {ENTRY_BYTES_MAX} bytes")
    return data


def _text(data: bytes) -> bytes:
    return cbor.head(_MAJOR_TEXT, len(data)) + data


def _outcome(verdict: Verdict, model: bytes | None, score: float | None, label: str | None) -> bytes:
    if (model is not None and len(model) != _DIGEST_BYTES) or (score is not None and not isfinite(score)):
        raise EntryError("a score is finite and its model a digest of 32 bytes")
    if (label is not None) != (verdict == Verdict.CLASSIFIED):
        raise EntryError("a verdict has a label exactly when it is classified")
    return b"".join(
        (
            _VERDICTS[verdict],
            b"\xf6" if model is None else b"\x58\x20" + model,
            b"\xf6" if score is None else _PACK_FLOAT(0xFB, score),
            b"\xf6" if label is None else _text(_words(label, LABEL_BYTES_MAX).encode()),
        )
    )


def _fields(
    entry: RejectionsEntry | ModelEntry | ResponseEntry | KeyEntry | ClockEntry,
) -> tuple[str, list[object]]:
    """Return the kind, and the values behind it as CBOR has them."""
    match entry:
        case RejectionsEntry(time_ms, from_ms, to_ms, counts, most_refused):
            return "rejections", [time_ms, from_ms, to_ms, dict(counts), [list(pair) for pair in most_refused]]
        case ResponseEntry(time_ms, device_id, action, cause, evidence):
            return "response", [time_ms, device_id, action, cause, list(evidence)]
        case ModelEntry():
            return "model", list(entry)
        case KeyEntry():
            return "key", list(entry)
        case ClockEntry():
            return "clock", list(entry)


# --- reading ---


def parse_entry(data: bytes) -> Entry:
    """Read an entry strictly: its one spelling, and nothing that its kind does not have.

    Raises:
        EntryError: the bytes are no entry of this format.
    """
    if len(data) > ENTRY_BYTES_MAX:
        raise EntryError(f"an entry has at most {ENTRY_BYTES_MAX} bytes")
    try:
        value = cbor.decode(data, max_depth=_DEPTH_MAX)
    except cbor.CborError:
        raise EntryError("an entry is deterministic CBOR") from None
    if not isinstance(value, list) or value[:1] != [FORMAT]:
        raise EntryError(f"an entry is an array that begins with {FORMAT}")
    kind = value[1] if len(value) > 1 else None
    read = _KINDS.get(kind) if isinstance(kind, str) else None
    if read is None:
        raise EntryError("the kind of the entry is none of message, rejections, model, response, key, clock")
    entry = read(value[2:])
    if encode_entry(entry) != data:
        raise EntryError("an entry is written in deterministic CBOR")
    return entry


def _message(fields: Sequence[object]) -> MessageEntry:
    time_ms, digest, device_id, session, seq, verdict, model, score, label = _exactly(9, fields)
    if not isinstance(verdict, str) or verdict not in _VERDICTS:
        raise EntryError("the verdict is none of unscored, normal, anomalous, classified")
    if not (score is None or isinstance(score, float)):
        raise EntryError("a score is a float or null")
    return MessageEntry(
        _count(time_ms),
        _octets(digest, _DIGEST_BYTES),
        _matching(device_id, _ID),
        _octets(session, _SESSION_BYTES),
        _count(seq),
        Verdict(verdict),
        None if model is None else _octets(model, _DIGEST_BYTES),
        score,
        None if label is None else _words(label, LABEL_BYTES_MAX),
    )


def _rejections(fields: Sequence[object]) -> RejectionsEntry:
    time_ms, from_ms, to_ms, counts, most_refused = _exactly(5, fields)
    if not isinstance(counts, dict) or not isinstance(most_refused, list) or len(most_refused) > MOST_REFUSED_MAX:
        raise EntryError("a summary of rejections has a map of counts and a list of at most ten devices")
    pairs = []
    for pair in most_refused:
        device_id, count = _exactly(2, pair)
        pairs.append((_matching(device_id, _ID), _count(count)))
    return RejectionsEntry(
        _count(time_ms),
        _count(from_ms),
        _count(to_ms),
        {_matching(reason, _WORD): _count(count) for reason, count in counts.items()},
        tuple(pairs),
    )


def _model(fields: Sequence[object]) -> ModelEntry:
    time_ms, model_id, version, manifest, event, reason = _exactly(6, fields)
    if not isinstance(event, str) or event not in MODEL_EVENTS:
        raise EntryError("the event of a model is none of loaded, refused, returned")
    return ModelEntry(
        _count(time_ms),
        _matching(model_id, _ID),
        _count(version),
        _octets(manifest, _DIGEST_BYTES),
        event,
        None if reason is None else _words(reason, TEXT_BYTES_MAX),
    )


def _response(fields: Sequence[object]) -> ResponseEntry:
    time_ms, device_id, action, cause, evidence = _exactly(5, fields)
    if not isinstance(action, str) or action not in RESPONSE_ACTIONS:
        raise EntryError("the action of a response is none of isolated, re-admitted")
    if not isinstance(evidence, list):
        raise EntryError("the evidence of a response is an array of log indexes")
    return ResponseEntry(
        _count(time_ms),
        _matching(device_id, _ID),
        action,
        _words(cause, TEXT_BYTES_MAX),
        tuple(_count(index) for index in evidence),
    )


def _key(fields: Sequence[object]) -> KeyEntry:
    time_ms, old_key, new_key = _exactly(3, fields)
    return KeyEntry(_count(time_ms), _octets(old_key, _KEY_BYTES), _octets(new_key, _KEY_BYTES))


def _clock(fields: Sequence[object]) -> ClockEntry:
    time_ms, event, before_ms, cause = _exactly(4, fields)
    if not isinstance(event, str) or event not in CLOCK_EVENTS:
        raise EntryError("the event of a clock is none of trusted, untrusted, stepped")
    if (before_ms is not None) != (event == "stepped"):
        raise EntryError("a clock has a time before exactly when it stepped")
    return ClockEntry(
        _count(time_ms), event, None if before_ms is None else _count(before_ms), _words(cause, TEXT_BYTES_MAX)
    )


def _exactly(length: int, value: object) -> Sequence[Any]:
    if not isinstance(value, list) or len(value) != length:
        raise EntryError("an array in the entry has not the length of its kind")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _INTEGER_MAX:
        raise EntryError("times, counts, versions and indexes are integers of 0 to 2^63 - 1")
    return value


def _octets(value: object, length: int) -> bytes:
    if not isinstance(value, bytes) or len(value) != length:
        raise EntryError("digests and keys are byte strings of 32 bytes, sessions of 8")
    return value


def _matching(value: object, pattern: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise EntryError("an id or a reason has characters outside its alphabet, or too many")
    return value


def _words(value: object, limit: int) -> str:
    if not isinstance(value, str) or len(value.encode(errors="surrogatepass")) > limit or _SURROGATE.search(value):
        raise EntryError("a label has at most 256 bytes of text, a reason or cause 1,024")
    return value


_KINDS: dict[str, Callable[[Sequence[object]], Entry]] = {
    "message": _message,
    "rejections": _rejections,
    "model": _model,
    "response": _response,
    "key": _key,
    "clock": _clock,
}
_MAJOR_TEXT = 3  # RFC 8949 section 3.1
_PACK_FLOAT = Struct(">Bd").pack
_ID_HEADS = [_text(bytes(length))[:-length] for length in range(1, _ID_BYTES_MAX + 1)]
_ID_HEADS.insert(0, b"")
_VERDICTS = {verdict: _text(verdict.encode()) for verdict in Verdict}
_MESSAGE_START = b"\x8b" + _text(FORMAT.encode()) + _text(b"message")
_NOTHING = (None, None, None)
_UNSCORED = _outcome(*Score())
